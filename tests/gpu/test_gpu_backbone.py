"""The backbone on a CUDA device: what it computes there is what it computes on the CPU."""

import pytest
import torch

from evident_core.moe.attention import LayerCache, cache_shapes
from evident_core.moe.batch import Batch
from evident_core.moe.rows import Rows
from tiny_model import tiny_config, tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]


def _prompts() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(0, 320, (length,), generator=draw) for length in (1, 7, 64, 130)]


def _both() -> tuple[torch.nn.Module, torch.nn.Module]:
    return tiny_model(moe_layers=(True, True)), tiny_model(moe_layers=(True, True)).cuda()


def test_logits_on_the_device_are_those_of_the_cpu() -> None:
    """Packed sequences of unequal lengths, float32."""
    on_cpu, on_device = _both()
    with torch.inference_mode():
        wanted = on_cpu(Batch.packed(_prompts()))
        got = on_device(Batch.packed(_prompts(), device="cuda"))
    torch.testing.assert_close(got.cpu(), wanted, atol=1e-3, rtol=1e-3)


def test_decoding_from_the_cache_gives_the_logits_of_the_whole_on_the_device() -> None:
    """A prompt in one step, then one token a step for two sequences at once."""
    model = tiny_model(moe_layers=(True, True)).cuda()
    config = tiny_config(moe_layers=(True, True))
    keys, _ = cache_shapes(config)
    caches = [
        LayerCache(torch.zeros(256, *keys, device="cuda"), torch.zeros(256, *keys, device="cuda"))
        for _ in range(config.num_layers)
    ]
    sequences = [each.cuda() for each in _prompts()[2:]]
    tables = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 0, 0]], device="cuda")
    sequences[0], sequences[1] = sequences[1], sequences[0]

    def step(first: list[int], last: list[int]) -> torch.Tensor:
        places = [torch.arange(a, b, device="cuda") for a, b in zip(first, last, strict=True)]
        lengths = [b - a for a, b in zip(first, last, strict=True)]
        starts = [0, lengths[0], sum(lengths)]
        slots = [table[each // 16] * 16 + each % 16 for table, each in zip(tables, places, strict=True)]
        batch = Batch(
            token_ids_T=torch.cat([s[a:b] for s, a, b in zip(sequences, first, last, strict=True)]),
            positions_T=torch.cat(places),
            slots_T=torch.cat(slots),
            starts=starts,
            contexts=list(last),
            tables_SB=tables,
            rows_R=torch.tensor([starts[1] - 1, starts[2] - 1], device="cuda"),
            block_size=16,
        )
        with torch.inference_mode():
            return model(batch, caches)

    ends = [len(each) for each in sequences]
    logits = step([0, 0], [end - 3 for end in ends])
    for back in (2, 1, 0):
        logits = step([end - back - 1 for end in ends], [end - back for end in ends])
    with torch.inference_mode():
        whole = model(Batch.packed(sequences, device="cuda"))
    wanted = torch.stack([whole[ends[0] - 1], whole[sum(ends) - 1]])
    torch.testing.assert_close(logits, wanted, atol=1e-3, rtol=1e-3)


def test_rows_on_the_device_are_the_packed_model_on_the_cpu() -> None:
    """What training runs, without autocast, and its gradient of one expert's weight."""
    on_cpu, on_device = _both()
    tokens = torch.stack([_prompts()[3][:96], _prompts()[3][20:116]])
    wanted = on_cpu(Batch.packed(list(tokens)))
    got = Rows(on_device)(tokens.cuda()).flatten(0, 1)
    torch.testing.assert_close(got.cpu(), wanted, atol=1e-3, rtol=1e-3)
    wanted.square().mean().backward()
    got.square().mean().backward()
    for name in ("layers.0.mlp.experts.w13_EGD", "layers.1.mlp.router.gate.weight", "layers.0.attn.wq.weight"):
        gradient = dict(on_cpu.named_parameters())[name].grad
        assert gradient is not None
        torch.testing.assert_close(dict(on_device.named_parameters())[name].grad.cpu(), gradient, atol=1e-3, rtol=1e-2)


def test_half_precision_stays_near_float32() -> None:
    """bfloat16 weights: the distribution of the next token moves little, and nothing overflows."""
    on_cpu, on_device = _both()
    with torch.inference_mode():
        wanted = on_cpu(Batch.packed(_prompts())).log_softmax(-1)
        got = on_device.bfloat16()(Batch.packed(_prompts(), device="cuda")).log_softmax(-1).cpu()
    divergence = (wanted.exp() * (wanted - got)).sum(-1)
    assert divergence.isfinite().all()
    assert divergence.mean() < 0.1
