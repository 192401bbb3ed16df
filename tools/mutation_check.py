#!/usr/bin/env python3
"""Shows that the tests test: changes one constant at a time in a copy of the library and expects a test to fail.

Each entry of tests/mutation/mutations.json names a header, the text to replace (which must occur exactly once), its
replacement and the test files that must notice ("flags": for another CPU than this one). Those files are compiled against
the changed copy and run; a change that survives is an error, and so is a control run (nothing changed) that fails. A change
that a static_assert of a test notices is caught; one that otherwise does not compile says nothing. Takes about half a minute per entry: for people,
not for every change. That the entries still fit the headers is a test (--only-fit), which takes no time.

  tools/mutation_check.py                 all entries
  tools/mutation_check.py rope sampler    entries whose name contains one of these words
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def misfits(entries):
    """What is wrong with the list itself: entries that name text that is not there, or that change nothing."""
    for entry in entries:
        header = ROOT / "include/inlay" / entry["file"]
        count = header.read_text().count(entry["replace"]) if header.exists() else 0
        if count != 1:
            yield f"{entry['name']}: {entry['replace']!r} occurs {count} times in {entry['file']}"
        elif entry["replace"] == entry["with"]:
            yield f"{entry['name']}: changes nothing"
        for test in entry["tests"]:
            if not (ROOT / "tests" / test).exists():
                yield f"{entry['name']}: there is no tests/{test}"


ASSERTED = pathlib.Path("static_assert")  # what is compiled instead of an object when a test's static_assert fails


class Builder:
    """Compiles test files against an include directory; what does not see the library is compiled once."""

    def __init__(self, command, jobs, directory):
        self.command, self.jobs, self.directory = command, jobs, directory
        self.main = directory / "main.o"
        subprocess.run([*command, f"-I{ROOT}", "-c", str(ROOT / "tests/main.cpp"), "-o", str(self.main)], check=True)

    def compile(self, include, test, flags):
        out = self.directory / (test.replace("/", "_") + ".o")
        command = [*self.command, *flags, f"-I{include}", f"-I{ROOT}", "-c", str(ROOT / "tests" / test), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return out
        asserted = f"tests/{test}:" in done.stderr and "static assertion failed" in done.stderr
        if not asserted:
            print(done.stderr[-2000:], file=sys.stderr)
        return ASSERTED if asserted else None

    def passes(self, include, tests, flags, environment):
        """None when the program could not be built, else whether its tests passed."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            objects = list(pool.map(lambda test: self.compile(include, test, flags), tests))
        if ASSERTED in objects and None not in objects:
            return False
        program = self.directory / "tests"
        if None in objects or subprocess.run([*self.command, str(self.main), *map(str, objects), "-pthread", "-o",
                                              str(program)]).returncode != 0:
            return None
        try:
            return subprocess.run([str(program)], capture_output=True, timeout=600, env=environment).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only entries whose name contains one of these")
    parser.add_argument("--compiler", default="g++", help="a command, such as 'ccache g++'")
    parser.add_argument("--flags", default="-march=native", help="for the compiler, separated by spaces")
    parser.add_argument("--fixtures", default=str(ROOT.parent / "shared/fixtures"), help="reference files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only-fit", action="store_true", help="only check that every entry fits its header")
    arguments = parser.parse_args()

    entries = json.loads((ROOT / "tests/mutation/mutations.json").read_text())
    wrong = list(misfits(entries))
    if wrong or arguments.only_fit:
        sys.exit("\n".join(wrong) or None)
    if arguments.words:
        entries = [entry for entry in entries if any(word in entry["name"] for word in arguments.words)]
    command = [*arguments.compiler.split(), "-std=c++20", "-O1", "-isystem", "/usr/include/eigen3", "-DEIGEN_DONT_VECTORIZE"]
    environment = {**os.environ, "INLAY_FIXTURES": arguments.fixtures}
    uncaught = []
    controls = set()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        builder = Builder(command, arguments.jobs, directory)
        for entry in entries:
            tests, flags = tuple(entry["tests"]), tuple(entry.get("flags", arguments.flags).split())
            if (tests, flags) not in controls and not builder.passes(ROOT / "include", tests, flags, environment):
                sys.exit(f"control: {' '.join((*tests, *flags))} fails without any change")
            controls.add((tests, flags))
            copy = directory / "include"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(ROOT / "include", copy)
            header = copy / "inlay" / entry["file"]
            header.write_text(header.read_text().replace(entry["replace"], entry["with"]))
            passed = builder.passes(copy, tests, flags, environment)
            verdict = "does not compile" if passed is None else "SURVIVED" if passed else "caught"
            print(f"{verdict:16} {entry['name']}: {entry['replace']} -> {entry['with']}", flush=True)
            if verdict != "caught":
                uncaught.append(entry["name"])
    print(f"{len(entries) - len(uncaught)} of {len(entries)} changes caught")
    if uncaught:
        sys.exit(1)


if __name__ == "__main__":
    main()
