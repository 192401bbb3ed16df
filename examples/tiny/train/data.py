"""Documents as tokens, packed into rows of one length, each row beginning with a document and cutting none in two.

A document is (ids, weights): the weight says whether the token is to be predicted. In a conversation only what the
assistant writes is, calls included; the rest is given by the user and the host.
"""

import random

import numpy as np

import chat
import stories
import tokenizer as tk
import words as w

TALK_MIX = (4.0, 4.0, 3.0, 1.0, 0.6)
FINETUNE_MIX = TALK_MIX + (2.5,)
RECALL_VALUES = [w.COLORS, list(w.PLACES), w.FOODS, w.ANIMALS, w.SKILLS, w.TREASURES, w.FAMILY, list(w.WEATHER)]


def story_document(tokenizer, rng):
    ids = [tk.BOS] + tokenizer.encode(stories.Story(rng).text()) + [tk.EOS]
    return ids, [0] + [1] * (len(ids) - 1)


def recall_document(tokenizer, rng):
    """Names and what belongs to each, and then the same again, in another order or in the same: "Tom: red, Mia: 471. Mia: 471, Tom: red."

    All that can be predicted is what is looked up in the first list. A model that has learned to look up here finds facts in
    stories and digits in questions many steps sooner.
    """
    names = rng.sample(w.GIRLS + w.BOYS + w.PETS + w.TOYS, rng.randint(2, 9))
    values = rng.choice(RECALL_VALUES)
    pairs = [(name, rng.choice(values) if rng.random() < 0.6 else str(rng.randrange(10 ** rng.randint(1, 4)))) for name in names]
    ids, weights = [tk.BOS], [0]
    for again in (0, 1):
        if again and rng.random() < 0.7:
            rng.shuffle(pairs)
        for i, (name, value) in enumerate(pairs):
            key = tokenizer.encode(name + ":")
            found = tokenizer.encode(value + ("." if i + 1 == len(pairs) else ","))
            ids += key + found
            weights += [0] * len(key) + [again] * len(found)
    return ids, weights


def chat_ids(tokenizer, turns, answer=False):
    """The ids of a conversation and their weights. `answer`: ends where the assistant is to write."""
    ids, weights = [tk.BOS], [0]

    def add(new, weight):
        ids.extend(new)
        weights.extend([weight] * len(new))

    heads = {"system": tk.SYSTEM, "user": tk.USER, "result": tk.RESULT}
    for role, text in turns:
        body = tokenizer.encode(text) + [tk.END]
        if role == "assistant":
            add([tk.ASSISTANT], 0)
            add(body, 1)
        elif role == "call":
            add([tk.ASSISTANT], 0)
            add([tk.CALL] + body, 1)
        else:
            add([heads[role]] + body, 0)
    if answer:
        add([tk.ASSISTANT], 0)
    return ids, weights


def chat_document(tokenizer, rng, mix=FINETUNE_MIX):
    return chat_ids(tokenizer, chat.conversation(rng, mix))


def pack(documents, length):
    """Rows of length + 1 tokens (inputs and targets overlap by one). Documents go into the fullest row that has room."""
    rows, weights, open_rows = [], [], []
    for ids, weight in documents:
        ids, weight = ids[: length + 1], weight[: length + 1]
        fits = [row for row in open_rows if len(rows[row]) + len(ids) <= length + 1]
        if fits:
            row = max(fits, key=lambda r: len(rows[r]))
        else:
            if len(open_rows) >= 24:
                open_rows.remove(max(open_rows, key=lambda r: len(rows[r])))
            rows.append([])
            weights.append([])
            row = len(rows) - 1
            open_rows.append(row)
        rows[row].extend(ids)
        weights[row].extend(weight)
    tokens = np.full((len(rows), length + 1), tk.EOS, np.uint16)
    weight = np.zeros((len(rows), length + 1), np.uint8)
    for i, (row, kept) in enumerate(zip(rows, weights)):
        tokens[i, : len(row)] = row
        weight[i, : len(kept)] = kept
    return tokens, weight


def story_share(chunk):
    """How many of the second stage's documents are stories: few while copying is learned in conversations, nearly half from about
    step 2,000 on, for names in stories to follow. A chunk is about 180 steps."""
    return 0.2 if chunk < 11 else 0.45


def pretraining(tokenizer, count, length, seed, recall_share=0.4):
    """Stories, and among them lists to recall."""
    rng = random.Random(seed)
    return pack((recall_document(tokenizer, rng) if rng.random() < recall_share else story_document(tokenizer, rng)
                 for _ in range(count)), length)


def finetuning(tokenizer, count, length, seed, story_share=0.2, recall_share=0.1, mix=FINETUNE_MIX):
    """Conversations, and among them stories and lists to recall, so that these are not forgotten."""
    rng = random.Random(seed)

    def document():
        kind = rng.random()
        if kind < story_share:
            return story_document(tokenizer, rng)
        return recall_document(tokenizer, rng) if kind < story_share + recall_share else chat_document(tokenizer, rng, mix)

    return pack((document() for _ in range(count)), length)
