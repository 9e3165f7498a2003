"""What pip installs: each extra alone, all together, and a wheel that carries every file the code reads."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"

# Import packages that mark a service; an extra must not bring those of another.
MARKS = {
    "medical": {"monai", "pydicom", "fhir-resources"},
    "finance": {"pdfplumber", "pikepdf", "weasyprint"},
    "media": {"torch"},
    "manufacturing": {"onnxruntime", "asyncua", "paho-mqtt"},
    "training": {"ultralytics", "onnx"},
}
FORBIDDEN = {
    "medical": {"ultralytics", "pdfplumber"},
    "finance": {"monai", "pydicom", "fhir-resources", "ultralytics", "torch", "torchvision"},
    "media": {"monai", "ultralytics", "pdfplumber"},
    "manufacturing": {"monai", "pdfplumber", "ultralytics", "torch", "torchvision"},
    "training": {"monai", "pdfplumber"},
}


def brought_by(*extras: str) -> set[str]:
    """Names of the distributions that these extras bring into an empty environment.

    Read from what each declares: that pip finds versions for all of them together is shown by this environment.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting, seen = [("evident", frozenset(extras))], set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        if name == "evident":
            declared = [*project["dependencies"], *(e for x in wanted for e in project["optional-dependencies"][x])]
        else:
            try:
                declared = requires(name) or []
            except PackageNotFoundError:
                pytest.skip(f"{name} is not installed; the README's test command installs everything")
        for needed in map(Requirement, declared):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in seen}


@pytest.mark.parametrize("extra", sorted(MARKS))
def test_each_extra_brings_its_own_and_nothing_of_another_service(extra: str) -> None:
    brought = brought_by(extra)
    assert MARKS[extra] <= brought
    assert not FORBIDDEN[extra] & brought


def test_all_extras_together_stand_in_the_constraints() -> None:
    brought = brought_by("all", "dev")
    assert set().union(*MARKS.values()) <= brought
    pinned = {
        canonicalize_name(Requirement(line).name) for line in CONSTRAINTS.read_text().splitlines() if line[0] != "#"
    }
    assert brought - {"evident"} <= pinned


@pytest.mark.slow
def test_the_wheel_carries_every_file_that_the_packages_read(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("evident-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "core/evident_core", "kernels/evident_kernels", "verticals"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    expected = {path.partition("/")[2] for path in tracked}
    samples = {f"evident_finance/samples/{path.name}" for path in (ROOT / "sample_data" / "finance").glob("*.pdf")}
    assert len(samples) == 2
    assert expected | samples <= carried


@pytest.mark.slow
def test_transformers_imports_from_the_repository_root() -> None:
    """A top-level package called kernels would shadow the one that transformers looks for."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
    code = "import transformers; print(transformers.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
