#!/usr/bin/env bash
# Adapters from outside: trained on a model that stays as it is, resumed, put on it by share, merged, exchanged with
# PEFT's files; and what does not fit is refused. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
mkdir other
for i in $(seq 40); do printf 'Article %d. The parties agree on %d conditions.\n' "$i" $((i * 3)) >"other/$i.txt"; done
tiny_run base data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=30 optim.lr=1e-2
tiny_run second data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=3 train.seed=9
tiny_run chain data.synthetic.tokens=4000 data.synthetic.vocabulary=16

printf 'finetune: {base: base}\nlora: {targets: ["*"], rank: 4, alpha: 8}\ndata: {source: other, held_out: 0.2}
train: {steps: 20, batch: 4, sequence: 32, precision: f32}\noptim: {lr: 1.0e-2}\n' >lora.yaml

# adapt DIR KEY=VALUE...: a run of lora.yaml.
adapt() {
    local dir=$1 set
    local -a sets=()
    shift
    for set in "$@"; do sets+=(--set "$set"); done
    "$mla" finetune lora.yaml "${sets[@]}" --out "$dir" --json >"$dir.json" || fail "finetuning $dir"
}
loss() { "$mla" eval --checkpoint "$@" --json --sequence 32 | value loss; }
size() { stat -c %s "$1"; }

# ---- training

base_hash=$(sha256sum <base/step-00000030.h5)
adapt lora
trained=$(value trained_parameters <lora.json) all=$(value parameters <lora.json)
[ "$trained" -lt $((all / 2)) ] || fail "$trained of $all parameters are trained"
[ "$(size lora/step-00000020.h5)" -lt "$(size base/step-00000030.h5)" ] || fail "an adapter is as large as its model"
[ "$base_hash" = "$(sha256sum <base/step-00000030.h5)" ] || fail "the base has changed"
before=$(loss base other/*.txt) after=$(loss base --adapter lora other/*.txt)
awk -v a="$before" -v b="$after" 'BEGIN { exit !(b < a - 0.1) }' || fail "the adapter has learned nothing: $before, $after"
near "$after" "$(loss base --adapter lora/step-00000020.h5 other/*.txt)" 0 || fail "a folder is not its checkpoint"
cmp -s base/tokenizer.json lora/tokenizer.json || fail "the tokenizer is not the base's"

# N steps, a stop, and N more are 2N.
adapt half train.steps=20 checkpoint.every=10 checkpoint.keep=5
rm half/step-00000020.h5
"$mla" finetune --resume half --json >/dev/null || fail "an adapter's run does not go on"
tail -n 10 half/metrics.jsonl | value loss >half.losses
tail -n 10 lora/metrics.jsonl | value loss >lora.losses
cmp -s half.losses lora.losses || fail "a run that went on has other losses"
near "$after" "$(loss base --adapter half other/*.txt)" 0 || fail "a run that went on has another adapter"

# All of it, from the same base.
printf 'finetune: {base: base}\ndata: {source: other, held_out: 0.2}\ntrain: {steps: 3, batch: 4, sequence: 32}\n' >full.yaml
check 0 "run folder" "$mla" finetune full.yaml --set optim.lr=1e-12 --out full
near "$(loss full other/*.txt)" "$before" 1e-5 || fail "a whole model did not begin with its base"
check 0 "" "$mla" generate --checkpoint full --tokens 3

# ---- kinds

adapt rslora lora.rslora=true
adapt dora lora.dora=true lora.dropout=0.1
adapt some 'lora.targets=self_attn.q_proj:2,kv_b_proj:3:6'
adapt pissa lora.init=pissa
for kind in rslora dora some pissa; do
    with=$(loss base --adapter $kind other/*.txt)
    awk -v a="$before" -v b="$with" 'BEGIN { exit !(b < a - 0.05) }' || fail "$kind has learned nothing: $before, $with"
done

# ---- all forms of decoding, with adapters on all projections

ids() { "$mla" generate --tokens 40 --greedy --json --checkpoint "$@" 2>/dev/null | sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'; }
for kind in lora dora pissa; do
    text=$(ids base --adapter $kind)
    [[ $text == \[[0-9]*,[0-9]*\] ]] && [ "$text" != "$(ids base)" ] || fail "$kind changes no text: $text"
    for form in --no-cache --expanded; do
        [ "$text" = "$(ids base --adapter $kind $form)" ] || fail "$kind: $form gave another text"
    done
done

# ---- merging and stacking

for kind in lora dora some pissa; do
    check 0 "in the weights of base/step-00000030.h5" "$mla" merge base $kind --out $kind-merged.h5
    near "$(loss $kind-merged.h5 other/*.txt)" "$(loss base --adapter $kind other/*.txt)" 1e-5 || fail "$kind: merged is not unmerged"
done
check 0 "" "$mla" merge base lora:0.5 dora:0.25 --out both.h5
near "$(loss both.h5 other/*.txt)" "$(loss base --adapter lora:0.5 --adapter dora:0.25 other/*.txt)" 1e-5 ||
    fail "a merged stack is not the stack"
near "$(loss base --adapter lora:0 other/*.txt)" "$before" 1e-6 || fail "an adapter with share 0 counts"
near "$(loss base --adapter lora:0.5 --adapter lora:0.5 other/*.txt)" "$after" 1e-5 || fail "two halves are not one"
check 0 "step-00000020" "$mla" info lora
check 0 "kind: adapter" "$mla" info lora/step-00000020.h5
check 0 "r: 4" "$mla" info lora

# ---- PEFT's files

for kind in lora rslora dora some pissa; do
    check 0 "for PEFT" "$mla" export $kind --out $kind-peft
    near "$(loss base --adapter $kind-peft other/*.txt)" "$(loss base --adapter $kind other/*.txt)" 1e-6 || fail "$kind: not the same in PEFT's files"
    check 0 "" "$mla" import $kind-peft --base base --out $kind-again.h5
    near "$(loss base --adapter $kind-again.h5 other/*.txt)" "$(loss base --adapter $kind other/*.txt)" 1e-6 || fail "$kind: not the same from PEFT's files"
done
check 0 "kind: adapter" "$mla" info lora-peft

# ---- what does not fit

check 2 "is an adapter for another base" "$mla" eval --checkpoint second --adapter lora other/1.txt
check 2 "is an adapter for another base: one with" "$mla" eval --checkpoint chain --adapter lora other/1.txt
check 2 "is a model, not an adapter" "$mla" eval --checkpoint base --adapter second other/1.txt
check 2 "is an adapter, not a model" "$mla" eval --checkpoint lora other/1.txt
check 2 "is an adapter" "$mla" finetune lora.yaml --set finetune.base=lora --out no
check 2 "name the checkpoint of its model by --base" "$mla" import lora-peft --out no.h5
check 1 "nowhere" "$mla" eval --checkpoint base --adapter nowhere other/1.txt
check 1 "no adapter lora,dora: it is read as one path, give several one by one" "$mla" eval --checkpoint base --adapter lora,dora other/1.txt
check 2 "finetune needs a model to begin with" "$mla" finetune tiny.yaml --set data.synthetic.tokens=100 --set train.steps=1 --out no
check 2 "adapters need a model to begin with" "$mla" train tiny.yaml --set lora.targets=q_proj --set data.synthetic.tokens=100 --set train.steps=1 --out no
check 2 'did you mean "q_proj"' "$mla" finetune lora.yaml --set lora.targets=q_prj --out no
check 2 "rank 0 on" "$mla" finetune lora.yaml --set lora.rank=0 --out no
check 2 "at most 8" "$mla" finetune lora.yaml --set lora.targets=kv_b_proj:9 --out no
check 2 "is longer than the 64 positions" "$mla" finetune lora.yaml --set train.sequence=65 --out no
[ ! -e no ] && [ ! -e no.h5 ] || fail "a refused command has left something"

# damage FOLDER CHANGE: a copy of lora-peft with its configuration changed by a sed expression.
damage() { rm -rf "$1" && cp -r lora-peft "$1" && sed -i "$2" "$1/adapter_config.json"; }
damage bad 's/"peft_type": "LORA"/"peft_type": "IA3"/'
check 1 'peft_type: "IA3"; only LORA' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"bias": "none"/"bias": "all"/'
check 1 'bias: "all" is not supported' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"modules_to_save": null/"modules_to_save": ["lm_head"]/'
check 1 'modules_to_save' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"init_lora_weights": true/"init_lora_weights": "olora"/'
check 1 'changes the base as well' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"r": 4/"r": 5/'
check 1 'has rank 4, by its configuration it should be 5' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"use_dora": false/"use_dora": true/'
check 1 'lora_magnitude_vector is missing' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"lora_alpha": 8/"lora_alpha": "much"/'
check 1 'lora_alpha: for model.layers.0' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/"alpha_pattern": {}/"alpha_pattern": {"(": 3}/'
check 1 'is no pattern of names' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/{/[/'
check 1 'bad' "$mla" eval --checkpoint base --adapter bad other/1.txt
damage bad 's/x/x/'
truncate -s -100 bad/adapter_model.safetensors
check 1 'adapter_model.safetensors' "$mla" eval --checkpoint base --adapter bad other/1.txt
cp lora/step-00000020.h5 cut.h5
truncate -s 8000 cut.h5
check 1 'cut.h5' "$mla" eval --checkpoint base --adapter cut.h5 other/1.txt

# ---- all of them in a list; what is damaged does not hide the others

check 0 "warning: ./cut.h5 is cut" "$mla" list .
for line in 'base +model +[0-9.]+k +30 ' 'lora +adapter +[0-9.]+k +20 .*/base/step-00000030.h5' \
    'lora-peft +adapter .PEFT. +[0-9.]+k +- ' 'cut.h5 +unreadable '; do
    grep -qE "^$line" <<<"$printed" || fail "not in the list: $line: $printed"
done
grep -q "^other" <<<"$printed" && fail "texts are listed: $printed"
"$mla" list . --json 2>/dev/null | grep -q '"name":"lora","kind":"adapter","parameters":[0-9]*,"step":20,"held_out_loss":[0-9.]*,"base":".*/base/step-00000030.h5"' ||
    fail "the list as JSON: $("$mla" list . --json)"
check 1 "nowhere: No such file" "$mla" list nowhere

finish
