#!/usr/bin/env bash
# A first model in five minutes: installs what is missing, builds, trains a small decoder with latent attention
# on the licence texts that this machine has, and shows what it learnt.
#     train/quickstart.sh [RUN-FOLDER]        default: runs/quickstart, or the next free number after it
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
readonly seconds=280    # for all of it ...
readonly training=170   # ... and at most for training
readonly largest=65536  # bytes of a text; larger ones would be most of the held-out text where they are held out
readonly smallest=400000 held_out=350000 # bytes: of all texts, to be of use; of those that are held out

say() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
number() { sed -n "s/.*\"$1\": *\([0-9.e+-]*\).*/\1/p" | tail -n 1; } # a number of JSON by its key
kilobytes() { awk -v bytes="$1" 'BEGIN { printf "%.0f KB", bytes / 1000 }'; }

free_folder() {
    local n=1 folder=$1
    while [ -e "$folder" ]; do n=$((n + 1)) folder=$1-$n; done
    echo "$folder"
}

# Each text once, under the hash of its content.
gather_text() {
    local hash file
    mkdir "$run/text"
    find /usr/share/common-licenses/ /usr/share/doc/*/copyright -maxdepth 1 -type f -size -"$largest"c -print0 2>/dev/null |
        xargs -0r md5sum | while read -r hash file; do
            [ -e "$run/text/$hash" ] || cp "$file" "$run/text/$hash"
        done
}

# Steps of the recipe that this machine does in the time that is left, by the faster half of a short run's steps.
choose_steps() {
    local left=$((seconds - SECONDS))
    [ "$left" -lt "$training" ] || left=$training
    build/mla train quickstart --set train.steps=24 --set optim.warmup_steps=0 --set data.source= --set data.held_out=0 \
        --set data.synthetic.tokens=100000 --set data.synthetic.vocabulary=2048 --out "$run/speed" --json >/dev/null
    sed -n 's/.*"seconds": *\([0-9.e-]*\).*/\1/p' "$run/speed/metrics.jsonl" | sort -g | head -n 12 |
        awk -v left="$left" '{ sum += $1 } END { n = int(left * NR / sum); print (n < 200 ? 200 : n > 3000 ? 3000 : n) }'
    rm -r "$run/speed"
}

bits_per_byte() { # of the held-out text, compressed by the command
    "$@" <"$run/held-out.txt" | wc -c | awk -v bytes="$(wc -c <"$run/held-out.txt")" '{ printf "%.3f", 8 * $1 / bytes }'
}

run=${1:-$(free_folder runs/quickstart)}
[ ! -e "$run" ] || { echo "$run exists; resume it by build/mla train --resume $run, or name another folder" >&2; exit 2; }

train/install-packages.sh
say "Building"
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
mkdir -p build "$run"
{ cmake -S . -B build && cmake --build build --target mla_command --parallel "$(nproc)"; } >build/quickstart.log 2>&1 ||
    { tail -n 40 build/quickstart.log >&2; exit 1; }

gather_text
bytes=$(cat "$run"/text/* 2>/dev/null | wc -c)
data=(--set "data.source=$run/text")
if [ "$bytes" -ge "$smallest" ]; then
    say "Preparing $(find "$run/text" -type f | wc -l) licence texts, $(kilobytes "$bytes")"
    share=$(awk -v a="$held_out" -v b="$bytes" 'BEGIN { s = a / b; print (s > 0.15 ? 0.15 : s) }')
    build/mla prepare "$run/text" --vocab-size 2048 --held-out "$share" --out "$run/tokens.h5" --held-out-text "$run/held-out.txt"
else
    say "This machine has too little text ($(kilobytes "$bytes")): training on a synthetic source of known entropy"
    data=(--set data.source= --set data.synthetic.tokens=2000000 --set data.synthetic.vocabulary=64 --set data.held_out=0.02)
fi

steps=$(choose_steps)
say "Training for $steps steps: build/mla train quickstart ${data[*]} --set train.steps=$steps --out $run"
build/mla train quickstart "${data[@]}" --set train.steps="$steps" --out "$run" | tee "$run/result.txt"

say "Done"
build/mla info "$run" --json >"$run/info.json"
if [ -e "$run/held-out.txt" ]; then
    echo "Bits per byte of $(kilobytes "$(wc -c <"$run/held-out.txt")") of text that was not trained on:"
    printf '    %-10s %s\n' "this model" "$(sed -n 's/^ *\([0-9.]*\) bits per byte.*/\1/p' "$run/result.txt" | cut -c 1-5)" \
        "gzip -9" "$(bits_per_byte gzip -9)" "xz -9" "$(bits_per_byte xz -9)"
    echo
    echo "A sample:"
    build/mla generate --checkpoint "$run" --prompt "Permission is hereby granted" --tokens 120 --temperature 0.7 --seed 1
    echo
fi
cat <<END
Cache per token, all layers: $(number cache_bytes_per_token <"$run/info.json") bytes; multi-head attention of this size: $(number multi_head_cache_bytes_per_token <"$run/info.json") bytes.

Files, in $run:
    step-*.h5, latest    checkpoints: weights, moments, position in the data
    recipe.yaml          all that decided this run
    metrics.jsonl        loss, speed and memory of every step
    tokenizer.json       the tokenizer, as Hugging Face's tokenizers read it
    tokens.h5, text/, held-out.txt    what it was trained on, and what not

Next:
    build/mla generate --checkpoint $run --prompt "You may"
    build/mla plot $run --terminal
    build/mla train quickstart --set data.source=FOLDER-OF-YOURS --set train.steps=2000 --out runs/mine
    README.md            recipes, resuming, evaluation, the library
END
