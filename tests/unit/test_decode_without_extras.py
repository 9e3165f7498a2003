"""What needs an extra is imported when it is called, and says how to get it."""

import subprocess
import sys

ABSENT = ("pydantic", "flask", "httpx", "httpcore", "jsonschema", "llguidance", "werkzeug")


def _run(program: str) -> str:
    hidden = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))"
    return subprocess.run(
        [sys.executable, "-c", f"{hidden}\n{program}"], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_rooms_that_ask_servers_import_without_any_extra():
    rooms = "address, client, conformance, dialects, refusals, secret, sse, transport"
    imports = f"from evident_core.decode import choose, LLM, Grammar; from evident_core.decode.remote import {rooms}"
    assert _run(f"{imports}; print('in')") == "in"


def test_a_missing_library_is_answered_with_the_command_that_adds_it():
    told = _run(
        "from evident_core.decode.remote import Remote, RemoteOptions\n"
        "from evident_core.errors import MissingExtra\n"
        "try:\n    Remote(RemoteOptions('http://127.0.0.1:1'))\n"
        "except MissingExtra as error:\n    print(error.message)"
    )
    assert told == "A model server is asked with httpx, which is not installed: pip install 'evident[llm]'"


def test_opening_a_model_does_not_import_pytorchs_compiler():
    """It takes seconds, and a command that writes one sentence would wait for it."""
    opened = "from evident_core.decode import LLM; LLM(); print('torch._dynamo' in sys.modules)"
    program = f"import sys\n{opened}"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
