"""The page of a served language model in a real browser."""

import pytest

from evident_core.decode.generator import SamplingParams
from evident_core.web.llm_api import create_llm_app
from llm_server import tiny_llm, tiny_settings

pytestmark = pytest.mark.browser


def test_a_prompt_is_answered_on_the_page(serve, open_page, tmp_path):
    llm = tiny_llm()
    page = open_page()
    page.goto(serve(create_llm_app(tiny_settings(tmp_path, max_tokens=30), llm)) + "/")
    page.get_by_label("Prompt").fill("What do you see?")
    page.get_by_role("button", name="Write").click()
    page.wait_for_selector(".written")
    page.wait_for_load_state()
    [expected] = llm.generate([[{"role": "user", "content": "What do you see?"}]], SamplingParams(max_tokens=30))
    # What the model writes is noise; of it HTML keeps all but carriage returns and NUL.
    shown = expected.text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    assert page.locator(".written").text_content() == shown
    assert page.get_by_label("Prompt").input_value() == "What do you see?"
