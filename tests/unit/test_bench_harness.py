"""Turns, pinned workers, and what becomes of contestants that are wrong, broken or absent."""

from pathlib import Path

import pytest

import bench_contestants
from evident_core.bench import comparison
from evident_core.bench.contestant import missing_packages, relative_error
from evident_core.bench.cpu import run
from evident_core.bench.load import OtherLoad
from evident_core.bench.shape import Shape
from evident_core.bench.timing import Spread, available_cpus, fastest, in_turns, ratio
from evident_core.bench.worker import Worker, WorkerFailed
from evident_core.errors import InvalidInput

SHAPE = Shape(vocab_size=bench_contestants.COLUMNS)


@pytest.fixture(autouse=True)
def _workers_find_specimens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(bench_contestants.__file__).parent))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prompts need no tokenizer here: a contestant of these reads any numbers."""
    monkeypatch.setattr(comparison, "ids", lambda folder, length, number: [number] * length)
    return tmp_path


def test_each_round_begins_with_another_contestant() -> None:
    order: list[str] = []
    figures = in_turns({name: lambda name=name: float(len(order.append(name) or order)) for name in "abc"}, 4)
    assert "".join(order) == "abcbcacababc"
    assert figures == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == Spread(median=2.0, low=1.0, high=3.0, rounds=3)
    assert Spread.of([3.0, 1.0, 2.0]).scaled(1000) == Spread(2000, 1000, 3000, 3)


def test_the_fastest_way_is_the_one_with_the_best_try() -> None:
    tries = {"steady": iter([2.0, 2.0, 2.0]), "slow at first": iter([9.0, 1.0, 9.0])}
    assert fastest({name: lambda each=each: next(each) for name, each in tries.items()}, 3) == "slow at first"


def test_relative_error_is_one_for_nothing_at_all() -> None:
    right = bench_contestants.Right().logits(Path(), [1, 2], exact=True)
    assert relative_error(right * 0, right) == pytest.approx(1)
    assert relative_error(right, right) == 0


def test_an_absent_package_is_told_with_its_command() -> None:
    assert missing_packages(["json", "no_such_package_here"], ["json", "other"]) == "pip install json other"
    assert missing_packages(["json"], ["json"]) is None


@pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="this system cannot pin processes")
def test_a_worker_lives_on_its_cores_with_as_many_threads() -> None:
    core = available_cpus()[-1]
    with Worker("bench_contestants:Witness", [core]) as worker:
        assert worker.call("place") == {"cores": [core], "threads": "1"}
        assert worker.call("suffix", path=Path("weights.onnx")) == ".onnx"
        with pytest.raises(WorkerFailed, match="could not suffix: TypeError"):
            worker.call("suffix", other=1)
        assert worker.call("suffix", path=Path("a.b")) == ".b"


def test_a_worker_that_dies_tells_its_last_words(tmp_path: Path) -> None:
    with (
        Worker("bench_contestants:Unloadable", available_cpus()[:1]) as worker,
        pytest.raises(WorkerFailed, match=r"ended with code 3 while asked to load\. out of memory"),
    ):
        worker.call("load", folder=tmp_path, threads=1)


def test_a_worker_that_does_not_answer_is_ended() -> None:
    with (
        Worker("bench_contestants:Witness", available_cpus()[:1], most_seconds=2) as worker,
        pytest.raises(WorkerFailed, match=r"ended with code -9 while asked to wait\. It had not answered for 2 s"),
    ):
        worker.call("wait", seconds=120)


def test_only_who_computes_the_same_takes_part(folder: Path) -> None:
    kinds = [getattr(bench_contestants, name) for name in ("Ours", "Wrong", "Broken", "Absent", "Right")]
    entrants, rows = comparison.prove(kinds, SHAPE, folder, available_cpus()[:1], lambda _: None)
    assert [entrant.kind.name for entrant in entrants] == ["Evident int8", "right"]
    assert [entrant.error for entrant in entrants] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert {row.contestant: (row.state, row.note) for row in rows} == {
        "wrong": ("wrong result", "relative error of the logits 0.0e+00 in float32, 1.02 as timed"),
        "broken": ("failed", "bench_contestants:Broken could not prepare: ValueError: no such tensor"),
        "absent": ("not installed", "pip install absent"),
    }
    assert (folder / "prepared right").exists()


def test_rows_have_rates_and_our_ratio(folder: Path) -> None:
    kinds = [getattr(bench_contestants, name) for name in ("Ours", "Right", "Unloadable")]
    entrants = [comparison.Entrant(kind, 1e-6, 0.02) for kind in kinds]
    told: list[str] = []
    rows = comparison.compare(entrants, SHAPE, folder, available_cpus()[:1], 3, told.append)
    found = {row.contestant: row for row in rows}
    assert found["unloadable"].state == "failed"
    assert found["unloadable"].note.endswith("out of memory")
    right = found["right"]
    assert (right.settings, right.threads, right.error) == ("1 threads", 1, 0.02)
    assert right.tokens_per_second == Spread(2, 2, 2, 3)
    assert right.ratio == Spread(4, 4, 4, 3)
    assert right.first_token_ms == {200: Spread(200, 200, 200, 3), 300: Spread(300, 300, 300, 3)}
    assert found["Evident int8"].ratio == Spread(1, 1, 1, 3)
    assert told[-1].startswith("prompts of 300 tokens")


def test_without_our_engine_there_is_no_ratio(folder: Path) -> None:
    entrants = [comparison.Entrant(bench_contestants.Right, 1e-6, 0.02)]
    (row,) = comparison.compare(entrants, SHAPE, folder, available_cpus()[:1], 1, lambda _: None)
    assert (row.state, row.ratio) == ("measured", None)


def test_more_threads_than_cores_are_refused() -> None:
    cores = len(available_cpus())
    with pytest.raises(InvalidInput, match=rf"threads is \[{cores + 1}\]; each must be from 1 to {cores}"):
        run(threads=[cores + 1])


def test_own_work_is_not_the_load_of_others() -> None:
    load = OtherLoad()
    sum(range(3_000_000))
    share = load.share()
    assert share is None or 0 <= share <= 1.1
