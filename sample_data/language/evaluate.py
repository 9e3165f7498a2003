"""The small language model on pairs that it was never trained on.

python sample_data/language/evaluate.py MODEL [--grammar] [--json FILE]

"fresh" pairs have new names and numbers in known templates, "held" ones new templates and wordings too, and "written"
ones were written by hand. Without --grammar an answer is free text, the most probable token each time; with it, an
extraction is written under its schema.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent.parent / part) for part in ("core", "kernels"))]

from language_corpus.extraction import extraction  # noqa: E402
from language_corpus.pairs import phrasing, question, title, translation  # noqa: E402
from language_corpus.prompts import Pair  # noqa: E402
from language_corpus.score import rates, score  # noqa: E402
from language_corpus.template import Draw  # noqa: E402
from language_corpus.written import written_pairs  # noqa: E402

TASKS = {
    "extract": (extraction, 4),
    "phrase": (phrasing, 2),
    "translate": (translation, 2),
    "title": (title, 1),
    "question": (question, 1),
}
LONGEST = 700


def pairs_of(split: str, count: int, task: str | None = None) -> list[Pair]:
    """``count`` parts of pairs: of extraction four, of the others two or one.

    Every "held" pair has at least one wording, or name of a field, that training never sees.
    """
    pairs: list[Pair] = []
    for name, (make, share) in TASKS.items():
        wanted, i = count * share if task in (None, name) else 0, 0
        while wanted:
            draw = Draw(f"evaluation/{split}/{name}/{i}", split)
            pair, i = make(draw), i + 1
            if split != "held" or draw.unseen:
                pairs.append(pair)
                wanted -= 1
    return pairs


def free_rows(folder: Path, pairs: list[Pair], device: str) -> list[str]:
    """Greedy answers of plain PyTorch over rectangles; for a GPU, and without any other package."""
    import torch

    from evident_core.moe.rows import Rows
    from evident_core.moe.weights import load_model
    from language_corpus.tokens import ASSISTANT, END, PAD, SYSTEM, USER, load_tokenizer

    torch.set_float32_matmul_precision("high")
    words = load_tokenizer(folder / "tokenizer.json")
    rows = Rows(load_model(folder, device=device))
    prompts = []
    for pair in pairs:
        head = [SYSTEM, *words.encode(pair.system).ids] if pair.system else []
        prompts.append([*head, USER, *words.encode(pair.prompt).ids, ASSISTANT])
    answers: list[str] = [""] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        limit = max(len(words.encode(pairs[i].answer).ids) for i in chosen) + 16
        lengths = torch.tensor([len(prompts[i]) for i in chosen], device=device)
        width = int(lengths.max()) + limit
        tokens = torch.full((len(chosen), width), PAD, device=device)
        for row, i in enumerate(chosen):
            tokens[row, : len(prompts[i])] = torch.tensor(prompts[i], device=device)
        at, done = lengths.clone(), torch.zeros(len(chosen), dtype=torch.bool, device=device)
        each = torch.arange(len(chosen), device=device)
        with torch.inference_mode():
            for _ in range(limit):
                hidden, _ = rows.hidden(tokens[:, : int(at.max())])
                token = rows.model.logits(hidden[each, at - 1]).argmax(-1)
                done |= token == END
                tokens[each, at] = torch.where(done, PAD, token)
                at += (~done).long()
                if bool(done.all()):
                    break
        for row, i in enumerate(chosen):
            answers[i] = words.decode(tokens[row, lengths[row] : at[row]].tolist())
    return answers


def engine(folder: Path, pairs: list[Pair], grammar: bool, quantization: str | None) -> list[str]:
    """Answers of the suite's engine; extractions under their schema where ``grammar`` is set."""
    from evident_core.decode.generator import Message, SamplingParams
    from evident_core.decode.grammar import Grammar
    from evident_core.decode.llm import LLM

    llm = LLM(folder, quantization=quantization)
    chats, params = [], []
    for pair in pairs:
        system = [Message(role="system", content=pair.system)] if pair.system else []
        chats.append([*system, Message(role="user", content=pair.prompt)])
        schema = Grammar.json_schema(pair.schema) if grammar and pair.schema else None
        params.append(SamplingParams(max_tokens=512, grammar=schema))
    return [completion.text for completion in llm.generate(chats, params)]


def main() -> None:
    """Read the command line, ask, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--count", type=int, default=50, help="parts of pairs of each split: extraction four, others less"
    )
    parser.add_argument("--task", choices=sorted(TASKS))
    parser.add_argument("--grammar", action="store_true", help="write extractions under their schema")
    parser.add_argument("--rows", action="store_true", help="plain PyTorch instead of the engine; free answers only")
    parser.add_argument("--quantization", choices=("int8", "int4"))
    parser.add_argument("--device", default="cpu", help="with --rows")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--errors", type=int, default=0, help="print so many wrong answers of each split")
    arguments = parser.parse_args()
    figures: dict[str, dict] = {}
    for split in ("fresh", "held", "written"):
        pairs = written_pairs() if split == "written" else pairs_of(split, arguments.count, arguments.task)
        pairs = [pair for pair in pairs if len(pair.prompt) < LONGEST]
        if arguments.rows:
            answers = free_rows(arguments.model, pairs, arguments.device)
        else:
            answers = engine(arguments.model, pairs, arguments.grammar, arguments.quantization)
        counts: dict[str, Counter] = defaultdict(Counter)
        wrong = [(pair, answer) for pair, answer in zip(pairs, answers, strict=True) if answer != pair.answer]
        for pair, answer in zip(pairs, answers, strict=True):
            counts[f"{pair.task} {pair.language}"] += score(pair, answer)
        figures[split] = {name: rates(each) for name, each in sorted(counts.items())}
        for pair, answer in wrong[: arguments.errors]:
            print(f"--- {split} {pair.task}\n{pair.prompt}\n>>> {answer}\n=== {pair.answer}")
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for name, shares in figures[split].items():
            print(f"{split:7} {name:13}", " ".join(f"{key}={value}" for key, value in shares.items()), flush=True)


if __name__ == "__main__":
    main()
