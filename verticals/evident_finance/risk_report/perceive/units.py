"""Currency and scale as the head of a statement gives them."""

import re

from evident_finance.risk_report.perceive.labels import squash

CURRENCIES = (
    ("HKD", r"hk\$|港币|港元|港幣|hongkongdollar|千港元|百万港元"),
    ("TWD", r"nt\$|新台币"),
    ("CNY", r"rmb|人民币|renminbi|cny"),
    ("EUR", r"€|eur\b|euros?|欧元"),
    ("GBP", r"£|gbp|poundssterling|英镑"),
    ("JPY", r"jpy|japaneseyen|日元|¥million|millionsofyen"),
    ("CHF", r"chf|swissfranc"),
    ("CAD", r"(?<![a-z])c\$|cdn\$|canadiandollar"),
    ("AUD", r"(?<![a-z])a\$|australiandollar"),
    ("INR", r"₹|rupee|crore|lakh"),
    ("SGD", r"(?<![a-z])s\$|singaporedollar"),
    ("USD", r"us\$|usd|u\.s\.dollar|usdollar|美元|\$|dollar"),
)
_SCALES = (
    (1_000_000_000, r"(?:in|dollarsin|amountsin)billions|[$€£¥]\s*b(?:illio)?n|十亿元?"),
    (100_000_000, r"亿元?"),
    (
        1_000_000,
        r"百万|millions?|[$€£¥]m\b|mio\b|(?:us\$|rmb|hk\$|[$€£¥])'?m(?![a-z])|(?:us\$|hk\$|rmb|[$€£¥])(?:000,000|'000,000)",
    ),
    (10_000, r"万元|单位:?(?:人民币)?万"),
    (1_000, r"千元|千港元|千美元|thousands?|(?:\(|[$€£¥]|rmb|hk\$|us\$|eur|gbp)?'?000(?:'?s)?(?![\d,])|[$€£]k\b"),
    (1, r"单位:?(?:人民币)?元|人民币元|(?:in|expressedin)(?:us)?dollars|wholedollars|币种|actualdollars"),
)


def currency_in(text: str) -> str | None:
    """The ISO 4217 code of the currency that the text names, if any."""
    tight = squash(text)
    return next((code for code, pattern in CURRENCIES if re.search(pattern, tight)), None)


def scale_in(text: str) -> int | None:
    """The multiple that the text gives ("in millions, except …" -> 1,000,000), if any."""
    tight = re.sub(r"except(?:for)?(?:share|per|number|par|the|earnings|where|as).*?(?:\)|$)", ")", squash(text))
    best = None
    for scale, pattern in _SCALES:
        match = re.search(pattern, tight)
        if match and (best is None or match.start() < best[0]):
            best = (match.start(), scale)
    return best[1] if best else None


def share_scale_in(text: str, scale: int) -> int:
    """The multiple in which share counts are printed: the statement's own unless the head sets them apart."""
    tight = squash(text)
    if re.search(
        r"(?:number)?ofshares.{0,40}(?:reflected|stated|shown|presented|are)?in(thousands)|sharesinthousands|\(000'?s\)|shares.{0,12}thousands",
        tight,
    ):
        return 1_000
    if re.search(
        r"except(?:for)?(?:number(?:of)?)?shares?(?:and|data|amounts|,|par)|exceptper-?shareandshare|exceptparvalueandshare",
        tight,
    ):
        return 1
    return scale
