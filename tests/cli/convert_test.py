#!/usr/bin/env python3
"""The command convert: folders written here, as Hugging Face's libraries write them, against the same model written as GGUF
directly, against reference files, and against what is wrong with a folder. Usage: as cli_test.py."""

import base64
import json
import math
import struct

import cli_test
from cli_test import Case, FixtureCase
from model_files import (BOOL, F32, STRING, U32, Gguf, adjacent_pairs, encode, encoder_metadata, encoder_tensors, half_apart, product,
                         random_values, rows_of, transposed, write_gguf, write_safetensors)

LLAMA = {"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64, "rms_norm_eps": 1e-4, "rope_theta": 500.0,
         "vocab_size": 60, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32"}


def llama_tensors(config, kind="F32"):
    """{Hugging Face's name: (type, shape, bytes)}"""
    dim, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv_dim = dim // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": [vocab, dim], "model.norm.weight": [dim], "lm_head.weight": [vocab, dim]}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        shapes.update({block + "input_layernorm.weight": [dim], block + "post_attention_layernorm.weight": [dim],
                       block + "self_attn.q_proj.weight": [dim, dim], block + "self_attn.k_proj.weight": [kv_dim, dim],
                       block + "self_attn.v_proj.weight": [kv_dim, dim], block + "self_attn.o_proj.weight": [dim, dim],
                       block + "mlp.gate_proj.weight": [ffn, dim], block + "mlp.up_proj.weight": [ffn, dim],
                       block + "mlp.down_proj.weight": [dim, ffn]})
    return {name: (kind, shape, random_values(name, shape, kind, center=1.0 if "norm" in name else 0.0,
                                              gain=5.0 if "embed" in name else 1.5))
            for name, shape in shapes.items()}


NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    for hf, gguf in NAMES.items():
        name = name.replace(hf, gguf)
    return name.replace("model.layers.", "blk.")


def llama_gguf(path, config, tensors, extra=()):
    """The same model written directly."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    out = {}
    for name, (kind, shape, data) in tensors.items():
        gguf_type = {"F32": 0, "F16": 1, "BF16": 30}[kind]
        if len(shape) == 1 and kind != "F32":
            data, gguf_type = widened(data, kind), 0
        for projection, count in heads.items():
            if projection in name:
                data = adjacent_pairs(data, shape[0], count)
        out[gguf_name(name)] = (shape[::-1], gguf_type, data)
    out.update(extra)
    write_gguf(path, [("general.architecture", STRING, "llama"), ("tokenizer.ggml.model", STRING, "no_vocab"),
                      ("llama.context_length", U32, config["max_position_embeddings"]),
                      ("llama.embedding_length", U32, config["hidden_size"]),
                      ("llama.block_count", U32, config["num_hidden_layers"]),
                      ("llama.feed_forward_length", U32, config["intermediate_size"]),
                      ("llama.attention.head_count", U32, config["num_attention_heads"]),
                      ("llama.attention.head_count_kv", U32, config["num_key_value_heads"]),
                      ("llama.attention.layer_norm_rms_epsilon", F32, config["rms_norm_eps"]),
                      ("llama.rope.freq_base", F32, config["rope_theta"])], out)


def widened(data, kind):
    """Half-size numbers as float32."""
    if kind == "F16":
        return struct.pack("<%df" % (len(data) // 2), *struct.unpack("<%de" % (len(data) // 2), data))
    return b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))


class HfCase(Case):
    def folder(self, config, tensors, files=1, **documents):
        """A folder with the tensors in one file, or in several with an index."""
        folder = self.directory / "hf"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / "config.json").write_text(json.dumps(config))
        if files == 1:
            write_safetensors(folder / "model.safetensors", tensors)
        else:
            where = {name: f"model-{1 + i % files:05}-of-{files:05}.safetensors" for i, name in enumerate(tensors)}
            for file in set(where.values()):
                write_safetensors(folder / file, {name: tensor for name, tensor in tensors.items() if where[name] == file})
            (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
        for name, document in documents.items():
            (folder / (name + ".json")).write_text(json.dumps(document))
        return folder

    def converted(self, folder, *more):
        out = self.directory / "converted.gguf"
        self.ok("convert", folder, out, *more)
        return out

    def logits(self, path):
        return self.ok("logits", path, "--tokens", "1,5,59,0,31,2,2,17", "--all")


class Convert(HfCase):
    def test_logits_are_those_of_the_same_weights_written_directly(self):
        for kind in ("F32", "F16", "BF16"):
            for config in (LLAMA, {**LLAMA, "num_key_value_heads": 4}, {**LLAMA, "num_key_value_heads": 1}):
                tensors = llama_tensors(config, kind)
                direct = self.directory / "direct.gguf"
                llama_gguf(direct, config, tensors)
                expected = self.logits(direct)
                for files in (1, 3):
                    self.assertEqual(self.logits(self.converted(self.folder(config, tensors, files))), expected, (kind, files))

    def test_doubles_are_rounded(self):
        tensors = llama_tensors(LLAMA, "F64")
        single = {name: ("F32", shape, encode(struct.unpack("<%dd" % product(shape), data), "F32"))
                  for name, (_, shape, data) in tensors.items()}
        expected = self.logits(self.converted(self.folder(LLAMA, single)))
        self.assertEqual(self.logits(self.converted(self.folder(LLAMA, tensors))), expected)

    def test_order_and_threads_change_nothing(self):
        tensors = llama_tensors(LLAMA)
        first = self.converted(self.folder(LLAMA, tensors), "-t", "1").read_bytes()
        reverse = dict(reversed(list(tensors.items())))
        self.assertEqual(self.converted(self.folder(LLAMA, reverse, 2), "-t", "3").read_bytes(), first)

    def test_formats(self):
        folder = self.folder(LLAMA, llama_tensors(LLAMA))
        exact = json.loads(self.logits(self.converted(folder)))["logits"]
        for name, kind, tolerance in (("f16", "F16", 0.01), ("q8_0", "Q8_0", 0.3), ("Q4_1", "Q4_1", 4.0)):
            path = self.converted(folder, "--format", name)
            tensors = {tensor["name"]: tensor["type"] for tensor in self.json("inspect", path, "--json")["tensors"]}
            self.assertEqual(tensors["blk.1.attn_q.weight"], kind)
            self.assertEqual(tensors["blk.1.ffn_down.weight"], "F16" if kind != "F32" and 48 % 32 and kind[0] == "Q" else kind)
            self.assertEqual(tensors["blk.1.ffn_norm.weight"], "F32")
            rows = json.loads(self.logits(path))["logits"]
            worst = max(cli_test.largest_difference(a, b) for a, b in zip(rows, exact))
            self.assertTrue(0 < worst < tolerance, (name, worst))
        self.fails(2, "convert", folder, self.directory / "out", "--format", "q9", words=["--format", "Q8_0"])

    def test_tied_embeddings(self):
        tensors = llama_tensors(LLAMA)
        tied = {**LLAMA, "tie_word_embeddings": True}
        with_output = self.logits(self.converted(self.folder(LLAMA, tensors)))
        both = self.logits(self.converted(self.folder(tied, tensors)))
        del tensors["lm_head.weight"]
        self.assertEqual(self.logits(self.converted(self.folder(tied, tensors))), both)
        self.assertNotEqual(both, with_output)
        self.fails(3, "convert", self.folder(LLAMA, tensors), self.directory / "out", words=["lm_head.weight", "no such tensor"])
        unsaid = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
        self.assertEqual(self.logits(self.converted(self.folder(unsaid, tensors))), both)

    def test_llama3_rope_scaling(self):
        scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 40}
        tensors = llama_tensors(LLAMA)
        # As transformers computes them, by wavelengths.
        factors = []
        for i in range(4):
            wavelength = 2 * math.pi * 500.0 ** (2 * i / 8)
            if wavelength < 40 / 4.0:
                factors.append(1.0)
            elif wavelength > 40 / 1.0:
                factors.append(8.0)
            else:
                smooth = (40 / wavelength - 1.0) / (4.0 - 1.0)
                factors.append(1 / ((1 - smooth) / 8.0 + smooth))
        self.assertTrue(factors[0] == 1.0 and 1.0 < factors[1] < 8.0 and factors[3] == 8.0, factors)
        direct = self.directory / "direct.gguf"
        llama_gguf(direct, LLAMA, tensors, {"rope_freqs.weight": ([4], 0, encode(factors, "F32"))})
        expected = json.loads(self.logits(direct))["logits"]
        for config in ({**LLAMA, "rope_scaling": scaling}, {**LLAMA, "rope_theta": None, "rope_parameters": {**scaling, "rope_theta": 500.0}}):
            rows = json.loads(self.logits(self.converted(self.folder(config, tensors))))["logits"]
            self.assertLess(max(cli_test.largest_difference(a, b) for a, b in zip(rows, expected)), 1e-4)
        linear = self.converted(self.folder({**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.5}}, tensors))
        self.assertEqual(Gguf(linear).metadata["llama.rope.scaling.factor"], 2.5)

    def test_sliding_window_of_mistral(self):
        config = {**LLAMA, "architectures": ["MistralForCausalLM"], "sliding_window": 4}
        found = Gguf(self.converted(self.folder(config, llama_tensors(config)))).metadata
        self.assertEqual((found["general.architecture"], found["llama.attention.sliding_window"]), ("llama", 4))
        config["sliding_window"] = None
        self.assertNotIn("llama.attention.sliding_window", Gguf(self.converted(self.folder(config, llama_tensors(config)))).metadata)

    def test_tables_that_are_computed_are_left_out(self):
        tensors = llama_tensors(LLAMA)
        expected = self.converted(self.folder(LLAMA, tensors)).read_bytes()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [4], encode([1, 2, 3, 4], "F32"))
        self.assertEqual(self.converted(self.folder(LLAMA, tensors)).read_bytes(), expected)


class ConvertBad(HfCase):
    def refused(self, code, folder, *words):
        out = self.directory / "out.gguf"
        out.write_bytes(b"old")
        self.fails(code, "convert", folder, out, words=words)
        self.assertEqual(out.read_bytes(), b"old")
        self.assertEqual([path.name for path in self.directory.glob("out*")], ["out.gguf"])

    def test_folders(self):
        self.refused(3, self.directory / "absent", "is not a folder")
        folder = self.folder(LLAMA, llama_tensors(LLAMA))
        (folder / "model.safetensors").unlink()
        self.refused(3, folder, "model.safetensors", "no such file")
        (folder / "config.json").unlink()
        self.refused(3, folder, "config.json", "no such file")

    def test_documents(self):
        tensors = llama_tensors(LLAMA)
        folder = self.folder(LLAMA, tensors)
        for text, words in (("{", ["truncated", "at byte 1"]), ("{\"a\":01}", ["bad file", "at byte 6"]), ("[" * 100000, ["nested"]),
                            ("[]", ["architectures"]), ("{\"architectures\":[3]}", ["architectures"]), ("\xff", ["bad file"])):
            (folder / "config.json").write_bytes(text.encode("latin-1"))
            self.refused(3, folder, *words)
        self.refused(4, self.folder({**LLAMA, "architectures": ["HydraForCausalLM"]}, tensors), "HydraForCausalLM")
        for key, value in (("hidden_size", None), ("num_hidden_layers", -1), ("num_attention_heads", 0), ("rms_norm_eps", "small"),
                           ("intermediate_size", 1e30), ("max_position_embeddings", "x"), ("num_hidden_layers", 2.5)):
            self.refused(3, self.folder({**LLAMA, key: value}, tensors), "" if key == "num_attention_heads" else key)
        self.refused(4, self.folder({**LLAMA, "hidden_act": "relu"}, tensors), "relu")
        self.refused(4, self.folder({**LLAMA, "rope_scaling": {"type": "dynamic", "factor": 2}}, tensors), "dynamic")
        self.refused(3, self.folder({**LLAMA, "rope_scaling": {"type": "linear"}}, tensors), "factor")

    def test_tensors(self):
        tensors = llama_tensors(LLAMA)
        name = "model.layers.1.mlp.up_proj.weight"
        missing = {key: value for key, value in tensors.items() if key != name}
        self.refused(3, self.folder(LLAMA, missing), name, "blk.1.ffn_up.weight")
        self.refused(3, self.folder(LLAMA, {**tensors, "model.extra": ("F32", [1], bytes(4))}), "model.extra", "is not a tensor of")
        self.refused(3, self.folder({**LLAMA, "num_hidden_layers": 1}, tensors), "model.layers.1.")
        self.refused(3, self.folder({**LLAMA, "num_hidden_layers": 3}, tensors), "model.layers.2.")
        self.refused(4, self.folder(LLAMA, {**tensors, name: ("I32", [48, 32], tensors[name][2])}), name, "I32")
        self.refused(3, self.folder(LLAMA, {**tensors, name: ("F32", [48 * 32], tensors[name][2])}), name, "dimensions")
        query = "model.layers.0.self_attn.q_proj.weight"
        self.refused(3, self.folder(LLAMA, {**tensors, query: ("F32", [34, 32], bytes(34 * 32 * 4))}), query, "heads")
        bias = {**tensors, "model.layers.0.self_attn.q_proj.bias": ("F32", [32], bytes(128))}
        self.refused(3, self.folder(LLAMA, bias), "q_proj.bias")

    def test_indexes(self):
        tensors = llama_tensors(LLAMA)
        folder = self.folder(LLAMA, tensors, 2)
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        first = next(iter(index["weight_map"]))

        def with_file(where):
            path.write_text(json.dumps({"weight_map": {**index["weight_map"], first: where}}))
        secret = self.directory / "secret.safetensors"
        write_safetensors(secret, {first: tensors[first]})
        for where in ("../secret.safetensors", str(secret), "..", "", "config.json", "a\\b.safetensors", "a\0.safetensors", 3, None):
            with_file(where)
            self.refused(3, folder, first)
        with_file("model-00003-of-00002.safetensors")
        self.refused(3, folder, "model-00003-of-00002.safetensors", "no such file")
        with_file("model-00002-of-00002.safetensors")
        self.refused(3, folder, first, "model-00002-of-00002.safetensors", "has no such tensor")
        path.write_text(json.dumps({"weight_map": {key: value for key, value in index["weight_map"].items() if key != first}}))
        self.refused(3, folder, first, "does not expect it")
        for document in ({}, {"weight_map": {}}, {"weight_map": 3}, []):
            path.write_text(json.dumps(document))
            self.refused(3, folder, "weight_map")

    def test_broken_tensor_files(self):
        folder = self.folder(LLAMA, llama_tensors(LLAMA))
        whole = (folder / "model.safetensors").read_bytes()
        for size in (0, 7, 8, 100, len(whole) - 1):
            (folder / "model.safetensors").write_bytes(whole[:size])
            self.refused(3, folder, "model.safetensors")
        (folder / "model.safetensors").write_bytes(whole + b"x")
        self.refused(3, folder, "model.safetensors", "goes on")


# --- families, from reference files ----------------------------------------------------------------------------------

BLOCK = {"attn_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
         "attn_q.weight": "self_attn.q_proj.weight", "attn_k.weight": "self_attn.k_proj.weight", "attn_v.weight": "self_attn.v_proj.weight",
         "attn_output.weight": "self_attn.o_proj.weight", "attn_q.bias": "self_attn.q_proj.bias", "attn_k.bias": "self_attn.k_proj.bias",
         "attn_v.bias": "self_attn.v_proj.bias", "attn_q_norm.weight": "self_attn.q_norm.weight",
         "attn_k_norm.weight": "self_attn.k_norm.weight", "ffn_gate.weight": "mlp.gate_proj.weight", "ffn_up.weight": "mlp.up_proj.weight",
         "ffn_down.weight": "mlp.down_proj.weight"}
SANDWICH = {"post_attention_norm.weight": "post_attention_layernorm.weight", "ffn_norm.weight": "pre_feedforward_layernorm.weight",
            "post_ffw_norm.weight": "post_feedforward_layernorm.weight"}
PHI3 = {"attn_qkv.weight": "self_attn.qkv_proj.weight", "ffn_up.weight": "mlp.gate_up_proj.weight"}
MIXTRAL = {"ffn_gate_inp.weight": "block_sparse_moe.gate.weight", "ffn_gate_exps.weight": "block_sparse_moe.experts.{}.w1.weight",
           "ffn_up_exps.weight": "block_sparse_moe.experts.{}.w3.weight", "ffn_down_exps.weight": "block_sparse_moe.experts.{}.w2.weight"}
QWEN_MOE = {"ffn_gate_inp.weight": "mlp.gate.weight", "ffn_gate_exps.weight": "mlp.experts.{}.gate_proj.weight",
            "ffn_up_exps.weight": "mlp.experts.{}.up_proj.weight", "ffn_down_exps.weight": "mlp.experts.{}.down_proj.weight"}
MODEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
GPT2 = {"token_embd.weight": "wte.weight", "position_embd.weight": "wpe.weight", "output_norm.weight": "ln_f.weight",
        "output_norm.bias": "ln_f.bias"}
GPT2_BLOCK = {"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc",
              "ffn_down": "mlp.c_proj"}

# File of the fixtures: class, names in a layer, name prefix, what to put into the configuration.
GELU = {"hidden_activation": "gelu_pytorch_tanh"}
FAMILIES = {
    "llama_gqa": ("LlamaForCausalLM", BLOCK, "", {}),
    "llama3_tied": ("LlamaForCausalLM", BLOCK, "", {}),
    "llama_moe": ("MixtralForCausalLM", {**BLOCK, **MIXTRAL}, "", {}),
    "smollm3": ("SmolLM3ForCausalLM", BLOCK, "", {"no_rope_layers": [1, 1, 1, 0, 1]}),
    "qwen2": ("Qwen2ForCausalLM", BLOCK, "", {"use_sliding_window": False, "sliding_window": 32768}),
    "qwen3": ("Qwen3ForCausalLM", BLOCK, "", {"sliding_window": None}),
    "qwen3moe": ("Qwen3MoeForCausalLM", {**BLOCK, **QWEN_MOE}, "", {"norm_topk_prob": True, "mlp_only_layers": []}),
    "gemma": ("GemmaForCausalLM", BLOCK, "", {"hidden_act": "gelu"}),
    "gemma2": ("Gemma2ForCausalLM", {**BLOCK, **SANDWICH}, "", GELU),
    "gemma3": ("Gemma3ForConditionalGeneration", {**BLOCK, **SANDWICH}, "language_model.", GELU),
    "phi3": ("Phi3ForCausalLM", {**BLOCK, **PHI3}, "", {}),
    "phi3_plain": ("Phi3ForCausalLM", {**BLOCK, **PHI3}, "", {"rope_scaling": None}),
    "gpt2": ("GPT2LMHeadModel", {f"{gguf}.{part}": f"{hf}.{part}" for gguf, hf in GPT2_BLOCK.items() for part in ("weight", "bias")},
             "transformer.", {"activation_function": "gelu_new"}),
}
# Keys of the file that the folder's configuration does not determine, or that say what is so anyway.
UNSAID = {"general.name", "general.file_type", "phi3.attention.sliding_window"}


def folder_of(gguf, name):
    """Configuration and tensors of the folder that a reference file would have been made from."""
    architecture, block, prefix, more = FAMILIES[name]
    arch = gguf.metadata["general.architecture"]

    def get(key, otherwise=None):
        return gguf.metadata.get(f"{arch}.{key}", otherwise)
    config = {"architectures": [architecture], "hidden_size": get("embedding_length"), "num_hidden_layers": get("block_count"),
              "num_attention_heads": get("attention.head_count"), "num_key_value_heads": get("attention.head_count_kv"),
              "intermediate_size": get("feed_forward_length"), "max_position_embeddings": get("context_length"),
              "rms_norm_eps": get("attention.layer_norm_rms_epsilon"), "rope_theta": get("rope.freq_base"),
              "vocab_size": get("vocab_size"), "tie_word_embeddings": "output.weight" not in gguf.tensors,
              "head_dim": get("attention.key_length"), "sliding_window": get("attention.sliding_window"),
              "attn_logit_softcapping": get("attn_logit_softcapping"), "final_logit_softcapping": get("final_logit_softcapping")}
    experts = get("expert_count")
    if experts:
        config.update({"num_local_experts": experts, "num_experts_per_tok": get("expert_used_count"),
                       "moe_intermediate_size": get("expert_feed_forward_length")})
    if get("rope.scaling.type") == "linear":
        config["rope_scaling"] = {"rope_type": "linear", "factor": get("rope.scaling.factor")}
    if get("rope.freq_base_swa"):
        config["rope_local_base_freq"] = get("rope.freq_base_swa")
    if arch == "phi3":
        config["original_max_position_embeddings"] = get("rope.scaling.original_context_length")
        factors = {key: list(struct.unpack("<%df" % dims[0], data)) for key in ("long", "short")
                   for dims, _, data in [gguf.tensors.get(f"rope_factors_{key}.weight", ([0], 0, b""))]}
        config["rope_scaling"] = {"type": "longrope", "long_factor": factors["long"], "short_factor": factors["short"]}
    if arch == "gpt2":
        config = {"architectures": [architecture], "n_embd": get("embedding_length"), "n_layer": get("block_count"),
                  "n_head": get("attention.head_count"), "n_positions": get("context_length"), "n_inner": None,
                  "layer_norm_epsilon": get("attention.layer_norm_epsilon")}
    config.update(more)
    tensors = {}
    for tensor, (dims, kind, data) in gguf.tensors.items():
        assert kind == 0
        if tensor.startswith("rope_factors"):
            continue
        shape = dims[::-1]
        if tensor.startswith("blk."):
            _, layer, part = tensor.split(".", 2)
            hf = ("h." if arch == "gpt2" else "model.layers.") + layer + "." + block[part]
        else:
            hf = (GPT2 if arch == "gpt2" else MODEL)[tensor]
        hf = hf if hf == "lm_head.weight" and not prefix else prefix + hf
        if arch in ("llama", "smollm3") and (".attn_q." in tensor or ".attn_k." in tensor):
            heads = get("attention.head_count") if ".attn_q." in tensor else get("attention.head_count_kv")
            data = half_apart(data, shape[0], heads)
        if arch.startswith("gemma") and tensor.endswith("norm.weight"):
            data = encode([value - 1.0 for value in struct.unpack("<%df" % dims[0], data)], "F32")
        if arch == "gpt2" and tensor.startswith("blk.") and len(shape) == 2:
            data, shape = transposed(data, *shape), shape[::-1]
        if len(shape) == 3:
            for expert, part in enumerate(rows_of(data, shape[0])):
                tensors[hf.format(expert)] = ("F32", shape[1:], part)
        else:
            tensors[hf] = ("F32", shape, data)
    return config, tensors


class ConvertFamilies(HfCase, FixtureCase):
    def test_reference_files_come_back(self):
        self.fixture("models")
        for name in FAMILIES:
            with self.subTest(name):
                reference = Gguf(self.fixture(f"models/{name}.gguf"))
                config, tensors = folder_of(reference, name)
                if name == "gemma3":
                    config = {"architectures": config.pop("architectures"), "text_config": config, "vision_config": {}}
                    tensors["vision_tower.something.weight"] = ("F32", [1], bytes(4))
                found = Gguf(self.converted(self.folder(config, tensors, 2)))
                self.assertEqual(set(found.tensors), set(reference.tensors))
                shifted = name.startswith("gemma")
                for tensor, (dims, kind, data) in reference.tensors.items():
                    self.assertEqual(found.tensors[tensor][:2], (dims, kind), tensor)
                    if shifted and tensor.endswith("norm.weight"):
                        pairs = zip(*(struct.unpack("<%df" % dims[0], bytes_) for bytes_ in (found.tensors[tensor][2], data)))
                        self.assertLess(max(abs(a - b) for a, b in pairs), 3e-7, tensor)
                    else:
                        self.assertEqual(found.tensors[tensor][2], data, tensor)
                arch = reference.metadata["general.architecture"]
                for key, value in reference.metadata.items():
                    if key in UNSAID:
                        continue
                    if key.endswith("attn_factor"):
                        context, original = config["max_position_embeddings"], config["original_max_position_embeddings"]
                        value = math.sqrt(1 + math.log(context / original) / math.log(original))
                    if key == f"{arch}.attention.head_count_kv" and arch == "gpt2":
                        value = reference.metadata["gpt2.attention.head_count"]
                    self.assertIn(key, found.metadata)
                    self.assertEqual(found.types[key], reference.types[key], key)
                    if isinstance(value, float):
                        self.assertAlmostEqual(found.metadata[key], value, delta=abs(value) * 1e-6, msg=key)
                    else:
                        self.assertEqual(found.metadata[key], value, key)

    def test_what_a_family_does_not_have_is_refused(self):
        for name, change, word in (("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
                                   ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob"),
                                   ("qwen3moe", {"mlp_only_layers": [1]}, "mlp_only_layers"),
                                   ("smollm3", {"no_rope_layers": [1, 0, 1, 0, 1]}, "no_rope_layers"),
                                   ("phi3", {"rope_scaling": {"type": "yarn", "factor": 2}}, "yarn")):
            config, tensors = folder_of(Gguf(self.fixture(f"models/{name}.gguf")), name)
            self.fails(4, "convert", self.folder({**config, **change}, tensors), self.directory / "out", words=[word])
        config, tensors = folder_of(Gguf(self.fixture("models/phi3.gguf")), "phi3")
        config["rope_scaling"]["long_factor"].pop()
        self.fails(3, "convert", self.folder(config, tensors), self.directory / "out", words=["long_factor", "8 numbers"])


# --- tokenizers ------------------------------------------------------------------------------------------------------

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern):
    return {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                                                  BYTES]}


def template(*parts):
    return {"type": "TemplateProcessing", "single": [{"Sequence": {"id": part, "type_id": 0}} if part in ("A", "B") else
                                                     {"SpecialToken": {"id": part, "type_id": 0}} for part in parts]}


def small(vocab):
    """A model of as few numbers as possible."""
    config = {**LLAMA, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
              "intermediate_size": 4, "vocab_size": vocab, "tie_word_embeddings": True}
    tensors = llama_tensors({**config, "vocab_size": 1})
    tensors["model.embed_tokens.weight"] = ("F32", [vocab, 4], bytes(vocab * 16))
    return config, tensors


class ConvertTokenizers(HfCase, FixtureCase):
    WORDS = ["l", "o", "w", "e", "r", "\u0120", "lo", "low", "er", "\u0120low", "<|end|>", "<|user|>"]
    BPE = {"added_tokens": [{"id": 10, "content": "<|end|>", "special": True}, {"id": 11, "content": "<|user|>", "special": False}],
           "model": {"type": "BPE", "byte_fallback": False, "vocab": {word: i for i, word in enumerate(WORDS[:10])},
                     "merges": ["l o", "lo w", "e r", "\u0120 low"]}, "pre_tokenizer": {**BYTES, "use_regex": True}}

    def metadata(self, vocab, tokenizer, **documents):
        config, tensors = small(vocab)
        config.update(documents.pop("config", {}))
        return Gguf(self.converted(self.folder(config, tensors, tokenizer=tokenizer, **documents))).metadata

    def refused(self, code, tokenizer, *words, vocab=13):
        self.fails(code, "convert", self.folder(*small(vocab), tokenizer=tokenizer), self.directory / "out", words=words)

    def test_bytes_bpe(self):
        found = self.metadata(13, self.BPE, tokenizer_config={"eos_token": {"content": "<|end|>"}, "chat_template": "{{ x }}"},
                              generation_config={"eos_token_id": [10, 11]})
        self.assertEqual(found["tokenizer.ggml.model"], "gpt2")
        self.assertEqual(found["tokenizer.ggml.pre"], "gpt-2")
        self.assertEqual(found["tokenizer.ggml.tokens"], self.WORDS + ["[PAD12]"])
        self.assertEqual(found["tokenizer.ggml.token_type"], [1] * 10 + [3, 4, 5])
        self.assertEqual(found["tokenizer.ggml.merges"], self.BPE["model"]["merges"])
        self.assertEqual(found["tokenizer.ggml.eos_token_id"], 10)
        self.assertEqual(found["tokenizer.ggml.eot_token_id"], 11)
        self.assertEqual(found["tokenizer.chat_template"], "{{ x }}")
        self.assertNotIn("tokenizer.ggml.scores", found)
        self.assertNotIn("tokenizer.ggml.bos_token_id", found)
        self.assertFalse(found["tokenizer.ggml.add_bos_token"])
        pairs = {**self.BPE, "model": {**self.BPE["model"], "merges": [merge.split(" ") for merge in self.BPE["model"]["merges"]]}}
        self.assertEqual(self.metadata(13, pairs)["tokenizer.ggml.merges"], found["tokenizer.ggml.merges"])

    def test_special_tokens(self):
        found = self.metadata(13, {**self.BPE, "post_processor": {"type": "Sequence", "processors": [
            BYTES, template("<|end|>", "A")]}}, config={"bos_token_id": 10, "eos_token_id": [11, 10]})
        self.assertEqual((found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]), (10, 11))
        self.assertEqual((found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]), (True, False))
        found = self.metadata(13, {**self.BPE, "post_processor": template("<|end|>", "A", "<|user|>")},
                              tokenizer_config={"bos_token": "<|end|>", "eos_token": "<|user|>", "add_bos_token": False})
        self.assertEqual((found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]), (False, True))

    def test_pre_tokenizers_by_name(self):
        for pre_tokenizer, name in ((split(LLAMA3), "llama-bpe"), (split(QWEN2), "qwen2"),
                                    ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                                            {**BYTES, "use_regex": True}]}, "smollm")):
            self.assertEqual(self.metadata(13, {**self.BPE, "pre_tokenizer": pre_tokenizer})["tokenizer.ggml.pre"], name)
        self.refused(4, {**self.BPE, "pre_tokenizer": split(r"\p{N}")}, "pre_tokenizer", r"\p{N}")

    def test_broken_tokenizers(self):
        model = self.BPE["model"]
        self.refused(3, {}, "model")
        self.refused(4, {"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "WordLevel")
        self.refused(3, {**self.BPE, "model": {**model, "vocab": {**model["vocab"], "x": 13}}}, "beyond the model's 13")
        self.refused(3, {**self.BPE, "model": {**model, "vocab": {**model["vocab"], "x": 3}}}, "two tokens", "3")
        self.refused(3, {**self.BPE, "model": {**model, "vocab": {**model["vocab"], "x": -1}}}, "no integer")
        for merge in ("lo", "l o w", "l x", "l e", ["l"], 3):
            self.refused(3, {**self.BPE, "model": {**model, "merges": [merge]}}, "model.merges", "number 0")
        self.refused(3, {**self.BPE, "added_tokens": [{"id": 99, "content": "x"}]}, "99")
        self.refused(3, {**self.BPE, "added_tokens": [{"content": "x"}]}, "no id")
        folder = self.folder(*small(13), tokenizer=self.BPE)
        (folder / "tokenizer.json").write_text("{\"model\": ")
        self.fails(3, "convert", folder, self.directory / "out", words=["tokenizer.json", "truncated"])
        folder = self.folder({**small(13)[0], "eos_token_id": 13}, small(13)[1], tokenizer=self.BPE)
        self.fails(3, "convert", folder, self.directory / "out", words=["eos_token_id"])

    PIECES = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u2581a", -1.5], ["b", -2.25], ["\u2581", -3.0]]
    MAP = bytes([4, 0, 0, 0, 0, 0, 0, 0, 0])  # changes nothing: an index of one empty node, and one empty replacement
    UNIGRAM = {"added_tokens": [{"id": i, "content": text, "special": True} for i, (text, _) in enumerate(PIECES[:4])] +
                               [{"id": 7, "content": "<mask>", "special": True}],
               "normalizer": {"type": "Sequence", "normalizers": [
                   {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(MAP).decode()},
                   {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
               "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True},
               "post_processor": {**template("<s>", "A", "</s>"), "pair": template("<s>", "A", "</s>", "</s>", "B", "</s>")["single"]},
               "model": {"type": "Unigram", "unk_id": 3, "vocab": PIECES}}
    XLM = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "mask_token": {"content": "<mask>"}}

    def test_unigram(self):
        found = self.metadata(9, self.UNIGRAM, tokenizer_config=self.XLM)
        self.assertEqual(found["tokenizer.ggml.model"], "t5")
        self.assertEqual(found["tokenizer.ggml.tokens"], [piece for piece, _ in self.PIECES] + ["<mask>", "[PAD8]"])
        self.assertEqual(found["tokenizer.ggml.scores"], [score for _, score in self.PIECES] + [-1000.0, -10000.0])
        self.assertEqual(found["tokenizer.ggml.token_type"], [3, 3, 3, 2, 1, 1, 1, 3, 5])
        self.assertEqual(found["tokenizer.ggml.precompiled_charsmap"], list(self.MAP))
        self.assertTrue(found["tokenizer.ggml.add_space_prefix"] and found["tokenizer.ggml.remove_extra_whitespaces"])
        names = ("bos", "eos", "unknown", "padding", "seperator", "mask")
        self.assertEqual([found[f"tokenizer.ggml.{name}_token_id"] for name in names], [0, 2, 3, 1, 2, 7])
        self.assertEqual([found[f"tokenizer.ggml.add_{name}_token"] for name in ("bos", "eos", "sep")], [True] * 3)
        # What a T5 has: nothing before a text, spaces as they are.
        other = {**self.UNIGRAM, "normalizer": None, "post_processor": template("A", "</s>"),
                 "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"}}
        found = self.metadata(8, other, tokenizer_config=self.XLM)
        self.assertEqual([found[f"tokenizer.ggml.add_{name}_token"] for name in ("bos", "eos")], [False, True])
        self.assertFalse(found["tokenizer.ggml.add_space_prefix"] or found["tokenizer.ggml.remove_extra_whitespaces"])
        self.assertNotIn("tokenizer.ggml.precompiled_charsmap", found)
        self.assertNotIn("tokenizer.ggml.add_sep_token", found)
        roberta = {**self.UNIGRAM, "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}}
        found = self.metadata(8, roberta, tokenizer_config=self.XLM)
        self.assertEqual([found[f"tokenizer.ggml.add_{name}_token"] for name in ("bos", "eos", "sep")], [True] * 3)

    def test_broken_unigrams(self):
        model = self.UNIGRAM["model"]

        def with_model(**changes):
            return {**self.UNIGRAM, "model": {**model, **changes}}
        for bad in ([["a"]], [["a", "b"]], [[1, 2.0]], ["a"], [["a", 1.0, 2.0]]):
            self.refused(3, with_model(vocab=bad, unk_id=0), "model.vocab", "number 0")
        self.refused(3, with_model(vocab={}), "model.vocab")
        for bad in (None, 7, -1, "3"):
            self.refused(3, with_model(unk_id=bad), "model.unk_id")
        self.refused(4, with_model(byte_fallback=True), "byte_fallback")
        self.refused(3, self.UNIGRAM, "beyond the model's 6", vocab=6)
        for kind in ("NFKC", "Lowercase", "Replace"):
            self.refused(4, {**self.UNIGRAM, "normalizer": {"type": kind, "pattern": {"String": "x"}, "content": "y"}}, "normalizer", kind)
        self.refused(4, {**self.UNIGRAM, "pre_tokenizer": BYTES}, "pre_tokenizer", "ByteLevel")
        self.refused(4, {**self.UNIGRAM, "pre_tokenizer": {"type": "Metaspace", "replacement": "_"}}, "pre_tokenizer", "Metaspace")
        self.refused(3, {**self.UNIGRAM, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "\u00e9"}}, "precompiled_charsmap")

    WORD_PIECES = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "the": 5, "##s": 6, "##": 7, "caf": 8, "##e": 9}
    BERT = {"added_tokens": [{"id": i, "content": name, "special": True} for name, i in list(WORD_PIECES.items())[:5]],
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": template("[CLS]", "A", "[SEP]"),
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": WORD_PIECES}}

    def test_word_pieces(self):
        found = self.metadata(11, self.BERT, tokenizer_config={"cls_token": "[CLS]", "sep_token": "[SEP]"})
        self.assertEqual(found["tokenizer.ggml.model"], "bert")
        mark = "\u2581"
        self.assertEqual(found["tokenizer.ggml.tokens"], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", mark + "the", "s", mark + "##",
                                                          mark + "caf", "e", "[PAD10]"])
        self.assertEqual(found["tokenizer.ggml.token_type"], [3] * 5 + [1] * 5 + [5])
        names = ("padding", "unknown", "cls", "seperator", "mask")
        self.assertEqual([found[f"tokenizer.ggml.{name}_token_id"] for name in names], [0, 1, 2, 3, 4])
        self.assertTrue(found["tokenizer.ggml.normalizer.lowercase"])
        self.assertNotIn("tokenizer.ggml.normalizer.strip_accents", found)
        self.assertNotIn("tokenizer.ggml.scores", found)

        def ids(document, text):
            path = self.converted(self.folder(*small(11), tokenizer=document))
            return self.json("tokenize", path, stdin=json.dumps({"text": text}).encode())["ids"]
        self.assertEqual(ids(self.BERT, "The thes Caf\u00e9 x"), [2, 5, 5, 6, 8, 9, 1, 3])
        cased = {**self.BERT, "normalizer": {**self.BERT["normalizer"], "lowercase": False, "strip_accents": False}}
        self.assertEqual(ids(cased, "The thes Caf\u00e9"), [2, 1, 5, 6, 1, 3])
        untyped = {**self.BERT, "model": {key: value for key, value in self.BERT["model"].items() if key != "type"}}
        self.assertEqual(self.metadata(11, untyped)["tokenizer.ggml.model"], "bert")

    def test_broken_word_pieces(self):
        model = self.BERT["model"]
        self.refused(4, {**self.BERT, "model": {**model, "continuing_subword_prefix": "@@"}}, "continuing_subword_prefix", "@@")
        self.refused(3, {**self.BERT, "model": {**model, "vocab": []}}, "model.vocab")
        self.refused(3, {**self.BERT, "model": {**model, "vocab": {"a": "b"}}}, "no integer")
        for change in ({"clean_text": False}, {"handle_chinese_chars": False}, {"type": "Lowercase"}):
            self.refused(4, {**self.BERT, "normalizer": {**self.BERT["normalizer"], **change}}, "normalizer")
        self.refused(4, {**self.BERT, "pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer", "Whitespace")

    def ids_of(self, path, tests):
        lines = [json.dumps({key: test[key] for key in ("text", "text_base64", "add_special", "parse_special") if key in test}) for test in tests]
        return self.ok("tokenize", path, stdin="\n".join(lines).encode() + b"\n").splitlines()

    def test_reference_vocabularies_of_words(self):
        reference = Gguf(self.fixture("tokenizers/bert-bge.gguf")).metadata
        tokens, types = reference["tokenizer.ggml.tokens"], reference["tokenizer.ggml.token_type"]

        def word_piece(i):
            token = tokens[i]
            return token[1:] if token[0] == "\u2581" else token if types[i] == 3 or token.startswith("[unused") else "##" + token
        document = {**self.BERT, "added_tokens": [{"id": i, "content": token, "special": True} for i, token in enumerate(tokens) if types[i] == 3],
                    "model": {**self.BERT["model"], "vocab": {word_piece(i): i for i in range(len(tokens))}}}
        config, tensors = small(len(tokens))
        path = self.converted(self.folder(config, tensors, tokenizer=document))
        found = Gguf(path).metadata
        self.assertEqual(found["tokenizer.ggml.token_type"], types)
        self.assertEqual([token for token in found["tokenizer.ggml.tokens"] if not token.startswith("\u2581[unused")],
                         [token for token in tokens if not token.startswith("[unused")])
        tests = [test for test in self.load("tokenizers/bert-bge.json") if "ids" in test]
        self.assertGreater(len(tests), 300)
        self.assertEqual(self.ids_of(path, tests), self.ids_of(self.fixture("tokenizers/bert-bge.gguf"), tests))

    def test_reference_vocabularies_of_unigrams(self):
        reference = Gguf(self.fixture("tokenizers/nomic-bert-moe.gguf")).metadata
        tokens, types, scores = (reference[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "scores"))
        count = max(i for i, kind in enumerate(types) if kind != 5) + 1
        table = base64.b64encode(bytes(reference["tokenizer.ggml.precompiled_charsmap"])).decode()
        document = {**self.UNIGRAM, "added_tokens": [{"id": i, "content": tokens[i], "special": True} for i in range(count) if types[i] in (2, 3)],
                    "normalizer": {"type": "Precompiled", "precompiled_charsmap": table},
                    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, self.UNIGRAM["pre_tokenizer"]]},
                    "model": {"type": "Unigram", "unk_id": 3, "vocab": [list(pair) for pair in zip(tokens, scores)][:count]}}
        config, tensors = small(len(tokens))
        path = self.converted(self.folder(config, tensors, tokenizer=document, tokenizer_config=self.XLM))
        found = Gguf(path).metadata
        for key, value in reference.items():
            if key.startswith("tokenizer.") and key not in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type_count"):
                self.assertEqual(found[key], value, key)
        for key, value in (("tokens", tokens), ("scores", scores)):
            self.assertEqual(found["tokenizer.ggml." + key][:count], value[:count])
        # That the mask takes white space along follows from the name of the architecture.
        tests = [test for test in self.load("tokenizers/nomic-bert-moe.json") if "ids" in test and "<mask>" not in test.get("text", "")]
        self.assertGreater(len(tests), 300)
        self.assertEqual(self.ids_of(path, tests), self.ids_of(self.fixture("tokenizers/nomic-bert-moe.gguf"), tests))

    def test_no_tokenizer(self):
        config, tensors = small(5)
        self.assertEqual(Gguf(self.converted(self.folder(config, tensors))).metadata["tokenizer.ggml.model"], "no_vocab")

    @staticmethod
    def sentencepiece(pieces, algorithm=2, prefix=True):
        """A model file; pieces are (text, score, type)."""
        def varint(number):
            out = b""
            while number >= 0x80:
                out += bytes([number & 0x7F | 0x80])
                number >>= 7
            return out + bytes([number])

        def field(number, data):
            return varint(number << 3 | 2) + varint(len(data)) + data
        out = b""
        for text, score, kind in pieces:
            piece = field(1, text.encode("utf-8")) + b"\x15" + struct.pack("<f", score)
            out += field(1, piece + (b"\x18" + varint(kind) if kind != 1 else b""))
        return out + field(2, b"\x18" + varint(algorithm)) + field(3, b"\x18" + varint(1 if prefix else 0))

    def test_sentencepiece_files(self):
        pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<0x41>", 0.0, 6), ("\u2581a", -1.5, 1), ("a", -2.5, 1)]
        folder = self.folder(*small(7), tokenizer_config={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})

        def convert(data):
            (folder / "tokenizer.model").write_bytes(data)
            return Gguf(self.converted(folder)).metadata
        found = convert(self.sentencepiece(pieces))
        self.assertEqual(found["tokenizer.ggml.model"], "llama")
        self.assertEqual(found["tokenizer.ggml.tokens"], [piece[0] for piece in pieces] + ["[PAD6]"])
        self.assertEqual(found["tokenizer.ggml.scores"], [piece[1] for piece in pieces] + [-10000.0])
        self.assertEqual(found["tokenizer.ggml.token_type"], [2, 3, 3, 6, 1, 1, 5])
        self.assertEqual([found[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "unknown")], [1, 2, 0])
        self.assertTrue(found["tokenizer.ggml.add_bos_token"] and found["tokenizer.ggml.add_space_prefix"])
        self.assertFalse(convert(self.sentencepiece(pieces, prefix=False))["tokenizer.ggml.add_space_prefix"])
        whole = self.sentencepiece(pieces)
        for bad in (b"", b"\xff", whole[:20], whole[:-1], b"\x0a\xff\xff\xff\xff\x0f", b"\x0f", self.sentencepiece([("a", 0.0, 7)])):
            (folder / "tokenizer.model").write_bytes(bad)
            self.fails(3, "convert", folder, self.directory / "out", words=["tokenizer.model"])
        for data, code, word in ((self.sentencepiece(pieces, 1), 4, "algorithm 1"), (self.sentencepiece(pieces * 2), 3, "beyond")):
            (folder / "tokenizer.model").write_bytes(data)
            self.fails(code, "convert", folder, self.directory / "out", words=[word])

    def test_reference_vocabularies_of_bytes(self):
        for name, pre_tokenizer in (("gpt-2", {**BYTES, "use_regex": True}), ("llama-bpe", split(LLAMA3)), ("qwen2", split(QWEN2))):
            reference = Gguf(self.fixture(f"tokenizers/{name}.gguf")).metadata
            tokens, types = reference["tokenizer.ggml.tokens"], reference["tokenizer.ggml.token_type"]
            padding = [i for i, token in enumerate(tokens) if token == f"[PAD{i}]"]
            gaps = set(padding)
            document = {"added_tokens": [{"id": i, "content": token, "special": types[i] == 3} for i, token in enumerate(tokens)
                                         if types[i] != 1 and i not in gaps],
                        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens) if types[i] == 1},
                                  "merges": reference["tokenizer.ggml.merges"]}, "pre_tokenizer": pre_tokenizer}
            found = self.metadata(len(tokens), document)
            for key in ("model", "pre", "tokens", "merges"):
                self.assertEqual(found["tokenizer.ggml." + key], reference["tokenizer.ggml." + key], (name, key))
            expected = [5 if i in gaps else kind for i, kind in enumerate(types)]
            self.assertEqual(found["tokenizer.ggml.token_type"], expected, name)

    def test_pieces_with_byte_fallback_cut_text_as_their_scores_do(self):
        reference = Gguf(self.fixture("tokenizers/llama-spm.gguf")).metadata
        tokens, scores = reference["tokenizer.ggml.tokens"], reference["tokenizer.ggml.scores"]
        types = reference["tokenizer.ggml.token_type"]
        ids = {token: i for i, token in enumerate(tokens)}
        merges = []
        for token, kind in zip(tokens, types):
            if kind == 1:
                merges += [(scores[ids[token]], token[:cut], token[cut:]) for cut in range(1, len(token))
                           if token[:cut] in ids and token[cut:] in ids]
        merges.sort(key=lambda merge: -merge[0])
        document = {"added_tokens": [{"id": i, "content": tokens[i], "special": True} for i in range(3)],
                    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {
                        "type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
                    "post_processor": template("<s>", "A"),
                    "model": {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": ids,
                              "merges": [f"{left} {right}" for _, left, right in merges]}}
        config, tensors = small(len(tokens))
        settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        path = self.converted(self.folder(config, tensors, tokenizer=document, tokenizer_config=settings))
        found = Gguf(path).metadata
        self.assertEqual(found["tokenizer.ggml.tokens"], tokens)
        self.assertEqual(found["tokenizer.ggml.token_type"], types)
        self.assertTrue(found["tokenizer.ggml.add_space_prefix"] and found["tokenizer.ggml.add_bos_token"])
        tests = [test for test in self.load("tokenizers/llama-spm.json") if "ids" in test]
        lines = []
        for test in tests:
            keys = ("text", "text_base64", "add_special", "parse_special")
            lines.append(json.dumps({key: test[key] for key in keys if key in test}))
        answers = self.ok("tokenize", path, stdin="\n".join(lines).encode() + b"\n").splitlines()
        direct = self.ok("tokenize", self.fixture("tokenizers/llama-spm.gguf"), stdin="\n".join(lines).encode() + b"\n").splitlines()
        self.assertEqual(len(answers), len(tests))
        self.assertEqual(answers, direct)
        self.assertGreater(len(tests), 500)



# --- encoders --------------------------------------------------------------------------------------------------------

ENCODER_NAMES = {"token_embd_norm": "embeddings.LayerNorm", "token_embd": "embeddings.word_embeddings",
                 "position_embd": "embeddings.position_embeddings", "token_types": "embeddings.token_type_embeddings",
                 "attn_output_norm": "attention.output.LayerNorm", "layer_output_norm": "output.LayerNorm",
                 "attn_output": "attention.output.dense", "attn_q": "attention.self.query", "attn_k": "attention.self.key",
                 "attn_v": "attention.self.value", "ffn_up": "intermediate.dense", "ffn_down": "output.dense"}
BERT_HEAD = {"cls.output": "classifier", "cls": "pooler.dense"}
ROBERTA_HEAD = {"cls.output": "classifier.out_proj", "cls": "classifier.dense"}


class ConvertEncoders(HfCase):
    IDS = ("2,5,3", "2,5,6,8,9,3", "2,3")

    def direct(self, labels, pooling):
        """The model written as GGUF without a detour."""
        path = self.directory / "direct.gguf"
        tensors = encoder_tensors(11, labels)
        write_gguf(path, encoder_metadata(pooling) + [("tokenizer.ggml.model", STRING, "no_vocab")],
                   {name: (shape[::-1], 0, data) for name, (shape, data) in tensors.items()})
        return path, tensors

    def encoder(self, architecture, tensors, prefix, head, tokenizer, changes=None, **documents):
        """The same as a folder."""
        config = {"architectures": [architecture], "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                  "intermediate_size": 24, "max_position_embeddings": 40, "layer_norm_eps": 1e-12, "vocab_size": 11, "hidden_act": "gelu",
                  "type_vocab_size": 2, "pad_token_id": 1, "torch_dtype": "float32", **(changes or {})}
        out = {}
        for name, (shape, data) in tensors.items():
            place, kind = name.rsplit(".", 1)
            layer = ""
            if place.startswith("blk."):
                _, number, place = place.split(".", 2)
                layer = f"encoder.layer.{number}."
            hf = head[place] if place in head else layer + ENCODER_NAMES[place]
            root = "" if hf.startswith("classifier") else prefix
            if architecture.startswith("XLM") and place == "position_embd":
                shape, data = [shape[0] + 2, shape[1]], random_values("unused", [2, shape[1]]) + data
                config["max_position_embeddings"] += 2
            out[f"{root}{hf}.{kind}"] = ("F32", shape, data)
        return self.folder(config, out, tokenizer=tokenizer, **documents)

    def same(self, path, direct, *pooling):
        for ids in self.IDS:
            self.assertEqual(self.ok("embed", path, "--tokens", ids, *pooling), self.ok("embed", direct, "--tokens", ids, *pooling))

    def test_embeddings(self):
        for pooling, mode in ((1, "pooling_mode_mean_tokens"), (2, "pooling_mode_cls_token")):
            direct, tensors = self.direct(0, pooling)
            for prefix, architecture in (("", "BertModel"), ("bert.", "BertForMaskedLM"), ("", "XLMRobertaModel"), ("roberta.", "XLMRobertaForMaskedLM")):
                roberta = architecture.startswith("XLM")
                tokenizer = ConvertTokenizers.UNIGRAM if roberta else ConvertTokenizers.BERT
                folder = self.encoder(architecture, tensors, prefix, {}, tokenizer)
                (folder / "1_Pooling").mkdir(exist_ok=True)
                (folder / "1_Pooling" / "config.json").write_text(json.dumps({mode: True}))
                path = self.converted(folder)
                self.same(path, direct)
                found = Gguf(path)
                self.assertEqual((found.metadata["general.architecture"], found.metadata["bert.context_length"]), ("bert", 40))
                (folder / "1_Pooling" / "config.json").unlink()
                (folder / "1_Pooling").rmdir()

    def test_what_training_leaves(self):
        direct, tensors = self.direct(0, 2)
        folder = self.encoder("BertModel", tensors, "bert.", {}, ConvertTokenizers.BERT)
        path = folder / "model.safetensors"
        header = json.loads(path.read_bytes()[8:8 + struct.unpack("<Q", path.read_bytes()[:8])[0]])
        data = path.read_bytes()[8 + struct.unpack("<Q", path.read_bytes()[:8])[0]:]
        old = {}
        for name, entry in header.items():
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            old[name] = ("F32", entry["shape"], data[entry["data_offsets"][0]:entry["data_offsets"][1]])
        for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "cls.predictions.bias", "cls.seq_relationship.weight"):
            old[name] = ("F32", [2], bytes(8))
        old["bert.embeddings.position_ids"] = ("I64", [1], bytes(8))
        write_safetensors(path, old)
        self.same(self.converted(folder), direct, "--pooling", "cls")
        write_safetensors(path, {**old, "bert.extra": ("F32", [1], bytes(4))})
        self.fails(3, "convert", folder, self.directory / "out", words=["bert.extra"])
        del old["bert.encoder.layer.1.output.LayerNorm.gamma"]
        write_safetensors(path, old)
        self.fails(3, "convert", folder, self.directory / "out", words=["encoder.layer.1.output.LayerNorm.weight"])

    def test_rerankers(self):
        direct, tensors = self.direct(1, 4)
        cases = (("BertForSequenceClassification", "bert.", BERT_HEAD, ConvertTokenizers.BERT, [2, 5, 3, 5, 6, 3]),
                 ("XLMRobertaForSequenceClassification", "roberta.", ROBERTA_HEAD, ConvertTokenizers.UNIGRAM, [0, 4, 2, 2, 4, 5, 2]))
        for architecture, prefix, head, tokenizer, ids in cases:
            settings = ConvertTokenizers.XLM if prefix == "roberta." else {}
            path = self.converted(self.encoder(architecture, tensors, prefix, head, tokenizer, tokenizer_config=settings))
            self.same(path, direct, "--pooling", "rank")
            query, document = ("a", "ab") if prefix == "roberta." else ("the", "thes")
            found = self.json("rerank", path, "--query", query, stdin=json.dumps({"document": document}).encode())["score"]
            self.assertEqual([found], self.json("embed", direct, "--pooling", "rank", "--tokens", ",".join(map(str, ids)))["scores"])

    def test_what_an_encoder_does_not_have(self):
        _, tensors = self.direct(0, 2)
        for change, code, word in (({"position_embedding_type": "relative_key"}, 4, "position_embedding_type"), ({"hidden_act": "relu"}, 4, "relu"),
                                   ({"pad_token_id": 60}, 3, "max_position_embeddings")):
            folder = self.encoder("XLMRobertaModel", tensors, "", {}, ConvertTokenizers.UNIGRAM, change)
            self.fails(code, "convert", folder, self.directory / "out", words=[word])


if __name__ == "__main__":
    cli_test.main(globals())
