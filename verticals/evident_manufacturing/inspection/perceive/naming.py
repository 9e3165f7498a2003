"""Defects by words and by likeness: naming kinds that no detector was trained on, past cases, wordings for a remark.

What a defect *is* stays with the detector and the specification. A kind is named from its description only where the
picture is clearly nearer to the description than ordinary defects of the kind that the detector took it for, and a
remark only chooses among the wordings of the kind that was judged.

Shapes: N defects, D dimensions of the shared space (512).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive.aligner import FOLDER, Aligner, Vectors, open_aligner, unit
from evident_manufacturing.inspection.perceive.crops import Crops, cut_crops
from evident_manufacturing.inspection.perceive.descriptions import Descriptions, load_descriptions
from evident_manufacturing.inspection.schema import KINDS, Defect, Naming, Seen, Wording

__all__ = [
    "Named",
    "as_detected",
    "by_description",
    "cut_crops",
    "embed",
    "name_defects",
    "refuse_unclear",
    "remarks",
    "similar",
]

CLEAR: Final = 0.55
"""Share from which a kind is named: of its description and what ordinary defects reach, both together."""
ORDINARY: Final = 0.99
"""Which part of the ordinary defects of a kind stays below what they reach: single ones are like anything."""
SURE: Final = 0.7
"""By how much the share of a remark must exceed that of the next, of the remarks on all kinds that there are."""
AWAY: Final = -0.05
"""Cosine below which a picture is unlike a description, however much less so ordinary defects are."""
ALIKE: Final = 0.95
"""Cosine from which two descriptions say the same."""
OPPOSITE: Final = 0.8
"""How much nearer a wording must be to "copper is missing" than to "too much copper", or the reverse, to say so; of the
service's own wordings no two of a kind are that far apart."""
_AT_ONCE: Final = 8192
_LONG: Final = 1.5, 2.7
"""Times its width from which a defect may be called long, and to which compact; training drew the line at 2."""


@dataclass(frozen=True)
class Named:
    """A name for a crop, with its share of all that was offered (0 to 1), and the second best."""

    name: str
    probability: float
    second: str | None
    second_probability: float


def embed(crops: Crops, *, folder: Path = FOLDER) -> Vectors:
    """The places of crops in the shared space, unit vectors [N, D]: what is kept to search past defects quickly.

    Raises:
        InvalidInput: The crops are not those of :func:`cut_crops`.
        ModelNotReady: There are no weights in ``folder``.
    """
    return open_aligner(folder).embed_crops(crops)


def name_defects(crops: Crops, descriptions: Mapping[str, Sequence[str]], *, folder: Path = FOLDER) -> list[Named]:
    """Name each defect by the nearest of some descriptions, whether it is near or not.

    Args:
        crops: Of :func:`cut_crops`.
        descriptions: For each name one or more wordings; more are better.
        folder: With the weights.

    Returns:
        For each crop the best name and the second, with their shares among the names offered.

    Raises:
        InvalidInput: Nothing is described, or the crops are not those of :func:`cut_crops`.
        ModelNotReady: There are no weights in ``folder``.
    """
    aligner = open_aligner(folder)
    names, centres = list(descriptions), _centres(aligner, descriptions)
    named = []
    for shares in _shares(aligner.embed_crops(crops) @ centres.T, aligner.temperature):
        first, *others = np.argsort(-shares, kind="stable").tolist()
        second = others[0] if others else None
        named.append(
            Named(
                names[first],
                float(shares[first]),
                None if second is None else names[second],
                0.0 if second is None else float(shares[second]),
            )
        )
    return named


def by_description(
    defects: Sequence[Defect], vectors: Vectors, descriptions: Mapping[str, Sequence[str]], *, folder: Path = FOLDER
) -> tuple[Defect, ...]:
    """The defects, with the kinds that their pictures clearly have by some descriptions.

    Only what the difference sees is named. The picture is held against the descriptions, and against what ordinary
    defects of the kind that the detector took it for reach; offered together with the descriptions of kinds that were
    trained on, those would draw new ones to themselves. An earlier naming is taken back first.

    Args:
        defects: Of one board.
        vectors: Of :func:`embed`, a row for each of them.
        descriptions: For each kind that the detector does not know one or more wordings; none: nothing is named.
        folder: With the weights.

    Raises:
        InvalidInput: A kind has no wording.
        ModelNotReady: There are no weights in ``folder``.
    """
    plain = as_detected(defects)
    if not (plain and descriptions):
        return plain
    aligner = open_aligner(folder)
    names, centres = list(descriptions), _centres(aligner, descriptions)
    reached = {
        kind: np.quantile(held @ centres.T, ORDINARY, axis=0).astype(np.float32)
        for kind, held in aligner.ordinary.items()
    }
    return tuple(
        _named(defect, centres @ vector, reached, names, aligner.temperature)
        for defect, vector in zip(plain, vectors, strict=True)
    )


def as_detected(defects: Sequence[Defect], *, but: Container[str] = ()) -> tuple[Defect, ...]:
    """The defects with the kinds that the detector gave them; those named as a kind in ``but`` keep that."""
    return tuple(
        each.model_copy(update={"kind": each.naming.instead_of, "naming": None})
        if each.naming and each.kind not in but
        else each
        for each in defects
    )


def refuse_unclear(descriptions: Mapping[str, Sequence[str]], *, folder: Path = FOLDER) -> None:
    """Refuse descriptions by which no defect could be told: of two kinds that read alike, or of one in contradiction.

    Args:
        descriptions: For each kind its wordings.
        folder: With the weights.

    Raises:
        InvalidInput: The message names the kinds.
        ModelNotReady: There are no weights in ``folder``.
    """
    if not descriptions:
        return
    aligner, traits = open_aligner(folder), load_descriptions().traits
    names, centres = list(descriptions), _centres(aligner, descriptions)
    poles = _centres(aligner, {each: [*traits[each]["en"], *traits[each]["zh"]] for each in ("lacks", "extra")})
    for kind, wordings in descriptions.items():
        sides = aligner.embed_texts(list(wordings)) @ (poles[0] - poles[1])
        if sides.max() >= OPPOSITE and sides.min() <= -OPPOSITE:
            raise InvalidInput(
                f"The descriptions of {kind!r} contradict each other: by {wordings[int(sides.argmax())]!r} copper is "
                f"missing, and by {wordings[int(sides.argmin())]!r} there is too much. Where both are true, write them "
                "in one sentence.",
                kind=kind,
            )
    for at, kind in enumerate(names):
        for other_at in range(at):
            alike = float(centres[at] @ centres[other_at])
            if alike >= ALIKE:
                raise InvalidInput(
                    f"The descriptions of {names[other_at]!r} and {kind!r} read alike (likeness {alike:.2f}), so "
                    "nothing would tell them apart; describe what differs.",
                    kind=kind,
                )


def remarks(
    defects: Sequence[Defect],
    vectors: Vectors,
    *,
    descriptions: Descriptions | None = None,
    folder: Path = FOLDER,
) -> dict[int, Wording]:
    """Wordings for the defects of which the aligner is sure, by their numbers.

    The remarks on all kinds are weighed, and one is taken only where it leads clearly, is on the defect's own kind and
    does not contradict its measured size. So what is called long is longer than wide, by its picture and by its size.

    Args:
        defects: Of one board.
        vectors: Of :func:`embed`, a row for each of them.
        descriptions: By default those of the service.
        folder: With the weights.

    Raises:
        ModelNotReady: There are no weights in ``folder``.
    """
    known = descriptions or load_descriptions()
    offered = [(kind, trait, said) for kind in KINDS for trait, said in known.kinds[kind].remarks.items()]
    if not (defects and offered):
        return {}
    aligner = open_aligner(folder)
    texts = aligner.embed_texts([text for _, _, said in offered for text in (said["en"], said["zh"])])
    centres = unit(texts[0::2] + texts[1::2])
    found = {}
    for defect, shares in zip(defects, _shares(vectors @ centres.T, aligner.temperature), strict=True):
        first, second = np.argsort(-shares, kind="stable")[:2].tolist()
        kind, trait, _ = offered[first]
        if kind == defect.kind and shares[first] - shares[second] >= SURE and _agrees(trait, defect):
            found[defect.number] = Wording(key=f"{kind}.{trait}", share=round(float(shares[first]), 4))
    return found


def similar(query: Vectors, past: NDArray[np.floating] | NDArray[np.int8], top: int = 5) -> list[tuple[int, float]]:
    """The past defects that look most like one, best first: their rows in ``past``, and the cosine (-1 to 1).

    Args:
        query: One vector of :func:`embed`, [D].
        past: Those of past defects [N, D], of any length, also as whole numbers.
        top: How many at most, at least 1.

    Raises:
        InvalidInput: The shapes are others, or ``top`` is below 1.
    """
    if top < 1:
        raise InvalidInput(f"{top} similar defects cannot be looked for; ask for at least 1.", top=top)
    if past.ndim != 2 or query.shape != past.shape[1:]:
        raise InvalidInput(f"The query is {list(query.shape)}, the past {list(past.shape)}; [D] and [N, D] are needed.")
    scores = np.empty(len(past), np.float32)
    for at in range(0, len(past), _AT_ONCE):
        scores[at : at + _AT_ONCE] = unit(past[at : at + _AT_ONCE].astype(np.float32)) @ unit(query)
    order = np.argsort(-scores, kind="stable")[:top]
    return [(int(row), float(scores[row])) for row in order]


def _named(
    defect: Defect, likeness: NDArray[np.float32], reached: Mapping[str, Vectors], names: list[str], temperature: float
) -> Defect:
    ordinary = reached.get(defect.kind)
    if defect.seen is Seen.LEARNED or ordinary is None:
        return defect
    best = int(likeness.argmax())
    share = float(_shares(np.append(likeness, ordinary[best])[None], temperature)[0, best])
    if share < CLEAR or likeness[best] < AWAY:
        return defect
    naming = Naming(
        instead_of=defect.kind,
        share=round(share, 4),
        likeness=round(float(likeness[best]), 4),
        ordinary=round(float(ordinary[best]), 4),
    )
    return defect.model_copy(update={"kind": names[best], "naming": naming})


def _agrees(trait: str, defect: Defect) -> bool:
    """Whether a trait does not contradict the measured size; without one there is nothing to hold against it."""
    if defect.size is None or defect.size.width.value <= 0:
        return True
    longer = float(defect.size.length.value / defect.size.width.value)
    return {"line": longer >= _LONG[0], "round": longer <= _LONG[1]}.get(trait, True)


def _centres(aligner: Aligner, descriptions: Mapping[str, Sequence[str]]) -> Vectors:
    """The place of each kind: the mean of its wordings."""
    if not descriptions:
        raise InvalidInput("No kind is described; at least one is needed.")
    if empty := [name for name, wordings in descriptions.items() if not wordings]:
        raise InvalidInput(f"{empty[0]!r} has no description; write at least one sentence.")
    return unit(np.stack([aligner.embed_texts(list(each)).mean(axis=0) for each in descriptions.values()]))


def _shares(cosines: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    logits = cosines.astype(np.float64) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
