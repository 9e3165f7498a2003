"""Make the two committed sample reports anew: ``python sample_data/finance/make.py``. The same bytes each time."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from annual_reports import FILES, make_report  # noqa: E402 - the samples are no installed package


def main() -> None:
    """Write both files beside this one."""
    for language, name in FILES.items():
        data, _ = make_report(language)
        (HERE / name).write_bytes(data)
        print(f"{name}: {len(data) // 1024} KiB")


if __name__ == "__main__":
    main()
