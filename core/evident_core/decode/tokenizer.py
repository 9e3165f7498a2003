"""Text to tokens and back: Hugging Face's ``tokenizers``, with the bytes of every token and text that can be streamed.

Two kinds of vocabulary are read, those of all models of the suite: byte-level (GPT-2's alphabet of 256 printable
characters; Qwen, OLMoE, DeepSeek, Llama 3) and SentencePiece's (``▁`` for a space and ``<0xE4>`` for a single byte;
Llama 2, Mixtral).
"""

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from evident_core.errors import InvalidInput, ModelNotReady, UnsupportedMedia

if TYPE_CHECKING:
    from evident_core.decode.chat import ChatTemplate
    from evident_core.decode.generator import Message

END, BEGIN, PAD = "<eos>", "<bos>", "<pad>"
"""The special tokens of the byte tokenizer; their ids follow the 256 bytes in this order."""

_Bytes: TypeAlias = bytes  # within the class the name is its constructor's
_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's character for each byte: itself where it prints, else the next free one from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_ALPHABET: Final = _byte_alphabet()
_ALPHABET_CHARACTERS: Final = "".join(_ALPHABET)
_TO_LATIN: Final = {ord(character): byte for character, byte in _ALPHABET.items()}


class Tokenizer:
    """The tokenizer of one checkpoint.

    Args:
        backend: The ``tokenizers`` object; its padding and truncation are switched off.
        eos_token_ids: Ids at which a text ends.
        chat_template: The checkpoint's Jinja templates by name; most have "default" alone.
        special_tokens: Named special tokens ("bos_token": "<s>") that a chat template may write.

    Raises:
        UnsupportedMedia: The vocabulary is neither byte-level nor SentencePiece's.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        eos_token_ids: Iterable[int] = (),
        chat_template: Mapping[str, str] | None = None,
        special_tokens: Mapping[str, str] | None = None,
    ) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.eos_token_ids: tuple[int, ...] = tuple(dict.fromkeys(eos_token_ids))
        self.special_tokens: dict[str, str] = dict(special_tokens or {})
        self._templates = dict(chat_template or {})
        self._chats: dict[str, ChatTemplate] = {}
        # Without the vocabulary and the merges, which are the bulk of it.
        self._parts: dict[str, Any] = {
            name: json.loads(part.__getstate__()) if part is not None else None
            for name, part in (
                ("decoder", backend.decoder),
                ("normalizer", backend.normalizer),
                ("pre_tokenizer", backend.pre_tokenizer),
            )
        }
        self._byte_level = "ByteLevel" in _kinds(self._parts["decoder"])
        if not self._byte_level and not {"ByteFallback", "Metaspace"} & _kinds(self._parts["decoder"]):
            raise UnsupportedMedia(
                f"The tokenizer decodes with {sorted(_kinds(self._parts['decoder'])) or 'nothing'}; "
                "only byte-level and SentencePiece vocabularies are read."
            )
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        wrong = [token for token in self.eos_token_ids if not 0 <= token < self.vocab_size]
        if wrong:
            raise InvalidInput(
                f"The end-of-text token {wrong[0]} is outside the tokenizer's {self.vocab_size} tokens.", token=wrong[0]
            )

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read the tokenizer of a checkpoint in Hugging Face's format.

        ``tokenizer.json`` must be there. Texts end at the tokens that ``generation_config.json`` names, or else
        ``config.json``, and at the ``eos_token`` of ``tokenizer_config.json``. The chat template is
        ``chat_template.jinja``, or else the one in ``tokenizer_config.json``.

        Raises:
            ModelNotReady: The folder or ``tokenizer.json`` is missing.
            InvalidInput: A file is not what it should be.
            UnsupportedMedia: The vocabulary is neither byte-level nor SentencePiece's.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            where = "has no file tokenizer.json" if folder.is_dir() else "does not exist"
            raise ModelNotReady(
                f"The folder {folder} {where}; a tokenizer in Hugging Face's format is needed.", file=str(path)
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises the bare class
            raise InvalidInput(f"{path} is not a tokenizer: {error}", file=str(path)) from error
        settings = _read_object(folder / "tokenizer_config.json")
        special = _special_tokens(_read_object(folder / "special_tokens_map.json") | settings)
        ends = _read_object(folder / "generation_config.json").get("eos_token_id")
        if ends is None:
            ends = _read_object(folder / "config.json").get("eos_token_id")
        eos = [token for token in (ends if isinstance(ends, list) else [ends]) if isinstance(token, int)]
        named = backend.token_to_id(special["eos_token"]) if "eos_token" in special else None
        if named is not None:
            eos.append(named)
        return cls(
            backend,
            eos_token_ids=eos,
            chat_template=_chat_templates(folder, settings.get("chat_template")),
            special_tokens=special,
        )

    @classmethod
    def bytes(cls, chat_template: str | None = None) -> "Tokenizer":
        """The tokenizer whose tokens are the 256 bytes, and ``<eos>``, ``<bos>``, ``<pad>``; it needs no file."""
        backend = tokenizers.Tokenizer(models.BPE(vocab=dict(_ALPHABET), merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([END, BEGIN, PAD])
        return cls(
            backend,
            eos_token_ids=[256],
            chat_template=None if chat_template is None else {"default": chat_template},
            special_tokens={"eos_token": END, "bos_token": BEGIN, "pad_token": PAD},
        )

    @property
    def has_chat_template(self) -> bool:
        """Whether chats can be written; without a template a checkpoint continues plain texts only."""
        return "default" in self._templates

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that steer and write no text."""
        return frozenset(token for token, added in self.backend.get_added_tokens_decoder().items() if added.special)

    @cached_property
    def token_bytes(self) -> list[_Bytes]:
        """The bytes that each token writes after another; of special tokens and of ids without a token none."""
        every = [b""] * self.vocab_size
        for text, token in self.backend.get_vocab(with_added_tokens=True).items():
            if token not in self.special_ids:
                every[token] = self._token_bytes(text)
        return every

    def _token_bytes(self, text: str) -> _Bytes:
        if not self._byte_level:
            single = _FALLBACK.fullmatch(text)
            return bytes.fromhex(single[1]) if single else text.replace("▁", " ").encode()
        # An added token may hold characters that are not in the alphabet (a space, Chinese): it stands for itself.
        return text.encode() if text.strip(_ALPHABET_CHARACTERS) else text.translate(_TO_LATIN).encode("latin-1")

    def encode(self, text: str, *, bos: bool = True, continued: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text; special tokens named in it become those tokens.
            bos: Add what the checkpoint adds around a text (``<s>``). A chat template has written it already.
            continued: The text continues another one: nothing is added around it, and not the space either that
                SentencePiece puts before the first word.

        Raises:
            InvalidInput: The text holds half of a surrogate pair, which is no character.
        """
        _must_be_characters(text)
        backend = self._continuing if continued else self.backend
        return backend.encode(text, add_special_tokens=bos and not continued).ids

    def encode_all(self, texts: Sequence[str], *, bos: bool = True, continued: bool = False) -> list[list[int]]:
        """The same of many texts, in their order."""
        for text in texts:
            _must_be_characters(text)
        backend = self._continuing if continued else self.backend
        return [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=bos and not continued)]

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The backend, changed to put no space before the first word."""
        if not self._leading_space:
            return self.backend
        description = json.loads(self.backend.to_str())
        for part in ("normalizer", "pre_tokenizer"):
            description[part] = _without_prefix(description[part])
        return tokenizers.Tokenizer.from_str(json.dumps(description))

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same, and special tokens named in a text are letters like all others."""
        backend = tokenizers.Tokenizer.from_str(self._continuing.to_str())
        backend.encode_special_tokens = True
        return backend

    @cached_property
    def _leading_space(self) -> bool:
        """Whether a space is put before the first word of a text, and taken away when it is decoded."""
        return any(_without_prefix(part) != part for name, part in self._parts.items() if name != "decoder")

    def decode(self, ids: Iterable[int], *, special: bool = False, continued: bool = False) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: The tokens.
            special: Write special tokens too, by their names.
            continued: The tokens continue a text, so a space at their start belongs to it.

        Raises:
            InvalidInput: An id is outside the vocabulary.
        """
        stream = StreamDecoder(self, special=special, continued=continued)
        return "".join([*map(stream.put, ids), stream.flush()])

    def chat(
        self,
        messages: "Sequence[Message]",
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> str:
        """The chat as the text that the model was trained on, up to where it answers; see ``decode.chat``.

        The text has the checkpoint's special tokens in it: ``encode(text, bos=False)``, or :meth:`encode_chat`.

        Raises:
            InvalidInput: The checkpoint has no chat template, or its template refuses the messages.
            MissingExtra: jinja2 is not installed.
        """
        from evident_core.decode.chat import ChatTemplate  # jinja2 is needed by chats alone

        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        if name not in self._templates:
            raise InvalidInput(
                "The checkpoint has no chat template, so it continues plain texts only: pass the prompt as one text, "
                "or put a chat_template.jinja into its folder."
            )
        template = self._chats.get(name)
        if template is None:
            template = self._chats[name] = ChatTemplate(self._templates[name], self.special_tokens)
        return template.render(messages, tools, add_generation_prompt=add_generation_prompt, **variables)

    def encode_chat(
        self,
        messages: "Sequence[Message]",
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> list[int]:
        """The tokens of a chat, in which a special token's name in a message is mere text.

        Whoever may write a message could otherwise end it (``<|im_end|>``) and begin one in another role.
        """
        from evident_core.decode.chat import unveil, veil

        names = [str(self.backend.id_to_token(token)) for token in self.special_ids]
        (messages, tools), found = veil((messages, tools), names)
        text = self.chat(messages, tools, add_generation_prompt=add_generation_prompt, **variables)
        parts = unveil(text, found)
        if len(parts) == 1:
            return self.encode(parts[0], bos=False)
        ids = self.encode(parts[0], bos=False) if parts[0] else []
        for place, part in enumerate(parts[1:], start=1):
            _must_be_characters(part)
            backend = self._plain if place % 2 else self._continuing
            ids += backend.encode(part, add_special_tokens=False).ids
        return ids


class StreamDecoder:
    """Text from tokens as they come: each piece is whole characters, and together they are ``decode`` of all.

    A token costs the same however many came before it.
    """

    def __init__(self, tokenizer: Tokenizer, *, special: bool = False, continued: bool = False) -> None:
        self._tokenizer, self._bytes, self._special = tokenizer, tokenizer.token_bytes, special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop_space = tokenizer._leading_space and not continued

    def put(self, token: int) -> str:
        """The text that this token completes; "" within a character.

        Raises:
            InvalidInput: The id is outside the vocabulary.
        """
        if not 0 <= token < len(self._bytes):
            raise InvalidInput(f"There is no token {token}; the vocabulary has {len(self._bytes)}.", token=token)
        data = self._bytes[token]
        if not data and self._special and token in self._tokenizer.special_ids:
            data = str(self._tokenizer.backend.id_to_token(token)).encode()
        if data and self._drop_space:
            self._drop_space, data = False, data.removeprefix(b" ")
        return self._utf8.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was not finished."""
        return self._utf8.decode(b"", final=True)


def _kinds(part: Any) -> set[str]:
    """The names of a step and of all steps within it."""
    if isinstance(part, dict):
        return {str(part.get("type"))}.union(*map(_kinds, part.values()))
    return set().union(*map(_kinds, part)) if isinstance(part, list) else set()


def _without_prefix(part: Any) -> Any:
    """A normalizer or pre-tokenizer that puts nothing before the first word."""
    if isinstance(part, list):
        return [kept for step in part if (kept := _without_prefix(step)) is not None]
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "Prepend":
            return None
        case "Metaspace":
            return part | {"prepend_scheme": "never"}
        case "ByteLevel":
            return part | {"add_prefix_space": False}
    return {name: _without_prefix(value) for name, value in part.items()}


def _must_be_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"The text has half of a surrogate pair ({text[error.start]!a}) at character {error.start}; "
            "such a half is no character, and has no tokens.",
            place=error.start,
        ) from error


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} where there is none."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}", file=str(path)) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} holds {type(value).__name__}; it must hold one JSON object.", file=str(path))
    return value


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    tokens = {name: settings.get(name) for name in _NAMED}
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _chat_templates(folder: Path, setting: Any) -> dict[str, str]:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return {"default": path.read_text(encoding="utf-8")}
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path} is not UTF-8: {error}", file=str(path)) from error
    if isinstance(setting, list):
        return {str(one["name"]): str(one["template"]) for one in setting if {"name", "template"} <= set(one)}
    return {"default": setting} if isinstance(setting, str) else {}
