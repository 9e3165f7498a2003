"""The whole-step kernel against its plain PyTorch definition, on every instruction set that this machine has.

Tolerances, relative to the largest logit. float32 weights: 1e-4, sums of a few hundred products in another order. int8
and int4: the integer sums are exact, and nearly every logit is within 1e-6; but where a float that is rounded to int8
lies within its own rounding error of a half, kernel and definition may take different integers, which changes that
token, and those that attend to it, by about one part in 127 of one input: all must be within 5e-2.
"""

import os
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evident_kernels import cpu, reference
from evident_kernels.spec import ModelSpec
from kernel_models import Cache, Plan, Text, step

pytestmark = pytest.mark.skipif(cpu.library() is None, reason=f"no kernels: {cpu.reason()}")

PLANS = {
    "qwen3_moe": Plan(qk_norm="head"),
    "olmoe": Plan(qk_norm="full", normalise=False, heads=4, kv_heads=4, top_k=3),
    "mixtral": Plan(window=7, experts=4),
    "qwen3_dense": Plan(qk_norm="head", dense_layers=(0, 1), tied=True, inner=96),
    "llama": Plan(dense_layers=(0, 1), bias=True, head_dim=8, rotated=4),
    "deepseek_moe": Plan(dense_layers=(0,), shared=64, scaling=2.5, normalise=False, interleaved=True),
    "evident": Plan(
        score="sigmoid",
        expert_bias=True,
        num_groups=4,
        top_k_groups=2,
        group_score="top2_sum",
        shared=32,
        tied=True,
        layers=3,
    ),
    "wide": Plan(hidden=640, inner=128, head_dim=32, group_size=128, qk_norm="head", shared=256, layers=1),
    "narrow_groups": Plan(num_groups=4, top_k_groups=1, group_score="max", hidden=96, inner=160, vocab=64),
}
KINDS = ("f32", "int8", "int4")


def plan_of(name: str, kind: str) -> Plan:
    return Plan(**{**PLANS[name].__dict__, "kind": kind})


def reference_step(spec: ModelSpec, cache: Cache, arguments: dict) -> np.ndarray:
    converted = [torch.as_tensor(each) if isinstance(each, np.ndarray) else each for each in arguments.values()]
    return reference.decode_step(spec, cache.keys, cache.values, *converted).numpy()


def distances(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(got - wanted).max(axis=1) / np.abs(wanted).max()


def texts(cache: Cache, spec: ModelSpec, lengths: list[int], seed: int = 1) -> list[Text]:
    draw = np.random.default_rng(seed)
    return [Text(cache, draw.integers(0, spec.vocab_size, length)) for length in lengths]


@pytest.mark.parametrize("isa", cpu.isas())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANS)
def test_prefill_and_decode_equal_the_definition(name, kind, isa):
    spec = plan_of(name, kind).build()
    assert cpu.supports(spec) is None
    caches = [Cache(spec), Cache(spec)]
    model = cpu.DecodeModel(spec, threads=2, isa=isa)
    model.bind(caches[0].keys, caches[0].values)
    pairs = [texts(cache, spec, [40, 12, 9]) for cache in caches]
    found = []
    for counts in ([37, 1, 5], [1, 1, 1], [1, 8, 1], [1, 2, 2]):
        ours, theirs = (
            step(cache, list(zip(sequences, counts, strict=True)))
            for cache, sequences in zip(caches, pairs, strict=True)
        )
        found.append(distances(model.run(**ours), reference_step(spec, caches[1], theirs)))
    every = np.concatenate(found)
    if kind == "f32":
        assert every.max() < 1e-4
        assert torch.allclose(caches[0].keys[-1], caches[1].keys[-1], rtol=1e-4, atol=1e-4)
        assert torch.allclose(caches[0].values[-1], caches[1].values[-1], rtol=1e-4, atol=1e-4)
    else:
        assert every.max() < 5e-2
        assert np.median(every) < 1e-4 or np.mean(every) < 1e-2


@pytest.mark.parametrize("isa", cpu.isas())
def test_half_precision_cache_is_rounded_as_pytorch_rounds(isa):
    spec = Plan(window=9).build()
    caches = [Cache(spec, dtype=torch.float16) for _ in range(2)]
    model = cpu.DecodeModel(spec, isa=isa)
    model.bind(caches[0].keys, caches[0].values)
    (ours, theirs) = (step(cache, [(texts(cache, spec, [30])[0], 30)]) for cache in caches)
    assert distances(model.run(**ours), reference_step(spec, caches[1], theirs)).max() < 1e-3
    difference = (caches[0].values[0].float() - caches[1].values[0].float()).abs()
    assert difference.max() < 2e-3
    assert (difference == 0).float().mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", cpu.isas())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_logits_do_not_depend_on_batch_chunks_pages_or_threads(kind, isa, data):
    """To the bit: a token's logits are those it has when its text is run alone, token by token."""
    plan = data.draw(st.sampled_from(["narrow", "wide"]), label="plan")
    narrow = Plan(kind=kind, qk_norm="head", window=5, shared=32, dense_layers=(1,), layers=3, vocab=67)
    spec = narrow.build() if plan == "narrow" else plan_of("wide", kind).build()
    lengths = data.draw(st.lists(st.integers(1, 21), min_size=1, max_size=6), label="lengths")
    alone = cpu.DecodeModel(spec, threads=1, isa=isa)
    wanted = []
    for index in range(len(lengths)):
        cache = Cache(spec, block_size=16)
        alone.bind(cache.keys, cache.values)
        text = texts(cache, spec, lengths)[index]
        wanted.append(np.concatenate([alone.run(**step(cache, [(text, 1)])).copy() for _ in text.ids]))
    together = cpu.DecodeModel(spec, threads=data.draw(st.integers(1, 3), label="threads"), isa=isa)
    cache = Cache(spec, block_size=data.draw(st.sampled_from([1, 3, 4]), label="block size"), blocks=160)
    together.bind(cache.keys, cache.values)
    sequences = texts(cache, spec, lengths)
    while left := [index for index, text in enumerate(sequences) if text.done < len(text.ids)]:
        part = data.draw(st.lists(st.sampled_from(left), min_size=1, unique=True), label="sequences")
        counts = [
            data.draw(st.integers(1, len(sequences[index].ids) - sequences[index].done), label="tokens")
            for index in part
        ]
        got = together.run(
            **step(cache, [(sequences[index], count) for index, count in zip(part, counts, strict=True)])
        )
        at = 0
        for index, count in zip(part, counts, strict=True):
            end = sequences[index].done
            assert np.array_equal(got[at : at + count], wanted[index][end - count : end])
            at += count


@pytest.mark.parametrize("kind", KINDS)
def test_avx2_and_avx512_agree(kind):
    """float32 and int8 to the bit; int4 adds its groups' sums in other lanes."""
    if cpu.isas()[:2] != ("avx512vnni", "avx2"):
        pytest.skip("this machine has not both")
    spec = Plan(kind=kind, qk_norm="full", shared=32).build()
    logits = []
    for isa in ("avx512vnni", "avx2"):
        cache = Cache(spec)
        model = cpu.DecodeModel(spec, isa=isa)
        model.bind(cache.keys, cache.values)
        logits.append(model.run(**step(cache, [(texts(cache, spec, [33])[0], 33)])).copy())
    if kind == "int4":
        assert np.median(distances(*logits)) < 1e-4
    else:
        assert np.array_equal(*logits)


@pytest.mark.parametrize("isa", cpu.isas())
@pytest.mark.parametrize("kind", ["f32", "int8"])
def test_masks_leave_allowed_logits_as_they_are(kind, isa):
    spec = Plan(kind=kind, vocab=1003).build()
    cache, again = Cache(spec), Cache(spec)
    model = cpu.DecodeModel(spec, threads=2, isa=isa)
    counts = [3, 1, 7, 1]
    model.bind(cache.keys, cache.values)
    sequences = texts(cache, spec, counts)
    free = model.run(**step(cache, list(zip(sequences, counts, strict=True)))).copy()
    draw = np.random.default_rng(3)
    shares = np.array([0.0, 1.0, 0.001, 0.999, 0.5, 0.02, 0.3, 1.0, 0.9, 0.1, 0.7, 0.01])
    allowed = draw.random(free.shape) < shares[:, None]
    bits = np.zeros((len(free), -(-1003 // 32) * 32), bool)
    bits[:, :1003] = allowed
    words = np.packbits(bits, axis=1, bitorder="little").view(np.int32)
    model.bind(again.keys, again.values)
    masked = model.run(**step(again, list(zip(texts(again, spec, counts), counts, strict=True))), masks=words)
    assert np.array_equal(masked, np.where(allowed, free, -np.inf))


def test_rows_choose_whose_logits_are_given():
    spec = Plan().build()
    cache = Cache(spec)
    model = cpu.DecodeModel(spec)
    model.bind(cache.keys, cache.values)
    every = model.run(**step(cache, [(texts(cache, spec, [9])[0], 9)])).copy()
    some = model.run(**step(cache, [(texts(cache, spec, [9])[0], 9)], rows=[8, 0, 8]))
    assert np.array_equal(some, every[[8, 0, 8]])
    assert model.run(**step(cache, [(texts(cache, spec, [9])[0], 9)], rows=[])).shape == (0, spec.vocab_size)


def test_logits_go_where_they_are_wanted():
    spec = Plan().build()
    cache = Cache(spec)
    model = cpu.DecodeModel(spec)
    model.bind(cache.keys, cache.values)
    text = texts(cache, spec, [3])[0]
    out = np.full((1, spec.vocab_size), np.nan, np.float32)
    got = model.run(**step(cache, [(text, 1)]), out=out)
    assert got is out
    assert np.isfinite(out).all()
    kept = model.run(**step(cache, [(text, 1)]))
    assert np.shares_memory(kept, model.run(**step(cache, [(text, 1)])))


def test_not_a_number_in_is_not_a_number_out():
    plan = Plan(kind="int8")
    spec = plan.build()
    assert isinstance(spec.layers[0].attn_norm, torch.Tensor)
    spec.layers[0].attn_norm[3] = torch.nan
    cache = Cache(spec)
    model = cpu.DecodeModel(spec)
    model.bind(cache.keys, cache.values)
    assert np.isnan(model.run(**step(cache, [(texts(cache, spec, [2])[0], 2)]))).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token_ids": [5, 203, 7]}, r"token_ids\[1\] is 203; the vocabulary has 203"),
        ({"token_ids": [5, -1, 7]}, r"token_ids\[1\] is -1"),
        ({"positions": [0, 1, 3]}, r"positions\[2\] is 3; with contexts\[0\] = 3 it must be 2"),
        ({"contexts": [2]}, r"contexts\[0\] is 2, less than the 3 tokens"),
        ({"contexts": [600]}, r"contexts\[0\] is 600; the rotary tables of the model end at 512"),
        ({"contexts": [9]}, r"contexts\[0\] is 9, more than the table's 1 blocks of 4 hold"),
        ({"tables": [[64]]}, r"tables\[0, 0\] is 64; the cache has 256 slots in blocks of 4"),
        ({"slots": [0, 0, 0]}, r"slots\[\d\] is 0; the table of its sequence says \d+"),
        ({"rows": [3]}, r"rows\[0\] is 3; the step has 3 tokens"),
        ({"starts": [0, 2]}, "starts must rise from 0 to the number of tokens, 3; its last is 2"),
        ({"block_size": 0}, "block_size is 0"),
        ({"slots": [1, 2]}, "belong together"),
        ({"masks": np.zeros((1, 7), np.int32)}, "masks are int32"),
        ({"out": np.zeros((3, 9), np.float32)}, "out is float32"),
    ],
)
def test_a_wrong_step_is_refused_and_named(change, told):
    spec = Plan().build()
    cache = Cache(spec)
    model = cpu.DecodeModel(spec)
    model.bind(cache.keys, cache.values)
    arguments = step(cache, [(texts(cache, spec, [3])[0], 3)])
    with pytest.raises(ValueError, match=told):
        model.run(**{**arguments, **change})
    model.run(**arguments)


def test_a_cache_has_to_be_bound_and_to_fit():
    spec = Plan().build()
    cache = Cache(spec)
    model = cpu.DecodeModel(spec)
    arguments = step(cache, [(texts(cache, spec, [3])[0], 3)])
    with pytest.raises(ValueError, match="no cache is bound"):
        model.run(**arguments)
    with pytest.raises(ValueError, match="the model has 2 layers"):
        model.bind(cache.keys[:1], cache.values)
    with pytest.raises(ValueError, match="float32 or float16 is needed"):
        model.bind([k.double() for k in cache.keys], cache.values)
    with pytest.raises(ValueError, match=r"contiguous float32 \(256, 2, 16\) is needed"):
        model.bind(cache.keys, [v.transpose(1, 2) for v in cache.values])
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.bind(cache.keys, cache.values)


def test_an_instruction_set_that_is_not_there_is_refused():
    spec = Plan().build()
    with pytest.raises(ValueError, match="cannot run altivec; it has"):
        cpu.DecodeModel(spec, isa="altivec")
    with pytest.raises(ValueError, match="threads is 0; it must be from 1 to 64"):
        cpu.DecodeModel(spec, threads=0)


def test_threads_of_the_caller_take_turns():
    """Many Python threads call one model and its neighbour at the same time; each gets what it gets alone."""
    spec = Plan(kind="int8", vocab=101).build()
    models = [cpu.DecodeModel(spec, threads=2) for _ in range(2)]
    cache = Cache(spec, blocks=256)
    for model in models:
        model.bind(cache.keys, cache.values)
    sequences = texts(cache, spec, [13] * 8)
    wanted = []
    for text in sequences:
        wanted.append(models[0].run(**step(cache, [(text, 5)])).copy())
        text.done = 0
    wrong: list[int] = []

    def work(index: int) -> None:
        out = np.empty((5, 101), np.float32)
        for _ in range(20):
            arguments = step(cache, [(sequences[index], 5)])
            sequences[index].done = 0
            models[index % 2].run(**arguments, out=out)
            if not np.array_equal(out, wanted[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_closing_waits_for_the_step_that_another_thread_runs():
    spec = Plan(kind="int8", vocab=101).build()
    outcomes: list[str] = []

    def work(model: cpu.DecodeModel, cache: Cache, text: Text) -> None:
        try:
            while True:
                model.run(**step(cache, [(text, 5)]))
                text.done = 0
        except ValueError as error:
            outcomes.append(str(error))

    for _ in range(20):
        cache = Cache(spec)
        model = cpu.DecodeModel(spec, threads=2)
        model.bind(cache.keys, cache.values)
        worker = threading.Thread(target=work, args=(model, cache, *texts(cache, spec, [13])))
        worker.start()
        model.close()
        worker.join()
    assert outcomes == ["this model was closed"] * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_computes_the_same():
    """As a server that loads a model and then starts its workers by forking does it."""
    spec = Plan(kind="int8").build()
    cache = Cache(spec)
    model = cpu.DecodeModel(spec, threads=3)
    model.bind(cache.keys, cache.values)
    arguments = step(cache, [(texts(cache, spec, [30])[0], 30)])
    wanted = model.run(**arguments).copy()
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(model.run(**arguments), wanted) for _ in range(20))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(model.run(**arguments), wanted)
