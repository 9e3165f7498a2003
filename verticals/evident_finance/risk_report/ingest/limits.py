"""How much of a file is read at most: far above any real annual report, far below what takes a machine down.

The largest of 1,900 pages of real reports holds 0.4 MB of drawing operators and 12,000 text operators. A file that
passes these checks may still be costly; the sandbox's memory and time limits are the last line.
"""

MIB = 1024 * 1024

MAX_FILE_BYTES = 200 * MIB
MAX_PAGES = 2_000
MAX_PAGE_POINTS = 14_400.0
"""The largest page side that PDF allows (ISO 32000, annex C: 200 inches)."""

MAX_STREAM_BYTES = 48 * MIB
"""A decompressed stream that is neither picture nor font: page content, forms, object tables."""

MAX_PICTURE_BYTES = 256 * MIB
"""A decompressed picture or font: an A4 page scanned at 600 dpi in colour is 105 MB."""

MAX_TEXT_OPERATORS = 250_000
"""Text operators in one stream: pdfium keeps an object of some 500 bytes for each."""

MAX_RENDER_PIXELS = 16_000_000

MAX_OCR_PAGES = 60
"""Image-only pages read wholly; of all others only the head is read. A page costs seconds of CPU time."""

MAX_HIDDEN_NOTES = 20
