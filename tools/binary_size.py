#!/usr/bin/env python3
"""The size of a program's own code and constants: every loaded section that is not writable.

Usage: binary_size.py PROGRAM [--max-bytes N] [--size PATH_OF_SIZE]. Debug information and symbols do not count, so a
program need not be stripped first; shared libraries do not count either.
"""

import argparse
import subprocess
import sys

# What the loader maps read-only: machine code, constants, and the tables of C++ for unwinding.
CODE = {".text", ".init", ".fini", ".plt", ".plt.got", ".plt.sec"}
CONSTANTS = {".rodata", ".eh_frame", ".eh_frame_hdr", ".gcc_except_table", ".data.rel.ro"}


def sections(program, size):
    found = {}
    for line in subprocess.run([size, "-A", program], capture_output=True, text=True, check=True).stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0].startswith("."):
            found[fields[0]] = int(fields[1])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--max-bytes", type=int)
    parser.add_argument("--size", default="size")
    options = parser.parse_args()
    found = sections(options.program, options.size)
    code = sum(found.get(name, 0) for name in CODE)
    constants = sum(found.get(name, 0) for name in CONSTANTS)
    if code == 0:
        sys.exit(f"{options.program}: no code found")
    print(f"{options.program}: code {code} + constants {constants} = {code + constants} bytes ({(code + constants) / 1024:.1f} KiB)")
    if options.max_bytes is not None and code + constants > options.max_bytes:
        sys.exit(f"over its budget of {options.max_bytes / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
