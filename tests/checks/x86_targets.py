#!/usr/bin/env python3
"""The library compiles without warnings for processors other than this one: from any x86-64 to AVX-512 and AMX.

Usage: x86_targets.py INCLUDE_DIRECTORY COMPILER[;COMPILER...] [FLAG...]. Prints what a compiler says where it does not.
"""

import concurrent.futures
import os
import pathlib
import sys

from self_contained import compile_alone

TARGETS = ("-march=x86-64", "-march=x86-64-v2", "-march=x86-64-v3 -maes -mpclmul", "-march=icelake-server", "-march=sapphirerapids")


def complaints(include_directory, header, compilers, flags):
    runs = [(compiler, target) for compiler in compilers for target in TARGETS]
    # Two at a time: each takes a few hundred megabytes.
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        said = pool.map(lambda run: compile_alone(include_directory, header, run[0], [*flags, *run[1].split()]), runs)
        return [f"{' '.join(run)}: {complaint}" for run, complaint in zip(runs, said) if complaint]


def main():
    found = complaints(pathlib.Path(sys.argv[1]), "inlay/inlay.hpp", sys.argv[2].split(";"), sys.argv[3:])
    for complaint in found:
        print(complaint)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
