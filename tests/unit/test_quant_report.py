"""The account of a quantisation: perplexity against its definition, the limit, and both ways to read it."""

import json
import math
from pathlib import Path

import pytest
import torch

from evident_core.errors import InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, ModelConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.quant import (
    Int4Config,
    Int8Config,
    QuantConfig,
    Report,
    load,
    perplexity,
    quantize_,
    report,
    save_quantized,
)
from evident_core.quant.account import Sizes

SHAPE = ModelConfig("evident", 31, 32, 48, 1, GQAConfig(2, 2, 16), RopeConfig(1e4, 16), max_position_embeddings=64)


def built() -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(SHAPE).eval()
    model.reset_parameters(0.3)
    return model


def texts() -> list[list[int]]:
    random = torch.Generator().manual_seed(0)
    return [torch.randint(0, 31, (length,), generator=random).tolist() for length in (50, 1, 0, 23)]


def test_perplexity_is_the_exponential_of_the_mean_surprise() -> None:
    model, surprises = built(), []
    with torch.no_grad():
        for text in texts():
            for start in range(0, len(text), 16):
                window = text[start : start + 16]
                for length in range(1, len(window)):
                    logits = model(Batch.packed([window[:length]]))[-1].double()
                    surprises.append(-float(logits.log_softmax(dim=0)[window[length]]))
    found, tokens = perplexity(model, texts(), window=16, batch_tokens=20)
    assert tokens == len(surprises)
    assert found == pytest.approx(math.exp(sum(surprises) / len(surprises)), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large() -> None:
    model = built()
    with torch.no_grad():
        model.get_submodule("head").get_parameter("weight").zero_()
    assert perplexity(model, texts())[0] == pytest.approx(31.0)
    assert perplexity(model, [[1, 2]])[1] == 1


def test_perplexity_without_a_token_to_predict_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least two tokens"):
        perplexity(built(), [[1], []])
    with pytest.raises(InvalidInput, match="Token 31 is not of"):
        perplexity(built(), [[1, 31]])


def told(config: QuantConfig, after: float) -> Report:
    return Report(config, Sizes(30, 100, 50), ()).measured(10.0, after, 7)


@pytest.mark.parametrize(
    ("config", "after", "said"),
    [
        (Int8Config(), 10.051, r"int8, .* from 10\.0000 to 10\.0510, a change of \+0\.51 %; the limit is 0\.5 %"),
        (Int8Config(), 9.9, r"a change of -1\.00 %; the limit is 0\.5 %"),
        (Int4Config(), 10.2, r"int4, .* a change of \+2\.00 %; the limit is 1\.0 %"),
        (Int4Config(), math.nan, "a change of"),
        (Int4Config(), math.inf, "a change of"),
    ],
)
def test_a_change_above_the_limit_is_refused_with_figure_and_limit(
    config: QuantConfig, after: float, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        told(config, after).refuse_loss()
    json.dumps(refused.value.details, allow_nan=False)
    json.dumps(told(config, after).to_dict(), allow_nan=False)


def test_a_change_within_the_limit_is_not() -> None:
    told(Int8Config(), 10.04).refuse_loss()
    told(Int8Config(), 9.96).refuse_loss()
    told(Int4Config(), 10.09).refuse_loss()
    Report(Int8Config(), Sizes(30, 100, 50), ()).refuse_loss()


def test_the_table_and_the_dictionary_tell_the_same() -> None:
    model = built()
    found = quantize_(model, Int4Config(32)).measured(8.0, 8.02, 71)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["perplexity"]["change_percent"] == pytest.approx(0.25)
    assert values["perplexity"]["limit_percent"] == 1.0
    assert values["bytes"]["share_of_bf16"] == pytest.approx(2 * values["bytes"]["share_of_fp32"])
    assert values["config"] == {"bits": 4, "group_size": 32, "clip": True, "steps": 20}
    table = found.table()
    assert "int4, groups of 32, plain rounding" in table
    assert "8.0000 -> 8.0200, +0.25 % (limit 1.0 %), 71 tokens" in table
    assert f"{values['bytes']['quantized'] / 2**20:.2f}" in table
    worst = max(values["tensors"], key=lambda each: each["mean"])
    line = next(line for line in table.splitlines() if line.startswith(worst["name"]))
    assert f"{100 * worst['mean']:.2f} %" in line
    assert f"{100 * worst['worst']:.2f} %" in line
    assert "not measured" in quantize_(built(), Int8Config()).table()


def test_a_model_tells_its_account_now_and_when_it_is_loaded_again(tmp_path: Path) -> None:
    model = built()
    with pytest.raises(InvalidInput, match="not quantised; call quantize_ first"):
        report(model)
    before, tokens = perplexity(model, texts())
    found = quantize_(model, Int8Config())
    assert report(model) == found
    measured = report(model, texts(), before)
    assert measured.perplexity is not None
    assert (measured.perplexity.before, measured.perplexity.tokens) == (before, tokens)
    assert measured.perplexity.after == perplexity(model, texts())[0]
    with pytest.raises(InvalidInput, match="give it as before"):
        report(model, texts())
    with pytest.raises(InvalidInput, match=r"the limit is 0\.5 %"):
        report(model, texts(), before * 1.1)
    assert report(model, texts(), before * 1.1, force=True).perplexity is not None
    save_quantized(model, tmp_path)
    again = report(load(tmp_path), texts(), before)
    assert again.perplexity == measured.perplexity
    assert again.sizes == found.sizes
    assert "int8, plain rounding" in again.table()
