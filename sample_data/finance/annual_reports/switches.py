"""Everything about a layout that varies, chosen together so that the combination is one a company could print."""

import random
from dataclasses import asdict, dataclass, field, replace

from .books import Sector, Traits
from .form import Form
from .lines import Family

LOOKALIKES = ("contents", "selected", "mdna", "quarterly", "segments", "parent", "condensed", "notes", "index")


@dataclass(frozen=True)
class Switches:
    """The layout of one variant. Names are those by which the sweep groups its figures."""

    family: Family = "us"
    sector: Sector = "industrial"
    newest_first: bool = True
    years: int = 2
    year_end: str = "12-31"
    heads: str = "years"
    scale: int = 1_000_000
    decimals: int = 0
    scale_place: str = "title"
    currency: str = "USD"
    negative: str = "parentheses"
    dash: str = "—"
    currency_sign: str = "own_column"
    full_width: bool = False
    note_column: bool = False
    narrow_labels: bool = False
    value_on: str = "last"
    leaders: bool = False
    footnotes: bool = False
    ruled: bool = False
    split_pages: bool = False
    repeat_heads: bool = True
    two_on_page: bool = False
    order: str = "balance-income-cash"
    deep: bool = False
    page: str = "portrait"
    account_form: bool = False
    company_columns: bool = False
    restated: bool = False
    doubled: bool = False
    hidden: bool = False
    mixed_units: bool = False
    running_heads: bool = True
    upper_titles: bool = False
    font: str = "serif"
    size: float = 8.5
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    traits: Traits = field(default_factory=Traits)
    form: Form = field(default_factory=Form)

    def flat(self) -> dict[str, object]:
        """All switches by name, with those of the company's traits and form of presentation."""
        own = asdict(self)
        traits, form = own.pop("traits"), own.pop("form")
        return own | {f"traits.{k}": v for k, v in traits.items()} | {f"form.{k}": v for k, v in form.items()}


_SCALES: dict[Family, tuple[tuple[int, int], ...]] = {
    "us": ((1_000_000, 0), (1_000_000, 0), (1_000, 0), (1_000, 0), (1, 0), (1_000_000, 1)),
    "ifrs": ((1_000_000, 0), (1_000_000, 1), (1_000, 0)),
    "zh": ((1, 2), (1, 2), (1, 2), (1_000, 0), (10_000, 2), (1_000_000, 0), (100_000_000, 2)),
    "hk": ((1_000, 0), (1_000, 0), (1_000_000, 0), (1_000_000, 1)),
}
_CURRENCIES: dict[Family, tuple[str, ...]] = {
    "us": ("USD",),
    "ifrs": ("GBP", "EUR", "USD", "CHF"),
    "zh": ("CNY",),
    "hk": ("HKD", "CNY"),
}
_HEADS: dict[Family, tuple[str, ...]] = {
    "us": ("years", "dates", "spanned", "split_dates"),
    "ifrs": ("years", "years_unit", "dates", "split_dates"),
    "zh": ("dates", "ending_balance", "ending_number", "year_end_balance"),
    "hk": ("years_unit", "numeral_years"),
}


def choose(rng: random.Random) -> Switches:
    """Draw one combination."""

    def often(probability: float) -> bool:
        return rng.random() < probability

    family: Family = rng.choice(("us", "us", "us", "ifrs", "zh", "zh", "hk"))
    chinese = family in ("zh", "hk")
    sector: Sector = (
        rng.choice(("industrial",) * 7 + ("bank", "insurer", "utility")) if family == "us" else "industrial"
    )
    scale, decimals = rng.choice(_SCALES[family])
    heads = rng.choice(_HEADS[family])
    year_end = "12-31"
    if not chinese:
        year_end = rng.choice(("12-31", "12-31", "12-31", "06-30", "09-30", "03-31", "01-31"))
        if family == "us" and often(0.25):
            year_end, heads = rng.choice(("52w-09", "52w-12", "52w-01")), rng.choice(("dates", "split_dates"))
        elif year_end == "01-31":
            heads = "dates"
    negatives = (
        ("minus", "minus", "parentheses", "full_width") if chinese else ("parentheses",) * 3 + ("minus", "trailing")
    )
    negative = rng.choice((*negatives, "unicode"))
    full_width = chinese and often(0.06)
    font = rng.choice(("embedded", "embedded_times", "cid", "cid_times") if chinese else ("serif", "sans", "vera"))
    if full_width or (chinese and negative in ("full_width", "unicode")):
        font = "embedded"  # only an embedded font says which of the look-alike characters it sets
    elif negative == "unicode":
        font = "vera"
    account_form = family == "zh" and often(0.12)
    company_columns = chinese and not account_form and often(0.12)
    narrow = often(0.3) and not account_form
    two_on_page = often(0.2) and not account_form
    switches = Switches(
        family=family,
        sector=sector,
        newest_first=often(0.75),
        years=3 if family == "us" and often(0.65) else 2,
        year_end=year_end,
        heads=heads,
        scale=scale,
        decimals=decimals,
        scale_place=rng.choice(("title", "title", "head", "page_top", "section")),
        currency=rng.choice(_CURRENCIES[family]),
        negative=negative,
        dash=rng.choice(("—", "-", "–", "－", "") if chinese else ("—", "—", "-", "–", "— ")).strip(),
        currency_sign="none"
        if chinese or family == "ifrs"
        else rng.choice(("own_column", "own_column", "glued", "first_row", "none")),
        full_width=full_width,
        note_column=often(0.6 if family != "us" else 0.12),
        narrow_labels=narrow,
        value_on=rng.choice(("last", "last", "first")),
        leaders=not chinese and often(0.2),
        footnotes=often(0.15),
        ruled=often(0.7 if chinese else 0.1),
        split_pages=often(0.25) and not two_on_page,
        repeat_heads=often(0.75),
        two_on_page=two_on_page,
        order=rng.choice(("balance-income-cash", "income-balance-cash", "income-balance-cash", "cash-income-balance"))
        if not chinese
        else rng.choice(("balance-income-cash", "balance-income-cash", "income-balance-cash")),
        deep=often(0.02),
        page=rng.choice(("portrait",) * 8 + ("landscape", "rotated")),
        account_form=account_form,
        company_columns=company_columns,
        restated=often(0.08),
        doubled=often(0.06),
        hidden=often(0.06),
        mixed_units=often(0.1),
        running_heads=often(0.7),
        upper_titles=not chinese and often(0.4),
        font=font,
        size=rng.choice((7.5, 8.0, 8.5, 9.0)),
        before=tuple(rng.sample(LOOKALIKES, rng.randint(2, 5))),
        after=tuple(rng.sample(LOOKALIKES[1:], rng.randint(1, 4))),
        traits=_traits(rng, family, sector),
        form=_form(rng, family, scale),
    )
    # Some lines are there in one year and a dash in another.
    return replace(switches, traits=replace(switches.traits, gaps=often(0.3)))


def _traits(rng: random.Random, family: Family, sector: Sector) -> Traits:
    def often(probability: float) -> bool:
        return rng.random() < probability

    industrial = sector in ("industrial", "utility")
    return Traits(
        sector=sector,
        loss=industrial and often(0.2),
        negative_equity=industrial and often(0.08),
        noncontrolling=often(0.45),
        redeemable=family == "us" and often(0.15),
        discontinued=often(0.15),
        inventories=often(0.8),
        research=industrial and often(0.55),
        goodwill=often(0.75),
        leases=often(0.6),
        treasury=often(0.4),
        dividends=often(0.75),
        pension=family != "zh" and often(0.3),
        restructuring=family in ("us", "ifrs") and often(0.25),
        restricted=often(0.2),
        bills=family == "zh" or (family == "hk" and often(0.5)),
        statutory_reserve=family == "zh" or (family == "hk" and often(0.4)),
    )


def _form(rng: random.Random, family: Family, scale: int) -> Form:
    def often(probability: float) -> bool:
        return rng.random() < probability

    one_step = often(0.3)
    return Form(
        split_revenue=often(0.3),
        one_step=one_step,
        gross_profit=not one_step and often(0.75),
        operating_income=often(0.85),
        combined_sga=often(0.6),
        costs_negative=often(0.6) if family in ("ifrs", "hk") else often(0.08),
        total_liabilities=often(0.6) if family == "us" else often(0.8),
        noncurrent_totals=often(0.4),
        plant_first=often(0.1),
        net_assets=family in ("ifrs", "hk") and often(0.4),
        unlabelled_totals=often(0.12),
        shares_in_full=scale if family == "us" and scale > 1 and often(0.3) else 1,
        other_lines=often(0.5),
        blank_lines=often(0.6),
        simple_income=often(0.3),
        supplemental=often(0.7),
    )
