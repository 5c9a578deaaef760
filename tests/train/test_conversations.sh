#!/usr/bin/env bash
# Conversations from outside: prepared, shown, trained on, resumed, asked; and what is no conversation is named.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

for i in $(seq 60); do
    printf '{"messages": [{"role": "user", "content": "%d and 1?"}, {"role": "assistant", "content": "It is %d."}]}\n' \
        $((i % 9)) $((i % 9 + 1))
done >chats.jsonl
{
    echo '{"prompt": "Say hi to <|endoftext|>", "completion": "Hi."}'
    echo '{"messages": [{"role": "user", "content": "No answer"}]}'
    printf '{"prompt": "Short", "completion": "and%200s"}\n' long
    printf '{"prompt": "Long%200s", "completion": "short"}\n' ""
} >odd.jsonl
cat chats.jsonl odd.jsonl >all.jsonl

# ---- prepared and shown

check 0 "template         plain" "$mla" prepare all.jsonl --format chat --tokenizer bytes --held-out 0.1 --out chats.h5
check 0 "1 of 64 conversations have no answer and are left out" "$mla" prepare all.jsonl --format chat --tokenizer bytes --out all.h5
"$mla" data show odd.jsonl --samples 9 >shown 2>/dev/null || fail "data show"
grep -q '^--- document 0, from position 0: 46 tokens, 5 learned$' shown || fail "shown: $(cat shown)"
grep -q '^Assistant:⟦ Hi.<|endoftext|>⟧$' shown || fail "the answer is not marked: $(cat shown)"
check 0 "1 of 3 examples are left out: no answer begins within train.sequence 64" "$mla" data show odd.jsonl --sequence 64
check 0 "--- sequence 1: 19 positions of padding" "$mla" data show odd.jsonl --sequence 64
"$mla" data show chats.h5 --ids --samples 1 >shown || fail "data show --ids"
grep -q '^      35      256 \* <|endoftext|>$' shown || fail "not one token a line: $(cat shown)"
"$mla" data show chats.h5 --json --samples 1 >shown || fail "data show --json"
grep -q '"learned":\[0,.*,1,1\],"text":"User: . and 1?\\n\\nAssistant: It is .\.<|endoftext|>"}' shown || fail "JSON: $(cat shown)"
printf 'plain text\n' >text.txt
check 0 "12 tokens, 11 learned
p⟦lain text" "$mla" data show text.txt --format text
check 2 "there is no list: use show" "$mla" data list chats.h5
check 1 "chats.jsonl:1: no field \"text\"" "$mla" data show chats.jsonl --format auto

# ---- trained, resumed, asked

printf 'data: {source: chats.jsonl, format: chat, tokenizer: bpe, vocab_size: 280, held_out: 0.1}\noptim: {lr: 1.0e-2}\n' >chat.yaml
sets=()
for set in "${tiny_sizes[@]}" train.steps=240 train.sequence=64 optim.schedule=constant; do sets+=(--set "$set"); done
"$mla" train chat.yaml "${sets[@]}" --out run --json >run.json || fail "training"
before=$(sed -n '1p' run/metrics.jsonl | value loss) after=$(sed -n '240p' run/metrics.jsonl | value loss)
awk -v a="$before" -v b="$after" 'BEGIN { exit !(b < a / 4) }' || fail "nothing was learned: $before, $after"
grep -q '"bits_per_byte":null' run.json || fail "bits per byte of answers: $(cat run.json)"
near "$(value held_out_loss <run.json)" "$("$mla" eval --checkpoint run --json | value loss)" 1e-5 || fail "mla eval counts other tokens"
check 0 "It is 5." "$mla" generate --checkpoint run --chat --greedy --prompt "4 and 1?"
check 0 "the model ended the answer" "$mla" generate --checkpoint run --chat --greedy --prompt "4 and 1?"
check 2 "--chat needs --prompt" "$mla" generate --checkpoint run --chat
"$mla" train chat.yaml "${sets[@]}" --set train.steps=10 --out half --json >/dev/null || fail "half a run"
"$mla" train --resume half --set train.steps=20 --json >/dev/null || fail "a run does not go on"
cmp -s <(sed -n '11,20p' run/metrics.jsonl | value loss) <(sed -n '11,20p' half/metrics.jsonl | value loss) ||
    fail "a run that stopped is another one"
check 0 "It is" bash -c '"$0" data show chat.yaml --set train.sequence=64 --set train.steps=1 --samples 2' "$mla"

# ---- on a model that is there: adapters, and named parameters

printf 'finetune: {base: run}\ndata: {source: odd.jsonl, format: chat, held_out: 0}\n' >fine.yaml
printf 'train: {steps: 3, batch: 2, sequence: 64, precision: f32}\n' >>fine.yaml
check 0 "1 of 4 conversations have no answer" "$mla" finetune fine.yaml --set lora.targets=q_proj --out adapter
grep -q 'template: plain' adapter/recipe.yaml || fail "the recipe does not tell the template"
check 0 "" "$mla" generate --checkpoint run --adapter adapter --chat --prompt "4 and 1?" --tokens 5
check 0 "" "$mla" finetune fine.yaml --set finetune.train=kv_b_proj --out named
long=$TMPDIR/$(printf 'long%.0s' {1..20})
mkdir "$long"
check 0 "" env TMPDIR="$long" "$mla" data show fine.yaml --samples 1

# ---- documents of plain text whole, conversations in a stream

texts texts
tiny_run whole data.source=texts data.tokenizer=bytes data.packing=whole
tiny_run stream data.source=chats.jsonl data.format=chat data.tokenizer=bytes data.packing=stream
tiny_run learned data.source=chats.jsonl data.format=chat data.tokenizer=bytes data.packing=stream model.position=learned \
    model.qk_rope_head_dim=0
check 2 "use data.packing: stream, or model.position: rope" "$mla" train chat.yaml "${sets[@]}" --set model.position=learned \
    --set model.qk_rope_head_dim=0 --out apart

# ---- a tokenizer with a chat_template of its own: it goes along with the model that is made with it

mkdir own
cp whole/tokenizer.json own
printf '%s' '{"eos_token": "<|endoftext|>", "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}' \
    '{% if m.role == \"assistant\" %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>' \
    '{% endif %}"}' >own/tokenizer_config.json
asked() { # of the question "x"
    "$mla" generate --checkpoint "$1" --chat --prompt x --tokens 1 --json 2>/dev/null | value prompt_tokens
}
tiny_run kept data.source=chats.jsonl data.format=chat data.tokenizer=own
[ "$(asked kept)" = 18 ] || fail "<user>x<assistant> are $(asked kept) tokens"
"$mla" export kept --out exported >/dev/null || fail "export"
check 0 "template         the model's own" "$mla" prepare chats.jsonl --format chat --tokenizer kept --out again.h5
grep -q '"chat_template": *"{% for m in messages %}<{{ m.role }}>' exported/tokenizer_config.json &&
    grep -q '"model_max_length": *64' exported/tokenizer_config.json ||
    fail "exported beside the model: $(cat exported/tokenizer_config.json)"
check 0 "template         the model's own" "$mla" prepare chats.jsonl --format chat --tokenizer own/tokenizer.json --out own.h5
tiny_run of_tokens data.tokens=own.h5
"$mla" train --resume of_tokens --set train.steps=4 --json >/dev/null || fail "a run on a token file does not go on"
[ "$(asked of_tokens)" = 18 ] || fail "of a token file: $(asked of_tokens) tokens"
tiny_run mixed data.mix=own.h5:1,texts:1 data.format=text
[ "$(asked mixed)" = 18 ] || fail "of a mix: $(asked mixed) tokens"
tiny_run by_name data.source=chats.jsonl data.format=chat data.tokenizer=own data.template=plain
[ "$(asked by_name)" = 19 ] || fail "trained by a template that was named, asked by another: $(asked by_name) tokens"
echo '{"chat_template": 3' >own/tokenizer_config.json
check 1 "tokenizer_config.json: not valid JSON" "$mla" prepare texts --tokenizer own --out no.h5
check 1 "cannot open no-folder" "$mla" prepare texts --tokenizer no-folder --out no.h5

# ---- what does not fit

{ cat chats.jsonl; echo "{broken"; } >broken.jsonl
check 1 "broken.jsonl:61: not valid JSON" "$mla" data show broken.jsonl
check 0 "broken.jsonl:61" "$mla" data show broken.jsonl --bad-lines skip

check 1 "text.txt:1: not valid JSON" "$mla" prepare text.txt --format chat --held-out 0 --out no.h5
printf '{"messages": [{"role": "Tool", "content": "x"}]}\n{}\n' >bad.jsonl
check 1 'bad.jsonl:1: message 1: "Tool" is no role' "$mla" prepare bad.jsonl --format chat --tokenizer bytes --held-out 0 --out no.h5
check 2 "chatml needs the token <|im_start|>" "$mla" prepare chats.jsonl --format chat --template chatml --tokenizer bytes --out no.h5
cp run/tokenizer.json .
# the model's own template, beside its tokenizer: read, and refused by name where it is not known
printf '{"chat_template": "{{ bos_token }}{%% for m in messages %%}[{{ m.role }}]{{ m.content }}{%% endfor %%}{{ eos_token }}", "bos_token": "^"}' \
    >tokenizer_config.json
check 0 "template         the model's own" "$mla" prepare chats.jsonl --format chat --tokenizer tokenizer.json --out own.h5
check 0 "^[user]1 and 1?[assistant]⟦It is 2.<|endoftext|>⟧" "$mla" data show own.h5 --samples 1
printf '%s' "{% for m in messages %}
{{ m.content | swap }}{% endfor %}" >chat_template.jinja
check 2 "chats.jsonl:1: the model's chat_template, line 2: the filter 'swap' is not known here" "$mla" prepare chats.jsonl --format chat \
    --tokenizer tokenizer.json --out no.h5
printf '%s' "{% include 'x' %}" >chat_template.jinja
check 1 "the model's chat_template, line 1: the statement 'include' is not known here" "$mla" prepare chats.jsonl --format chat \
    --tokenizer tokenizer.json --out no.h5
printf '%s' "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}" >chat_template.jinja
check 2 "state one, by data.date or --date" "$mla" prepare chats.jsonl --format chat --tokenizer tokenizer.json --out no.h5
check 0 "" "$mla" prepare chats.jsonl --format chat --tokenizer tokenizer.json --date 2024-07-26 --out dated.h5
check 0 "20241 and 1?⟦It is 2.<|endoftext|>⟧" "$mla" data show chats.jsonl --tokenizer tokenizer.json --date 2024-07-26 --samples 1

# other forms, and keys that say what is not learned
printf '{"question": "a", "answer": "b"}\n' >qa.jsonl
check 0 "Assistant:⟦ b<|endoftext|>⟧" "$mla" data show qa.jsonl --fields prompt=question,completion=answer
check 1 'or "instruction" and "output"; found "question", "answer"' "$mla" data show qa.jsonl
check 2 "data.fields: name both" "$mla" data show qa.jsonl --fields prompt=question
printf '{"messages": [{"role": "user", "content": "a", "mood": 1}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "assistant", "content": "c"}]}\n' >kept.jsonl
check 0 "Assistant: b<|endoftext|>Assistant:⟦ c<|endoftext|>⟧" "$mla" data show kept.jsonl
check 0 '1 messages have a key "mood", which the template (plain) does not read' "$mla" data show kept.jsonl
printf '{"prompt": "Long%200s", "completion": "short"}\n' "" >cut.jsonl
check 2 "none of the 1 documents has anything to learn within 64 tokens" "$mla" train chat.yaml "${sets[@]}" \
    --set data.source=cut.jsonl --set data.tokenizer=bytes --set data.held_out=0 --out none
[ ! -e no.h5 ] || fail "a token file is there after an error"

finish
