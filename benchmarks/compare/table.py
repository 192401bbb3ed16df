#!/usr/bin/env python3
"""Prints what compare.py measured as the rows of a Markdown table, one for each model, length of prompt and number of threads.

    table.py MEASUREMENTS.json... [--peer NAME]

Tokens per second of inlay and of the peer, medians, and the median, smallest and largest ratio of the rounds. Without
--peer, each number stands against the faster of the peers. Roofline: what generation reads of the memory's bandwidth as
measured in the same run.
"""
import argparse
import json
import re
import statistics


def number(value):
    return f"{value:,.0f}" if value >= 200 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def against(result, what, only):
    """(inlay, peer, name, ratio with range), of the fastest peer or of the one named."""
    found = [(name, values[what]) for name, values in result["peers"].items() if values[what] and only in (None, name)]
    if not found:
        return None
    name, values = max(found, key=lambda pair: pair[1]["peer"])
    ratio = f"**{values['ratio']:.2f}** ({values['ratio_min']:.2f} to {values['ratio_max']:.2f})"
    return number(values["inlay"]), number(values["peer"]), name, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--peer")
    options = parser.parse_args()
    results = []
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            results += json.load(file)["results"]
    print("| model | threads | | inlay | peer | | ratio | roofline |\n|---|---|---|---|---|---|---|---|")
    for result in sorted(results, key=lambda r: (-r["threads"], r["prompt"], r["depth"])):
        model = re.sub(r"\.gguf$", "", result["model"])
        for what, shown in (("prefill", f"prompt of {result['prompt']}"), ("decode", "generation")):
            row = against(result, what, options.peer)
            if row is None:
                continue
            if what == "decode" and result["depth"]:
                shown += f" after {result['depth']:,}"
            roofline = ""
            if what == "decode":
                roofline = f"{statistics.median(r['inlay']['decode_roofline'] for r in result['rounds']):.2f}"
            print(f"| {model} | {result['threads']} | {shown} | {row[0]} | {row[1]} | {row[2]} | {row[3]} | {roofline} |")


if __name__ == "__main__":
    main()
