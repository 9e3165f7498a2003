"""A model behind any OpenAI-compatible server, as a text generator.

::

    client        Remote: a Generator               dialects      what each kind of server understands
    transport     requests, time-outs, retries      conformance   whether the answer is what its grammar says
    address, refusals, secret, sse
"""

from evident_core.decode.remote.client import Remote, RemoteOptions

__all__ = ["Remote", "RemoteOptions"]
