"""Compiling on first use: what is built where, and what is said when it cannot be."""

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evident_kernels import abi, build, cpu, loading

VISIBLE = 'extern "C" __attribute__((visibility("default")))'
SOURCE = f"{VISIBLE} int answer() {{ return 42; }}\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """One small source instead of the kernels, and an empty cache."""
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "answer.cpp").write_text(SOURCE)
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return sources


@pytest.fixture
def forgotten():
    """The library is asked for anew, and again afterwards."""
    loading._library.cache_clear()
    yield
    loading._library.cache_clear()


needs_compiler = pytest.mark.skipif(build.compiler("c++") is None, reason="no C++ compiler")


@needs_compiler
def test_a_library_is_built_once_and_anew_when_a_source_changes(small):
    first = build.build_library()
    assert ctypes.CDLL(str(first)).answer() == 42
    assert first.is_relative_to(build.cache_folder())
    built = first.stat().st_mtime_ns
    assert build.build_library() == first
    assert first.stat().st_mtime_ns == built
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    (small / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    second = build.build_library()
    assert second != first
    assert ctypes.CDLL(str(second)).answer() == 43


@needs_compiler
def test_several_may_build_at_once(small):
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: build.build_library(), range(4)))
    assert len(set(built)) == 1
    assert ctypes.CDLL(str(built[0])).answer() == 42


def test_no_compiler_is_said(small, monkeypatch, forgotten):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert cpu.library() is None
    assert cpu.isas() == ()
    assert cpu.reason() == (
        "the CPU kernels cannot be used: no C++ compiler was found (c++, g++ or clang++); apt install g++ adds one"
    )


@needs_compiler
def test_a_compiler_that_fails_is_said(small, forgotten):
    (small / "wrong.cpp").write_text("int f() { return nothing; }\n")
    assert cpu.library() is None
    reason = cpu.reason()
    assert reason is not None
    assert "wrong.cpp:1:" in reason
    assert "nothing" in reason
    assert "\n" not in reason


@needs_compiler
def test_a_cache_that_cannot_be_written_is_said(small, monkeypatch, forgotten, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cpu.library() is None
    assert "cannot be written (Not a directory); set XDG_CACHE_HOME to another" in str(cpu.reason())


@needs_compiler
@needs_compiler
def test_sources_that_change_while_they_are_compiled_give_no_library(small, monkeypatch):
    """What was compiled of some that were and some that are would be kept under the name of those that were."""
    compiled = build._compile

    def change(path: str, folder: Path) -> Path:
        made = compiled(path, folder)
        (small / "answer.cpp").write_text(SOURCE.replace("42", "43"))
        return made

    with monkeypatch.context() as patched:
        patched.setattr(build, "_compile", change)
        with pytest.raises(build.BuildFailed, match="were changed while they were compiled"):
            build.build_library()
    assert ctypes.CDLL(str(build.build_library())).answer() == 43


def test_a_library_of_other_sources_is_not_used(small, forgotten):
    """Its structs have other sizes."""
    (small / "answer.cpp").write_text(f"{VISIBLE} long ev_struct_size(int) {{ return 7; }}\n")
    with pytest.raises(OSError, match="was compiled from other sources"):
        abi.load(str(build.build_library()))


def test_the_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert build.cache_folder() == Path("/home/someone/.cache/evident/kernels")


def test_neither_the_build_nor_the_binding_needs_pytorch():
    program = "import sys; from evident_kernels import build, cpu; sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join(each for each in sys.path if each)
    environment = os.environ | {"PYTHONPATH": paths}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


@pytest.mark.skipif(cpu.library() is None, reason=f"no kernels: {cpu.reason()}")
def test_plain_code_is_always_there():
    assert cpu.isas()[-1] == "plain"
    assert cpu.reason() is None
