"""A SentencePiece-style byte-pair tokeniser: the training of its pieces, and encoding exactly as llama.cpp does it.

Text is cut into words (an optional mark of the space before, then letters, or one digit, or signs); pieces are found
by joining the most frequent pair of neighbours, again and again. The score of a piece is minus its rank, so that a
tokeniser that joins the best-scored pair first repeats the training. Characters without a piece become bytes.
"""

import json
import re
from collections import Counter, defaultdict

SPACE = "\u2581"
UNKNOWN, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3
CONTROLS = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|result|>", "<|end|>"]
SYSTEM, USER, ASSISTANT, CALL, RESULT, END = range(FIRST_BYTE + 256, FIRST_BYTE + 256 + len(CONTROLS))
NORMAL, UNKNOWN_TYPE, CONTROL, BYTE = 1, 2, 3, 6

WORD = re.compile(f"{SPACE}?[A-Za-z]+|[0-9]|{SPACE}?[^A-Za-z0-9{SPACE}]+|{SPACE}")


def train(texts, size):
    """The pieces of a vocabulary of `size` tokens, best first, then the single characters."""
    words = Counter()
    for text in texts:
        words.update(WORD.findall(SPACE + text.replace(" ", SPACE)))
    characters = [SPACE] + [chr(c) for c in range(33, 127)]
    spelled = [(list(word), count) for word, count in sorted(words.items())]
    pairs, where = Counter(), defaultdict(set)
    for index, (symbols, count) in enumerate(spelled):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += count
            where[pair].add(index)
    pieces, taken = [], set(characters)
    room = size - FIRST_BYTE - 256 - len(CONTROLS) - len(characters)
    while len(pieces) < room and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        piece = best[0] + best[1]
        if piece not in taken:
            taken.add(piece)
            pieces.append(piece)
        for index in sorted(where.pop(best)):
            symbols, count = spelled[index]
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] -= count
                where[pair].discard(index)
            joined, i = [], 0
            while i < len(symbols):
                if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == best:
                    joined.append(piece)
                    i += 2
                else:
                    joined.append(symbols[i])
                    i += 1
            spelled[index] = (joined, count)
            for pair in zip(joined, joined[1:]):
                pairs[pair] += count
                where[pair].add(index)
        del pairs[best]
    return pieces + characters


class Tokenizer:
    def __init__(self, pieces):
        self.pieces = pieces
        controls = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + CONTROLS
        self.tokens = controls + pieces
        self.scores = [0.0] * len(controls) + [-float(rank) for rank in range(len(pieces))]
        self.types = [UNKNOWN_TYPE, CONTROL, CONTROL] + [BYTE] * 256 + [CONTROL] * len(CONTROLS) + [NORMAL] * len(pieces)
        self.rank = {piece: rank for rank, piece in enumerate(pieces)}
        self.first = len(controls)
        self.cache = {}

    def __len__(self):
        return len(self.tokens)

    def word(self, text):
        """Ids of a stretch that begins with its spaces and has no others: the pair with the best score first."""
        symbols = list(text)
        while len(symbols) > 1:
            ranks = [(self.rank.get(a + b, 1 << 30), i) for i, (a, b) in enumerate(zip(symbols, symbols[1:]))]
            rank, i = min(ranks)
            if rank == 1 << 30:
                break
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        ids = []
        for symbol in symbols:
            if symbol in self.rank:
                ids.append(self.first + self.rank[symbol])
            else:
                ids.extend(FIRST_BYTE + byte for byte in symbol.encode())
        return ids

    def encode(self, text):
        """Ids of text without control tokens, with the space that a tokeniser puts before it."""
        ids = []
        if not text:
            return ids
        for word in re.findall(f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+", SPACE + text.replace(" ", SPACE)):
            if word not in self.cache:
                self.cache[word] = self.word(word)
            ids.extend(self.cache[word])
        return ids

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            if FIRST_BYTE <= i < FIRST_BYTE + 256:
                out.append(i - FIRST_BYTE)
            elif self.types[i] == NORMAL:
                out += self.tokens[i].replace(SPACE, " ").encode()
        return out.decode(errors="replace").removeprefix(" ")

    def save(self, path):
        with open(path, "w") as file:
            json.dump(self.pieces, file, indent=0)

    @staticmethod
    def load(path):
        with open(path) as file:
            return Tokenizer(json.load(file))
