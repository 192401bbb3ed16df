#!/usr/bin/env python3
"""Every header compiles alone, twice in a row, without warnings, exceptions or run-time type information.

Usage: self_contained.py INCLUDE_DIRECTORY COMPILER [FLAG...]. Prints what the compiler says about those that do not.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from source_tree import headers  # noqa: E402


def compile_alone(include_directory, header, compiler, flags):
    """The compiler's complaint, or None."""
    source = f'#include "{header}"\n#include "{header}"\n'
    command = [compiler, *flags, "-fno-exceptions", "-fno-rtti", "-std=c++20", f"-I{include_directory}", "-fsyntax-only",
               "-x", "c++", "-"]
    run = subprocess.run(command, input=source, capture_output=True, text=True)
    return None if run.returncode == 0 else f"{header} does not compile alone:\n{run.stderr}"


def complaints(include_directory, compiler, flags):
    # Two at a time: a header with SIMD takes a few hundred megabytes.
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        runs = pool.map(lambda header: compile_alone(include_directory, header, compiler, flags),
                        headers(include_directory))
        return [complaint for complaint in runs if complaint]


def main():
    found = complaints(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    for complaint in found:
        print(complaint)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
