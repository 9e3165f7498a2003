"""Ultralytics is kept in one module, opens no socket, and opens no foreign pickle."""

import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from evident_core.errors import InvalidInput

pytestmark = pytest.mark.skipif(find_spec("ultralytics") is None, reason="the extra training is not installed")

QUIET = """
import socket, sys
def refuse(*_, **__):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from evident_manufacturing.inspection import detect
model = detect.yolo()(detect.ARCHITECTURE)
import torch, torchvision
from ultralytics.utils.nms import TorchNMS
boxes = torch.rand(200, 4) * 50
boxes[:, 2:] += boxes[:, :2] + 5
scores = torch.rand(200)
assert torch.equal(torch.ops.torchvision.nms(boxes, scores, 0.5), TorchNMS.nms(boxes, scores, 0.5))
print(sum(each.numel() for each in model.model.parameters()))
"""


def test_building_a_network_opens_no_socket_and_nms_is_there():
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 2_000_000 < int(done.stdout.split()[-1]) < 3_000_000


class Hostile:
    """Would run a command when it is read."""

    def __reduce__(self):
        return (subprocess.check_output, (["touch", "/tmp/evident-was-here"],))


def test_a_checkpoint_that_names_other_classes_is_not_opened(tmp_path):
    import torch

    from evident_manufacturing.inspection import detect

    path = tmp_path / "hostile.pt"
    torch.save({"model": Hostile()}, path, pickle_module=pickle)
    with pytest.raises(InvalidInput, match=r"names \w+\.check_output"):
        detect.load(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InvalidInput, match="is not a PyTorch checkpoint"):
        detect.load(path)


def test_only_one_module_names_ultralytics():
    root = Path(__file__).parents[2]
    named = {
        path.relative_to(root).as_posix()
        for folder in ("core", "kernels", "verticals")
        for path in (root / folder).rglob("*.py")
        if any(
            line.lstrip().startswith(("import ultralytics", "from ultralytics"))
            for line in path.read_text().splitlines()
        )
    }
    assert named == {"verticals/evident_manufacturing/inspection/detect.py"}
