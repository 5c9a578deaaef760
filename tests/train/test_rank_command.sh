#!/usr/bin/env bash
# mla rank from outside: wider latents change nothing, narrower ones little, and what comes out serves every other
# command; what does not fit is refused. $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2 train.steps=60 optim.lr=1e-2
tiny_run heads model.attention=multi_head model.position=none data.synthetic.tokens=4000 data.synthetic.vocabulary=16
tokens=run/tokens.h5
loss() { "$mla" eval --checkpoint "$1" --tokens $tokens --sequence 32 --json | value loss; }
rank() { "$mla" rank run --json "$@" || fail "rank $*"; }
before=$(loss run)

# ---- wider: the same model, without any text

rank --latent 12 --out wide.h5 >wide.json
near "$(loss wide.h5)" "$before" 1e-5 || fail "a wider latent: $before became $(loss wide.h5)"
[[ $(<wide.json) == *'"before":8,"after":12,"error":null'*'"loss":{"before":null,"after":null}'* ]] ||
    fail "growing: $(<wide.json)"
[[ $(<wide.json) == *'"cache_bytes_per_token":{"before":96.0,"after":128.0}'* ]] || fail "the cache: $(<wide.json)"

# ---- narrower, one rank for each layer

rank --latent 7,5 --calibrate $tokens --out narrow.h5 >narrow.json
rank --latent 7,5 --calibrate texts --calibrate 'texts/1*.txt' --out other.h5 >other.json
for file in narrow other; do
    after=$(loss $file.h5)
    awk -v a="$before" -v b="$after" 'BEGIN { exit !(a != b && b < a + 0.5) }' || fail "$file: $before became $after"
    [[ $(<$file.json) =~ '"error":0.'[0-9]+'},{"before":8,"after":5,"error":0.' ]] || fail "$file: $(<$file.json)"
done
check 0 "kv_lora_ranks: [7, 5]" "$mla" info narrow.h5
check 0 "cache_bytes_per_token: 80" "$mla" info narrow.h5
check 0 'kv_b_proj.weight","shape":[48,5]' "$mla" info narrow.h5 --params --json
check 0 "0       8 -> 7" "$mla" rank run --latent 7,5 --calibrate $tokens --out text.h5
near "$(loss text.h5)" "$(loss narrow.h5)" 0 || fail "twice the same is not the same"

ids() { "$mla" generate --tokens 30 --greedy --json --checkpoint "$@" 2>/dev/null | sed 's/.*"ids":\(\[[0-9,]*\]\).*/\1/'; }
for form in --no-cache --expanded; do
    [ "$(ids narrow.h5)" = "$(ids narrow.h5 $form)" ] || fail "ranks of layers: $form gives another text"
done

# ---- a budget, and the other method

rank --budget 72 --calibrate $tokens --out budget.h5 >budget.json
check 0 "cache_bytes_per_token: 72" "$mla" info budget.h5
rank --latent 4 --method svd --out svd.h5 >svd.json
[[ $(<svd.json) == *'"after":4,"error":null'* ]] || fail "svd without text: $(<svd.json)"

# ---- on with it: fine-tuning, whole and by adapters; merging; transformers' files

printf 'finetune: {base: narrow.h5}\ndata: {source: texts, held_out: 0.2}\ntrain: {steps: 20, batch: 4, sequence: 32}\n' >tune.yaml
check 0 "run folder" "$mla" finetune tune.yaml --set optim.lr=1e-3 --out tuned
awk -v a="$(loss narrow.h5)" -v b="$(loss tuned)" 'BEGIN { exit !(b < a) }' || fail "nothing was recovered"
check 0 "kv_lora_ranks: [7, 5]" "$mla" info tuned
check 0 "run folder" "$mla" finetune tune.yaml --set lora.targets='*_proj:2' --set train.steps=3 --out adapted
check 0 "in the weights" "$mla" merge narrow.h5 adapted --out merged.h5
near "$(loss merged.h5)" "$("$mla" eval --checkpoint narrow.h5 --adapter adapted --tokens $tokens --sequence 32 --json | value loss)" 1e-5 ||
    fail "merged is not unmerged"
check 0 "" "$mla" train --resume tuned
check 0 "the smaller ones are filled up to 7" "$mla" export narrow.h5 --out equal-hf
check 0 "" "$mla" import equal-hf --out equal-again.h5
near "$(loss equal-again.h5)" "$(loss narrow.h5)" 1e-5 || fail "an export of unequal ranks has another loss"
check 0 "" "$mla" rank narrow.h5 --latent 7 --out equal.h5
near "$(loss equal.h5)" "$(loss narrow.h5)" 1e-5 || fail "equal ranks are not the same model"
check 0 "DeepseekV3ForCausalLM" "$mla" export equal.h5 --out exported
check 0 "" "$mla" import exported --out again.h5
near "$(loss again.h5)" "$(loss narrow.h5)" 1e-5 || fail "exported and imported is not the same model"

# ---- what does not fit

wrong() { local code=$1 words=$2; shift 2; check "$code" "$words" "$mla" rank "$@" --out no.h5; }
wrong 2 "--latent: 0 is too small" run --latent 0 --calibrate $tokens
wrong 2 "a latent of rank 33: it must be 1 to 32" run --latent 33
wrong 2 "3 ranks for 2 layers" run --latent 4,4,4 --calibrate $tokens
wrong 2 "expected whole numbers with commas between" run --latent 4-5
wrong 2 "give the ranks, or a budget" run
wrong 2 "a smaller rank needs text that tells what the latents hold: --calibrate TEXT" run --latent 4
wrong 2 "a budget of 10 bytes: the rotary keys alone (qk_rope_head_dim 4) take 32 per token" run --budget 10 --calibrate $tokens
wrong 2 "a budget of 96 bytes: the cache of this model takes 96 per token now" run --budget 96 --calibrate $tokens
wrong 2 "at least 3 sequences of 32 are needed" run --latent 4 --calibrate texts/1.txt
wrong 2 "the model has 64 positions" run --latent 4 --calibrate $tokens --sequence 65
wrong 2 "a token file cannot be joined" run --latent 4 --calibrate $tokens --calibrate texts
wrong 1 "nowhere" run --latent 4 --calibrate nowhere
wrong 1 "nowhere" nowhere --latent 4
wrong 2 "has no latent (attention: multi_head)" heads --latent 4
wrong 2 "is an adapter, not a model" adapted --latent 4 --calibrate $tokens
check 2 "rank needs --out FILE.h5" "$mla" rank run --latent 12
[ ! -e no.h5 ] && [ ! -e no ] || fail "a refused command has left something"

finish
