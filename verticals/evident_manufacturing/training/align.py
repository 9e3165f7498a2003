"""Train the aligner of defect crops and descriptions, and measure it.

``python -m evident_manufacturing.training.align --out OUT --device cuda``

Crops are of generated boards, made as an inspection makes them: aligned, differenced, fused. Kinds marked ``unseen`` in
descriptions.yaml are drawn for the measurement only. Stages: crops alone (two views of each), descriptions alone
(paraphrases), then both.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from evident_core.align import (
    Aligner,
    Pairs,
    Schedule,
    TowerConfig,
    crop_around,
    fit,
    load_aligner,
    recall_at,
    save_aligner,
)
from evident_core.align.retrieval import classify_by_description
from evident_manufacturing.inspection.perceive.align import align, warp
from evident_manufacturing.inspection.perceive.descriptions import LANGUAGES, Descriptions, load_descriptions
from evident_manufacturing.inspection.perceive.difference import difference, stack
from evident_manufacturing.training.captions import Shown, alike, by_traits, shown, state, truths, word

GENERATOR: Final = Path(__file__).parents[3] / "sample_data" / "manufacturing"
SIDE: Final = 64
_ROOM: Final = 8
_FIRST_OF_MEASUREMENT: Final = 10_000_000
_DEFECTS: Final = 9


@dataclass(frozen=True)
class Crops:
    """Pictures of defects, a little larger than the tower takes, and what is seen in each.

    Attributes:
        images: uint8 [N, 3, S, S] with S = 72, so that views can be displaced.
        seen: N of them.
    """

    images: Tensor
    seen: list[Shown]


def cut(job: tuple[int, tuple[str, ...]]) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """The crops of one generated board (its seed, the kinds to draw), with kind, length and width of each."""
    seed, kinds = job
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if str(GENERATOR) not in sys.path:
        sys.path.insert(0, str(GENERATOR))
    board = import_module("pcb_boards").generate(seed, defects=_DEFECTS, kinds=kinds)
    template = warp(board.template, align(board.test, board.template), board.test.shape)
    planes = torch.from_numpy(stack(board.test, template, difference(board.test, template).map)).permute(2, 0, 1)
    side = SIDE + _ROOM
    crops = [(crop_around(planes, defect.bbox, side) * 255).round().byte().numpy() for defect in board.defects]
    told = [(defect.kind, defect.length_mm, defect.width_mm) for defect in board.defects]
    return np.stack(crops) if crops else np.zeros((0, 3, side, side), np.uint8), told


def make_crops(descriptions: Descriptions, first: int, boards: int, kinds: tuple[str, ...], processes: int) -> Crops:
    """The crops of boards from seed ``first`` on, as many of each kind as there is room for."""
    images, seen = [], []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for crops, told in pool.map(cut, ((seed, kinds) for seed in range(first, first + boards)), chunksize=8):
            images.append(torch.from_numpy(crops))
            seen += [shown(descriptions, *each) for each in told]
    return Crops(torch.cat(images), seen)


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """A view of crops, float [N, 3, 64, 64]: displaced, turned by quarters, mirrored, a little noisy."""
    n, device = len(images), images.device
    x, y, turn, mirror = (
        torch.randint(0, high, (n,), generator=generator, device=device) for high in (_ROOM + 1, _ROOM + 1, 4, 2)
    )
    steps = torch.arange(SIDE, device=device)
    rows, columns = y[:, None] + steps, x[:, None] + steps
    every = torch.arange(n, device=device)
    moved = images[every[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float() / 255
    turned = torch.stack([moved, moved.rot90(1, (2, 3)), moved.rot90(2, (2, 3)), moved.rot90(3, (2, 3))])[turn, every]
    mirrored = torch.where(mirror[:, None, None, None].bool(), turned.flip(3), turned)
    noise = torch.randn(mirrored.shape, generator=generator, device=device) * 0.03
    return (mirrored + noise).clamp(0, 1)


def batches(crops: Crops, descriptions: Descriptions, stage: str, size: int, seed: int) -> Iterator[Pairs]:
    """Batches of a stage (``image``, ``text`` or ``both``) without end; every kind as often as the others."""
    rng, generator = random.Random(seed), torch.Generator(crops.images.device).manual_seed(seed)  # noqa: S311
    places: dict[str, list[int]] = {}
    for i, each in enumerate(crops.seen):
        places.setdefault(each.kind, []).append(i)
    kinds = sorted(places)
    while True:
        chosen = [rng.choice(places[rng.choice(kinds)]) for _ in range(size)]
        images, seen = crops.images[torch.tensor(chosen, device=crops.images.device)], [crops.seen[i] for i in chosen]
        if stage == "image":
            yield Pairs(view(images, generator), view(images, generator), alike(seen))
            continue
        said = [state(each, rng) for each in seen]
        texts = [word(descriptions, each, rng) for each in said]
        if stage == "text":
            yield Pairs(texts, [word(descriptions, each, rng) for each in said], alike(said))
        else:
            yield Pairs(view(images, generator), texts, truths(seen, said))


def measure(aligner: Aligner, crops: Crops, descriptions: Descriptions) -> dict[str, float | int | dict[str, float]]:
    """Recall both ways over the kinds of training, and naming from a description of those that it never saw."""
    at = _ROOM // 2
    images = crops.images[:, :, at : at + SIDE, at : at + SIDE].float() / 255
    trained = [name for name, kind in descriptions.kinds.items() if not kind.unseen]
    unseen = [name for name, kind in descriptions.kinds.items() if kind.unseen]
    of = [each.kind for each in crops.seen]
    known = torch.tensor([i for i, kind in enumerate(of) if kind in trained])
    novel = [i for i, kind in enumerate(of) if kind in unseen]
    vectors = aligner.encode(images[known])
    figures: dict[str, float | int | dict[str, float]] = {"crops": len(known), "crops_unseen": len(novel)}
    for label, held in (("", False), ("_new_wordings", True)):
        pairs = [
            (name, text)
            for name in trained
            for language in LANGUAGES
            for text in _part(descriptions.kinds[name].wordings[language], held)
        ]
        texts = aligner.encode([text for _, text in pairs])
        same = torch.tensor([[of[i] == name for name, _ in pairs] for i in known.tolist()], device=vectors.device)
        figures[f"recall_at_1_image_to_text{label}"] = recall_at(1, vectors, texts, same)
        figures[f"recall_at_1_text_to_image{label}"] = recall_at(1, texts, vectors, same.T)
        # What a blind choice would find: the share of pairs that belong together, either way.
        figures[f"recall_at_1_chance{label}"] = float(same.float().mean())
    named = classify_by_description(aligner, images[known], descriptions.of_kinds(*trained))
    figures["accuracy_trained_kinds"] = _share([n.name == of[i] for n, i in zip(named, known.tolist(), strict=True)])
    if novel:
        for label, offered in (("unseen_only", unseen), ("all_kinds", list(descriptions.kinds))):
            figures[f"zero_shot_{label}_chance"] = 1 / len(offered)
            wordings = descriptions.of_kinds(*offered)
            for how, said in (
                ("", wordings),
                ("_by_traits", {kind: by_traits(descriptions, kind) for kind in offered}),
            ):
                named = classify_by_description(aligner, images[novel], said)
                right = [(of[i], n.name == of[i]) for n, i in zip(named, novel, strict=True)]
                shares = {kind: _share([r for k, r in right if k == kind]) for kind in unseen}
                figures[f"zero_shot_{label}{how}"] = shares
                figures[f"zero_shot_{label}{how}_mean"] = _share([r for _, r in right])
    return figures


def _part(wordings: tuple[str, ...], held: bool) -> tuple[str, ...]:
    return wordings[-1:] if held else wordings[:-1]


def _share(right: list[bool]) -> float:
    return sum(right) / len(right) if right else float("nan")


def main(arguments: list[str] | None = None) -> None:
    """Make crops, train the three stages, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and figures.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--boards", type=int, default=6000)
    parser.add_argument("--steps", type=int, nargs=3, default=(1000, 1000, 4000), metavar=("IMAGE", "TEXT", "BOTH"))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args(arguments)

    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    started, descriptions = time.monotonic(), load_descriptions()
    trained = tuple(name for name, kind in descriptions.kinds.items() if not kind.unseen)
    crops = make_crops(descriptions, 0, options.boards, trained, options.processes)
    every = tuple(descriptions.kinds)
    held = make_crops(descriptions, _FIRST_OF_MEASUREMENT, max(8, options.boards // 10), every, options.processes)
    crops, held = (Crops(c.images.to(options.device), c.seen) for c in (crops, held))
    _tell(f"{len(crops.seen)} crops to train on, {len(held.seen)} to measure, {time.monotonic() - started:.0f} s")

    aligner = Aligner(TowerConfig(side=SIDE)).to(options.device)
    for stage, steps in zip(("image", "text", "both"), options.steps, strict=True):
        source = batches(crops, descriptions, stage, options.batch, options.seed)
        every_so_often = max(1, steps // 10)

        def tell(step: int, loss: float, stage: str = stage, often: int = every_so_often) -> None:
            if step % often == 0:
                _tell(f"{stage} {step}: loss {loss:.3f}, {time.monotonic() - started:.0f} s")

        fit(aligner, source, Schedule(steps, options.learning_rate), tell)
    save_aligner(aligner, options.out, torch.float16)
    # Of the file and not of what was in memory: that is what is shipped.
    figures = measure(load_aligner(options.out, options.device), held, descriptions)
    figures["seconds"] = round(time.monotonic() - started)
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    _tell(json.dumps(figures, indent=1))


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
