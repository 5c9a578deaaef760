#!/usr/bin/env bash
# Kills a comparison at random moments and goes on with it, until it is done: its table is that of one left alone.
#     tests/faults/compare.sh [MLA] [--rounds N]
# SIGTERM and SIGKILL by turns, to `mla compare` alone: what it has begun has to notice. Every third round two processes
# share the runs.
set -uo pipefail
mla=build/mla
case ${1:-} in "" | --*) ;; *) mla=$1 && shift ;; esac
rounds=6
[ "${1:-}" != --rounds ] || rounds=$2
. "$(dirname "$0")/runs.sh"

mkdir texts
for i in $(seq 100); do echo "Document $i says: to be or not to be, that is question $((i * i)) of $((i + 7))." >"texts/$i.txt"; done
sed '/synthetic:/,/tokens:/d; s/^data:/data:\n  source: texts\n  tokenizer: bpe\n  vocab_size: 300/' tiny.yaml >text.yaml
compare() { exec "$mla" compare text.yaml --arms mla,mha --lr 1e-3,3e-3 --seeds 3 --decode 32 --set train.steps=100 --set checkpoint.every=5 "$@"; }

(compare --out whole >printed 2>&1) || fail "$(cat printed)"
done_runs() { ls run/*/*/result.json 2>/dev/null | wc -l; }
kills=0 moments=
for round in $(seq "$rounds"); do
    rm -rf run
    for tries in $(seq 200); do
        others=()
        if [ $((round % 3)) -eq 0 ]; then
            (compare --out run --only 2/2 >printed-2 2>&1) &
            others=($!)
            only=(--only 1/2)
        else
            only=()
        fi
        (compare --out run "${only[@]}" >printed 2>&1) &
        process=$!
        [ "$tries" -gt 4 ] || {
            at=$(($(done_runs) + RANDOM % 3))
            until [ "$(done_runs)" -ge $at ] || ! kill -0 $process 2>/dev/null; do sleep 0.05; done
            sleep "0.$((RANDOM % 90 + 10))"
            kill -"$([ $((tries % 2)) -eq 0 ] && echo TERM || echo KILL)" $process 2>/dev/null && kills=$((kills + 1)) &&
                moments+=" $(done_runs)"
        }
        { wait $process; } 2>/dev/null
        code=$?
        [ ${#others[@]} -eq 0 ] || wait "${others[@]}"
        grep -q "are still going, by another process" printed && continue
        case $code in 0) ;; 75 | 137 | 143) continue ;; *) fail "round $round: exit code $code: $(cat printed)" && break ;; esac
        grep -q "runs of others are missing" printed || break
    done
    same_table whole run || fail "round $round: another table: $(diff <(table_of whole) <(table_of run) | head)"
done
echo "$kills kills in $rounds rounds, when so many of 8 runs were done:$moments"
finish
