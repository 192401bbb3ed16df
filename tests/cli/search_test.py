#!/usr/bin/env python3
"""The example examples/search: a folder of texts, an index, and questions. Works with a model of random weights: what is asked for
in the very words of a piece must be found first. Usage: as cli_test.py, with the example as --minimal."""

import subprocess

import cli_test
from cli_test import OPTIONS
from convert_test import LLAMA, ConvertTokenizers, HfCase, llama_tensors


class Search(HfCase):
    def search(self, *arguments, code=0):
        done = subprocess.run([OPTIONS.minimal, *map(str, arguments)], capture_output=True, timeout=300)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        return done.stdout.decode() if code == 0 else done.stderr.decode()

    def model(self, dim=32):
        """A vocabulary of bytes and letters, and random weights."""
        pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)] + [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
        pieces += [("\u2581", -1e4, 1)] + [(chr(letter), -1e4 - letter, 1) for letter in range(ord("a"), ord("z") + 1)]
        config = {**LLAMA, "vocab_size": len(pieces), "hidden_size": dim, "max_position_embeddings": 256}
        folder = self.folder(config, llama_tensors(config), tokenizer_config={"bos_token": "<s>", "eos_token": "</s>"})
        (folder / "tokenizer.model").write_bytes(ConvertTokenizers.sentencepiece(pieces))
        return self.converted(folder)

    def test_pieces_are_found_by_their_own_words(self):
        model = self.model()
        texts = self.directory / "texts"
        (texts / "deeper").mkdir(parents=True)
        (texts / "a.txt").write_text("the cat sat on the mat")
        (texts / "deeper" / "b.txt").write_text("once upon a time there was a king\n\n" * 60 + "who lived by the sea")
        (texts / "c.bin").write_bytes(b"\xff\0\1")
        (texts / "empty.txt").write_text("")
        index = self.directory / "index"
        self.search("index", model, texts, index)
        first = index.read_bytes()
        self.search("index", model, texts, index)
        self.assertEqual(index.read_bytes(), first)
        lines = self.search("query", model, index, "the cat sat on the mat", 3).splitlines()
        score, where, text = lines[0].split("\t")
        self.assertAlmostEqual(float(score), 1.0, places=3)
        self.assertEqual((where, text), (f"{texts}/a.txt:0", "the cat sat on the mat"))
        self.assertEqual(len(lines), 3)
        scores = [float(line.split("\t")[0]) for line in lines]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertNotIn("c.bin", self.search("query", model, index, "x", 1000))

    def test_what_is_wrong_is_said(self):
        model, index = self.model(), self.directory / "index"
        texts = self.directory / "texts"
        texts.mkdir()
        (texts / "a.txt").write_text("some words")
        self.search("index", model, texts, index)
        self.assertIn("usage", self.search("find", code=2))
        self.assertIn("absent", self.search("index", model, self.directory / "absent", index, code=3))
        self.assertIn("RESULTS", self.search("query", model, index, "a", "0", code=2))
        self.assertIn("absent", self.search("query", self.directory / "absent", index, "a", code=3))
        self.assertIn("make it again", self.search("query", self.model(64), index, "a", code=3))
        index.write_bytes(index.read_bytes()[:-1])
        self.assertIn("index", self.search("query", self.model(), index, "a", code=3))
        self.assertIn("index", self.search("query", model, model, "a", code=3))


if __name__ == "__main__":
    cli_test.main({"Search": Search})
