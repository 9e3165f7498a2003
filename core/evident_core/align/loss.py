"""The contrastive loss, with as many right answers as there are.

Shapes: N left rows, M right rows, D dimensions.
"""

import torch
from torch import Tensor
from torch.nn import functional

from evident_core.errors import InvalidInput

TEMPERATURE = 0.1


def info_nce(
    left_ND: Tensor, right_MD: Tensor, positives_NM: Tensor | None = None, temperature: float | Tensor = TEMPERATURE
) -> Tensor:
    """Symmetric InfoNCE: each row is to be found by its counterparts among all rows of the other side.

    With one counterpart each, the loss of CLIP (Radford et al. 2021, figure 3). With more, the mean log-likelihood over
    them (Khosla et al. 2020, equation 2), so that a description which is true of several pictures is not held to be
    false of all but one. Rows without any counterpart stand among the others as wrong answers only.

    Args:
        left_ND: Embeddings; made unit vectors here.
        right_MD: Those of the other side.
        positives_NM: bool; which belong together. None: row i with row i.
        temperature: What similarities are divided by, above 0.

    Returns:
        The loss, a scalar: the mean of both directions.

    Raises:
        InvalidInput: The shapes do not agree, or nothing belongs together.
    """
    if left_ND.ndim != 2 or right_MD.ndim != 2 or left_ND.shape[1] != right_MD.shape[1]:
        raise InvalidInput(f"Embeddings are {tuple(left_ND.shape)} and {tuple(right_MD.shape)}; both must be rows x D.")
    shape = (left_ND.shape[0], right_MD.shape[0])
    if positives_NM is None:
        if shape[0] != shape[1]:
            raise InvalidInput(
                f"{shape[0]} rows and {shape[1]} are no pairs; say which belong together (positives_NM)."
            )
        positives_NM = torch.eye(shape[0], dtype=torch.bool, device=left_ND.device)
    if positives_NM.shape != shape:
        raise InvalidInput(f"positives_NM is {tuple(positives_NM.shape)}; it must be {shape}.")
    if not positives_NM.any():
        raise InvalidInput("No left row belongs to a right row; a contrast needs at least one pair.")
    logits_NM = functional.normalize(left_ND, dim=1) @ functional.normalize(right_MD, dim=1).T / temperature
    return (_one_way(logits_NM, positives_NM) + _one_way(logits_NM.T, positives_NM.T)) / 2


def _one_way(logits_NM: Tensor, positives_NM: Tensor) -> Tensor:
    counts_N = positives_NM.sum(dim=1)
    found_N = (functional.log_softmax(logits_NM.float(), dim=1) * positives_NM).sum(dim=1)
    asked_N = counts_N > 0
    return -(found_N[asked_N] / counts_N[asked_N]).mean()
