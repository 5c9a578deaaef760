#!/usr/bin/env bash
# What can go wrong about a save, with two ranks, at once and beside training: a disk that is full, a folder that
# vanishes, a signal in a save, a process that is stopped in one. None hangs, all can be resumed. $1: the command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
command -v mpirun >/dev/null || { fail "mpirun is not installed: train/install-packages.sh"; exit 1; }

# Steps that take no time beside saves that do: 2 MB each, after every second step, and an evaluation after every step.
sed -i 's/hidden_size: 32/hidden_size: 64/; s/intermediate_size: 64/intermediate_size: 512/; s/every: 4/every: 2/; s/eval_every: 5/eval_every: 1/' tiny.yaml
begin() { # begin DIR OPTION...: a long run of two ranks, of which some steps are done
    local dir=$1
    shift
    ranks 2 train tiny.yaml --set train.steps=100000 "$@" --out "$dir" >printed 2>&1 &
    until [ -e "$dir/latest" ] || ! kill -0 $! 2>/dev/null; do sleep 0.02; done
}
# ended CODE WORDS: the run that was begun.
ended() {
    local code=$1 words=$2 status
    wait $!
    status=$?
    [ $status -eq "$code" ] && grep -qE "$words" printed || fail "background $beside: exit code $status, not $code: $(cat printed)"
}
# Goes on for some steps; then nothing half-written is left.
goes_on() {
    local dir=$1 step
    step=$(sed 's/step-0*\([0-9]*\).h5/\1/' "$dir/latest")
    check 0 "" ranks 2 train --resume "$dir" --set train.steps=$((step + 3))
    [ -z "$(find "$dir" -name '*.tmp')" ] || fail "background $beside: left behind in $dir: $(ls "$dir")"
}

full_disk() { # in a name space of its own, where a disk may be mounted
    mkdir disk && mount -t tmpfs -o size=12m tmpfs disk || return 3
    ASAN_OPTIONS=$asan_of_ranks timeout -k 1 600 mpirun -n 2 "$mla" train tiny.yaml --set checkpoint.background="$beside" --set checkpoint.keep=100 --out disk/run >said 2>&1
    [ $? -eq 1 ] && grep -q "rank 0 on .*No space left on device" said || { cat said; return 4; }
    [ -z "$(find disk -name '*.tmp')" ] && [ -e "disk/run/$(cat disk/run/latest)" ] || { ls -R disk; return 5; }
    ASAN_OPTIONS=$asan_of_ranks timeout -k 1 600 mpirun -n 2 "$mla" train --resume disk/run --set checkpoint.keep=1 --set train.steps=8 >said 2>&1 || { cat said; return 6; }
}

for beside in false true; do
    set=(--set checkpoint.background=$beside)

    begin vanishes "${set[@]}"
    mv vanishes moved
    ended 1 "rank 0 on .*: .*vanishes[/:]" # whether it is the folder or a file in it depends on the moment
    goes_on moved
    rm -r moved

    # in any phase: steps, saves and evaluations take turns within milliseconds
    for signal in USR1 TERM; do
        begin stopped "${set[@]}" --set optim.shard=true
        sleep 0.0$((RANDOM % 90 + 10))
        kill -$signal "$(pid_of_rank $((RANDOM % 2)) stopped)"
        ended 75 "stopped after step"
        [ "$(cat stopped/latest)" = "$(printf 'step-%08d.h5' "$(wc -l <stopped/metrics.jsonl)")" ] || fail "background $beside: SIG$signal: not saved"
        goes_on stopped
        rm -r stopped
    done

    # rank 0, while it has a half-written file
    begin silent "${set[@]}" --set train.comm_timeout=5
    pid=$(pid_of_rank 0 silent)
    until [ -n "$(find silent -name '*.tmp')" ] && kill -STOP "$pid" && [ -n "$(find silent -name '*.tmp')" ]; do kill -CONT "$pid" || break; done
    ended 1 "rank 1 on .*: rank 0 on .* has given no sign of life for 5 s"
    kill -KILL "$pid" 2>/dev/null
    goes_on silent
    rm -r silent

    if unshare -rm true 2>/dev/null; then
        export -f full_disk
        export mla beside
        said=$(unshare -rm bash -c full_disk 2>&1) || fail "background $beside: a full disk ($?): $said"
        rmdir disk
    fi
done
[ $failures -eq 0 ]
