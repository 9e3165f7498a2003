"""Steps through the PyTorch model: any family, any device."""

from typing import Final

import numpy as np
import torch

from evident_core.decode import sampler
from evident_core.decode.runner import Float32, StepInput
from evident_core.decode.sampler import Draw
from evident_core.moe.attention import LayerCache, cache_shapes
from evident_core.moe.batch import Batch
from evident_core.moe.model import CausalLM

BLOCK_SIZE: Final = 16


class TorchRunner:
    """Computes steps with ``CausalLM`` and a paged cache of the model's own dtype.

    Args:
        model: On its device, in the dtype it computes in.
        cache_bytes: Memory of the cache, which is allocated at once.
        max_tokens: Tokens after which more cache is of no use.
    """

    block_size: int = BLOCK_SIZE

    def __init__(self, model: CausalLM, cache_bytes: int, max_tokens: int) -> None:
        self._model = model.eval()
        parameter = model.norm.weight
        self._device = parameter.device
        shape_k, shape_v = cache_shapes(model.config)
        numbers = int(np.prod(shape_k)) + (int(np.prod(shape_v)) if shape_v else 0)
        bytes_per_block = model.config.num_layers * numbers * parameter.element_size() * BLOCK_SIZE
        wanted = -(-max_tokens // BLOCK_SIZE)
        self.num_blocks: int = max(1, min(wanted, cache_bytes // bytes_per_block))
        slots = self.num_blocks * BLOCK_SIZE

        def allocate(shape: tuple[int, ...]) -> torch.Tensor:
            return torch.zeros((slots, *shape), dtype=parameter.dtype, device=self._device)

        self._cache = [
            LayerCache(allocate(shape_k), allocate(shape_v) if shape_v else None)
            for _ in range(model.config.num_layers)
        ]

    @property
    def draw(self) -> Draw:
        """The plain definition of sampling."""
        return sampler.draw

    @property
    def describes(self) -> str:
        """What computes."""
        parameter = self._model.norm.weight
        threads = f", {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        return f"PyTorch, {self._device.type}, {str(parameter.dtype).removeprefix('torch.')}{threads}"

    @torch.inference_mode()
    def run(self, step: StepInput) -> Float32:
        """The logits of a step."""
        tables = torch.from_numpy(step.tables_SB).long()
        batch = Batch(
            token_ids_T=torch.from_numpy(step.token_ids_T).long().to(self._device),
            positions_T=torch.from_numpy(step.positions_T).long().to(self._device),
            slots_T=torch.from_numpy(step.slots_T).to(self._device),
            starts=step.starts.tolist(),
            contexts=step.contexts_S.tolist(),
            tables_SB=tables.to(self._device),
            rows_R=torch.from_numpy(step.rows_R).long().to(self._device),
            block_size=BLOCK_SIZE,
        )
        logits_RV: Float32 = self._model(batch, self._cache).float().cpu().numpy()
        if step.allowed_RW is not None:
            for row, allowed in zip(logits_RV, step.allowed_RW, strict=True):
                sampler.mask(row, allowed)
        return logits_RV
