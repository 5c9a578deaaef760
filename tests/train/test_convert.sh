#!/usr/bin/env bash
# mla convert from outside: exact at first, then smaller, and what comes out serves every other command; what does not
# fit is refused. $1: the mla command.
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source "$here/../support/command.sh"
source "$here/../support/ranks.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=60 optim.lr=1e-2 \
    model.attention=multi_head model.num_attention_heads=4 model.num_key_value_heads=2 model.head_dim=8
tokens=run/tokens.h5
loss() { "$mla" eval --checkpoint "$1" --tokens $tokens --sequence 32 --json | value loss; }
convert() { "$mla" convert run --json "$@" || fail "convert $*"; }
before=$(loss run)

# ---- exact: the same model, without any text; transformers' files

convert --out exact.h5 >exact.json
near "$(loss exact.h5)" "$before" 1e-5 || fail "exact: $before became $(loss exact.h5)"
[[ $(<exact.json) == *'"loss":null'*'"stage":"exact"'*'"kv_lora_rank":17,"error":null'* ]] || fail "$(<exact.json)"
check 0 "DeepseekV3ForCausalLM" "$mla" export exact.h5 --out exported
check 0 "" "$mla" import exported --out again.h5
near "$(loss again.h5)" "$before" 1e-5 || fail "exported and imported: $before became $(loss again.h5)"
ids() { "$mla" generate --tokens 30 --greedy --json --checkpoint "$@" 2>/dev/null | sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'; }
for form in "" --no-cache --expanded; do
    [ "$(ids run)" = "$(ids exact.h5 $form)" ] || fail "exact $form generates another text"
done

# ---- what goes with a model goes with what is made of it

check 0 "" "$mla" export run --out original
echo '{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}' >original/chat_template.jinja
check 0 "" "$mla" import original --out original.h5
check 0 "exact" "$mla" convert original.h5 --out chats.h5
check 0 "" "$mla" export chats.h5 --out chats
cmp original/chat_template.jinja chats/chat_template.jinja || fail "the chat template is lost"

# ---- smaller

check 0 "positions  4 rows of the keys turn, 1 frequencies folded into one" \
    "$mla" convert run --rope-dim 4 --freqfold 1 --latent 12,9 --calibrate $tokens --out small.h5
check 0 "kv_lora_ranks: [12, 9]" "$mla" info small.h5
check 0 "cache_bytes_per_token: $((4 * (12 + 9 + 2 * 4)))" "$mla" info small.h5
awk -v a="$before" -v b="$(loss small.h5)" 'BEGIN { exit !(a != b && b < a + 0.5) }' || fail "$before became $(loss small.h5)"
convert --rope-dim 4 --freqfold 1 --latent 12,9 --calibrate texts --out once.h5 >once.json
convert --rope-dim 4 --freqfold 1 --latent 12,9 --calibrate texts --out twice.h5 >twice.json
cmp -s <(sed s/once/twice/ once.json) twice.json || fail "twice the same is not the same"
[ "$(ids small.h5)" = "$(ids small.h5 --no-cache)" ] || fail "the cache gives another text"
convert --rope-dim 4 --budget 100 --calibrate $tokens --out budget.h5 >budget.json
bytes=$("$mla" info budget.h5 --json | value cache_bytes_per_token)
[ "$bytes" -le 100 ] && [ "$bytes" -gt 80 ] || fail "a budget of 100 bytes is used as $bytes"

# ---- on several ranks: the same to rounding, and twice the same bits

shared() { check 0 "" ranks "$1" convert run --json "${@:3}" --calibrate texts --out "$2.h5" && printf '%s' "$printed" >"$2.json"; }
for rank in "--freqfold 1 --latent 12,9" "--budget 100"; do
    convert --rope-dim 4 $rank --calibrate texts --out alone.h5 >alone.json
    shared 3 three --rope-dim 4 $rank
    shared 3 again3 --rope-dim 4 $rank
    cmp -s <(sed s/again3/three/ again3.json) three.json || fail "on ranks twice the same is not the same"
    near "$(loss alone.h5)" "$(loss three.h5)" 1e-5 || fail "on ranks $(loss alone.h5) is $(loss three.h5)"
    numbers() { grep -oE '"(loss|kl|error|kv_lora_rank|calibrated|left_out)":[^,}]*' "$1" | cut -d : -f 2; }
    paste <(numbers alone.json) <(numbers three.json) | awk '{ d = $1 - $2; if (!(d < 1e-5 && d > -1e-5)) { print; bad = 1 } }
        END { exit bad || NR < 20 }' || fail "$rank on ranks is measured as another: $(<three.json)"
done
check 2 "the rotary stage adds" ranks 2 convert run --rope-dim 2 --max-loss 1e-6 --calibrate $tokens --out shared.h5
near "$(loss shared.h5)" "$before" 1e-5 || fail "on ranks the stage before a refused one is not what is written"
check 1 "" ranks 2 convert run --out /nowhere/no.h5

# ---- what it will be

check 0 "     -" "$mla" convert run --rope-dim 4 --latent 12 --dry-run --calibrate $tokens
[[ $printed == *"exact"*" 264"*"rotary"*" 264"*"latent"*" 128"* ]] || fail "the plan: $printed"

# ---- what was lost comes back with the original as teacher

printf 'finetune: {base: small.h5, distil: run}\ndata: {source: texts, held_out: 0.2}\ntrain: {steps: 20, batch: 4, sequence: 32}\n' >tune.yaml
check 0 "run folder" "$mla" finetune tune.yaml --set optim.lr=1e-3 --out tuned
awk -v a="$(loss small.h5)" -v b="$(loss tuned)" 'BEGIN { exit !(b < a) }' || fail "nothing was recovered"

# ---- heads with norms: exact in our files, refused by name in others'

tiny_run normed data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 \
    model.attention=multi_head model.num_attention_heads=4 model.num_key_value_heads=2 model.head_dim=8 model.qk_norm=true
check 0 "exact" "$mla" convert normed --out normed.h5
near "$(loss normed.h5)" "$(loss normed)" 1e-5 || fail "with norms of heads: $(loss normed) became $(loss normed.h5)"
[ "$(ids normed)" = "$(ids normed.h5)" ] || fail "with norms of heads another text is generated"
check 2 "qk_norm: true, which this layout has no place for" "$mla" export normed.h5 --out no
check 0 "norms" "$mla" convert normed --fold-qk-norm --calibrate $tokens --dry-run
check 0 "norms" "$mla" convert normed --fold-qk-norm --calibrate $tokens --out folded.h5
check 0 "DeepseekV3ForCausalLM" "$mla" export folded.h5 --out folded
check 0 "" "$mla" import folded --out folded-again.h5
near "$(loss folded-again.h5)" "$(loss folded.h5)" 1e-5 || fail "a folded model is exported as another"
check 2 "no norms of heads" "$mla" convert run --fold-qk-norm --calibrate $tokens --out no.h5

# ---- refused

check 2 "the rotary stage adds" "$mla" convert run --rope-dim 2 --max-loss 1e-6 --calibrate $tokens --out kept.h5
near "$(loss kept.h5)" "$before" 1e-5 || fail "the stage before a refused one is not what is written"
check 2 "needs --out FILE.h5" "$mla" convert run
check 2 "is latent already" "$mla" convert exact.h5 --out no.h5
check 2 "--calibrate TEXT" "$mla" convert run --rope-dim 4 --out no.h5
check 2 "a budget of 30 bytes" "$mla" convert run --rope-dim 4 --budget 30 --calibrate $tokens --out no.h5
check 2 "must be even" "$mla" convert run --rope-dim 5 --calibrate $tokens --out no.h5
wrong() { local words=$1; shift; check 2 "$words" "$mla" convert "$@" --out no.h5 && check 2 "$words" "$mla" convert "$@" --dry-run; }
wrong "the rotary keys alone (qk_rope_head_dim 4) take 32 per token" run --rope-dim 4 --budget 32 --calibrate $tokens
wrong "at least 3 sequences of 32 are needed: give more" run --rope-dim 4 --calibrate texts/1.txt
wrong "--max-loss could limit: --calibrate TEXT" run --max-loss 0.1
wrong "leave --freqfold out" run --freqfold 2
wrong "--sequence 32: it is for text; name some with --calibrate" run --sequence 32
tiny_run other data.source=texts data.tokenizer=bytes train.steps=1
wrong "other/tokens.h5 was made with another tokenizer" run --rope-dim 4 --calibrate other/tokens.h5
printf '{"text": "so it goes", "label": "a"}\n{"text": "it goes so", "label": "b"}\n' >labels.jsonl
tiny_run labels data.source=labels.jsonl data.tokenizer=bytes data.held_out=0 train.steps=1 model.head=sequence \
    model.attention=multi_head
wrong "the model's head labels (sequence)" labels --rope-dim 4 --calibrate texts
check 0 "exact" "$mla" convert labels --out labels.h5
[ ! -e no.h5 ] || fail "something was written"

# ---- what attention here has not is refused where it comes in

reject() {
    rm -rf strange && cp -r original strange
    sed -i "s/\"hidden_size\"/$1, &/" strange/config.json
    check 1 "$2" "$mla" import strange --out no.h5
}
reject '"sliding_window": 16' "sliding_window: sliding windows are not supported"
reject '"attn_logit_softcapping": 50.0' "attn_logit_softcapping: not supported"
rm -rf strange && cp -r original strange # attention sinks: of gpt-oss, and among the tensors of a Llama model
sed -i 's/"LlamaForCausalLM"/"GptOssForCausalLM"/; s/"model_type": *"llama"/"model_type": "gpt_oss"/' strange/config.json
check 1 "model_type gpt_oss, architecture GptOssForCausalLM: not supported" "$mla" import strange --out no.h5
rm -rf strange && cp -r original strange && mv strange/model.safetensors strange/a.safetensors
header='{"model.layers.0.self_attn.sinks":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
{ printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s" "$header" && head -c 16 /dev/zero; } >strange/b.safetensors
{
    echo '{"weight_map": {"model.layers.0.self_attn.sinks": "b.safetensors"'
    head -c 20000 strange/a.safetensors | grep -aoE '"[a-z_0-9.]*weight"' | sed 's/^/, /; s/$/: "a.safetensors"/'
    echo '}}'
} >strange/model.safetensors.index.json
check 1 "1 tensors are not of the model of its config.json: model.layers.0.self_attn.sinks" "$mla" import strange --out no.h5
[ ! -e no.h5 ] || fail "something was written"

finish
