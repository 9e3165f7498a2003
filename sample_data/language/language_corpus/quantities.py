"""Amounts, shares, dates, periods, sizes and counts, as English and Chinese write them."""

from language_corpus.value import COMMON, Value, digits

CURRENCIES = list(COMMON["currencies"].values())
SCALES = list(zip(COMMON["scales"]["en"], COMMON["scales"]["zh"], strict=True))
SPELT = (
    ("two", "两"),
    ("three", "三"),
    ("four", "四"),
    ("five", "五"),
    ("seven", "七"),
    ("ten", "十"),
    ("twelve", "十二"),
)
SHORT = {" million": "m", " billion": "bn", " thousand": "k"}
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
PARTS_OF_DAY = (("", ""), ("", ""), (" night", "晚"), (" morning", "上午"), (" afternoon", "下午"))
RELATIVE = (("yesterday", "昨日"), ("last week", "上周"), ("this morning", "今晨"), ("next month", "下月"))
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def draw_amount(draw, paired: bool) -> Value:
    currency, (en, zh) = draw.pick(CURRENCIES), draw.pick(SCALES)
    places = (0, 1, 1, 2)[int(draw.chance() * 4)] if en else 0
    whole = 7 if not en else 5 if zh == "万" and not paired else 3
    written, number = digits(draw, whole, places, commas=draw.chance() < 0.8)
    if not paired and draw.chance() < 0.15:  # as tables of accounts print it
        written, number = digits(draw, 7, places, commas=True)
        return Value("amount", written + en, written + zh, number)
    form = currency["en"][0] if paired else draw.pick(currency["en"])
    if not paired and draw.chance() < 0.15:
        en = SHORT.get(en, en)
    chinese = (
        f"人民币{written}{zh}元" if currency["zh"] == "元" and draw.chance() < 0.3 else written + zh + currency["zh"]
    )
    return Value("amount", form.format(n=written + en), chinese, number)


def draw_per_share(draw, paired: bool) -> Value:
    currency = draw.pick(CURRENCIES)
    written, number = digits(draw, 1, draw.pick((1, 2, 2, 3)))
    if draw.chance() < 0.5 and number is not None:
        written = number = "0" + number[1:]
    form = currency["en"][0] if paired else draw.pick(currency["en"])
    return Value("per_share", form.format(n=written), written + currency["zh"], number)


def draw_percent(draw, paired: bool) -> Value:
    written, number = digits(draw, 2, (0, 1, 1, 2)[int(draw.chance() * 4)])
    plain = paired or draw.chance() < 0.88
    chinese = written + "%" if plain or draw.chance() < 0.7 else "百分之" + written
    return Value("percent", written + ("%" if plain else draw.pick((" percent", " per cent", " %"))), chinese, number)


def draw_year(draw, paired: bool) -> Value:
    year = str(1990 + int(draw.chance() * 50))
    if paired or draw.chance() < 0.7:
        return Value("year", year, year + "年", year)
    return Value(
        "year",
        draw.pick(("fiscal {}", "FY{}", "the year {}")).format(year),
        draw.pick(("{}年度", "{}财年")).format(year),
        year,
    )


def draw_period(draw, paired: bool) -> Value:
    if draw.chance() < 0.6:
        return draw_year(draw, paired)
    year, quarter = str(1990 + int(draw.chance() * 50)), int(draw.chance() * 4)
    word = ("first", "second", "third", "fourth")[quarter]
    en = (
        f"the {word} quarter of {year}"
        if paired
        else draw.pick((f"the {word} quarter of {year}", f"Q{quarter + 1} {year}"))
    )
    zh = f"{year}年第{'一二三四'[quarter]}季度"
    if draw.chance() < 0.3:
        en, zh = draw.pick(
            ((f"the first half of {year}", f"{year}年上半年"), (f"the second half of {year}", f"{year}年下半年"))
        )
    return Value("period", en, zh)


def draw_date(draw, paired: bool) -> Value:
    year, month, day = 1990 + int(draw.chance() * 50), 1 + int(draw.chance() * 12), 1 + int(draw.chance() * 28)
    forms = (f"{MONTHS[month - 1]} {day}, {year}", f"{day} {MONTHS[month - 1]} {year}", f"{year}-{month:02}-{day:02}")
    chinese = f"{year}年{month}月{day}日"
    if paired:
        return Value("date", forms[0], chinese)
    chance = draw.chance()
    if chance < 0.05:
        day %= 7
        en, zh = draw.pick(PARTS_OF_DAY)
        return Value("date", WEEKDAYS[day] + en, draw.pick(("周", "星期")) + "一二三四五六日"[day] + zh)
    if chance < 0.07:
        return Value("date", *draw.pick(RELATIVE))
    if chance < 0.11:
        return Value("date", f"{MONTHS[month - 1]} {year}", f"{year}年{month}月")
    if chance < 0.22:  # without its year
        day_first = draw.chance() < 0.4
        en = f"{day} {MONTHS[month - 1]}" if day_first else f"{MONTHS[month - 1]} {day}"
        return Value("date", en, f"{month}月{day}日")
    if chance < 0.32:
        short = MONTHS[month - 1][:3]
        forms = (
            f"{day} {short} {year}",
            f"{short} {day}, {year}",
            f"{day:02}/{month:02}/{year}",
            f"{year}/{month}/{day}",
        )
        return Value("date", draw.pick(forms), draw.pick((f"{year}.{month:02}.{day:02}", f"{year}/{month}/{day}")))
    return Value("date", draw.pick(forms), chinese if draw.chance() < 0.8 else forms[2])


def units_of(kind: str, whole: int, places: tuple[int, ...], units):
    def make(draw, paired: bool) -> Value:
        written, number = digits(draw, whole, draw.pick(places))
        en, zh = units[0] if paired else draw.pick(units)
        return Value(kind, written + en, written + zh, number)

    return make


def draw_extent(draw, paired: bool) -> Value:
    if draw.chance() < 0.75:
        return units_of(
            "length",
            2,
            (0, 0, 1, 1),
            (((" mm", "毫米"), (" mm", " mm"), ("mm", "mm"), (" cm", "厘米"), (" cm", " cm"))),
        )(draw, paired)
    (a, _), (b, _) = digits(draw, 2, draw.pick((0, 0, 1))), digits(draw, 2)
    return Value("length", f"{a} x {b} mm", f"{a}×{b}毫米" if paired or draw.chance() < 0.5 else f"{a} x {b} mm")


def counts_of(kind: str, whole: int):
    def make(draw, paired: bool) -> Value:
        written, number = digits(draw, whole, 0, commas=draw.chance() < 0.6)
        if not paired and kind == "count_small" and draw.chance() < 0.06:
            return Value(kind, *draw.pick(SPELT))
        if not paired and kind == "count" and draw.chance() < 0.06:
            return Value(kind, written + draw.pick((" thousand", " million")), written + draw.pick("千万亿"))
        return Value(kind, written, written, number)

    return make


def draw_clock(draw, _: bool) -> Value:
    text = f"{int(draw.chance() * 24):02}:{int(draw.chance() * 60):02}"
    return Value("clock", text, text)


def spans_of(kind: str, units):
    def make(draw, paired: bool) -> Value:
        written, number = digits(draw, 2)
        en, zh = units[0] if paired else draw.pick(units)
        return Value(kind, f"{written} {en}", written + zh, number)

    return make


def draw_score(draw, _: bool) -> Value:
    text = f"{int(draw.chance() * 120)}{draw.pick('-:')}{int(draw.chance() * 100)}"
    return Value("score", text, text)


READINGS = {
    "vibration": ((" mm/s", "毫米/秒"), (" mm/s", " mm/s")),
    "pressure": ((" bar", "巴"), (" MPa", "兆帕"), (" kPa", " kPa")),
    "torque": ((" Nm", "牛米"), (" Nm", " Nm")),
    "current": ((" A", "安"), (" A", " A")),
    "rpm": ((" rpm", "转/分"), (" rpm", " rpm")),
    "voltage": ((" V", "伏"), (" V", " V")),
    "flow": ((" l/min", "升/分"), (" l/min", " L/min")),
    "speed": ((" km/h", "公里/小时"), (" m/s", "米/秒"), (" mph", " mph")),
    "temperature": ((" °C", "℃"), (" °C", "摄氏度"), ("°C", "°C")),
    "volume": ((" mm³", "立方毫米"), (" ml", "毫升"), (" mm³", " mm³")),
    "weight": ((" kg", "公斤"), (" g", "克"), (" mg", " mg"), (" t", "吨")),
    "distance": ((" km", "公里"), (" m", "米"), (" miles", "英里")),
    "power": ((" kW", "千瓦"), (" W", "瓦"), (" MW", " MW")),
    "length_mm": ((" mm", "毫米"), (" mm", " mm")),
    "length_small": ((" mm", "毫米"), (" mm", " mm"), ("mm", "mm"), (" µm", "微米"), (" µm", " µm")),
}
