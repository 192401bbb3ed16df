#!/usr/bin/env python3
"""What using the library costs at build time: a table of compile time, compiler memory and program size.

Usage: compile_bench.py [--include DIRECTORY] [--rounds N] [--per-format] -- COMPILER [FLAG...]
With --per-format: what each weight type adds to a file, kernels of run-time widths and the look-up of embeddings.
For example: benchmarks/compile/compile_bench.py -- g++ -O2 -march=native
"""

import argparse
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from binary_size import CODE, CONSTANTS, sections  # noqa: E402
from measure import measure  # noqa: E402

GENERATOR = """#include <inlay/inlay.hpp>
#include <cstdio>
int main(int argc, char** argv) {{
  inlay::ThreadPool threads(2);
  if (argc < 2) return 1;
  auto generator = inlay::TextGenerator<{model}>::Open(argv[1], threads);
  if (!generator) return 1;
  auto story = generator->Generate("");
  if (!story) return 1;
  for (const std::string_view text : *story) std::fwrite(text.data(), 1, text.size(), stdout);
}}
"""


def static_model(config, *types):
    names = ", ".join(f"inlay::WeightType::k{name}" for name in types)
    return GENERATOR.format(model=f"inlay::Model<inlay::k{config}, inlay::Formats<{names}>>")


# Name, source. The first is what the others are compared with.
CASES = [
    ("<hwy/highway.h> alone", '#include "inlay/kernels/highway.hpp"\nint main() {}\n'),
    ("<inlay/inlay.hpp> alone", "#include <inlay/inlay.hpp>\nint main() {}\n"),
    ("one static model, Q8_0", static_model("Stories110M", "Q8_0")),
    ("one static model, Q4_K and Q6_K", static_model("TinyLlama1_1B", "Q4_K", "Q6_K")),
    ("AnyModel, all formats", GENERATOR.format(model="inlay::AnyModel")),
]


KERNELS = """#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/kernels/quantize-inl.hpp"
using Formats = inlay::Formats<{types}>;
void Multiply(inlay::WeightType type, const std::byte* packed, const inlay::Activations& x, const inlay::Output& out,
              std::size_t rows, std::size_t cols, std::size_t tokens) {{
  inlay::HWY_NAMESPACE::QuantizeRows(inlay::ActivationKindOf(type), cols, 0, tokens, x);
  inlay::HWY_NAMESPACE::MatMul<Formats>(type, packed, rows, inlay::DynamicExtent{{cols}}, x, 0, tokens, 0, rows, out);
  inlay::UnpackRow<Formats>(type, packed, cols, 0, out.data);
}}
int main() {{}}
"""


def kernels(*types):
    return KERNELS.format(types=", ".join(f"inlay::WeightType::k{name}" for name in types))


TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_XS", "TQ2_0")
PER_FORMAT = [("kernel headers alone", KERNELS.split("using")[0] + "int main() {}\n"),
              *((name, kernels(name)) for name in TYPES), ("all of them", kernels(*TYPES))]


def main():
    arguments = sys.argv[1:]
    if "--" not in arguments:
        sys.exit(__doc__)
    split = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--include", type=pathlib.Path, default=ROOT / "include")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-format", action="store_true")
    options = parser.parse_args(arguments[:split])
    compiler = [*arguments[split + 1:], "-std=c++20", "-DNDEBUG", f"-I{options.include}", "-pthread"]

    base = None
    print("| translation unit | seconds | times the first | compiler memory, MiB | code + constants, KiB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory) / "case.cpp"
        object_file = pathlib.Path(directory) / "case.o"
        program = pathlib.Path(directory) / "case"
        for name, text in PER_FORMAT if options.per_format else CASES:
            source.write_text(text, encoding="utf-8")
            runs = [measure([*compiler, "-c", "-o", str(object_file), str(source)]) for _ in range(options.rounds)]
            measure([*compiler, "-o", str(program), str(object_file)])
            seconds = min(run[0] for run in runs)
            base = base or seconds
            found = sections(str(program), "size")
            size = sum(found.get(section, 0) for section in CODE | CONSTANTS)
            print(f"| {name} | {seconds:.2f} | {seconds / base:.1f} | {max(run[1] for run in runs) / 2**20:.0f} |"
                  f" {size / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
