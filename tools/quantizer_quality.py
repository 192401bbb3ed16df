#!/usr/bin/env python3
"""How far weights move when they are quantised, and what that does to perplexity, beside llama.cpp's quantiser.

Usage: quantizer_quality.py --inlay INLAY --model F32.gguf [--llama-quantize PROGRAM]
                            [--text-model F32.gguf --text FILE] [--formats q4_k,q8_0]

Every format is written from the same float32 file by `inlay quantize` and by `llama-quantize --pure`; both files are read back
by `inlay quantize --format f32`, whose decoder is exact, and compared with the original: root mean square of the differences,
relative to that of the weights, over all matrices whose rows are whole blocks. With --text-model, the perplexity of that model
on a text in each format that fits its rows. Prints a Markdown table. Needs nothing but Python.
"""

import argparse
import array
import json
import pathlib
import subprocess
import sys
import tempfile

# Our name, and the file type that llama-quantize --pure writes every matrix in that type for.
FORMATS = {"q8_0": "Q8_0", "q6_k": "Q6_K", "q5_k": "Q5_K_S", "q5_1": "Q5_1", "q5_0": "Q5_0", "q4_k": "Q4_K_S", "q4_1": "Q4_1",
           "q4_0": "Q4_0", "iq4_nl": "IQ4_NL", "iq4_xs": "IQ4_XS", "mxfp4": None, "q3_k": "Q3_K_S", "q2_k": "Q2_K",
           "tq2_0": "TQ2_0", "tq1_0": "TQ1_0"}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout


class Weights:
    """The matrices of a GGUF file as float32."""

    def __init__(self, inlay, path, scratch):
        decoded = scratch / "decoded.gguf"
        run(inlay, "quantize", path, decoded, "--format", "f32")
        tensors = json.loads(run(inlay, "inspect", decoded, "--json"))["tensors"]
        data = decoded.read_bytes()
        self.matrices = {}
        for tensor in tensors:
            if len(tensor["dims"]) > 1:
                values = array.array("f", data[tensor["offset"]:tensor["offset"] + tensor["bytes"]])
                self.matrices[tensor["name"]] = values
        self.types = {tensor["name"]: tensor["type"]
                      for tensor in json.loads(run(inlay, "inspect", path, "--json"))["tensors"]}


def relative_error(original, rounded, type_name):
    error = square = 0.0
    for name, values in original.matrices.items():
        if rounded.types[name].lower() != type_name:
            continue  # fell back to another type
        square += sum(a * a for a in values)
        error += sum((a - b) * (a - b) for a, b in zip(values, rounded.matrices[name]))
    return (error / square) ** 0.5 if square else None


def ours(options, model, name, out):
    run(options.inlay, "quantize", model, out, "--format", name)
    return out


def peers(options, model, name, out):
    """The peer's file, or None where it cannot write the type for every matrix."""
    if options.llama_quantize is None:
        return None
    if FORMATS[name] is None:
        rules = ["--tensor-type", f".*={name}", "--token-embedding-type", name, "--output-tensor-type", name]
        run(options.llama_quantize, "--allow-requantize", *rules, model, out, "Q8_0")
    else:
        run(options.llama_quantize, "--pure", model, out, FORMATS[name])
    return out


def fits(options, model, name):
    block = 32 if name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "mxfp4") else 256
    tensors = json.loads(run(options.inlay, "inspect", model, "--json"))["tensors"]
    widths = [tensor["dims"][0] for tensor in tensors if len(tensor["dims"]) > 1]
    return sum(width % block == 0 for width in widths) > len(widths) / 2


def perplexity(options, path):
    return json.loads(run(options.inlay, "perplexity", path, "-f", options.text))["perplexity"]


def cell(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inlay", required=True)
    parser.add_argument("--model", required=True, help="float32 GGUF file, rows of whole blocks of 256 for all formats")
    parser.add_argument("--llama-quantize")
    parser.add_argument("--text-model", help="float32 GGUF file with a tokenizer")
    parser.add_argument("--text")
    parser.add_argument("--formats", default=",".join(FORMATS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        original = Weights(options.inlay, options.model, scratch)
        header = "| format | error | llama.cpp | ratio |"
        if options.text_model:
            header += f" perplexity (F32 {perplexity(options, options.text_model):.3f}) | llama.cpp |"
        print(header)
        print("|---" * (header.count("|") - 1) + "|")
        for name in options.formats.split(","):
            errors, texts = [], []
            for make in (ours, peers):
                path = make(options, options.model, name, scratch / "model.gguf")
                errors.append(path and relative_error(original, Weights(options.inlay, path, scratch), name))
                if options.text_model:
                    fitting = fits(options, options.text_model, name)
                    path = fitting and make(options, options.text_model, name, scratch / "text.gguf")
                    texts.append(perplexity(options, path) if path else None)
            ratio = errors[0] / errors[1] if all(errors) else None
            print("| " + " | ".join([name.upper(), cell(errors[0], 5), cell(errors[1], 5), cell(ratio, 3),
                                     *(cell(text, 3) for text in texts)]) + " |", flush=True)


if __name__ == "__main__":
    main()
