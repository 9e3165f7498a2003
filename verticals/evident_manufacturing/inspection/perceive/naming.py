"""Defects by words and by likeness: naming kinds that no detector was trained on, past cases, wordings for a remark.

All of it is a suggestion to a person: no fact, claim or verdict rests on it, and a sentence that is written with a
suggested wording has to pass the verifier like any other.

Needs torch; an agent beside a line has none, and inspects without this module.

Shapes: N crops, S side of a crop (64), D dimensions of the shared space (512).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, MissingExtra
from evident_core.evidence import Language
from evident_manufacturing.inspection.perceive.align import align, lay
from evident_manufacturing.inspection.perceive.descriptions import Descriptions, load_descriptions
from evident_manufacturing.inspection.perceive.difference import difference, stack
from evident_manufacturing.inspection.schema import Alignment, Defect

if TYPE_CHECKING:
    import torch

    from evident_core.align import Aligner, Named

Gray = NDArray[np.uint8]
Crops = NDArray[np.uint8]
"""uint8 [N, 3, S, S]: difference, template and test around each defect; small enough to be kept with a label."""
Vectors = NDArray[np.float32]

FOLDER: Final = Path(__file__).parents[1] / "model" / "aligner"
SIDE: Final = 64
# Of kinds that were never trained on, the first two properties are right for 84 to 89 of 100 defects, the third for 48.
_PROPERTIES: Final = 2


def cut_crops(image: Gray, template: Gray, defects: Sequence[Defect], *, alignment: Alignment | None = None) -> Crops:
    """What the aligner looks at of each defect.

    Args:
        image: The tested board, uint8 [H, W].
        template: Its golden sample, as it was received.
        defects: Of that board.
        alignment: Of the inspection, where it is known; None: it is found again.

    Raises:
        InvalidInput: The template does not fit, or a box lies outside the board.
        MissingExtra: There is no torch.
    """
    from evident_core.align import crop_around, torch

    if not defects:
        return np.zeros((0, 3, SIDE, SIDE), np.uint8)
    laid, valid = lay(template, alignment or align(image, template), image.shape)
    planes = torch.from_numpy(stack(image, laid, difference(image, laid, valid=valid).map)).permute(2, 0, 1)
    crops = torch.stack([crop_around(planes, defect.bbox, SIDE) for defect in defects])
    return np.asarray((crops * 255).round().byte().numpy())


def embed(crops: Crops, *, folder: Path = FOLDER) -> Vectors:
    """The places of crops in the shared space, unit vectors [N, D]: what is kept to search past defects quickly.

    Raises:
        InvalidInput: The crops are not those of :func:`cut_crops`.
        MissingExtra: There is no torch.
        ModelNotReady: There are no weights in ``folder``.
    """
    aligner = _aligner(folder)
    return np.asarray(aligner.encode(_pictures(crops)).numpy(), np.float32)


def name_defects(crops: Crops, descriptions: Mapping[str, Sequence[str]], *, folder: Path = FOLDER) -> list[Named]:
    """Name each defect by the description that it is nearest to, of kinds that were never trained on.

    Offer only kinds that the detector does not know: those that were trained on attract what is like them, and of all
    Offer only kinds that the detector does not know: those that were trained on draw to them what is like them, and
    among all 13 described kinds a new one is found far less often (FIGURES.json beside the weights). Describe what is
    seen (copper too much or too little; where; its form), in English or Chinese; a bare name means nothing.

    Args:
        crops: Of :func:`cut_crops`.
        descriptions: For each name one or more wordings; more are better.
        folder: With the weights.

    Returns:
        For each crop the best name and the second, with their shares among the names offered.

    Raises:
        InvalidInput: Nothing is described, or the crops are not those of :func:`cut_crops`.
        MissingExtra: There is no torch.
        ModelNotReady: There are no weights in ``folder``.
    """
    aligner = _aligner(folder)
    from evident_core.align import classify_by_description

    return classify_by_description(aligner, _pictures(crops), descriptions)


def similar(crop: Crops, past: Crops | Vectors, top: int = 5, *, folder: Path = FOLDER) -> list[tuple[int, float]]:
    """The past defects that look most like one, best first: their rows in ``past``, and the cosine (-1 to 1).

    Args:
        crop: uint8 [3, S, S], one of :func:`cut_crops`.
        past: The crops of past defects, or better what :func:`embed` made of them.
        top: How many at most, at least 1.
        folder: With the weights.

    Raises:
        InvalidInput: There is no past defect, or the shapes are others.
        MissingExtra: There is no torch.
        ModelNotReady: There are no weights in ``folder``.
    """
    if top < 1:
        raise InvalidInput(f"{top} similar defects cannot be looked for; ask for at least 1.", top=top)
    query = embed(crop[None], folder=folder)
    gallery = past.astype(np.float32) if past.ndim == 2 else embed(past.astype(np.uint8, copy=False), folder=folder)
    from evident_core.align import retrieve, torch

    found = retrieve(torch.from_numpy(query), torch.from_numpy(gallery), top)
    return list(zip(found.indices_QK[0].tolist(), found.scores_QK[0].tolist(), strict=True))


def describe(
    image: Gray,
    template: Gray,
    defect: Defect,
    *,
    language: Language = "en",
    top: int = 3,
    alignment: Alignment | None = None,
    descriptions: Descriptions | None = None,
    folder: Path = FOLDER,
) -> list[tuple[str, float]]:
    """Wordings for a remark on a defect, best first, with the cosine of wording and picture (-1 to 1).

    Offered are the wordings of the defect's own kind, so that a suggestion never contradicts what was judged. A kind
    that nobody has described gets its (at most two) plainest properties instead: "extra copper", "on one edge".

    Args:
        image: The tested board, uint8 [H, W].
        template: Its golden sample, as it was received.
        defect: Of that board.
        language: Of the wordings.
        top: How many at most.
        alignment: Of the inspection, where it is known.
        descriptions: By default those of the service.
        folder: With the weights.

    Raises:
        InvalidInput: The template does not fit, or the box lies outside the board.
        MissingExtra: There is no torch.
        ModelNotReady: There are no weights in ``folder``.
    """
    known, aligner = descriptions or load_descriptions(), _aligner(folder)
    vector = embed(cut_crops(image, template, [defect], alignment=alignment), folder=folder)[0]

    def scored(texts: Sequence[str]) -> list[tuple[str, float]]:
        scores = aligner.encode(texts).numpy() @ vector
        return [(texts[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]

    if defect.kind in known.kinds:
        return scored(known.kinds[defect.kind].wordings[language])[:top]
    properties = [scored(wordings[language]) for wordings in known.traits.values()]
    # By the mean of its wordings: one of them alone may lie near by chance.
    traits = [(each[0][0], sum(score for _, score in each) / len(each)) for each in properties]
    return sorted(traits, key=lambda each: -each[1])[: min(top, _PROPERTIES)]


@lru_cache(maxsize=2)
def _aligner(folder: Path) -> Aligner:
    from evident_core.align import load_aligner

    try:
        return load_aligner(folder)
    except ImportError as error:
        raise MissingExtra(
            f"Naming defects by description needs {error.name}: pip install 'evident[training]'", extra="training"
        ) from error


def _pictures(crops: Crops) -> torch.Tensor:
    from evident_core.align import torch

    if crops.dtype != np.uint8 or crops.shape[1:] != (3, SIDE, SIDE):
        raise InvalidInput(
            f"The crops are {crops.dtype} {list(crops.shape)}; uint8 [N, 3, {SIDE}, {SIDE}] of cut_crops are needed.",
            shape=list(crops.shape),
        )
    return torch.from_numpy(np.ascontiguousarray(crops)).float() / 255
