#!/usr/bin/env bash
# mla compare: what it plans, makes, prints and refuses; a comparison that is interrupted ends in the same table.
# $1: the mla command.
here=$(realpath "$(dirname "$0")")
. "$here/../support/command.sh"
texts letters
: >tiny.yaml
sets=(--set model.attention=multi_head --set data.source=letters --set data.tokenizer=bytes --set data.held_out=0.3
    --set checkpoint.every=1)
for set in "${tiny_sizes[@]}"; do sets+=(--set "$set"); done
compare() { "$mla" compare tiny.yaml "${sets[@]}" --arms mha,mla --lr 1e-3,4e-3 --seeds 2 --decode 40 "$@"; }
without_times() { sed '/"time": {/,/^ *}/d' "$1/comparison.json"; }

# a plan writes nothing
check 0 "runs             6, with 2 seeds" compare --out whole --dry-run
[ ! -e whole ] || fail "a plan leaves a folder"
check 0 '"runs":6' compare --dry-run --json

# the whole of it
check 0 "run 6 of 6: mla/" compare --out whole
for words in "minus mha (95 %)" "at 40" "matched by: parameters"; do
    [[ $printed = *"$words"* ]] || fail "the table lacks $words: $printed"
done
[ "$(ls whole/*/*/result.json | wc -l)" -eq 6 ] || fail "not 6 results: $(ls whole/*)"
[ "$(wc -l <whole/comparison.csv)" -eq 3 ] || fail "the CSV: $(cat whole/comparison.csv)"
loss=$("$mla" train --resume whole/mha/lr-0.001-seed-1 --json 2>&1 | value held_out_loss)
result() { tr -d ' ' <"whole/$1/result.json" | value "$2"; }
near "$loss" "$(result mha/lr-0.001-seed-1 held_out_loss)" 0 || fail "another loss than the run's: $loss"
[ "$(result mha/lr-0.001-seed-1 cache_bytes_per_token)" = $((2 * 2 * 32 * 4)) ] || fail "the cache: $(cat whole/mha/lr*1/result.json)"

# again: nothing is made again; with more seeds, only these are
times=$(stat -c %Y%y whole/*/*/metrics.jsonl)
check 0 "minus mha" compare --out whole
[[ $printed != *"run "*" of "* ]] || fail "a finished comparison runs again: $printed"
[ "$times" = "$(stat -c %Y%y whole/*/*/metrics.jsonl)" ] || fail "a finished run was touched"
finish
