#!/usr/bin/env bash
# Several ranks train the model that one would: the same curve, the same bits twice, checkpoints that any number of
# ranks resumes from. $1: the mla command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
command -v mpirun >/dev/null || { fail "mpirun is not installed: train/install-packages.sh"; exit 1; }

uneven_batches
steps=(--set train.steps=200 --set checkpoint.every=100 --set train.eval_every=50)
train() { local n=$1 out=$2; shift 2; check 0 "" ranks "$n" train tiny.yaml "${steps[@]}" "$@" --out "$out"; }

check 0 "" "$mla" train tiny.yaml "${steps[@]}" --out alone
for n in 1 2 3 4; do
    train $n "world$n"
    curves_near alone "world$n" 1e-5 || fail "$n ranks: another curve"
done
same_end alone world1 || fail "mpirun with one rank ends in other bits than no mpirun"
train 2 again
same_end world2 again || fail "2 ranks twice end in other bits"
train 3 shard3 --set optim.shard=true
curves_near alone shard3 1e-5 || fail "sharded: another curve"
train 3 shard3again --set optim.shard=true
same_end shard3 shard3again || fail "3 ranks, sharded, twice end in other bits"
train 2 recompute --set train.recompute=block
curves_near alone recompute 1e-5 || fail "with recompute: another curve"
train 2 late --set train.overlap=false
cmp <(steps_of world2) <(steps_of late) || fail "without overlap: other bits"
train 2 rounded --set train.reduce=bf16
curves_near alone rounded 0.02 || fail "gradients in bf16: a curve that is far off"
curves_near alone rounded 1e-5 >/dev/null 2>&1 && fail "gradients in bf16: nothing was rounded"

# other numbers of ranks, sharded and not, one after the other; each part of the run writes what the next one reads
goes_on() { local n=$1; shift; check 0 "" ranks "$n" train --resume changing "$@"; }
check 0 "" "$mla" train tiny.yaml "${steps[@]}" --set train.steps=40 --set optim.schedule=constant --out changing
check 0 "" "$mla" train tiny.yaml "${steps[@]}" --set optim.schedule=constant --out constant
goes_on 2 --set train.steps=80 --set optim.shard=true
goes_on 3 --set train.steps=120
goes_on 3 --set train.steps=160 --set optim.shard=false
check 0 "" "$mla" train --resume changing --set train.steps=200
curves_near constant changing 1e-5 || fail "1, 2, 3, 3, 1 ranks, one after the other: another curve"

# the time spent waiting is in the log, and only there where there is somebody to wait for
grep -q '"waited"' world2/metrics.jsonl || fail "the log of 2 ranks does not say how long they waited"
grep -q '"waited"' alone/metrics.jsonl && fail "the log of one process says that it waited"

[ $failures -eq 0 ]
