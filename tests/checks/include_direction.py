#!/usr/bin/env python3
"""Who may include whom: the layers of the library, held to the code.

Usage: include_direction.py INCLUDE_DIRECTORY. Prints every violation; the exit status says whether there was one.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from source_tree import headers, includes  # noqa: E402

# A folder sees itself and these. "kernels:layout" are the headers of kernels/ without SIMD.
ALLOWED = {
    "core": {"core"},
    "config": {"core"},
    "formats": {"core"},
    "files": {"core", "formats"},
    "kernels": {"core", "formats"},
    "weights": {"core", "config", "formats", "files", "kernels:layout"},
    "layers": {"core", "config", "formats", "kernels", "weights"},
    "model": {"core", "config", "formats", "files", "kernels", "weights", "layers"},
    "text": {"core", "files"},
    "generate": {"core", "config", "model", "text"},
    # Opt-in: the models of model/ compiled for several CPU levels.
    "dispatch": {"core", "config", "formats", "kernels", "weights", "layers", "model"},
    # Conveniences for machines with a heap and files: the top, which nothing else sees.
    "host": {"core", "config", "formats", "files", "weights", "model", "text", "generate"},
}

# Never in the library: they print, throw, carry a locale, or cost seconds of compile time.
BANNED = {"iostream", "ostream", "istream", "sstream", "fstream", "iomanip", "regex", "locale", "stdexcept", "format",
          "filesystem", "typeinfo", "any", "functional", "map", "unordered_map", "set", "unordered_set", "list", "deque"}

# Views for programs that use Eigen; nothing includes them.
WITH_EIGEN = {"inlay/host/eigen_views.hpp"}

TOGGLE_GUARD = "#if defined({0}) == defined(HWY_TARGET_TOGGLE)"


def folder(header):
    """"core" for inlay/core/arena.hpp, "" for the umbrella inlay/inlay.hpp."""
    parts = header.split("/")
    return parts[1] if len(parts) > 2 else ""


def sees_simd(header):
    return header.endswith("-inl.hpp") or header == "inlay/kernels/highway.hpp"


def find_cycle(graph):
    """A list of headers that include each other in a circle, or None."""
    state = {}

    def visit(node, path):
        state[node] = "open"
        for target in graph.get(node, []):
            if state.get(target) == "open":
                return path[path.index(target):] + [target] if target in path else [node, target]
            if target not in state:
                cycle = visit(target, path + [target])
                if cycle:
                    return cycle
        state[node] = "done"
        return None

    for start in sorted(graph):
        if start not in state:
            cycle = visit(start, [start])
            if cycle:
                return cycle
    return None


def violations(include_directory):
    found = []
    known = set(headers(include_directory))
    graph = {}
    for header in sorted(known):
        path = include_directory / header
        own = folder(header)
        if own and own not in ALLOWED:
            found.append(f"{header}: folder {own}/ has no rule; add it to {pathlib.Path(__file__).name}")
            continue
        graph[header] = []
        for number, quote, target in includes(path):
            place = f"{header}:{number}"
            if quote == '"':
                if target not in known:
                    found.append(f'{place}: "{target}" is not a header of the library; write "inlay/..." from the root')
                    continue
                graph[header].append(target)
                other = folder(target)
                if not own or other == own:
                    pass
                elif other == "":
                    found.append(f"{place}: the umbrella is for users, not for the library")
                elif other in ALLOWED[own]:
                    pass
                elif other == "kernels" and "kernels:layout" in ALLOWED[own]:
                    if sees_simd(target):
                        found.append(f"{place}: {own}/ sees only the layouts of kernels/, not {target}")
                else:
                    found.append(f"{place}: {own}/ must not see {other}/ ({target})")
            elif target.startswith("inlay/"):
                found.append(f'{place}: write "{target}" with quotes')
            elif target.startswith("hwy/"):
                if target == "hwy/foreach_target.h" and own == "dispatch":
                    pass
                elif own != "kernels":
                    found.append(f"{place}: only kernels/ sees SIMD")
                elif target == "hwy/highway.h" and header != "inlay/kernels/highway.hpp":
                    found.append(f'{place}: include "inlay/kernels/highway.hpp", which sets Highway up')
            elif target.startswith(("Eigen/", "boost/", "nlohmann/", "CLI/")):
                if target.startswith("Eigen/") and header in WITH_EIGEN:
                    continue
                found.append(f"{place}: the library needs only the standard library and Highway")
            elif target in BANNED:
                found.append(f"{place}: <{target}> does not belong into the library")
        guard = re.sub(r"[^A-Z0-9]", "_", header.upper()) + "_"
        text = path.read_text(encoding="utf-8")
        if f"#ifndef {guard}\n#define {guard}\n" not in text and TOGGLE_GUARD.format(guard) not in text:
            found.append(f"{header}: the include guard must be {guard}")
    cycle = find_cycle(graph)
    if cycle:
        found.append("circle of includes: " + " -> ".join(cycle))
    return found


def main():
    found = violations(pathlib.Path(sys.argv[1]))
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
