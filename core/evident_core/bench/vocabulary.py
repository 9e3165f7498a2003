"""A byte-level vocabulary of any size, learnt from the Python library's own text, and prompts cut from the same text.

Every machine that runs the measurement has that text; nothing is downloaded, and masks are measured over tokens as
long and as varied as those of real vocabularies.
"""

import json
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_TEXT = "<|end|>"


@cache
def corpus() -> tuple[Path, ...]:
    """The source files of the Python library, its tests left out."""
    library = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}
    return tuple(path for path in sorted(library.rglob("*.py")) if not skipped.intersection(path.parts))


def write_tokenizer(folder: Path, size: int) -> None:
    """Learn a byte-level BPE vocabulary of exactly ``size`` tokens, and write it as ``tokenizer.json``."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        special_tokens=[END_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = corpus()[: max(40, size // 40)]  # as much text as so many tokens are found in
    tokenizer.train([str(path) for path in files], trainer)
    missing = size - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([AddedToken(f"<|unused_{number}|>", special=True) for number in range(missing)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def read_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer that :func:`write_tokenizer` wrote."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def prompt(tokenizer: "Tokenizer", tokens: int, number: int = 0) -> str:
    """A text of exactly so many tokens; another ``number`` begins at another place, so that no prefix is shared."""
    files = corpus()
    for start in range(number * 7, number * 7 + 7 * len(files), 7):
        text = files[start % len(files)].read_text(encoding="utf-8", errors="replace")
        ids = tokenizer.encode(text, add_special_tokens=False).ids[10 + number : 10 + number + tokens]
        cut = tokenizer.decode(ids)
        if len(ids) == tokens and tokenizer.encode(cut, add_special_tokens=False).ids == ids:
            return str(cut)
    raise LookupError(f"No text of the Python library has {tokens} tokens in a row that stay the same when cut out.")
