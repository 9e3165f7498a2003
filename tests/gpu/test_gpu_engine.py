"""The engine on a CUDA device writes what it writes on the CPU."""

import pytest
import torch

from evident_core.decode.generator import SamplingParams
from evident_core.decode.llm import LLM
from tiny_model import tiny_model, tiny_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]

PROMPTS = ["a", "The patient has no", "营业收入", "x" * 60]


@pytest.mark.parametrize("quantization", [None, "int8", "int4"])
def test_greedy_texts_are_those_of_the_cpu(quantization) -> None:
    params = SamplingParams(max_tokens=40)
    texts = [
        LLM(tiny_model(), tiny_tokenizer(), quantization=quantization, device=device, kernel=False).generate(
            PROMPTS, params
        )
        for device in ("cpu", "cuda")
    ]
    assert texts[0] == texts[1]


def test_a_batch_is_as_each_text_alone() -> None:
    llm = LLM(tiny_model(), tiny_tokenizer(), device="cuda")
    params = SamplingParams(max_tokens=40)
    assert llm.generate(PROMPTS, params) == [llm.generate([prompt], params)[0] for prompt in PROMPTS]
