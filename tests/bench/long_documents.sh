#!/usr/bin/env bash
# Long documents on a small machine: memory and latency of `mla classify` on texts of 10,000 tokens, latent against
# multi-head attention with as many parameters, in turns.
#
#     tests/bench/long_documents.sh build/mla [--tokens N] [--documents N] [--rounds N] [--tiny] [KEY=VALUE...]
#
# The models are mla-small's and mha-small's with a head that labels, trained for one step: what they say means nothing,
# what it costs does. A token is a byte, of the licences of this machine. Each round labels the documents one by one by each
# model, as a process of its own; who goes first alternates. The peak is that of the process, its weights included. --tiny
# makes all of it small, to see that it works; further words are set in both recipes. Needs python3.
set -euo pipefail
mla=$(realpath "${1:?name the mla command}")
shift
tokens=10000 documents=5 rounds=3 sets=()
while [ $# -gt 0 ]; do
    case $1 in
    --tokens) tokens=$2 && shift ;;
    --documents) documents=$2 && shift ;;
    --rounds) rounds=$2 && shift ;;
    --tiny)
        tokens=300 documents=3 rounds=2
        sets+=(--set model.hidden_size=64 --set model.num_hidden_layers=2 --set model.num_attention_heads=2)
        ;;
    *=*) sets+=(--set "$1") ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
    shift
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# texts FILE COUNT TOKENS: rows with two labels in turn.
texts() {
    cat /usr/share/common-licenses/* | python3 -c '
import json, sys
count, tokens = int(sys.argv[1]), int(sys.argv[2])
text = sys.stdin.buffer.read().decode("ascii", "ignore")
text *= -(-count * tokens // len(text))
for i in range(count):
    print(json.dumps({"text": text[i * tokens : (i + 1) * tokens], "label": "ab"[i % 2]}))' "$2" "$3" >"$1"
}
texts "$folder/short.jsonl" 8 60
texts "$folder/train.jsonl" 4 "$tokens"
texts "$folder/long.jsonl" "$documents" "$tokens"

# train RECIPE OUT SOURCE SEQUENCE [--set KEY=VALUE...]: one step; prints the number of parameters.
train() {
    "$mla" train "$1" --set model.head=sequence --set data.source="$3" --set data.tokenizer=bytes --set data.held_out=0 \
        --set data.too_long=refuse --set train.steps=1 --set train.batch=1 --set train.microbatch=1 --set train.sequence="$4" \
        --set train.recompute=block --set train.eval_every=0 --set optim.warmup_steps=0 \
        --set model.max_position_embeddings="$4" ${sets[@]+"${sets[@]}"} "${@:5}" --out "$2" --json 2>"$folder/log" |
        sed -n 's/.*"parameters":\([0-9]*\).*/\1/p' | head -1
    [ -d "$2" ] || { cat "$folder/log" >&2 && return 1; }
}
key() { sed -n "s/^ *$2: *\([0-9]*\).*/\1/p" "$1/recipe.yaml" | head -1; }

# A multi-head model of as many parameters: its feed-forward makes up for what its attention takes more.
latent=$(train mla-small "$folder/latent" "$folder/train.jsonl" "$tokens")
probe=$(train mha-small "$folder/probe" "$folder/short.jsonl" 64)
wide=$(key "$folder/probe" intermediate_size) each=$((3 * $(key "$folder/probe" hidden_size) * $(key "$folder/probe" num_hidden_layers)))
wide=$((wide + (latent - probe) / each))
heads=$(train mha-small "$folder/multi_head" "$folder/train.jsonl" "$tokens" --set model.intermediate_size=$wide)

printf '%d documents of %d tokens, %d rounds; %s\n' "$documents" "$tokens" "$rounds" "$("$mla" --version | head -1)"
printf 'parameters: latent %d, multi-head %d (intermediate_size %d)\n' "$latent" "$heads" "$wide"
python3 - "$mla" "$folder" "$rounds" "${OMP_NUM_THREADS:-}" <<'PY'
import os, re, statistics, subprocess, sys

mla, folder, rounds, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
found = {"latent": [], "multi_head": []}


def classify(model):
    command = [mla, "classify", "--checkpoint", f"{folder}/{model}", "--stats", f"{folder}/long.jsonl"]
    with open(f"{folder}/errors", "w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        said = errors.read()
    times = re.search(r"mean ([\d.]+), 50 % ([\d.]+), 95 % ([\d.]+)", said)
    if status or not times:
        sys.exit(said)
    return float(times[2]), usage.ru_maxrss / 1024


for i in range(rounds):
    for model in sorted(found, reverse=i % 2):
        found[model].append(classify(model))
print(f"machine: {os.cpu_count()} processors, load {os.getloadavg()[0]:.2f}, OMP_NUM_THREADS {threads or 'not set'}")
print(f"{'attention':12} {'ms a document, median (least, most)':>36} {'peak MiB':>9}")
for model, results in found.items():
    times, peak = [t for t, _ in results], max(p for _, p in results)
    print(f"{model:12} {f'{statistics.median(times):.1f} ({min(times):.1f}, {max(times):.1f})':>36} {peak:9.1f}")
(a, p), (b, q) = ((statistics.median(t for t, _ in r), max(p for _, p in r)) for r in found.values())
print(f"multi_head / latent: time {b / a:.3f}, peak memory {q / p:.3f}")
PY
