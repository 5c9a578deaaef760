#!/usr/bin/env python3
"""Sequences of card transactions, some of which end in fraud, with the best AUROC that any model can reach.

    python3 tests/bench/fraud.py OUT-FOLDER [--train 60000] [--test 4000] [--seed 0]

writes train.jsonl, test.jsonl (`text`: a transaction a line, the newest last; `label`: fraud or ok), the same as
train.csv, test.csv (a transaction a row, those of all cards mixed, in the order of time as a bank has them; the label of
a row is that of its card up to then) and prints the AUROC of the true posterior on test.jsonl. Needs the standard
library alone.

A card has a habit h, one of four, each as likely: its own probabilities of merchants, amounts and countries,
p(e | h) = p(merchant | h) p(amount | h) p(country | h). It makes LENGTH transactions. With probability FRAUD the last c
of them, c = 1 ... 4 each as likely, are a thief's: from q(e), which is near the mean of all habits, so that no
transaction is odd by itself, only for this card. With events e_1 ... e_n,

    p(e | ok)    = mean over h of prod_i p(e_i | h)
    p(e | fraud) = mean over h and c of prod_{i <= n-c} p(e_i | h) prod_{i > n-c} q(e_i)

are known exactly; their ratio orders the cards as well as can be (Neyman and Pearson), and its AUROC is the optimum.
"""

import argparse
import csv
import datetime
import json
import math
import pathlib
import random

MERCHANTS = "grocery fuel travel games jewels phones".split()
AMOUNTS = "tiny small medium large huge".split()
COUNTRIES = "home near far".split()
HABITS = [
    ((50, 30, 5, 5, 5, 5), (30, 40, 20, 8, 2), (90, 8, 2)),
    ((10, 5, 60, 5, 10, 10), (5, 15, 40, 30, 10), (30, 40, 30)),
    ((10, 5, 5, 60, 5, 15), (60, 25, 10, 3, 2), (80, 15, 5)),
    ((15, 15, 10, 5, 45, 10), (5, 10, 20, 35, 30), (70, 20, 10)),
]
THIEF = ((15, 10, 15, 20, 20, 20), (25, 20, 20, 20, 15), (55, 25, 20))
LENGTH, LONGEST_FRAUD, FRAUD = 16, 4, 0.1
WORDS = (MERCHANTS, AMOUNTS, COUNTRIES)


def draw_event(source, weights):
    return tuple(source.choices(range(len(w)), w)[0] for w in weights)


def log_likelihood(event, weights):
    return sum(math.log(w[i] / sum(w)) for i, w in zip(event, weights))


def log_mean(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def draw_card(source):
    habit, fraud = source.choice(HABITS), source.random() < FRAUD
    stolen = source.randint(1, LONGEST_FRAUD) if fraud else 0
    events = [draw_event(source, habit if i < LENGTH - stolen else THIEF) for i in range(LENGTH)]
    return events, fraud, stolen


def log_ratio(events):
    """ln p(e | fraud) / p(e | ok)."""
    thief = [log_likelihood(e, THIEF) for e in events]
    own = [[log_likelihood(e, h) for e in events] for h in HABITS]
    honest = log_mean([sum(h) for h in own])
    stolen = [sum(h[:-c]) + sum(thief[-c:]) for h in own for c in range(1, LONGEST_FRAUD + 1)]
    return log_mean(stolen) - honest


def auroc(scores, truths):
    """Equal scores count a half."""
    pairs, rank, ranks = sorted(zip(scores, truths)), 0, 0.0
    while rank < len(pairs):
        end = rank
        while end < len(pairs) and pairs[end][0] == pairs[rank][0]:
            end += 1
        ranks += (rank + end + 1) / 2 * sum(t for _, t in pairs[rank:end])
        rank = end
    yes = sum(truths)
    return (ranks - yes * (yes + 1) / 2) / (yes * (len(truths) - yes))


def write_rows(path, cards, source):
    """Events as rows. The newest of a card says what the card is; those before a theft are honest."""
    rows, start = [], datetime.datetime(2024, 1, 1)
    for number, (events, fraud, stolen) in enumerate(cards):
        times = sorted(source.sample(range(365 * 24 * 3600), len(events)))
        for i, (event, seconds) in enumerate(zip(events, times)):
            label = "fraud" if fraud and i >= len(events) - stolen else "ok"
            time = (start + datetime.timedelta(seconds=seconds)).isoformat()
            rows.append([time, f"card-{number}", *(words[k] for words, k in zip(WORDS, event)), label])
    rows.sort()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", "card", "merchant", "amount", "country", "label"])
        writer.writerows(rows)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--train", type=int, default=60000)
    arguments.add_argument("--test", type=int, default=4000)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for part, count in ("train", options.train), ("test", options.test):
        source = random.Random(f"{options.seed} {part}")
        cards = [draw_card(source) for _ in range(count)]
        with open(options.out / f"{part}.jsonl", "w") as file:
            for events, fraud, _ in cards:
                lines = [" ".join(words[i] for words, i in zip(WORDS, event)) for event in events]
                file.write(json.dumps({"text": "\n".join(lines), "label": "fraud" if fraud else "ok"}) + "\n")
        write_rows(options.out / f"{part}.csv", cards, random.Random(f"{options.seed} {part} times"))
        if part == "test":
            truths = [fraud for _, fraud, _ in cards]
            best = auroc([log_ratio(events) for events, _, _ in cards], truths)
            found = sum(truths)
            print(f"best AUROC on {options.out / 'test.jsonl'}: {best:.4f} ({found} of {count} are fraud)")


main()
