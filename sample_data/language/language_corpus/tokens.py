"""The tokenizer of the suite's small model, and pairs as blocks of tokens that a trainer reads.

Digits, spaces, punctuation and Chinese characters stand alone, and only Latin words are merged: a text has the same
tokens wherever it stands, after a space or a quotation mark, so that copying a value is copying its tokens.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one process a core already

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from language_corpus.pairs import make_pair
from language_corpus.template import Draw

SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>", "<|spare1|>", "<|spare2|>"]
PAD, END, USER, ASSISTANT, SYSTEM = range(5)
VOCABULARY = 6144
CONTEXT = 1024
ANSWER = 0x8000  # set in tokens that are to be learnt in full; the others are the prompt's
SPLIT = r"\p{Han}|\p{N}|[A-ZÀ-Þ]?[a-zß-ÿ]+|[A-ZÀ-Þ]{2,}(?![a-zß-ÿ])|[\s\S]"
BUCKETS = [*range(32, 512, 32), *range(512, CONTEXT + 1, 64)]


def train_tokenizer(seed: str, pairs: int) -> Tokenizer:
    """A byte-level BPE tokenizer trained on so many pairs."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for i in range(pairs) for text in _texts(make_pair(Draw(f"{seed}/{i}"))))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _texts(pair) -> tuple[str, str]:
    return pair.prompt, pair.answer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json."""
    return Tokenizer.from_file(str(path))


def documents(seed: str, tokenizer: Tokenizer, split: str = "train") -> Iterator[np.ndarray]:
    """Documents without end, uint16: a pair as a chat or as plain text, sometimes two in a row; answers marked.

    Those longer than the context are left out.
    """
    number = 0
    while True:
        draws = [Draw(f"{seed}/{number + i}", split) for i in range(256)]
        pairs = [make_pair(draw) for draw in draws]
        number += len(pairs)
        parts = [part for pair in pairs for part in (pair.system, pair.prompt, pair.answer)]
        coded = [np.array(each.ids, np.uint16) for each in tokenizer.encode_batch_fast(parts)]
        newline, space = (np.array(tokenizer.encode(each).ids, np.uint16) for each in ("\n", " "))
        turns: list[np.ndarray] = []
        for i, (pair, draw) in enumerate(zip(pairs, draws, strict=True)):
            system, prompt, answer = coded[3 * i : 3 * i + 3]
            answer = np.append(answer, np.uint16(END)) | np.uint16(ANSWER)
            if pair.task == "plain":
                document = answer
            elif not pair.system and draw.chance() < 0.4:
                between = (newline, newline, space, newline[:0])[int(draw.chance() * 4)]
                if len(between) == 0 and answer[0] & 0x7FFF != tokenizer.token_to_id("{"):
                    between = newline
                document = np.concatenate((prompt, between, answer))
            else:
                head = [[SYSTEM], system] if pair.system else []
                document = np.concatenate(
                    [*head, [USER], prompt, [ASSISTANT], answer], dtype=np.uint16, casting="unsafe"
                )
                if not turns and draw.chance() < 0.06:
                    turns.append(document)
                    continue
                if turns and not pair.system and len(turns[0]) + len(document) <= CONTEXT:
                    document = np.concatenate((turns.pop(), document))
            if len(document) <= CONTEXT:
                yield document


def blocks(seed: str, tokenizer: Tokenizer, tokens: int) -> Iterator[np.ndarray]:
    """Rectangles [rows, length] of about so many tokens: documents of like length, padded on the right."""
    waiting: dict[int, list[np.ndarray]] = {bucket: [] for bucket in BUCKETS}
    for document in documents(seed, tokenizer):
        bucket = next(size for size in BUCKETS if size >= len(document))
        rows = waiting[bucket]
        rows.append(document)
        if len(rows) * bucket >= tokens:
            block = np.full((len(rows), bucket), PAD, np.uint16)
            for row, each in zip(block, rows, strict=True):
                row[: len(each)] = each
            rows.clear()
            yield block
