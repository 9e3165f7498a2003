"""Text to tokens and back: bytes of tokens, streams of whole characters, and checkpoints' folders."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from evident_core.decode.tokenizer import StreamDecoder, Tokenizer
from evident_core.errors import InvalidInput, ModelNotReady, UnsupportedMedia

CORPUS = [
    "The report states no nodule in the left lung.",
    "肺部未见结节。营业收入增长。",
    "x = [1, 2, 3]  # 🩺 emoji 👩‍⚕️",
] * 20
TEXTS = st.text(st.sampled_from("ab Z9\n\t,.肺结节收入é🩺👩\u200d⚕\ufe0f\x00"), max_size=40)


def byte_level() -> tokenizers.Tokenizer:
    """A trained byte-level vocabulary of 300 tokens, like Qwen's and DeepSeek's."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens(["<|end|>"])
    backend.add_tokens(["<思考 >"])
    return backend


def sentence_piece() -> tokenizers.Tokenizer:
    """A vocabulary like Llama's: a space before the first word, bytes for what it does not have."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abZhelo肺", "▁h", "lo", "▁a"]
    vocab = {piece: place for place, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=[("▁", "h"), ("l", "o"), ("▁", "a")],
            byte_fallback=True,
            fuse_unk=True,
            unk_token="<unk>",
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


BYTES = Tokenizer.bytes()
BYTE_LEVEL = Tokenizer(byte_level(), eos_token_ids=[300])
SENTENCE_PIECE = Tokenizer(sentence_piece(), eos_token_ids=[2])
ALL = pytest.mark.parametrize("tokenizer", [BYTES, BYTE_LEVEL, SENTENCE_PIECE], ids=["bytes", "byte level", "▁"])


@ALL
@settings(deadline=None)
@given(text=TEXTS)
def test_a_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text, continued=True), continued=True) == text


@ALL
@settings(deadline=None)
@given(text=TEXTS)
def test_tokens_and_text_are_those_of_the_library(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == tokenizer.backend.encode(text).ids
    assert tokenizer.decode(ids) == tokenizer.backend.decode(ids)


@ALL
@settings(deadline=None)
@given(text=TEXTS)
def test_the_bytes_of_a_continuing_texts_tokens_are_the_texts(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, continued=True)
    assert b"".join(tokenizer.token_bytes[token] for token in ids) == text.encode()


@ALL
@settings(deadline=None)
@given(data=st.data())
def test_pieces_of_a_stream_are_the_whole_and_no_piece_is_half_a_character(
    tokenizer: Tokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    text = data.draw(TEXTS)
    continued = data.draw(st.booleans())
    stream = StreamDecoder(tokenizer, continued=continued)
    assert "".join([*map(stream.put, ids), stream.flush()]) == tokenizer.decode(ids, continued=continued)
    stream, shown = StreamDecoder(tokenizer, continued=continued), ""
    for token in tokenizer.encode(text, continued=continued):
        shown += stream.put(token)
        assert text.startswith(shown)
    assert shown + stream.flush() == text


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, BYTE_LEVEL.vocab_size - 1), max_size=40))
def test_any_bytes_decode_as_in_the_library(ids: list[int]) -> None:
    assert BYTE_LEVEL.decode(ids) == BYTE_LEVEL.backend.decode(ids)


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCE_PIECE], ids=["byte level", "▁"])
def test_the_bytes_of_a_token_are_those_that_the_grammar_engine_sees(tokenizer: Tokenizer) -> None:
    llguidance = pytest.importorskip("llguidance")
    engine = llguidance.LLTokenizer(tokenizer.backend.to_str(), eos_token=list(tokenizer.eos_token_ids))
    for token, piece in enumerate(tokenizer.token_bytes):
        if token not in tokenizer.special_ids and piece != b"\xff":  # with this byte the engine marks special tokens
            assert engine.decode_bytes([token]) == piece


def test_the_first_word_of_a_continuing_text_keeps_its_space() -> None:
    ids = SENTENCE_PIECE.encode("hello a", bos=False)
    assert SENTENCE_PIECE.token_bytes[ids[0]] == b" h"
    assert SENTENCE_PIECE.decode(ids) == "hello a"
    assert SENTENCE_PIECE.decode(ids, continued=True) == " hello a"


def test_what_surrounds_a_text_is_added_where_the_checkpoint_does_so() -> None:
    assert SENTENCE_PIECE.encode("a")[0] == 1
    assert 1 not in SENTENCE_PIECE.encode("a", bos=False) + SENTENCE_PIECE.encode("a", continued=True)


def test_special_tokens_write_nothing_unless_asked() -> None:
    ids = [*BYTES.encode("a"), 256, 257]
    assert BYTES.decode(ids) == "a"
    assert BYTES.decode(ids, special=True) == "a<eos><bos>"
    assert BYTES.special_ids == {256, 257, 258}
    assert BYTES.token_bytes[256] == b""


def test_an_added_token_that_is_not_in_the_alphabet_stands_for_itself() -> None:
    token = BYTE_LEVEL.backend.token_to_id("<思考 >")
    assert BYTE_LEVEL.token_bytes[token] == "<思考 >".encode()
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode("a<思考 >b")) == "a<思考 >b"


@pytest.mark.parametrize("text", ["a\ud800", "\udfff"])
def test_half_a_surrogate_pair_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"at character {len(text) - 1}"):
        BYTES.encode(text)


@pytest.mark.parametrize("token", [-1, 259, 10**9])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(InvalidInput, match=f"no token {token}; the vocabulary has 259"):
        BYTES.decode([token])


def checkpoint(folder: Path, **files: object) -> Path:
    """A folder with a tokenizer and these files."""
    byte_level().save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_is_read_with_its_ends_and_template(tmp_path: Path) -> None:
    folder = checkpoint(
        tmp_path,
        generation_config__json={"eos_token_id": [7, 300]},
        config__json={"eos_token_id": 9},
        tokenizer_config__json={"eos_token": {"content": "<|end|>"}, "bos_token": None, "chat_template": "old"},
        chat_template__jinja="{{ messages[0].content }}{{ eos_token }}",
    )
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.eos_token_ids == (7, 300)
    assert tokenizer.special_tokens == {"eos_token": "<|end|>"}
    assert tokenizer.chat([{"role": "user", "content": "肺"}]) == "肺<|end|>"
    assert tokenizer.encode("The left lung") == BYTE_LEVEL.encode("The left lung")


def test_ends_come_from_the_config_where_nothing_says_more(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(checkpoint(tmp_path, config__json={"eos_token_id": 9}))
    assert tokenizer.eos_token_ids == (9,)


def test_of_several_templates_the_one_for_tools_is_taken_with_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools[0].name }}"}]
    tokenizer = Tokenizer.load(checkpoint(tmp_path, tokenizer_config__json={"chat_template": named}))
    assert tokenizer.chat([{"role": "user", "content": ""}]) == "plain"
    assert tokenizer.chat([{"role": "user", "content": ""}], [{"name": "search"}]) == "search"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotReady, match=r"has no file tokenizer\.json"):
        Tokenizer.load(tmp_path)
    with pytest.raises(ModelNotReady, match="absent does not exist"):
        Tokenizer.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer__json", "{", "tokenizer.json is not a tokenizer"),
        ("tokenizer_config__json", "{", "tokenizer_config.json is not JSON"),
        ("generation_config__json", [1], "generation_config.json holds list"),
        ("generation_config__json", {"eos_token_id": 70_000}, "end-of-text token 70000 is outside the tokenizer's"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, name: str, content: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Tokenizer.load(checkpoint(tmp_path, **{name: content}))


def test_a_vocabulary_of_another_kind_is_refused() -> None:
    words = tokenizers.Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.decoder = decoders.WordPiece()
    with pytest.raises(UnsupportedMedia, match=r"decodes with .*WordPiece"):
        Tokenizer(words)


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, max_size=8), continued=st.booleans())
def test_many_texts_are_as_each_alone(texts: list[str], continued: bool) -> None:
    together = SENTENCE_PIECE.encode_all(texts, continued=continued)
    assert together == [SENTENCE_PIECE.encode(text, continued=continued) for text in texts]
