#!/usr/bin/env python3
"""Code that must not compile, and what the compiler must say about it.

Usage: compile_fail.py SOURCE COMPILER [FLAG...]. The source's comments "// expect: REGEX" (or expect-gcc, expect-clang)
name what must appear in the compiler's output. With CONTROL defined the same source must compile: so it fails for its
reason and not for a typing error.
"""

import os
import pathlib
import re
import subprocess
import sys


def family(compiler):
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    return "clang" if "clang" in version else "gcc"


def complaint(source, command):
    """What is wrong with a case, or None."""
    wanted = re.findall(rf"^// expect(?:-{family(command[0])})?: (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
    if not wanted:
        return f"{source.name} has no // expect: line"
    command = [*command, "-fsyntax-only", str(source)]
    environment = {**os.environ, "LC_ALL": "C"}  # plain quotes, no translation
    control = subprocess.run([*command, "-DCONTROL"], capture_output=True, text=True, env=environment)
    if control.returncode != 0:
        return f"the control of {source.name} does not compile:\n{control.stderr}"
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode == 0:
        return f"{source.name} compiled"
    for pattern in wanted:
        if not re.search(pattern, run.stderr):
            return f"{source.name} failed with another message than /{pattern}/:\n{run.stderr}"
    return None


def main():
    text = complaint(pathlib.Path(sys.argv[1]), sys.argv[2:])
    if text:
        sys.exit(text)


if __name__ == "__main__":
    main()
