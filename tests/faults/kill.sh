#!/usr/bin/env bash
# Kills runs at random moments and goes on with them: each must end in the bits of a run that was left alone.
#     tests/faults/kill.sh MLA [--runs N] [--steps N]
# A third of the runs train on text, which they prepare first; the others on synthetic tokens. All save after every
# step, so that many kills fall into a save: half of the runs at once, half beside training. Every other run is killed a
# second time after it was resumed.
set -uo pipefail
mla=$1
runs=40 steps=80
shift
while [ $# -gt 1 ]; do
    case $1 in
    --runs) runs=$2 ;;
    --steps) steps=$2 ;;
    *) echo "unknown option $1" && exit 2 ;;
    esac
    shift 2
done
. "$(dirname "$0")/runs.sh"

mkdir texts
for i in $(seq 200); do echo "Document $i says: to be or not to be, that is question $((i * i)) of $((i + 7))." >"texts/$i.txt"; done
sed '/synthetic:/,/tokens:/d; s/^data:/data:\n  source: texts\n  tokenizer: bpe\n  vocab_size: 300/' tiny.yaml >text.yaml
sed 's/^checkpoint:/checkpoint:\n  background: true/' tiny.yaml >tiny-beside.yaml
sed 's/^checkpoint:/checkpoint:\n  background: true/' text.yaml >text-beside.yaml
every=(--set checkpoint.every=1 --set train.steps="$steps")
declare -A milliseconds
for recipe in tiny text tiny-beside text-beside; do
    begin=$(date +%s%N)
    check 0 "" "$mla" train $recipe.yaml "${every[@]}" --out whole-$recipe
    milliseconds[$recipe]=$((($(date +%s%N) - begin) / 1000000))
done

kills=0 in_a_save=0 before=0 at_once=0
# kill_at_random COMMAND...: 0 where the kill came before the run's end.
kill_at_random() {
    "$@" >printed 2>&1 &
    sleep "$(awk -v r=$RANDOM -v ms="${milliseconds[$recipe]}" 'BEGIN { print r / 32768 * ms / 1000 }')"
    kill -KILL $! 2>/dev/null
    wait $! 2>/dev/null
    [ $? -eq 137 ] || return 1
    kills=$((kills + 1))
    [ -n "$(find run -name '*.tmp' 2>/dev/null)" ] && in_a_save=$((in_a_save + 1))
    ls run/step-*.h5 >/dev/null 2>&1 || before=$((before + 1))
    return 0
}

# Goes on with the run, or begins it again where it was killed before it had a recipe.
go_on() {
    if [ -e run/recipe.yaml ]; then
        "$@" "$mla" train --resume run
    else
        at_once=$((at_once + 1))
        "$@" "$mla" train $recipe.yaml "${every[@]}" --out run
    fi
}

for i in $(seq "$runs"); do
    recipe=tiny
    [ $((i % 3)) -eq 0 ] && recipe=text
    [ $((i % 4)) -ge 2 ] && recipe=$recipe-beside
    rm -rf run
    until kill_at_random "$mla" train $recipe.yaml "${every[@]}" --out run; do rm -rf run; done
    [ $((i % 2)) -eq 0 ] && go_on kill_at_random
    [ -e run/latest ] && [ ! -e "run/$(cat run/latest)" ] && fail "run $i: latest names a file that is not there"
    go_on check 0 ""
    same_end whole-$recipe run || fail "run $i ($recipe) ends in other bits"
done
echo "$kills kills in $runs runs, $in_a_save in the middle of a save, $before before the first checkpoint ($at_once before" \
    "the recipe was there): $failures failures"
[ $failures -eq 0 ]
