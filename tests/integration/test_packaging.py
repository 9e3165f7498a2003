"""What pip installs: each extra alone, all together, and a wheel that carries every file the code reads."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"

pytestmark = pytest.mark.slow

# Import packages that mark a service; an extra must not bring those of another.
MARKS = {
    "medical": {"monai", "pydicom", "fhir-resources"},
    "finance": {"pdfplumber", "pikepdf", "weasyprint"},
    "media": {"torch"},
    "manufacturing": {"ultralytics"},
}
FORBIDDEN = {
    "medical": {"ultralytics", "pdfplumber"},
    "finance": {"monai", "pydicom", "fhir-resources", "ultralytics", "torch", "torchvision"},
    "media": {"monai", "ultralytics", "pdfplumber"},
    "manufacturing": {"monai", "pdfplumber"},
}


def resolve(*extras: str) -> set[str]:
    """Names of the distributions that pip would install for these extras in an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    done = subprocess.run([*command, "-c", str(CONSTRAINTS), target], capture_output=True, text=True, check=False)
    if done.returncode and "Could not find a version that satisfies the requirement hatchling" in done.stderr:
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, done.stderr
    return {item["metadata"]["name"].lower().replace(".", "-") for item in json.loads(done.stdout)["install"]}


@pytest.mark.parametrize("extra", sorted(MARKS))
def test_each_extra_brings_its_own_and_nothing_of_another_service(extra: str) -> None:
    brought = resolve(extra)
    assert MARKS[extra] <= brought
    assert not FORBIDDEN[extra] & brought


def test_all_extras_resolve_together() -> None:
    assert set().union(*MARKS.values()) <= resolve("all", "dev")


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


def test_transformers_imports_from_the_repository_root() -> None:
    """A top-level package called kernels would shadow the one that transformers looks for."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
    code = "import transformers; print(transformers.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
