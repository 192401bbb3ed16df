#!/usr/bin/env python3
"""Generates single_include/inlay.hpp: every header of include/inlay, each once, in the order of their includes.

Usage: amalgamate.py [--check] [--include DIRECTORY] [--output FILE]. With --check nothing is written; the exit status
says whether the file is what would be written.

Lines of "inlay/..." includes go, everything else stays: the guards (also the toggling ones of Highway's -inl headers,
which let a file in exactly once where nobody re-includes it) and the standard headers, whose repetition is harmless.
Dynamic dispatch re-includes files by their path and therefore needs include/, not this file.
"""

import argparse
import pathlib
import re
import sys

from source_tree import INCLUDE_LINE, ROOT, headers

BANNER = """// inlay, all of it in one file. Generated from include/ by tools/amalgamate.py: do not edit.
// SPDX-License-Identifier: Apache-2.0
"""
# Re-included by their path, or of use with another library only: they are not part of the one file.
EXCLUDED = re.compile(r"^inlay/(dispatch/|host/eigen_views\.hpp$)")


def ordered(include_directory):
    """Headers such that each comes after what it includes."""
    known = [header for header in headers(include_directory) if not EXCLUDED.search(header)]
    result, open_, done = [], set(), set()

    def visit(header):
        if header in done:
            return
        if not (include_directory / header).is_file():
            sys.exit(f"{header} is included but does not exist")
        if header in open_:
            sys.exit(f"{header} includes itself")
        open_.add(header)
        for line in (include_directory / header).read_text(encoding="utf-8").splitlines():
            match = INCLUDE_LINE.match(line)
            if match and match.group(1) == '"':
                visit(match.group(2))
        open_.remove(header)
        done.add(header)
        result.append(header)

    for header in known:
        visit(header)
    return result


def body(include_directory, header):
    """A header's lines without its includes of the library's own headers."""
    lines, skipped_blank = [], False
    for line in (include_directory / header).read_text(encoding="utf-8").splitlines():
        match = INCLUDE_LINE.match(line)
        if match and match.group(1) == '"':
            continue  # already above, whatever condition it stands under
        blank = not line.strip()
        if blank and skipped_blank:
            continue
        skipped_blank = blank
        lines.append(line)
    return "\n".join(lines).strip("\n")


def amalgamate(include_directory):
    parts = [BANNER, "#ifndef INLAY_SINGLE_INCLUDE_HPP_\n#define INLAY_SINGLE_INCLUDE_HPP_\n"]
    for header in ordered(include_directory):
        content = body(include_directory, header)
        parts.append(f"// --- {header}\n\n{content}\n")
    parts.append("#endif  // INLAY_SINGLE_INCLUDE_HPP_\n")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--include", type=pathlib.Path, default=ROOT / "include")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "single_include" / "inlay.hpp")
    arguments = parser.parse_args()
    text = amalgamate(arguments.include)
    if arguments.check:
        if not arguments.output.exists() or arguments.output.read_text(encoding="utf-8") != text:
            sys.exit(f"{arguments.output} is not what include/ gives; run tools/amalgamate.py and commit the result")
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
