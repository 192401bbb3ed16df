#!/usr/bin/env python3
"""Runs the command line and compares what it says with reference files, or with itself.

Usage: cli_test.py --program INLAY [--minimal MINIMAL] [--calculator CALCULATOR] [--fixtures DIRECTORY] CLASS... [-- COMPILER FLAGS...]
Classes that need reference files say "skipped" where there are none. Needs nothing but Python.
"""

import argparse
import base64
import itertools
import json
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

OPTIONS = argparse.Namespace()
BLOCK_32 = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "mxfp4"]
BLOCK_256 = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "tq1_0", "tq2_0"]
TYPES = ["f32", "f16", "bf16", *BLOCK_32, *BLOCK_256]
FORMATS = [*TYPES, "q4_k_m"]


def run(*arguments, stdin=None, **more):
    return subprocess.run([OPTIONS.program, *map(str, arguments)], input=stdin, capture_output=True, timeout=300, **more)


def float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def largest_difference(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b))


def relative_difference(a, b):
    return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)) ** 0.5


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="inlay_cli_"))
        self.addCleanup(shutil.rmtree, self.directory)

    def ok(self, *arguments, **more):
        done = run(*arguments, **more)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return done.stdout

    def json(self, *arguments, **more):
        return json.loads(self.ok(*arguments, **more))

    def fails(self, code, *arguments, words=(), **more):
        """The exit code, and exactly one line that says why."""
        done = run(*arguments, **more)
        message = done.stderr.decode()
        self.assertEqual(done.returncode, code, (arguments, message))
        self.assertEqual(message.count("\n"), 1, (arguments, message))
        self.assertTrue(message.startswith("inlay: ") and message.endswith("\n"), message)
        for word in words:
            self.assertIn(word, message)
        return done.stdout

    def synth(self, file_format="q8_0", like="stories260K"):
        path = self.directory / f"{like}-{file_format}.gguf"
        self.ok("synth", "--like", like, "--format", file_format, path)
        return path


class FixtureCase(Case):
    def fixture(self, name):
        path = pathlib.Path(OPTIONS.fixtures or "/nowhere") / name
        if not path.exists():
            self.skipTest("no fixtures")
        return path

    def load(self, name):
        return json.loads(self.fixture(name).read_text(encoding="utf-8"))


# --- without reference files -----------------------------------------------------------------------------------------


class Errors(Case):
    def test_usage(self):
        self.fails(2)
        self.fails(2, "sing", words=["sing"])
        self.fails(2, "sing", "--loud", words=["sing"])
        self.fails(2, "run", "a", "--kv", "q7")
        self.fails(2, "run", "a", "-t", "0")
        self.fails(2, "synth", "--like", "a", "--format", "q8_0", self.directory / "x", words=["--like"])
        self.fails(2, "synth", "--like", "stories15M", "--format", "q9", self.directory / "x", words=["--format", "q8_0"])
        model = self.synth()
        self.fails(2, "logits", model, "--tokens", "1,two", words=["--tokens"])
        self.fails(2, "logits", model, "--tokens", "1,512", words=["512"])
        self.fails(2, "logits", model, "--tokens=-1")
        self.fails(2, "run", model, "-p", "a", "--temp", "-1", words=["temperature"])
        self.fails(2, "dequant", model, "no.such.tensor", words=["no.such.tensor"])
        self.assertEqual(list(self.directory.iterdir()), [model])

    def test_bad_files(self):
        self.fails(3, "run", self.directory / "absent", "-p", "a", words=["absent"])
        self.fails(3, "run", self.directory, "-p", "a")
        garbage = self.directory / "garbage"
        garbage.write_bytes(b"once upon a time there was a file of another kind")
        self.fails(3, "run", garbage, "-p", "a", words=["GGUF", "llama2.c"])
        model = self.synth()
        whole = model.read_bytes()
        cut = self.directory / "cut.gguf"
        for size in (0, 3, 4, 23, 100, 1000, len(whole) // 2, len(whole) - 1):
            cut.write_bytes(whole[:size])
            for command in (["logits", cut, "--tokens", "1"], ["inspect", cut], ["describe", cut],
                            ["pack", cut, self.directory / "out"], ["tokenize", cut]):
                self.fails(3, *command, stdin=b"")
        self.assertFalse((self.directory / "out").exists())
        self.fails(3, "run", model, "-p", "a", words=["tokenizer"])  # no_vocab

    def test_message_is_one_line_whatever_the_file_says(self):
        """A tensor that no model has, with line breaks in its name."""
        model = self.synth()
        evil = self.directory / "evil.gguf"
        evil.write_bytes(model.read_bytes().replace(b"output_norm.weight", b"output\n\nrm.weight\r"))
        self.fails(3, "logits", evil, "--tokens", "1", words=["output  rm.weight"])

    def test_not_supported(self):
        model = self.synth()
        self.fails(4, "render", model, "--now", "1", words=["render", "not support"])
        self.fails(4, "accepts", "--grammar", "g.gbnf", words=["accepts", "not support"])
        other = self.directory / "other.gguf"
        other.write_bytes(model.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0hydra", 1))
        self.fails(4, "logits", other, "--tokens", "1", words=["hydra"])
        self.assertIn("hydra", json.loads(self.ok("inspect", other, "--json"))["not_runnable"])

    def test_memory_and_context(self):
        model = self.synth()
        self.fails(5, "logits", model, "--tokens", "1,2,3", "-c", "2", words=["context"])
        self.fails(5, "logits", model, "--tokens", "1,2,3", "--all", "-c", "2", words=["context"])
        self.fails(5, "bench", model, "-p", "9", "-n", "1", "-c", "8")
        if "sanitize" not in " ".join(OPTIONS.compile):  # sanitizers reserve more address space than this
            limit = 1 << 30
            self.fails(5, "logits", model, "--tokens", "1", "-c", str(1 << 24), "-t", "1", words=["out of memory"],
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))

    def test_help_is_no_error(self):
        for arguments in (["--help"], ["run", "--help"], ["--version"]):
            self.assertNotEqual(self.ok(*arguments), b"")

    def test_broken_pipe_of_a_full_disk(self):
        model = self.synth()
        if not pathlib.Path("/dev/full").exists():
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([OPTIONS.program, "logits", str(model), "--tokens", "1"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"standard output", done.stderr)


class Synthetic(Case):
    TOKENS = "1,5,77,300,2,9,511,0,44"

    def test_same_logits_plain_packed_and_on_any_threads(self):
        for file_format in FORMATS:
            with self.subTest(file_format):
                model = self.synth(file_format)
                packed = self.directory / "packed.gguf"
                self.ok("pack", model, packed)
                reference = self.ok("logits", model, "--tokens", self.TOKENS, "--all", "-t", "1")
                rows = json.loads(reference)["logits"]
                self.assertEqual([len(row) for row in rows], [512] * 9)
                spread = max(rows[-1]) - min(rows[-1])
                self.assertTrue(1.0 < spread < 100.0, spread)
                for path, threads in itertools.product((model, packed), (1, 2, 4)):
                    self.assertEqual(self.ok("logits", path, "--tokens", self.TOKENS, "--all", "-t", threads), reference)
                last = self.json("logits", packed, "--tokens", self.TOKENS)["logits"]
                self.assertEqual(last, rows[-1:])

    def test_cache_types_are_close(self):
        model = self.synth("f32")
        exact = self.json("logits", model, "--tokens", self.TOKENS)["logits"][0]
        for kv, tolerance in (("f32", 0.0), ("f16", 0.02), ("bf16", 0.1), ("q8", 0.1), ("q4", 0.1 * 127 / 8)):
            logits = self.json("logits", model, "--tokens", self.TOKENS, "--kv", kv)["logits"][0]
            difference = largest_difference(logits, exact)
            self.assertLessEqual(difference, tolerance)
            self.assertEqual(difference == 0, kv == "f32")

    def test_same_file_from_the_same_seed(self):
        def made(*more):
            path = self.directory / "made.gguf"
            self.ok("synth", "--like", "stories260K", "--format", "q4_k", path, *more)
            return path.read_bytes()
        first = made()
        for threads in (1, 3):
            self.assertEqual(made("-t", threads), first)
        self.assertNotEqual(made("--seed", "2"), first)

    def test_types_fall_back_where_rows_are_no_whole_blocks(self):
        def types(file_format):
            tensors = self.json("inspect", self.synth(file_format), "--json")["tensors"]
            return {tensor["name"]: tensor["type"] for tensor in tensors}
        for file_format, expected in (("q4_k", "Q5_0"), ("q5_k", "Q5_1"), ("q6_k", "Q8_0"), ("q4_0", "Q4_0"), ("q2_k", "Q4_0"),
                                      ("q3_k", "Q4_0"), ("tq1_0", "Q4_0"), ("tq2_0", "Q4_0"), ("iq4_xs", "IQ4_NL")):
            found = types(file_format)
            self.assertEqual(found["blk.0.attn_q.weight"], expected)
            self.assertEqual(found["blk.0.ffn_down.weight"], "F16")  # 172 columns
            self.assertEqual(found["blk.0.attn_norm.weight"], "F32")

    def test_values_are_centred(self):
        for file_format in FORMATS:
            if file_format in BLOCK_256 or file_format == "q4_k_m":
                continue  # fall back at this size
            rows = self.json("dequant", self.synth(file_format), "token_embd.weight", "--rows", 512)["rows"]
            values = [value for row in rows for value in row]
            mean = sum(values) / len(values)
            deviation = (sum(value * value for value in values) / len(values)) ** 0.5
            self.assertLess(abs(mean), 0.003)  # four standard errors of 32768 values around 1/8
            self.assertAlmostEqual(deviation, 0.125, delta=0.003)

    def test_bench(self):
        result = self.json("bench", self.synth("q8_0"), "-p", "20", "-n", "8", "-t", "2", "-r", "2")
        for key in ("prefill_tps", "decode_tps", "bytes_per_token", "macs_per_token", "read_bandwidth", "decode_roofline"):
            self.assertGreater(result[key], 0, key)
        self.assertEqual(len(result["decode_tps_each"]), 2)
        # All matrices, the tied embedding table once.
        self.assertEqual(result["macs_per_token"], 512 * 64 + 5 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 172 * 64))
        self.assertAlmostEqual(result["decode_roofline"],
                               result["decode_tps"] * result["bytes_per_token"] / result["read_bandwidth"], places=9)
        self.assertIsNone(self.json("bench", self.synth("q8_0"), "-p", "0", "-n", "4", "-r", "1")["prefill_tps"])
        # What is in the context already is read, too: keys and values (F16) of 5 layers, 4 heads of 8.
        deep = self.json("bench", self.synth("q8_0"), "-p", "4", "-n", "8", "-r", "1", "--depth", "64")
        self.assertEqual(deep["context"], 72)
        self.assertEqual(deep["bytes_per_token"] - deep["weight_bytes_per_token"], (64 + 4) * 5 * 2 * 4 * 8 * 2)


class Levels(Case):
    """--cpu of a program with dynamic dispatch."""
    TOKENS = "1,5,77,300,2,9,511,0,44"
    LEVELS = ("baseline", "sse4", "avx2", "avx512")

    def test_levels(self):
        model = self.synth("q8_0")
        if run("logits", model, "--tokens", "1", "--cpu", "baseline").returncode == 4:
            self.skipTest("no dynamic dispatch")
        best = self.json("logits", model, "--tokens", self.TOKENS)["logits"][0]
        found = {}
        for level in self.LEVELS:
            done = run("logits", model, "--tokens", self.TOKENS, "--cpu", level)
            if done.returncode == 4:
                self.assertIn(level.encode(), done.stderr)
                continue
            found[level] = json.loads(done.stdout)["logits"][0]
            self.assertLess(largest_difference(found[level], best), 0.1)
        self.assertEqual(list(found.values())[-1], best)
        if "avx512" in found:
            self.assertEqual(found["avx2"], found["avx512"])
        self.fails(2, "logits", model, "--tokens", "1", "--cpu", "sse9", words=["sse9", "avx2"])

    def test_one_level(self):
        model = self.synth("q8_0")
        done = run("logits", model, "--tokens", "1", "--cpu", "baseline")
        self.assertIn(done.returncode, (0, 4))
        if done.returncode == 4:
            self.assertIn(b"INLAY_DYNAMIC_DISPATCH", done.stderr)


class Pack(Case):
    def test_packed_file_verifies_and_a_flipped_bit_does_not(self):
        packed = self.directory / "packed.gguf"
        self.ok("pack", self.synth(), packed)
        self.ok("logits", packed, "--tokens", "1", "--verify")
        self.assertTrue(self.json("inspect", packed, "--json")["packed"])
        data = bytearray(packed.read_bytes())
        data[-1000] ^= 1
        packed.write_bytes(data)
        self.fails(3, "logits", packed, "--tokens", "1", "--verify", words=["SHA-256"])

    def test_packing_again_changes_nothing(self):
        first, second = self.directory / "first.gguf", self.directory / "second.gguf"
        self.ok("pack", self.synth(), first)
        self.ok("pack", first, second)
        self.assertEqual(first.read_bytes(), second.read_bytes())
        self.ok("pack", first, first)
        self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_rows_of_a_packed_file(self):
        model, packed = self.synth("q5_1"), self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        for tensor in ("token_embd.weight", "blk.4.ffn_down.weight", "blk.2.attn_norm.weight", "output_norm.weight"):
            rows = self.json("dequant", model, tensor, "--rows", 40)["rows"]
            self.assertEqual(self.json("dequant", packed, tensor, "--rows", 40)["rows"], rows)
            self.assertIn(len(rows), (1, 40))

    def test_old_or_new_never_neither(self):
        model, out = self.synth(), self.directory / "out.gguf"
        out.write_bytes(b"old")
        broken = self.directory / "broken.gguf"
        broken.write_bytes(model.read_bytes()[:-100])
        self.fails(3, "pack", broken, out)
        self.assertEqual(out.read_bytes(), b"old")

        def little_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

        self.fails(3, "pack", model, out, preexec_fn=little_room, words=["cannot be written"])
        self.assertEqual(out.read_bytes(), b"old")
        self.fails(3, "pack", model, self.directory / "absent" / "out.gguf")
        self.fails(3, "pack", model, "/dev/null", words=["regular file"])
        self.assertEqual({path.name for path in self.directory.iterdir()}, {model.name, "out.gguf", "broken.gguf"})
        self.ok("pack", model, out)
        self.assertNotEqual(out.read_bytes(), b"old")


class Quantize(Case):
    TOKENS = "1,5,77,300,2,9,511,0,44"

    def types(self, path):
        return {tensor["name"]: tensor["type"] for tensor in self.json("inspect", path, "--json")["tensors"]}

    def test_every_type_and_what_it_costs(self):
        model, out = self.synth("f32"), self.directory / "out.gguf"
        exact = self.json("logits", model, "--tokens", self.TOKENS)["logits"][0]
        size = {}
        # The root-mean-square error of evenly distributed weights, of which synth's are: (step / sqrt(12)) / (largest / sqrt(3)).
        for name, most in (("f16", 0.0003), ("bf16", 0.002), ("q8_0", 1 / 254), ("q5_1", 1 / 31), ("q5_0", 1 / 32), ("q4_1", 1 / 15),
                           ("q4_0", 1 / 16), ("iq4_nl", 0.065), ("mxfp4", 0.11)):  # the last two by measurement: uneven levels
            with self.subTest(name):
                summary = self.json("quantize", model, out, "--format", name.upper())
                self.assertEqual(summary["bytes"], out.stat().st_size)
                size[name] = summary["bytes"]
                self.assertEqual(self.types(out)["blk.0.attn_q.weight"], name.upper())
                self.assertEqual(self.types(out)["blk.0.ffn_down.weight"], name.upper() if name == "bf16" else "F16")  # 172 columns
                self.assertEqual(self.types(out)["blk.0.attn_norm.weight"], "F32")
                logits = self.json("logits", out, "--tokens", self.TOKENS)["logits"][0]
                errors = [tensor["relative_error"] for tensor in summary["tensors"] if tensor["to"] == name.upper()]
                self.assertEqual(len(errors), 31 + 5 * (name in ("f16", "bf16")))
                self.assertLess(max(errors), most)
                self.assertGreater(min(errors), most / 2)
                # 36 matrices in a row, each with an error of its own, and with inputs rounded to about as many bits or more.
                self.assertLess(relative_difference(logits, exact), 2 * most * 36 ** 0.5)
                self.assertGreater(relative_difference(logits, exact), 0)
                self.assertEqual(self.json("inspect", out, "--json")["metadata"]["llama.block_count"], 5)
        self.assertLess(size["q4_0"], size["q5_0"])
        self.assertLess(size["mxfp4"], size["q4_0"])

    def test_the_error_it_reports_is_the_error(self):
        model, out = self.synth("f32"), self.directory / "out.gguf"
        summary = self.json("quantize", model, out, "--format", "iq4_nl")
        for tensor in summary["tensors"]:
            if tensor["to"] != "IQ4_NL":
                continue
            rows = [self.json("dequant", path, tensor["name"], "--rows", 600)["rows"] for path in (model, out)]
            pairs = [pair for row in zip(*rows) for pair in zip(*row)]
            error = sum((a - b) ** 2 for a, b in pairs) / sum(a * a for a, _ in pairs)
            self.assertAlmostEqual(tensor["relative_error"], error ** 0.5, places=6)

    def test_same_file_on_any_threads(self):
        model, out = self.synth("f32"), self.directory / "out.gguf"
        made = []
        for threads in (1, 2, 5):
            self.ok("quantize", model, out, "--format", "q4_1", "-t", threads)
            made.append(out.read_bytes())
        self.assertEqual(made[1:], made[:1] * 2)

    def test_mixes_and_kept_roles(self):
        model, out = self.synth("f32", "stories110M"), self.directory / "out.gguf"
        self.ok("quantize", model, out, "--format", "q3_k_m", "--keep", "attn_k=q8_0", "--keep", "Token_Embd=F16")
        types = self.types(out)
        self.assertEqual(types["token_embd.weight"], "F16")
        self.assertEqual(types["blk.3.attn_q.weight"], "Q3_K")
        self.assertEqual(types["blk.3.attn_k.weight"], "Q8_0")
        self.assertEqual([types[f"blk.{layer}.attn_v.weight"] for layer in (0, 2)], ["Q5_K", "Q4_K"])
        self.assertEqual(types["blk.3.ffn_down.weight"], "Q4_K")
        again = self.directory / "again.gguf"
        self.ok("quantize", out, again, "--format", "q2_k_m")
        self.assertEqual(self.types(again)["blk.3.ffn_up.weight"], "Q2_K")
        self.assertEqual(self.types(again)["token_embd.weight"], "Q6_K")  # tied: also the output matrix

    def test_what_it_refuses(self):
        model, out = self.synth("f32"), self.directory / "out.gguf"
        self.fails(2, "quantize", model, out, "--format", "q9", words=["q9"])
        for kept in ("output", "output=", "output=q9", "nothing=q8_0", "attn_norm=f16"):
            self.fails(2, "quantize", model, out, "--format", "q8_0", "--keep", kept, words=["--keep"])
        packed = self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        self.fails(4, "quantize", packed, out, "--format", "q8_0", words=["packed"])
        data = bytearray(model.read_bytes())
        data[-2:] = b"\xc0\x7f"  # the last weight becomes NaN
        broken = self.directory / "broken.gguf"
        broken.write_bytes(data)
        out.write_bytes(b"old")
        self.fails(3, "quantize", broken, out, "--format", "q8_0", words=["NaN"])
        self.assertEqual(out.read_bytes(), b"old")


class Cancel(Case):
    def test_interrupt_leaves_nothing_behind(self):
        out = self.directory / "big.gguf"
        process = subprocess.Popen([OPTIONS.program, "synth", "--like", "llama-2-7b", "--format", "f16", str(out)],
                                   stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not list(self.directory.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 130, message)
        self.assertEqual(message.count(b"\n"), 1, message)
        self.assertEqual(list(self.directory.iterdir()), [])


class Progress(Case):
    def test_bars_only_on_a_terminal(self):
        command = ["bench", self.synth("f32"), "-p", "0", "-n", "512", "-r", "12", "-t", "1"]
        self.assertEqual(run(*command).stderr, b"")
        terminal, other_end = pty.openpty()
        with subprocess.Popen([OPTIONS.program, *map(str, command)], stdout=subprocess.DEVNULL, stderr=other_end) as process:
            os.close(other_end)
            shown = b""
            while process.poll() is None or select.select([terminal], [], [], 0)[0]:
                if not select.select([terminal], [], [], 0.1)[0]:
                    continue
                try:
                    shown += os.read(terminal, 4096)
                except OSError:  # how Linux says that the other end is closed
                    break
        os.close(terminal)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"measuring [", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])


class Describe(Case):
    PROGRAM = """
#include "described.hpp"
#include <cstdio>
static_assert(DescribedModel::kIsStatic);
static_assert(DescribedModel::Plan({.context = 64}).weights == PACKED_BYTES);
int main(int, char** argv) {
  inlay::ThreadPool threads(2);
  auto loaded = inlay::LoadedModel<DescribedModel>::Open(argv[1], threads);
  if (!loaded) return std::puts(loaded.error().Message().c_str()), 1;
  const inlay::SessionOptions options{.context = 16, .kv = inlay::KvType::kF16};
  auto memory = inlay::OwnedBuffer::Create(*inlay::Session<DescribedModel>::MemoryBytes(loaded->model(), options));
  auto session = inlay::Session<DescribedModel>::Create(loaded->model(), options, memory->bytes());
  const inlay::TokenId tokens[] = {1, 5, 77, 300};
  if (auto read = session->Append(tokens, threads); !read) return std::puts(read.error().Message().c_str()), 1;
  for (const float logit : session->logits()) std::printf("%.9g\\n", static_cast<double>(logit));
}
"""

    def test_header_compiles_and_runs_the_file(self):
        if not OPTIONS.compile:
            self.skipTest("no compiler")
        model = self.synth("q4_k_m")  # Q5_0, Q8_0 and F16 at this size
        packed_bytes = self.json("inspect", model, "--json")["packed_bytes"]
        (self.directory / "described.hpp").write_bytes(self.ok("describe", model))
        (self.directory / "main.cpp").write_text(self.PROGRAM)
        program = self.directory / "program"
        built = subprocess.run([*OPTIONS.compile, f"-DPACKED_BYTES={packed_bytes}", str(self.directory / "main.cpp"), "-o",
                                str(program), "-pthread"], capture_output=True, timeout=600)
        self.assertEqual(built.returncode, 0, built.stderr.decode()[-3000:])
        done = subprocess.run([str(program), str(model)], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        static = [float(line) for line in done.stdout.split()]
        dynamic = self.json("logits", model, "--tokens", "1,5,77,300", "--kv", "f16")["logits"][0]
        self.assertEqual(static, dynamic)

    GENERATOR = """
#include "described.hpp"
#include <cstdio>
static_assert(!DescribedModel::KvList::Contains(inlay::KvType::kQ8));
int main(int, char** argv) {
  inlay::SerialExecutor executor;
  auto generator = TextGenerator::Open(argv[1], executor);
  if (!generator) return std::puts(generator.error().Message().c_str()), 1;
  auto text = generator->Generate("Once upon a time", {.max_tokens = 24});
  for (const std::string_view piece : *text) std::fwrite(piece.data(), 1, piece.size(), stdout);
}
"""

    def test_generator_of_the_packed_file(self):
        if not OPTIONS.compile:
            self.skipTest("no compiler")
        model, packed = TinyCase.model, self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        (self.directory / "described.hpp").write_bytes(self.ok("describe", model, "--kv", "f16"))
        (self.directory / "main.cpp").write_text(self.GENERATOR)
        program = self.directory / "program"
        built = subprocess.run([*OPTIONS.compile, str(self.directory / "main.cpp"), "-o", str(program), "-pthread"],
                               capture_output=True, timeout=600)
        self.assertEqual(built.returncode, 0, built.stderr.decode()[-3000:])
        done = subprocess.run([str(program), str(packed)], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        told = self.ok("run", "--prompt", "Once upon a time", "-n", "24", "--quiet", "--kv", "f16", "--temperature", "0")
        self.assertEqual(done.stdout.strip(), told.removeprefix(b"Once upon a time").strip())
        # The file as it was is not one for this program.
        done = subprocess.run([str(program), str(model)], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"inlay.layout", done.stdout)
        self.fails(2, "describe", model, "--kv", "f17", words=["f17"])

    def test_packed_and_plain_say_the_same(self):
        model, packed = self.synth("q4_k_m"), self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        self.assertEqual(self.ok("describe", model), self.ok("describe", packed))


# --- with reference files --------------------------------------------------------------------------------------------


class DescribedFamilies(Case):
    # Hidden states instead of logits where a model has none; not optimised, as each takes long enough.
    ANY = """
#include "described.hpp"
#include <algorithm>
#include <cstdio>
#include <vector>
int main(int argc, char** argv) {
  inlay::ThreadPool threads(2);
  auto loaded = inlay::LoadedModel<DescribedModel>::Open(argv[1], threads);
  if (!loaded) return std::puts(loaded.error().Message().c_str()), 1;
  std::vector<inlay::TokenId> tokens;
  for (int i = 2; i < argc; ++i) tokens.push_back(static_cast<inlay::TokenId>(std::atoi(argv[i])));
  const auto& model = loaded->model();
  inlay::SessionOptions options{.context = 256, .kv = inlay::KvType::kF16};
  options.batch = options.outputs = tokens.size();
  std::vector<std::byte> memory(model.PlanFor(options)->session() + 64);
  auto arena = inlay::Arena::Create(std::span(memory).subspan(64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64));
  auto cache = model.NewCache(options, *arena);
  auto workspace = model.NewWorkspace(options, *arena);
  std::vector<float> out(model.config().embedding_dim());
  if constexpr (DescribedModel::Spec::config().logits) {
    const inlay::SequenceInput input{&*cache, tokens, inlay::Outputs::kLast};
    const auto logits = model.Forward({&input, 1}, *workspace, threads);
    if (!logits) return std::puts(logits.error().Message().c_str()), 1;
    out.assign(logits->data, logits->data + logits->vocab);
  } else if (auto done = inlay::EmbedSequence(model, *cache, *workspace, tokens, model.config().pooling, out, threads); !done) {
    return std::puts(done.error().Message().c_str()), 1;
  }
  for (const float value : out) std::printf("%.9g\\n", static_cast<double>(value));
}
"""
    TOKENS = (1, 5, 77, 30, 2, 9)

    def runs_as_described(self, model):
        (self.directory / "described.hpp").write_bytes(self.ok("describe", model))
        (self.directory / "main.cpp").write_text(self.ANY)
        program = self.directory / "program"
        built = subprocess.run([*OPTIONS.compile, "-O0", str(self.directory / "main.cpp"), "-o", str(program), "-pthread"],
                               capture_output=True, timeout=900)
        self.assertEqual(built.returncode, 0, built.stderr.decode()[-3000:])
        done = subprocess.run([str(program), str(model), *map(str, self.TOKENS)], capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)
        numbers = [float(line) for line in done.stdout.split()]
        tokens = ",".join(map(str, self.TOKENS))
        if self.json("inspect", model, "--json")["config"]["logits"]:
            self.assertEqual(numbers, self.json("logits", model, "--tokens", tokens, "--kv", "f16")["logits"][0])
        else:
            self.assertEqual(numbers, self.json("embed", model, "--tokens", tokens, "--kv", "f16")["embedding"])

    def test_families(self):
        """Every reference file, or a decoder and an encoder that are made here."""
        if not OPTIONS.compile:
            self.skipTest("no compiler")
        models = sorted(pathlib.Path(OPTIONS.fixtures or "/nowhere", "models").glob(OPTIONS.families + ".gguf"))
        for model in models or [self.synth("q8_0"), self.synth("q8_0", "all-minilm-l6-v2")]:
            with self.subTest(model.name):
                self.runs_as_described(model)


class StoriesCase(FixtureCase):
    def variants(self):
        """The same model as llama2.c checkpoint, GGUF, and packed from either."""
        checkpoint = [self.fixture("stories260K/stories260K.bin"), "--tokenizer", self.fixture("stories260K/tok512.bin")]
        gguf = [self.fixture("stories260K/stories260K.gguf")]
        packed = [[self.directory / "from_checkpoint.gguf"], [self.directory / "from_gguf.gguf"]]
        self.ok("pack", checkpoint[0], packed[0][0], *checkpoint[1:])
        self.ok("pack", gguf[0], packed[1][0])
        return [checkpoint, gguf, *packed]


class Stories(StoriesCase):
    def test_texts(self):
        variants = self.variants()
        for expected in self.load("stories260K/expected.json"):
            tokens = 201 - len(expected["prompt_ids"])
            for variant, threads, kv in itertools.product(variants, (1, 2, 4, 8), ([], ["--kv", "f32"])):
                text = self.ok("run", *variant, "--prompt=" + expected["prompt"], "-n", tokens, "--temp", "0", "-t", threads, *kv)
                self.assertEqual(text.decode(), expected["text"], (variant, threads, kv))

    def test_perplexity(self):
        expected = self.load("stories260K/loglik.json")
        for variant in self.variants():
            found = self.json("perplexity", *variant, "-f", self.fixture("stories260K/story.txt"))
            self.assertEqual(found["n_predicted"], expected["n_predicted"])
            self.assertAlmostEqual(found["mean_logprob"], expected["mean_logprob"], delta=1e-5)
            self.assertAlmostEqual(found["perplexity"], expected["perplexity"], delta=1e-4)
        # In windows every token is predicted once, and with less to go by.
        windows = self.json("perplexity", *variant, "-f", self.fixture("stories260K/story.txt"), "-c", "100")
        self.assertEqual((windows["n_predicted"], windows["windows"]), (500, 5))
        self.assertGreater(windows["perplexity"], found["perplexity"])

    def test_logits(self):
        for variant, expected in itertools.product(self.variants(), self.load("stories260K/logits.json")):
            found = self.json("logits", *variant, "--tokens", ",".join(map(str, expected["prompt_ids"])))["logits"]
            self.assertLess(largest_difference(found[0], expected["logits"]), 1e-4)

    def test_sampling(self):
        model = self.variants()[1]
        def story(*more):
            return self.ok("run", *model, "-p", "Once", "-n", "60", *more)
        greedy = story()
        self.assertEqual(story("--temp", "0"), greedy)
        self.assertEqual(story("--temp", "1", "--top-k", "1"), greedy)
        warm = story("--temp", "1", "--seed", "7")
        self.assertNotEqual(warm, greedy)
        self.assertEqual(story("--temp", "1", "--seed", "7", "-t", "1"), warm)
        self.assertNotEqual(story("--temp", "1", "--seed", "8"), warm)

    def test_statistics_go_to_standard_error(self):
        model = self.variants()[1]
        done = run("run", *model, "-p", "Once", "-n", "5")
        for word in (b"load: ", b"prompt: ", b"generated: 5 tokens", b"memory: weights"):
            self.assertIn(word, done.stderr)
        self.assertEqual(run("run", *model, "-p", "Once", "-n", "5", "--quiet").stderr, b"")

    def test_context_ends(self):
        model = self.variants()[1]
        # Twelve positions: the prompt's two tokens, ten more that are read, one that is only chosen.
        text = self.ok("run", *model, "-p", "Once", "-n", "11", "-c", "12")
        self.assertEqual(self.ok("run", *model, "-p", "Once", "-c", "12"), text)
        self.assertEqual(self.fails(5, "run", *model, "-p", "Once", "-n", "12", "-c", "12", words=["context full"]), text)
        self.fails(5, "run", *model, "-p", "Once upon a time", "-c", "2", words=["context full"])


class Prompt(StoriesCase):
    def test_prompt_is_printed_byte_for_byte(self):
        for variant in self.variants():
            for prompt in (b"Once upon a time", b"", b" two  spaces ", b"line\nbreak\ttab", "naïve 世界 🙂".encode(), b"caf\xc3",
                           b"\xff\xfe", "🙂".encode()[:3]):
                self.assertEqual(self.ok("run", *variant, "-p", prompt.decode("utf-8", "surrogateescape"), "-n", "0"), prompt)

    def test_checkpoint_needs_its_tokenizer(self):
        self.fails(3, "run", self.fixture("stories260K/stories260K.bin"), "-p", "a", words=["tokenizer.bin"])
        packed = self.directory / "packed.gguf"
        self.ok("pack", self.fixture("stories260K/stories260K.bin"), packed)
        self.ok("logits", packed, "--tokens", "1")
        self.fails(3, "run", packed, "-p", "a", words=["tokenizer"])


class Logits(FixtureCase):
    def compare(self, path, expected, suffix, most, root_mean_square):
        tokens = ",".join(map(str, expected["tokens"]))
        rows = self.json("logits", path, "--tokens", tokens, "--all")["logits"]
        self.assertEqual(len(rows), len(expected["tokens"]))
        differences = [a - b for a, b in zip(rows[-1], expected["logits_last" + suffix], strict=True)]
        for position, logits in expected["logits_pos" + suffix].items():
            differences += [a - b for a, b in zip(rows[int(position)], logits)]
        self.assertLess(max(map(abs, differences)), most)
        self.assertLess((sum(d * d for d in differences) / len(differences)) ** 0.5, root_mean_square)
        for row, argmax, gap in zip(rows, expected["argmax" + suffix], expected["top2_gap"]):
            if gap > 2 * most:
                self.assertEqual(row.index(max(row)), argmax)
        self.assertEqual(self.json("logits", path, "--tokens", tokens)["logits"], rows[-1:])

    def agrees(self, *arguments):
        try:
            self.compare(*arguments)
        except AssertionError:
            return False
        return True

    def test_models(self):
        for name in ("llama_gqa", "llama3_tied", "llama_moe"):
            with self.subTest(name):
                self.compare(self.fixture(f"models/{name}.gguf"), self.load(f"models/{name}.json"), "", 2e-4, 1e-4)

    def test_formats(self):
        # Where kernels round activations as the reference does, results agree as floats do; blocks of 32 are rounded
        # differently. BF16 activations are kept, or rounded as the reference does where the program multiplies pairs of BF16:
        # it agrees with one of the two. F16 activations are kept, or become integers, which must lose less than the F16
        # activations of the reference do (0.0073 and 0.0014).
        exact, own, half = (1e-3, 1e-3), (0.4, 0.1), (0.0073, 0.0014)
        float_activations = "_f32_activations"
        for name in TYPES:
            with self.subTest(name):
                expected = self.load(f"quants/llama_{name}.json")
                path = self.fixture(f"quants/llama_{name}.gguf")
                rounded = name in (*BLOCK_32, *BLOCK_256)
                kept = name == "f16" or name == "bf16" and not self.agrees(path, expected, "", *exact)
                self.compare(path, expected, float_activations if kept else "",
                             *(own if name in BLOCK_32 else half if name == "f16" else exact))
                if rounded:
                    self.compare(path, expected, float_activations, *own)

    def test_other_types_are_named(self):
        for name in ("q1_0", "q2_0"):
            path = self.fixture(f"quants/llama_{name}.gguf")
            self.fails(4, "logits", path, "--tokens", "1", words=[name.upper()])
            self.fails(4, "dequant", path, "output.weight", words=[name.upper()])
            self.json("inspect", path, "--json")

    def test_other_architectures_are_named(self):
        renamed = self.directory / "hydra.gguf"
        renamed.write_bytes(self.fixture("models/qwen3.gguf").read_bytes().replace(b"qwen3", b"hydra"))
        self.fails(4, "logits", renamed, "--tokens", "1", words=["hydra"])


class Dequant(FixtureCase):
    def rows(self, path, dequant):
        rows = self.json("dequant", path, dequant["tensor"], "--rows", 2)["rows"]
        return [[float32(value) for value in row] for row in rows]

    def test_rows_are_exact(self):
        for name in TYPES:
            with self.subTest(name):
                expected = self.load(f"quants/llama_{name}.json")["dequant"]
                model, packed = self.fixture(f"quants/llama_{name}.gguf"), self.directory / "packed.gguf"
                self.ok("pack", model, packed)
                wanted = [[float32(value) for value in row] for row in expected["rows"]]
                for path in (model, packed):
                    self.assertEqual(self.rows(path, expected), wanted)

    def test_tensors_of_any_architecture(self):
        expected = self.load("quants/gptoss_mxfp4_moe.json")["dequant"]
        found = self.rows(self.fixture("quants/gptoss_mxfp4_moe.gguf"), expected)
        self.assertEqual(found, [[float32(value) for value in row] for row in expected["rows"]])


class Tokenizers(FixtureCase):
    def lines(self, command, path, requests, *more):
        stdin = "".join(json.dumps(request) + "\n" for request in requests).encode()
        return [json.loads(line) for line in self.ok(command, path, *more, stdin=stdin).splitlines()]

    def test_vectors(self):
        for name in ("llama-spm", "phi-3", "gpt-2", "llama-bpe", "qwen2", "deepseek-coder", "gemma-4", "bert-bge",
                     "nomic-bert-moe"):
            cases = [case for case in self.load(f"tokenizers/{name}.json") if "ids" in case]
            if name not in ("llama-spm", "phi-3", "bert-bge", "nomic-bert-moe"):
                # These keep bytes that are no valid UTF-8, which the reference replaces.
                cases = [case for case in cases if case["class"] != "invalid_utf8"]
            path = self.fixture(f"tokenizers/{name}.gguf")
            keys = ("text", "text_base64", "add_special", "parse_special")
            found = self.lines("tokenize", path, [{key: case[key] for key in keys if key in case} for case in cases])
            self.assertEqual([answer.get("ids") for answer in found], [case["ids"] for case in cases])
            found = self.lines("detokenize", path, [{"ids": case["ids"]} for case in cases])
            self.assertEqual([answer["text_base64"] for answer in found], [case["detok_base64"] for case in cases])
            flags = {"remove_special": True, "unparse_special": False}
            found = self.lines("detokenize", path, [{"ids": case["ids"], **flags} for case in cases])
            self.assertEqual([answer["text_base64"] for answer in found], [case["detok_plain_base64"] for case in cases])

    def test_checkpoint(self):
        checkpoint = self.fixture("stories260K/stories260K.bin")
        more = ["--tokenizer", self.fixture("stories260K/tok512.bin")]
        for expected in self.load("stories260K/expected.json"):
            self.assertEqual(self.lines("tokenize", checkpoint, [{"text": expected["prompt"]}], *more),
                             [{"ids": expected["prompt_ids"]}])
            (answer,) = self.lines("detokenize", checkpoint, [{"ids": expected["ids"], "remove_special": True}], *more)
            self.assertEqual(base64.b64decode(answer["text_base64"]).decode().removeprefix(" "), expected["text"])

    def test_bad_requests(self):
        path = self.fixture("tokenizers/llama-spm.gguf")
        for command, line in (("tokenize", b"{"), ("tokenize", b"[]"), ("tokenize", b'{"text": 1}'),
                              ("tokenize", b'{"text_base64": "*"}'), ("tokenize", b'{"text": "a", "add_special": 1}'),
                              ("detokenize", b"{}"), ("detokenize", b'{"ids": [-1]}'), ("detokenize", b'{"ids": [99999999]}'),
                              ("detokenize", b'{"ids": [1.5]}'), ("detokenize", b'{"ids": [18446744073709551615]}')):
            self.fails(2, command, path, stdin=b'\n' + line + b"\n", words=["line 2"])

    def test_invalid_bytes_come_back(self):
        path = self.fixture("tokenizers/gpt-2.gguf")
        encoded = base64.b64encode(b"a\xff\xc3 \xed\xa0\x80").decode()
        (tokens,) = self.lines("tokenize", path, [{"text_base64": encoded}])
        self.assertEqual(self.lines("detokenize", path, [tokens]), [{"text_base64": encoded}])

    def test_unknown_pre_tokenizer(self):
        contents = self.fixture("tokenizers/gpt-2.gguf").read_bytes()
        path = self.directory / "unknown.gguf"
        path.write_bytes(contents.replace(b"gpt-2", b"gpt-9"))
        self.fails(4, "tokenize", path, stdin=b"", words=["tokenizer.ggml.pre", "gpt-9"])


# --- the model of this repository ------------------------------------------------------------------------------------


class TinyCase(Case):
    model = pathlib.Path(__file__).resolve().parents[2] / "examples" / "tiny" / "inlay-tiny.gguf"
    expected = json.loads((model.parent / "expected.json").read_text())

    def altered(self, old, new):
        """The model with some of its metadata spelled differently."""
        self.assertEqual(len(old), len(new))
        whole = self.model.read_bytes()
        self.assertIn(old, whole)
        path = self.directory / "altered.gguf"
        path.write_bytes(whole.replace(old, new))
        return path


class BuiltIn(TinyCase):
    def test_story(self):
        """The text that PyTorch computes, from the model that is in the program."""
        text = self.ok("run", "-p", self.expected["firm_prompt"], "-n", self.expected["firm_tokens"], "-q")
        self.assertEqual(text.decode(), self.expected["firm_text"])

    def test_is_the_file(self):
        for command in (["run", "-p", "Once upon a time", "-q"], ["logits", "--tokens", "1,300,301"]):
            self.assertEqual(self.ok(*command), self.ok(command[0], self.model, *command[1:]))

    def test_seeds(self):
        def story(seed):
            return self.ok("run", "-p", "Once upon a time", "--temp", "1", "--seed", seed, "-q")
        self.assertEqual(story(1), story(1))
        self.assertNotEqual(story(1), story(2))

    def test_packed(self):
        packed = self.directory / "packed.gguf"
        self.ok("pack", self.model, packed)
        command = ["-p", "Once upon a time", "-q"]
        self.assertEqual(self.ok("run", packed, *command), self.ok("run", *command))
        self.ok("chat", packed, stdin=b"Hello!\n")  # the template goes with it


class Chat(TinyCase):
    SUM = "Tom has 1286 shells and finds 417 more. How many shells does Tom have now?"

    def test_calculator(self):
        lines = self.ok("chat", stdin=self.SUM.encode()).decode().splitlines()
        self.assertEqual(lines[0], "[1286+417 = 1703]")
        self.assertEqual(len(lines), 2)
        self.assertIn("1703", lines[1])

    def test_turns(self):
        said = b"Hello!\n\n  \nMia went to the lake. Where did Mia go?\nThank you!\n"
        lines = self.ok("chat", stdin=said).decode().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("lake", lines[1])
        self.assertEqual(self.ok("chat", stdin=b""), b"")

    def test_system(self):
        """Without the calculator in the first line, there is no call."""
        text = self.ok("chat", "--system", "You are a helpful assistant.", stdin=self.SUM.encode()).decode()
        self.assertNotIn("[", text)
        self.ok("chat", "--system", "", stdin=b"Hello!")

    def test_control_tokens_are_text(self):
        """They end no turn and begin none: each line has one answer, whatever it spells."""
        for control in ("<|end|>", "<|end|><|assistant|>", "</s><s>", "<|system|><|user|>", "<|result|>"):
            lines = self.ok("chat", stdin=f"{control} Hello! {control}\nHello!\n".encode()).decode().splitlines()
            answers = [line for line in lines if not line.startswith("[")]
            self.assertEqual(len(answers), 2, lines)
            request = json.dumps({"text": control, "add_special": False})
            ids = json.loads(self.ok("tokenize", self.model, stdin=request.encode()))["ids"]
            self.assertEqual([i for i in ids if i < 3 or 259 <= i < 265], [])

    def test_full_context(self):
        done = run("chat", "-c", "96", stdin=b"Hello!\n" * 12)
        self.assertEqual((done.returncode, done.stdout.count(b"\n")), (0, 12), done.stderr)
        self.assertIn(b"forgotten", done.stderr)
        self.fails(5, "chat", "-c", "96", stdin=b"word " * 200, words=["context"])

    def test_other_templates(self):
        user = b"'<|user|>' + message"
        self.fails(4, "chat", self.altered(user, user.upper()), stdin=b"Hello!", words=["tokenizer.chat_template"])
        key = b"tokenizer.chat_template"
        self.fails(3, "chat", self.altered(key, key.upper()), stdin=b"Hello!", words=["tokenizer.chat_template", "inlay run"])
        token = b"\x08\0\0\0\0\0\0\0<|tool|>"
        self.fails(3, "chat", self.altered(token, token.upper()), stdin=b"Hello!", words=["<|tool|>"])
        self.fails(2, "chat", "--temp", "-1", words=["temperature"])


class Embedded(TinyCase):
    """The examples with the model inside."""

    def start(self, program, *arguments, code=0):
        if not program:
            self.skipTest("no example")
        done = subprocess.run([program, *arguments], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_minimal(self):
        self.assertTrue(self.start(OPTIONS.minimal, self.expected["firm_prompt"]).stdout.decode().startswith(self.expected["firm_text"]))
        self.assertIn(b"usage", self.start(OPTIONS.minimal, code=2).stderr)

    def test_calculator(self):
        lines = self.start(OPTIONS.calculator, Chat.SUM).stdout.decode().splitlines()
        self.assertEqual(lines[0], "[calculator: 1286+417 = 1703]")
        self.assertIn("1703", lines[1])
        self.assertIn(b"usage", self.start(OPTIONS.calculator, code=2).stderr)

    def test_nothing_is_read(self):
        """The program alone, in an empty directory."""
        alone = shutil.copy(OPTIONS.minimal or self.skipTest("no example"), self.directory / "alone")
        done = subprocess.run([alone, "Once"], cwd=self.directory, capture_output=True, timeout=60, env={})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(len(done.stdout), 100)


def main(namespace=globals()):
    """Runs the classes named on the command line, or all of a module's; `namespace` is its globals()."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--minimal")
    parser.add_argument("--calculator")
    parser.add_argument("--fixtures")
    parser.add_argument("--families", default="*", help="which reference files DescribedFamilies runs, as a pattern")
    parser.add_argument("classes", nargs="*")
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser.parse_args(arguments[:split], OPTIONS)
    OPTIONS.compile = arguments[split + 1:]
    OPTIONS.fixtures = os.environ.get("INLAY_FIXTURES", OPTIONS.fixtures)
    classes = OPTIONS.classes or [name for name, value in namespace.items()
                                  if isinstance(value, type) and issubclass(value, Case) and not name.endswith("Case")]
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(namespace[name]) for name in classes)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if result.wasSuccessful() and len(result.skipped) == result.testsRun:
        print("skipped: " + ", ".join(classes) + " (no fixtures)")
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
