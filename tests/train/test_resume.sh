#!/usr/bin/env bash
# A run loses nothing: the same run twice, stopped by a signal, begun anew, ends in the same bits; where it is killed, see
# test_killed_runs.sh.
# $1: the mla command.
set -uo pipefail
mla=$1
. "$(dirname "$0")/../faults/runs.sh"

# Waits until a running job has done some steps.
wait_for_steps() {
    local pid=$1 dir=$2 count=$3
    while [ "$(wc -l 2>/dev/null <"$dir/metrics.jsonl" || echo 0)" -lt "$count" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.002; done
}

# stop_at SIGNALS DIR COUNT COMMAND...: signals, all at once, after COUNT steps in the log; `code` is how the run ended.
# A run that was over before, since this script had not its turn on a busy machine, is done again.
stop_at() {
    local signals=$1 dir=$2 count=$3 signal
    shift 3
    rm -rf before
    cp -r "$dir" before 2>/dev/null
    for _ in 1 2 3 4 5; do
        "$@" >printed 2>&1 &
        wait_for_steps $! "$dir" "$count"
        for signal in STOP $signals CONT; do kill -"$signal" $! 2>/dev/null; done
        wait $!
        code=$?
        [ $code -eq 0 ] || return
        rm -r "$dir"
        cp -r before "$dir" 2>/dev/null
    done
}

# twice the same
check 0 "" "$mla" train tiny.yaml --out once
check 0 "" "$mla" train tiny.yaml --out twice
same_end once twice || fail "the same run twice differs"
[ "$(wc -l <once/metrics.jsonl)" -eq 40 ] || fail "the log has not a line a step"
check 0 "" "$mla" train tiny.yaml --set train.seed=2 --out other
same_end once other 2>/dev/null && fail "another seed gives the same run"

# stopped by a signal, resumed, stopped again: as if it had never stopped
long=(--set train.steps=400 --set checkpoint.every=100)
check 0 "" "$mla" train tiny.yaml "${long[@]}" --out whole
stop_at TERM stopped 50 "$mla" train tiny.yaml "${long[@]}" --out stopped
[ $code -eq 75 ] || fail "stopped by SIGTERM: exit code $code, not 75: $(cat printed)"
grep -q "resume with: mla train --resume stopped" printed || fail "a stopped run does not say how to resume it"
step=$(wc -l <stopped/metrics.jsonl)
[ "$(cat stopped/latest)" = "$(printf 'step-%08d.h5' "$step")" ] || fail "stopped after step $step, saved $(cat stopped/latest)"
stop_at TERM stopped $((step + 50)) "$mla" train --resume stopped
[ $code -eq 75 ] || fail "stopped again: exit code $code, not 75: $(cat printed)"
check 0 "" "$mla" train --resume stopped
same_end whole stopped || fail "a stopped run ends in other bits"
[ "$(ls stopped/step-*.h5 | wc -l)" -eq 2 ] || fail "not the last 2 checkpoints are kept: $(ls stopped)"
check 0 "the run is complete, all 400 steps are done. To train longer: mla train --resume stopped --set train.steps=MORE" \
    "$mla" train --resume stopped
grep -q "held-out loss" <<<"$printed" || fail "resuming a finished run does not evaluate it: $printed"
grep -q "steps 401" <<<"$printed" && fail "a finished run promises steps: $printed"
same_end whole stopped || fail "resuming a finished run changes it"

# a second signal, of another kind, ends it at once
stop_at "USR1 TERM" asked-twice 50 "$mla" train tiny.yaml "${long[@]}" --out asked-twice
[ $code -eq $((128 + 10)) ] || [ $code -eq $((128 + 15)) ] || fail "two signals: exit code $code: $(cat printed)"
check 0 "" "$mla" train --resume asked-twice
same_end whole asked-twice || fail "a run that was ended at once ends in other bits"

# no signal comes to a thread that computes: SIGINT, SIGUSR1 and SIGTERM are blocked in all but one
"$mla" train tiny.yaml --set train.steps=100000 --set train.threads=2 --out two-threads >printed 2>&1 &
wait_for_steps $! two-threads 5
masks=$(sed -n 's/^SigBlk:\t/0x/p' /proc/$!/status /proc/$!/task/*/status)
kill -TERM $!
wait $!
takers=0
for mask in $masks; do (((mask & 0x4202) == 0x4202)) || takers=$((takers + 1)); done
[ $takers -eq 1 ] && [ "$(wc -l <<<"$masks")" -ge 4 ] || fail "$takers threads take signals: $masks"

# auto is chosen once: where it is f32, as on a processor with AVX2 alone, a processor with more resumes in f32
DNNL_MAX_CPU_ISA=AVX2 check 0 "train.precision=auto is f32 here: the processor does not multiply bf16" \
    "$mla" train tiny.yaml --out chosen
grep -q "precision: f32" chosen/recipe.yaml || fail "the run does not keep what auto chose: $(grep precision chosen/recipe.yaml)"
check 0 "" "$mla" train --resume chosen --set train.steps=42
grep -q "precision: f32" chosen/recipe.yaml || fail "a resumed run has another precision"
# and where it is bf16, a processor without it resumes in bf16, and says so
check 0 "" "$mla" train tiny.yaml --set train.precision=bf16 --out half
DNNL_MAX_CPU_ISA=AVX2 check 0 "this processor does not multiply bf16: precision bf16 takes less memory" \
    "$mla" train --resume half --set train.steps=42
grep -q "precision: bf16" half/recipe.yaml || fail "a resumed run has another precision"

# the length as epochs stays what it was
check 0 "" "$mla" train tiny.yaml --set train.steps=0 --set train.epochs=2.5 --out epochs
check 0 "mla train --resume epochs --set train.epochs=MORE" "$mla" train --resume epochs

# more steps than the recipe said, remembered by the run
check 0 "" "$mla" train tiny.yaml --set optim.schedule=constant --out longer
check 0 "" "$mla" train --resume longer --set train.steps=44
grep -q "steps: 44" longer/recipe.yaml || fail "a prolonged run forgets its length"
check 0 "" "$mla" train tiny.yaml --set optim.schedule=constant --set train.steps=44 --out straight
cmp <(steps_of straight) <(steps_of longer) || fail "a prolonged run ends in other bits"

# a run that has no checkpoint yet begins; one that is nowhere says so
mkdir early
cp once/recipe.yaml early
touch early/step-00999999.h5.tmp early/latest.tmp early/recipe.yaml.tmp early/mine.tmp
check 0 "" "$mla" train --resume early
[ -e early/mine.tmp ] || fail "a file that is not ours was removed"
rm -f early/mine.tmp
same_end once early || fail "a run without a checkpoint is not begun anew"
check 1 "begin it by: mla train RECIPE.yaml --out nowhere" "$mla" train --resume nowhere

# other data than the run's is refused
check 2 "the number of tokens has changed" "$mla" train --resume once --set data.synthetic.tokens=2000
check 2 "another model" "$mla" train --resume once --set model.kv_lora_rank=8

[ $failures -eq 0 ]
