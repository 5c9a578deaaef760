#!/usr/bin/env bash
# A model trained here, exported and imported again, says what it said; the two commands name what is wrong.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
loss() { "$mla" eval --checkpoint "$1" texts --sequence 32 --json | value loss; }

for kind in latent multi_head; do
    tiny_run run-$kind data.source=texts data.tokenizer=bpe data.vocab_size=300 model.attention=$kind
    check 0 "ForCausalLM" "$mla" export run-$kind --out hf-$kind --shard-size 20KB
    check 0 "tokenizer.json" "$mla" import hf-$kind --out $kind.h5
    [ -e hf-$kind/model.safetensors.index.json ] || fail "$kind: no shards"
    near "$(loss run-$kind)" "$(loss $kind.h5)" 1e-6 || fail "$kind: the loss $(loss run-$kind) became $(loss $kind.h5)"
    check 0 "" "$mla" generate --checkpoint $kind.h5 --prompt Line --greedy --tokens 20
done

check 2 "import needs --out FILE.h5" "$mla" import hf-latent
check 2 "export needs --out DIR" "$mla" export latent.h5
check 2 "hf-latent is not empty" "$mla" export latent.h5 --out hf-latent
check 2 '--shard-size: expected a size as 500MB or 5GB, got "5XB"' "$mla" export latent.h5 --out new --shard-size 5XB
check 2 "--shard-size: expected a size" "$mla" export latent.h5 --out new --shard-size -1
check 2 "--dtype: expected one of auto, f32, bf16, f16" "$mla" export latent.h5 --out new --dtype f64
tiny_run run-norm data.source=texts data.tokenizer=bytes model.norm=layernorm
check 2 "DeepseekV3ForCausalLM has no norm: layernorm" "$mla" export run-norm --out new
check 1 "nowhere" "$mla" import nowhere --out new.h5
check 1 "hf-latent: has neither" bash -c 'rm hf-latent/*.index.json; "$1" import hf-latent --out new.h5' - "$mla"
sed -i 's/"DeepseekV3ForCausalLM"/"MixtralForCausalLM"/' hf-latent/config.json
check 1 "architecture MixtralForCausalLM: not supported" "$mla" import hf-latent --out new.h5
[ -e new ] || [ -e new.h5 ] && fail "a failed command left a file"

finish
