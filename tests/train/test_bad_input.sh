#!/usr/bin/env bash
# Bad input to mla train: exit code 1 or 2, a message that names the thing and the remedy, and nothing half-written.
# $1: the mla command.
set -uo pipefail
mla=$1
. "$(dirname "$0")/../faults/runs.sh"

# refused CODE WORDS ARGUMENT...: mla train ARGUMENT... --out run ends with CODE, names WORDS, and leaves no file in
# the run's folder, nor the folder.
refused() {
    local code=$1 words=$2
    shift 2
    check "$code" "$words" "$mla" train "$@" --out run
    [ -e run ] && fail "$*: left behind: $(ls run)"
    rm -rf run
}
with() { refused "$1" "$2" tiny.yaml --set "$3"; }

# the recipe
with 2 'unknown key "model.kv_lora_rnk"; did you mean "model.kv_lora_rank"?' model.kv_lora_rnk=8
sed 's/kv_lora_rank/kv_lora_rnk/' tiny.yaml >wrong.yaml
refused 2 'wrong.yaml: line 5: unknown key "model.kv_lora_rnk"; did you mean "model.kv_lora_rank"?' wrong.yaml
with 2 "model.kv_lora_rank" model.kv_lora_rank=0
with 2 "model.kv_lora_rank" model.kv_lora_rank=-4
with 2 "model.q_lora_rank" model.q_lora_rank=-1
refused 2 "heads do not divide hidden_size 32" tiny.yaml --set model.num_attention_heads=5 --set model.qk_nope_head_dim=0
refused 2 "num_key_value_heads: 3 does not divide num_attention_heads 4" tiny.yaml --set model.attention=multi_head \
    --set model.num_attention_heads=4 --set model.num_key_value_heads=3
with 2 "optim.lr" optim.lr=nan
with 2 "optim.lr" optim.lr=-1
with 2 "train.microbatch: 3 does not divide batch 4" train.microbatch=3
with 2 "longer than model.max_position_embeddings" train.sequence=65
with 2 "more text or shorter sequences" data.synthetic.tokens=20
with 2 "model.vocab_size is 16, but the tokens need 32" model.vocab_size=16
refused 1 "nowhere.yaml" nowhere.yaml
printf 'model: [1, 2]' >broken.yaml
refused 2 "broken.yaml: line 1: model: expected a group of keys" broken.yaml
printf 'model: "hidden' >broken.yaml
refused 1 "broken.yaml" broken.yaml
refused 1 "GiB" tiny.yaml --set model.hidden_size=65536 --set model.num_hidden_layers=400 --set model.intermediate_size=262144
[[ $printed == *"this run needs "*" GiB "*"the machine has "*"lower train.microbatch"* ]] || fail "no figures: $printed"

# the text
sed '/synthetic:/,/tokens:/d; s/^data:/data:\n  tokenizer: bytes/' tiny.yaml >text.yaml
refused 1 "cannot read nowhere.txt" text.yaml --set data.source=nowhere.txt
: >empty.txt
refused 2 "empty.txt" text.yaml --set data.source=empty.txt
ln -s nowhere dangling
refused 1 "dangling" text.yaml --set data.source=dangling
mkdir closed
echo "Some text." >closed/a.txt
if setpriv --reuid=65534 --clear-groups test -x "$mla" 2>/dev/null; then
    chmod 700 closed && chmod 777 "$folder"
    check 1 "cannot read folder closed" setpriv --reuid=65534 --clear-groups "$mla" train text.yaml --set data.source=closed --out run
    mkdir locked
    check 1 "locked: cannot be written to" setpriv --reuid=65534 --clear-groups "$mla" train tiny.yaml --out locked
    rm -rf run
fi

# token files
for i in $(seq 60); do echo "Document $i says: to be or not to be, that is question $((i * i))."; done >text.txt
check 0 "" "$mla" prepare text.txt --tokenizer bytes --held-out 0 --out bytes.h5
check 0 "" "$mla" prepare text.txt --vocab-size 300 --held-out 0 --out bpe.h5
refused 1 "nowhere.h5" text.yaml --set data.tokens=nowhere.h5
refused 1 "text.txt" text.yaml --set data.tokens=text.txt
refused 2 "model.vocab_size is 200, but the tokens need 257" text.yaml --set data.tokens=bytes.h5 --set model.vocab_size=200
cp bytes.h5 changed.h5
printf 'zz' | dd of=changed.h5 bs=1 seek=$(($(stat -c %s changed.h5) / 2)) conv=notrunc status=none
refused 1 "changed.h5 is damaged" text.yaml --set data.tokens=changed.h5
sed 's/question/answer/' text.txt >other.txt
check 0 "" "$mla" prepare other.txt --vocab-size 300 --held-out 0 --out other.h5
check 0 "" "$mla" train text.yaml --set data.tokens=bpe.h5 --set train.steps=4 --out run
check 2 "the tokenizer has changed" "$mla" train --resume run --set data.tokens=other.h5
check 0 "" "$mla" train --resume run

# what is empty is not given
check 0 "run folder" "$mla" train text.yaml --set data.tokens= --set data.source=text.txt \
    --set train.steps=4 --out one
check 2 "finetune.base" "$mla" finetune text.yaml --set data.source=text.txt --set finetune.base= --out one
check 0 "run folder" "$mla" train text.yaml --set finetune.base= --set finetune.distil= --set data.source=text.txt \
    --set train.steps=4 --resume= --out two
check 2 "name the run folder" "$mla" train text.yaml --set data.source=text.txt --out=
check 2 "needs --out" "$mla" prepare text.txt --out ''
check 2 "name the model" "$mla" eval --checkpoint= text.txt
check 0 "tokens" "$mla" eval --checkpoint one --adapter '' text.txt
check 1 "cannot read nowhere.txt" "$mla" finetune text.yaml --set finetune.base=one --set data.source=nowhere.txt --out two/new
[ -e two/new ] && fail "left behind: $(ls two/new)"
rm -rf one two

# the run folder
check 2 "has checkpoints of a run already: resume it with --resume run" "$mla" train tiny.yaml --out run
rm -rf run
check 1 "tiny.yaml: cannot be used as a run folder" "$mla" train tiny.yaml --out tiny.yaml
check 1 "tiny.yaml/run: the folder cannot be made" "$mla" train tiny.yaml --out tiny.yaml/run
"$mla" train tiny.yaml --set train.steps=100000 --out busy >/dev/null 2>&1 &
until [ -s busy/metrics.jsonl ]; do kill -0 $! && sleep 0.02 || break; done
check 2 "busy: another run is using this folder" "$mla" train tiny.yaml --out busy
check 2 "busy: another run is using this folder" "$mla" train --resume busy
kill -KILL $!
wait $! 2>/dev/null

# a full disk: at its start, at a later save, and at any write of a save
full_disk() {
    mkdir -p disk && mount -t tmpfs -o size=2m tmpfs disk || return 3
    "$mla" train tiny.yaml --set checkpoint.keep=100 --out disk/run 2>&1
    [ $? -eq 1 ] || return 4
    [ -z "$(find disk -name '*.tmp')" ] || return 5
    [ -e "disk/run/$(cat disk/run/latest)" ] || return 6
    for kilobytes in $(seq 0 90 1800); do
        rm -rf disk/* && mkdir disk/run && fallocate -l ${kilobytes}K disk/ballast || continue
        "$mla" train tiny.yaml --set train.steps=8 --set checkpoint.keep=100 --out disk/run >said 2>&1
        code=$?
        [ $code -eq 0 ] || { [ $code -eq 1 ] && grep -q "No space left on device" said; } || { cat said; return 7; }
        [ -z "$(find disk -name '*.tmp')" ] || return 8
        [ $code -eq 0 ] || [ ! -e disk/run/recipe.yaml ] && continue
        rm -f disk/ballast && "$mla" train --resume disk/run >said 2>&1 || { cat said; return 9; }
    done
}
if unshare -rm true 2>/dev/null; then
    export -f full_disk
    export mla
    printed=$(unshare -rm bash -c full_disk 2>&1)
    status=$?
    [ $status -eq 0 ] && [[ $printed == *"No space left on device"* ]] || fail "a full disk ($status): $printed"
fi
leftovers=$(find . -name '*.tmp' -not -path './busy/*')
[ -z "$leftovers" ] || fail "left behind: $leftovers"
[ $failures -eq 0 ]
