"""The quantised modules on a CUDA device against the CPU's: the integers are the same, and so are their sums."""

import copy
from pathlib import Path

import pytest
import torch

from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.quant import (
    Calibration,
    Int4Config,
    Int8Config,
    QuantConfig,
    QuantLinear,
    load,
    quantize_,
    save_quantized,
)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
CONFIGS: list[QuantConfig] = [Int8Config(), Int4Config(group_size=32)]
SHAPES = {
    "gqa": ModelConfig(
        "evident", 96, 64, 96, 2, GQAConfig(4, 2, 16), RopeConfig(1e4, 16), MoEConfig(4, 2, 32), (False, True)
    ),
    "mla": ModelConfig(
        "evident", 97, 64, 96, 2, MLAConfig(4, 32, 32, 16, 8, 16), RopeConfig(1e4, 8), tie_word_embeddings=True
    ),
}
WORK = [[5, 9, 90, 1, 2], [7, 7, 3]]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(name: str) -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(SHAPES[name]).eval().requires_grad_(False)
    model.reset_parameters(0.1)
    return model


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("tokens", "outputs", "width"), [(1, 24, 64), (40, 256, 1536), (3, 33, 4096)])
def test_a_linear_is_the_same_on_both(config: QuantConfig, tokens: int, outputs: int, width: int) -> None:
    layer = QuantLinear.quantize(random(outputs, width), random(outputs, seed=1), config, "w")
    x_TI = random(tokens, width, seed=2)
    y_TO = layer(x_TI)
    there = copy.deepcopy(layer).cuda()
    assert torch.equal(there.weight.cpu(), layer.weight)
    got = there(x_TI.cuda()).cpu()
    assert float((got - y_TO).abs().max()) <= 2e-6 * float(y_TO.abs().max())
    half = there(x_TI.cuda().bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float().cpu() - layer(x_TI.bfloat16().float())).abs().max()) <= 1e-2 * float(y_TO.abs().max())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_model_quantised_there_is_the_one_quantised_here(name: str, config: QuantConfig, tmp_path: Path) -> None:
    if isinstance(config, Int4Config):  # of scales that are equally good, the search may take another there
        config = Int4Config(32, clip=False)
    here, there = built(name), built(name).cuda()
    quantize_(here, config)
    quantize_(there, config)
    same = [torch.equal(left, right.cpu()) for left, right in zip(here.buffers(), there.buffers(), strict=True)]
    assert all(same)
    exact, got = here(Batch.packed(WORK)), there(Batch.packed(WORK, device="cuda")).cpu()
    # A rounding of an activation may fall the other way.
    assert float((got - exact).norm()) <= 0.02 * float(exact.norm())
    save_quantized(there, tmp_path)
    loaded = load(tmp_path, device="cuda")
    assert torch.equal(loaded(Batch.packed(WORK, device="cuda")).cpu(), got)


@pytest.mark.parametrize("name", SHAPES)
def test_calibration_runs_there(name: str) -> None:
    model = built(name).cuda()
    report = quantize_(model, Int4Config(32), Calibration([[token % 96 for token in range(200)]]))
    assert all(choice.error <= choice.plain for choice in report.choices)
    exact = built(name)(Batch.packed(WORK))
    assert float((model(Batch.packed(WORK, device="cuda")).cpu() - exact).norm()) < 0.5 * float(exact.norm())
