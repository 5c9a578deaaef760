#!/usr/bin/env bash
# mla generate from outside: the text, its seed and forms, where it ends; what does not fit is refused.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=60 optim.lr=1e-2
tiny_run chain data.synthetic.tokens=4000 data.synthetic.vocabulary=16

# generate ARGUMENTS...: the text alone.
generate() { "$mla" generate --checkpoint run "$@" 2>/dev/null; }
ids() { generate --json "$@" | sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'; }

# One seed is one text; all forms give the same one.
text=$(ids --prompt "Dokument 3" --tokens 40 --seed 1)
[[ $text == \[[0-9]*,[0-9]*\] ]] || fail "no ids: $text"
[ "$text" = "$(ids --prompt "Dokument 3" --tokens 40 --seed 1)" ] || fail "the same seed gave another text"
[ "$text" != "$(ids --prompt "Dokument 3" --tokens 40 --seed 2)" ] || fail "another seed gave the same text"
for form in --no-cache --expanded; do
    [ "$text" = "$(ids --prompt "Dokument 3" --tokens 40 --seed 1 $form)" ] || fail "$form gave another text"
done
greedy=$(ids --tokens 40 --greedy)
[ "$greedy" = "$(ids --tokens 40 --temperature 0 --seed 5)" ] || fail "temperature 0 is not greedy"
[ "$greedy" = "$(ids --tokens 40 --top-k 1)" ] || fail "top-k 1 is not greedy"
[ "$greedy" = "$(ids --tokens 40 --top-p 0.000001)" ] || fail "a tiny top-p is not greedy"
[ "$greedy" = "$(ids --tokens 40 --greedy --prompt "")" ] || fail "an empty prompt does not start a document"
printf 'Dokument 3' >prompt.txt
[ "$text" = "$(ids --prompt-file prompt.txt --tokens 40 --seed 1)" ] || fail "a prompt from a file gave another text"

# The text that streams is the text of the JSON (where bytes that are no characters are replaced).
letters() { tr -cd 'a-zA-Z0-9 '; }
streamed=$(generate --prompt "Dokument 3" --tokens 40 --seed 1 | letters)
collected=$(generate --prompt "Dokument 3" --tokens 40 --seed 1 --json | sed 's/.*"text":"\(.*\)","end".*/\1/; s/\\u....//g; s/\\.//g' | letters)
[ -n "$streamed" ] && [ "$streamed" = "$collected" ] || fail "streamed \"$streamed\", collected \"$collected\""

# Figures and endings.
check 0 "per second, in f32; cache: 96 bytes per token (multi-head attention: 512)" "$mla" generate --checkpoint run --tokens 5 --greedy
check 0 '"cache_bytes_per_token":96' "$mla" generate --checkpoint run --tokens 5 --json
check 0 "cache: 48 bytes per token (multi-head attention: 256)" "$mla" generate --checkpoint run --tokens 5 --cache-precision bf16
check 0 '"cache_bytes_per_token":48' "$mla" generate --checkpoint run --tokens 5 --json --cache-precision bf16

# In the precision of the training, or as asked, which is that of the cache, too; all forms give the same text in bf16.
tiny_run half data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=60 optim.lr=1e-2 train.precision=bf16
check 0 "in bf16; cache: 48 bytes per token" "$mla" generate --checkpoint half --tokens 5
check 0 "in f32; cache: 96 bytes per token" "$mla" generate --checkpoint half --tokens 5 --precision f32
check 0 "in bf16; cache: 96 bytes per token" "$mla" generate --checkpoint run --tokens 5 --precision bf16 --cache-precision f32
check 0 '"precision":"bf16","cache_precision":"bf16"' "$mla" generate --checkpoint run --tokens 5 --json --precision bf16
for form in "" --expanded --no-cache; do
    check 0 '"tokens":' "$mla" generate --checkpoint half --tokens 40 --greedy --json $form
    texts_of_forms+="$(sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/' <<<"$printed")"$'\n'
done
[ "$(sort -u <<<"$texts_of_forms" | grep -c .)" -eq 1 ] || fail "forms of decoding in bf16: $texts_of_forms"
half=$(ids --tokens 40 --greedy --cache-precision bf16)
[ "$half" = "$(ids --tokens 40 --greedy --cache-precision bf16 --expanded)" ] || fail "a cache of bf16, expanded, gives another text"
check 0 '"tokens":1,' "$mla" generate --checkpoint run --tokens 1 --json --greedy --prompt "Dok"
ends=$(for seed in 1 2 3 4 5 6 7 8 9; do generate --seed $seed --json --tokens 1000 | value end; done)
[[ $ends == *separator* ]] || fail "no document ever ended: $ends"
check 0 "no more than 64 positions" "$mla" generate --checkpoint run --tokens 1000 --temperature 1000 --top-p 1 --seed 3

# What does not fit.
check 2 "--checkpoint FILE-OR-DIR" "$mla" generate
check 1 "nowhere: No such file" "$mla" generate --checkpoint nowhere
check 2 "has no tokenizer" "$mla" generate --checkpoint chain
check 2 "--temperature: " "$mla" generate --checkpoint run --temperature nan
check 2 "--temperature: -1 is too small" "$mla" generate --checkpoint run --temperature -1
check 2 "--temperature: " "$mla" generate --checkpoint run --temperature inf
check 2 "--top-p: 0 is too small" "$mla" generate --checkpoint run --top-p 0
check 2 "--top-p: 1.1 is too large" "$mla" generate --checkpoint run --top-p 1.1
check 2 "--top-k: -1 is too small" "$mla" generate --checkpoint run --top-k -1
check 2 "--tokens: 0 is too small" "$mla" generate --checkpoint run --tokens 0
check 2 "not both" "$mla" generate --checkpoint run --prompt a --prompt-file prompt.txt
check 2 "not both" "$mla" generate --checkpoint run --no-cache --expanded
check 2 "--no-cache uses none" "$mla" generate --checkpoint run --no-cache --cache-precision bf16
check 2 "--precision" "$mla" generate --checkpoint run --precision f16
check 2 "--cache-precision" "$mla" generate --checkpoint run --cache-precision f16
: >empty.txt
check 2 "empty.txt: the prompt is empty" "$mla" generate --checkpoint run --prompt-file empty.txt
check 1 "nowhere.txt" "$mla" generate --checkpoint run --prompt-file nowhere.txt
check 1 "texts" "$mla" generate --checkpoint run --prompt-file texts
check 2 "and the model has 64 positions" "$mla" generate --checkpoint run --prompt "$(cat texts/*)"
check 2 "usage: mla generate" "$mla" generate run
check 1 "cannot write to standard output" bash -c '"$0" generate --checkpoint run >/dev/full' "$mla"
tiny_run open data.source=texts data.tokenizer=bytes model.causal=false
check 2 "without a mask" "$mla" generate --checkpoint open

finish
