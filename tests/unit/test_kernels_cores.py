"""How many cores the kernels take: affinity, hyper-threads and the control group's quota."""

import os

import pytest

from evident_kernels import cores, cpu


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight logical CPUs on four cores, the process allowed on the first six, and no quota."""
    for number in range(8):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    monkeypatch.setattr(cores, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores, "_QUOTAS", (tmp_path / "cpu.max", tmp_path / "v1"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return tmp_path


def test_hyper_threads_count_once(machine):
    assert cores.physical_cores() == 4


@pytest.mark.parametrize(("quota", "counted"), [("max 100000", 4), ("250000 100000", 3), ("50000 100000", 1), ("", 4)])
def test_the_quota_of_a_control_group_counts(machine, quota, counted):
    (machine / "cpu.max").write_text(quota)
    assert cores.physical_cores() == counted


@pytest.mark.parametrize(("quota", "counted"), [("-1", 4), ("200000", 2)])
def test_the_quota_of_an_old_control_group_counts(machine, quota, counted):
    (machine / "v1").mkdir()
    (machine / "v1" / "cpu.cfs_quota_us").write_text(quota)
    (machine / "v1" / "cpu.cfs_period_us").write_text("100000")
    assert cores.physical_cores() == counted


def test_a_system_that_says_nothing_is_asked_for_its_cpus(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "_TOPOLOGY", tmp_path / "nothing")
    assert cores.physical_cores() == 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.physical_cores() == 8


def test_more_threads_than_eight_are_not_taken_unasked(monkeypatch):
    monkeypatch.setattr("evident_kernels.loading.physical_cores", lambda: 96)
    assert cpu.cores() == 8
