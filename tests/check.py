"""Everything that must hold, in one run: formatting, lint, types, floors, tests, coverage of the core."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
STEPS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
    ("coverage", "erase"),
    ("coverage", "run", "-m", "pytest", "-q", "-m", "not benchmark"),  # figures: pytest -m benchmark -s
    ("coverage", "combine", "-q"),
    ("coverage", "report", "--fail-under=90", "--skip-covered"),
)


def main() -> int:
    """Run each step; the first that fails ends the run with its exit code."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    for step in STEPS:
        print("+", *step, flush=True)
        code = subprocess.run([BIN / step[0], *step[1:]], cwd=ROOT, env=environment, check=False).returncode
        if code:
            print(f"{' '.join(step)} failed with exit code {code}", flush=True)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
