#!/usr/bin/env python3
"""Shows that the tests test: changes one constant at a time in a copy of the library and expects a test to fail.

Each entry of tests/mutation/mutations.json names a header, the text to replace (which must occur exactly once), its
replacement and the test files that must notice. Those files are compiled against the changed copy and run; a change that
survives is an error, and so is a control run (nothing changed) that fails. Takes about a minute per entry: a preset for
people, not for every change.

  tools/mutation_check.py                 all entries
  tools/mutation_check.py rope sampler    entries whose name contains one of these words
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build_and_run(include, tests, compiler, flags, directory):
    """Returns None when the program could not be built, else whether its tests passed."""
    program = directory / "tests"
    sources = [ROOT / "tests/main.cpp", *(ROOT / "tests" / test for test in tests)]
    command = [compiler, "-std=c++20", "-O1", *flags, f"-I{include}", f"-I{ROOT}", "-isystem", "/usr/include/eigen3",
               "-DEIGEN_DONT_VECTORIZE", *map(str, sources), "-pthread", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        print(built.stderr[-2000:], file=sys.stderr)
        return None
    try:
        return subprocess.run([str(program)], capture_output=True, timeout=600).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only entries whose name contains one of these")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--flags", default="-march=native", help="for the compiler, separated by spaces")
    parser.add_argument("--skip-control", action="store_true", help="do not first run the unchanged library")
    arguments = parser.parse_args()
    flags = arguments.flags.split()

    entries = json.loads((ROOT / "tests/mutation/mutations.json").read_text())
    if arguments.words:
        entries = [entry for entry in entries if any(word in entry["name"] for word in arguments.words)]
    survivors = []
    controls = {}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        for entry in entries:
            tests = tuple(entry["tests"])
            if not arguments.skip_control and tests not in controls:
                controls[tests] = build_and_run(ROOT / "include", tests, arguments.compiler, flags, directory)
                if not controls[tests]:
                    sys.exit(f"control: {' '.join(tests)} fails without any change")
            copy = directory / "include"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(ROOT / "include", copy)
            target = copy / "inlay" / entry["file"]
            text = target.read_text()
            if text.count(entry["replace"]) != 1:
                sys.exit(f"{entry['name']}: {entry['replace']!r} occurs {text.count(entry['replace'])} times in {entry['file']}")
            target.write_text(text.replace(entry["replace"], entry["with"]))
            passed = build_and_run(copy, tests, arguments.compiler, flags, directory)
            verdict = "does not compile" if passed is None else "SURVIVED" if passed else "caught"
            print(f"{verdict:16} {entry['name']}: {entry['replace']} -> {entry['with']}", flush=True)
            if verdict != "caught":
                survivors.append(entry["name"])
    print(f"{len(entries) - len(survivors)} of {len(entries)} changes caught")
    if survivors:
        sys.exit(1)


if __name__ == "__main__":
    main()
