#!/usr/bin/env bash
# Kills ranks at random moments, and goes on with the runs: each must end in the bits of a run of as many ranks that
# was left alone; none may hang.
#     tests/faults/ranks.sh MLA [--runs N]
# Runs have 2 or 3 ranks, sharded or not; all save after every second step. Every third run is hit by SIGSTOP instead of
# SIGKILL, which the other ranks must notice within the timeout.
set -uo pipefail
mla=$1
runs=20
[ "${2:-}" = --runs ] && runs=$3
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"

sed -i 's/batch: 4$/batch: 6/; s/threads: 1/threads: 1\n  bucket_mb: 0.005\n  comm_timeout: 3/' tiny.yaml
every=(--set checkpoint.every=2 --set train.steps=100)
kinds=("2 false" "3 true" "3 false" "2 true")
most=300 # seconds that a run of 100 small steps may take; more is a run that hangs
after=60 # seconds that the others may go on after a rank was hit
declare -A milliseconds
for kind in "${kinds[@]}"; do
    read -r n shard <<<"$kind"
    begin=$(date +%s%N)
    check 0 "" ranks "$n" train tiny.yaml "${every[@]}" --set optim.shard="$shard" --out "whole-$n-$shard"
    milliseconds[$kind]=$((($(date +%s%N) - begin) / 1000000))
done

kills=0 stops=0 in_a_save=0 begun_anew=0 lost=0 longest=0
# hit_at_random SIGNAL: a random rank at a random moment; 1 where the run was over before.
hit_at_random() {
    local signal=$1 pid code begin
    timeout -k 1 $most mpirun -n "$n" "$mla" "${arguments[@]}" >printed 2>&1 &
    sleep "$(awk -v r=$RANDOM -v ms="${milliseconds[$kind]}" 'BEGIN { print r / 32768 * ms / 1000 }')"
    pid=$(pid_of_rank $((RANDOM % n)) run)
    [ -n "$pid" ] && kill -"$signal" "$pid" 2>/dev/null || { wait $!; [ $? -eq 0 ] || fail "run $i: $(cat printed)"; return 1; }
    [ "$signal" = KILL ] && [ -n "$(find run -name '*.tmp' 2>/dev/null)" ] && in_a_save=$((in_a_save + 1))
    begin=$(date +%s%N)
    wait $!
    code=$?
    begin=$((($(date +%s%N) - begin) / 1000000))
    [ $code -eq 0 ] && return 1 # it was over but for the end
    [ $begin -gt $longest ] && longest=$begin
    [ $begin -le $((after * 1000)) ] || fail "run $i: hangs after SIG$signal: $(tail -n 20 printed)"
    if [ "$signal" = STOP ]; then
        stops=$((stops + 1))
        grep -qE "no sign of life|for all ranks to start or to end" printed && lost=$((lost + 1))
        kill -KILL "$pid" 2>/dev/null
    else
        kills=$((kills + 1))
    fi
    return 0
}

for i in $(seq "$runs"); do
    kind=${kinds[$((i % 4))]}
    read -r n shard <<<"$kind"
    signal=KILL
    [ $((i % 3)) -eq 0 ] && signal=STOP
    rm -rf run
    arguments=(train tiny.yaml "${every[@]}" --set optim.shard="$shard" --out run)
    until hit_at_random $signal; do rm -rf run; done
    before=$(wc -l 2>/dev/null <run/metrics.jsonl || echo 0)
    if [ -e run/recipe.yaml ]; then arguments=(train --resume run); else begun_anew=$((begun_anew + 1)); fi
    check 0 "" timeout -k 1 $most mpirun -n "$n" "$mla" "${arguments[@]}"
    same_end "whole-$n-$shard" run || fail "run $i ($n ranks, shard $shard, SIG$signal after step $before) ends in other bits"
done
echo "$kills ranks killed ($in_a_save while a checkpoint was written), $stops stopped ($lost of them noticed by another rank)," \
    "in $runs runs; $begun_anew begun anew; over at most $((longest / 1000)).$((longest % 1000 / 100)) s after it: $failures failures"
[ $failures -eq 0 ]
