"""The page of a served language model: what it is, and a form that shows an answer while it is written.

The answer grows without JavaScript: the page itself is sent piece by piece.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from flask import Blueprint, Response, render_template, request, stream_template

from evident_core.decode.generator import Generator, Prompt, SamplingParams
from evident_core.errors import EvidentError
from evident_core.web.frame import current_frame
from evident_core.web.i18n import language
from evident_core.web.llm_api.errors import told
from evident_core.web.llm_api.requests import Ask
from evident_core.web.llm_api.texts import Admission, Texts

if TYPE_CHECKING:
    from evident_core.decode.llm import LLM

_FLOAT: Final = "llm.float"
PAGE_TEXTS: Final = Path(__file__).parent.parent / "data" / "llm_texts.toml"


def page(generator: Generator, admission: Admission, max_tokens: int) -> Blueprint:
    """The page of one model; its answers need room like any others."""
    blueprint = Blueprint("llm_page", __name__)

    @blueprint.get("/")
    def home() -> str:
        return render_template("llm.html", name=generator.name, facts=facts(generator), prompt="", pieces=None)

    @blueprint.post("/")
    def write() -> Response:
        given = request.form.get("prompt", "").replace("\r\n", "\n")
        texts = Texts(generator, _ask(generator, given, max_tokens), admission.enter(1))
        body = stream_template(
            "llm.html", name=generator.name, facts=facts(generator), prompt=given, pieces=_pieces(texts)
        )
        response = Response(body, mimetype="text/html")
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(texts.close)
        return response

    return blueprint


def facts(generator: Generator) -> list[tuple[str, str]]:
    """Names and values of what our own engine has loaded; nothing is known of a model elsewhere."""
    if not hasattr(generator, "engine"):
        return []
    llm = cast("LLM", generator)
    config = llm.model.config
    bits = {str(each.bits) for each in llm.model.modules() if hasattr(each, "bits")}
    return [
        ("family", config.family),
        ("parameters", f"{config.num_parameters:,}"),
        ("active", f"{config.num_active_parameters:,}"),
        ("share", f"{config.active_share:.1%}"),
        ("weights", ", ".join(f"int{each}" for each in sorted(bits)) or current_frame().texts.get(_FLOAT, language())),
        ("context", f"{llm.engine.context:,}"),
    ]


def _ask(generator: Generator, given: str, max_tokens: int) -> Ask:
    tokenizer = getattr(generator, "tokenizer", None)
    is_chat = tokenizer is None or bool(tokenizer.has_chat_template)
    prompt: Prompt = [{"role": "user", "content": given}] if is_chat else given
    params = (SamplingParams(max_tokens=max_tokens),)
    return Ask(is_chat=is_chat, prompts=(prompt,), params=params, stream=True, include_usage=False, model=None)


def _pieces(texts: Texts) -> Iterator[str]:
    with texts:
        try:
            for _, chunk in texts:
                yield chunk.text
        except EvidentError as error:  # the page is half sent; it says itself why it ends here
            yield f" — {error.message}"
        except Exception as error:
            yield f" — {told(error)['error']['message']}"
