#!/usr/bin/env bash
# Learning from a teacher, from outside: the pupil comes closer to it than by the text alone; stopped and resumed,
# on several ranks, with adapters, in bf16; teachers that do not fit are refused. $1: the mla command.
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source "$here/../support/command.sh"
source "$here/../support/ranks.sh"

data=(data.synthetic.tokens=6000 data.held_out=0.2 optim.lr=1e-2)
tiny_run teacher "${data[@]}" train.steps=60
tiny_run pupil "${data[@]}" train.steps=40 model.kv_lora_rank=4 finetune.distil=teacher finetune.distil_weight=0
kl() { sed -n 's/.*"kl": \([^,]*\),.*/\1/p' "$1/metrics.jsonl" | tail -n "${2:-1}" | head -n 1; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && a < b) }'; }

# ---- what it does

tiny_run taught "${data[@]}" train.steps=40 model.kv_lora_rank=4 finetune.distil=teacher finetune.distil_weight=1
less "$(kl taught)" "$(kl pupil)" || fail "a pupil that is taught is no closer: $(kl taught), without $(kl pupil)"
less "$(kl taught)" 0.2 && less 0.2 "$(kl taught 40)" || fail "far from its teacher: $(kl taught), at first $(kl taught 40)"
tiny_run plain "${data[@]}" train.steps=40 model.kv_lora_rank=4
near "$(value held_out_loss <plain.json)" "$(value held_out_loss <pupil.json)" 1e-5 || fail "a teacher without a share changes the model"

# ---- stopped and resumed; several ranks; microbatches

taught=("${tiny_sizes[@]}" "${data[@]}" model.kv_lora_rank=4 finetune.distil=teacher finetune.distil_temperature=2 train.steps=20
    checkpoint.every=10 checkpoint.keep=5 model.dropout=0.1)
sets=()
for set in "${taught[@]}"; do sets+=(--set "$set"); done
check 0 "KL " "$mla" train tiny.yaml "${sets[@]}" --out whole
cp -r whole half
rm half/step-00000020.h5
check 0 "" "$mla" train --resume half
cmp -s whole/step-00000020.h5 half/step-00000020.h5 || fail "a run that went on ends in other bits"
rm half/step-00000020.h5
mv teacher kept
cp -r pupil teacher # a model of the same vocabulary in its place
mv teacher/step-*.h5 "teacher/$(cd kept && echo step-*.h5)"
check 2 "are not those that the run began with" "$mla" train --resume half
rm -r teacher
mv kept teacher
check 0 "" "$mla" train --resume half
cmp -s whole/step-00000020.h5 half/step-00000020.h5 || fail "a run whose teacher is back ends in other bits"
check 0 "" "$mla" train tiny.yaml "${sets[@]}" --set train.microbatch=1 --out parts
curves_near whole parts 1e-5 >/dev/null || fail "microbatches change the curve"
near "$(kl whole)" "$(kl parts)" 1e-5 || fail "microbatches change KL: $(kl whole), $(kl parts)"
check 0 "" ranks 2 train tiny.yaml "${sets[@]}" --out two
curves_near whole two 1e-5 >/dev/null || fail "two ranks have another curve"
near "$(kl whole)" "$(kl two)" 1e-5 || fail "two ranks have another KL: $(kl whole), $(kl two)"

# ---- with adapters, on a model of another size than the teacher; in bf16

tuned=(train.steps=20 train.batch=4 train.sequence=32 "${data[@]}" optim.lr=1e-2 finetune.base=plain finetune.distil=teacher
    finetune.distil_weight=0.9 'lora.targets=*' lora.rank=4)
sets=()
for set in "${tuned[@]}"; do sets+=(--set "$set"); done
for precision in f32 bf16; do
    check 0 "" "$mla" finetune tiny.yaml "${sets[@]}" --set train.precision=$precision --out tuned-$precision
    less "$(kl tuned-$precision)" "$(kl tuned-$precision 20)" || fail "$precision: adapters do not come closer to the teacher"
done
near "$(kl tuned-f32)" "$(kl tuned-bf16)" 1e-2 || fail "bf16 has another KL: $(kl tuned-f32), $(kl tuned-bf16)"

check 0 "onednn_fraction" "$mla" bench step tiny.yaml "${sets[@]}" --set train.precision=f32 --steps 1 --json

# ---- layer by layer: closer; the same in microbatches of blocks computed again, and on ranks; adapters in bf16

layered=(finetune.distil_layers=2)
sets=()
for set in "${taught[@]}" "${layered[@]}"; do sets+=(--set "$set"); done
error() { sed -n 's/.*"distil_layers": \([^,}]*\).*/\1/p' "$1/metrics.jsonl" | tail -n "${2:-1}" | head -n 1; }
[ -z "$(error whole)" ] || fail "an error of layers where none learn"
check 0 "" "$mla" train tiny.yaml "${sets[@]}" --out layered
less "$(error layered)" "$(error layered 20)" || fail "layers learn nothing: $(error layered), at first $(error layered 20)"
check 0 "" "$mla" train tiny.yaml "${sets[@]}" --set train.microbatch=1 --set train.recompute=block --out layered-parts
check 0 "" ranks 2 train tiny.yaml "${sets[@]}" --out layered-two
for run in layered-parts layered-two; do
    curves_near layered $run 1e-5 >/dev/null || fail "$run: another curve"
    near "$(error layered)" "$(error $run)" 1e-5 || fail "$run: another error of layers: $(error $run), not $(error layered)"
done
sets=()
for set in "${tuned[@]}" "${layered[@]}"; do sets+=(--set "$set"); done
check 0 "" "$mla" finetune tiny.yaml "${sets[@]}" --set train.precision=bf16 --out tuned-layers
less "$(error tuned-layers)" "$(error tuned-layers 20)" || fail "adapters in bf16 bring no layer closer to the teacher's"

# ---- teachers that do not fit

refuse() { local words=$1; shift; check 2 "$words" "$mla" train tiny.yaml "${sets[@]}" "$@" --out no; }
sets=()
for set in "${tiny_sizes[@]}" "${data[@]}"; do sets+=(--set "$set"); done
refuse "a vocabulary of 32, the model one of 16" --set finetune.distil=teacher --set data.synthetic.vocabulary=16
refuse "longer than the 64 positions of the teacher" --set finetune.distil=teacher --set train.sequence=65 --set model.max_position_embeddings=65
refuse "is an adapter: name a model" --set finetune.distil=tuned-f32
refuse "no teacher whose layers could be learned" --set finetune.distil_layers=1
refuse "the teacher has 2 layers of width 32, the model 3 of 32" --set finetune.distil=teacher --set finetune.distil_layers=1 \
    --set model.num_hidden_layers=3
refuse "distil_weight" --set finetune.distil=teacher --set finetune.distil_weight=1.5
texts one
tiny_run english data.source=one data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2
sed 's/Dokument/Document/; s/das sind/these are/' -i one/*.txt
tiny_run other data.source=one data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2
check 2 "has another tokenizer than the model" "$mla" finetune tiny.yaml --set finetune.base=other --set finetune.distil=english \
    --set data.source=one --set train.steps=1 --set train.sequence=32 --out no
[ ! -e no/latest ] || fail "a refused run has left a checkpoint"

finish
