"""Models of some hundred megabytes: files stay small, and at no time is there a second copy of the weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.quant import Int4Config, Int8Config, QuantConfig, load, quantize_, save_quantized

# 67 M parameters, 255 MiB as float32; experts of a layer and the head are larger than a file may be.
SHAPE = ModelConfig(
    "evident", 20000, 1024, 1024, 3, GQAConfig(8, 2, 64), RopeConfig(1e4, 64), MoEConfig(4, 2, 768), (True, True, False)
)
MEASURE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, str(Path(sys.argv[1]).parent))
from test_quant_memory import SHAPE
from evident_core.moe.model import CausalLM
from evident_core.quant import Int4Config, Int8Config, load, quantize_

def peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is held now
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

if sys.argv[2] == "quantize":
    model = CausalLM(SHAPE)
    small = torch.randn(8, 8) @ torch.randn(8, 8)  # what the first product needs is no copy of weights
    before = peak(reset=True)
    quantize_(model, Int4Config() if sys.argv[3] == "4" else Int8Config())
else:
    with torch.device("meta"):
        CausalLM(SHAPE)  # loads the code for tensors without memory
    before = peak(reset=True)
    quantization = None if sys.argv[2] == "load" else Int8Config()
    model = load(sys.argv[3], quantization=quantization)
print(json.dumps(peak() - before))
"""


def mebibytes(*arguments: str) -> float:
    """What a fresh process needs beyond what it held before, at most."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, __file__, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not tell a process's peak of memory")
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout))


def built() -> CausalLM:
    torch.manual_seed(0)
    return CausalLM(SHAPE).eval()


FLOAT_MIB = 4 * SHAPE.num_parameters / 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize("bits", ["8", "4"])
def test_quantising_needs_no_second_copy(bits: str) -> None:
    assert FLOAT_MIB > 250
    # The rounded tensors take less than the float ones give back; what is left is one tensor and a block.
    assert mebibytes("quantize", bits) < 0.15 * FLOAT_MIB


@pytest.mark.parametrize("config", [Int8Config(), Int4Config()])
def test_files_stay_below_16_mib_and_are_read_back_to_the_bit(config: QuantConfig, tmp_path: Path) -> None:
    model = built()
    quantize_(model, config)
    save_quantized(model, tmp_path)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert max(path.stat().st_size for path in files) <= 16 << 20
    names = {name for path in files for name in safe_open(path, "pt").keys()}  # noqa: SIM118
    assert "head.weight:0" in names
    loaded = load(tmp_path)
    for (name, left), (other, right) in zip(
        sorted(model.state_dict().items()), sorted(loaded.state_dict().items()), strict=True
    ):
        assert name == other
        assert torch.equal(left, right)
    work = Batch.packed([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(model(work), loaded(work))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_loading_never_makes_the_float_copy(tmp_path: Path) -> None:
    from evident_core.moe.weights import save_model

    model = built()
    save_model(model, tmp_path / "float")
    quantize_(model, Int8Config())
    save_quantized(model, tmp_path / "int8")
    untied = 4 * SHAPE.vocab_size * SHAPE.hidden_size / 2**20
    int8 = untied + (FLOAT_MIB - untied) / 4
    # Beside the model itself: the pages of the file that is mapped, 16 MiB at most, and a few of what tells them apart.
    assert mebibytes("load", str(tmp_path / "int8")) < int8 + 50
    # Float files go by a layer at a time.
    layer = 4 * (3 * 1024 * 768 * 4 + 1024 * 64 * 20) / 2**20
    assert mebibytes("quantizing", str(tmp_path / "float")) < int8 + untied + layer + 50 < int8 + FLOAT_MIB
