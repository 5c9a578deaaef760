#!/usr/bin/env bash
# Runs the parsers of foreign files under libFuzzer with the address and undefined-behaviour sanitizers.
#
#     tests/fuzz/run.sh [SECONDS [TARGET...]]      60 seconds each; targets: safetensors index config adapter recipe
#
# Prints what each did and ends with 1 at the first crash, leak, hang or broken promise; its input is left in the
# current folder. Needs clang (Debian: clang).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-60}
shift || true
targets=("${@:-safetensors}")
[ $# -gt 0 ] || targets=(safetensors index config adapter recipe)
command -v clang >/dev/null || { echo "run.sh: clang is missing: apt-get install clang" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Seeds: one of each kind that is accepted.
number() { # eight bytes, little-endian
    local i
    for i in 0 1 2 3 4 5 6 7; do printf "\\x$(printf %02x $((($1 >> (8 * i)) & 255)))"; done
}
tensors='{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"c":{"dtype":"F16","shape":[],"data_offsets":[12,14]},"d":{"dtype":"I64","shape":[0],"data_offsets":[14,14]}}'
sizes='"vocab_size":9,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":8'
latent='"q_lora_rank":null,"kv_lora_rank":4,"qk_nope_head_dim":4,"qk_rope_head_dim":2,"v_head_dim":4,"first_k_dense_replace":1'
yarn='{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":2,"mscale":1.0,"mscale_all_dim":0.7,"rope_theta":1e4}'
llama3='{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4}'
mkdir -p "$work"/seeds/{safetensors,index,config,adapter,recipe}
{ number ${#tensors}; printf '%s12345678abcd__' "$tensors"; } >"$work/seeds/safetensors/1"
printf '{"metadata":{"total_size":8},"weight_map":{"x":"a","y":"b"}}' >"$work/seeds/index/1"
printf '{"model_type":"deepseek_v3",%s,%s,"rope_scaling":%s}' "$sizes" "$latent" "$yarn" >"$work/seeds/config/1"
printf '{"model_type":"deepseek_v2",%s,%s,"mlp_bias":true}' "$sizes" "$latent" >"$work/seeds/config/2"
printf '{"model_type":"llama",%s,"rope_scaling":%s}' "$sizes" "$llama3" >"$work/seeds/config/3"
printf '{"model_type":"qwen2",%s,"rope_parameters":%s,"layer_types":["full_attention"]}' "$sizes" "$yarn" >"$work/seeds/config/4"
printf '{"architectures":["Qwen3ForCausalLM"],%s,"head_dim":6,"sliding_window":null}' "$sizes" >"$work/seeds/config/5"
printf '{"model_type":"mistral",%s,"num_key_value_heads":1,"sliding_window":null}' "$sizes" >"$work/seeds/config/6"
printf '{"model_type":"phi3",%s,"rms_norm_eps":1e-5,"partial_rotary_factor":1.0}' "$sizes" >"$work/seeds/config/7"
printf '{"peft_type":"LORA","r":8,"lora_alpha":16,"rank_pattern":{"layers\\\\.\\\\d+\\\\..*q_proj":2,"a{2,9}|[b-d]*":3},"alpha_pattern":{"(mlp|x)+":1e3},"init_lora_weights":"gaussian","bias":"none"}' >"$work/seeds/adapter/1"
printf 'model:\n  kv_lora_ranks: [8, 4]\n  layer_norm_eps: 1e-5\n  rope_scaling: {rope_type: yarn, factor: 4}\n' >"$work/seeds/recipe/1"
printf "%%YAML 1.1\n---\npaths:\n- a b\n- 'it''s'\n- \"\\u00e9\\n\"\nwords: q_proj kv_b_proj:16\ntext: >-\n  a\n  b\nusual: '~'\n...\n" >"$work/seeds/recipe/2"

# Without HDF5 and MPI; the kinds of layers that a configuration names bring the engine along.
sources=($(cd "$root" && find autograd layers train/hugging_face/families -name '*.c') data/formats/safetensors{,_shards,_write}.c
         train/hugging_face/model_config.c train/adapter/adapter_config.c train/adapter/pattern.c)
for target in "${targets[@]}"; do
    (cd "$root" && clang -std=gnu17 -D_GNU_SOURCE -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -Wno-unknown-pragmas -I. -idirafter "$(dirname "$(gcc -print-file-name=include/omp.h)")" \
        "tests/fuzz/fuzz_$target.c" "${sources[@]}" -ljansson -lxxhash -lpcre2-8 -lyaml -ldnnl -l:libgomp.so.1 -lm -o "$work/$target")
    mkdir -p "$work/corpus/$target"
    "$work/$target" -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 \
        -verbosity=0 -use_value_profile=1 -artifact_prefix="$PWD/$target-" -dict="$root/tests/fuzz/json.dict" "$work/corpus/$target" \
        "$work/seeds/$target" >"$work/$target.log" 2>&1 || { tail -40 "$work/$target.log"; exit 1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$work/$target.log")
    echo "$target: $executions inputs in $seconds s ($rate/s), $(ls "$work/corpus/$target" | wc -l) kept, no fault"
done
