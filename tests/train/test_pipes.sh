#!/usr/bin/env bash
# Text from pipes: what comes through one is what a file of it gives. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"
prepare() { "$mla" prepare --tokenizer bytes --held-out 0.2 "$@"; }

seq -f "This is line number %g." 400 >text
for i in $(seq 40); do printf '{"text": "Object %d"}\n' "$i"; done >text.jsonl
for i in $(seq 40); do printf '{"prompt": "%d", "completion": "number %d"}\n' "$i" "$i"; done >chats.jsonl
mkfifo fifo

# same FILE OPTION...: a token file of FILE and one of its bytes through each kind of pipe are the same.
same() {
    local file=$1 way
    shift
    prepare "$file" "$@" --out file.h5 >said 2>&1 || fail "$file: $(cat said)"
    for way in stdin process fifo packed; do
        case $way in
        stdin) prepare - "$@" --out pipe.h5 <"$file" >said 2>&1 ;;
        process) prepare <(cat "$file") "$@" --out pipe.h5 >said 2>&1 ;;
        fifo) cat "$file" >fifo & prepare fifo "$@" --out pipe.h5 >said 2>&1 ;;
        packed) gzip <"$file" | prepare - "$@" --out pipe.h5 >said 2>&1 ;;
        esac || fail "$file $way: $(cat said)"
        cmp -s file.h5 pipe.h5 || fail "$file $way: another token file"
    done
}
same text
same text --format text
same text.jsonl
same text.jsonl --format text
cp text.jsonl lines
same lines --format jsonl
same text --tokenizer bpe --vocab-size 300 # a pass for the tokenizer, and one more
same chats.jsonl --format chat
check 2 "there is no text in standard input: all files are empty" prepare - --out no.h5 </dev/null
check 2 "there is no text in /dev/fd/" bash -c '"$0" prepare <(true) --tokenizer bytes --out no.h5' "$mla"
check 1 "standard input: is binary, not text" prepare - --out no.h5 <file.h5
check 1 'standard input:3: no field "text"' bash -c '(head -2 text.jsonl; echo "{}") | "$0" prepare - --tokenizer bytes --out no.h5' "$mla"
"$mla" prepare fifo --out no.h5 >waiting 2>&1 &
for _ in $(seq 500); do grep -q "fifo: waiting for somebody to write to this pipe" waiting && break || sleep 0.1; done
kill $! || fail "a pipe that nobody writes to has an end"
wait $! 2>/dev/null
grep -q "fifo: waiting for somebody to write to this pipe" waiting || fail "nothing is said while it waits: $(cat waiting)"
check 0 "bject 2" bash -c 'head -2 text.jsonl | "$0" data show - --format auto' "$mla"

# ---- a model

tiny_run run data.source=text data.tokenizer=bytes
"$mla" eval --checkpoint run --json text | sed 's/"seconds.*//' >file.json
"$mla" eval --checkpoint run --json - <text | sed 's/"seconds.*//' >stdin.json
"$mla" eval --checkpoint run --json <(zstd -q <text) | sed 's/"seconds.*//' >process.json
[ -s file.json ] && cmp -s file.json stdin.json && cmp -s file.json process.json || fail "eval: $(cat ./*.json)"
generate() { "$mla" generate --checkpoint run --tokens 20 --greedy "$@" 2>&1 | head -1; }
[ "$(generate --prompt 'This is')" = "$(printf 'This is' | generate --prompt-file -)" ] || fail "generate from the standard input"
[ "$(generate --prompt 'This is')" = "$(generate --prompt-file <(printf 'This is'))" ] || fail "generate from a pipe"
check 2 "the prompt is empty" "$mla" generate --checkpoint run --prompt-file - </dev/null
: >tiny.yaml
sets=()
for set in "${tiny_sizes[@]}" data.tokenizer=bytes; do sets+=(--set "$set"); done
"$mla" train tiny.yaml "${sets[@]}" --set data.source=- --out piped --json <text >piped.json || fail "training"
cmp -s run/tokens.h5 piped/tokens.h5 || fail "train reads other tokens"
"$mla" train --resume piped --set train.steps=5 --json </dev/null >/dev/null || fail "a run does not resume without its pipe"

finish
