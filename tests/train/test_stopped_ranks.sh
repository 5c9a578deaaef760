#!/usr/bin/env bash
# What ends one rank ends all: a signal, at the same step; silence, within the timeout; an error. $1: the mla command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
command -v mpirun >/dev/null || { fail "mpirun is not installed: train/install-packages.sh"; exit 1; }

uneven_batches

# stopped by a signal to any rank
stopped() {
    local n=$1 rank=$2 signal=$3 dir=$4
    shift 4
    ranks "$n" train tiny.yaml --set train.steps=100000 "$@" --out "$dir" >printed 2>&1 &
    until [ "$(wc -l 2>/dev/null <"$dir/metrics.jsonl" || echo 0)" -ge 50 ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
    kill -"$signal" "$(pid_of_rank "$rank" "$dir")"
    wait $!
    local code=$? step
    [ $code -eq 75 ] || fail "SIG$signal to rank $rank of $n: exit code $code, not 75: $(cat printed)"
    [ "$(grep -c 'mla: stopped after step' printed)" -eq 1 ] || fail "SIG$signal to rank $rank: said otherwise: $(cat printed)"
    step=$(wc -l <"$dir/metrics.jsonl")
    [ "$(cat "$dir/latest")" = "$(printf 'step-%08d.h5' "$step")" ] || fail "stopped after step $step, saved $(cat "$dir/latest")"
}
stopped 2 0 TERM term0
stopped 3 2 USR1 usr2 --set optim.shard=true
stopped 3 1 TERM term1

# a rank that gives no sign of life any more
ranks 3 train tiny.yaml --set train.steps=100000 --set train.comm_timeout=5 --out silent >printed 2>&1 &
until [ "$(wc -l 2>/dev/null <silent/metrics.jsonl || echo 0)" -ge 20 ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
kill -STOP "$(pid_of_rank 1 silent)"
begin=$SECONDS
wait $!
code=$?
[ $code -eq 1 ] || fail "a stopped rank: exit code $code, not 1"
[ $((SECONDS - begin)) -le 60 ] || fail "a stopped rank is noticed after $((SECONDS - begin)) s only"
grep -q "rank 2 on .*: rank 1 on .* has given no sign of life for 5 s" printed || fail "a stopped rank is not named: $(cat printed)"
check 0 "" ranks 2 train --resume silent --set train.steps=30

# errors of one rank or of all end all
check 2 "too few for 3 ranks" ranks 3 train tiny.yaml --set train.batch=2 --set train.microbatch=1 --out few
huge=(--set model.hidden_size=16384 --set model.intermediate_size=65536 --set model.num_hidden_layers=64)
check 1 "for each of the 2 ranks on it" ranks 2 train tiny.yaml "${huge[@]}" --out huge
check 1 "rank 0 on" ranks 2 train tiny.yaml --out /proc/nowhere
[ ! -e few ] || fail "a refused run leaves a folder"
[ $failures -eq 0 ]
