#!/usr/bin/env python3
"""Evaluates the model by running the programs, and writes docs/tiny-model.md.

    python3 examples/tiny/evaluate.py --bin build/release/bin --page docs/tiny-model.md

Questions, stories and seeds are fixed: the same programs and model give the same page, but for times. Needs nothing but
Python; one run takes some minutes.
"""

import argparse
import concurrent.futures
import csv
import fcntl
import json
import math
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "train"))

import chat  # noqa: E402
import stories  # noqa: E402
import words  # noqa: E402

PLAIN_SYSTEM = "You are a helpful assistant."
MODEL = []  # of --model: without, the model in the programs
SAMPLING = ["--temperature", "0.8", "--min-p", "0.1"]


def run(*command, stdin=None):
    done = subprocess.run([str(x) for x in command], input=stdin, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"{command}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def each(function, items):
    with concurrent.futures.ThreadPoolExecutor(2 * os.cpu_count()) as pool:
        return list(pool.map(function, items))


# --- sums ------------------------------------------------------------------------------------------------------------


def sum_questions(count):
    rng = random.Random("evaluation: sums")
    questions = []
    while len(questions) < count:
        turns, facts = chat.sum_turn(rng, held=True)
        questions.append((turns[0][1], facts))
    return questions


def numbers(text):
    return re.findall(r"-?\d+", text)


def ask_with_tool(programs, question, facts):
    lines = (run(programs / "inlay", "chat", *MODEL, "-t", 1, stdin=question + "\n") if MODEL else
             run(programs / "calculator", question)).splitlines()
    calls = [re.fullmatch(r"\[(?:calculator: )?(\d+)([-+*/])(\d+) = (-?\d+)\]", line) for line in lines[:-1]]
    wanted = f"{facts['a']}{facts['sign']}{facts['b']}"
    return {"question": question, "lines": lines, "called": len(lines) > 1, "formed": len(calls) == 1 and calls[0] is not None,
            "meant": len(calls) == 1 and calls[0] is not None and "".join(calls[0].group(1, 2, 3)) == wanted,
            "right": numbers(lines[-1]) == [facts["result"]], "facts": facts}


def ask_without_tool(programs, question, facts):
    answer = run(programs / "inlay", "chat", *MODEL, "--system", PLAIN_SYSTEM, "-t", 1, stdin=question + "\n").strip()
    return {"question": question, "answer": answer, "right": numbers(answer) == [facts["result"]], "facts": facts}


# --- stories ---------------------------------------------------------------------------------------------------------


def story_questions(count):
    """One question each about `count` new stories."""
    rng = random.Random("evaluation: story questions")
    questions = []
    while len(questions) < count:
        turns, keys = chat.story_question(rng, asked=1)
        questions.append((turns[0][1], keys[0][0], keys[0][1]))
    return questions


KINDS = [("who, and what somebody's name is", r"^(Who|Whose|What is the name)"), ("color", r"^What color"), ("weather", r"weather"),
         ("place", r"^Where"), ("kind: girl or boy, which animal", r"girl or a boy|^What kind of|^What is [A-Z]\w*\?$"), ("anything else", "")]


def kind_of(question):
    return next(name for name, pattern in KINDS if re.search(pattern, question))


def by_kind(asked, answered):
    """{kind of question, or where it stands: [right answers, questions]}."""
    counts = {name: [0, 0] for name, _ in KINDS}
    counts.update({"question after the story": [0, 0], "question before the story": [0, 0]})
    for (told, question, _), row in zip(asked, answered):
        for name in (kind_of(question), "question after the story" if told.endswith(question) else "question before the story"):
            counts[name][0] += row["right"]
            counts[name][1] += 1
    return counts


def ask_about_story(programs, told, key):
    answer = run(programs / "inlay", "chat", *MODEL, "-t", 1, stdin=told + "\n").strip()
    return {"answer": answer, "right": re.search(rf"\b{re.escape(key)}\b", answer) is not None, "key": key}


def lexicon():
    """Every word that the corpus has."""
    rng = random.Random("evaluation: lexicon")
    known = set()
    for _ in range(20000):
        known.update(re.findall(r"[A-Za-z]+", stories.Story(rng).text()))
    return known


def mechanical_errors(text, known):
    """What a program can find: words that are none, a/an, people of the wrong name."""
    broken = [word for word in re.findall(r"[A-Za-z]+", text) if word not in known]
    articles = [m.group(0) for m in re.finditer(r"\b[Aa] (?=[aeiou])\w+|\b[Aa]n (?![aeiou]|honest)\w+", text)]
    names = set(words.GIRLS + words.BOYS + words.PETS)
    people = list(dict.fromkeys(word for word in re.findall(r"[A-Za-z]+", text) if word in names))
    return broken, articles, people[2:]  # a story has a hero and a friend


def sample(programs, seed):
    return run(programs / "inlay", "run", *MODEL, "--prompt", "Once upon a time", *SAMPLING, "--seed", seed, "-t", 1, "--quiet").strip()


def held_out_loss(programs, count):
    """Mean loss per token on new stories, each read from its beginning."""
    rng = random.Random("evaluation: held-out stories")
    texts = [stories.Story(rng).text() for _ in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        def measure(item):
            path = pathlib.Path(directory) / f"{item[0]}.txt"
            path.write_text(item[1])
            return json.loads(run(programs / "inlay", "perplexity", *MODEL, "-t", 1, "--file", path))
        results = each(measure, enumerate(texts))
    tokens = sum(r["n_predicted"] for r in results)
    return -sum(r["mean_logprob"] * r["n_predicted"] for r in results) / tokens, tokens


# --- the program -----------------------------------------------------------------------------------------------------


def first_token_seconds(program):
    """From the start of the process to the first bytes that it writes, the least of several."""
    def once():
        start = time.perf_counter()
        with subprocess.Popen([program, "Once upon a time"], stdout=subprocess.PIPE) as process:
            process.stdout.read(1)
            seconds = time.perf_counter() - start
            process.stdout.read()
        return seconds
    return min(once() for _ in range(20))


def peak_memory(program):
    """The most resident memory of one run, in bytes. (The usage that wait4 reports would include Python's own before exec.)"""
    reader, writer = os.pipe()
    capacity = fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
    os.write(writer, bytes(capacity - 400))  # room for most of the story: then the program waits, and can be looked at
    with subprocess.Popen([program, "Once upon a time"], stdout=writer) as process:
        time.sleep(2)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        os.close(writer)
        os.close(reader)
        process.kill()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) * 1024


def sizes(program):
    """Bytes of the stripped program, and of its code and constants without the weights."""
    with tempfile.TemporaryDirectory() as directory:
        stripped = shutil.copy(program, directory)
        subprocess.run(["strip", stripped], check=True)
        total = os.path.getsize(stripped)
    counted = run(sys.executable, HERE.parent.parent / "tools" / "binary_size.py", program)
    return total, int(re.search(r"= (\d+) bytes", counted).group(1))


def share(rows, key="right"):
    return sum(bool(row[key]) for row in rows) / len(rows)


def percent(rows, key="right"):
    return f"{100 * share(rows, key):.1f} %"


def comparison(figures, other):
    """Rows of a table: this model beside another one that was evaluated in the same way."""
    def row(name, key, form):
        return f"| {name} | {form(figures[key])} | {form(other[key])} |"
    percents = "{:.1%}".format
    return [row("held-out loss on stories, Q8_0 file", "loss", "{:.4f}".format),
            row("calls well formed", "formed", lambda x: percents(x).replace("%", " %")),
            row("right final answers to sums", "sums", lambda x: percents(x).replace("%", " %")),
            row("right answers to questions about stories", "story_questions", lambda x: percents(x).replace("%", " %")),
            row("words in 50 samples that the corpus does not have", "broken_words", str),
            row("wrong \"a\" or \"an\" in them", "articles", str),
            row("samples in which somebody gets a wrong name", "wrong_names", str)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="the directory of inlay, calculator and minimal")
    parser.add_argument("--page", type=pathlib.Path, help="the page to write; default: standard output")
    parser.add_argument("--sums", type=int, default=1000)
    parser.add_argument("--story-questions", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--reading", type=pathlib.Path, default=HERE / "reading.md", help="what reading the samples found")
    parser.add_argument("--model", type=pathlib.Path, help="another model than the one in the programs; writes figures, no page")
    parser.add_argument("--figures", type=pathlib.Path, help="a JSON file to write the figures to, for --other")
    parser.add_argument("--other", type=pathlib.Path, default=HERE / "retrained.json", help="figures of another model to compare with")
    options = parser.parse_args()
    if options.model:
        MODEL.append(options.model.resolve())
    programs = options.bin.resolve()

    loss, loss_tokens = held_out_loss(programs, 200)
    sums = sum_questions(options.sums)
    with_tool = each(lambda q: ask_with_tool(programs, *q), sums)
    without_tool = each(lambda q: ask_without_tool(programs, *q), sums)
    asked = story_questions(options.story_questions)
    answered = each(lambda q: ask_about_story(programs, q[0], q[2]), asked)
    samples = each(lambda seed: sample(programs, seed), range(1, options.samples + 1))
    known = lexicon()
    errors = [mechanical_errors(text, known) for text in samples]

    figures = {"loss": loss, "formed": share(with_tool, "formed"), "sums": share(with_tool), "story_questions": share(answered), "story_questions_by_kind": by_kind(asked, answered),
               "broken_words": sum(len(e[0]) for e in errors), "articles": sum(len(e[1]) for e in errors),
               "wrong_names": sum(bool(e[2]) for e in errors)}
    if options.figures:
        options.figures.write_text(json.dumps(figures, indent=1) + "\n")
    if options.model:
        return

    with open(HERE / "log.csv", newline="") as file:
        log = list(csv.DictReader(file))
    last = {row["stage"]: row for row in log}
    model_bytes = os.path.getsize(HERE / "inlay-tiny.gguf")
    total, code = sizes(programs / "calculator")

    out = []
    out.append("# The model of this repository\n")
    out.append("`examples/tiny/inlay-tiny.gguf` is a real language model, small enough to be part of the repository: "
               f"1,312,384 parameters in Q8_0, {model_bytes:,} bytes. It tells short stories, answers questions about a story "
               "or a fact it is given, and uses a calculator. It knows nothing else. It was trained from scratch by the scripts in "
               "[examples/tiny](../examples/tiny/README.md) on text from our own generator; no other text and no other model "
               "was used.\n")
    out.append("This page was written by `examples/tiny/evaluate.py`, which runs the programs `inlay` and `calculator`. Nothing "
               "in it was chosen by hand. Seeds and sums are those of one processor and version: rounding differs on others, and with it a "
               "story may take another turn.\n")
    out.append("## Training\n")
    out.append("![Loss of both stages](tiny-model-loss.svg)\n")
    out.append("| stage | steps | tokens | time, one thread | held-out loss, stories | held-out loss, conversations |\n|---|---|---|---|---|---|")
    for stage in ("pretrain", "finetune"):
        row = last[stage]
        out.append(f"| {stage} | {int(row['step']):,} | {int(row['tokens']):,} | {int(row['seconds']) / 60:.0f} min | "
                   f"{row['held_out_stories']} | {row['held_out_chat']} |")
    out.append(f"\nLoss is in nats per token, of the float32 weights, as logged during training ([log](../examples/tiny/log.csv)). "
               f"Of the Q8_0 file, with `inlay perplexity`, on {loss_tokens:,} tokens of 200 other stories: **{loss:.4f}** "
               f"(perplexity {math.exp(loss):.3f}). Text is made from seeds, so a held-out story has seeds of its own; the generator can "
               "tell so many stories that meeting one twice is unlikely.\n")
    other = json.loads(options.other.read_text()) if options.other.exists() else None
    if other:
        out.append(f"## Trained again\n\n{other['text']}\n\n| | this model | trained again |\n|---|---|---|")
        out.extend(comparison(figures, other))
        out.append("")
    out.append("## Sums\n")
    out.append(f"{options.sums:,} questions whose pairs of operands the training never had, three in five as plain sums, the others "
               "as word problems, with numbers of up to four digits. The model writes a call, the program computes, the model "
               "answers with the result; greedy decoding.\n")
    out.append("| | with the calculator | without |\n|---|---|---|")
    out.append(f"| writes a call | {percent(with_tool, 'called')} | |")
    out.append(f"| the call is well formed | {percent(with_tool, 'formed')} | |")
    out.append(f"| the call is the right one | {percent(with_tool, 'meant')} | |")
    out.append(f"| **right final answer** | **{percent(with_tool)}** | **{percent(without_tool)}** |")
    for sign, name in zip("+-*/", ("addition", "subtraction", "multiplication", "division")):
        pick = [[row for row in rows if row["facts"]["sign"] == sign] for rows in (with_tool, without_tool)]
        out.append(f"| {name} ({len(pick[0])} questions) | {percent(pick[0])} | {percent(pick[1])} |")
    out.append("\nThe first eight, and the first wrong answers:\n\n```text")
    wrong = [row for row in with_tool if not row["right"]][:8]
    for row in with_tool[:8] + [None] + wrong:
        if row is None:
            out.append("--- wrong ---")
            continue
        out.append("> " + row["question"])
        out.extend(row["lines"])
    out.append("```\n")
    out.append("## Questions about a story\n")
    out.append(f"One question each about {len(asked):,} new stories: **{percent(answered)}** right (the answer has the word that was asked "
               "for).\n")
    out.append("| | questions | right answers |" + (" trained again |" if other else "") + "\n|---|---|---|" + ("---|" if other else ""))
    for name, (right, count) in figures["story_questions_by_kind"].items():
        again = other and other["story_questions_by_kind"][name]
        out.append(f"| {name} | {count} | {100 * right / count:.1f} % |" + (f" {100 * again[0] / again[1]:.1f} % |" if other else ""))
    out.append("\nThe first five, and the first wrong answers:\n\n```text")
    wrong = [i for i, row in enumerate(answered) if not row["right"]][:5]
    for i in list(range(5)) + [None] + wrong:
        if i is None:
            out.append("--- wrong ---")
            continue
        out.append("> " + asked[i][0])
        out.append(answered[i]["answer"] + ("" if answered[i]["right"] else f"   (should have: {answered[i]['key']})"))
    out.append("```\n")
    out.append("## The program\n")
    out.append("`calculator` and `minimal` have the weights linked in and the dimensions compiled in: one file, nothing to load.\n")
    out.append("| | |\n|---|---|")
    out.append(f"| stripped `calculator`, weights included | {total:,} bytes |")
    out.append(f"| its code and constants without the weights | {code:,} bytes ({code / 1024:.0f} KiB) |")
    out.append(f"| those of `minimal` | {sizes(programs / 'minimal')[1]:,} bytes |")
    out.append(f"| `minimal`: start of the process to the first token | {1000 * first_token_seconds(programs / 'minimal'):.1f} ms |")
    out.append(f"| for comparison, `/bin/echo`: start of the process to the first byte | {1000 * first_token_seconds('/bin/echo'):.1f} ms |")
    out.append(f"| `minimal`: most memory, all of it | {peak_memory(programs / 'minimal') / 2**20:.1f} MiB |")
    out.append("")
    out.append("## Samples\n")
    out.append(f"Unedited: `inlay run --prompt \"Once upon a time\" {' '.join(SAMPLING)} --seed SEED`.\n")
    out.append("What a program finds in them: " +
               f"words that the corpus does not have: {figures['broken_words']}" +
               ("" if not any(e[0] for e in errors) else " (" + ", ".join(word for e in errors for word in e[0]) + ")") +
               f"; wrong \"a\" or \"an\": {figures['articles']}; "
               f"stories in which somebody gets a wrong name: {figures['wrong_names']}.\n")
    if options.reading.exists():
        out.append(options.reading.read_text().strip() + "\n")
    length = statistics.mean(len(text.split()) for text in samples)
    out.append(f"They have {length:.0f} words on average.\n")
    for seed, text in enumerate(samples, 1):
        out.append(f"{seed}. {text}\n")
    page = "\n".join(out)
    if options.page:
        options.page.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
