#!/usr/bin/env python3
"""Words that must not stand in the repository: paths of somebody's workplace, unfinished work, commentary on how it was made.

Usage: names.py ROOT. Looks at what git tracks, or at everything outside build/ where there is no git.
"""

import pathlib
import re
import shutil
import subprocess
import sys

# (pattern, why). Written with gaps, so that this file may be checked like any other.
FORBIDDEN = [
    (r"/wor[k]/", "a path of one machine"),
    (r"/hom[e]/\w+/", "a path of one machine"),
    (r"(?<!\.\./)\bshare[d]/(?!fixtures\b)", "the workplace; only ../shared" + "/fixtures is documented"),
    (r"\b(INTERFACE[S]|KERNEL[S]|STYL[E]|BAD_INPUT[S]|DESIG[N])\.md\b", "a document that is not in the repository"),
    (r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b", "unfinished work"),
    (r"\b(?:[Tt]his|[Tt]he|[Aa]n?) issu[e] (?:asks|says|we)\b", "commentary on how the code was made"),
]
TEXT = {".hpp", ".cpp", ".h", ".c", ".py", ".md", ".txt", ".cmake", ".json", ".in", ".sh", ".yml", ".yaml", ""}


def files(root):
    if shutil.which("git"):
        run = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
        if run.returncode == 0:
            return [root / name for name in run.stdout.split("\0") if name]
    return [path for path in root.rglob("*")
            if path.is_file() and "build" not in path.relative_to(root).parts and ".git" not in path.parts]


def violations(root):
    found = []
    for path in files(root):
        if path.suffix not in TEXT or not path.is_file() or path.name == "LICENSE":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, why in FORBIDDEN:
                match = re.search(pattern, line)
                if match:
                    found.append(f"{path.relative_to(root)}:{number}: {match.group(0)!r}: {why}")
    return found


def main():
    found = violations(pathlib.Path(sys.argv[1]).resolve())
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
