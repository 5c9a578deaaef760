#!/usr/bin/env bash
# mla bench: what it prints adds up. Times are never assertions. $1: the mla command.
here=$(realpath "$(dirname "$0")")
. "$here/../support/command.sh"
: >tiny.yaml
sets=()
for set in "${tiny_sizes[@]}" data.synthetic.tokens=1000; do sets+=(--set "$set"); done
row() { awk -v first="$1" -v column="$2" '$1 == first { print $column }'; }

check 0 "" "$mla" bench decode tiny.yaml "${sets[@]}" --context 300
own=$(row this 6 <<<"$printed") other=$(row multi-head 5 <<<"$printed")
near "$(awk -v a="$own" -v b="$other" 'BEGIN { print a / b }')" "$(row ratio 5 <<<"$printed")" 0.2 || fail "caches of $own and $other MiB: $printed"
check 0 "" "$mla" bench decode tiny.yaml "${sets[@]}" --set model.attention=multi_head --context 300
[ "$(row ratio 5 <<<"$printed")" = 1.000 ] || fail "multi-head attention has another cache than itself: $printed"
check 0 "" "$mla" bench decode tiny.yaml "${sets[@]}" --context 300 --batch 3 --set train.precision=bf16
caches=$(row this 6 <<<"$printed" | tr '\n' ' ')
near "${caches% * }" "$(awk -v own="$own" 'BEGIN { print own * 3 / 2 }')" 0.1 || fail "three caches of bf16, beside $own MiB: $printed"
[[ $printed == *"products in bf16, caches in bf16"* ]] || fail "train.precision=bf16: $printed"
[[ $printed == *"ratio to one at a time "*" 3.000" ]] || fail "a batch of three beside one: $printed"
check 0 "products in f32, caches in bf16" "$mla" bench decode tiny.yaml "${sets[@]}" --context 30 --set train.precision=f32 --cache-precision bf16
check 0 '"attention":"multi_head","batch":2' "$mla" bench decode tiny.yaml "${sets[@]}" --context 30 --batch 2 --json
[[ $printed == *'"cache_bytes":5760}'*'"batch":1'*'"cache_bytes":2880}'* ]] || fail "caches of two and of one: $printed"
check 2 "--interactive is for bench step" "$mla" bench decode tiny.yaml --interactive
check 2 "a step takes --set train.batch=2" "$mla" bench step tiny.yaml --batch 2
check 2 "--batch: 0 is too small" "$mla" bench decode tiny.yaml --batch 0
check 2 "--batch: 65 is too large" "$mla" bench decode tiny.yaml --batch 65
check 0 "adamw and clipping" "$mla" bench step tiny.yaml "${sets[@]}" --steps 1
check 0 "onednn_fraction" "$mla" bench block tiny.yaml "${sets[@]}" --steps 1 --json
check 2 "there is no benchmark decoding: use step, block or decode" "$mla" bench decoding tiny.yaml

finish
