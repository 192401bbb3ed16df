"""Draws the losses of log.csv as an SVG picture: nothing but Python.

    python3 examples/tiny/train/plot.py examples/tiny/log.csv docs/tiny-model-loss.svg
"""

import csv
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 840, 400, 56, 16, 34, 44
SERIES = [("train_loss", "training", "#9aa5b1"), ("held_out_stories", "held-out stories", "#1f6feb"),
          ("held_out_chat", "held-out conversations", "#d1570a")]


def main():
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    first = max(int(row["tokens"]) for row in rows if row["stage"] == "pretrain")
    x_of = [int(row["tokens"]) + (first if row["stage"] == "finetune" else 0) for row in rows]
    values = [float(row[key]) for row in rows for key, _, _ in SERIES]
    low, high = math.log(min(values) * 0.9), math.log(max(values) * 1.1)

    def x(tokens):
        return LEFT + (WIDTH - LEFT - RIGHT) * tokens / max(x_of)

    def y(loss):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log(loss)) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for tick in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5):
        if low <= math.log(tick) <= high:
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#e4e7eb"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end" fill="#52606d">{tick}</text>')
    for million in range(0, int(max(x_of) / 1e6) + 1):
        out.append(f'<text x="{x(million * 1e6):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#52606d">{million}</text>')
    out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#52606d">million tokens</text>')
    out.append(f'<line x1="{x(first):.1f}" x2="{x(first):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#7b8794" stroke-dasharray="4 4"/>')
    out.append(f'<text x="{x(first) - 6:.1f}" y="{TOP + 14}" text-anchor="end" fill="#52606d">stories</text>')
    out.append(f'<text x="{x(first) + 6:.1f}" y="{TOP + 14}" fill="#52606d">conversations</text>')
    for i, (key, label, color) in enumerate(SERIES):
        # The loss of training is of another text in each stage, so its line has a gap.
        for stage in ("pretrain", "finetune"):
            points = [(a, float(row[key])) for a, row in zip(x_of, rows) if row["stage"] == stage]
            if stage == "finetune" and key != "train_loss":
                points.insert(0, next((a, float(row[key])) for a, row in reversed(list(zip(x_of, rows))) if row["stage"] == "pretrain"))
            path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        out.append(f'<rect x="{LEFT + 190 * i}" y="8" width="14" height="4" fill="{color}"/>'
                   f'<text x="{LEFT + 190 * i + 20}" y="15" fill="#323f4b">{label}</text>')
    out.append("</svg>")
    with open(sys.argv[2], "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
