#!/usr/bin/env bash
# Adapters with a head of their own: a language model labels texts by an adapter of a few percent of it; resumed, merged,
# exchanged with PEFT's files; and what does not fit is refused. $1: the mla command.
source "$(dirname "$0")/../support/command.sh"

for i in $(seq 3 92); do
    case $((i % 3)) in 0) word=good label=plus ;; 1) word=bad label=minus ;; 2) word=so label=none ;; esac
    printf '{"text": "the %d thing was %s", "label": "%s"}\n' $((i / 3)) $word $label
done >mood.jsonl
sed -E 's/.*"text": "(.*)", .*/\1/' mood.jsonl >mood.txt
printf 'the 4 thing was good\nthe 5 thing was bad\n' >lines.txt
tiny_run words data.source=mood.txt data.tokenizer=bytes data.held_out=0 \
    model.tie_word_embeddings=true train.steps=40 optim.lr=1e-2
printf 'finetune: {base: words}\nlora: {targets: ["*"], rank: 8, alpha: 16}\nmodel: {head: sequence}
data: {source: mood.jsonl, held_out: 0.2}\noptim: {lr: 1.0e-2}
train: {steps: 0, epochs: 30, batch: 4, sequence: 32, precision: f32}\ncheckpoint: {every: 100, keep: 9}\n' >adapt.yaml

# adapt DIR KEY=VALUE...: a run of adapt.yaml.
adapt() {
    local dir=$1 set
    local -a sets=()
    shift
    for set in "$@"; do sets+=(--set "$set"); done
    "$mla" finetune adapt.yaml "${sets[@]}" --out "$dir" --json >"$dir.json" 2>"$dir.log" || fail "finetuning $dir: $(cat "$dir.log")"
}
labels() { "$mla" classify --checkpoint "$@" mood.jsonl 2>/dev/null; }

# ---- trained on a language model, and used with it
before=$(sha256sum <words/step-00000040.h5)
adapt mood
check 0 '"accuracy":1.0' "$mla" eval --checkpoint words --adapter mood --json
check 0 'accuracy         1.0000 of 90' "$mla" eval --checkpoint words --adapter mood mood.jsonl
[ "$(labels words --adapter mood | cut -f1)" = "$(sed -E 's/.*"label": "(.*)".*/\1/' mood.jsonl)" ] || fail "labels with the adapter"
[ "$before" = "$(sha256sum <words/step-00000040.h5)" ] || fail "the base has changed"
last=$(ls mood/step-*.h5 | tail -1)
[ "$(stat -c %s "$last")" -lt "$(stat -c %s words/step-00000040.h5)" ] || fail "an adapter is as large as its model"
check 0 'modules_to_save: ["score"]' "$mla" info mood
check 2 'name the model it is for' "$mla" classify --checkpoint mood --text a

# ---- resumed, to the bit
cp -r mood again && rm "again/${last#mood/}"
check 0 'accuracy' "$mla" finetune --resume again
[ "$(labels words --adapter again)" = "$(labels words --adapter mood)" ] || fail "a resumed run differs"

# ---- merged, and as a model of Hugging Face's
check 0 'merged.h5' "$mla" merge words mood --out merged.h5
[ "$(labels merged.h5)" = "$(labels words --adapter mood)" ] || fail "merged is not unmerged"
check 0 'accuracy         1.0000 of 90' "$mla" eval --checkpoint merged.h5 mood.jsonl
check 0 'ForSequenceClassification' "$mla" export merged.h5 --out merged-hf
# Half an adapter is half of what it does to projections: its head stays whole.
check 0 '' "$mla" classify --checkpoint words --adapter mood:0.5 --text 'the 4 thing was good'

# ---- PEFT's files
check 0 'for PEFT' "$mla" export mood --out peft
grep -q '"task_type": *"SEQ_CLS"' peft/adapter_config.json || fail "the task: $(cat peft/adapter_config.json)"
tr -d ' \n' <peft/adapter_config.json | grep -q '"modules_to_save":\["score"\]' || fail "its modules: $(cat peft/adapter_config.json)"
[ "$(labels words --adapter peft)" = "$(labels words --adapter mood)" ] || fail "not the same in PEFT's files"
check 0 '' "$mla" import peft --base words --out back.h5
[ "$(labels words --adapter back.h5)" = "$(labels words --adapter mood)" ] || fail "not the same from PEFT's files"
# What PEFT itself writes: no names of labels, and a module that no model here has.
cp -r peft bare && rm bare/labels.json && sed -i 's/"score"/"classifier", "score"/' bare/adapter_config.json
check 0 'LABEL_2' "$mla" classify --checkpoint words --adapter bare --text 'the 4 thing was good'
# On a model that labels: its names, where it has as many; an adapter goes on from its head.
check 0 'plus' "$mla" classify --checkpoint merged.h5 --adapter bare --text 'the 4 thing was good'
adapt further finetune.base=merged.h5 train.steps=1 train.epochs=0 optim.lr=1e-9
[ "$(labels merged.h5 --adapter further)" = "$(labels merged.h5)" ] || fail "an adapter does not begin with the base's head"

# ---- other heads
sed -E 's/"label": "(.*)"/"label": ["\1", "all"]/' mood.jsonl >several.jsonl
adapt several data.source=several.jsonl model.problem_type=multi_label_classification
check 0 '"accuracy":1.0' "$mla" eval --checkpoint words --adapter several --json
check 0 'for PEFT' "$mla" export several --out several-peft
check 0 $'all\t' "$mla" classify --checkpoint words --adapter several-peft --text 'the 4 thing was so'
for i in $(seq 60); do
    printf '{"text": "é %d meets Anna today", "label": [[%d, %d, "PER"]]}\n' $i $((${#i} + 9)) $((${#i} + 13))
done >spans.jsonl
adapt spans data.source=spans.jsonl model.head=token
check 0 $'10\t14\tPER\t' "$mla" classify --checkpoint words --adapter spans --text 'é 7 meets Anna today'
check 0 'for PEFT' "$mla" export spans --out spans-peft
grep -q '"task_type": *"TOKEN_CLS"' spans-peft/adapter_config.json || fail "the task: $(cat spans-peft/adapter_config.json)"
check 0 $'10\t14\tPER\t' "$mla" classify --checkpoint words --adapter spans-peft --text 'é 7 meets Anna today'
adapt mean model.pooling=mean train.epochs=1
check 2 "PEFT's models have no pooling: mean" "$mla" export mean --out no
adapt narrow train.precision=bf16
check 0 '"accuracy":' "$mla" eval --checkpoint words --adapter narrow --json

# ---- what does not fit
refuse() { check "$1" "$2" "$mla" classify --checkpoint words --adapter "${3:-bad}" "${@:4}" --text a; }
damage() { rm -rf bad && cp -r "${2:-peft}" bad && sed -i "$1" "bad/${3:-adapter_config.json}"; }
damage 's/"score"/"embed_tokens"/'
refuse 1 'modules_to_save: "embed_tokens" is not supported, only "score"'
damage 's/"score"/"classifier"/'
refuse 1 'which its modules_to_save do not name'
damage 's/"modules_to_save": \[/"modules_to_save": "score", "layers_pattern": [/'
refuse 1 'modules_to_save: expected a list of names'
damage 's/"SEQ_CLS"/"CAUSAL_LM"/'
refuse 1 'task_type: "CAUSAL_LM", but it has a head that labels'
damage 's/"SEQ_CLS"/"TOKEN_CLS"/'
refuse 1 'score.bias is missing'
damage 's/"TOKEN_CLS"/"SEQ_CLS"/' spans-peft
refuse 1 'base_model.model.score.bias'
damage 's/"2"/"3"/' peft labels.json
refuse 1 'labels.json: id2label: 2 has no name'
damage 's/"0": "[a-z]*", *//' peft labels.json
refuse 1 'labels.json: id2label: 2 names, but the head has 3 labels'
damage 's/single/triple/' peft labels.json
refuse 1 'labels.json: problem_type: triple_label_classification is none that is known'
damage 's/id2label/id2labels/' peft labels.json
refuse 1 '"id2labels" is no key of it'
check 2 'which another adapter brings as well' "$mla" classify --checkpoint words --adapter peft --adapter bare --text a
adapt language model.head=language data.format=text data.source=mood.txt train.epochs=0 train.steps=1
check 2 'was trained on a model with head language, and this one has sequence' \
    "$mla" classify --checkpoint words --adapter language --adapter mood --text a
check 2 'use mla classify' "$mla" generate --checkpoint words --adapter mood --prompt a
[ ! -e no ] || fail "a refused export has left something"
finish
