#!/usr/bin/env python3
"""What one translation unit costs the compiler, against one that only includes Highway.

Usage: compile_budget.py --source FILE --include DIRECTORY [--max-ratio 12] [--max-bytes 1073741824] -- COMPILER [FLAG...]

Both are compiled several times in turn and the fastest of each counts: other work on the machine can only add time. It adds to
the longer one more surely, so where the budget is not met, there are up to three times as many turns.
ru_maxrss of the compiler driver covers its largest child, the compiler proper.
"""

import argparse
import pathlib
import sys
import tempfile

from measure import measure

REFERENCE = '#include "inlay/kernels/highway.hpp"\n'  # <hwy/highway.h>, set up as the library needs it


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--include", type=pathlib.Path, required=True)
    parser.add_argument("--max-ratio", type=float, default=12.0)
    parser.add_argument("--max-bytes", type=int, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments[:split])
    command = [*arguments[split + 1:], f"-I{options.include}", "-c", "-o", "/dev/null"]

    with tempfile.TemporaryDirectory() as directory:
        reference = pathlib.Path(directory) / "reference.cpp"
        reference.write_text(REFERENCE, encoding="utf-8")
        reference_seconds, seconds, peak = [], [], 0
        for turn in range(3 * options.rounds):
            if turn >= options.rounds and min(seconds) <= options.max_ratio * min(reference_seconds):
                break
            reference_seconds.append(measure([*command, str(reference)])[0])
            used, memory = measure([*command, str(options.source)])
            seconds.append(used)
            peak = max(peak, memory)

    ratio = min(seconds) / min(reference_seconds)
    print(f"{options.source.name}: {min(seconds):.2f} s, {peak / 2**20:.0f} MiB; only Highway: {min(reference_seconds):.2f} s;"
          f" ratio {ratio:.1f} (at most {options.max_ratio:g})")
    if ratio > options.max_ratio:
        sys.exit("compile time is over its budget")
    if peak > options.max_bytes:
        sys.exit(f"the compiler's memory is over its budget of {options.max_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
