"""The one evaluator of formulas: the data files' ratios, scores and rules, and an analyst's questions.

::

    operating_cash_flow - capex                      names of items and measures, of the period that is looked at
    revenue@2018 / revenue@2017 - 1                  of a named year or period's end
    net_income / average(total_assets)               average(x) = (x + prior(x)) / 2, prior(x) = a year before
    total(short_term_debt, long_term_debt)           the sum of those that are presented; one at least must be
    inventories + optional(contract_assets)          optional(x) is zero where x is not presented, and says so
    first_of(ebit_a, ebit_b)                         the first that can be computed
    indicator(net_income > 0)                        1 or 0
    change(revenue)                                  x / prior(x) - 1, refused where prior(x) is not positive
    present(deposits) and not present(inventories)   comparisons, and / or / not
    currency(total_assets) == "CNY"                  the unit of an amount
    matches(filing.company, "bank|银行")              a regular expression in a text fact, whatever the case

An amount of money is never added to a pure number or to another currency, and never multiplied by money.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import lru_cache
from typing import Protocol

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from evident_core.errors import InvalidInput
from evident_core.evidence import Fact

PURE = "1"
RATIO_UNITS = {PURE: Decimal(1), "%": Decimal("0.01"), "d": Decimal(1)}
"""Units that count as a pure number in a formula, and what one of them is worth."""

GRAMMAR = r"""
?start: either
?either: both | either "or" both
?both: negation | both "and" negation
?negation: comparison | "not" negation -> negated
?comparison: sum | sum COMPARE sum
?sum: product | sum "+" product -> add | sum "-" product -> subtract
?product: factor | product "*" factor -> multiply | product "/" factor -> divide
?factor: atom | "-" factor -> negative
?atom: NUMBER "%" -> percent | NUMBER -> number | STRING -> text | NAME "(" either ("," either)* ")" -> call
    | NAME ["@" PERIOD] -> name | "(" either ")"
COMPARE: "<=" | ">=" | "==" | "!=" | "<" | ">"
NAME: /[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*/
PERIOD: /\d{4}(-\d{2}-\d{2})?/
NUMBER: /\d+(\.\d+)?/
STRING: /"[^"]*"/
%ignore /\s+/
"""
_PARSER = Lark(GRAMMAR, parser="lalr", maybe_placeholders=True)
_LONGEST = 2000


class CannotCompute(InvalidInput):
    """Why a formula has no value. ``cause`` is the name and period of what stands in the way, where one thing does."""

    code, title = "cannot_compute", "The formula has no value"

    def __init__(self, message: str, cause: tuple[str, str | None] | None = None) -> None:
        super().__init__(message, cause=cause)
        self.cause = cause


class MixedUnits(InvalidInput):
    """An amount is put together with a pure number, another currency, or another amount as a factor."""

    code, title = "mixed_units", "The units do not fit together"


class Missing(CannotCompute):
    """An input is absent from the filing or not presented."""


class Refused(CannotCompute):
    """The inputs are there, and the result would mean nothing: a zero or negative denominator, a wrong form."""


class Book(Protocol):
    """Where a formula's names are looked up."""

    def find(self, name: str, period: str | None) -> Fact:
        """The fact of that name and period; ``Missing`` or ``Refused`` where it has no value."""

    def before(self, period: str) -> str:
        """The period that ended a year before; ``Missing`` where the filing has none."""

    def resolve(self, year_or_date: str) -> str:
        """The period's end that a year or a date names."""

    def label(self, name: str) -> str:
        """The name as a person reads it in a reason."""


@dataclass(frozen=True)
class Value:
    """A result with its way: the facts it rests on and the formula as it was evaluated (``text``, itself a formula)."""

    value: Decimal | str | bool
    unit: str = PURE
    facts: tuple[Fact, ...] = ()
    text: str = ""
    rank: int = 9
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> Decimal:
        """The value as a number."""
        if not isinstance(self.value, Decimal):
            raise InvalidInput(f"{self.text!r} is not a number.", term=self.text)
        return self.value

    @property
    def truth(self) -> bool:
        """The value as a truth."""
        if not isinstance(self.value, bool):
            raise InvalidInput(f"{self.text!r} is neither true nor false.", term=self.text)
        return self.value


@lru_cache(maxsize=1024)
def parse(expression: str) -> Tree[Token]:
    """The tree of an expression.

    Raises:
        InvalidInput: It is not a formula; the message shows the place.
    """
    if len(expression) > _LONGEST:
        raise InvalidInput(f"The formula has {len(expression)} characters; at most {_LONGEST} are read.")
    try:
        tree = _PARSER.parse(expression)
    except UnexpectedInput as error:
        column = error.column if error.column and error.column > 0 else len(expression) + 1
        at = expression[column - 1 :].split()[:1] or ["its end"]
        raise InvalidInput(
            f"The formula {expression!r} cannot be read at {at[0]!r} (character {column}); "
            "write it like 'net_debt / ebitda' or 'revenue@2018 / revenue@2017 - 1'.",
            column=column,
        ) from error
    except RecursionError as error:
        raise InvalidInput("The formula is nested too deeply; split it.") from error
    return tree if isinstance(tree, Tree) else Tree("start", [tree])


def names(expression: str) -> frozenset[str]:
    """The names of items and measures that an expression mentions."""
    return frozenset(str(node.children[0]) for node in parse(expression).find_data("name"))


def evaluate(expression: str, book: Book, period: str | None) -> Value:
    """The value of an expression at a period.

    Raises:
        Missing: An input is absent.
        Refused: It has no meaning with these inputs.
        InvalidInput: It is not a formula, or mixes units.
    """
    with localcontext(Context(prec=28, traps=[DivisionByZero, InvalidOperation, Overflow])):
        try:
            return _Evaluation(book).at(parse(expression), period)
        except (InvalidOperation, Overflow) as error:
            raise Refused(f"{expression!r} leaves the range of numbers") from error
        except RecursionError as error:
            raise InvalidInput("The formula is nested too deeply; split it.") from error


class _Evaluation:
    def __init__(self, book: Book) -> None:
        self.book = book

    def at(self, node: Tree[Token], period: str | None) -> Value:
        return getattr(self, f"_{node.data}")(node.children, period)  # type: ignore[no-any-return]

    def _start(self, children: list[Tree[Token]], period: str | None) -> Value:
        return self.at(children[0], period)

    def _number(self, children: list[Token], _: str | None) -> Value:
        return Value(Decimal(str(children[0])), text=str(children[0]))

    def _percent(self, children: list[Token], _: str | None) -> Value:
        return Value(Decimal(str(children[0])) / 100, text=f"{children[0]}%")

    def _text(self, children: list[Token], _: str | None) -> Value:
        return Value(str(children[0])[1:-1], text=str(children[0]))

    def _name(self, children: list[Token | None], period: str | None) -> Value:
        at = self.book.resolve(str(children[1])) if children[1] else period
        fact = self.book.find(str(children[0]), at)
        text = f"{fact.name}@{fact.period}" if fact.period else fact.name
        if fact.unit is None:
            return Value(str(fact.value), facts=(fact,), text=text)
        worth = RATIO_UNITS.get(fact.unit)
        if worth is None:
            return Value(fact.number, fact.unit, (fact,), text)
        return Value(fact.number * worth, PURE, (fact,), text)

    # Arithmetic ---------------------------------------------------------------------------------------------------

    def _negative(self, children: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(children[0], period)
        return Value(-of.number, of.unit, of.facts, f"-{_wrap(of, 3)}", 3, of.notes)

    def _add(self, children: list[Tree[Token]], period: str | None) -> Value:
        left, right = (self.at(child, period) for child in children)
        return _joined(left, right, left.number + right.number, _same_unit(left, right), "+", 1)

    def _subtract(self, children: list[Tree[Token]], period: str | None) -> Value:
        left, right = (self.at(child, period) for child in children)
        return _joined(left, right, left.number - right.number, _same_unit(left, right), "-", 1)

    def _multiply(self, children: list[Tree[Token]], period: str | None) -> Value:
        left, right = (self.at(child, period) for child in children)
        if left.unit != PURE and right.unit != PURE:
            raise MixedUnits(f"{left.text} and {right.text} are both amounts; their product has no meaning.")
        return _joined(left, right, left.number * right.number, left.unit if right.unit == PURE else right.unit, "*", 2)

    def _divide(self, children: list[Tree[Token]], period: str | None) -> Value:
        left, right = (self.at(child, period) for child in children)
        if right.unit != PURE and left.unit == PURE and left.value != 0:
            raise MixedUnits(
                f"{left.text} is a pure number and {right.text} an amount in {right.unit}; turn them round."
            )
        unit = left.unit if right.unit == PURE else PURE
        if right.unit != PURE:
            _same_unit(left, right)
        if right.number == 0:
            raise Refused(f"{self._describe(right)} is zero", _cause(right))
        return _joined(left, right, left.number / right.number, unit, "/", 2)

    # Logic --------------------------------------------------------------------------------------------------------

    def _comparison(self, children: list[Tree[Token] | Token], period: str | None) -> Value:
        left, right = (self.at(child, period) for child in (children[0], children[2]) if isinstance(child, Tree))
        sign = str(children[1])
        if isinstance(left.value, Decimal) and isinstance(right.value, Decimal):
            _same_unit(left, right)
            order = (left.value > right.value) - (left.value < right.value)
        elif sign in ("==", "!=") and isinstance(left.value, str) and isinstance(right.value, str):
            order = int(left.value != right.value)
        else:
            raise InvalidInput(f"{left.text} and {right.text} cannot be compared by {sign}.")
        truth = {"<": order < 0, "<=": order <= 0, "==": order == 0, "!=": order != 0, ">=": order >= 0, ">": order > 0}
        return _joined(left, right, truth[sign], PURE, sign, 0)

    def _both(self, children: list[Tree[Token]], period: str | None) -> Value:
        left = self.at(children[0], period)
        if not left.truth:
            return left
        right = self.at(children[1], period)
        return _joined(left, right, right.truth, PURE, "and", -1)

    def _either(self, children: list[Tree[Token]], period: str | None) -> Value:
        left = self.at(children[0], period)
        if left.truth:
            return left
        right = self.at(children[1], period)
        return _joined(left, right, right.truth, PURE, "or", -2)

    def _negated(self, children: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(children[0], period)
        return Value(not of.truth, PURE, of.facts, f"not {_wrap(of, 0)}", -1, of.notes)

    # Functions ----------------------------------------------------------------------------------------------------

    def _call(self, children: list[Token | Tree[Token]], period: str | None) -> Value:
        function = str(children[0])
        arguments = [child for child in children[1:] if isinstance(child, Tree)]
        if function not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS))
            raise InvalidInput(f"There is no function {function!r}; there are {known}.", function=function)
        call, count = FUNCTIONS[function]
        if count and len(arguments) != count:
            raise InvalidInput(f"{function}() takes {count} argument(s), not {len(arguments)}.", function=function)
        return call(self, arguments, period)

    def prior(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        if period is None:
            raise Missing("no period is known")
        return self.at(arguments[0], self.book.before(period))

    def average(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        now, before = self.at(arguments[0], period), self.prior(arguments, period)
        both = _joined(now, before, now.number + before.number, _same_unit(now, before), "+", 1)
        return Value(both.number / 2, both.unit, both.facts, f"({both.text}) / 2", 2, both.notes)

    def change(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        now, before = self.at(arguments[0], period), self.prior(arguments, period)
        _same_unit(now, before)
        if before.number <= 0:
            raise Refused(
                f"{self._describe(before)} is not positive, so a rate of change has no meaning", _cause(before)
            )
        ratio = _joined(now, before, now.number / before.number, PURE, "/", 2)
        return Value(ratio.number - 1, PURE, ratio.facts, f"{ratio.text} - 1", 1, ratio.notes)

    def total(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        found: list[Value] = []
        missing: list[Missing] = []
        for argument in arguments:
            try:
                found.append(self.at(argument, period))
            except Missing as absent:
                missing.append(absent)
        if not found:
            raise missing[0]
        whole = found[0]
        for each in found[1:]:
            whole = _joined(whole, each, whole.number + each.number, _same_unit(whole, each), "+", 1)
        return _noting(whole, (self._counted_as_zero(absent) for absent in missing))

    def optional(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        try:
            return self.at(arguments[0], period)
        except Missing as absent:
            return Value(Decimal(0), text="0", notes=(self._counted_as_zero(absent),))

    def first_of(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        reasons: list[Missing] = []
        for argument in arguments:
            try:
                return self.at(argument, period)
            except Missing as absent:
                reasons.append(absent)
        raise reasons[0]

    def indicator(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(arguments[0], period)
        return Value(Decimal(of.truth), PURE, of.facts, f"indicator({of.text})", 9, of.notes)

    def present(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        try:
            of = self.at(arguments[0], period)
        except CannotCompute:
            return Value(False, text="present()")
        return Value(True, PURE, of.facts, f"present({of.text})", 9, of.notes)

    def matches(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of, pattern = (self.at(argument, period) for argument in arguments)
        found = re.search(str(pattern.value), str(of.value), re.IGNORECASE) is not None
        return Value(found, PURE, of.facts, f"matches({of.text}, {pattern.text})")

    def currency(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(arguments[0], period)
        return Value(of.unit, PURE, of.facts, f"currency({of.text})")

    def absolute(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(arguments[0], period)
        return Value(abs(of.number), of.unit, of.facts, f"abs({of.text})", 9, of.notes)

    def logarithm(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self._pure("ln", arguments, period)
        if of.number <= 0:
            raise Refused(f"{self._describe(of)} is not positive, so it has no logarithm", _cause(of))
        return Value(of.number.ln(), PURE, of.facts, f"ln({of.text})", 9, of.notes)

    def exponential(self, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self._pure("exp", arguments, period)
        return Value(of.number.exp(), PURE, of.facts, f"exp({of.text})", 9, of.notes)

    def _pure(self, function: str, arguments: list[Tree[Token]], period: str | None) -> Value:
        of = self.at(arguments[0], period)
        if of.unit != PURE:
            raise MixedUnits(f"{function}() is taken of a pure number; {of.text} is in {of.unit}.", function=function)
        return of

    def _describe(self, of: Value) -> str:
        if len(of.facts) == 1 and of.facts[0].period:
            return f"{self.book.label(of.facts[0].name)} of {of.facts[0].period[:4]}"
        return of.text

    def _counted_as_zero(self, absent: Missing) -> str:
        return f"{self.book.label(absent.cause[0]) if absent.cause else absent.message}: not presented, counted as none"


Function = Callable[[_Evaluation, list[Tree[Token]], str | None], Value]
FUNCTIONS: dict[str, tuple[Function, int]] = {
    "abs": (_Evaluation.absolute, 1),
    "average": (_Evaluation.average, 1),
    "currency": (_Evaluation.currency, 1),
    "change": (_Evaluation.change, 1),
    "exp": (_Evaluation.exponential, 1),
    "first_of": (_Evaluation.first_of, 0),
    "indicator": (_Evaluation.indicator, 1),
    "ln": (_Evaluation.logarithm, 1),
    "matches": (_Evaluation.matches, 2),
    "optional": (_Evaluation.optional, 1),
    "present": (_Evaluation.present, 1),
    "prior": (_Evaluation.prior, 1),
    "total": (_Evaluation.total, 0),
}
"""Each function and how many arguments it takes (0: any number)."""


def _same_unit(left: Value, right: Value) -> str:
    """The unit both share. A zero has every unit."""
    if left.unit == right.unit or right.value == 0:
        return left.unit
    if left.value == 0:
        return right.unit
    one, other = ("a pure number" if each.unit == PURE else f"in {each.unit}" for each in (left, right))
    raise MixedUnits(f"{left.text} is {one} and {right.text} is {other}; they cannot be put together.")


def _joined(left: Value, right: Value, value: Decimal | bool, unit: str, sign: str, rank: int) -> Value:
    facts = left.facts + tuple(fact for fact in right.facts if fact not in left.facts)
    # What stands right of a minus or a division keeps its brackets at the same rank: a - (b - c).
    text = f"{_wrap(left, rank)} {sign} {_wrap(right, rank + (sign in ('-', '/')))}"
    return Value(value, unit, facts, text, rank, left.notes + tuple(n for n in right.notes if n not in left.notes))


def _noting(of: Value, notes: Iterable[str]) -> Value:
    return Value(of.value, of.unit, of.facts, of.text, of.rank, (*of.notes, *notes))


def _wrap(of: Value, rank: int) -> str:
    return f"({of.text})" if of.rank < rank else of.text


def _cause(of: Value) -> tuple[str, str | None] | None:
    return (of.facts[0].name, of.facts[0].period) if len(of.facts) == 1 else None
