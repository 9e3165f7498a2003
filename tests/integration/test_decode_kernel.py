"""The engine on the C++ kernel: it writes what PyTorch writes, the same to the bit whatever else is in the batch."""

import random
import threading

import numpy as np
import pytest
import torch

from evident_core.decode import LLM, Grammar, SamplingParams
from evident_core.decode.engine import EngineOptions
from evident_core.decode.kernel_runner import KernelRunner
from evident_core.moe.config import GQAConfig, MLAConfig, MoEConfig
from evident_core.moe.rope import RopeConfig
from evident_kernels import cpu
from tiny_model import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.skipif(cpu.library() is None, reason=f"no kernel here: {cpu.reason()}")

PROMPTS = ["a", "The patient has no", "营业收入", "x" * 60, "Zwei Werte: 1,2"]
SHAPES = {
    "experts": {},
    "tied": {"tie_word_embeddings": True},
    "window": {
        "attention": GQAConfig(num_heads=4, num_kv_heads=2, head_dim=16, sliding_window=9),
        "sliding_layers": (True, False),
    },
    "groups": {
        "moe": MoEConfig(
            num_experts=8,
            top_k=3,
            intermediate_size=32,
            score="sigmoid",
            expert_bias=True,
            num_groups=4,
            top_k_groups=2,
            group_score="top2_sum",
            scaling_factor=2.5,
            shared_intermediate_size=64,
        )
    },
}


def logits_seen(llm: LLM, prompt: str, count: int) -> list[np.ndarray]:
    """The logits of each step of a greedy text."""
    seen: list[np.ndarray] = []
    run = llm.runner.run

    def watched(step):
        logits = run(step)
        seen.extend(np.array(logits))
        return logits

    llm.runner.run = watched  # type: ignore[method-assign]
    try:
        llm.generate([prompt], SamplingParams(max_tokens=count))
    finally:
        del llm.runner.run
    return seen


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize(("quantization", "tolerance"), [(None, 2e-4), ("int8", 3e-2), ("int4", 3e-2)])
def test_logits_are_those_of_pytorch(shape: str, quantization, tolerance: float) -> None:
    """Within rounding of activations to int8: where a value lies between two steps, either may come out."""
    kernel, torch_ = (
        LLM(tiny_model(**SHAPES[shape]), tiny_tokenizer(), quantization=quantization, kernel=kernel)
        for kernel in (True, False)
    )
    for prompt in PROMPTS:
        (mine,), (other,) = logits_seen(kernel, prompt, 1), logits_seen(torch_, prompt, 1)
        error = np.linalg.norm(mine - other) / np.linalg.norm(other)
        assert error < tolerance
        assert error > 0, "the same thing was compared with itself"


@pytest.mark.parametrize("quantization", [None, "int8", "int4"])
def test_a_text_is_the_same_alone_and_among_others_however_steps_are_cut(quantization) -> None:
    params = SamplingParams(max_tokens=40, temperature=0.9, seed=4)
    alone = LLM(tiny_model(), tiny_tokenizer(), quantization=quantization)
    assert alone.runner.describes.startswith("C++ kernel")
    expected = [alone.generate([prompt], params)[0] for prompt in PROMPTS]
    for max_step_tokens in (3, 17, 512):
        options = EngineOptions(max_step_tokens=max_step_tokens, prefix_reuse=False)
        llm = LLM(tiny_model(), tiny_tokenizer(), quantization=quantization, options=options)
        assert llm.generate(PROMPTS, params) == expected
    first = logits_seen(alone, PROMPTS[1], 6)
    again = logits_seen(LLM(tiny_model(), tiny_tokenizer(), quantization=quantization), PROMPTS[1], 6)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


def test_one_thread_and_two_write_the_same() -> None:
    texts = [
        LLM(tiny_model(), tiny_tokenizer(), quantization="int8", threads=threads).generate(
            PROMPTS, SamplingParams(max_tokens=30)
        )
        for threads in (1, 2)
    ]
    assert texts[0] == texts[1]


def test_only_allowed_tokens_have_logits() -> None:
    llm = LLM(tiny_model(), tiny_tokenizer(), quantization="int8")
    (done,) = llm.generate(["x"], SamplingParams(grammar=Grammar.regex("[ab]{4,8}"), temperature=2.0, seed=1))
    assert set(done.text) <= {"a", "b"}
    assert 4 <= len(done.text) <= 8


def test_latent_attention_is_left_to_pytorch_and_says_why() -> None:
    mla = MLAConfig(
        num_heads=4, q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16
    )
    model = tiny_model(attention=mla, rope=RopeConfig(theta=10_000.0, dim=8, interleaved=True))
    assert "latent attention" in (KernelRunner.refusal(model) or "")
    llm = LLM(model, tiny_tokenizer(), quantization="int8")
    assert llm.runner.describes.startswith("PyTorch")
    assert llm.generate(["a"], SamplingParams(max_tokens=4))[0].completion_tokens == 4
    assert torch.is_inference_mode_enabled() is False


def test_models_may_be_opened_used_and_closed_one_after_another() -> None:
    """With more threads than cores, texts of several callers, and callers that come and go."""
    chance = random.Random(0)
    models, tokenizer = [tiny_model(seed) for seed in range(2)], tiny_tokenizer()
    wanted: dict[tuple[int, str], str] = {}
    wrong: list[str] = []

    def write(llm: LLM, number: int, prompts: list[str]) -> None:
        for prompt, done in zip(prompts, llm.generate(prompts, SamplingParams(max_tokens=6)), strict=True):
            if wanted.setdefault((number, prompt), done.text) != done.text:
                wrong.append(prompt)

    for _ in range(60):
        number = chance.randrange(len(models))
        llm = LLM(models[number], tokenizer, threads=chance.randint(1, 4), cache_mib=1)
        callers = [
            threading.Thread(target=write, args=(llm, number, chance.sample(PROMPTS, chance.randint(1, len(PROMPTS)))))
            for _ in range(3)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        llm.close()
    assert wrong == []
    assert len(wanted) == len(models) * len(PROMPTS)
