#!/usr/bin/env bash
# mla generate --prompts: many texts at a time are those that each prompt gives by itself.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
for attention in latent multi_head; do
    extra=()
    [ $attention = latent ] || extra=(model.attention=multi_head model.num_key_value_heads=1)
    tiny_run $attention data.source=texts data.tokenizer=bpe data.vocab_size=300 train.steps=40 optim.lr=1e-2 "${extra[@]}"
done
printf 'Dokument 3\nDo\n\nDokument 12 und mehr\nein\nDokument\n' >prompts.txt # of several lengths; one is empty
printf '{"prompt": "Dokument 3", "id": "a"}\n{"id": 7, "prompt": "Do"}\n' >prompts.jsonl

generate() { "$mla" generate --checkpoint "$attention" --tokens 30 "$@" 2>/dev/null; }
list_of() { sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'; }

for attention in latent multi_head; do
    generate --prompts prompts.txt --greedy --json >all.json || fail "$attention: no texts"
    [ "$(wc -l <all.json)" -eq 5 ] || fail "$attention: 5 prompts gave: $(cat all.json)"
    grep . prompts.txt | while read -r prompt; do generate --prompt "$prompt" --greedy --json; done | list_of >alone
    cmp -s alone <(list_of <all.json) || fail "$attention: together other texts than alone: $(diff alone <(list_of <all.json))"
    for batch in 1 2 3; do
        for how in --greedy "--seed 5"; do
            # shellcheck disable=SC2086
            cmp -s <(generate --prompts prompts.txt $how --json | list_of) <(generate --prompts prompts.txt $how --json --batch $batch | list_of) ||
                fail "$attention: a batch of $batch with $how gives other texts"
        done
    done
done

# Lines of JSON keep their ids and the order; the standard input is a file too; without --json texts have titles.
attention=latent
generate --prompts prompts.jsonl --greedy --json >lines.json
sed -n 1p lines.json | grep -q '"index":0,"id":"a",' || fail "the first line: $(cat lines.json)"
sed -n 2p lines.json | grep -q '"index":1,"id":7,' || fail "the second line: $(cat lines.json)"
cmp -s <(generate --prompts - --greedy --json <prompts.txt | list_of) <(list_of <all.json) ||
    [ "$(generate --prompts - --greedy --json <prompts.txt | list_of)" = "$(generate --prompts prompts.txt --greedy --json | list_of)" ] ||
    fail "prompts of the standard input"
[ "$(generate --prompts prompts.txt --greedy | grep -c '^==> [1-5] <==$')" -eq 5 ] || fail "no titles"
check 0 "5 texts, " "$mla" generate --checkpoint latent --prompts prompts.txt --tokens 3

# What does not fit is refused with file and line.
echo '{"prompt": 5}' >bad.jsonl
check 1 'needs "prompt", a text, or "messages"' "$mla" generate --checkpoint latent --prompts bad.jsonl
printf '{"prompt": "a"}\n{"prompt": "a", "temperature": 2}\n' >bad.jsonl
check 1 'bad.jsonl:2: the key "temperature" means nothing' "$mla" generate --checkpoint latent --prompts bad.jsonl
: >empty.txt
check 2 "empty.txt" "$mla" generate --checkpoint latent --prompts empty.txt
check 2 "--prompts" "$mla" generate --checkpoint latent --prompts prompts.txt --prompt "Do"
check 2 "batch" "$mla" generate --checkpoint latent --prompts prompts.txt --batch 0
finish
