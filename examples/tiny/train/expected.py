"""Writes what PyTorch computes for the exported weights, as reference for the library's tests.

    python3 examples/tiny/train/expected.py --run build/tiny --output examples/tiny/expected.json

The weights are those of the GGUF file: rounded to Q8_0 and back. Everything else is float32. Of several prompts the one is
taken whose greedy text hangs least on rounding: its smallest gap between the two likeliest tokens is the largest.
"""

import argparse
import json
import os
import random

import numpy as np
import torch

import data
import export
import stories
import tokenizer as tk
import words
from model import Config, Llama

LENGTH = 120


def rounded(matrix):
    blocks = np.frombuffer(export.quantize(matrix), np.uint8).reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return (blocks[:, 2:].copy().view(np.int8).astype(np.float32) * scales).reshape(matrix.shape)


def firm_part(tokenizer, tokens, gaps, prompt_tokens):
    """The longest stretch of the text in which no choice is close, as (text before, text): the same in any arithmetic."""
    best = (0, 0)
    start = prompt_tokens
    for i in range(prompt_tokens, len(tokens) + 1):
        if i == len(tokens) or gaps[i - 1] < 1:
            before = tokenizer.decode(tokens[1:start])
            if i - start > best[1] - best[0] and tokenizer.encode(before) == tokens[1:start]:
                best = (start, i)
            start = i + 1
    before, whole = (tokenizer.decode(tokens[1:end]) for end in best)
    return {"firm_prompt": before, "firm_text": whole, "firm_tokens": best[1] - best[0]}


@torch.no_grad()
def greedy(model, prompt, length):
    """Tokens, all logits [tokens, vocab] and gaps until the end of the text or `length` tokens."""
    tokens = list(prompt)
    while True:
        logits = model(torch.tensor([tokens]))[0]
        best = int(logits[-1].argmax())
        if len(tokens) >= length or best in (tk.EOS, tk.END):
            top = logits.topk(2, -1).values
            return tokens, logits, (top[:, 0] - top[:, 1])
        tokens.append(best)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    kept = torch.load(os.path.join(args.run, "final.pt"))
    tokenizer = tk.Tokenizer.load(os.path.join(args.run, "tokenizer.json"))
    model = Llama(Config(**kept["config"]))
    model.load_state_dict({name: torch.from_numpy(rounded(x.numpy())) if x.dim() == 2 else x for name, x in kept["model"].items()})

    def story(name):
        return f"Once upon a time, there was a little {'girl' if name in words.GIRLS else 'boy'} named {name}."

    @torch.no_grad()
    def smallest_gaps(names):
        """Of prompts of one length, all at once."""
        tokens = torch.tensor([[tk.BOS] + tokenizer.encode(story(name)) for name in names])
        smallest = torch.full((len(names),), 1e9)
        for _ in range(LENGTH - tokens.shape[1]):
            top = model(tokens)[:, -1].topk(2, -1)
            smallest = torch.minimum(smallest, top.values[:, 0] - top.values[:, 1])
            tokens = torch.cat([tokens, top.indices[:, :1]], 1)
        return smallest.tolist()

    lengths = {}
    for name in words.GIRLS + words.BOYS:
        lengths.setdefault(len(tokenizer.encode(story(name))), []).append(name)
    names = max(lengths.values(), key=len)
    name = max(zip(smallest_gaps(names), names))[1]
    prompt = [tk.BOS] + tokenizer.encode(story(name))
    tokens, logits, gaps = greedy(model, prompt, LENGTH)
    logprobs = logits.log_softmax(-1)[:-1].gather(-1, torch.tensor(tokens[1:]).unsqueeze(-1))
    told = tokenizer.decode(tokens[1:])
    question = [("system", "You are a helpful assistant. You can use a calculator."),
                ("user", "Tom has 1286 shells and finds 417 more. How many shells does Tom have now?")]
    asked = data.chat_ids(tokenizer, question, answer=True)[0]
    call = greedy(model, asked, 200)[0][len(asked) :]
    rng = random.Random("expected: stories")
    told_stories = [[tk.BOS] + tokenizer.encode(stories.Story(rng).text()) for _ in range(12)]
    sums = [float(model(torch.tensor([ids[:-1]]))[0].log_softmax(-1).gather(-1, torch.tensor(ids[1:]).unsqueeze(-1)).sum())
            for ids in told_stories]
    result = {
        "stories": told_stories, "stories_mean_logprob": sum(sums) / sum(len(ids) - 1 for ids in told_stories),
        "prompt": story(name), "prompt_tokens": len(prompt), "tokens": tokens, "text": told,
        "smallest_gap": float(gaps[len(prompt) - 1 :].min()), "mean_logprob": float(logprobs.mean()),
        "logits_last": [float(f"{x:.9g}") for x in logits[-1].tolist()],
        "logits_pos": {str(p): [float(f"{x:.9g}") for x in logits[p, :32].tolist()] for p in (0, 5, 20, 60)},
        "argmax": logits.argmax(-1).tolist(), "top2_gap": [float(f"{x:.5g}") for x in gaps.tolist()],
        "call_prompt": asked, "call": call, "call_text": tokenizer.decode(call),
    }
    result.update(firm_part(tokenizer, tokens, gaps.tolist(), len(prompt)))
    with open(args.output, "w") as file:
        json.dump(result, file, indent=None, separators=(",", ":"))
        file.write("\n")
    print(told, "\nsmallest gap", result["smallest_gap"], "\n" + result["call_text"])


if __name__ == "__main__":
    main()
