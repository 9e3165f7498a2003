"""Quantise a trained model to int8 and put it where the suite's default model is.

python sample_data/language/ship.py TRAINED [FOLDER]

The perplexity of pairs that were never trained on is measured before and after; a change above the limit is refused.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent.parent / part) for part in ("core", "kernels"))]

from evident_core.quant import Int8Config, quantize_folder  # noqa: E402
from language_corpus.pairs import make_pair  # noqa: E402
from language_corpus.template import Draw  # noqa: E402
from language_corpus.tokens import load_tokenizer  # noqa: E402

DEFAULT = HERE.parent.parent / "core" / "evident_core" / "decode" / "default_model"
MOST_BYTES = 10 << 20
PAIRS = 300


def main() -> None:
    """Read the command line, quantise, move the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="folder that evident_core.moe.train wrote")
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT, help="with tokenizer.json; where it goes")
    arguments = parser.parse_args()
    words = load_tokenizer(arguments.folder / "tokenizer.json")
    pairs = [make_pair(Draw(f"perplexity/{i}", "fresh")) for i in range(PAIRS)]
    texts = [f"<|user|>{pair.prompt}<|assistant|>{pair.answer}<|end|>" for pair in pairs]
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "model"
        report = quantize_folder(
            arguments.trained,
            made,
            Int8Config(),
            evaluation_texts=texts,
            encode=lambda text: words.encode(text).ids,
        )
        for old in arguments.folder.glob("model*.safetensors*"):
            old.unlink()
        for path in made.iterdir():
            if path.suffix != ".md":
                shutil.copyfile(path, arguments.folder / path.name)
    print(report.table())
    total = sum(path.stat().st_size for path in arguments.folder.iterdir())
    print(f"{total:,} bytes in {arguments.folder.name}, at most {MOST_BYTES:,}")
    sys.exit(total > MOST_BYTES)


if __name__ == "__main__":
    main()
