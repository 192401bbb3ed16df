#!/usr/bin/env python3
"""Draws what compare.py measured: tokens per second, distance from the memory's limit, and speed against context.

    plot.py MEASUREMENTS.json... --out docs/images

Needs matplotlib. Every picture names processor and threads; a picture without data is left out.
"""
import argparse
import collections
import json
import os
import re
import statistics

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

COLOURS = {"inlay": "#1b6ca8", "llama.cpp": "#b0b0b0", "ik_llama.cpp": "#e08e45"}


def label(model):
    """tinyllama-Q4_K.gguf -> (tinyllama, Q4_K)"""
    stem = re.sub(r"\.gguf$", "", model)
    name, _, weights = stem.rpartition("-")
    return name, weights


def median(result, engine, what):
    values = [r[engine][what] for r in result["rounds"] if engine in r and r[engine].get(what)]
    return statistics.median(values) if values else None


def engines_of(results):
    names = ["inlay"]
    for result in results:
        names += [name for name in result["peers"] if name not in names]
    return names


def save(figure, folder, name, machine):
    figure.text(0.995, 0.005, machine, ha="right", va="bottom", fontsize=6, color="#606060")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    # No date and fixed ids: the same data gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "inlay"
    figure.savefig(os.path.join(folder, name), metadata={"Date": None})
    plt.close(figure)


def bars(results, what, title, folder, name, machine):
    if not results:
        return
    engines = engines_of(results)
    figure, axes = plt.subplots(figsize=(1.5 + 1.1 * len(results), 3.2))
    width = 0.8 / len(engines)
    for e, engine in enumerate(engines):
        values = [median(r, engine, what) or 0 for r in results]
        places = [i + (e - (len(engines) - 1) / 2) * width for i in range(len(results))]
        drawn = axes.bar(places, values, width, label=engine, color=COLOURS.get(engine))
        axes.bar_label(drawn, [f"{v:.0f}" if v >= 100 else f"{v:.1f}" for v in values], fontsize=6)
    axes.set_xticks(range(len(results)), [label(r["model"])[1] for r in results])
    axes.set_ylabel("tokens/s")
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=7)
    save(figure, folder, name, machine)


def roofline(results, folder, name, machine):
    """Bytes of weights, keys and values read per second over the read bandwidth of the same run."""
    rows = [(label(r["model"]), statistics.median(x["inlay"]["decode_roofline"] for x in r["rounds"]))
            for r in results if all(x["inlay"].get("decode_roofline") for x in r["rounds"])]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(1.5 + 0.8 * len(rows), 3))
    drawn = axes.bar([weights for (_, weights), _ in rows], [ratio for _, ratio in rows], color=COLOURS["inlay"])
    axes.bar_label(drawn, [f"{ratio:.2f}" for _, ratio in rows], fontsize=7)
    axes.axhline(1, color="#606060", linewidth=0.8)
    axes.set_ylabel("read / read bandwidth")
    axes.set_title("Generation against the memory's limit", fontsize=9)
    save(figure, folder, name, machine)


def context(results, folder, name, machine):
    by_depth = sorted(results, key=lambda r: r["depth"])
    if len({r["depth"] for r in by_depth}) < 2:
        return
    figure, axes = plt.subplots(figsize=(4.5, 3))
    for engine in engines_of(by_depth):
        points = [(r["depth"], median(r, engine, "decode")) for r in by_depth]
        points = [(x, y) for x, y in points if y]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=engine, color=COLOURS.get(engine))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens in the context")
    axes.set_ylabel("generated tokens/s")
    axes.legend(fontsize=7)
    save(figure, folder, name, machine)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        stem = os.path.splitext(os.path.basename(path))[0]
        groups = collections.defaultdict(list)
        for result in document["results"]:
            groups[(label(result["model"])[0], result["threads"])].append(result)
        for (model, threads), results in groups.items():
            isa = "AVX-512 VNNI" if "avx512_vnni" in document["machine"]["flags"] else "AVX2"
            machine = f"{document['machine']['processor']} ({isa}), {threads} threads, {results[0]['date'][:7]}"
            flat = [r for r in results if r["depth"] == 0]
            base = f"{stem}-{model}-{threads}t"
            for what, title in (("prefill", "Reading a prompt"), ("decode", "Generating")):
                bars([r for r in flat if median(r, "inlay", what)], what, f"{title}: {model}", options.out,
                     f"{base}-{what}.svg", machine)
            roofline(flat, options.out, f"{base}-roofline.svg", machine)
            by_weights = collections.defaultdict(list)
            for result in results:
                by_weights[label(result["model"])[1]].append(result)
            for weights, some in by_weights.items():
                context(some, options.out, f"{base}-{weights}-context.svg", machine)


if __name__ == "__main__":
    main()
