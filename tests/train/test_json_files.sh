#!/usr/bin/env bash
# What Python's json reads is read here, wherever a file holds it: lines of text, a model's configuration, an adapter's,
# a tokenizer's. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300
"$mla" export run --out hf >/dev/null || fail "export"
: >lora.yaml
"$mla" finetune lora.yaml --set finetune.base=run --set lora.targets=q_proj --set data.source=texts --set train.steps=2 \
    --set train.batch=2 --set train.sequence=32 --out lora --json >/dev/null || fail "finetune"
"$mla" export lora --out peft >/dev/null || fail "export of an adapter"
echo '{"model_max_length": 64}' >hf/tokenizer_config.json

deep=$(printf '%900s' | tr ' ' '[')$(printf '%900s' | tr ' ' ']')
values=(NaN Infinity -Infinity 1e999 340282366920938463463374607431768211456 18446744073709551615 "$deep" '"\ud83d"' '"\udc00 a"'
    '{"a\u0000b": "\u0000"}' '{"k": 1, "k": 2}' '[true, false, null, -0, 1E-2]')

# with KEY-AND-VALUE FILE: the file's object begins with them, too
with() { sed -i "0,/{/s//{${1//\\/\\\\},/" "$2"; }

for i in "${!values[@]}"; do
    value=${values[i]}
    printf '{"id": %s, "text": "one"}\n{"text": "two", "id": %s}\n' "$value" "$value" >lines.jsonl
    check 0 '"text":"one<' "$mla" data show lines.jsonl --format auto --json
    check 0 "documents        2" "$mla" prepare lines.jsonl --tokenizer bytes --held-out 0 --out lines.h5
    printf '{"id": %s, "prompt": "one", "completion": "two"}\n' "$value" >chats.jsonl
    check 0 "two" "$mla" data show chats.jsonl
    rm -rf odd && cp -r hf odd
    with "\"unknown\": $value" odd/config.json
    with "\"unknown\": $value" odd/tokenizer_config.json
    with "\"unknown\": $value" odd/tokenizer.json
    check 0 "" "$mla" import odd --out odd.h5
    [[ $printed == *"without a tokenizer"* ]] && fail "tokenizer.json: $value: $printed"
    rm -rf odd-peft && cp -r peft odd-peft
    with "\"unknown\": $value" odd-peft/adapter_config.json
    check 0 "kind: adapter" "$mla" info odd-peft
done

# the whole file: a mark at the beginning, which editors of Windows write
mark() { sed -i '1s/^/\xef\xbb\xbf/' "$@"; }
printf '{"text": "one"}\n{"text": "two"}\n' >marked.jsonl
cp marked.jsonl plain.jsonl
mark marked.jsonl
[ "$("$mla" data show marked.jsonl --format auto --json)" = "$("$mla" data show plain.jsonl --format auto --json)" ] ||
    fail "a mark at the beginning changes the text"
rm -rf odd odd-peft && cp -r hf odd && cp -r peft odd-peft
mark odd/*.json odd-peft/*.json
check 0 "tokenizer.json" "$mla" import odd --out odd.h5
check 0 "kind: adapter" "$mla" info odd-peft
for file in odd/config.json odd-peft/adapter_config.json; do # in UTF-16 it is named, with the remedy
    sed 's/^\xef\xbb\xbf//' $file | iconv -t UTF-16 >wide && cp wide $file
done
check 1 "odd/config.json: not valid JSON: line 1, column 1: it is UTF-16, not UTF-8; convert it: iconv" "$mla" import odd --out no.h5
check 1 "odd-peft/adapter_config.json: not valid JSON: line 1, column 1: it is UTF-16" "$mla" info odd-peft
iconv -t UTF-16 plain.jsonl >wide.jsonl
check 1 "wide.jsonl: is UTF-16, not text; convert it: iconv -f UTF-16 -t UTF-8" "$mla" data show wide.jsonl --format auto

# of equal keys the last one counts, and the first is named
rm -rf odd && cp -r hf odd && cp -r peft odd-peft
with '"num_hidden_layers": 7' odd/config.json
check 0 'odd/config.json: the key "num_hidden_layers" is given twice in one object; the last one counts' "$mla" import odd --out odd.h5
[[ $printed == *twice*twice* ]] && fail "it is said twice: $printed"
"$mla" info odd.h5 --json | grep -q '"num_hidden_layers":2' || fail "the first of two keys counted"
rm -rf odd-peft && cp -r peft odd-peft
with '"r": 77' odd-peft/adapter_config.json
check 0 'odd-peft/adapter_config.json: the key "r" is given twice' "$mla" info odd-peft
printf '{"text": "one", "text": "two"}\n' >twice.jsonl
check 0 '"text":"two<' "$mla" data show twice.jsonl --format auto --json

# what is asked for by its type is refused where it is no number
set_key() { rm -rf odd && cp -r hf odd && sed -i "s/\"$1\": [0-9.e+-]*/\"$1\": $2/" odd/config.json; }
set_key rms_norm_eps NaN
check 2 'rms_norm_eps: expected a number, got the text "NaN"' "$mla" import odd --out no.h5
set_key rope_theta Infinity
check 2 'rope_theta: expected a number, got the text "Infinity"' "$mla" import odd --out no.h5
set_key num_hidden_layers 1e999
check 2 'num_hidden_layers: expected a whole number, got the text "1e999"' "$mla" import odd --out no.h5
set_key num_hidden_layers 100000000000000000000
check 2 'num_hidden_layers: expected a whole number, got' "$mla" import odd --out no.h5
set_key num_hidden_layers 2.0
check 0 "" "$mla" import odd --out odd.h5

# lone halves of characters become U+FFFD; what is broken says where
printf '{"text": "a\\ud83db\\u0000c"}\n' >lone.jsonl
check 0 '"text":"a�b\u0000c<' "$mla" data show lone.jsonl --format auto --json
printf '{"text": "one"}\n{"text": one}\n' >broken.jsonl
check 1 "broken.jsonl:2: not valid JSON: column 10: expected a value, not 'o'" "$mla" prepare broken.jsonl --out no.h5
[ -e no.h5 ] && fail "a failed command left a file"

# broken lines may be left out: counted, the first ones named
printf '{"text": "one"}\n{"text": two}\n{"body": "x"}\n\n{"text": null}\n[1]\n{"text": "two"\n{"text\n7\n{"text": "two"}\n' >some.jsonl
check 1 "some.jsonl:2: not valid JSON: column 10" "$mla" prepare some.jsonl --tokenizer bytes --out no.h5
check 0 "documents        2" "$mla" prepare some.jsonl --tokenizer bytes --held-out 0 --bad-lines skip --out some.h5
for words in "left out: some.jsonl:2: not valid JSON: column 10" 'left out: some.jsonl:3: no field "text"; the line has body' \
    'left out: some.jsonl:5: no text in field "text"' "left out: some.jsonl:6: not a JSON object" "left out: some.jsonl:7: not" \
    "7 lines are left out (data.bad_lines: skip)" "bad lines        7 are left out"; do
    [[ $printed == *"$words"* ]] || fail "not said: $words: $printed"
done
[[ $printed == *"some.jsonl:8:"* ]] && fail "more than the first are named: $printed"
[ "$(grep -o "lines are left out" <<<"$printed" | wc -l)" = 1 ] || fail "said more than once: $printed"
json=$("$mla" prepare some.jsonl --tokenizer bytes --held-out 0 --bad-lines skip --json --out some.h5 2>/dev/null)
[[ $json == *'"bad_lines":{"count":7,"first":["some.jsonl:2: not valid JSON: column 10'* ]] || fail "as JSON: $json"
[[ $json == *'"train":{"documents":2,"bytes":6,"tokens":8,'* ]] || fail "as JSON: $json"
printf '{"prompt": "one", "completion": "two"}\n{"prompt": "one"}\n{"messages": [}\n' >some-chats.jsonl
check 1 'some-chats.jsonl:2: is no conversation: expected "messages", "conversations", "prompt" and "completion", or "instruction" and "output"; found "prompt".' "$mla" prepare some-chats.jsonl --format chat --tokenizer bytes --held-out 0 --out no.h5
for tokenizer in bytes bpe; do
    check 0 "left out: some-chats.jsonl:3: not valid JSON: column 15" "$mla" prepare some-chats.jsonl --format chat --tokenizer $tokenizer \
        --held-out 0 --bad-lines skip --out chats.h5
    [[ $printed == *"bad lines        2 are left out"* && $printed == *"documents        1,"* ]] || fail "chat: $printed"
done
printf '{"text": two}\n' >none.jsonl
check 2 "there is no text in none.jsonl" "$mla" prepare none.jsonl --tokenizer bytes --bad-lines skip --out no.h5
for i in $(seq 60); do echo "{\"meta\": {\"text\": \"This is line $i of some.\"}}"; done >few.jsonl
printf '{"text": 1}\n{\n' >>few.jsonl
tiny_run nested data.source=few.jsonl data.tokenizer=bytes data.bad_lines=skip data.field=meta.text 2>warnings
grep -q "2 lines are left out" warnings || fail "training: $(cat warnings)"
[ -e no.h5 ] && fail "a failed command left a file"

finish
