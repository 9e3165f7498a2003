"""The facts of a filing and every measure that follows from them, computed when first asked for."""

from datetime import date
from decimal import Context, Decimal

from evident_core.errors import InvalidInput
from evident_core.evidence import Derived, Fact, Source, Status
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.catalogue import AltmanModel, Form, Measure
from evident_finance.risk_report.assess.formula import (
    PURE,
    Book,
    CannotCompute,
    Missing,
    Refused,
    Value,
    evaluate,
)
from evident_finance.risk_report.schema import Facts

_DIGITS = Context(prec=12)
_YEAR_APART = range(300, 431)
"""Days between the ends of two fiscal years: 52 or 53 weeks, and a change of the year's end by up to two months."""
_CHANGE = ".change"
_THRESHOLD = "threshold."
_PRICE = "gnp_price_index"
_PRICE_SOURCE = "FRED GDPDEF, mean of the year / mean of 1968 * 100"


class Ledger:
    """Looks names up for formulas: what was read, then measures, changes, thresholds and the price level."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.periods = facts.periods
        self.computed: dict[str, Fact] = {}
        self._refusals: dict[str, CannotCompute] = {}
        self._before = {period: self._year_before(period) for period in self.periods}
        self.altman: AltmanModel | None = None
        self.form = catalogue.forms()[-1]
        self.form = self._recognise_form()
        self.altman = self._choose_altman()

    @property
    def newest(self) -> str | None:
        """The end of the newest period, or None where no statement was read."""
        return self.periods[0] if self.periods else None

    # The book that formulas are evaluated against -------------------------------------------------------------------

    def find(self, name: str, period: str | None) -> Fact:
        """The fact of that name and period, computed if need be.

        Raises:
            Missing: An input is absent.
            Refused: The measure has no meaning here.
        """
        read = self.computed.get(name) or self._read(name, period)
        if read is not None and read.value is not None:
            return read
        if name in catalogue.measures() or name.endswith(_CHANGE) or name.startswith(_THRESHOLD) or name == _PRICE:
            return self._derive(name, period)
        state = "missing" if read is None else "not presented"
        raise Missing(f"{self.label(name)}{_of(period)} {state}", (name, period))

    def before(self, period: str) -> str:
        """The period that ended a year before.

        Raises:
            Missing: The filing has none.
        """
        before = self._before.get(period) if period in self._before else self._year_before(period)
        if before is None:
            raise Missing(f"the year before {period} missing", ("prior_year", period))
        return before

    def resolve(self, year_or_date: str) -> str:
        """The period's end that a fiscal year or a date names.

        Raises:
            InvalidInput: The filing has no such period; the message lists those it has.
        """
        ends = [*self.periods, *(fact.period for fact in self.facts.all if fact.period)]
        # A retailer's fiscal 2018 may end in February 2019: the filing's own count of years comes first.
        fiscal = self.facts.get("filing.fiscal_year")
        shift = int(self.newest[:4]) - int(str(fiscal.value)) if self.newest and fiscal and fiscal.value else 0
        wanted = str(int(year_or_date) + shift) if len(year_or_date) == 4 else year_or_date
        for year in (wanted, year_or_date):
            for end in ends:
                if year in (end, end[:4]):
                    return end
        have = ", ".join(self.periods) or "none"
        raise InvalidInput(f"{year_or_date} is not in the filing; its periods are: {have}.", year=year_or_date)

    def label(self, name: str) -> str:
        """The English label of an item or measure, else the name itself."""
        label = catalogue.labels().get(name.removesuffix(_CHANGE))
        return label["en"] if label else name

    # Measures -------------------------------------------------------------------------------------------------------

    def measure(self, name: str, period: str | None) -> Fact:
        """The measure as a fact: with its value, or NOT_PRESENTED with the reason in its note."""
        try:
            return self.find(name, period)
        except CannotCompute as obstacle:
            return self.without_value(name, period, obstacle)

    def set_aside(self, name: str) -> bool:
        """Whether another of Altman's models is computed instead of this one."""
        return name in _ALTMAN and self.altman is not None and name != self.altman.model

    def obstacle(self, name: str, period: str) -> CannotCompute | None:
        """Why the measure has no value, or None if it has one."""
        try:
            self.find(name, period)
        except CannotCompute as obstacle:
            return obstacle
        return None

    def without_value(self, name: str, period: str | None, obstacle: CannotCompute) -> Fact:
        """A fact that says why a measure has no value."""
        what = "no meaning" if isinstance(obstacle, Refused) else "cannot compute"
        measure = catalogue.measures().get(name)
        if measure and measure.name in self.form.refuses:
            what = "does not apply"
        how = Derived(rule=name, formula=measure.formula if measure else "")
        return Fact(
            id=_id(name, period),
            name=name,
            value=None,
            period=period,
            status=Status.NOT_PRESENTED,
            sources=(Source(where=how),),
            note=f"{what}: {obstacle.message}",
        )

    def threshold(self, name: str) -> Fact:
        """A limit as a fact, which names its paper."""
        limit = catalogue.thresholds()[name]
        return Fact(
            id=_THRESHOLD + name,
            name=_THRESHOLD + name,
            value=limit.value,
            unit=limit.unit,
            status=Status.DERIVED,
            sources=(Source(where=Derived(rule=_THRESHOLD + name, formula=limit.paper)),),
        )

    def _read(self, name: str, period: str | None) -> Fact | None:
        if period and (fact := self.facts.get(name, period)) is not None:
            return fact
        if "." not in name:
            return None
        return self.facts.get(name) or next(iter(self.facts.named(name)), None)

    def _derive(self, name: str, period: str | None) -> Fact:
        key = name if name.startswith(_THRESHOLD) else _id(name, period)
        if key in self._refusals:
            raise self._refusals[key]
        if key not in self.computed:
            # Guards against formulas that name themselves; replaced by the result.
            self._refusals[key] = Refused(f"{name} is defined by itself")
            try:
                self.computed[key] = self._compute(name, period)
            except CannotCompute as obstacle:
                self._refusals[key] = obstacle
                raise
            except InvalidInput as unfit:
                # Facts whose units or kinds do not fit together, such as two currencies in one filing.
                self._refusals[key] = Refused(unfit.message)
                raise self._refusals[key] from unfit
            del self._refusals[key]
        return self.computed[key]

    def _compute(self, name: str, period: str | None) -> Fact:
        if name.startswith(_THRESHOLD):
            return self.threshold(name.removeprefix(_THRESHOLD))
        if period is None:
            raise Missing("no period is known")
        if name == _PRICE:
            return _price_level(period)
        if name.endswith(_CHANGE):
            base = name.removesuffix(_CHANGE)
            return _fact(name, "%", period, evaluate(f"change({base})", self, period))
        measure = catalogue.measures()[name]
        self._refuse(measure, period)
        result = evaluate(measure.formula, self, period)
        if (measure.unit == "currency") is (result.unit == PURE) and result.number != 0:
            raise InvalidInput(f"{name} should be in {measure.unit} and came out in {result.unit}.", measure=name)
        return _fact(name, result.unit if measure.unit == "currency" else measure.unit, period, result)

    def _refuse(self, measure: Measure, period: str) -> None:
        if measure.name in self.form.refuses:
            raise Refused(self.form.reason["en"])
        if measure.only_for and self.form.key not in measure.only_for:
            raise Refused(f"{self.label(measure.name)} is for the form {' or '.join(measure.only_for)}")
        if self.altman is not None and self.set_aside(measure.name):
            raise Refused(f"{self.label(self.altman.model)} is computed instead: {self.altman.reason['en']}")
        for expression in measure.positive:
            divisor = evaluate(expression, self, period)
            if divisor.number <= 0:
                first = divisor.facts[0] if divisor.facts else None
                what = self.label(first.name) if first and len(divisor.facts) == 1 else divisor.text
                state = "zero" if divisor.number == 0 else "negative"
                raise Refused(
                    f"{what}{_of(first.period if first else period)} is {state}",
                    (first.name, first.period) if first else None,
                )

    # What kind of company -------------------------------------------------------------------------------------------

    def _recognise_form(self) -> Form:
        """The first form whose expression is true. What was computed on the way knew of no form, and is forgotten."""
        for form in catalogue.forms():
            if value := holds(form.when, self, self.newest):
                break
        self.computed.clear()
        self._refusals.clear()
        self._conclude("assessment.form", form.key, f"form.{form.key}", form.when, value, form.reason["en"])
        return form

    def _choose_altman(self) -> AltmanModel | None:
        for each in catalogue.altman_models():
            if each.model not in self.form.refuses and (value := holds(each.when, self, self.newest)):
                self._conclude("altman.model", each.model, f"altman.{each.model}", each.when, value, each.reason["en"])
                return each
        return None

    def _conclude(self, name: str, text: str, rule: str, formula: str, value: Value | None, note: str) -> None:
        if self.newest is None:
            return  # where no statement was read, nothing is known of the company's form
        how = Derived(rule=rule, formula=formula, fact_ids=tuple(f.id for f in value.facts) if value else ())
        self.computed[name] = Fact(
            id=name, name=name, value=text, status=Status.DERIVED, sources=(Source(where=how),), note=note
        )

    def _year_before(self, period: str) -> str | None:
        end = date.fromisoformat(period)
        return next((p for p in self.periods if (end - date.fromisoformat(p)).days in _YEAR_APART), None)


def holds(expression: str, book: Book, period: str | None) -> Value | None:
    """The value of an expression if it is true. What cannot be computed, or does not fit together, is not true."""
    try:
        value = evaluate(expression, book, period)
        return value if value.truth else None
    except InvalidInput:
        return None


_ALTMAN = frozenset({"altman_z", "altman_z_private", "altman_z_nonmanufacturer"})


def _fact(name: str, unit: str, period: str, result: Value) -> Fact:
    number = result.number * 100 if unit == "%" else result.number
    money = [fact for fact in result.facts if fact.unit == unit]
    return Fact(
        id=_id(name, period),
        name=name,
        value=_DIGITS.plus(number) if not money else number,
        unit=unit,
        scale=money[0].scale if money and unit not in (PURE, "%", "d") else 1,
        period=period,
        status=Status.DERIVED,
        confidence=min((fact.confidence for fact in result.facts), default=1.0),
        sources=(Source(where=Derived(rule=name, formula=result.text, fact_ids=tuple(f.id for f in result.facts))),),
        note="; ".join(result.notes),
    )


def _price_level(period: str) -> Fact:
    year = period[:4]
    if year not in catalogue.price_level():
        raise Missing(f"the U.S. price level of {year} missing", (_PRICE, period))
    return Fact(
        id=_id(_PRICE, period),
        name=_PRICE,
        value=Decimal(catalogue.price_level()[year]),
        unit="USD",
        period=period,
        status=Status.DERIVED,
        sources=(Source(where=Derived(rule=_PRICE, formula=_PRICE_SOURCE)),),
    )


def _id(name: str, period: str | None) -> str:
    return f"{name}@{period}" if period else name


def _of(period: str | None) -> str:
    return f" of {period[:4]}" if period else ""
