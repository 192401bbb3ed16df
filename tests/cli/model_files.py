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
    """metadata: [(key, type, value)], tensors: {name: (dims as stored, type, bytes)}."""
    def string(text):
        data = text.encode("utf-8")
        return struct.pack("<Q", len(data)) + data
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, value in metadata:
        out += string(key) + struct.pack("<I", kind)
        out += string(value) if kind == STRING else struct.pack("<" + SCALARS[kind], value)
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
