#!/usr/bin/env python3
"""Low-rank adapters and control vectors from the command line: merged into weights, applied at run time, and refused.
Usage: as cli_test.py."""

import json
import struct

import cli_test
from cli_test import Case, run
from convert_test import LLAMA, gguf_name, llama_gguf, llama_tensors
from model_files import F32, STRING, Gguf, encode, random_values, write_gguf

TOKENS = "1,5,59,0,31,2,2,17"


def numbers(data):
    return struct.unpack("<%df" % (len(data) // 4), data)


class AdapterCase(Case):
    def model(self):
        path = self.directory / "model.gguf"
        llama_gguf(path, LLAMA, llama_tensors(LLAMA))
        return path

    def adapter(self, names=("attn_q", "attn_v", "ffn_down"), rank=3, alpha=6.0, seed=1, **keys):
        """An adapter for these matrices of both layers; its pairs as {name: (rows, cols, A, B)}."""
        shapes = {gguf_name(name): shape for name, (_, shape, _) in llama_tensors(LLAMA).items() if len(shape) == 2}
        pairs, tensors = {}, {}
        for layer in range(LLAMA["num_hidden_layers"]):
            for name in names:
                base = f"blk.{layer}.{name}.weight"
                rows, cols = shapes[base]
                a, b = random_values(f"a{seed}{base}", [rank, cols]), random_values(f"b{seed}{base}", [rows, rank], gain=0.2)
                pairs[base] = (rows, cols, numbers(a), numbers(b))
                tensors[base + ".lora_a"] = ([cols, rank], 0, a)
                tensors[base + ".lora_b"] = ([rank, rows], 0, b)
        metadata = {"general.type": (STRING, "adapter"), "general.architecture": (STRING, "llama"), "adapter.type": (STRING, "lora"),
                    "adapter.lora.alpha": (F32, alpha), **keys}
        path = self.directory / f"adapter{seed}.gguf"
        write_gguf(path, [(key, *value) for key, value in metadata.items()], tensors)
        return path, pairs

    def logits(self, path, *more):
        return json.loads(self.ok("logits", path, "--tokens", TOKENS, "--all", *more))["logits"]


def difference(rows, others):
    return max(cli_test.largest_difference(a, b) for a, b in zip(rows, others))


class Merge(AdapterCase):
    def merged(self, adapter, *more):
        out = self.directory / "merged.gguf"
        self.ok("merge", self.directory / "model.gguf", adapter, out, *more)
        return out

    def setUp(self):
        super().setUp()
        if b"merge" not in run("--help").stdout:
            self.skipTest("built without Eigen")

    def test_weights_are_the_sum(self):
        model = Gguf(self.model())
        adapter, pairs = self.adapter()
        for scale in (1.0, -0.5, 0.0):
            found = Gguf(self.merged(adapter, "--scale", scale))
            self.assertEqual(found.metadata, model.metadata)
            self.assertEqual(list(found.tensors), list(model.tensors))
            for name, (dims, kind, data) in model.tensors.items():
                self.assertEqual(found.tensors[name][:2], (dims, kind))
                if name not in pairs:
                    self.assertEqual(found.tensors[name][2], data)
                    continue
                rows, cols, a, b = pairs[name]
                before, after = numbers(data), numbers(found.tensors[name][2])
                for r in range(rows):
                    for c in range(cols):
                        change = scale * 6.0 / 3 * sum(b[r * 3 + k] * a[k * cols + c] for k in range(3))
                        self.assertAlmostEqual(after[r * cols + c], before[r * cols + c] + change, delta=1e-6)
        self.assertEqual(self.merged(adapter, "-t", "1").read_bytes(), self.merged(adapter, "-t", "3").read_bytes())

    def test_bad_adapters_leave_the_old_file(self):
        model = self.model()
        out = self.directory / "merged.gguf"
        out.write_bytes(b"old")

        def refused(code, path, *words):
            self.fails(code, "merge", model, path, out, words=words)
            self.assertEqual(out.read_bytes(), b"old")
        refused(3, model, "general.type")
        refused(3, self.directory / "absent", "absent")
        refused(3, self.adapter(**{"general.architecture": (STRING, "qwen2")})[0], "qwen2", "llama")
        refused(3, self.adapter(**{"adapter.lora.alpha": (F32, float("nan"))})[0], "adapter.lora.alpha")
        self.fails(2, "merge", model, self.adapter()[0], out, "--scale", "inf", words=["--scale"])
        path, _ = self.adapter()
        data = path.read_bytes()
        path.write_bytes(data.replace(b"blk.1.attn_q.weight", b"blk.7.attn_q.weight"))
        refused(3, path, "blk.7.attn_q.weight", "no such tensor")
        path.write_bytes(data.replace(b"blk.1.ffn_down.weight", b"blk.1.ffn_gate.weight"))
        refused(3, path, "blk.1.ffn_gate.weight", "[32, 48")
        path.write_bytes(data[:-8])
        refused(3, path)
        packed = self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        self.fails(4, "merge", packed, self.adapter()[0], out, words=["packed"])


class Adapters(AdapterCase):
    def test_run_time_equals_merged(self):
        model = self.model()
        base = self.logits(model)
        adapter, _ = self.adapter()
        for scale in ("", "=1", "=-0.5", "=2e-1"):
            found = self.logits(model, "--lora", f"{adapter}{scale}")
            self.assertGreater(difference(found, base), 0.01)
            self.assertEqual(self.logits(model, "--lora", f"{adapter}{scale}", "-t", "1"), found)
            if b"merge" in run("--help").stdout:
                merged = self.directory / "merged.gguf"
                self.ok("merge", model, adapter, merged, "--scale", scale[1:] or "1")
                self.assertLess(difference(found, self.logits(merged)), 1e-3)
        self.assertEqual(self.logits(model, "--lora", f"{adapter}=0"), base)
        other, _ = self.adapter(("attn_k", "ffn_gate", "ffn_up", "attn_output"), 5, 5.0, 2)
        both = self.logits(model, "--lora", f"{adapter}=0.5", "--lora", other)
        alone = self.logits(model, "--lora", other)
        self.assertGreater(min(difference(both, alone), difference(both, base), difference(alone, base)), 0.01)
        packed = self.directory / "packed.gguf"
        self.ok("pack", model, packed)
        self.assertEqual(self.logits(packed, "--lora", f"{adapter}=0.5", "--lora", other), both)
        last = json.loads(self.ok("logits", model, "--tokens", TOKENS, "--lora", f"{adapter}=0.5", "--lora", other))["logits"]
        self.assertEqual(last, both[-1:])

    def test_bad_adapters(self):
        model = self.model()
        self.fails(3, "logits", model, "--tokens", "1", "--lora", self.directory / "absent", words=["absent"])
        self.fails(3, "logits", model, "--tokens", "1", "--lora", model, words=["general.type"])
        path, _ = self.adapter(**{"general.architecture": (STRING, "gemma")})
        self.fails(3, "logits", model, "--tokens", "1", "--lora", path, words=["gemma", "llama"])
        path, _ = self.adapter()
        path.write_bytes(path.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.1.attn_z.weight"))
        self.fails(3, "logits", model, "--tokens", "1", "--lora", path, words=["attn_z"])

    def test_control_vectors(self):
        model = self.model()
        base = self.logits(model)
        path = self.directory / "control=1.gguf"
        write_gguf(path, [("general.architecture", STRING, "controlvector"), ("controlvector.model_hint", STRING, "llama")],
                   {"direction.1": ([32], 0, random_values("d", [32], gain=10.0))})
        found = self.logits(model, "--control-vector", f"{path}=1")
        self.assertGreater(difference(found, base), 0.1)
        self.assertEqual(self.logits(model, "--control-vector", path), found)
        self.assertEqual(self.logits(model, "--control-vector", f"{path}=0"), base)
        twice = self.logits(model, "--control-vector", path, "--control-vector", f"{path}=-1")
        self.assertLess(difference(twice, base), 1e-4)
        self.fails(3, "logits", model, "--tokens", "1", "--control-vector", model, words=["controlvector"])


if __name__ == "__main__":
    cli_test.main(globals())
