#!/usr/bin/env python3
"""Runs `inlay bench` and other engines' llama-bench in turn on the same file, prints ratios and writes JSON.

    compare.py --inlay build/release/bin/inlay --peer "llama.cpp=PATH/llama-bench" \
               --peer "ik_llama.cpp=PATH/llama-bench -rtr 1" -t 1,2 --out result.json MODEL.gguf...

A peer is NAME=COMMAND: llama-bench or anything with its -m, -p, -n, -t, -r and -o json. One run of every engine makes a
round; engines alternate, so that a change of the machine's state meets all of them. Printed per measurement: the medians,
and the median, smallest and largest of the rounds' ratios (inlay over peer). Everything that was measured is in the JSON,
with the machine, the compilers and the date. Results of an existing --out file are kept and extended.
"""
import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys


def output(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine():
    """The processor as the system describes it."""
    fields = {}
    for line in output(["lscpu"]).splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = set(fields.get("Flags", "").split())
    wanted = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"]
    return {
        "processor": fields.get("Model name", platform.processor()),
        "family": fields.get("CPU family", ""),
        "cpus": os.cpu_count(),
        "flags": [flag for flag in wanted if flag in flags],
        "caches": {key: value for key, value in fields.items() if key.startswith("L") and "cache" in key},
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
    }


def shown(command):
    """The command without folders, which mean nothing elsewhere."""
    return shlex.join(os.path.basename(part) if os.path.isabs(part) or os.path.exists(part) else part for part in command)


class Inlay:
    def __init__(self, command):
        self.name = "inlay"
        self.command = shlex.split(command)

    def run(self, model, threads, prompt, generate, depth, options):
        command = self.command + ["bench", model, "-p", str(prompt), "-n", str(generate), "-t", str(threads), "-d", str(depth),
                                  "-r", str(options.repetitions)] + shlex.split(options.inlay_options)
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        keep = ("read_bandwidth", "decode_roofline", "bytes_per_token", "macs_per_token")
        return {"prefill": result["prefill_tps"], "decode": result["decode_tps"], "command": shown(command),
                **{key: result[key] for key in keep}}


class LlamaBench:
    def __init__(self, text):
        self.name, _, command = text.partition("=")
        if not command:
            sys.exit(f"--peer {text}: expected NAME=COMMAND")
        self.command = shlex.split(command)
        help_text = subprocess.run([self.command[0], "--help"], capture_output=True, text=True, check=False)
        self.has_depth = "--n-depth" in help_text.stdout + help_text.stderr

    def run(self, model, threads, prompt, generate, depth, options):
        command = self.command + ["-m", model, "-t", str(threads), "-r", str(options.repetitions), "-o", "json"]
        if depth == 0:
            command += ["-p", str(prompt), "-n", str(generate)]
        elif self.has_depth:
            command += ["-p", str(prompt), "-n", str(generate), "-d", str(depth)]
        else:  # -gp: generate after that many tokens; there is no reading after them
            command += ["-p", "0", "-n", "0", "-gp", f"{depth},{generate}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        result = {"prefill": None, "decode": None, "command": shown(command)}
        for test in json.loads(text[text.index("["):]):
            # avg_ts is over the repetitions, without the round that warms up.
            if test["n_gen"] == 0 and test["n_prompt"] > 0:
                result["prefill"] = test["avg_ts"]
            elif test["n_gen"] > 0:
                result["decode"] = test["avg_ts"]
        return result


def summary(rounds, ours, theirs, what):
    """Medians of both, and of the ratios of the rounds, with their range."""
    pairs = [(r[ours][what], r[theirs][what]) for r in rounds if r[ours][what] and r[theirs][what]]
    if not pairs:
        return None
    ratios = [a / b for a, b in pairs]
    return {
        "inlay": statistics.median(a for a, _ in pairs),
        "peer": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "rounds": len(pairs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--inlay", required=True, help="the inlay program")
    parser.add_argument("--inlay-options", default="", help="more options of `inlay bench`")
    parser.add_argument("--peer", action="append", required=True, metavar="NAME=COMMAND")
    parser.add_argument("-p", "--prompt", type=int, default=256)
    parser.add_argument("-n", "--generate", type=int, default=32)
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens in the context before")
    parser.add_argument("-t", "--threads", default="1,2", help="comma-separated")
    parser.add_argument("-r", "--repetitions", type=int, default=1, help="of every run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="what was built how: goes into the JSON")
    parser.add_argument("--out", help="JSON file to write or extend")
    options = parser.parse_args()

    engines = [Inlay(options.inlay)] + [LlamaBench(peer) for peer in options.peer]
    threads = [int(t) for t in options.threads.split(",")]
    document = {"machine": machine(), "results": []}
    if options.out and os.path.exists(options.out):
        with open(options.out, encoding="utf-8") as file:
            document = json.load(file)
    for model in options.models:
        for count in threads:
            rounds = []
            for _ in range(options.rounds):
                rounds.append({engine.name: engine.run(model, count, options.prompt, options.generate, options.depth, options)
                               for engine in engines})
            result = {
                "model": os.path.basename(model),
                "threads": count,
                "prompt": options.prompt,
                "generate": options.generate,
                "depth": options.depth,
                "date": datetime.date.today().isoformat(),
                "compiler": output([os.environ.get("CXX", "c++"), "--version"]).partition("\n")[0],
                "note": options.note,
                "peers": {},
                "rounds": rounds,
            }
            for engine in engines[1:]:
                result["peers"][engine.name] = {what: summary(rounds, "inlay", engine.name, what)
                                                for what in ("prefill", "decode")}
                for what, found in result["peers"][engine.name].items():
                    if found:
                        print(f"{result['model']:32} {count} threads  {what:7} {found['inlay']:9.1f} | {engine.name} "
                              f"{found['peer']:9.1f} | ratio {found['ratio']:.2f} ({found['ratio_min']:.2f} .. "
                              f"{found['ratio_max']:.2f})", flush=True)
            document["results"].append(result)
            if options.out:
                with open(options.out + ".new", "w", encoding="utf-8") as file:
                    json.dump(document, file, indent=1)
                    file.write("\n")
                os.replace(options.out + ".new", options.out)


if __name__ == "__main__":
    main()
