#!/usr/bin/env bash
# mla compare: what it plans, makes, prints and refuses; one that is interrupted ends in the same table. Interrupted at
# random moments: tests/faults/compare.sh. $1: the mla command.
mla=$1
. "$(dirname "$0")/../faults/runs.sh"
texts letters
: >small.yaml
sets=(--set model.attention=multi_head --set data.source=letters --set data.tokenizer=bytes --set data.held_out=0.3
    --set checkpoint.every=10)
for set in "${tiny_sizes[@]}"; do sets+=(--set "$set"); done
what=(--arms mha,mla --lr 1e-3,4e-3 --seeds 2 --decode 40)
compare() { "$mla" compare small.yaml "${sets[@]}" "${what[@]}" "$@"; }
result() { tr -d ' ' <"$1/result.json" | value "$2"; }

# a plan writes nothing
check 0 "runs             6, with 2 seeds" compare --out whole --dry-run
[ ! -e whole ] || fail "a plan leaves a folder"
check 0 '"runs":6' compare --dry-run --json

# the whole of it
check 0 "run 6 of 6: mla/" compare --out whole
for words in "minus mha (95 %)" "at 40" "matched by: parameters"; do
    [[ $printed = *"$words"* ]] || fail "the table lacks $words: $printed"
done
plan=$(compare --out whole --dry-run --json)
awk -v s="$(value seconds_per_step <<<"$plan")" -v r="$(value seconds_per_run <<<"$plan")" -v n="$(value steps <<<"$plan")" \
    'BEGIN { exit !(r > 1.01 * n * s) }' || fail "a run's time is without the loss of all held-out text: $plan"
one=whole/mha/lr-0.001-seed-1
[ "$(ls whole/*/*/result.json | wc -l)" -eq 6 ] || fail "not 6 results: $(ls whole/*)"
[ "$(wc -l <whole/comparison.csv)" -eq 3 ] || fail "the CSV: $(cat whole/comparison.csv)"
near "$("$mla" train --resume $one --json 2>&1 | value held_out_loss)" "$(result $one held_out_loss)" 0 || fail "the loss is not the run's"
[ "$(result $one cache_bytes_per_token)" -eq $((2 * 2 * 32 * 4)) ] || fail "the cache: $(cat $one/result.json)"
seeds=$(grep -h " seed: " whole/mla/lr-*-seed-2/recipe.yaml | sort | tr -d '\n ')
[ "$seeds" = seed:1seed:2 ] || fail "the data has no seed of its own: $seeds"

# again: nothing is made again; then two more seeds, which are all that is made
times=$(stat -c %Y%y whole/*/*/metrics.jsonl)
check 0 "minus mha" compare --out whole
[[ $printed != *"run "*" of "* ]] || fail "a finished comparison runs again: $printed"
[ "$times" = "$(stat -c %Y%y whole/*/*/metrics.jsonl)" ] || fail "a finished run was touched"
cp -r whole more
rm more/*/lr-0.001-seed-1/result.json # killed when the run was over, but not yet measured
check 0 "run 5 of 6" compare --out more
same_table whole more || fail "a run that is measured again has another result: $(diff <(table_of whole) <(table_of more))"
check 0 "run 8 of 8" compare --out more --seeds 3
[ "$(grep -c '^run ' <<<"$printed")" -eq 2 ] || fail "one more seed makes other runs: $printed"

# stopped by a signal it saves what it is at, and says so; killed outright, what it was at notices
long=(--arms mla --set train.steps=120 --lr 1e-3 --seeds 1 --decode 0 --set train.eval_every=0)
check 0 "" compare "${long[@]}" --out undisturbed
wait_for_steps() { until [ "$(cat stopped/*/*/metrics.jsonl 2>/dev/null | wc -l)" -ge "$1" ] || ! kill -0 "$2" 2>/dev/null; do sleep 0.01; done; }
"$mla" compare small.yaml "${sets[@]}" "${what[@]}" "${long[@]}" --out stopped >printed 2>&1 &
wait_for_steps 20 $!
kill -TERM $!
wait $!
code=$?
[ $code -eq 75 ] && grep -q "stopped in stopped/mla/lr-0.001-seed-1, which has saved" printed || fail "stopped: exit code $code: $(cat printed)"
"$mla" compare small.yaml "${sets[@]}" "${what[@]}" "${long[@]}" --out stopped >printed 2>&1 &
wait_for_steps 60 $!
kill -KILL $!
wait $! 2>/dev/null
check 0 "run 1 of 1" compare "${long[@]}" --out stopped
same_table undisturbed stopped || fail "interrupted, it ends in another table: $(diff <(table_of undisturbed) <(table_of stopped))"

# in parts: what needs the sweep of others waits; a Slurm array does the same
check 0 "part 1 of 2 is done as far as it can be; 3 runs of others are missing" compare --out parts --only 1/2
check 0 "run 6 of 6" env SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_COUNT=2 SLURM_ARRAY_TASK_MIN=2 SLURM_ARRAY_TASK_MAX=4 \
    SLURM_ARRAY_TASK_STEP=2 "$mla" compare small.yaml "${sets[@]}" "${what[@]}" --out parts
same_table whole parts || fail "in parts it ends in another table"
check 2 "not one after the other" env SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_MIN=1 \
    SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_STEP=1 "$mla" compare small.yaml "${sets[@]}" --out parts
check 2 "expected K/N with K from 1 to N" compare --out parts --only 3/2

# a rate at which an arm diverges is none of those to choose from
mild=(--arms mla --lr 1e-3,10 --seeds 1 --decode 0 --set optim.weight_decay=10 --set train.max_skipped=1)
check 0 "mla: its best learning rate is at the edge" compare "${mild[@]}" --set train.steps=60 --out wild
[[ $printed = *"warning: mla/lr-10-seed-1: step "*" is not a finite number"* ]] || fail "what a run warns of is lost: $printed"
[ "$(result wild/mla/lr-10-seed-1 diverged)" = true ] || fail "lr 10 does not diverge: $(cat wild/mla/lr-10-seed-1/result.json)"

# what cannot be
check 2 "name the folder of the comparison" compare
check 2 "whole/base.yaml: holds a comparison whose model.hidden_size is 32, and now it is 48" compare --out whole --set model.hidden_size=48
check 2 "whole/mla/recipe.yaml: holds an arm whose model.intermediate_size is" compare --out whole --match none
check 2 "there is no arm mlx" compare --out none --arms mha,mlx
check 2 "mqa cannot be matched to mha" compare --out none --arms mha,mqa --match cache
check 2 "there is no held-out text to compare by" compare --out none --set data.held_out=0
check 2 "0.001 is there twice" compare --out none --lr 1e-3,1e-3
check 2 "begin it without mpirun" env OMPI_COMM_WORLD_SIZE=2 "$mla" compare small.yaml "${sets[@]}" --out none
rm -f $one/result.json && sed -i '2s/.*/broken/' $one/metrics.jsonl
check 1 "$one/metrics.jsonl: has 1 of 3 steps" compare --out whole
echo '{"format": 1' >more/mla/lr-0.001-seed-1/result.json
check 1 "more/mla/lr-0.001-seed-1/result.json: " compare --out more
echo '{"format": 1}' >more/mla/lr-0.001-seed-1/result.json
check 1 "is not the result of a run" compare --out more
finish
