#!/usr/bin/env bash
# Is latent attention good for the texts of this machine? Licence texts and manual pages, small models, error bars.
#     tests/bench/compare.sh KIND OUT [--mla MLA] [--tiny] [ARGUMENT of mla compare...]
#   text   MHA, GQA, MQA and MLA with equal parameters, 3.7 million, rates swept, 5 seeds
#   grid   {MHA, MQA, MLA} x {RoPE, no positions}, as mla-experiments has them: is MLA between MHA and MQA, and do
#          positions matter more than that?
# What is asked of the machine comes first (--dry-run), then the runs, for three hours on two cores that are free; the same
# command goes on where it stopped, and several may share the folder, with one thread each (--set train.threads=1). Much
# shorter runs compare how models begin (train/compare/README.md). --tiny makes a few steps of tiny models, to see that all
# of it works.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
mla=$here/../../build/mla
case ${1:-} in text | grid) kind=$1 ;; *) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;; esac
out=${2:?name a folder for the comparison}
shift 2
tiny=
while [ $# -gt 0 ]; do
    case $1 in
    --mla) mla=$2 && shift 2 ;;
    --tiny) tiny=1 && shift ;;
    *) break ;;
    esac
done

recipe=$(mktemp --suffix .yaml)
trap 'rm -f "$recipe"' EXIT
cat >"$recipe" <<'END'
model:
  attention: multi_head
  hidden_size: 256
  num_hidden_layers: 4
  num_attention_heads: 8
  head_dim: 32
  intermediate_size: 704
  max_position_embeddings: 256
  tie_word_embeddings: true
  zero_attention_output: true
data:
  source:
    - /usr/share/common-licenses
    - /usr/share/doc/*/copyright
    - /usr/share/man/man*
  tokenizer: bpe
  vocab_size: 2048
  held_out: 0.005
optim:
  schedule: cosine
  warmup_steps: 50
  min_lr_ratio: 0.1
train:
  steps: 3000
  batch: 4
  sequence: 256
  eval_every: 500
  eval_batches: 8
checkpoint:
  every: 500
  keep: 1
END
what=(--lr 1e-3,2e-3,4e-3)
case $kind in
text) what+=(--arms mha,gqa,mqa,mla --seeds 5) ;;
grid) what+=(--arms mha,mqa,mla,mha-nope,mqa-nope,mla-nope --seeds 3) ;;
esac
if [ -n "$tiny" ]; then
    what+=(--lr 4e-3,8e-3 --seeds 2 --decode 64 --set model.hidden_size=64 --set model.head_dim=8)
    what+=(--set model.num_hidden_layers=2 --set model.intermediate_size=192 --set train.steps=10)
    what+=(--set data.source=/usr/share/common-licenses --set data.vocab_size=300 --set data.held_out=0.2)
    what+=(--set optim.warmup_steps=2)
fi
"$mla" compare "$recipe" "${what[@]}" "$@" --out "$out" --dry-run
"$mla" compare "$recipe" "${what[@]}" "$@" --out "$out"
