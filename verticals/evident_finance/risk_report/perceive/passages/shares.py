"""The shares of revenue and purchases that a few customers or suppliers make up, as numbers."""

import re
from decimal import Decimal

from evident_core.evidence import Polarity
from evident_finance.risk_report.perceive.passages.cite import Draft
from evident_finance.risk_report.perceive.passages.findings import find
from evident_finance.risk_report.perceive.passages.prose import Prose, Span

_PERCENT = r"\d{1,3}(?:\.\d+)?\s?(?:%|percent)"
_EN = re.compile(
    rf"(?P<who>[^;]*?)(?:,? (?:which|who|that|each|together|collectively|in aggregate|in the aggregate),?)?\s"
    rf"(?:accounted for|account for|represent(?:ed|ing|s)?|compris(?:ed|ing)|constituted|were|was)\s"
    rf"(?:approximately |about |an aggregate of |in (?:the )?aggregate )*"
    rf"(?P<list>{_PERCENT}(?:(?:, and|,| and) {_PERCENT})*)\sof (?P<measure>[^.;]{{4,120}})"
)
_WHO = re.compile(r"(?:customer|supplier|vendor|distributor|manufacturer|retailer)s?\b|\bsales to\b")
_THRESHOLD = re.compile(r"(?:more|greater|less|excess of|at least|over|exceed\w*)\s(?:than\s)?$|^\s?or more")
_WHOLE = (
    r"(?:the |our |its |their |all |the company's |the group's |total |consolidated |annual |worldwide |overall |net )*"
)
_PERIOD = (
    r"(?: (?:in|for|during|at|as of) (?:the )?(?:fiscal |year|years|twelve|20\d\d|each)"
    r"|,|\.|$| and \d| \(| we| that we)"
)
_REVENUE = re.compile(rf"^{_WHOLE}(?:revenues?|sales|net sales|turnover){_PERIOD}")
_PURCHASES = re.compile(
    rf"^{_WHOLE}(?:purchases|merchandise(?: purchased)?|procurement|materials purchased|inventory purchases){_PERIOD}"
)
_ZH = re.compile(
    r"(?P<who>(?:公司)?(?:前五(?:名|大)|第一大|最大|单一最大)(?:客户|供应商))[^。]*?"
    r"占[^。\d]{0,8}(?P<measure>销售总额|营业收入|销售收入|采购总额|采购额)[^。\d]{0,10}(?P<list>\d{1,3}(?:\.\d+)?) ?%"
)


def drafts(prose: Prose, year_end: str | None) -> list[Draft]:
    """``concentration.customer_share#n`` and ``concentration.supplier_share#n`` from the passages on concentration."""
    year = year_end[:4] if year_end else None
    found: list[tuple[str, str, Decimal, Span]] = []
    for finding in find(prose, "concentration", year):
        if finding.polarity is Polarity.PRESENT:
            found.extend(_shares(prose, finding.span))
    made = []
    for n, (kind, who, share, span) in enumerate(found, start=1):
        text = prose.plain[span.start : span.end]
        years = re.findall(r"\b20\d\d\b", text)
        period = year_end if prose.language == "zh" or (year and years[:1] == [year]) else None
        name = f"concentration.{kind}_share"
        made.append(Draft(f"{name}#{n}", name, span, value=share, unit="%", period=period, subject=who))
    return made


def _shares(prose: Prose, span: Span) -> list[tuple[str, str, Decimal, Span]]:
    text = prose.plain[span.start : span.end]
    if prose.language == "zh":
        return [
            ("supplier" if "供应商" in match["who"] else "customer", match["who"], Decimal(match["list"]), span)
            for match in _ZH.finditer(text)
        ]
    shares: list[tuple[str, str, Decimal, Span]] = []
    for match in _EN.finditer(text):
        who = _WHO.search(match["who"])
        if (
            who is None
            or _THRESHOLD.search(text[: match.start("list")])
            or _THRESHOLD.search(text[match.end("list") :])
        ):
            continue
        supplies = re.search(r"supplier|vendor|manufacturer", match["who"]) is not None
        measure = _PURCHASES if supplies else _REVENUE
        if not measure.search(match["measure"].strip()):
            continue
        printed = prose.print(Span(span.start + match.start("who"), span.start + match.end("who"))).rstrip(" ,")
        subject = re.sub(
            r"^(?:In|During|For)\b[^,]*\b(?:19|20)\d\d\b,? |^(?:Collectively|Additionally|Together),? ", "", printed
        )
        numbers = re.findall(r"\d{1,3}(?:\.\d+)?", match["list"])
        shares.extend(("supplier" if supplies else "customer", subject, Decimal(number), span) for number in numbers)
    return shares
