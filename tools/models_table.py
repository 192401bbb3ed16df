#!/usr/bin/env python3
"""Writes docs/models.md from what tools/models_table.cpp prints, or (--check) compares.

Usage: models_table.py PROGRAM [--check]     PROGRAM is the compiled tools/models_table.cpp
"""

import pathlib
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "models.md"


def main():
    table = subprocess.run([sys.argv[1]], capture_output=True, check=True, text=True).stdout
    if "--check" not in sys.argv[2:]:
        PAGE.write_text(table, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != table:
        sys.exit(f"{PAGE} is not current: run tools/models_table.py {sys.argv[1]}")


if __name__ == "__main__":
    main()
