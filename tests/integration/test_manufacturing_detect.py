"""Ultralytics is kept in one module, opens no socket, and opens no foreign pickle."""

import pickle
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from evident_core.errors import InvalidInput

pytestmark = pytest.mark.skipif(find_spec("ultralytics") is None, reason="the extra training is not installed")

QUIET = """
import socket, sys, time
from pathlib import Path
asked = []
def refuse(*given, **_):
    asked.append(repr(given))  # what a background thread raises is seen by nobody
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.create_connection = refuse
import cv2, numpy as np
from evident_manufacturing.inspection import detect
folder = Path(sys.argv[1])
model = detect.yolo()(detect.ARCHITECTURE)
import torch, torchvision
from ultralytics.utils.nms import TorchNMS
boxes = torch.rand(200, 4) * 50
boxes[:, 2:] += boxes[:, :2] + 5
scores = torch.rand(200)
assert torch.equal(torch.ops.torchvision.nms(boxes, scores, 0.5), TorchNMS.nms(boxes, scores, 0.5))
size = sum(each.numel() for each in model.model.parameters())
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
for part in ("images", "labels"):
    (folder / part).mkdir()
cv2.imwrite(str(folder / "images" / "a.png"), image)
(folder / "labels" / "a.txt").write_text("1 0.5 0.5 0.3 0.3")
names = dict(enumerate(detect.KINDS))
(folder / "data.yaml").write_text(f"path: {folder}\\ntrain: images\\nval: images\\nnames: {names}\\n")
more = {"imgsz": 64, "mosaic": 0.0, "optimizer": "SGD", "lr0": 0.0, "warmup_bias_lr": 0.0}
model.model = type(model.model)({**model.model.yaml, "nc": 6}, verbose=False)
model.save(folder / "first.pt")
best = detect.train(
    folder / "data.yaml", folder / "run", epochs=1, weights=folder / "first.pt", batch=1, workers=0, **more
)
begun, ended = (detect.load(each).model.state_dict() for each in (folder / "first.pt", best))
assert all(torch.allclose(ended[name], value, atol=1e-3) for name, value in begun.items() if name.endswith(".weight"))
detect.predict(best, [image])
detect.export_onnx(best, folder / "detector.onnx")
assert (folder / "detector.onnx").stat().st_size > 1_000_000
time.sleep(0.2)  # for threads that were begun
assert not asked, asked
print(size)
"""


def test_training_looking_and_exporting_open_no_socket_and_nms_is_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 2_000_000 < int(done.stdout.split()[-1]) < 3_000_000


class Hostile:
    """Would call something when it is read."""

    def __init__(self, call, *given):
        self.call, self.given = call, given

    def __reduce__(self):
        return (self.call, self.given)


def zipped(target, pickled):
    """A checkpoint as PyTorch packs it, with this pickle in it."""
    with zipfile.ZipFile(target, "w") as packed:
        packed.writestr("archive/data.pkl", pickled)
        packed.writestr("archive/version", "3\n")
    return target


def test_a_checkpoint_that_names_other_classes_is_not_opened(tmp_path):
    import torch.utils.collect_env
    from ultralytics.nn.tasks import DetectionModel

    from evident_manufacturing.inspection import detect

    path, mark = tmp_path / "hostile.pt", tmp_path / "mark"
    touch = f"touch {mark}"
    for hostile, said in (
        (Hostile(subprocess.check_output, ["touch", str(mark)]), r"names \w+\.check_output"),
        # Of PyTorch, and runs a command.
        (Hostile(torch.utils.collect_env.run, touch), r"names torch\.utils\.collect_env\.run"),
        # Of the network itself: a description's activation is evaluated where one is built by it.
        (Hostile(DetectionModel, {"activation": f"__import__('os').system({touch!r})"}), "is not a PyTorch checkpoint"),
    ):
        torch.save({"model": hostile}, path, pickle_module=pickle)
        with pytest.raises(InvalidInput, match=said):
            detect.load(path)
    # A name with dots reaches through a module to what it imported.
    dotted = b"\x80\x04\x8c\x05torch\x8c\x0aos.system\x93\x8c" + bytes([len(touch)]) + touch.encode() + b"\x85R."
    with pytest.raises(InvalidInput, match="is not a PyTorch checkpoint"):
        detect.load(zipped(path, dotted))
    assert not mark.exists()
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InvalidInput, match="is not a PyTorch checkpoint"):
        detect.load(path)


def test_of_a_checkpoint_the_weights_are_used_and_not_its_description(tmp_path):
    import torch

    from evident_manufacturing.inspection import detect

    made = detect.yolo()(detect.ARCHITECTURE)
    other, network = tmp_path / "other.pt", made.model
    made.save(other)  # of 80 kinds, as Ultralytics builds it
    with pytest.raises(InvalidInput, match=r"other\.pt has no weights of yolo26n\.yaml with 6 kinds"):
        detect.load(other)
    network = made.model = type(network)({**network.yaml, "nc": 6}, verbose=False)
    network.yaml["activation"] = "__import__('sys').exit(1)"
    made.save(tmp_path / "ours.pt")
    read = detect.load(tmp_path / "ours.pt").model
    assert "activation" not in read.yaml
    given = network.half().float().state_dict()  # as files keep them
    assert given.keys() == read.state_dict().keys()
    assert all(torch.equal(value, given[name]) for name, value in read.state_dict().items())


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
