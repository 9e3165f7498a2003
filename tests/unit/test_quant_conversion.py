"""quantize_: which modules change, what the whole model then computes, and what is freed when."""

import copy
import gc
import weakref

import pytest
import torch

from evident_core.errors import InvalidInput
from evident_core.moe.attention import LayerCache, cache_shapes
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.experts import Experts
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.quant import Int4Config, Int8Config, QuantConfig, QuantExperts, QuantLinear, is_quantized, quantize_

GQA_MOE = ModelConfig(
    "evident",
    vocab_size=97,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    attention=GQAConfig(4, 2, 16, qk_norm="head", bias=True),
    rope=RopeConfig(1e4, 16),
    moe=MoEConfig(4, 2, 32, shared_intermediate_size=64),
    moe_layers=(False, True),
    max_position_embeddings=128,
)
MLA_TIED = ModelConfig(
    "evident",
    vocab_size=97,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    attention=MLAConfig(4, 32, 32, 16, 8, 16),
    rope=RopeConfig(1e4, 8),
    tie_word_embeddings=True,
    max_position_embeddings=128,
)
CONFIGS: list[QuantConfig] = [Int8Config(), Int4Config(group_size=32)]


def built(config: ModelConfig, seed: int = 0) -> CausalLM:
    torch.manual_seed(seed)
    model = CausalLM(config).eval()
    model.reset_parameters(0.1)
    return model


def batch(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    return Batch.packed([torch.randint(0, 97, (length,), generator=random) for length in (9, 4)])


@torch.no_grad()
def dequantized(model: CausalLM, quantized: CausalLM) -> CausalLM:
    """The float model that has the quantised one's weights."""
    twin = copy.deepcopy(model)
    for name, module in quantized.named_modules():
        if isinstance(module, QuantLinear):
            twin.get_submodule(name).get_parameter("weight").copy_(module.dequantize())
        elif isinstance(module, QuantExperts):
            w13, w2 = module.dequantize()
            twin.get_submodule(name).get_parameter("w13_EGD").copy_(w13)
            twin.get_submodule(name).get_parameter("w2_EDF").copy_(w2)
    return twin


@pytest.mark.parametrize("config", CONFIGS)
def test_linears_and_experts_change_and_routers_norms_and_embedding_do_not(config: QuantConfig) -> None:
    model = built(GQA_MOE)
    report = quantize_(model, config)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert kinds["layers.0.attn.wq"] == kinds["layers.0.mlp.w13"] == kinds["layers.1.mlp.shared.w2"] == "QuantLinear"
    assert kinds["layers.1.mlp.experts"] == "QuantExperts"
    assert kinds["layers.1.mlp.router.gate"] == "Linear"
    assert kinds["embed"] == "Embedding"
    head = model.get_submodule("head")
    assert isinstance(head, QuantLinear)
    assert head.bits == 8
    assert {each.bits for each in report.tensors if each.name != "head.weight"} == {config.bits}
    assert {name for name, _ in model.named_parameters()} == {
        name for name, _ in built(GQA_MOE).named_parameters() if "norm" in name or "gate" in name or "embed" in name
    }


@pytest.mark.parametrize("shape", [GQA_MOE, MLA_TIED])
@pytest.mark.parametrize("config", CONFIGS)
def test_the_model_computes_what_its_integers_stand_for(shape: ModelConfig, config: QuantConfig) -> None:
    model, work = built(shape), batch()
    quantized = copy.deepcopy(model)
    quantize_(quantized, config)
    with torch.no_grad():
        logits, same = quantized(work), dequantized(model, quantized)(work)
        # What is left is the rounding of activations to int8 alone.
        assert float((logits - same).norm() / same.norm()) < 0.03
        assert float((logits - model(work)).norm() / same.norm()) < (0.05 if config.bits == 8 else 0.35)


@pytest.mark.parametrize("shape", [GQA_MOE, MLA_TIED])
def test_cached_decoding_is_as_close_to_the_whole_as_activations_allow(shape: ModelConfig) -> None:
    model = built(shape)
    quantize_(model, Int8Config())
    ids = torch.randint(0, 97, (1, 12), generator=torch.Generator().manual_seed(0))[0]
    k_shape, v_shape = cache_shapes(shape)
    cache = [
        LayerCache(torch.zeros(16, *k_shape), None if v_shape is None else torch.zeros(16, *v_shape))
        for _ in range(shape.num_layers)
    ]
    steps = []
    with torch.no_grad():
        whole = model(Batch.packed([ids]))
        for at in range(12):
            one = torch.tensor([at])
            step = Batch(ids[at : at + 1], one, one, [0, 1], [at + 1], torch.tensor([[0]]), torch.tensor([0]), 16)
            steps.append(model(step, cache)[0])
    assert float((torch.stack(steps) - whole).norm() / whole.norm()) < 0.05


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_a_report_counts_bytes_and_errors(config: QuantConfig) -> None:
    model = built(GQA_MOE)
    report = quantize_(model, config)
    assert report.sizes.fp32 == 4 * GQA_MOE.num_parameters == 2 * report.sizes.bf16
    stored = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert report.sizes.quantized == stored
    wq = next(each for each in report.tensors if each.name == "layers.0.attn.wq.weight")
    exact, got = built(GQA_MOE).layers[0].attn.wq.weight, model.layers[0].attn.wq.dequantize()  # type: ignore[union-attr]
    assert wq.worst == pytest.approx(float((got - exact).abs().max() / exact.abs().max()), rel=1e-4)
    assert wq.mean == pytest.approx(float((got - exact).norm() / exact.norm()), rel=1e-4)
    experts = next(each for each in report.tensors if each.name == "layers.1.mlp.experts.w2")
    module, plain = model.layers[1].mlp.experts, built(GQA_MOE).layers[1].mlp.experts  # type: ignore[union-attr]
    exact, got = plain.w2_EDF, module.dequantize()[1]  # type: ignore[union-attr,operator]
    assert experts.mean == pytest.approx(float((got - exact).norm() / exact.norm()), rel=1e-4)
    assert report.perplexity is None
    assert report.method == "round"


def test_rows_in_blocks_are_rounded_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, blocks = built(GQA_MOE), built(GQA_MOE)
    errors = quantize_(whole, Int4Config(32)).tensors
    monkeypatch.setattr("evident_core.quant.conversion._BLOCK", 500)
    for left, right in zip(errors, quantize_(blocks, Int4Config(32)).tensors, strict=True):
        assert (left.name, left.worst) == (right.name, right.worst)
        assert left.mean == pytest.approx(right.mean)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, blocks.state_dict()[name])


def test_float_weights_are_freed_layer_by_layer() -> None:
    model = built(GQA_MOE)
    floats = {name: weakref.ref(parameter) for name, parameter in model.named_parameters()}
    kept = {name for name in floats if "norm" in name or "gate" in name or "embed" in name}
    alive: list[set[str]] = []

    def watch(stage: str, done: int, total: int) -> None:
        gc.collect()
        alive.append({name for name, reference in floats.items() if reference() is not None})

    quantize_(model, Int8Config(), progress=watch)
    assert len(alive) == 2
    assert not {name for name in alive[0] if name.startswith("layers.0.")} - kept
    assert {name for name in alive[0] if name.startswith("layers.1.")} - kept
    assert {name for name, reference in floats.items() if reference() is not None} == kept


@pytest.mark.parametrize("config", CONFIGS)
def test_a_model_that_cannot_be_quantised_is_named_and_left_as_it_was(config: QuantConfig) -> None:
    model = built(GQA_MOE)
    experts = model.layers[1].mlp.experts  # type: ignore[union-attr]
    assert isinstance(experts, Experts)
    with torch.no_grad():
        experts.w2_EDF[3, 5, 7] = torch.nan
    with pytest.raises(InvalidInput, match=r"layers\.1\.mlp\.experts\.w2_EDF holds weights that are not finite"):
        quantize_(model, config)
    assert not is_quantized(model)


def test_rows_that_no_group_divides_are_named_before_anything_changes() -> None:
    odd = ModelConfig("evident", 97, 64, 100, 1, GQAConfig(4, 2, 16), RopeConfig(1e4, 16))
    model = built(odd)
    with pytest.raises(InvalidInput, match=r"layers\.0\.mlp\.w2\.weight has rows of 100 .* groups of 128"):
        quantize_(model, Int4Config())
    assert not is_quantized(model)
    quantize_(model, Int8Config())
    assert is_quantized(model)


def test_what_is_quantised_already_stays() -> None:
    model = built(GQA_MOE)
    quantize_(model, Int8Config())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert quantize_(model, Int4Config()).tensors == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_in_half_precision_keeps_its_type_outside_the_integers() -> None:
    model = built(MLA_TIED).bfloat16()
    quantize_(model, Int8Config())
    with torch.no_grad():
        assert model.hidden(batch()).dtype == torch.bfloat16
        assert model(batch()).dtype == torch.float32
    float_model = built(MLA_TIED).bfloat16().float()
    quantize_(float_model, Int8Config())
    integers = [name for name, tensor in model.state_dict().items() if tensor.dtype == torch.int8]
    assert integers
    assert all(torch.equal(model.state_dict()[name], float_model.state_dict()[name]) for name in integers)
