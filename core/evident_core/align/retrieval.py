"""Finding by nearness: similar pictures, the description of a picture, a kind that was never trained on.

Shapes: Q queries, N of a gallery, D dimensions, K results of a query.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from evident_core.align.model import Aligner
from evident_core.errors import InvalidInput


@dataclass(frozen=True)
class Ranking:
    """What is nearest to each query, best first.

    Attributes:
        indices_QK: Rows of the gallery.
        scores_QK: Cosine similarities, -1 to 1.
    """

    indices_QK: Tensor
    scores_QK: Tensor


@dataclass(frozen=True)
class Named:
    """A name for a crop, with its share of all that was offered (0 to 1), and the second best."""

    name: str
    probability: float
    second: str | None
    second_probability: float


def retrieve(query_QD: Tensor, gallery_ND: Tensor, top: int = 5) -> Ranking:
    """The ``top`` rows of a gallery that are nearest to each query by cosine; fewer where the gallery is smaller.

    Raises:
        InvalidInput: The shapes do not agree, or the gallery is empty.
    """
    if query_QD.ndim != 2 or gallery_ND.ndim != 2 or query_QD.shape[1] != gallery_ND.shape[1]:
        raise InvalidInput(
            f"Queries are {tuple(query_QD.shape)}, the gallery {tuple(gallery_ND.shape)}; both must be rows x D."
        )
    if not len(gallery_ND):
        raise InvalidInput("The gallery is empty; there is nothing to find.")
    scores_QN = functional.normalize(query_QD, dim=1) @ functional.normalize(gallery_ND, dim=1).T
    scores_QK, indices_QK = scores_QN.topk(min(top, len(gallery_ND)), dim=1)
    return Ranking(indices_QK, scores_QK)


def recall_at(k: int, query_QD: Tensor, gallery_ND: Tensor, relevant_QN: Tensor) -> float:
    """The share of queries that find something relevant among their first ``k``; of those that have something relevant.

    Args:
        k: At least 1.
        query_QD: Embeddings.
        gallery_ND: Embeddings.
        relevant_QN: bool; what each query should find.

    Raises:
        InvalidInput: The shapes do not agree, or no query has anything relevant.
    """
    if relevant_QN.shape != (len(query_QD), len(gallery_ND)):
        raise InvalidInput(f"relevant_QN is {tuple(relevant_QN.shape)}; {(len(query_QD), len(gallery_ND))} is needed.")
    asked_Q = relevant_QN.any(dim=1)
    if not asked_Q.any():
        raise InvalidInput("No query has anything relevant in the gallery; recall has no meaning.")
    indices_QK = retrieve(query_QD, gallery_ND, k).indices_QK
    hits_Q = relevant_QN.gather(1, indices_QK).any(dim=1)
    return float(hits_Q[asked_Q].float().mean())


def classify_by_description(
    aligner: Aligner, crops_BCSS: Tensor, descriptions: Mapping[str, Sequence[str]]
) -> list[Named]:
    """Name each crop by the descriptions that it is nearest to, of kinds seen in training or not.

    A name's place in the space is the mean of its wordings. The probabilities are the softmax over the names offered,
    at the model's temperature; they say nothing of what was not offered.

    Args:
        aligner: A trained model.
        crops_BCSS: float in 0..1.
        descriptions: For each name one or more wordings, in any of the languages it was trained on.

    Raises:
        InvalidInput: No name is offered, or one has no wording.
    """
    if not descriptions:
        raise InvalidInput("No kind is described; at least one is needed.")
    if empty := [name for name, wordings in descriptions.items() if not wordings]:
        raise InvalidInput(f"{empty[0]!r} has no description; write at least one sentence.")
    names = list(descriptions)
    centres_ND = torch.stack(
        [functional.normalize(aligner.encode(list(descriptions[n])).mean(0), dim=0) for n in names]
    )
    shares_BN = (aligner.encode(crops_BCSS) @ centres_ND.T / aligner.temperature.detach()).softmax(dim=1)
    best_B2, order_B2 = shares_BN.topk(min(2, len(names)), dim=1)
    return [
        Named(names[order[0]], p[0], names[order[1]] if len(order) > 1 else None, p[1] if len(p) > 1 else 0.0)
        for p, order in zip(best_B2.tolist(), order_B2.tolist(), strict=True)
    ]
