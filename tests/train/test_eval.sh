#!/usr/bin/env bash
# mla eval from outside: the figures of the run, of texts and of token files; what does not fit is refused.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2
tiny_run other data.source=texts data.tokenizer=bytes data.held_out=0.2
tiny_run chain data.synthetic.tokens=4000 data.synthetic.vocabulary=16 data.held_out=0.2
"$mla" prepare texts --tokenizer run/tokenizer.json --held-out 0.2 --out same.h5 >/dev/null
"$mla" prepare texts --tokenizer run/tokenizer.json --held-out 0 --out all.h5 >/dev/null
"$mla" prepare texts --tokenizer bytes --held-out 0.2 --out bytes.h5 >/dev/null
checkpoint=run/step-00000003.h5

# The same held-out text gives the same loss, wherever it comes from and however it is cut into batches.
trained=$(value held_out_loss <run.json)
for arguments in "--checkpoint run" "--checkpoint $checkpoint" "--checkpoint run --tokens same.h5" \
    "--checkpoint run --batch 1" "--checkpoint run --batch 7 --sequence 32"; do
    loss=$("$mla" eval --json $arguments | value loss)
    near "$trained" "$loss" 1e-5 || fail "eval $arguments: loss $loss, the run said $trained"
done
near "$(value bits_per_byte <run.json)" "$("$mla" eval --checkpoint run --json | value bits_per_byte)" 1e-5 ||
    fail "bits per byte are not those of the run"
check 0 "bits per byte" "$mla" eval --checkpoint run
check 0 "perplexity" "$mla" eval --checkpoint run
near "$(value held_out_loss <chain.json)" "$("$mla" eval --checkpoint chain --json | value loss)" 1e-5 ||
    fail "the synthetic source's loss is not that of the run"
check 0 "source entropy" "$mla" eval --checkpoint chain

# In the precision of the training, or as asked; either is named.
tiny_run half data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.precision=bf16
said=$(value held_out_loss <half.json)
for arguments in "" "--precision bf16"; do
    json=$("$mla" eval --checkpoint half --json $arguments 2>/dev/null)
    near "$said" "$(value loss <<<"$json")" 1e-6 || fail "eval $arguments of a bf16 run: $json, the run said $said"
    [ "$(value precision <<<"$json")" = bf16 ] || fail "eval $arguments of a bf16 run: $json"
done
json=$("$mla" eval --checkpoint half --json --precision f32)
[ "$(value precision <<<"$json")" = f32 ] && ! near "$said" "$(value loss <<<"$json")" 1e-7 ||
    fail "eval --precision f32 of a bf16 run: $json, in bf16 $said"
check 0 "tokens, in f32" "$mla" eval --checkpoint run

# Texts: every token counts, and bits per byte follow from the loss.
json=$("$mla" eval --checkpoint other texts/1.txt --json)
bytes=$(wc -c <texts/1.txt)
[ "$(value bytes <<<"$json")" = "$bytes" ] || fail "bytes of a text: $json"
[ "$(value tokens <<<"$json")" = $((bytes + 1)) ] || fail "tokens of a text, with its separator: $json"
bits=$(awk -v l="$(value loss <<<"$json")" -v n="$bytes" 'BEGIN { print l / log(2) * (n + 1) / n }')
near "$bits" "$(value bits_per_byte <<<"$json")" 1e-3 || fail "bits per byte of a text: $json, not $bits"
perplexity=$(awk -v l="$(value loss <<<"$json")" 'BEGIN { print exp(l) }')
near "$perplexity" "$(value perplexity <<<"$json")" 0.01 || fail "perplexity: $json, not $perplexity"
printf '{"body": "eins"}\n{"body": "zwei"}\n' >lines.jsonl
check 0 "over 10 tokens" "$mla" eval --checkpoint other lines.jsonl --field body
check 0 "bits per byte" "$mla" eval --checkpoint run texts 'texts/1*.txt'

# What does not fit.
check 2 "--checkpoint FILE-OR-DIR" "$mla" eval
check 1 "nowhere.h5: No such file" "$mla" eval --checkpoint nowhere.h5
mkdir empty
check 1 "has no checkpoint" "$mla" eval --checkpoint empty
check 1 "run/recipe.yaml" "$mla" eval --checkpoint run/recipe.yaml
check 1 "has no /config/model" "$mla" eval --checkpoint same.h5
check 2 "was made with another tokenizer" "$mla" eval --checkpoint run --tokens bytes.h5
check 2 "no held-out text" "$mla" eval --checkpoint run --tokens all.h5
check 1 "nowhere.h5" "$mla" eval --checkpoint run --tokens nowhere.h5
check 1 "nowhere.txt" "$mla" eval --checkpoint run nowhere.txt
: >nothing.txt
check 2 "nothing.txt" "$mla" eval --checkpoint run nothing.txt
check 2 "not both" "$mla" eval --checkpoint run --tokens same.h5 texts
check 2 "the model has 64 positions" "$mla" eval --checkpoint run --sequence 65
check 2 "--batch: -1 is too small" "$mla" eval --checkpoint run --batch -1
check 2 "has no tokenizer" "$mla" eval --checkpoint chain texts
check 2 "vocabulary of 257 tokens, and the model one of 16" "$mla" eval --checkpoint chain --tokens bytes.h5
check 2 "--logits OUT.h5 needs --tokens" "$mla" eval --checkpoint run --logits out.h5
check 2 "--logits OUT.h5 needs --tokens" "$mla" eval --checkpoint run --tokens same.h5 --logits same.h5
check 1 "ids" "$mla" eval --checkpoint run --tokens same.h5 --logits out.h5
[ -e out.h5 ] && fail "a failed eval left out.h5"
mkdir away
cp $checkpoint away/
check 2 "there is no tokens.h5 beside it" "$mla" eval --checkpoint away
(cd away && check 2 "there is no tokens.h5 beside it" "$mla" eval --checkpoint step-00000003.h5)
[ "$(ls away)" = step-00000003.h5 ] || fail "eval wrote into the folder of the checkpoint"

# Damage is found; a run folder falls back to what is good, and says so.
cp -r run damaged
printf 'X' | dd of=damaged/step-00000003.h5 bs=1 seek=20000 conv=notrunc status=none
check 1 "step-00000003.h5" "$mla" eval --checkpoint damaged
cp $checkpoint damaged/step-00000002.h5
check 0 "going back to damaged/step-00000002.h5" "$mla" eval --checkpoint damaged
head -c 30000 $checkpoint >cut.h5
check 1 "cut.h5" "$mla" eval --checkpoint cut.h5

finish
