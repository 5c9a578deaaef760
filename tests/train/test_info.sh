#!/usr/bin/env bash
# mla info from outside: each kind of file says what it is and what is in it; damage and strangers are named.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2
tiny_run chain data.synthetic.tokens=4000 data.synthetic.vocabulary=16
checkpoint=run/step-00000003.h5

# info PATH WORDS...: all of these are printed.
info() {
    local path=$1 words
    shift
    for words in "$@"; do check 0 "$words" "$mla" info "$path"; done
}
parameters=$(value parameters <run.json)
info run "kind: run folder" "checkpoints: 1" "checkpoint: $checkpoint" "step: 3" "integrity: verified"
# 2 layers x (8 + 4) numbers, and 2 layers x 2 x 2 heads x 16 numbers, of 4 bytes
info $checkpoint "kind: checkpoint" "parameters: $parameters" "kv_lora_rank: 8" "cache_bytes_per_token: 96" "cache_bytes_per_token_bf16: 48" \
    "multi_head_cache_bytes_per_token: 512" "vocabulary: 300" "moments: true" "trained_tokens: 384"
info run/tokens.h5 "kind: token file" "train:" "held_out:" "documents: " "vocabulary: 300" "separator: 256" "integrity: verified"
info run/tokenizer.json "kind: tokenizer" "vocabulary: 300" "separator: 256"
info run/recipe.yaml "kind: recipe" "steps: 3" "sequence: 32" "parameters: $parameters"
loss=$(value held_out_loss <run.json) # over all held-out text, at the end of the run
for known in "$("$mla" info $checkpoint --json)" "$(tail -n 1 run/metrics.jsonl | tr -d ' ')" \
    "$("$mla" list . --json | grep '"name":"run"')"; do
    near "$loss" "$(value held_out_loss <<<"$known")" 1e-9 || fail "the held-out loss $loss is not known to: $known"
done
info chain "step: 3" "vocab_size: 16"
for path in run $checkpoint run/tokens.h5 run/tokenizer.json run/recipe.yaml; do
    printed=$("$mla" info "$path" --json)
    [[ $printed == "{\"kind\":\""*"}" ]] || fail "info $path --json: $printed"
done
[ "$("$mla" info run/tokens.h5 --json | value tokenizer_hash)" = "$("$mla" info run/tokenizer.json --json | value tokenizer_hash)" ] || fail "the hashes of one tokenizer differ"
documents=$("$mla" info run/tokens.h5 | awk '/documents:/ { sum += $2 } END { print sum }')
[ "$documents" = 40 ] || fail "$documents documents, not 40"

# The table of parameters adds up to the total.
check 0 "model.layers.1.self_attn.kv_a_proj_with_mqa.weight" "$mla" info run --params
check 0 '"shape":[12,32],"count":384' "$mla" info run --params --json
sum=$("$mla" info run --params | awk '/^  [a-z].*weight +[0-9]/ { sum += $NF } END { print sum }')
[ "$sum" = "$parameters" ] || fail "the parameters add up to $sum, not $parameters"

# A folder where no checkpoint has been made yet says what it will be.
mkdir planned
cp run/recipe.yaml planned/
info planned "kind: run folder" "checkpoints: 0" "parameters: $parameters"

# Damage and strangers.
check 2 "usage: mla info" "$mla" info
check 1 "nowhere: No such file" "$mla" info nowhere
mkdir empty
check 1 "empty: has no checkpoint" "$mla" info empty
for file in $checkpoint run/tokens.h5; do
    cp $file damaged.h5
    printf '\x55' | dd of=damaged.h5 bs=1 seek=$(($(stat -c %s $file) / 2)) conv=notrunc status=none
    check 1 "damaged.h5" "$mla" info damaged.h5
    head -c 5000 $file >cut.h5
    check 1 "cut.h5" "$mla" info cut.h5
done
echo '{"a": 1}' >other.json
check 1 "other.json" "$mla" info other.json
echo 'train: {stepz: 1}' >wrong.yaml
check 2 "stepz" "$mla" info wrong.yaml
check 1 "texts/1.txt" "$mla" info texts/1.txt

finish
