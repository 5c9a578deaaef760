#!/usr/bin/env bash
# Several corpora mixed by weight: their shares, a held-out loss for each, the same when resumed and on several ranks.
# $1: the mla command.
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source "$here/../support/command.sh"
source "$here/../support/ranks.sh"

mkdir letters digits
for i in $(seq 60); do printf 'abc def %s ghi jkl mno pqr stu vwx yz' "$(echo "$i" | tr 0-9 a-j)" >"letters/$i"; done
for i in $(seq 12); do printf '0123 4567 %d 89 10 11 12' "$((i * i))" >"digits/$i"; done
"$mla" prepare letters --tokenizer bytes --held-out 0.2 --out letters.h5 >/dev/null || fail "prepare letters"
"$mla" prepare digits --tokenizer bytes --held-out 0.2 --out digits.h5 >/dev/null || fail "prepare digits"
: >tiny.yaml
sets=()
for set in "${tiny_sizes[@]}" train.steps=20 train.batch=6 train.sequence=16 train.eval_every=5 optim.lr=1e-2; do sets+=(--set "$set"); done
train() { "$mla" train tiny.yaml "${sets[@]}" "$@" --json; }
curve() { sed 's/, "time".*//' "$1/metrics.jsonl"; }
mix=(--set data.mix=letters.h5:3,digits.h5:1)

# ---- shares: of any four sequences about three have letters
printf 'data:\n  mix: [letters.h5:3, digits.h5:1]\n' >mix.yaml
"$mla" data show mix.yaml "${sets[@]}" --samples 40 --json >shown || fail "data show: $(cat shown)"
[ "$(wc -l <shown)" = 40 ] && [ "$(grep -c '"text":"[^"]*[0-9]' shown)" = 10 ] || fail "$(grep -c '"text":"[^"]*[0-9]' shown) of 40 have digits"
for first in 1 9 17 25 33; do
    [ "$(sed -n "$first,$((first + 7)) p" shown | grep -c '"text":"[^"]*[0-9]')" = 2 ] || fail "shares from sequence $first on"
done
"$mla" data show mix.yaml "${sets[@]}" --samples 2 --held-out | grep -q '^--- part 2: digits.h5' || fail "held-out parts are not named"

# ---- losses of the parts
train "${mix[@]}" --out run >run.json 2>said || fail "training: $(cat said)"
[ "$(grep -c '"held_out_losses": \[[0-9.e-]*, [0-9.e-]*\]' run/metrics.jsonl)" = 4 ] || fail "the log has no losses of parts"
sed -n '$p' run/metrics.jsonl | sed 's/.*"held_out_loss": \([^,]*\), "held_out_losses": \[\([^,]*\), \([^]]*\)\].*/\1 \2 \3/' |
    awk '{ d = $1 - (0.75 * $2 + 0.25 * $3) } !(NF == 3 && d * d < 1e-12) { exit 1 }' || fail "the mean is not by weight"
parts() { tr '{' '\n' <"$1" | sed -n "s/.*\"path\":\"$2\".*\"$3\":\\([^,}]*\\).*/\\1/p"; }
[ "$(parts run.json letters.h5 sequences) $(parts run.json digits.h5 sequences)" = "90 30" ] || fail "sequences: $(cat run.json)"
awk -v e="$(parts run.json digits.h5 epochs)" 'BEGIN { exit !(e > 1) }' || fail "a part that ran out: $(cat run.json)"
check 0 "part 2           digits.h5: 25.0 %, 30 sequences" "$mla" train tiny.yaml "${sets[@]}" "${mix[@]}" --out told
[[ $printed == *"held-out "*" ("*" "*")"* ]] || fail "the progress does not tell the parts: $printed"
"$mla" eval --checkpoint run --json >eval.json || fail "eval"
sed 's/.*"held_out_losses": \[\([^,]*\), \([^]]*\)\].*/\1 \2/' <<<"$(tail -n 1 run/metrics.jsonl)" >last
near "$(cut -d ' ' -f 1 last)" "$(parts run.json letters.h5 held_out_loss)" 1e-9 || fail "the last step is not over all: $(cat last)"
"$mla" info run --json | sed 's/.*"held_out_losses":\[\([^,]*\),\([^]]*\)\].*/\1 \2/' >known
for part in 1 2; do
    near "$(cut -d ' ' -f $part last)" "$(cut -d ' ' -f $part known)" 1e-12 || fail "info of a mix: $(cat known)"
done
for part in letters.h5 digits.h5; do
    near "$(parts eval.json $part loss)" "$(parts run.json $part held_out_loss)" 1e-5 || fail "eval of $part: $(cat eval.json)"
    near "$(parts eval.json $part loss)" "$("$mla" eval --checkpoint run --tokens $part --json | value loss)" 1e-9 || fail "eval --tokens $part"
    near "$(parts eval.json $part bits_per_byte)" "$("$mla" eval --checkpoint run --tokens $part --json | value bits_per_byte)" 1e-9 ||
        fail "bits per byte of $part"
done
first() { sed "s/,\"parts\":.*/}/" "$1" | value "$2"; }
near "$(first eval.json loss)" "$(sed 's/.*"held_out_loss":\([^,]*\),"bits.*/\1/' run.json)" 1e-5 || fail "eval of the mix"
near "$(first eval.json bits_per_byte)" "$(first run.json bits_per_byte)" 1e-5 || fail "bits per byte of the mix"
check 0 "part 1           letters.h5: loss" "$mla" eval --checkpoint run

# ---- the same run, however it is done
train "${mix[@]}" --set train.steps=7 --set optim.schedule=constant --out half >/dev/null || fail "half a run"
"$mla" train --resume half --set train.steps=20 --json >/dev/null || fail "a mix does not resume"
check 2 "was trained on another mix: data.mix must have the same weights in the same order" "$mla" train --resume half --set train.steps=20 \
    --set data.mix=letters.h5:1,digits.h5:3
cp letters.h5 moved.h5
check 0 "" "$mla" train --resume half --set data.mix=moved.h5:6,digits.h5:2
train "${mix[@]}" --set optim.schedule=constant --out whole >/dev/null || fail "a whole run"
last_of_half() { sed 's/\("step": 7,.*\), "held_out_loss":.*\], /\1, /'; } # it was evaluated at its own end too
cmp -s <(curve half | last_of_half) <(curve whole | last_of_half) || fail "a run that was resumed is another one"
if command -v mpirun >/dev/null; then
    ranks 3 train tiny.yaml "${sets[@]}" "${mix[@]}" --out three --json >/dev/null || fail "3 ranks"
    curves_near run three 1e-5 >/dev/null || fail "3 ranks: another curve"
fi
train --set data.tokens=letters.h5 --out alone >/dev/null || fail "one source"
train --set data.mix=letters.h5:0.1 --out one >/dev/null || fail "a mix of one"
cmp -s <(curve alone) <(curve one) || fail "a mix of one is not that one"
train --set data.mix=letters.h5:3,digits.h5:1 --set train.seed=2 --out other >/dev/null || fail "another seed"
cmp -s <(curve run) <(curve other) && fail "the seed does not count"

# ---- text, prepared for the run: with the tokenizer of a token file, or a new one of all of it
train --set data.mix=letters:1,digits.h5:1 --out prepared >/dev/null 2>said || fail "text and tokens: $(cat said)"
[ -e prepared/part-1/tokens.h5 ] && [ ! -e prepared/part-2 ] || fail "what was prepared: $(find prepared)"
train --set data.mix=letters:1,digits:1 --set data.vocab_size=270 --set data.held_out=0.2 --out texts >/dev/null 2>said || fail "texts: $(cat said)"
check 0 "letters: loss" "$mla" eval --checkpoint texts
"$mla" train --resume texts --set train.steps=25 --json >/dev/null || fail "texts do not resume"
[ "$(find texts -name tokens.h5 | wc -l)" = 2 ] || fail "two token files"
"$mla" finetune tiny.yaml --set finetune.base=texts --set data.mix=letters:1,digits:5 --set train.steps=3 --set train.sequence=16 --out tuned \
    >said 2>&1 || fail "finetune: $(cat said)"
printf '{"prompt": "a", "completion": "def"}\n{"prompt": "g", "completion": "jkl mno"}\n' >chats.jsonl
"$mla" prepare chats.jsonl --format chat --tokenizer bytes --held-out 0 --out chats.h5 >/dev/null || fail "prepare chats"
train --set data.mix=chats.h5:1,letters.h5:1 --set train.sequence=48 --out chat >/dev/null 2>said || fail "conversations and text: $(cat said)"
grep -q '"held_out_losses": \[null, ' chat/metrics.jsonl || fail "a part without held-out text"

# ---- what is no mix
refused() { check 2 "$2" "$mla" train tiny.yaml "${sets[@]}" --set data.mix="$1" --out no; }
refused letters.h5:0,digits.h5:1 "data.mix: letters.h5:0: the weight must be a number above 0"
refused letters.h5:-2,digits.h5:1 "data.mix: letters.h5:-2: the weight must be a number above 0"
refused letters.h5:nan "the weight must be a number above 0"
refused letters.h5 "data.mix: letters.h5 has no weight: write PATH:WEIGHT without a space, as in web.h5:3"
refused letters.h5:x "has no weight"
refused :1 "has no weight"
refused letters.h5:1,digits.h5:1,letters.h5:2 "data.mix: letters.h5 is there twice: add up its weights"
refused "$(seq -s , -f %g:1 17)" "data.mix: 17 parts; at most 16 can be mixed"
refused -:1 "data.mix: - is a pipe: make a token file of it, by mla prepare"
"$mla" prepare digits --vocab-size 270 --out bpe.h5 >/dev/null 2>&1
refused letters.h5:1,bpe.h5:1 "data.mix: the tokens of letters.h5 and bpe.h5 were made by different tokenizers"
check 1 "nowhere.h5" "$mla" train tiny.yaml "${sets[@]}" --set data.mix=letters.h5:1,nowhere.h5:1 --out no
check 2 "give only one of source (text), tokens (a token file), mix (several)" "$mla" train tiny.yaml "${sets[@]}" "${mix[@]}" --set data.source=letters --out no
[ ! -e no/metrics.jsonl ] || fail "something was trained"

finish
