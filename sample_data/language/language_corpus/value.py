"""What a value is, and the tables that names and quantities are drawn from."""

import tomllib
from pathlib import Path

DATA = Path(__file__).parent / "data"
COMMON = tomllib.loads((DATA / "common.toml").read_text("utf-8"))
# Level 1 of GB 2312: the 3,755 characters in everyday use, so that copying is learnt for all of them.
HAN = bytes(b for row in range(0xB0, 0xD7) for col in range(0xA1, 0xFF) for b in (row, col)).decode("gb2312", "ignore")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Value:
    """One value: its kind, its text in each language, its number as JSON writes it, and the item it is, if any."""

    __slots__ = ("forms", "item", "kind", "number", "text")

    def __init__(self, kind: str, en: str, zh: str, number: str | None = None, item=None, forms=None) -> None:
        self.kind, self.number, self.item, self.forms = kind, number, item, forms
        self.text = {"en": en, "zh": zh}


def digits(draw, whole: int, places: int = 0, commas: bool = False) -> tuple[str, str | None]:
    """A number of up to ``whole`` digits, as written, and as JSON has it: None where its fraction ends in a zero."""
    size = 1 + int(draw.chance() * whole)
    number = str(int(10 ** (size - 1) + draw.chance() * 9 * 10 ** (size - 1)))
    tail = ""
    if places:
        last = "0" if draw.chance() < 0.06 else draw.pick("123456789")
        tail = "." + "".join(draw.pick("0123456789") for _ in range(places - 1)) + last
    written = f"{int(number):,}" if commas and len(number) > 3 else number
    return written + tail, None if tail.endswith("0") else number + tail
