#!/usr/bin/env bash
# Kills runs at random moments and goes on with them: each loses at most the steps since its last checkpoint, and ends in
# the bits of a run that was left alone.
#     tests/faults/kill.sh [MLA] [--runs N] [--steps N]
# By turns: one process on synthetic tokens; 2 ranks; one process on text, which it prepares first; 3 ranks, sharded; and
# each of these with saves beside training.
# kill -9 hits any rank in any phase. One process saves after every step, ranks after every second one, so that many
# kills fall into a save. Half of the runs are killed a second time after they were resumed.
set -uo pipefail
mla=build/mla
case ${1:-} in "" | --*) ;; *) mla=$1 && shift ;; esac
runs=40 steps=80
while [ $# -gt 1 ]; do
    case $1 in
    --runs) runs=$2 ;;
    --steps) steps=$2 ;;
    *) echo "unknown option $1" && exit 2 ;;
    esac
    shift 2
done
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"

mkdir texts
for i in $(seq 200); do echo "Document $i says: to be or not to be, that is question $((i * i)) of $((i + 7))." >"texts/$i.txt"; done
sed '/synthetic:/,/tokens:/d; s/^data:/data:\n  source: texts\n  tokenizer: bpe\n  vocab_size: 300/' tiny.yaml >text.yaml
sed 's/batch: 4$/batch: 6/; s/threads: 1/threads: 1\n  bucket_mb: 0.005/' tiny.yaml >ranks.yaml

most=900 # seconds that a run may take; more is a run that hangs
kinds=(one two text three one-beside two-beside text-beside three-beside)
# train ARGUMENT...: as many processes as the kind of the run wants.
train() {
    case $kind in
    one* | text*) exec timeout -k 1 $most "$mla" train "$@" ;;
    two*) exec env ASAN_OPTIONS="$asan_of_ranks" timeout -k 1 $most mpirun -n 2 "$mla" train "$@" ;;
    three*) exec env ASAN_OPTIONS="$asan_of_ranks" timeout -k 1 $most mpirun -n 3 "$mla" train "$@" ;;
    esac
}
start_anew() {
    local more=(--set train.steps="$steps" --set checkpoint.every="$(every)" --out "$1")
    case $kind in *-beside) more+=(--set checkpoint.background=true) ;; esac
    case $kind in
    one*) train tiny.yaml "${more[@]}" ;;
    text*) train text.yaml "${more[@]}" ;;
    two*) train ranks.yaml "${more[@]}" ;;
    three*) train ranks.yaml "${more[@]}" --set optim.shard=true ;;
    esac
}
# With the run from its last checkpoint, or from its beginning where it was killed before it had a recipe.
go_on() { if [ -e run/recipe.yaml ]; then train --resume run; else start_anew run; fi; }

ranks() { case $kind in two*) echo 2 ;; three*) echo 3 ;; *) echo 1 ;; esac; }
every() { case $kind in two* | three*) echo 2 ;; *) echo 1 ;; esac; } # steps between saves
for kind in "${kinds[@]}"; do
    (start_anew whole-$kind >printed 2>&1) || fail "$kind: $(cat printed)"
done

kills=0 in_a_save=0 no_checkpoint=0 no_recipe=0 most_lost=0 lost=0

saved_step() { [ ! -e run/latest ] && echo 0 || sed 's/step-0*\([0-9]*\).h5/\1/' run/latest; }

# What the last kill has cost: steps that are in the log and not in the checkpoint. Beside training, one more save may be
# on its way.
count_loss() {
    local logged=0 saved most
    case $kind in *-beside) most=$((2 * $(every))) ;; *) most=$(every) ;; esac
    [ -e run/metrics.jsonl ] && logged=$(wc -l <run/metrics.jsonl)
    saved=$(saved_step)
    [ -e run/latest ] && [ ! -e "run/$(cat run/latest)" ] && fail "run $i: latest names a file that is not there"
    [ $((logged - saved)) -le "$most" ] || fail "run $i ($kind): $logged steps done, only $saved of them saved"
    [ $((logged - saved)) -le $most_lost ] || most_lost=$((logged - saved))
    [ "$logged" -gt "$saved" ] && lost=$((lost + logged - saved))
}

# kill_at_random COMMAND...: 0 where the kill came before the run's end. A rank that is not there yet is hit as it comes.
kill_at_random() {
    local rank=$((RANDOM % $(ranks))) pid
    ("$@") >printed 2>&1 &
    random_moment $! "$steps"
    while kill -0 $! 2>/dev/null; do
        if [ "$(ranks)" -eq 1 ]; then pid=$(pgrep -x -P $! mla); else pid=$(pid_of_rank $rank run); fi
        [ -n "$pid" ] && kill -KILL $pid 2>/dev/null && break
        sleep 0.01
    done
    launcher_ends $!
    case $? in
    0) return 1 ;;
    137) ;;
    *) fail "run $i ($kind): ends otherwise: $(cat printed)" ;;
    esac
    kills=$((kills + 1))
    [ -n "$(find run -name '*.tmp' 2>/dev/null)" ] && in_a_save=$((in_a_save + 1))
    ls run/step-*.h5 >/dev/null 2>&1 || no_checkpoint=$((no_checkpoint + 1))
    count_loss
    return 0
}

for i in $(seq "$runs"); do
    kind=${kinds[$((i % 8))]}
    rm -rf run
    until kill_at_random start_anew run; do rm -rf run; done
    [ -e run/recipe.yaml ] || no_recipe=$((no_recipe + 1))
    [ $((i / 8 % 2)) -eq 0 ] && kill_at_random go_on
    first=$(($(saved_step) + 1))
    (go_on) >printed 2>&1 || fail "run $i ($kind): does not go on: $(cat printed)"
    # a run that was killed after its last save has nothing left to do
    went_on=$(sed -n "s/.* steps \([0-9]*\) to $steps$/\1/p; s/.* complete, all $steps steps are done.*/$((steps + 1))/p" printed)
    [ "${went_on:-0}" -ge "$first" ] || fail "run $i ($kind): does not go on with step $first: $(cat printed)"
    same_end whole-$kind run || fail "run $i ($kind) ends in other bits"
    [ $((i % 20)) -eq 0 ] && echo "$i runs, $kills kills, $failures failures"
done
echo "$kills kills in $runs runs, $in_a_save in the middle of a save, $no_checkpoint before the first checkpoint ($no_recipe before" \
    "the recipe was there); $lost steps lost, at most $most_lost at once; mpirun itself hung after $stuck of them: $failures failures"
[ $failures -eq 0 ]
