"""What a folder may say of a part: hostile notes cost their own image alone, and revisions come in their order."""

import json
from pathlib import Path

import pytest

from evident_manufacturing.agent.sources import FolderSource, Unusable


def ready(folder: Path) -> FolderSource:
    """A source that has seen the folder's files twice, and so takes them."""
    source = FolderSource(folder)
    assert source.next() is None
    return source


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ('{"revision": "' + "1" * 5000 + '"}', "whole number from 1 on"),
        ('{"revision": ' + "1" * 4000 + "}", "whole number from 1 on"),
        ('{"revision": ' + "1" * 5000 + "}", "cannot be read"),
        ('{"revision": 0}', "The revision of b.png is '0'"),
        ('{"revision": -1}', "whole number from 1 on"),
        ('{"revision": true}', "whole number from 1 on"),
        ('{"revision": "２"}', "whole number from 1 on"),
        ("[" * 200_000, "cannot be read"),
        ('{"part_id": "' + "x" * 200 + '"}', "The part of b.png cannot be"),
    ],
)
def test_a_hostile_note_costs_its_own_image_alone(tmp_path: Path, note: str, reason: str) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"board")
    (tmp_path / "b.json").write_text(note, encoding="utf-8")
    source = ready(tmp_path)
    first = source.next()
    assert first is not None
    with pytest.raises(Unusable, match=reason) as refused:
        source.next()
    assert len(refused.value.message) < 600
    source.failed(refused.value.token, refused.value.message)
    last = source.next()
    assert last is not None
    assert (first.part.part_id, last.part.part_id) == ("a", "c")


@pytest.mark.parametrize("stem", ["SN-1.rev0", "SN-1.rev99999999999", "SN-1.rev2.rev3", "SN-1.rev2b", "SN-1.rev2.0"])
def test_a_name_that_means_a_revision_and_gives_none_is_no_part_of_its_own(tmp_path: Path, stem: str) -> None:
    (tmp_path / f"{stem}.png").write_bytes(b"board")
    with pytest.raises(Unusable, match="revision") as refused:
        ready(tmp_path).next()
    assert refused.value.token == f"{stem}.png"


@pytest.mark.parametrize(
    ("stem", "part", "revision"), [("SN-1.REV2", "SN-1", 2), ("SN-1.rev002", "SN-1", 2), ("PCB.revB", "PCB.revB", 1)]
)
def test_a_name_says_part_and_revision(tmp_path: Path, stem: str, part: str, revision: int) -> None:
    (tmp_path / f"{stem}.PNG").write_bytes(b"board")
    taken = ready(tmp_path).next()
    assert taken is not None
    assert (taken.part.part_id, taken.revision) == (part, revision)


def test_a_backlog_gives_each_parts_revisions_in_their_order(tmp_path: Path) -> None:
    for name in ("SN-1.rev10.png", "SN-1.png", "SN-1.rev2.png", "SN-2.tif", "SN-2.rev2.png", "SN-10.png"):
        (tmp_path / name).write_bytes(b"board")
    (tmp_path / "SN-2.json").write_text(json.dumps({"lot": "L"}))
    source, taken = ready(tmp_path), []
    while source.waits() or not taken:
        one = source.next()
        assert one is not None
        taken.append((one.part.part_id, one.revision))
    assert taken == [("SN-1", 1), ("SN-1", 2), ("SN-1", 10), ("SN-10", 1), ("SN-2", 1), ("SN-2", 2)]
