"""Loading a model never holds its weights twice: measured as the kernel's own peak of a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixtral_checkpoints import mixtral_config, mixtral_tensors, write_checkpoint

MEMORY = """
import re, sys
from pathlib import Path
from evident_core.moe.weights import load_model

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

load_model(sys.argv[2])  # PyTorch imports much of itself with the first model
Path("/proc/self/clear_refs").write_text("5")
before = peak()
model = load_model(sys.argv[1])
print(peak() - before, sum(each.nbytes for each in model.parameters()))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory is told by Linux alone")
@pytest.mark.parametrize("shards", ["one", "many"])
def test_loading_never_holds_the_weights_twice(tmp_path: Path, shards: str) -> None:
    """The peak of all memory of the process, mapped pages included, is the weights and one stretch of a file."""
    config = mixtral_config(hidden_size=512, intermediate_size=1024, num_local_experts=16, num_hidden_layers=2)
    tensors = mixtral_tensors(config)
    size = sum(each.nbytes for each in tensors.values())
    assert size > 200e6
    large, small = tmp_path / "large", tmp_path / "small"
    large.mkdir()
    small.mkdir()
    write_checkpoint(large, config, tensors, files=1 if shards == "one" else 6)
    write_checkpoint(small, mixtral_config(), mixtral_tensors(mixtral_config()))
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, large, small], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    grown, weights = map(int, out.split())
    assert weights == size
    assert weights < grown < weights + (96 << 20)
