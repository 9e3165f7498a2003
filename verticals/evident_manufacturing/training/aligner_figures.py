"""What the aligner does end to end, on boards that neither it nor the detector was trained on.

``python -m evident_manufacturing.training.aligner_figures [--boards 150] [--pairs DEEPPCB]``

Boards with the two kinds that stay out of all training are inspected by a specification that describes them, and boards
with other kinds too: how many are found, how many are named rightly, and how often an ordinary defect is named so.
Then what remarks say of the detector's own kinds, held against the truth of the generator.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evident_manufacturing.inspection.perceive import Models
from evident_manufacturing.inspection.perceive.descriptions import load_descriptions
from evident_manufacturing.inspection.perceive.naming import by_description, embed, remarks
from evident_manufacturing.inspection.pipeline import open_models
from evident_manufacturing.inspection.schema import KINDS
from evident_manufacturing.training.aligner_export import Pair, found_on, generated, real

FIRST_SEED: Final = 52_000_000
UNSEEN: Final = ("scratch", "missing_hole")
SEVERAL: Final = ("missing_pad", "stain", "shifted_hole")
"""Kinds that the aligner was trained on, and the detector was not."""
OWN_WORDS: Final = {
    "scratch": ("a scratch across the traces, copper scraped off in a thin line", "划痕，铜被刮掉一条细线"),
    "missing_hole": ("the drill hole is missing, the pad is solid copper", "没有钻孔，焊盘是实心的"),
}
"""What somebody might write who has not seen our descriptions; never trained on."""
_LONG, _BORDER = 2.0, (1.6, 2.5)


@dataclass
class ZeroShot:
    """What naming from descriptions did.

    Attributes:
        there: How many defects of each described kind the boards have.
        found: How many places on them are reported, by whatever name; one defect may be in several pieces.
        named: How many of these places are named rightly.
        others: How many defects of all other kinds, and places without one, are reported.
        named_so: What of these is named by a description, wrongly.
    """

    there: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    others: int = 0
    named_so: Counter[str] = field(default_factory=Counter)


def zero_shot(models: Models, pairs: Iterable[Pair], described: Mapping[str, Sequence[str]]) -> ZeroShot:
    """Inspect boards, and name what is found from descriptions."""
    figures = ZeroShot()
    for pair in pairs:
        figures.there.update(each.kind for each in pair.defects if each.kind in described)
        seen = found_on(pair, models)
        for defect, truth in zip(by_description(seen.defects, embed(seen.crops), described), seen.true, strict=True):
            kind = truth.kind if truth else "no defect"
            if kind in described:
                figures.found[kind] += 1
            else:
                figures.others += 1
            if defect.naming and defect.kind == kind:
                figures.named[kind] += 1
            elif defect.naming:
                figures.named_so[f"{kind} as {defect.kind}"] += 1
    return figures


def wordings(models: Models, pairs: Iterable[Pair]) -> dict[str, int]:
    """How many defects get a remark, and of how many it is true: of the right kind, and long or compact as it says."""
    figures = Counter[str]()
    for pair in pairs:
        seen = found_on(pair, models)
        said = remarks(seen.defects, embed(seen.crops))
        figures["defects"] += len(seen.defects)
        for defect, truth in zip(seen.defects, seen.true, strict=True):
            if wording := said.get(defect.number):
                kind, _, trait = wording.key.partition(".")
                figures["with_a_remark"] += 1
                figures["of_the_true_kind"] += truth is not None and kind == truth.kind
                if truth and truth.elongation:
                    figures["long_or_compact_as_it_says"] += (trait == "line") == (truth.elongation > _LONG)
                    far = not _BORDER[0] < truth.elongation < _BORDER[1]
                    figures["far_from_the_border"] += far
                    figures["contradicted_there"] += far and (trait == "line") != (truth.elongation > _LONG)
    return dict(figures)


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=150)
    parser.add_argument("--pairs", type=Path, help="DeepPCB's folder: its validation part is measured as well")
    given = parser.parse_args()
    models, ours = open_models(), load_descriptions().of_kinds(*UNSEEN)
    others = generated(FIRST_SEED + 20_000, given.boards, (*KINDS, *SEVERAL))
    found: dict[str, ZeroShot | dict[str, int]] = {
        "unseen, our descriptions": zero_shot(models, generated(FIRST_SEED, given.boards, (*KINDS, *UNSEEN)), ours),
        "unseen, own words": zero_shot(models, generated(FIRST_SEED, given.boards, (*KINDS, *UNSEEN)), OWN_WORDS),
        "ordinary boards, our descriptions": zero_shot(models, generated(FIRST_SEED + 10_000, given.boards), ours),
        "kinds the aligner was trained on": zero_shot(models, others, load_descriptions().of_kinds(*SEVERAL)),
        "remarks": wordings(models, generated(FIRST_SEED + 30_000, given.boards)),
    }
    if given.pairs:
        found["real boards, our descriptions"] = zero_shot(models, real(given.pairs, validation=True), ours)
        found["real boards, remarks"] = wordings(models, real(given.pairs, validation=True))
    plain = {name: vars(each) if isinstance(each, ZeroShot) else each for name, each in found.items()}
    print(json.dumps(plain, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
