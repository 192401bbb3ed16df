#!/usr/bin/env python3
"""A header defines nothing that two translation units may not both define: a forgotten `inline` breaks every program that
includes the header twice.

Usage: inline_only.py INCLUDE_DIRECTORY COMPILER [FLAG...]. Compiles a file that includes every header and prints the
symbols that it defines strongly.
"""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from source_tree import headers  # noqa: E402

WEAK = {"W", "V", "u", "w", "v"}


def strong_symbols(include_directory, compiler, flags):
    source = "".join(f'#include "{header}"\n' for header in headers(include_directory))
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory) / "all.o"
        subprocess.run([compiler, *flags, "-std=c++20", "-O0", f"-I{include_directory}", "-c", "-x", "c++", "-o", output, "-"],
                       input=source, text=True, check=True)
        listing = subprocess.run(["nm", "-C", "--defined-only", "--extern-only", output], capture_output=True, text=True,
                                 check=True)
    # "0000000000000000 T name"
    return [line.split(" ", 2)[2] for line in listing.stdout.splitlines() if line.split(" ", 2)[1] not in WEAK]


def main():
    found = strong_symbols(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    for name in found:
        print(f"defined without inline in a header: {name}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
