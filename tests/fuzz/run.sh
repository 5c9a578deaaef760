#!/usr/bin/env bash
# Runs the parsers of foreign files under libFuzzer with the address and undefined-behaviour sanitizers.
#
#     tests/fuzz/run.sh [SECONDS [TARGET...]]      60 seconds each; targets: json safetensors index config adapter
#                                              adapter_files recipe text tokens checkpoint tokenizer jinja chat
#
# Prints what each did and ends with 1 at the first crash, leak, hang or broken promise; its input is left in the
# current folder. Needs clang (Debian: clang).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-60}
shift || true
targets=("$@")
[ $# -gt 0 ] || targets=(json safetensors index config adapter adapter_files recipe text tokens checkpoint tokenizer jinja chat)
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
mkdir -p "$work"/seeds/{json,safetensors,index,config,adapter,adapter_files,recipe,text,tokens,checkpoint,tokenizer,jinja,chat}
printf '\xef\xbb\xbf{"a.b": "x\\n\\u00e9\\ud83d\\ude00\\ud83d", "a": {"b": [NaN, -Infinity, 1e999, 12345678901234567890, -0.5e-3]}, "a": {}}' >"$work/seeds/json/1"
printf '{"a": {"b": "\\u0000\xff"}, "c\\u0000": [true, false, null, [[]], {}, "long enough for eight at a time \\\\"]}' >"$work/seeds/json/2"
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
printf '\x03\x00\x02\x03\x01\x00\x05\x06' >"$work/seeds/adapter_files/1"
lora() { # NAME ROWS COLUMNS BEGIN END
    printf '"base_model.model.model.layers.0.%s.weight":{"dtype":"F32","shape":[%d,%d],"data_offsets":[%d,%d]}' "$@"
}
{
    printf '\x00\x10\x01{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj","down_proj"],"bias":"none"}\0{'
    lora mlp.down_proj.lora_A 2 6 0 48 && printf ','
    lora mlp.down_proj.lora_B 8 2 48 112 && printf ','
    lora self_attn.q_proj.lora_A 2 8 112 176 && printf ','
    lora self_attn.q_proj.lora_B 12 2 176 272
    printf '}\0'
} >"$work/seeds/adapter_files/2"
printf 'model:\n  kv_lora_ranks: [8, 4]\n  layer_norm_eps: 1e-5\n  rope_scaling: {rope_type: yarn, factor: 4}\n' >"$work/seeds/recipe/1"
printf "%%YAML 1.1\n---\npaths:\n- a b\n- 'it''s'\n- \"\\u00e9\\n\"\nwords: q_proj kv_b_proj:16\ntext: >-\n  a\n  b\nusual: '~'\n...\n" >"$work/seeds/recipe/2"

packed() { printf "%b" "$1"; printf '{"text": "a b c"}\n{"text": "d"}\n' | "$2"; } # NAME-AND-WAY CODEC: a corpus file
packed '\x03\x00' gzip >"$work/seeds/text/1"
packed '\x04\x02' zstd >"$work/seeds/text/2"
packed '\x05\x10' xz >"$work/seeds/text/3"
packed '\x06\x08' bzip2 >"$work/seeds/text/4"
packed '\x01\x04' cat >"$work/seeds/text/5"
printf '\x02\x10[{"text": "a\\n[}\\u00e9"},\n {"text": "b", "x": [1, {}]}]' >"$work/seeds/text/6"
printf '\x00\x10\xef\xbb\xbfline\nline\n' >"$work/seeds/text/7"
printf '\x01\x02\x03\x04\x05\x06' >"$work/seeds/tokens/1"
printf '\x00\x02\x03\x01\x00\x05\x06' >"$work/seeds/checkpoint/1"
printf '%s' "{{- bos_token }}{%- set ns = namespace(n=0) %}{% for m in messages if m.role != 'x' %}{%- set ns.n = ns.n + loop.index %}{{ m.role ~ ':' + m.content|trim }}{% if m.tool_calls %}{{ m.tool_calls[0].function|tojson(indent=2) }}{% endif %}{% else %}none{% endfor %}" >"$work/seeds/jinja/1"
printf '%s' "{% macro f(a, b='x') %}{{ a }}{{ b[::-1] }}{% endmacro %}{{ f(messages|map(attribute='role')|join(', ')) }}{% set x | upper %}{{ messages[-1].content.split('<')[0] }}{% endset %}{{ x if x is string and not x in ['a'] else 1 / 2 }}" >"$work/seeds/jinja/2"
printf '%s' "{%- for m in messages[::-1] -%}{% generation %}{{ '{} {}'.format(loop.index0, m.n|default(2.5)|round(1)) }}{% endgeneration %}{% if loop.first %}{% continue %}{% endif %}{% break %}{%- endfor -%}{{ strftime_now('%d %b %Y') }}" >"$work/seeds/jinja/3"
printf '%s' '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b<|endoftext|>", "weight": 0}, {"role": "user", "content": "c"}, {"role": "assistant", "content": null, "reasoning": "r", "tool_calls": [{"function": {"name": "f", "arguments": {"k": 1}}}]}], "tools": [{"name": "f"}]}' >"$work/seeds/chat/1"
printf '%s' '{"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "o"}, {"from": "gpt", "value": "b", "train": true}], "chat_template_kwargs": {"tools2": 1}}' >"$work/seeds/chat/2"
printf '%s' '{"instruction": "i", "input": "j", "output": "o"}' >"$work/seeds/chat/3"
printf '%s' '{"q": "i", "a": "j", "prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}' >"$work/seeds/chat/4"

frame='{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s"}},{"Sequence":{"id":"A"}}],"special_tokens":{"s":{"id":"s","ids":[256]}}}]}'
split='{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+|\\p{N}"},"behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]}'
steps='{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"},{"type":"StripAccents"},{"type":"Strip","strip_left":true,"strip_right":true},{"type":"Replace","pattern":{"Regex":"b+"},"content":"c"},{"type":"Replace","pattern":{"String":" "},"content":"_"},{"type":"Prepend","prepend":"_"}]}'
added='[{"id":256,"content":"<s>","special":true},{"id":257,"content":"\u00e9x","normalized":true,"lstrip":true},{"id":300,"content":"<a>","rstrip":true,"single_word":true}]'
printf '%s\0%s\0%s\0%s\0\0text <s> \303\251x b e\314\201 \377 <a> 12' "$steps" "$split" "$frame" "$added" >"$work/seeds/tokenizer/1"
printf '{"type":"NFC"}\0\0%s\0\0\0a\314\243\314\201 \341\204\200\341\205\241' '{"type":"BertProcessing","sep":["D",68],"cls":["C",67]}' >"$work/seeds/tokenizer/2"

decoders='{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}'
metaspace='{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}'
printf 'null\0%s\0null\0[{"id":256,"content":"</s>","special":true}]\0%s\0a ab </s>\303\251 \377x' "$metaspace" "$decoders" >"$work/seeds/tokenizer/3"
printf '{"type":"Replace","pattern":{"String":" "},"content":"▁"}\0{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":true}\0null\0[]\0{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}\0 a b' >"$work/seeds/tokenizer/4"

# Without MPI; the kinds of layers that a configuration names bring the engine along.
sources=($(cd "$root" && find autograd layers data optim train/hugging_face/families -name '*.c') train/checkpoint/checkpoint{,_save}.c
         train/hugging_face/{model_config,quantized}.c train/adapter/{adapter,adapter_config,adapter_head,adapter_targets,base,pattern}.c tests/fuzz/edits.c)
hdf5=($(pkg-config --cflags hdf5))
flags=(-std=gnu17 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-unknown-pragmas -I. "${hdf5[@]}"
       -idirafter "$(dirname "$(gcc -print-file-name=include/omp.h)")")
mkdir "$work/objects"
(cd "$root" && printf '%s\n' "${sources[@]}" | xargs -P 2 -I {} sh -c 'out=$1/objects/$(echo "$2" | tr / _).o; shift 2
    exec clang -c -fsanitize=fuzzer-no-link "$@" -o "$out"' sh "$work" {} {} "${flags[@]}")
for target in "${targets[@]}"; do
    (cd "$root" && clang -fsanitize=fuzzer "${flags[@]}" "tests/fuzz/fuzz_$target.c" "$work"/objects/*.o $(pkg-config --libs hdf5) -ljansson \
        -lxxhash -lpcre2-8 -lutf8proc -lyaml -lz -lzstd -llzma -lbz2 -ldnnl -l:libgomp.so.1 -lm -o "$work/$target")
    mkdir -p "$work/corpus/$target"
    "$work/$target" -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 \
        -verbosity=0 -use_value_profile=1 -artifact_prefix="$PWD/$target-" -dict="$root/tests/fuzz/$([ "$target" = jinja ] && echo jinja || echo json).dict" "$work/corpus/$target" \
        "$work/seeds/$target" >"$work/$target.log" 2>&1 || { tail -40 "$work/$target.log"; exit 1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$work/$target.log")
    echo "$target: $executions inputs in $seconds s ($rate/s), $(ls "$work/corpus/$target" | wc -l) kept, no fault"
done
