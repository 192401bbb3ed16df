#!/usr/bin/env python3
"""Low-rank adapters and control vectors from the command line: merged into weights, applied at run time, and refused.
Usage: as cli_test.py."""

import json
import struct

import cli_test
from cli_test import Case, run
from convert_test import LLAMA, gguf_name, llama_gguf, llama_tensors
from model_files import F32, STRING, U32, Gguf, random_values, write_gguf

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


class ExpertsAndEmbeddings(AdapterCase):
    """Tensors of several matrices, and a table of embeddings that is the output matrix too."""

    def setUp(self):
        super().setUp()
        config, tensors = {**LLAMA, "num_hidden_layers": 1}, {}
        for name, (kind, shape, data) in llama_tensors(config).items():
            if "mlp" in name or name == "lm_head.weight":
                continue
            tensors[gguf_name(name)] = (shape[::-1], 0, data)
        for name, shape in (("ffn_gate_inp", [4, 32]), ("ffn_gate_exps", [4, 48, 32]), ("ffn_up_exps", [4, 48, 32]),
                            ("ffn_down_exps", [4, 32, 48])):
            tensors[f"blk.0.{name}.weight"] = (shape[::-1], 0, random_values(name, shape, gain=1.5))
        self.path = self.directory / "experts.gguf"
        write_gguf(self.path, [("general.architecture", STRING, "llama"), ("tokenizer.ggml.model", STRING, "no_vocab"),
                               ("llama.context_length", U32, 64), ("llama.embedding_length", U32, 32), ("llama.block_count", U32, 1),
                               ("llama.feed_forward_length", U32, 48), ("llama.attention.head_count", U32, 4),
                               ("llama.attention.head_count_kv", U32, 2), ("llama.expert_count", U32, 4),
                               ("llama.expert_used_count", U32, 2), ("llama.attention.layer_norm_rms_epsilon", F32, 1e-4)], tensors)

    def pairs(self, *names, a_of_each=True):
        """An adapter for these tensors, rank 3."""
        tensors, model = {}, Gguf(self.path)
        for name in names:
            cols, rows, *count = model.tensors[name][0]
            if name == "token_embd.weight":
                # A is transposed: a row per token.
                a, b = [rows, 3], [cols, 3]
            else:
                a, b = [*count, 3, cols] if a_of_each else [3, cols], [*count, rows, 3]
            tensors[name + ".lora_a"] = (a[::-1], 0, random_values("a" + name, a, gain=1.0 if a[-1] != 3 else 3.0 ** 0.5))
            tensors[name + ".lora_b"] = (b[::-1], 0, random_values("b" + name, b, gain=0.3))
        path = self.directory / "adapter.gguf"
        write_gguf(path, [("general.type", STRING, "adapter"), ("general.architecture", STRING, "llama"),
                          ("adapter.type", STRING, "lora"), ("adapter.lora.alpha", F32, 6.0)], tensors)
        return path

    def test_run_time_equals_merged(self):
        base, merged = self.logits(self.path), self.directory / "merged.gguf"
        experts = [f"blk.0.ffn_{name}.weight" for name in ("gate_exps", "up_exps", "down_exps")]
        for adapter in (self.pairs(*experts), self.pairs("blk.0.ffn_gate_inp.weight"), self.pairs("token_embd.weight"),
                        self.pairs(*experts, "token_embd.weight", a_of_each=False)):
            found = self.logits(self.path, "--lora", f"{adapter}=0.7")
            self.assertGreater(difference(found, base), 0.01)
            if b"merge" not in run("--help").stdout:
                continue
            self.ok("merge", self.path, adapter, merged, "--scale", "0.7")
            self.assertLess(difference(found, self.logits(merged)), 1e-4)

    def test_a_table_that_is_the_output_too(self):
        if b"merge" not in run("--help").stdout:
            self.skipTest("built without Eigen")
        merged = self.directory / "merged.gguf"
        self.ok("merge", self.path, self.pairs("token_embd.weight"), merged)
        before, after = Gguf(self.path).tensors, Gguf(merged).tensors
        self.assertEqual(after["output.weight"], before["token_embd.weight"])
        self.assertNotEqual(after["token_embd.weight"], before["token_embd.weight"])
        self.ok("merge", self.path, self.pairs("blk.0.ffn_gate_inp.weight"), merged)
        self.assertNotIn("output.weight", Gguf(merged).tensors)

    def test_adapters_of_other_shapes(self):
        path = self.pairs("blk.0.ffn_up_exps.weight")
        data = path.read_bytes()
        path.write_bytes(data.replace(b"ffn_up_exps", b"attn_output"))
        self.fails(3, "logits", self.path, "--tokens", "1", "--lora", path, words=["attn_output", "4 of them"])
        if b"merge" in run("--help").stdout:
            self.fails(3, "merge", self.path, path, self.directory / "out", words=["attn_output"])
        path.write_bytes(data.replace(b"blk.0.ffn_up_exps.weight.lora", b"blk.0.ffn_up_norm.weight.lora"))
        self.fails(3, "logits", self.path, "--tokens", "1", "--lora", path, words=["ffn_up_norm"])


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
