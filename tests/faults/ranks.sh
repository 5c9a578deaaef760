#!/usr/bin/env bash
# Sends signals to ranks at random moments, and resumes the runs: each must end in the bits of a run of as many ranks
# that was left alone; none may hang.
#     tests/faults/ranks.sh [MLA] [--runs N]
# Runs have 2 or 3 ranks, sharded or not, and save in a step or beside the next ones; all save after every second step and
# evaluate after every fifth. By turns any rank is hit by SIGSTOP, which the others must notice within the timeout; by
# SIGTERM or SIGUSR1, after which all save the same step and exit with 75; and by both, of which the second ends all at once.
set -uo pipefail
mla=build/mla
case ${1:-} in "" | --*) ;; *) mla=$1 && shift ;; esac
runs=24
[ "${1:-}" = --runs ] && runs=$2
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"

sed -i 's/batch: 4$/batch: 6/; s/threads: 1/threads: 1\n  bucket_mb: 0.005\n  comm_timeout: 10/' tiny.yaml
every=(--set checkpoint.every=2 --set train.steps=100)
kinds=("2 false false" "3 true false" "3 false true" "2 true true") # ranks, sharded, saved beside training
signals=(STOP TERM USR1 "USR1 TERM")
most=300 # seconds that a run of 100 small steps may take; more is a run that hangs
after=60 # seconds that the others may go on after a rank was hit
declare -A counts
read_kind() {
    local beside
    read -r n shard beside <<<"$1"
    arguments=(train tiny.yaml "${every[@]}" --set optim.shard="$shard" --set checkpoint.background="$beside")
}
for kind in "${kinds[@]}"; do
    read_kind "$kind"
    check 0 "" ranks "$n" "${arguments[@]}" --out "whole-$n-$shard"
done

longest=0
count() { counts[$1]=$((${counts[$1]:-0} + 1)); }

# All have saved the step that they say, which is the last one in the log.
check_saved() {
    local step
    step=$(sed -n 's/^mla: stopped after step \([0-9]*\),.*/\1/p' printed)
    [ "$(cat run/latest)" = "$(printf 'step-%08d.h5' "${step:-0}")" ] && [ "$(wc -l <run/metrics.jsonl)" = "$step" ] ||
        fail "run $i: stopped after step '$step', saved $(cat run/latest), logged $(wc -l <run/metrics.jsonl): $(cat printed)"
}

# What must follow from the signals that a rank got.
judge() {
    local code=$1
    case $signal in
    STOP)
        count stopped
        grep -qE "no sign of life|for all ranks to start or to end" printed && count noticed
        ;;
    TERM | USR1)
        if [ "$code" -eq 75 ]; then count saved && check_saved
        elif grep -q "exited on signal" printed; then count early # before it listens to signals
        else fail "run $i: SIG$signal: exit code $code: $(cat printed)"; fi
        ;;
    *) if [ "$code" -eq 75 ]; then count between && check_saved; else count at_once; fi ;; # 75: slow to send the second
    esac
}

# hit_at_random: a random rank at a random moment; 1 where the run was over before.
hit_at_random() {
    local pid code begin s
    timeout -k 1 $most mpirun -n "$n" "$mla" "${arguments[@]}" >printed 2>&1 &
    random_moment $! 100
    pid=$(pid_of_rank $((RANDOM % n)) run)
    [ -n "$pid" ] || { wait $!; [ $? -eq 0 ] || fail "run $i: $(cat printed)"; return 1; }
    for s in $signal; do kill -"$s" "$pid" 2>/dev/null; done
    begin=$(date +%s%N)
    [ "$signal" = STOP ] || pid=
    launcher_ends $! "$pid"
    code=$?
    begin=$((($(date +%s%N) - begin) / 1000000))
    [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
    [ $code -eq 0 ] && return 1 # it was over but for the end
    [ $begin -gt $longest ] && longest=$begin
    [ $begin -le $((after * 1000)) ] || fail "run $i: hangs after SIG$signal: $(tail -n 20 printed)"
    judge $code
    return 0
}

for i in $(seq "$runs"); do
    read_kind "${kinds[$((i % 4))]}"
    signal=${signals[$((i / 4 % 4))]}
    rm -rf run
    arguments+=(--out run)
    until hit_at_random; do rm -rf run; done
    before=$(wc -l 2>/dev/null <run/metrics.jsonl || echo 0)
    if [ -e run/recipe.yaml ]; then arguments=(train --resume run); else count anew; fi
    check 0 "" timeout -k 1 $most mpirun -n "$n" "$mla" "${arguments[@]}"
    same_end "whole-$n-$shard" run || fail "run $i ($n ranks, shard $shard, SIG$signal after step $before) ends in other bits"
    [ $((i % 20)) -eq 0 ] && echo "$i runs, $failures failures"
done
echo "$runs runs. SIGSTOP ${counts[stopped]:-0} (${counts[noticed]:-0} named by another rank); SIGTERM or SIGUSR1:" \
    "${counts[saved]:-0} saved and left with 75, ${counts[early]:-0} before the rank listened; two signals: ${counts[at_once]:-0}" \
    "ended at once, ${counts[between]:-0} had saved; ${counts[anew]:-0} begun anew; over at most" \
    "$((longest / 1000)).$((longest % 1000 / 100)) s after the signal; mpirun itself hung $stuck times: $failures failures"
[ $failures -eq 0 ] && [ "${counts[at_once]:-0}" -ge "${counts[between]:-0}" ]
