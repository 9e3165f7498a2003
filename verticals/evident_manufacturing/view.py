"""How one inspection is shown: sentences whose words lead to boxes, and defects with their sizes and decisions."""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

from flask import url_for
from markupsafe import Markup

from evident_core.evidence import Derived, Element, Fact, ImageRegion, Language, Sentence
from evident_manufacturing.desk import Desk, specification_of
from evident_manufacturing.inspection.assess.called import called, of_the_board, unmeasured
from evident_manufacturing.inspection.schema import Inspection, Quantity, Reason
from evident_manufacturing.inspection.write import phrasebook
from evident_manufacturing.rules import in_words
from evident_manufacturing.texts import text

SIZES: Final = ("length", "width", "area", "gap")
_DEPTH: Final = 6


class View:
    """One board as its page shows it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.inspection: Inspection = desk.inspection
        self.facts: dict[str, Fact] = {fact.id: fact for fact in desk.inspection.facts}
        if desk.inspection.report:
            self.facts |= {fact.id: fact for fact in desk.inspection.report.facts}

    @cached_property
    def called(self) -> dict[int, str]:
        """What each defect leads to by itself: a decision, or ``unjudged`` below the specification's score."""
        return called(self.inspection)

    @cached_property
    def together(self) -> tuple[Reason, ...]:
        """The limits on the count of all defects that the board has passed."""
        return of_the_board(self.inspection.verdict)

    @cached_property
    def calibrated(self) -> bool:
        """Whether a calibration held, as the verdict says."""
        return not any(each.rule.startswith("calibration_") for each in self.inspection.verdict.reasons)

    def unmeasured(self, reason: Reason) -> tuple[int, ...]:
        """The defects of a reason whose size could not be compared with its limit."""
        return unmeasured(reason, self.inspection.defects)

    def rule(self, reason: Reason, language: Language) -> str:
        """What a rule that was met asks for, in words; empty where it is no limit."""
        return in_words(reason.rule, reason.limit, language)

    def kind(self, kind: str, language: Language) -> str:
        """A kind of defect in words; one that a person added is its own word."""
        word = phrasebook().words["kind"].get(kind)
        return str(word[language]) if word else kind

    def size(self, quantity: Quantity | None) -> str:
        """A size as ``0.31 ± 0.01 mm``; a dash where there is none."""
        if quantity is None:
            return "–"
        return f"{quantity.value} ± {quantity.uncertainty} {quantity.unit.replace('2', '²')}"

    def unit(self, size: str) -> str:
        """The unit of one of the sizes, which all defects of a board share; empty where nothing was measured."""
        found = (getattr(defect.size, size) for defect in self.inspection.defects if defect.size)
        return next((str(each.unit).replace("2", "²") for each in found if each), "")

    def sentence(self, sentence: Sentence, language: Language) -> Markup:
        """A sentence in which each stated fact leads to the box, or names the place, that it was read from."""
        words, at, done = sentence.text[language], 0, Markup("")
        for span in sorted(sentence.spans.get(language, ()), key=lambda each: each.start):
            if span.start < at:
                continue
            done += words[at : span.start] + self.cite(span.fact_id, words[span.start : span.end], language)
            at = span.end
        return done + words[at:]

    def cite(self, fact_id: str, shown: str, language: Language) -> Markup:
        """Text that leads to its source: a box on the board, a line of the specification, or the whole picture."""
        defects = sorted(set(self._defects(fact_id, _DEPTH)))
        place = self.place(fact_id, language)
        target = f"#box-{defects[0]}" if defects else "#board"
        if (
            not defects
            and (element := self._element(fact_id, _DEPTH)) is not None
            and self.inspection.verdict.specification
        ):
            name = self.inspection.verdict.specification
            at = self._lines.get(element.path)
            target = url_for("specification.page", name=name) + (f"#L{at}" if at else "")
        return Markup('<a class="evidence" href="{}" data-evidence="{}" data-defects="{}" title="{}">{}</a>').format(
            target, fact_id, ",".join(map(str, defects)), place, shown
        )

    def place(self, fact_id: str, language: Language) -> str:
        """Where a fact was read, in words."""
        fact = self.facts.get(fact_id)
        for source in fact.sources if fact else ():
            where = source.where
            if fact and isinstance(where, ImageRegion) and where.bbox and source.input:
                x0, y0, x1, y1 = (round(each) for each in where.bbox)
                at = text("board.place", language, name=source.input.name, x0=x0, y0=y0, x1=x1, y1=y1)
                chosen = fact.name == "wording"
                return at + (text("board.chosen", language, share=f"{fact.confidence:.2f}") if chosen else "")
            if isinstance(where, Element) and source.input:
                return f"{source.input.name} {where.path}"
            if isinstance(where, Derived):
                return text("board.derived", language, rule=where.formula or where.rule)
        return ""

    @cached_property
    def _lines(self) -> dict[str, int]:
        """On which line of the specification each limit stands."""
        known = specification_of(self.desk.options.specification)
        if known is None:
            return {}
        return {each.path: each.line for each in known.limits} | {each.path: each.line for each in known.described}

    def _defects(self, fact_id: str, depth: int) -> Iterator[int]:
        """The numbers of the defects that a fact rests on."""
        about, _, rest = fact_id.partition(".")
        if about == "defect":
            yield int(rest.partition(".")[0])
            return
        fact = self.facts.get(fact_id)
        for source in fact.sources if fact and depth else ():
            if isinstance(source.where, Derived):
                for each in source.where.fact_ids:
                    yield from self._defects(each, depth - 1)

    def _element(self, fact_id: str, depth: int) -> Element | None:
        fact = self.facts.get(fact_id)
        for source in fact.sources if fact and depth else ():
            if isinstance(source.where, Element):
                return source.where
        return None
