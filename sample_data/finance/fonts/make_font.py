"""Cut the sample font out of Noto Sans CJK SC (SIL Open Font License 1.1): only the characters that the samples print.

    python sample_data/finance/fonts/make_font.py /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

reportlab embeds TrueType outlines only, so the cubic curves are converted; the result is committed, and made anew when
a text of the samples gains a character.
"""

import sys
from pathlib import Path

from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont, newTable

HERE = Path(__file__).parent
TARGET = HERE / "EvidentSampleSans.ttf"
FACE = 2  # of NotoSansCJK-Regular.ttc: SC, which has the traditional characters too
NAMES = {
    1: "Evident Sample Sans",
    2: "Regular",
    3: "EvidentSampleSans",
    4: "Evident Sample Sans",
    6: "EvidentSampleSans",
}


def characters() -> str:
    """All characters in the texts of the samples, and printable ASCII."""
    sources = [*HERE.parent.rglob("*.py"), *HERE.parent.rglob("*.toml"), *HERE.parent.rglob("*.txt")]
    texts = "".join(path.read_text("utf-8") for path in sources)
    return "".join(sorted({c for c in texts + "０１２３４５６７８９，．－（）" if c >= " "}))


def main(source: str) -> None:
    """Write the subset beside this file."""
    font = TTFont(source, fontNumber=FACE)
    options = Options()
    options.layout_features, options.name_IDs, options.hinting, options.notdef_outline = [], [0, 13, 14], False, True
    subsetter = Subsetter(options)
    subsetter.populate(text=characters())
    subsetter.subset(font)
    _to_truetype(font)
    for number, name in NAMES.items():
        font["name"].setName(name, number, 3, 1, 0x409)
    for tag in ("GPOS", "GSUB", "GDEF", "BASE", "VORG", "vhea", "vmtx", "CFF "):
        if tag in font:
            del font[tag]
    font["head"].created = font["head"].modified = 3786912000
    font.recalcTimestamp = False
    font.save(TARGET)
    print(f"{TARGET.name}: {len(font.getGlyphOrder())} glyphs, {TARGET.stat().st_size // 1024} KiB")


def _to_truetype(font: TTFont) -> None:
    order, source = font.getGlyphOrder(), font.getGlyphSet()
    glyphs = {}
    for name in order:
        pen = TTGlyphPen(source)
        source[name].draw(Cu2QuPen(pen, max_err=1.5, reverse_direction=True))
        glyphs[name] = pen.glyph()
    font["loca"] = newTable("loca")
    table = font["glyf"] = newTable("glyf")
    table.glyphOrder, table.glyphs = order, glyphs
    maxp = font["maxp"]
    maxp.tableVersion = 0x00010000
    for field in ("maxZones", "maxStackElements", "maxSizeOfInstructions"):
        setattr(maxp, field, 1 if field == "maxZones" else 0)
    for field in ("maxTwilightPoints", "maxStorage", "maxFunctionDefs", "maxInstructionDefs", "maxComponentElements"):
        setattr(maxp, field, 0)
    font.sfntVersion = "\x00\x01\x00\x00"
    post = font["post"]
    post.formatType, post.extraNames, post.mapping = 3.0, [], {}


if __name__ == "__main__":
    main(sys.argv[1])
