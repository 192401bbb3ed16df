#!/usr/bin/env python3
"""Scores of pairs of texts from the command line, and of token ids, against each other and against a head computed here.
Usage: as cli_test.py."""

import json
import math
import struct

import cli_test
from cli_test import Case
from model_files import I32, STRING, U32, Gguf, encoder_metadata, encoder_tensors, write_gguf

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["\u2581" + word for word in ("the", "cat", "sat", "on", "mat", "a", "dog", "ran", ",")] + ["s", "ing", "er"]


class RerankCase(Case):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.gguf")

    def write(self, name, labels=1):
        tokens = SPECIAL + PIECES
        path = self.directory / name
        tensors = {tensor: (shape[::-1], 0, data) for tensor, (shape, data) in encoder_tensors(len(tokens), labels).items()}
        write_gguf(path, encoder_metadata(4 if labels else 2) + [
            ("tokenizer.ggml.model", STRING, "bert"), ("tokenizer.ggml.tokens", [STRING], tokens),
            ("tokenizer.ggml.token_type", [I32], [3] * len(SPECIAL) + [1] * len(PIECES)), ("tokenizer.ggml.unknown_token_id", U32, 1),
            ("tokenizer.ggml.cls_token_id", U32, 2), ("tokenizer.ggml.seperator_token_id", U32, 3)], tensors)
        return path

    def lines(self, *requests):
        return "".join(json.dumps(request) + "\n" for request in requests).encode()

    def scores(self, *arguments, stdin):
        return [json.loads(line) for line in self.ok("rerank", *arguments, stdin=stdin).splitlines()]

    def ids(self, text):
        return json.loads(self.ok("tokenize", self.model, stdin=self.lines({"text": text, "add_special": False})))["ids"]

    def pair(self, query, document):
        return [2, *self.ids(query), 3, *self.ids(document), 3]

    def score_of(self, ids):
        found = self.json("embed", self.model, "--pooling", "rank", "--tokens", ",".join(map(str, ids)))
        self.assertEqual(list(found), ["scores"])
        return found["scores"]


class EmbedRank(RerankCase):
    def test_scores_are_the_head_of_the_first_state(self):
        def matrix(name):
            dims, _, data = Gguf(self.model).tensors[name]
            values = struct.unpack("<%df" % (len(data) // 4), data)
            return [values[i:i + dims[0]] for i in range(0, len(values), dims[0])]

        def multiply(rows, bias, x):
            return [sum(a * b for a, b in zip(row, x)) + c for row, c in zip(rows, bias)]
        found = []
        for ids in ((2, 5, 6, 3, 10, 3), (2, 3), (2, 6, 5, 3, 10, 3)):
            pooled = self.json("embed", self.model, "--pooling", "cls", "--tokens", ",".join(map(str, ids)))["embedding"]
            hidden = [math.tanh(value) for value in multiply(matrix("cls.weight"), matrix("cls.bias")[0], pooled)]
            expected = multiply(matrix("cls.output.weight"), matrix("cls.output.bias")[0], hidden)
            found.append(self.score_of(ids)[0])
            self.assertAlmostEqual(found[-1], expected[0], delta=1e-5)
        self.assertGreater(max(found) - min(found), 0.01)

    def test_several_labels(self):
        model = self.write("labels.gguf", labels=3)
        self.assertEqual(len(self.json("embed", model, "--pooling", "rank", "--tokens", "2,5,3")["scores"]), 3)
        plain = self.write("plain.gguf", labels=0)
        self.fails(4, "embed", plain, "--pooling", "rank", "--tokens", "2,5,3", words=["scores"])


class Rerank(RerankCase):
    DOCUMENTS = ["the cat sat on the mat", "a dog ran", "", "cats, dogs", "the zebra"]

    def test_scores_are_those_of_the_tokens(self):
        query = "the cat"
        expected = [self.score_of(self.pair(query, document)) for document in self.DOCUMENTS]
        self.assertGreater(len(set(map(tuple, expected))), 3)
        requests = self.lines(*({"document": document} for document in self.DOCUMENTS))
        for threads in ("1", "3"):
            found = self.scores(self.model, "--query", query, "-t", threads, stdin=requests)
            self.assertEqual([[line["score"]] for line in found], expected)
        own = self.lines(*({"query": "a dog", "document": document} for document in self.DOCUMENTS))
        others = self.scores(self.model, "--query", query, stdin=own)
        self.assertEqual([[line["score"]] for line in others], [self.score_of(self.pair("a dog", text)) for text in self.DOCUMENTS])
        self.assertEqual(self.scores(self.model, stdin=own), others)
        packed = self.directory / "packed.gguf"
        self.ok("pack", self.model, packed)
        self.assertEqual(self.scores(packed, stdin=own), others)

    def test_lines_of_text(self):
        documents = [document for document in self.DOCUMENTS if document] + ["{\"document\": 3}"]
        expected = self.scores(self.model, "-q", "a cat", stdin=self.lines(*({"document": document} for document in documents)))
        self.assertEqual(self.scores(self.model, "-q", "a cat", "--lines", stdin="\n".join(documents).encode()), expected)

    def test_long_documents(self):
        long = "the cat " * 30
        requests = self.lines({"document": long}, {"document": "the mat"})
        first, second = self.scores(self.model, "-q", "a dog", stdin=requests)
        self.assertIn("40 positions", first["error"])
        self.assertEqual([second["score"]], self.score_of(self.pair("a dog", "the mat")))
        cut, again = self.scores(self.model, "-q", "a dog", "--cut", stdin=requests)
        # [CLS], two tokens of the query and two separators leave room for 35.
        self.assertEqual([cut["score"]], self.score_of([2, *self.ids("a dog"), 3, *self.ids(long)[:35], 3]))
        self.assertEqual(again, second)

    def test_bad_requests(self):
        good = self.lines({"document": "a"})
        for bad in (b"{", b"[]", b"3", b"{}", b"{\"document\": 3}", b"{\"document\": \"a\", \"query\": null}"):
            self.fails(2, "rerank", self.model, "-q", "a", stdin=good + bad + b"\n", words=["line 2"])
        self.fails(2, "rerank", self.model, stdin=good, words=["line 1", "query"])
        self.fails(4, "rerank", self.write("plain.gguf", labels=0), "-q", "a", stdin=good, words=["reranker"])
        self.fails(4, "rerank", self.write("labels.gguf", labels=3), "-q", "a", stdin=good, words=["classifier"])
        self.fails(3, "rerank", self.synth("q8_0"), "-q", "a", stdin=good, words=["tokenizer"])


if __name__ == "__main__":
    cli_test.main(globals())
