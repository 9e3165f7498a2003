"""The corpus of the suite's small language model.

python sample_data/language/make.py show 20            prints pairs
python sample_data/language/make.py tokenizer FOLDER   trains the tokenizer and writes tokenizer.json
python sample_data/language/make.py stream …           writes blocks of tokens to standard output; the trainer calls it
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

TEMPLATE = (
    "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
    "{{ '<|assistant|>' + message['content'] + '<|end|>' }}{%- else -%}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": "<|end|>",
    "pad_token": "<|pad|>",
    "model_max_length": 1024,
    "clean_up_tokenization_spaces": False,
    "chat_template": TEMPLATE,
}
DEFAULT = HERE.parent.parent / "core" / "evident_core" / "decode" / "default_model"


def show(arguments: argparse.Namespace) -> None:
    """Print some pairs."""
    from language_corpus.pairs import make_pair
    from language_corpus.template import Draw

    for i in range(arguments.pairs):
        pair = make_pair(Draw(f"{arguments.seed}/{i}", arguments.split))
        print(f"--- {pair.task} {pair.language}\n{pair.prompt}\n>>> {pair.answer}")


def tokenizer(arguments: argparse.Namespace) -> None:
    """Train the tokenizer and write it."""
    from language_corpus.tokens import train_tokenizer

    arguments.folder.mkdir(parents=True, exist_ok=True)
    trained = train_tokenizer("tokenizer", arguments.pairs)
    trained.save(str(arguments.folder / "tokenizer.json"), pretty=False)
    settings = json.dumps(SETTINGS, indent=2) + "\n"
    (arguments.folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    print(f"{trained.get_vocab_size()} tokens")


def stream(arguments: argparse.Namespace) -> None:
    """Write blocks without end: two int32 (rows, length), then rows * length uint16."""
    import numpy as np

    from language_corpus.tokens import blocks, load_tokenizer

    out, words = sys.stdout.buffer, load_tokenizer(arguments.tokenizer)
    endless = blocks(arguments.seed, words, arguments.tokens)
    try:
        for block in itertools.islice(endless, arguments.blocks):
            out.write(np.array(block.shape, np.int32).tobytes())
            out.write(block.tobytes())
            out.flush()
    except BrokenPipeError:
        sys.stderr.close()  # the trainer has enough


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("show")
    command.add_argument("pairs", type=int, nargs="?", default=10)
    command.add_argument("--seed", default="show")
    command.add_argument("--split", default="train", choices=("train", "fresh", "held"))
    command.set_defaults(run=show)
    command = commands.add_parser("tokenizer")
    command.add_argument("folder", type=Path)
    command.add_argument("--pairs", type=int, default=120_000)
    command.set_defaults(run=tokenizer)
    command = commands.add_parser("stream")
    command.add_argument("--seed", default="train/0")
    command.add_argument("--tokenizer", type=Path, default=DEFAULT / "tokenizer.json")
    command.add_argument("--tokens", type=int, default=32_768, help="tokens of a block")
    command.add_argument("--blocks", type=int, default=None, help="stop after so many")
    command.set_defaults(run=stream)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
