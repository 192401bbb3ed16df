"""Trains the model in two stages: stories, then conversations with a calculator.

    python3 examples/tiny/train/train.py --out build/tiny

Everything is made from seeds, new text for every step: no document is seen twice. A run that is stopped goes on from its
last checkpoint when it is started again with the same arguments. DIR/log.csv has the losses; DIR/final.pt is for
export.py.
"""

import argparse
import csv
import json
import os
import random
import time

import numpy as np
import torch

import chat
import data
import stories
import tokenizer as tk
from model import Config, CrossEntropy, Llama


class Optimizer:
    """AdamW, with no decay of the norms, and clipped gradients."""

    def __init__(self, model, rate, decay):
        self.parameters = list(model.parameters())
        self.rate = rate
        self.adam = torch.optim.AdamW(
            [{"params": [p for p in self.parameters if p.dim() == 2], "weight_decay": decay},
             {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0}],
            lr=rate, betas=(0.9, 0.98), foreach=True)

    def step(self, scale):
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


def rate_scale(step, steps, decay_share):
    """Warm-up, then constant, then down to a tenth of a percent in a straight line over the last share of the steps."""
    return max(1e-3, min(1.0, (step + 1) / 50, (steps - step) / max(1, decay_share * steps)))


class Stream:
    """Batches without end: rows of chunk after chunk, each chunk made and shuffled from its own seed."""

    def __init__(self, make, rows, seed, chunk=0, next_batch=0):
        self.make, self.rows, self.seed, self.chunk, self.next = make, rows, seed, chunk, next_batch
        self.load()

    def load(self):
        seed = self.seed * 100000 + self.chunk
        tokens, weights = self.make(seed, self.chunk)
        order = np.random.default_rng(seed).permutation(len(tokens))
        self.tokens, self.weights = tokens[order], weights[order]

    def take(self):
        if (self.next + 1) * self.rows > len(self.tokens):
            self.chunk, self.next = self.chunk + 1, 0
            self.load()
        at = slice(self.next * self.rows, (self.next + 1) * self.rows)
        self.next += 1
        return torch.from_numpy(self.tokens[at].astype(np.int64)), torch.from_numpy(self.weights[at] > 0)


def loss_of(model, tokens, weights):
    keep = weights[:, 1:]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens[:, :-1], keep)
    return CrossEntropy.apply(logits.float(), tokens[:, 1:][keep])


@torch.no_grad()
def held_out_loss(model, rows):
    tokens, weights = rows
    total = count = 0.0
    for i in range(0, len(tokens), 8):
        keep = torch.from_numpy(weights[i : i + 8, 1:] > 0)
        n = keep.sum().item()
        total += n * loss_of(model, torch.from_numpy(tokens[i : i + 8].astype(np.int64)),
                             torch.from_numpy(weights[i : i + 8] > 0)).item()
        count += n
    return total / count


def make_tokenizer(path, size):
    if os.path.exists(path):
        return tk.Tokenizer.load(path)
    rng = random.Random(7)
    texts = [stories.Story(rng).text() for _ in range(12000)]
    texts += [" ".join(text for _, text in chat.conversation(rng, data.TALK_MIX)) for _ in range(6000)]
    tokenizer = tk.Tokenizer(tk.train(texts, size))
    tokenizer.save(path)
    return tokenizer


def save(path, content):
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


def run_stage(name, model, optimizer, make, rows, seed, steps, decay_share, held_out, out, log, every):
    stream, start, spent = Stream(make, rows, seed), 0, 0.0
    checkpoint = os.path.join(out, f"{name}.pt")
    if os.path.exists(checkpoint):
        kept = torch.load(checkpoint)
        model.load_state_dict(kept["model"])
        optimizer.adam.load_state_dict(kept["optimizer"])
        start, spent = kept["step"], kept["seconds"]
        stream = Stream(make, rows, seed, kept["chunk"], kept["next"])
        print(f"{name}: goes on at step {start} of {steps}")
    began, running, tokens = time.time(), [], stream.tokens.shape[1] - 1
    for step in range(start, steps):
        loss = loss_of(model, *stream.take())
        loss.backward()
        optimizer.step(rate_scale(step, steps, decay_share))
        running.append(loss.item())
        last = step + 1 == steps
        if (step + 1) % every == 0 or last:
            seconds = spent + time.time() - began
            held = {key: held_out_loss(model, value) for key, value in held_out.items()}
            train_loss = sum(running) / len(running)
            running = []
            with open(log, "a", newline="") as file:
                csv.writer(file).writerow([name, step + 1, (step + 1) * rows * tokens, f"{seconds:.0f}", f"{train_loss:.4f}",
                                           f"{held['stories']:.4f}", f"{held['chat']:.4f}"])
            rate = (step + 1 - start) / (time.time() - began)
            print(f"{name} {step + 1}/{steps}  loss {train_loss:.4f}  held out: " +
                  ", ".join(f"{key} {value:.4f}" for key, value in held.items()) +
                  f"  {rate * rows * tokens:.0f} tokens/s  ETA {(steps - step - 1) / rate / 60:.0f} min", flush=True)
            save(checkpoint, {"model": model.state_dict(), "optimizer": optimizer.adam.state_dict(), "step": step + 1,
                              "seconds": seconds, "chunk": stream.chunk, "next": stream.next})
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="directory for tokeniser, log and checkpoints")
    parser.add_argument("--pretrain-steps", type=int, default=1200)
    parser.add_argument("--finetune-steps", type=int, default=4200)
    parser.add_argument("--rows", type=int, default=8, help="rows of 320 tokens in one step of the first stage")
    parser.add_argument("--finetune-rows", type=int, default=6, help="rows of 512 tokens in one step of the second stage")
    parser.add_argument("--rate", type=float, default=0.004, help="step size of the first stage")
    parser.add_argument("--finetune-scale", type=float, default=0.5, help="step size of the second stage, relative")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn", type=int, default=384)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="steps between lines of the log, and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    tokenizer = make_tokenizer(os.path.join(args.out, "tokenizer.json"), args.vocab)
    config = Config(dim=args.dim, heads=args.dim // 32, layers=args.layers, ffn_dim=args.ffn, vocab=len(tokenizer))
    with open(os.path.join(args.out, "config.json"), "w") as file:
        json.dump(config.as_dict(), file, indent=1)
    model = Llama(config)
    print(f"{model.parameter_count()} parameters, vocabulary {len(tokenizer)}")
    log = os.path.join(args.out, "log.csv")
    if not os.path.exists(log):
        with open(log, "w", newline="") as file:
            csv.writer(file).writerow(["stage", "step", "tokens", "seconds", "train_loss", "held_out_stories", "held_out_chat"])

    held_out = {"stories": data.pretraining(tokenizer, 100, 320, 900001, 0.0), "chat": data.finetuning(tokenizer, 60, 512, 900002, 0.0, 0.0, data.TALK_MIX)}
    stage = dict(model=model, held_out=held_out, out=args.out, log=log, every=args.every)
    run_stage("pretrain", optimizer=Optimizer(model, args.rate, args.decay), rows=args.rows,
              make=lambda seed, _: data.pretraining(tokenizer, 4000, 320, seed), seed=args.seed, steps=args.pretrain_steps,
              decay_share=0.25, **stage)
    run_stage("finetune", optimizer=Optimizer(model, args.rate * args.finetune_scale, args.decay),
              rows=args.finetune_rows,
              make=lambda seed, chunk: data.finetuning(tokenizer, 3000, config.context, seed, data.story_share(chunk)),
              seed=args.seed + 50, steps=args.finetune_steps, decay_share=0.3, **stage)
    save(os.path.join(args.out, "final.pt"), {"model": model.state_dict(), "config": config.as_dict()})


if __name__ == "__main__":
    main()
