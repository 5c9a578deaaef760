#!/usr/bin/env bash
# A tokenizer that puts <s> before texts: documents, prompts and texts that are scored begin with it, once, unless it is
# turned off; conversations begin as their template says. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 model.vocab_size=304
"$mla" export run --out hf >/dev/null || fail "export"
sed -i 's/"added_tokens": \[/&{"id": 300, "content": "<s>", "special": true},/' hf/tokenizer.json
cp -r hf config
template='{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [300]}}}'
template=${template//$'\n'/}
sed -i "s/\"post_processor\": null/\"post_processor\": $template/" hf/tokenizer.json
printf '{"add_bos_token": true, "bos_token": {"__type": "AddedToken", "content": "<s>"}}' >config/tokenizer_config.json
printf 'Dokument 7' >one.txt

prompt() { "$mla" generate --greedy --tokens 1 --json --prompt Line --checkpoint "$@" | value prompt_tokens; }
scored() { "$mla" eval one.txt --sequence 32 --json --checkpoint "$@"; }
first_id() { "$mla" data show one.txt --format text --json --tokenizer "$@" | sed 's/.*"ids":\[\([0-9]*\).*/\1/'; }

plain=$(prompt run)
for kind in hf config; do
    check 0 "" "$mla" import $kind --out $kind.h5
    [ "$(prompt $kind.h5)" = $((plain + 1)) ] || fail "$kind: a prompt has $(prompt $kind.h5) tokens, without <s> $plain"
    [ "$(prompt $kind.h5 --no-bos)" = "$plain" ] || fail "$kind: --no-bos leaves $(prompt $kind.h5 --no-bos) tokens"
    # the text after <s>, or the text and its separator after a separator
    count=$(scored run | value tokens)
    [ "$(scored $kind.h5 | value tokens)" = $((count - 1)) ] || fail "$kind: $(scored $kind.h5) are scored"
    near "$(scored $kind.h5 --no-bos | value loss)" "$(scored run | value loss)" 1e-6 || fail "$kind: --no-bos is another loss"
    [ "$(scored $kind.h5 | value loss)" != "$(scored run | value loss)" ] || fail "$kind: <s> makes no difference"
    [ "$(first_id $kind/tokenizer.json)" = 300 ] || fail "$kind: a document begins with $(first_id $kind/tokenizer.json)"
    [ "$(first_id $kind/tokenizer.json --no-bos)" != 300 ] || fail "$kind: --no-bos shows <s>"
done

# the first text begins as a document does, without a separator before it
"$mla" generate --checkpoint hf.h5 --greedy --tokens 1 --json | grep -q '"prompt_tokens":1,' || fail "the start of a document"

# what is prepared, by hand or by a recipe, and what comes of it
tokens() { "$mla" prepare texts --held-out 0 --tokenizer hf/tokenizer.json --out "$@" | sed -n 's/^tokens *\([0-9]*\).*/\1/p'; }
with=$(tokens with.h5) without=$(tokens without.h5 --no-bos)
[ "$with" = $((without + 40)) ] || fail "40 documents have $with tokens with <s> and $without without"
printf 'finetune: {base: hf.h5}\ndata: {source: texts, held_out: 0}\ntrain: {steps: 1, batch: 2, sequence: 16}\n' >fine.yaml
check 0 '256,300' "$mla" data show fine.yaml --json
[[ $("$mla" data show fine.yaml --json --set data.bos=false) != *'[300,'* ]] || fail "data.bos=false puts <s>"
check 0 "" "$mla" train fine.yaml --out fine
[ "$(prompt fine)" = $((plain + 1)) ] || fail "what is fine-tuned forgets <s>"

# a text that the tokenizer ends with the separator has it once
sed 's/, {"Sequence": {"id": "A"}}/&, {"SpecialToken": {"id": "end"}}/; s/"ids": \[300\]}/&, "end": {"ids": [256]}/' \
    hf/tokenizer.json >ends.json
[ "$("$mla" data show one.txt --format text --json --tokenizer ends.json)" = \
    "$("$mla" data show one.txt --format text --json --tokenizer hf/tokenizer.json)" ] || fail "two separators"

# special tokens that are spelled out are text, unless they are asked for
ids() { "$mla" data show said.txt --format text --json --tokenizer hf/tokenizer.json "$@"; }
printf '<s>' >said.txt
[[ $(ids) != *'[300,300,'* && $(ids --special) == *'"ids":[300,300,256]'* ]] || fail "said <s>: $(ids), $(ids --special)"
said() { "$mla" generate --greedy --tokens 1 --json --prompt '<s>' --checkpoint hf.h5 "$@" | value prompt_tokens; }
[ "$(said --special)" = 2 ] && [ "$(said)" = 4 ] || fail "a prompt of <s> has $(said) tokens, with --special $(said --special)"
"$mla" prepare said.txt --held-out 0 --tokenizer hf/tokenizer.json --special --out said.h5 >/dev/null
[[ $("$mla" data show said.h5 --json) == *'"ids":[300,300,256]'* ]] || fail "prepare --special"
check 2 "only its template puts special tokens" "$mla" generate --checkpoint hf.h5 --chat --special --prompt Line
check 2 "--special is for text" "$mla" data show said.h5 --special

# conversations: nothing but their template
chat() { "$mla" generate --greedy --tokens 1 --json --chat --template plain --prompt Line --checkpoint "$1" | value prompt_tokens; }
[ "$(chat hf.h5)" = "$(chat run)" ] || fail "a conversation begins with <s>"
check 2 "choose another by --template" "$mla" generate --checkpoint hf.h5 --chat --no-bos --prompt Line
check 2 "--no-bos is for texts" "$mla" eval --checkpoint hf.h5 --tokens with.h5 --no-bos
check 2 "--no-bos is for text" "$mla" data show with.h5 --no-bos

# exported again it is all there
check 0 "" "$mla" export config.h5 --out again
grep -q '"add_bos_token": *true' again/tokenizer_config.json || fail "tokenizer_config.json has lost add_bos_token"
check 0 "" "$mla" import again --out again.h5
[ "$(prompt again.h5)" = $((plain + 1)) ] || fail "exported and imported, a prompt has $(prompt again.h5) tokens"
"$mla" prepare texts --tokenizer hf/tokenizer.json --out from.h5 >/dev/null
tiny_run own data.tokens=from.h5
check 0 "" "$mla" export own --out own-hf
grep -q '"bos_token": *"<s>"' own-hf/tokenizer_config.json || fail "bos_token is not named"
grep -q '"bos_token_id": *300' own-hf/config.json || fail "bos_token_id is not named"

# what cannot be followed
sed -i 's/"<s>"/"<begin>"/' config/tokenizer_config.json
check 0 '"<begin>" is not among the added_tokens' "$mla" import config --out other.h5
printf '{"add_bos_token": true}' >config/tokenizer_config.json
check 0 "there is no bos_token" "$mla" import config --out other.h5
printf '{"add_bos_token": false}' >hf/tokenizer_config.json
check 0 "it is followed" "$mla" import hf --out other.h5

finish
