"""A candidate as a retraining leaves it: the shipped network under another version, compared, and found no worse."""

from datetime import UTC, datetime
from pathlib import Path

from evident_manufacturing.agent.installed import bundle
from evident_manufacturing.inspection.perceive.detector import FOLDER, read_manifest, write_manifest
from evident_manufacturing.retraining import Candidate
from evident_manufacturing.training.comparison import Comparison, Finding, Measured

SHIPPED = read_manifest(FOLDER / "fused").version
CANDIDATE = "fused-abcd1234-1"


def keep_candidate(folder: Path) -> Path:
    """Write the candidate into a folder of its own, which is named by its version; returns that folder."""
    version = folder.name
    (folder / "model").mkdir(parents=True)
    bundle(FOLDER / "fused", folder / "model")
    manifest = read_manifest(folder / "model")
    write_manifest(folder / "model", manifest.model_copy(update={"version": version}))
    measured = {"map_iou33": 0.9, "map50": 0.8, "precision": 0.9, "recall": 0.9, "f1": 0.9, "threshold": 0.5}
    figures = {
        each: Measured(version=f"{each} int8", by_kind={"open": 0.9}, called=called, **measured)
        for each, called in ((SHIPPED, 2), (version, 1))
    }
    note = Candidate(
        kind="fused",
        version=version,
        labels="abcd1234" * 8,
        trained_on=90,
        labelled=30,
        epochs=5,
        created=datetime(2025, 3, 14, tzinfo=UTC),
        comparison=Comparison(
            pairs=20,
            refused=0,
            labels=90,
            clean=20,
            current=figures[SHIPPED],
            candidate=figures[version],
            gains={"open": 0.0},
            recommendation="promote",
            findings=(Finding(rule="no_worse", current=0.9, candidate=0.9),),
        ),
    )
    (folder / "candidate.json").write_text(note.model_dump_json())
    return folder
