"""Text from a language model: our engine in this process, or any OpenAI-compatible server, under a grammar or free.

::

    generator            what every generator takes and gives         choose    engine or server, by one setting
    llm                  a checkpoint in this process, many callers   remote    the same from a server
    engine               a step is schedule, run, postprocess         opening   from a folder to what runs
    scheduler, blocks, sequence, sampler, text                        runner    kernel_runner (C++), torch_runner
    grammar, terms       what a text must be; closing: how it ends    tokenizer, chat
"""

from importlib.util import find_spec

from evident_core.errors import MissingExtra

if _missing := [name for name in ("numpy", "tokenizers") if find_spec(name) is None]:
    raise MissingExtra(f"The language engine needs {' and '.join(_missing)}: pip install 'evident[llm]'", extra="llm")

from evident_core.decode.generator import Chunk, Completion, Generator, Message, Prompt, SamplingParams
from evident_core.decode.grammar import Grammar
from evident_core.decode.llm import LLM
from evident_core.decode.terms import TermTrie

__all__ = [
    "LLM",
    "Chunk",
    "Completion",
    "Generator",
    "Grammar",
    "Message",
    "Prompt",
    "SamplingParams",
    "TermTrie",
]
