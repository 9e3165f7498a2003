"""Facts of invented companies, as a reader of their filings would hand them over: books from the sample generator."""

import random
from dataclasses import fields
from decimal import Decimal

from annual_reports.books import Traits, keep_books
from evident_core.evidence import Fact, InputRef, PageBox, Source, Status
from evident_finance.risk_report.items import Items

INPUT = InputRef(sha256="ab" * 32, name="invented.pdf")
CURRENCIES = ("USD", "CNY", "EUR", "GBP", "HKD", "JPY")
COMPANIES = ("Larkhaven Instruments, Inc.", "澄屿精工股份有限公司", "Target & Gap 3000 plc", "The Rising Company")
SECTORS = ("industrial", "bank", "insurer", "utility")
RISKS = (
    ("cyber", "A breach of our systems could cost us $12 million and 3 years of work"),
    ("competition", "本公司产品竞争加剧，毛利率可能下降20%以上"),
    ("foreign_exchange", "Our results fell in 2011 when the “euro” moved against us"),
    (None, "We may not find enough people"),
)


def _source(quote: str, page: int = 7) -> Source:
    return Source(input=INPUT, where=PageBox(page=page, bbox=(72.0, 100.0, 300.0, 112.0), quote=quote))


def text_fact(fact_id: str, value: str | None, name: str = "", subject: str | None = None, note: str = "") -> Fact:
    """A fact without a number."""
    return Fact(
        id=fact_id,
        name=name or fact_id,
        value=value,
        subject=subject,
        note=note,
        status=Status.NOT_PRESENTED if value is None else Status.PRESENTED,
        sources=() if value is None else (_source(value),),
    )


def number_fact(name: str, value: Decimal | int | str, unit: str, period: str | None = None, **more: object) -> Fact:
    """A fact with a number; its id is ``name@period``."""
    fact_id = f"{name}@{period}" if period else name
    return Fact.model_validate(
        {"id": fact_id, "name": name, "value": Decimal(value), "unit": unit, "period": period}
        | {"sources": (_source(str(value)),)}
        | more
    )


def company_facts(seed: int) -> tuple[Fact, ...]:
    """Three years of an invented company: every line of its statements, and what its text says."""
    rng = random.Random(seed)
    flags = {field.name: rng.random() < 0.4 for field in fields(Traits) if field.name != "sector"}
    sector = rng.choice(SECTORS) if rng.random() < 0.4 else "industrial"
    books = keep_books(rng, 2020, 3, rng.choice((5_000, 10**6, 10**8)), Traits(sector=sector, **flags))
    scale, currency = rng.choice((1, 1000, 10**6)), rng.choice(CURRENCIES)
    end = rng.choice(("12-31", "06-30", "01-02", "02-28"))
    names = set(Items.load().names)
    facts = [
        number_fact(name, value * scale, currency, f"{year}-{end}", scale=scale)
        for year, amounts in books.items()
        for name, value in amounts.items()
        if value and name in names and rng.random() < 0.97
    ]
    newest = f"{max(books)}-{end}"
    absent = [name for name in ("inventories", "goodwill", "capex") if f"{name}@{newest}" not in {f.id for f in facts}]
    facts += [
        Fact(id=f"{name}@{newest}", name=name, value=None, period=newest, status=Status.NOT_PRESENTED)
        for name in absent
    ]
    facts += [
        text_fact("filing.company", rng.choice(COMPANIES)),
        text_fact("filing.fiscal_year_end", newest),
        text_fact("filing.currency", currency),
        text_fact("filing.standard", rng.choice(("US-GAAP", "IFRS", "企业会计准则"))),
        text_fact("auditor.name", "Quill & Sorrel LLP"),
        text_fact("auditor.opinion", rng.choice(("unqualified", "qualified", "adverse", "disclaimer"))),
        text_fact("internal_control.effective", rng.choice(("effective", "not effective"))),
        text_fact("going_concern.doubt", rng.choice(("stated", "not stated", "alleviated"))),
        text_fact("passage.audit_matter#1", "Revenue recognition", "passage.audit_matter", note="present: matter"),
        text_fact("passage.litigation#1", "In 2019 a suit was filed.", "passage.litigation", note="present: suit"),
        number_fact("concentration.customer_share", "28.02", "%", subject="前五名客户"),
        number_fact("debt_maturity", 3_195_000_000, currency, subject="2024", id="debt_maturity@2024"),
        number_fact("debt_maturity", 816_000_000, currency, subject="2025", id="debt_maturity@2025"),
        number_fact("debt_maturity", 42_000_000, currency, subject="thereafter", id="debt_maturity.thereafter"),
        text_fact("segment.name#1", "Optics", "segment.name"),
        text_fact("segment.name#2", "传感器", "segment.name"),
    ]
    facts += [
        text_fact(f"passage.risk_factor#{n}", text, "passage.risk_factor", category, "present: risk; severity high")
        for n, (category, text) in enumerate(RISKS, 1)
    ]
    return tuple(facts)
