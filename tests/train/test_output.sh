#!/usr/bin/env bash
# What is printed arrives, or the command says that it did not. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bytes
commands=("--help" "--version" "help recipe" "train --help" "list ." "info run" "info run --json"
    "generate --checkpoint run --prompt a --tokens 5" "eval --checkpoint run texts --sequence 32 --json"
    "data show texts --format text" "prepare texts --tokenizer bytes --json --out texts.h5" "export run --out hf")
lost() { "$mla" "$@" >/dev/full; }
closed() { "$mla" "$@" >&-; }
for command in "${commands[@]}"; do
    read -ra words <<<"$command"
    rm -rf hf
    check 1 "mla: cannot write to standard output" lost "${words[@]}"
    rm -rf hf
    check 1 "mla: cannot write to standard output" closed "${words[@]}"
done
check 1 "mla: cannot write to standard output: No space left on device" lost help
check 0 "kind: token file" "$mla" info texts.h5 # no line of the report went into it
check 1 "mla: nowhere: " lost info nowhere

# a reader that goes away: ended by the signal, as the shell expects; where that is ignored, failed without a word
"$mla" help recipe 2>errors | head -c0
codes=(${PIPESTATUS[*]})
[ "${codes[0]}" = 141 ] && [ ! -s errors ] || fail "a closed pipe: ${codes[0]}, $(cat errors)"
for command in "help recipe" "list ."; do
    read -ra words <<<"$command"
    (trap '' PIPE; sleep 0.2; "$mla" "${words[@]}" 2>errors; echo $? >code) | :
    [ "$(cat code)" = 1 ] && [ ! -s errors ] || fail "a closed pipe, the signal ignored: $(cat code), $(cat errors)"
done

finish
