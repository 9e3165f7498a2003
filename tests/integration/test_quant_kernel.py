"""The compiled kernel on quantised models: on every instruction set it computes what the modules compute."""

import numpy as np
import pytest
import torch

from evident_core.decode.kernel_runner import describe
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.quant import Calibration, Int4Config, Int8Config, QuantConfig, quantize_
from evident_kernels import cpu

pytestmark = pytest.mark.skipif(cpu.library() is None, reason=f"no compiled kernel: {cpu.reason()}")
SHAPE = ModelConfig(
    "evident",
    vocab_size=211,
    hidden_size=128,
    intermediate_size=192,
    num_layers=2,
    attention=GQAConfig(4, 2, 32, qk_norm="head"),
    rope=RopeConfig(1e4, 32),
    moe=MoEConfig(4, 2, 64, shared_intermediate_size=96),
    moe_layers=(False, True),
    tie_word_embeddings=True,
    max_position_embeddings=64,
)
TEXT = torch.randint(0, 211, (40,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("config", [Int8Config(), Int4Config(128), Int4Config(32)])
def test_the_kernel_computes_what_the_modules_do(config: QuantConfig, calibrated: bool) -> None:
    torch.manual_seed(0)
    model = CausalLM(SHAPE).eval().requires_grad_(False)
    model.reset_parameters(0.08)
    quantize_(model, config, Calibration([TEXT.tolist()]) if calibrated else None)
    if isinstance(config, Int4Config):
        scales = model.layers[1].get_submodule("mlp.experts").get_buffer("w13_scales")
        assert bool((scales < 0).any())
        assert bool((scales > 0).any())
    expected_TV = model(Batch.packed([TEXT])).numpy()
    places = np.arange(len(TEXT), dtype=np.int64)
    spec = describe(model)
    assert cpu.supports(spec) is None
    for isa in cpu.isas():
        kernel = cpu.DecodeModel(spec, threads=1, isa=isa)
        caches = [[torch.zeros(len(TEXT), 2, 32) for _ in range(2)] for _ in range(2)]
        kernel.bind(*caches)
        got_TV = kernel.run(TEXT, places, places, [0, len(TEXT)], [len(TEXT)], places[None], places, 1)
        off_T = np.linalg.norm(got_TV - expected_TV, axis=1) / np.linalg.norm(expected_TV, axis=1)
        # Where an activation lies on the border of two integers, the order of a sum decides: few tokens, and slightly.
        assert float(off_T.max()) < 0.03
        assert float(np.median(off_T)) < 0.005
        kernel.close()
