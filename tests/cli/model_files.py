"""Reads and writes model files in plain Python, as small as tests need them: GGUF and safetensors."""

import json
import random
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
U32, I32, F32, BOOL = 4, 5, 6, 7
# Bytes per value and GGUF's type of safetensors' types.
TYPES = {"F32": (4, 0), "F16": (2, 1), "BF16": (2, 30), "F64": (8, None)}


class Gguf:
    """metadata: {key: value}, types: {key: type or [type of elements]}, tensors: {name: (dims, type, bytes)}, dims as stored."""

    def __init__(self, path):
        self.data = path.read_bytes()
        assert self.data[:4] == b"GGUF"
        self.at = 8
        count, values = self.take("Q"), self.take("Q")
        self.metadata, self.types, self.tensors = {}, {}, {}
        for _ in range(values):
            key = self.string()
            kind = self.take("I")
            self.types[key] = kind
            if kind == ARRAY:
                element, size = self.take("I"), self.take("Q")
                self.types[key] = [element]
                self.metadata[key] = [self.value(element) for _ in range(size)]
            else:
                self.metadata[key] = self.value(kind)
        entries = []
        for _ in range(count):
            name = self.string()
            dims = [self.take("Q") for _ in range(self.take("I"))]
            entries.append((name, dims, self.take("I"), self.take("Q")))
        start = -(-self.at // 32) * 32
        ends = sorted(offset for *_, offset in entries) + [len(self.data) - start]
        for name, dims, kind, offset in entries:
            end = min(end for end in ends if end > offset)
            size = min(end - offset, {0: 4, 1: 2, 30: 2}.get(kind, 1 << 60) * product(dims))
            self.tensors[name] = (dims, kind, self.data[start + offset:start + offset + size])

    def take(self, letter):
        value, = struct.unpack_from("<" + letter, self.data, self.at)
        self.at += struct.calcsize("<" + letter)
        return value

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8")

    def value(self, kind):
        return self.string() if kind == STRING else self.take(SCALARS[kind])


def product(numbers):
    result = 1
    for number in numbers:
        result *= number
    return result


def write_gguf(path, metadata, tensors):
    """metadata: [(key, type or [type of elements], value)], tensors: {name: (dims as stored, type, bytes)}."""
    def string(text):
        data = text.encode("utf-8")
        return struct.pack("<Q", len(data)) + data
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    def encoded(kind, value):
        return string(value) if kind == STRING else struct.pack("<" + SCALARS[kind], value)
    for key, kind, value in metadata:
        if isinstance(kind, list):
            out += string(key) + struct.pack("<IIQ", ARRAY, kind[0], len(value)) + b"".join(encoded(kind[0], one) for one in value)
        else:
            out += string(key) + struct.pack("<I", kind) + encoded(kind, value)
    offset = 0
    for name, (dims, kind, data) in tensors.items():
        out += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", dim) for dim in dims)
        out += struct.pack("<IQ", kind, offset)
        offset += -(-len(data) // 32) * 32
    for _, _, data in tensors.values():
        out += b"\0" * (-len(out) % 32) + data
    path.write_bytes(out)


def write_safetensors(path, tensors):
    """tensors: {name: (type, shape, bytes)}."""
    header, offset = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values()))


def random_values(seed, shape, kind="F32", center=0.0, gain=1.0):
    """Random numbers as stored bytes."""
    generator = random.Random(seed)
    spread = gain * (3.0 / shape[-1]) ** 0.5
    values = [center + generator.uniform(-spread, spread) for _ in range(product(shape))]
    return encode(values, kind)


def encode(values, kind):
    if kind == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack("<%d%s" % (len(values), {"F32": "f", "F16": "e", "F64": "d"}[kind]), *values)


def rows_of(data, rows):
    size = len(data) // rows
    return [data[i * size:(i + 1) * size] for i in range(rows)]


def adjacent_pairs(data, rows, heads):
    """Rows of a query or key matrix from Hugging Face's order, in which dimension i of a head turns with i + half, to GGUF's for
    the llama family, in which it turns with its neighbour."""
    out = []
    for head in rows_of(data, heads):
        in_head = rows_of(head, rows // heads)
        half = len(in_head) // 2
        for i in range(half):
            out += [in_head[i], in_head[i + half]]
    return b"".join(out)


def half_apart(data, rows, heads):
    """The inverse of adjacent_pairs."""
    return b"".join(b"".join(in_head[0::2] + in_head[1::2]) for in_head in
                    (rows_of(head, rows // heads) for head in rows_of(data, heads)))


def transposed(data, rows, cols, size=4):
    """A matrix of `rows` rows, stored by columns."""
    return b"".join(data[(r * cols + c) * size:(r * cols + c + 1) * size] for c in range(cols) for r in range(rows))


# --- a small encoder of BERT's kind ---

ENCODER = {"dim": 16, "ffn": 24, "context": 40, "layers": 2, "heads": 2, "types": 2}


def encoder_tensors(vocab, labels=0):
    """{GGUF's name: (shape, values as stored)}; with labels, a head that scores."""
    dim, ffn = ENCODER["dim"], ENCODER["ffn"]
    shapes = {"token_embd.weight": [vocab, dim], "position_embd.weight": [ENCODER["context"], dim],
              "token_types.weight": [ENCODER["types"], dim], "token_embd_norm.weight": [dim], "token_embd_norm.bias": [dim]}
    for layer in range(ENCODER["layers"]):
        block = f"blk.{layer}."
        for matrix, rows, cols in (("attn_q", dim, dim), ("attn_k", dim, dim), ("attn_v", dim, dim), ("attn_output", dim, dim),
                                   ("ffn_up", ffn, dim), ("ffn_down", dim, ffn)):
            shapes.update({f"{block}{matrix}.weight": [rows, cols], f"{block}{matrix}.bias": [rows]})
        for norm in ("attn_output_norm", "layer_output_norm"):
            shapes.update({f"{block}{norm}.weight": [dim], f"{block}{norm}.bias": [dim]})
    if labels:
        shapes.update({"cls.weight": [dim, dim], "cls.bias": [dim], "cls.output.weight": [labels, dim], "cls.output.bias": [labels]})
    tensors = {}
    for name, shape in shapes.items():
        gain = 0.3 if len(shape) == 1 else 4.0 if "embd" in name else 1.5
        tensors[name] = (shape, random_values(name, shape, center=1.0 if name.endswith("norm.weight") else 0.0, gain=gain))
    return tensors


def encoder_metadata(pooling):
    """Metadata without the tokenizer's. Pooling: 1 the mean, 2 the first token, 4 the head's scores."""
    keys = {"context_length": (U32, ENCODER["context"]), "embedding_length": (U32, ENCODER["dim"]), "block_count": (U32, ENCODER["layers"]),
            "feed_forward_length": (U32, ENCODER["ffn"]), "attention.head_count": (U32, ENCODER["heads"]),
            "attention.layer_norm_epsilon": (F32, 1e-12), "attention.causal": (BOOL, False), "pooling_type": (U32, pooling)}
    return [("general.architecture", STRING, "bert"), *((f"bert.{key}", *value) for key, value in keys.items())]
