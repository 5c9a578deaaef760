#!/usr/bin/env python3
"""Labelled text of two domains, out of what a Debian machine and scikit-learn have.

    python3 tests/bench/domains.py legal OUT-FOLDER      licence texts of /usr/share/doc by kind of licence
    python3 tests/bench/domains.py medical OUT-FOLDER    scikit-learn's breast cancer: 30 measurements a row (CSV)

`legal` reads the machine-readable copyright files (DEP-5): a stand-alone paragraph `License: NAME` with its text is an
example, NAME without its version its label (Expat is MIT), where at least ten different texts have it. train and test
are apart by text: every fifth, in order of their hashes.
"""

import collections
import csv
import glob
import hashlib
import json
import pathlib
import re
import sys


def licences(path):
    """(kind, text) of each paragraph that begins with a License field and has its text."""
    with open(path, encoding="utf-8", errors="ignore") as file:
        content = file.read()
    if "Format:" not in content[:300]:
        return
    for paragraph in re.split(r"\n\s*\n(?=\S)", content):
        found = re.match(r"License:[ \t]*(\S+)[^\n]*\n((?:[ \t].*\n?)+)", paragraph)
        if found:
            kind = re.match(r"(LGPL|GPL|BSD|Apache|MPL|GFDL|Expat|MIT|ISC|public-domain|Artistic)", found[1])
            text = re.sub(r"^ \.?", "", found[2], flags=re.M).strip()
            if kind and len(text) > 100:
                yield "MIT" if kind[1] == "Expat" else kind[1], text


def legal(out):
    paths = sorted(glob.glob("/usr/share/doc/*/copyright"))
    texts = {text: kind for path in paths for kind, text in licences(path)}
    counts = collections.Counter(texts.values())
    rows = [(hashlib.sha256(t.encode()).hexdigest(), t, k) for t, k in texts.items() if counts[k] >= 10]
    for part in "train", "test":
        with open(out / f"{part}.jsonl", "w") as file:
            for i, (_, text, kind) in enumerate(sorted(rows)):
                if (i % 5 == 4) == (part == "test"):
                    file.write(json.dumps({"text": text, "label": kind}) + "\n")
    print(f"{len(rows)} texts:", ", ".join(f"{k} {n}" for k, n in counts.most_common() if n >= 10))


def medical(out):
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    names = [n.replace(" ", "_") for n in table.feature_names]
    for part in "train", "test":
        with open(out / f"{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*names, "label"])
            for i, (row, target) in enumerate(zip(table.data, table.target)):
                if (i % 5 == 4) == (part == "test"):
                    writer.writerow([*(f"{v:.4g}" for v in row), table.target_names[target]])
    print(f"{len(table.target)} rows of {len(names)} columns")


def main():
    makers = {"legal": legal, "medical": medical}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    makers[sys.argv[1]](out)


main()
