"""How well the reader does on each layout: ``python sample_data/finance/sweep.py --seeds 300``.

Makes variants, reads them with the finance pipeline's own ingest and perceive, compares with the truth, and prints
accuracy by layout switch, worst first. ``--json`` gives one object; ``--seed N`` explains one variant;
``--keep FOLDER`` writes the PDFs.
"""

import argparse
import json
import sys
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from annual_reports import Figure, Truth, make_variant
from evident_core.evidence import Fact, PageBox
from evident_core.progress import silent
from evident_finance.risk_report.ingest import ingest
from evident_finance.risk_report.perceive import perceive

CONFIDENT = 0.5


@dataclass
class Outcome:
    """One variant, read: how each of its figures came out."""

    seed: int
    switches: dict[str, object]
    counts: Counter[str] = field(default_factory=Counter)
    misses: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""


def read_variant(seed: int, keep: Path | None = None) -> Outcome:
    """Make one variant, read it, and compare."""
    data, truth = make_variant(seed)
    if keep:
        (keep / f"variant_{seed}.pdf").write_bytes(data)
    outcome = Outcome(seed, truth.switches)
    started = time.process_time()
    try:
        with ingest(data, name=f"variant_{seed}.pdf") as filing:
            facts = {fact.id: fact for fact in perceive(filing, silent).facts}
    except Exception:
        outcome.error = traceback.format_exc(limit=-3)
        facts = {}
    outcome.seconds = time.process_time() - started
    _compare(outcome, truth, facts)
    return outcome


def _compare(outcome: Outcome, truth: Truth, facts: dict[str, Fact]) -> None:
    for item, periods in truth.items.items():
        for period, figure in periods.items():
            fact = facts.get(f"{item}@{period}")
            verdict = _verdict(figure, fact)
            outcome.counts[verdict] += 1
            if verdict in ("right", "right_but_derived", "not_presented_honoured"):
                continue
            outcome.misses.append(
                {
                    "seed": outcome.seed,
                    "item": item,
                    "period": period,
                    "verdict": verdict,
                    "truth": str(figure.value),
                    "read": str(fact.value) if fact else None,
                    "confidence": fact.confidence if fact else None,
                    "label": figure.places[0].label if figure.places else None,
                    "printed": figure.places[0].text if figure.places else None,
                    "page": figure.places[0].page if figure.places else None,
                    "quote": _quote(fact),
                }
            )


def _verdict(figure: Figure, fact: Fact | None) -> str:
    value = fact.value if fact else None
    if figure.status == "not_presented":
        invented = fact is not None and fact.status == "presented" and value is not None
        return "invented" if invented else "not_presented_honoured"
    if figure.status == "dash":
        return "right" if not value else "wrong_value"
    if value is None or fact is None:
        return "missing"
    if value != figure.value:
        return "silently_wrong" if fact.status == "presented" and fact.confidence >= CONFIDENT else "wrong_value"
    if fact.status == "derived":
        return "right_but_derived"
    return "right" if _points_at(figure, fact) else "right_wrong_place"


def _points_at(figure: Figure, fact: Fact) -> bool:
    boxes = [source.where for source in fact.sources if isinstance(source.where, PageBox)]
    for place in figure.places:
        for box in boxes:
            if box.page != place.page:
                continue
            x = (place.bbox[0] + place.bbox[2]) / 2
            y = (place.bbox[1] + place.bbox[3]) / 2
            if box.bbox[0] - 1 <= x <= box.bbox[2] + 1 and box.bbox[1] - 1 <= y <= box.bbox[3] + 1:
                return True
    return False


def _quote(fact: Fact | None) -> str | None:
    if fact is None:
        return None
    for source in fact.sources:
        if isinstance(source.where, PageBox):
            return f"p{source.where.page}: {source.where.quote[:90]}"
    return str(fact.status)


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Figures over all variants, and by switch."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total += outcome.counts
    by_switch: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for outcome in outcomes:
        for name, value in outcome.switches.items():
            for each in value if isinstance(value, tuple) else (value,):
                by_switch[name][str(each)] += outcome.counts
                by_switch[name][str(each)]["documents"] += 1
    items: Counter[str] = Counter(f"{miss['item']} {miss['verdict']}" for o in outcomes for miss in o.misses)
    labels: Counter[str] = Counter(f"{miss['item']}: {miss['label']}" for o in outcomes for miss in o.misses)
    return {
        "documents": len(outcomes),
        "documents_right": sum(not o.misses for o in outcomes) / max(1, len(outcomes)),
        "errors": [f"{o.seed}: {o.error}" for o in outcomes if o.error],
        **_rates(total),
        "seconds": sum(o.seconds for o in outcomes) / max(1, len(outcomes)),
        "by_switch": {
            name: {value: {"documents": c["documents"], **_rates(c)} for value, c in sorted(values.items())}
            for name, values in by_switch.items()
            if len(values) > 1
        },
        "worst_items": items.most_common(40),
        "worst_labels": labels.most_common(40),
        "worst_documents": [(o.seed, len(o.misses)) for o in sorted(outcomes, key=lambda o: -len(o.misses))[:20]],
        "misses": [miss for o in outcomes for miss in o.misses],
    }


def _rates(counts: Counter[str]) -> dict[str, float]:
    absent = counts["not_presented_honoured"] + counts["invented"]
    printed = sum(counts.values()) - absent - counts["documents"]
    good = counts["right"] + counts["right_but_derived"] + counts["right_wrong_place"]
    return {
        "figures": printed,
        "accuracy": round(good / max(1, printed), 4),
        "silently_wrong": round(counts["silently_wrong"] / max(1, printed), 4),
        "missing": round(counts["missing"] / max(1, printed), 4),
        "place_right": round(counts["right"] / max(1, good), 4),
        "not_presented_honoured": round(counts["not_presented_honoured"] / max(1, absent), 4),
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many variants")
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--seed", type=int, help="explain one variant")
    parser.add_argument("--keep", type=Path, help="write the PDFs into this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.start, arguments.start + arguments.seeds)
    )
    outcomes = []
    for seed in seeds:
        outcomes.append(read_variant(seed, arguments.keep))
        if not arguments.json and sys.stderr.isatty():
            print(f"\r{len(outcomes)}/{len(seeds)}", end="", file=sys.stderr)
    result = summary(outcomes)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False, indent=1))
    elif arguments.seed is not None:
        _explain(outcomes[0])
    else:
        _print(result)


def _explain(outcome: Outcome) -> None:
    print(f"seed {outcome.seed}: {dict(outcome.counts)} in {outcome.seconds:.2f} CPU-s\n{outcome.error}")
    for name, value in outcome.switches.items():
        print(f"  {name} = {value}")
    for miss in outcome.misses:
        print(miss)


def _print(result: dict[str, Any]) -> None:
    whole = {k: v for k, v in result.items() if not isinstance(v, list | dict)}
    print("\n" + "  ".join(f"{k} {v:.4g}" for k, v in whole.items()))
    for error in result["errors"][:5]:
        print(error)
    rows = [
        (values["accuracy"], name, value, values)
        for name, by_value in result["by_switch"].items()
        for value, values in by_value.items()
    ]
    print(f"\n{'switch':34}{'value':26}{'docs':>5}{'accuracy':>10}{'silent':>9}{'missing':>9}{'place':>8}{'absent':>8}")
    for accuracy, name, value, values in sorted(rows, key=lambda row: row[0])[:45]:
        print(
            f"{name:34}{value[:25]:26}{values['documents']:>5}{accuracy:>10.4f}{values['silently_wrong']:>9.4f}"
            f"{values['missing']:>9.4f}{values['place_right']:>8.3f}{values['not_presented_honoured']:>8.3f}"
        )
    print("\nitems most often missed:", ", ".join(f"{name} {count}" for name, count in result["worst_items"][:25]))
    print("labels most often missed:", "; ".join(f"{name} {count}" for name, count in result["worst_labels"][:25]))
    print("documents with most misses:", result["worst_documents"][:12])


if __name__ == "__main__":
    main()
