"""An analysis as pages show it: the same view model for the web page, the HTML and PDF files, and the DOCX."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Final

from evident_core.evidence import Claim, Derived, Fact, Language, PageBox, Section, Sentence, Severity, Status
from evident_finance.risk_report.export.charts import charts, short
from evident_finance.risk_report.export.places import Places, shown_value
from evident_finance.risk_report.items import Items
from evident_finance.risk_report.schema import Analysis, Facts, Statement
from evident_finance.texts import known, text

TILES: Final = ("revenue", "operating_income", "net_income", "operating_cash_flow", "total_assets", "total_equity")
SWOT: Final = ("strengths", "weaknesses", "opportunities", "threats")
MATRIX: Final = "risk_matrix"
QUALITY: Final = "data_quality"
SEVERITIES: Final = list(Severity)
_QUOTES: Final = ("“", '"', "「", "『", "‘")
_FULL_STOPS: Final = (".", "。")


@dataclass(frozen=True)
class Part:
    """A run of a sentence. ``fact_id`` is set where the characters state a fact."""

    text: str
    fact_id: str | None = None


@dataclass(frozen=True)
class Line:
    """A sentence with its parts in each language, how much it matters, and the first fact of its claims."""

    id: str
    parts: dict[Language, tuple[Part, ...]]
    severity: Severity
    predicate: str
    fact_ids: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Sentences shown together: with a ``lead``, all begin with it and differ only in what they quote."""

    lead: dict[Language, str] | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Cite:
    """Where a fact leads: its first box, all boxes and pages it rests on, and how it came about."""

    fact: Fact
    box: PageBox | None
    boxes: tuple[PageBox, ...]
    pages: tuple[int, ...]
    formula: str
    corrected: bool


@dataclass(frozen=True)
class Tile:
    """A key figure: this year's fact, the year before's, and the change between them where it has a meaning."""

    item: str
    fact: Fact
    before: Fact | None
    change: Decimal | None


@dataclass(frozen=True)
class Risk:
    """A cell of the risk matrix."""

    line: Line
    label: dict[Language, str]
    likelihood: int
    impact: int
    rating: int


class View:
    """Everything that a template of the report asks for."""

    quality = QUALITY

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.places = Places(analysis)
        self.items = Items.load()
        self.facts = Facts((*analysis.reading.facts, *analysis.assessment.facts))
        self._claims = {claim.id: claim for claim in analysis.report.claims}
        self._cites: dict[str, Cite] = {}

    def about(self, name: str) -> Fact | None:
        """A fact about the filing itself (``company``, ``fiscal_year_end``, …) where it was found."""
        fact = self.facts.get(f"filing.{name}")
        return fact if fact is not None and fact.value is not None else None

    @property
    def first_page(self) -> int:
        """The page to open first: that of the first statement, else the first."""
        return self.statements[0].pages[0] if self.statements else 1

    @property
    def ahead(self) -> tuple[int, ...]:
        """The pages that readers ask for most: the first of each statement."""
        return tuple(dict.fromkeys(statement.pages[0] for statement in self.statements))

    @property
    def page_sizes(self) -> dict[str, tuple[float, float]]:
        """The pages' sizes as the viewer takes them: the most common as the default, and each page that differs."""
        sizes = self.analysis.page_sizes
        default = Counter(sizes).most_common(1)[0][0]
        return {"default": default} | {str(n): size for n, size in enumerate(sizes, start=1) if size != default}

    @property
    def company(self) -> str:
        """The company's name as printed, else the file's name."""
        fact = self.about("company")
        return str(fact.value) if fact else self.analysis.input.name

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections that are read as text; SWOT and the risk matrix have their own shapes."""
        return tuple(s for s in self.analysis.report.sections if s.sentences and s.key not in (*SWOT, MATRIX))

    def swot(self) -> dict[str, tuple[Section, tuple[Line, ...]]]:
        """The four quadrants that have a section, each with its lines."""
        return {s.key: (s, self.lines(s)) for s in self.analysis.report.sections if s.key in SWOT}

    def lines(self, section: Section) -> tuple[Line, ...]:
        """The sentences of a section, the parts that state facts apart."""
        return tuple(self._line(sentence) for sentence in section.sentences)

    def blocks(self, lines: Iterable[Line]) -> tuple[Block, ...]:
        """Lines in their order, but those that quote the filing after the same words are brought together."""
        blocks: dict[str, Block] = {}
        for line in lines:
            lead = _lead(line)
            key = line.id if lead is None else "\n".join(lead.values())
            others = blocks[key].lines if key in blocks else ()
            blocks[key] = Block(lead=lead, lines=(*others, line))
        return tuple(blocks.values())

    def contents(self) -> tuple[tuple[str, dict[Language, str]], ...]:
        """The anchors and titles of what a report shows, in its order."""
        shown = [(f"section-{s.key}", dict(s.title)) for s in self.sections if s.key != QUALITY]
        shown += [("section-risk-matrix", _titled("report.risk_matrix"))] if self.matrix() else []
        shown += [("section-swot", {"en": "SWOT", "zh": "SWOT"})] if self.swot() else []
        shown += [("section-measures", _titled("report.measures"))] if self.measures() else []
        shown += [(f"statement-{n}", _titled(f"contents.{s.kind}")) for n, s in enumerate(self.statements, start=1)]
        shown += [(f"section-{s.key}", _titled("contents.quality")) for s in self.sections if s.key == QUALITY]
        shown += [("section-absent", _titled("contents.absent"))] if self.absent() else []
        return tuple(shown)

    def _line(self, sentence: Sentence) -> Line:
        claims = [self._claims[each] for each in sentence.claim_ids]
        return Line(
            id=sentence.id,
            parts={language: _parts(sentence, language) for language in sentence.text},
            severity=max((claim.severity for claim in claims), key=SEVERITIES.index),
            predicate=claims[0].predicate,
            fact_ids=tuple(dict.fromkeys(fact for claim in claims for fact in claim.facts.values())),
        )

    def matrix(self) -> tuple[Risk, ...]:
        """The rated risks, worst first."""
        section = next((s for s in self.analysis.report.sections if s.key == MATRIX), None)
        risks = []
        for sentence in section.sentences if section else ():
            claim = self._claims[sentence.claim_ids[0]]
            if claim.predicate == "risk_rated":
                risks.append(self._risk(claim, sentence))
        return tuple(sorted(risks, key=lambda risk: -risk.rating))

    def _risk(self, claim: Claim, sentence: Sentence) -> Risk:
        likelihood, impact, rating = (
            int(self._fact(claim, role).number) for role in ("likelihood", "impact", "rating")
        )
        name = str(self._fact(claim, "risk").value)
        return Risk(
            line=self._line(sentence),
            label={"en": self.items.risk(name, "en"), "zh": self.items.risk(name, "zh")},
            likelihood=likelihood,
            impact=impact,
            rating=rating,
        )

    def _fact(self, claim: Claim, role: str) -> Fact:
        return self.places.facts[claim.facts[role]]

    def cite(self, fact_id: str) -> Cite:
        """Where a fact leads."""
        if fact_id not in self._cites:
            self._cites[fact_id] = self._cite(fact_id)
        return self._cites[fact_id]

    def _cite(self, fact_id: str) -> Cite:
        boxes = self.places.boxes(fact_id)
        return Cite(
            fact=self.places.facts[fact_id],
            box=boxes[0] if boxes else None,
            boxes=boxes,
            pages=tuple(dict.fromkeys(box.page for box in boxes)),
            formula=self.places.formula(fact_id),
            corrected=self.places.correction(fact_id) is not None,
        )

    def inputs(self, fact_id: str) -> tuple[Fact, ...]:
        """The facts that a derived one was computed from, as far as they are there."""
        wheres = [source.where for source in self.places.facts[fact_id].sources]
        ids = [each for where in wheres if isinstance(where, Derived) for each in where.fact_ids]
        return tuple(self.places.facts[each] for each in dict.fromkeys(ids) if each in self.places.facts)

    def named(self, fact_id: str, language: Language) -> str:
        """A fact by its label and period."""
        fact = self.places.facts[fact_id]
        return " ".join(filter(None, (self.label(fact.name, language), fact.period)))

    def label(self, name: str, language: Language) -> str:
        """What a fact's name says: that of an item or measure, or of what was made of one (its change, its limit)."""
        head, _, tail = name.partition(".")
        match head, tail:
            case "threshold", _:
                return text("name.threshold", language).format(self.items.label(tail.partition(".")[0], language))
            case "matrix", _:
                risk, _, part = tail.partition(".")
                return " · ".join(
                    [self.items.risk(risk, language), *([text(f"name.{part}", language)] if part else [])]
                )
            case _, "change":
                return text("name.change", language).format(self.items.label(head, language))
            case "note", _:
                return text("name.note", language)
            case _ if known(name):
                return text(name, language)
            case _ if known(f"name.{name}"):
                return text(f"name.{name}", language)
        return self.items.label(name, language).replace(".", " ")

    def grouped(self, value: str | None) -> str:
        """The digits of a value in groups of three; a dash where there was none."""
        return f"{Decimal(value):,f}" if value else "—"

    def tiles(self) -> tuple[Tile, ...]:
        """The key figures of the newest year."""
        periods = self.facts.periods
        found = []
        for item in TILES if periods else ():
            names = (item, "equity_parent") if item == "total_equity" else (item,)
            fact = next((f for n in names if (f := self.facts.get(n, periods[0])) and f.value is not None), None)
            if fact is None:
                continue
            before = self.facts.get(fact.name, periods[1]) if len(periods) > 1 else None
            known = before is not None and before.value is not None
            change = fact.number / before.number - 1 if known and before and before.number > 0 < fact.number else None
            found.append(Tile(item=fact.name, fact=fact, before=before if known else None, change=change))
        return tuple(found)

    def is_amount(self, fact: Fact) -> bool:
        """Whether a value is an amount of money, so long that a table of ratios shows it short."""
        currency = self.about("currency")
        return currency is not None and fact.unit == currency.value and abs(fact.number) >= 1000

    def short(self, fact: Fact, language: Language) -> str:
        """A fact's number as a tile shows it."""
        return short(fact.number, language)

    def shown(self, fact: Fact) -> str:
        """A fact's value as a table prints it."""
        return shown_value(fact)

    def charts(self, language: Language) -> dict[str, str]:
        """The charts as SVG."""
        return charts(self.analysis, language)

    def measures(self) -> tuple[tuple[str, tuple[tuple[str, tuple[Fact | None, ...]], ...]], ...]:
        """Ratios and scores by group: (group, ((name, a fact a period), …)); periods as in ``periods``."""
        rows = []
        for name in self.items.measures:
            facts = tuple(self.facts.get(name, period) for period in self.periods)
            if any(fact is not None for fact in facts):
                rows.append((self.items.group(name), name, facts))
        rows.sort(key=lambda row: self.items.groups.index(row[0]))
        return tuple(
            (group, tuple((name, facts) for _, name, facts in each))
            for group, each in groupby(rows, key=lambda row: row[0])
        )

    @property
    def periods(self) -> tuple[str, ...]:
        """The years that tables show, newest first: three at most."""
        return self.facts.periods[:3]

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The primary statements as they were rebuilt."""
        return self.analysis.reading.statements

    def fact_of_cell(self, item: str | None, period: str) -> str | None:
        """The id of the fact that a statement's cell became, where it became one."""
        fact = self.facts.get(item, period) if item else None
        return fact.id if fact is not None and fact.value is not None else None

    def absent(self) -> tuple[Fact, ...]:
        """The canonical items that the statements found do not present, and for which nothing could be derived."""
        unread = {c.facts["statement"].partition(".")[2] for c in self._claims.values() if "statement" in c.facts}
        absent = (fact for fact in self.analysis.reading.facts if fact.status is Status.NOT_PRESENTED)
        return tuple(
            fact for fact in absent if fact.name in self.items.names and self.items.statement(fact.name) not in unread
        )

    def cited(self) -> tuple[Fact, ...]:
        """Every fact with a box on a page, in the order of the pages: the list of sources of a printed report."""
        facts = [fact for fact in self.analysis.reading.facts if self.cite(fact.id).box and fact.value is not None]
        return tuple(sorted(facts, key=lambda fact: self.cite(fact.id).pages))


def _parts(sentence: Sentence, language: Language) -> tuple[Part, ...]:
    text, at, parts = sentence.text[language], 0, []
    for span in sorted(sentence.spans.get(language, ()), key=lambda span: span.start):
        if span.start < at:
            continue
        if span.start > at:
            parts.append(Part(text[at : span.start]))
        parts.append(Part(text[span.start : span.end], span.fact_id))
        at = span.end
    return (*parts, Part(text[at:])) if at < len(text) else tuple(parts)


def _lead(line: Line) -> dict[Language, str] | None:
    """The words before the quotation of a sentence that has the form: words, one quotation, full stop."""
    if any(len(parts) not in (2, 3) or parts[0].fact_id or not parts[1].fact_id for parts in line.parts.values()):
        return None
    if any(part.text not in _FULL_STOPS for parts in line.parts.values() for part in parts[2:]):
        return None
    quotes = {parts[1].text for parts in line.parts.values()}
    if len(quotes) != 1 or not quotes.pop().startswith(_QUOTES):
        return None
    return {language: parts[0].text for language, parts in line.parts.items()}


def _titled(key: str) -> dict[Language, str]:
    return {"en": text(key, "en"), "zh": text(key, "zh")}
