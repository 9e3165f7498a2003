"""The suite's one text generator: our engine in this process, or a server, by the setting ``llm.url`` alone."""

from typing import TYPE_CHECKING

from evident_core.decode.generator import Generator

if TYPE_CHECKING:
    from evident_core.decode.llm import LLM
    from evident_core.decode.remote import Remote
    from evident_core.settings import LlmSettings


def generator(settings: "LlmSettings") -> Generator:
    """Open what the settings name.

    Raises:
        InvalidInput: A setting is wrong, or the folder is no checkpoint.
        MissingExtra: A package of the extra ``llm`` is not installed.
    """
    return remote(settings) if settings.url else local(settings)


def local(settings: "LlmSettings") -> "LLM":
    """Our engine with the checkpoint in ``llm.model``, or with the suite's own small model."""
    from evident_core.decode.engine import EngineOptions
    from evident_core.decode.llm import LLM

    return LLM(
        settings.model or None,
        quantization=settings.quantization or None,
        device=settings.device,
        threads=settings.threads or None,
        cache_mib=settings.cache_mib,
        options=EngineOptions(max_running=settings.max_batch, max_waiting=settings.max_queued),
    )


def remote(settings: "LlmSettings") -> "Remote":
    """The server at ``llm.url``; nothing is asked of it yet."""
    from evident_core.decode.remote import Remote, RemoteOptions
    from evident_core.decode.remote.secret import Secret
    from evident_core.decode.remote.transport import Limits

    return Remote(
        RemoteOptions(
            url=settings.url,
            model=settings.remote_model,
            api_key=Secret(settings.api_key.get_secret_value()),
            dialect=settings.dialect,
            allow_plain_http=settings.allow_plain_http,
            limits=Limits(
                connect_seconds=settings.connect_seconds,
                read_seconds=settings.read_seconds,
                total_seconds=settings.total_seconds,
                retries=settings.retries,
                retry_after_seconds=settings.retry_after_seconds,
            ),
            max_concurrent=settings.max_concurrent,
        )
    )
