"""What the project's own scripts need to know of its headers: where they are and what they include."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE_LINE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def headers(include_directory):
    """Every header as a path relative to include_directory ("inlay/core/arena.hpp"), sorted."""
    return sorted(path.relative_to(include_directory).as_posix() for path in include_directory.rglob("*.hpp"))


def includes(path):
    """(line number, quote, target) of every #include in a file."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE_LINE.match(line)
        if match:
            found.append((number, match.group(1), match.group(2)))
    return found
