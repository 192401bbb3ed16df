"""Writes the trained model as a GGUF file: weights in Q8_0 (or F32), tokeniser, chat template.

    python3 examples/tiny/train/export.py --run build/tiny --output examples/tiny/inlay-tiny.gguf
"""

import argparse
import json
import os
import struct

import numpy as np
import torch

import tokenizer as tk

F32, Q8_0 = 0, 8
ALIGNMENT = 32

# As data.chat_ids lays conversations out. A call is a tool call whose argument is named "expression".
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<|system|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '<|user|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] == 'tool' -%}{{- '<|result|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] == 'assistant' and message['tool_calls'] -%}"
    "{%- for call in message['tool_calls'] -%}"
    "{{- '<|assistant|><|tool|>' + call['function']['arguments']['expression'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' + message['content'] + '<|end|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}")


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(v):
    """Type and bytes of a metadata value: bool, int (unsigned), float, str, or a list of str, float or int (signed)."""
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + string(v)
    kind = {str: 8, float: 6, int: 5}[type(v[0])]
    items = b"".join(string(x) for x in v) if kind == 8 else struct.pack(f"<{len(v)}{'f' if kind == 6 else 'i'}", *v)
    return struct.pack("<IIQ", 9, kind, len(v)) + items


def quantize(matrix):
    """Q8_0: blocks of 32 values, a half-precision scale and 32 signed bytes."""
    blocks = matrix.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = blocks * inverse
    levels = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), levels.view(np.uint8)], 1).tobytes()


def tensors(weights, c):
    """(name, matrix) in the names and the order of GGUF; the fused matrices are taken apart."""
    yield "token_embd.weight", weights["embedding"]
    yield "output_norm.weight", weights["output_norm.weight"]
    q, kv = c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"]
    for i in range(c["layers"]):
        w = {name.removeprefix(f"layers.{i}."): x for name, x in weights.items() if name.startswith(f"layers.{i}.")}
        yield f"blk.{i}.attn_norm.weight", w["attention_norm.weight"]
        for name, matrix in zip(("q", "k", "v"), np.split(w["qkv.weight"], [q, q + kv])):
            yield f"blk.{i}.attn_{name}.weight", matrix
        yield f"blk.{i}.attn_output.weight", w["attention_output.weight"]
        yield f"blk.{i}.ffn_norm.weight", w["ffn_norm.weight"]
        gate, up = np.split(w["gate_up.weight"], 2)
        yield f"blk.{i}.ffn_gate.weight", gate
        yield f"blk.{i}.ffn_up.weight", up
        yield f"blk.{i}.ffn_down.weight", w["down.weight"]


def write(path, weights, c, tokenizer, name, quantized=True):
    metadata = {
        "general.architecture": "llama", "general.name": name, "general.alignment": ALIGNMENT,
        "general.license": "apache-2.0", "general.file_type": 7 if quantized else 0, "general.quantization_version": 2,
        "llama.vocab_size": c["vocab"], "llama.context_length": c["context"], "llama.embedding_length": c["dim"],
        "llama.block_count": c["layers"], "llama.feed_forward_length": c["ffn_dim"],
        "llama.attention.head_count": c["heads"], "llama.attention.head_count_kv": c["kv_heads"],
        "llama.attention.key_length": c["head_dim"], "llama.attention.value_length": c["head_dim"],
        "llama.rope.dimension_count": c["head_dim"], "llama.rope.freq_base": float(c["rope_base"]),
        "llama.attention.layer_norm_rms_epsilon": float(c["norm_epsilon"]),
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokenizer.tokens, "tokenizer.ggml.scores": tokenizer.scores,
        "tokenizer.ggml.token_type": tokenizer.types,
        "tokenizer.ggml.bos_token_id": tk.BOS, "tokenizer.ggml.eos_token_id": tk.EOS,
        "tokenizer.ggml.eot_token_id": tk.END, "tokenizer.ggml.unknown_token_id": tk.UNKNOWN,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": True, "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    infos, payload = b"", b""
    named = list(tensors(weights, c))
    for tensor, matrix in named:
        q8 = quantized and matrix.ndim == 2
        data = quantize(matrix) if q8 else matrix.astype("<f4").tobytes()
        infos += string(tensor) + struct.pack("<I", matrix.ndim) + struct.pack(f"<{matrix.ndim}Q", *matrix.shape[::-1])
        infos += struct.pack("<IQ", Q8_0 if q8 else F32, len(payload))
        payload += data + bytes(-len(data) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(named), len(metadata))
    head += b"".join(string(key) + value(v) for key, v in metadata.items()) + infos
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + payload)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="the directory that train.py wrote")
    parser.add_argument("--checkpoint", default="final.pt")
    parser.add_argument("--output", required=True)
    parser.add_argument("--f32", action="store_true", help="weights as float32 instead of Q8_0")
    args = parser.parse_args()
    kept = torch.load(os.path.join(args.run, args.checkpoint), map_location="cpu")
    with open(os.path.join(args.run, "config.json")) as file:
        config = json.load(file)
    weights = {name: x.float().numpy() for name, x in kept["model"].items()}
    tokenizer = tk.Tokenizer.load(os.path.join(args.run, "tokenizer.json"))
    write(args.output, weights, config, tokenizer, "inlay tiny", not args.f32)
    print(f"{args.output}: {os.path.getsize(args.output)} bytes")


if __name__ == "__main__":
    main()
