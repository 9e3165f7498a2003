"""The models that are changed while the line runs: checked, taken into use, taken back."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evident_core.errors import InvalidInput, ModelNotReady, TooLarge, UnsupportedMedia
from evident_manufacturing.agent.models import Inspect, ModelStore, check, read_pointer
from evident_manufacturing.inspection.perceive.detector import FOLDER, Manifest, ModelFile, name_beside, write_manifest
from evident_manufacturing.inspection.schema import Decision, Inspection, Part
from running_agent import inspection

PART = Part(part_id="B-1")
FAULTS = {
    b"not an image": InvalidInput("That is no image."),
    b"GIF89a": UnsupportedMedia("That is a GIF."),
    b"too large": TooLarge("That has too many pixels."),
}


def make_model(folder: Path, version: str, content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    file = ModelFile(name="model.onnx", sha256=hashlib.sha256(content).hexdigest(), precision="fp32", passed=True)
    write_manifest(folder, Manifest(version=version, kinds=("short",), files=(file,)))
    return folder


def load(folder: Path) -> Inspect:
    """A model whose file says how it behaves: after so many good inspections it fails."""
    content = (folder / "model.onnx").read_bytes().decode()
    if content == "broken":
        raise ValueError("no network")
    good = iter(range(int(content.removeprefix("good for ")))) if content.startswith("good for") else None

    def inspect(data: bytes, part: Part) -> Inspection:
        if data in FAULTS:
            raise FAULTS[data]
        if good is not None and next(good, None) is None:
            raise RuntimeError("out of range")
        return inspection(data, part, model=content)

    return inspect


def self_test(inspect: Inspect) -> None:
    if inspect(b"known board", PART).verdict.decision is not Decision.ACCEPT:
        raise ValueError("the known board was not accepted")


@pytest.mark.parametrize("kind", ["fused", "plain"])
def test_what_ships_is_what_its_manifest_says_to_the_last_file(kind: str) -> None:
    manifest = check(FOLDER / kind)
    there = {path.name for path in (FOLDER / kind).iterdir()} - {"manifest.json"}
    assert {file.name for file in manifest.files if file.passed} | set(manifest.beside) <= there
    assert there <= {file.name for file in manifest.files} | set(manifest.beside)
    assert set(manifest.beside) == ({"arbiter.json"} if kind == "fused" else set())


def test_a_network_that_failed_its_gates_may_be_missing_and_must_not_be_another(tmp_path: Path) -> None:
    source = make_model(tmp_path / "model", "1")
    failed = ModelFile(name="failed.onnx", sha256="0" * 64, precision="int8", passed=False)
    manifest = check(source)
    write_manifest(source, manifest.model_copy(update={"files": (failed, *manifest.files)}))
    assert check(source).files[0] == failed
    (source / "failed.onnx").write_bytes(b"another")
    with pytest.raises(InvalidInput, match=r"failed\.onnx is not the file"):
        check(source)


def test_what_lies_beside_the_networks_has_its_hash_too(tmp_path: Path) -> None:
    source = make_model(tmp_path / "model", "1")
    (source / "arbiter.json").write_text("{}")
    with pytest.raises(InvalidInput, match="not in the manifest"):
        check(source)
    name_beside(source, "arbiter.json")
    check(source)
    (source / "arbiter.json").write_text("{ }")
    with pytest.raises(InvalidInput, match="is not the file that its manifest names"):
        check(source)
    (source / "arbiter.json").unlink()
    with pytest.raises(ModelNotReady, match="is missing"):
        check(source)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", load, self_test)


def test_a_new_model_takes_over_and_the_old_one_is_kept(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelNotReady, match="none is installed"):
        store.start()
    with pytest.raises(ModelNotReady, match="No model is in use, and there is none to go back to"):
        store.rollback()
    for version in ("1", "2", "3"):
        store.install(make_model(tmp_path / version, version, f"v{version}".encode()))
    assert store(b"x", PART).model == "v3"
    assert (store.pointer.current, store.pointer.previous) == ("3", "2")
    assert sorted(each.name for each in store.folder.iterdir()) == ["2", "3", "current.json"]
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert (again(b"x", PART).model, again.notice) == ("v3", "")
    assert again.rollback() == "2"
    assert again(b"x", PART).model == "v2"
    with pytest.raises(ModelNotReady, match="no model before 2"):
        again.rollback()


def tamper(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"other")


def lose(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def smuggle(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"\x80\x04")


def link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


def climb(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"x")
    file = ModelFile(name="../outside", sha256=hashlib.sha256(b"x").hexdigest(), precision="fp32", passed=True)
    write_manifest(folder, Manifest(version="2", kinds=(), files=(file,)))


def empty(folder: Path) -> None:
    write_manifest(folder, Manifest(version="2", kinds=(), files=()))


def rename(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": "../2"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (tamper, "is not the file that its manifest names"),
        (lose, "is missing"),
        (smuggle, "'extra.pkl' .* is not in the manifest"),
        (link, "which is not a file in it"),
        (climb, "which is not a file in it"),
        (empty, "names no file"),
        (rename, "cannot be the name of a folder"),
    ],
)
def test_a_model_that_is_not_its_manifest_is_refused_and_the_old_one_stays(
    store: ModelStore, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    source = make_model(tmp_path / "b", "2", b"v2")
    spoil(source)
    with pytest.raises((InvalidInput, ModelNotReady), match=said):
        store.install(source)
    assert store(b"x", PART).model == "v1"
    assert sorted(each.name for each in store.folder.iterdir()) == ["1", "current.json"]


@pytest.mark.parametrize(("content", "said"), [(b"broken", "no network"), (b"good for 0", "out of range")])
def test_a_model_that_fails_its_self_test_is_refused_and_the_old_one_stays(
    store: ModelStore, tmp_path: Path, content: bytes, said: str
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    with pytest.raises(InvalidInput, match=f"failed its self-test .*{said}.*; 1 stays in use"):
        store.install(make_model(tmp_path / "b", "2", content))
    assert store(b"x", PART).model == "v1"
    assert sorted(each.name for each in store.folder.iterdir()) == ["1", "current.json"]


def test_a_new_model_that_fails_on_the_line_is_taken_back_and_the_part_inspected(
    store: ModelStore, tmp_path: Path
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"good for 2"))
    assert store(b"x", PART).model == "good for 2"
    for _ in range(2):
        with pytest.raises(RuntimeError):
            store(b"x", PART)
    assert store(b"x", PART).model == "v1"
    assert "model 2 was taken back: 3 failures, the last: out of range" in store.notice


@pytest.mark.parametrize("data", FAULTS)
def test_a_bad_image_is_not_the_models_fault(data: bytes, store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"v2"))
    for _ in range(10):
        with pytest.raises(type(FAULTS[data]), match="That"):
            store(data, PART)
    assert store.pointer.current == "2"


def test_a_model_that_has_proved_itself_is_not_taken_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models", load, self_test, probation=4)
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"good for 5"))
    for _ in range(4):
        store(b"x", PART)
    for _ in range(5):
        with pytest.raises(RuntimeError):
            store(b"x", PART)
    assert store.pointer.current == "2"


def test_a_model_damaged_on_disk_gives_way_to_the_one_before_at_the_next_start(
    store: ModelStore, tmp_path: Path
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"v2"))
    (store.folder / "2" / "model.onnx").write_bytes(b"")
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert again(b"x", PART).model == "v1"
    assert "Model 1 is in use, because the newer one does not open" in again.notice


def test_a_stop_in_the_middle_of_a_change_leaves_the_old_model(store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    make_model(store.folder / ".staging", "2", b"half")
    make_model(store.folder / "2", "2", b"v2")
    (store.folder / "current.json.new").write_text("{")
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert again(b"x", PART).model == "v1"
    again.install(make_model(tmp_path / "b", "2", b"v2"))
    assert again(b"x", PART).model == "v2"


def test_of_two_that_change_a_store_the_second_waits(store: ModelStore, tmp_path: Path) -> None:
    first, second = (make_model(tmp_path / version, version) for version in "12")
    other, done = ModelStore(store.folder, load, self_test), list[str]()  # as another process has it
    waiting = threading.Thread(target=lambda: done.append(other.install(second)))
    with store.changing():
        waiting.start()
        waiting.join(0.2)
        done.append(store.install(first))
    waiting.join(10)
    assert done == ["1", "2"]
    # What was changed meanwhile is not taken back by who does not know of it.
    with pytest.raises(ModelNotReady, match="Model 2 is in use meanwhile"):
        store.rollback()
    assert read_pointer(store.folder).current == "2"


def test_the_version_in_use_is_not_written_over(store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    with pytest.raises(InvalidInput, match="Model 1 is in use already"):
        store.install(make_model(tmp_path / "b", "1", b"other"))
    assert store(b"x", PART).model == "v1"
