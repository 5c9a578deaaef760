#!/usr/bin/env bash
# A model that labels, from a table to its labels: train, resume, eval, classify; several labels, numbers, spans; and
# what is refused.
source "$(dirname "$0")/../support/command.sh"

# Texts of which the last word decides, as both JSONL and CSV.
for i in $(seq 3 92); do
    case $((i % 3)) in 0) word=good label=plus ;; 1) word=bad label=minus ;; 2) word=so label=none ;; esac
    printf '{"text": "the %d thing was %s", "label": "%s"}\n' $((i / 3)) $word $label
done >mood.jsonl
{ echo 'label,text' && sed -E 's/.*"text": "(.*)", "label": "(.*)".*/\2,"\1"/' mood.jsonl; } >mood.csv
small=(model.head=sequence data.tokenizer=bytes data.held_out=0.2 train.steps=0 optim.lr=1e-2 checkpoint.every=40)

# ---- training, and the same from a CSV
tiny_run mood data.source=mood.jsonl "${small[@]}" train.epochs=30
check 0 '"accuracy":1.0' "$mla" eval --checkpoint mood --json
check 0 '"macro_f1":1.0' "$mla" eval --checkpoint mood --json
check 0 'accuracy         1.0000 of 90' "$mla" eval --checkpoint mood mood.csv
tiny_run comma data.source=mood.csv "${small[@]}" train.epochs=30
cmp <(grep -o '"loss":[^,]*' mood.json) <(grep -o '"loss":[^,]*' comma.json) || fail "CSV and JSONL train differently"

# ---- resumed, to the bit
tiny_run stopped data.source=mood.jsonl "${small[@]}" train.epochs=30
rm stopped/step-*[1-9]*[!0].h5 2>/dev/null
last=$(ls stopped/step-*.h5 | tail -1)
[ "$(ls stopped/step-*.h5 | wc -l)" -gt 1 ] && rm "$last"
check 0 'accuracy' "$mla" train --resume stopped
cmp <(cut -d'"' -f1-12 mood/metrics.jsonl | tail -1) <(cut -d'"' -f1-12 stopped/metrics.jsonl | tail -1) ||
    fail "a resumed run differs"

# ---- labels
check 0 'plus' "$mla" classify --checkpoint mood --text 'the 4 thing was good'
check 0 '{"label":"minus","probability":' "$mla" classify --checkpoint mood --json --text 'the 4 thing was bad'
printf 'the 4 thing was good\nthe 5 thing was bad\n' >lines.txt
[ "$("$mla" classify --checkpoint mood <lines.txt | cut -f1 | tr '\n' ' ')" = "plus minus " ] || fail "lines of the input"
"$mla" classify --checkpoint mood mood.csv >one.tsv && "$mla" classify --checkpoint mood --batch 7 --stats mood.jsonl \
    >seven.tsv 2>stats || fail "classify of tables"
[ "$(cut -f1 one.tsv)" = "$(cut -f1 seven.tsv)" ] || fail "texts in a batch have other labels"
[ "$(cut -f1 one.tsv)" = "$(sed -E 's/.*"label": "(.*)".*/\1/' mood.jsonl)" ] || fail "labels of the table"
grep -Eq '^90 texts, in (f32|bf16); milliseconds for each: mean' stats || fail "no figures: $(cat stats)"
"$mla" classify --checkpoint mood --precision bf16 mood.csv >half.tsv 2>/dev/null || fail "classify in bf16"
[ "$(cut -f1 one.tsv)" = "$(cut -f1 half.tsv)" ] || fail "labels in bf16: $(paste one.tsv half.tsv)"
of_f32=$("$mla" eval --checkpoint mood mood.csv --json) of_bf16=$("$mla" eval --checkpoint mood mood.csv --json --precision bf16 2>/dev/null)
near "$(value loss <<<"$of_f32")" "$(value loss <<<"$of_bf16")" 0.05 && [ "$(value loss <<<"$of_f32")" != "$(value loss <<<"$of_bf16")" ] ||
    fail "eval of labels in f32 and bf16: $of_f32 $of_bf16"
check 1 'line 2 is empty' "$mla" classify --checkpoint mood < <(printf 'a\n\nb\n')

# ---- several labels, numbers, spans
sed -E 's/"label": "(.*)"/"label": ["\1", "all"]/; s/, *"none"//' mood.jsonl | sed 's/\["none", /[/' >several.jsonl
tiny_run several data.source=several.jsonl "${small[@]}" model.problem_type=multi_label_classification train.epochs=30
check 0 '"accuracy":1.0' "$mla" eval --checkpoint several --json
check 0 $'all\t' "$mla" classify --checkpoint several --text 'the 4 thing was so'
sed -E 's/"plus"/1.5/; s/"minus"/-1.5/; s/"none"/0/' mood.jsonl >numbers.jsonl
tiny_run numbers data.source=numbers.jsonl "${small[@]}" model.problem_type=regression train.epochs=30
near "$("$mla" eval --checkpoint numbers --json | value rmse)" 0 0.3 || fail "regression: $("$mla" eval --checkpoint numbers)"
for i in $(seq 60); do
    printf '{"text": "é %d meets Anna today", "label": [[%d, %d, "PER"]]}\n' $i $((${#i} + 9)) $((${#i} + 13))
done >spans.jsonl
tiny_run spans data.source=spans.jsonl "${small[@]}" model.head=token train.epochs=20
check 0 $'10\t14\tPER\t' "$mla" classify --checkpoint spans --text 'é 7 meets Anna today'
check 0 '{"spans":[{"start":11,"end":15,"label":"PER"' "$mla" classify --checkpoint spans --json --text 'é 77 meets Anna today'

# ---- figures of two classes: intervals, curves, a threshold that is kept and used
{ grep -v none mood.jsonl; for i in 1 2 3 4 5 6 7 8; do echo '{"text": "the 3 thing was bad", "label": "plus"}'; done; } >two.jsonl
tiny_run two data.source=two.jsonl "${small[@]}" train.epochs=8
eval_two() { check "$1" "$2" "$mla" eval --checkpoint "${model:-two}" two.jsonl "${@:3}"; }
eval_two 0 'positive         plus'
eval_two 0 'recall at FPR    1.0000 (0.5), from ' --positive minus --at-fpr 0.5
eval_two 0 '"intervals":{"accuracy":[' --json --bootstrap 50 --seed 2
first=$printed
eval_two 0 "$first" --json --bootstrap 50 --seed 2
eval_two 0 'label                    precision    recall        F1     AUROC avg.prec.  examples'
eval_two 0 'AUROC' --plot two.svg
grep -q 'ROC (area)' two.svg || fail "no curves in two.svg"
eval_two 2 'two.pdf: pictures are drawn into files named .png or .svg' --plot two.pdf
eval_two 2 '--positive none: the labels are minus and plus' --positive none
eval_two 2 '--choose f1|fpr and --out FILE.h5 go together' --choose f1
eval_two 2 'give --bootstrap 1000, too' --seed 3
eval_two 0 'for plus, chosen by fpr 0 on these texts' --choose fpr --at-fpr 0 --out careful.h5
check 0 'plus from a probability of' "$mla" classify --checkpoint careful.h5 --text 'the 4 thing was good'
check 0 '"thresholds":{"plus":' "$mla" classify --checkpoint careful.h5 --json --text 'the 4 thing was good'
said=$("$mla" classify --checkpoint careful.h5 two.jsonl 2>/dev/null | grep -c plus)
[ "$said" -lt "$("$mla" classify --checkpoint two two.jsonl | grep -c plus)" ] || fail "the threshold is not used: $said"
model=careful.h5 eval_two 0 "\"said\":$said}" --json
model=careful.h5 eval_two 2 "the model's threshold is one for plus" --positive minus
check 0 '' "$mla" rank careful.h5 --latent 12 --out kept.h5
check 0 'plus from a probability of' "$mla" classify --checkpoint kept.h5 --text 'the 4 thing was good'
check 0 'no place for the threshold' "$mla" export careful.h5 --out careful-hf
check 0 'its threshold is not kept' "$mla" finetune tiny.yaml --set finetune.base=careful.h5 --set train.steps=1 \
    --set data.source=two.jsonl --set train.batch=4 --set train.sequence=32 --out retrained
check 2 'several classes the likeliest is said' "$mla" eval --checkpoint mood mood.csv --choose f1 --out no.h5
check 2 'curves are drawn of labels' "$mla" eval --checkpoint numbers numbers.jsonl --plot no.svg
check 0 'Spearman' "$mla" eval --checkpoint numbers numbers.jsonl
check 0 'AUROC' "$mla" eval --checkpoint spans spans.jsonl --bootstrap 20
[ ! -e no.h5 ] && [ ! -e no.svg ] || fail "a refused eval wrote something"

# ---- from a language model, and on from there; to Hugging Face's files and back
sed -E 's/.*"text": "(.*)", .*/\1/' mood.jsonl >mood.txt
tiny_run words data.source=mood.txt data.tokenizer=bytes data.held_out=0 model.tie_word_embeddings=true
check 2 'its head gives no labels' "$mla" eval --checkpoint words mood.txt --bootstrap 10
sets=()
for set in "${small[@]}" train.batch=4 train.sequence=32 finetune.base=words data.source=mood.jsonl train.epochs=15; do
    sets+=(--set "$set")
done
check 0 'the head is new: sequence, 3 labels; that of' "$mla" finetune tiny.yaml "${sets[@]}" --out based
check 0 '"accuracy":1.0' "$mla" eval --checkpoint based --json
grep -v plus mood.jsonl >fewer.jsonl
check 0 'accuracy         1.0000' "$mla" finetune tiny.yaml --set finetune.base=based --set data.source=fewer.jsonl \
    --set train.steps=3 --set train.batch=4 --set train.sequence=32 --set data.held_out=0.2 --out further
check 0 'plus' "$mla" classify --checkpoint further --text 'the 4 thing was good'
echo '{"text": "a", "label": "odd"}' >odd.jsonl
check 1 'the label "odd" is none of the 3' "$mla" finetune tiny.yaml --set finetune.base=based --set train.steps=1 \
    --set data.source=odd.jsonl --set train.sequence=32 --out refused
rm -rf refused
check 0 'ForSequenceClassification' "$mla" export based --out hf
grep -q '"1": "none"' hf/config.json || fail "labels of the export: $(cat hf/config.json)"
check 0 '' "$mla" import hf --out back.h5
[ "$("$mla" classify --checkpoint back.h5 <lines.txt)" = "$("$mla" classify --checkpoint based <lines.txt)" ] ||
    fail "the imported model labels otherwise"

# ---- classes that weigh alike, groups, long texts
tiny_run weighed data.source=mood.jsonl "${small[@]}" data.class_weights=balanced train.label_smoothing=0.1 \
    model.pooling=mean model.classifier_dropout=0.1 train.epochs=1
check 0 'F1' "$mla" eval --checkpoint weighed
check 2 'no pooling: mean' "$mla" export weighed --out mean
tiny_run stride data.source=mood.jsonl "${small[@]}" train.epochs=2 train.sequence=12 data.too_long=stride
check 0 'of 90' "$mla" eval --checkpoint stride mood.jsonl
refused() {
    check "$1" "$2" "$mla" train tiny.yaml "${sets[@]}" --out refused "${@:3}"
    [ "$1" -ne 1 ] || [ -z "$(find refused -name '*.h5*' 2>/dev/null)" ] || fail "written of bad data: $(ls refused)"
    rm -rf refused
}
sets=()
for set in "${tiny_sizes[@]}" "${small[@]}" train.epochs=1 data.source=mood.jsonl; do sets+=(--set "$set"); done
refused 2 'more than a sequence of 12' --set train.sequence=12 --set data.too_long=refuse
{ cat mood.csv && echo 'plus,"never closed'; } >open.csv
refused 1 'open.csv:92: the quote' --set data.source=open.csv
refused 1 "is none of the 1 that are known: plus" --set data.labels=plus
refused 2 'model.num_labels: 5, but the data has 3 labels' --set model.num_labels=5
refused 1 'there is no column "class"; it has text, label' --set data.label_field=class
{ cat mood.csv && printf 'plus,"gr\344ulich"\n'; } >latin.csv
refused 1 'latin.csv:92: byte 0xe4 is not UTF-8 text' --set data.source=latin.csv
{ cat mood.csv && echo 'plus,'; } >empty.csv
refused 1 'empty.csv:92: "text" is empty' --set data.source=empty.csv
{ sed 's/^[a-z]*/1/' mood.csv && echo '1e300,"too large"'; } >large.csv
sed -i '1s/.*/label,text/' large.csv
refused 1 'large.csv:92: "label" is not a finite number' --set data.source=large.csv --set model.problem_type=regression
printf 'amount,label\n1,plus\nNaN,minus\n' >nan.csv
refused 1 'nan.csv:3: "amount" is not a number' --set data.source=nan.csv --set 'data.text_template=of {amount}'
{ cat mood.jsonl && echo '{"text": "the only one", "label": "rare"}'; } >rare.jsonl
tiny_run rare data.source=rare.jsonl "${small[@]}" train.epochs=1 2>rare.log
grep -q '1 of 4 labels have one example only, which is not held out' rare.log || fail "a single example: $(cat rare.log)"
check 0 'rare                        0.0000    0.0000    0.0000         -         -         0' "$mla" eval --checkpoint rare
refused 2 'labelled texts stay whole' --set data.packing=stream
refused 2 'data.format: labels, but model.head is language' --set model.head=language --set data.format=labels
check 2 'use mla classify' "$mla" generate --checkpoint mood --prompt a
check 0 'wider.h5' "$mla" rank mood --latent 12 --out wider.h5
check 0 'minus' "$mla" classify --checkpoint wider.h5 --text 'the 3 thing was bad'
check 2 'not prepared beforehand' "$mla" prepare mood.jsonl --format labels --out no.h5
finish
