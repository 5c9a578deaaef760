#!/usr/bin/env bash
# mla draw from outside: pictures are whole SVG and PNG files of either theme, their figures are those of mla info.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"
fonts_keep_memory

texts texts
tiny_run run data.source=texts data.tokenizer=bpe data.vocab_size=300 data.held_out=0.2
tiny_run heads data.source=texts data.tokenizer=bpe data.vocab_size=300 model.attention=multi_head
tiny_run still data.synthetic.tokens=4000 data.synthetic.vocabulary=16 model.position=none model.qk_rope_head_dim=0

# line_of NAME KEY: the figure KEY of the part whose name begins with NAME, of a picture's JSON on standard input.
line_of() { tr '{' '\n' | grep "\"name\":\"$1" | head -n 1 | value "$2"; }
# same WHAT A B: two figures are one.
same() { [ -n "$2" ] && [ "$2" = "$3" ] || fail "$1: $2, not $3"; }

# Every picture, either format, either theme.
sentence=(--text 'Größe, 水 und Wörter')
for picture in cache flow compare rope spectrum attention; do
    text=()
    [ $picture != attention ] || text=("${sentence[@]}")
    for theme in light dark; do
        check 0 "" "$mla" draw $picture run --out $picture.svg --theme $theme "${text[@]}"
        grep -q '</svg>' $picture.svg || fail "$picture.svg has no end"
        check 0 "" "$mla" draw $picture run --out $picture-$theme.png --theme $theme "${text[@]}"
        [ "$(head -c 8 $picture-$theme.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || fail "$picture-$theme.png is no PNG"
    done
    cmp -s $picture-light.png $picture-dark.png && fail "$picture: light and dark are one"
    ! grep -qE '(href|url)="?http' $picture.svg || fail "$picture.svg asks for something from elsewhere"
done

# The figures are those of mla info.
for model in run heads; do
    "$mla" info $model --json >info.json
    "$mla" draw cache $model --json >cache.json
    "$mla" draw compare $model --json >compare.json
    bytes=$(value cache_bytes_per_token <info.json) all=$(value multi_head_cache_bytes_per_token <info.json)
    own=MLA && [ $model = run ] || own=MHA
    same "$model: cache" "$(line_of $own bytes_per_token <cache.json)" "$bytes"
    same "$model: MHA's cache" "$(line_of MHA bytes_per_token <cache.json)" "$all"
    same "$model: cache" "$(line_of $own cache_bytes_per_token <compare.json)" "$bytes"
    same "$model: parameters" "$(line_of $own parameters <compare.json)" "$(value parameters <info.json)"
    same "$model: which is it" "$(line_of $own this_model <cache.json)" true
done

# Models of all kinds: a file of recipe, and what the picture of its RoPE must have.
while read -r name model; do
    echo "{model: {hidden_size: 64, num_hidden_layers: 3, num_attention_heads: 4, vocab_size: 99, $model}, data: {source: texts}, train: {steps: 1, sequence: 64}}" >"$name.yaml"
    for picture in cache flow compare rope; do check 0 "" "$mla" draw $picture "$name.yaml" --out odd.svg; done
done <<'KINDS'
ranks kv_lora_ranks: [7, 9, 20], kv_lora_rank: 20, qk_nope_head_dim: 16, qk_rope_head_dim: 8
normed kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, qk_norm: true, head_dim: 16, num_key_value_heads: 2
odd_heads kv_lora_rank: 20, qk_nope_head_dim: 15, qk_rope_head_dim: 8
groups attention: multi_head, num_key_value_heads: 2, qk_norm: true
narrow attention: multi_head, head_dim: 2
longrope attention: multi_head, rope_scaling: {type: longrope, factor: 2, original_max_position_embeddings: 512, short_factor: [1, 1, 1, 1, 1, 1, 1, 1], long_factor: [1, 1, 1, 1, 1, 1, 1, 4]}, max_position_embeddings: 1024
KINDS
check 0 '"wavelength_in_long_texts":79476' "$mla" draw rope longrope.yaml --json
echo '{model: {causal: false, vocab_size: 99}, data: {source: texts}, train: {steps: 1}}' >both.yaml
check 2 "a model with causal: false caches nothing" "$mla" draw cache both.yaml --json
check 0 '"decode_flops":null' "$mla" draw compare both.yaml --json

# The flow: what goes in and out of each matrix, as mla info --params has them; FLOPs of T = 32 tokens.
"$mla" draw flow run --json --tokens 32 >flow.json
for matrix in 'q_proj 40 32' 'kv_a_proj_with_mqa 12 32' 'kv_b_proj 48 8' 'o_proj 32 16'; do
    read -r name rows columns <<<"$matrix"
    grep -qF "{\"out\":$rows,\"in\":$columns,\"name\":\"$name\"}" flow.json || fail "flow: $name is not $rows x $columns"
    grep -q "self_attn.$name.weight  *$rows x $columns " <("$mla" info run --params) || fail "info: $name is not $rows x $columns"
done
same "FLOPs of the queries" "$(line_of queries flops <flow.json)" $((2 * 32 * 40 * 32)).0
same "FLOPs of the up-projection" "$(line_of keys flops <flow.json)" $((2 * 32 * 48 * 8)).0
same "a time that was not measured" "$(line_of queries ms <flow.json)" null
"$mla" draw flow mha-small --json | grep -q '"name":"latent"' && fail "flow: multi-head attention has a latent"
"$mla" draw flow run --json --measure --tokens 16 >flow.json
near "$(line_of output error_bf16 <flow.json)" 0.015 0.0149 || fail "flow: the error of bf16 is $(line_of output error_bf16 <flow.json)"
near "$(line_of keys ms <flow.json)" 500 499.9999 || fail "flow: the keys took $(line_of keys ms <flow.json) ms"

# RoPE: theta^(-2i/R), R = 4; the key is turned beside 16 dimensions that are not.
"$mla" draw rope run --json >rope.json
grep -qF '"pairs":[{"dimensions":[16,17],"wavelength":6.2831' rope.json || fail "rope: the first pair: $(cat rope.json)"
grep -qF '{"dimensions":[18,19],"wavelength":628.31' rope.json || fail "rope: the second pair: $(cat rope.json)"

# The latents of what the run held out, by itself or named by the recipe: 8 values a layer, from the largest down.
tiny_run named data.tokens=run/tokens.h5
for model in run named; do
    "$mla" draw spectrum $model --json >spectrum.json
    grep -o '"singular_values":\[[^]]*' spectrum.json | tr -d '[' | cut -d: -f2 | awk -F, '
        { for (i = 2; i <= NF; i++) if (!($i > 0 && $i <= $(i - 1))) wrong = 1; if (NF != 8) wrong = 1 }
        END { exit wrong || NR != 2 }' || fail "spectrum of $model: $(cat spectrum.json)"
    same "tokens that $model held out" "$(value tokens <spectrum.json)" "$(sed -n 's/.*"held_out":{[^}]*"tokens":\([0-9]*\).*/\1/p' <("$mla" info run/tokens.h5 --json))"
done

# Weights of attention are shares, of what causal attention sees; a token's text is that of the tokenizer.
"$mla" draw attention run "${sentence[@]}" --layer 1 --head 1 --json >attention.json
grep -o '\[[0-9.e,-]*\]' attention.json | tr -d '[]' | awk -F, '
    { sum = 0; for (i = 1; i <= NF; i++) sum += $i; if (sum < 0.999999 || sum > 1.000001 || NF != NR) wrong = 1 }
    END { exit wrong || NR < 5 }' || fail "attention: rows are no shares: $(cat attention.json)"
grep -q '"tokens":\["G","r.*"·水"' attention.json || fail "attention: the tokens are $(head -c 300 attention.json)"
maps=$("$mla" draw attention run "${sentence[@]}" --json | grep -o '"head":' | wc -l)
same "maps of 2 layers of 2 heads" "$maps" 4

# Bad input.
check 2 "there is no picture cash: use one of cache, flow, compare, rope, spectrum, attention" "$mla" draw cash run --json
check 2 "draw needs --out FILE.svg or FILE.png, or --json" "$mla" draw cache run
check 2 "--out cache.pdf: a picture is FILE.svg or FILE.png" "$mla" draw cache run --out cache.pdf
check 1 "nowhere/cache.svg" "$mla" draw cache run --out nowhere/cache.svg
check 2 "no file of this name, and no recipe" "$mla" draw cache nothing --json
check 2 "which has no latent" "$mla" draw spectrum heads --text texts --json
cp run/step-00000003.h5 alone.h5
check 2 "alone.h5: there is no tokens.h5 beside it" "$mla" draw spectrum alone.h5 --json
check 2 "there is no tokens.h5" "$mla" draw spectrum still --json
check 2 "its position is none" "$mla" draw rope still --json
check 2 "made of trained weights" "$mla" draw spectrum mla-small --json
check 2 "has no tokenizer" "$mla" draw attention still --text some --json
check 2 "give one with --text" "$mla" draw attention run --json
check 2 "made of no text" "$mla" draw cache run --text some --json
check 2 "--layer 2: run has layers 0 to 1" "$mla" draw attention run --text some --layer 2 --json
check 2 "--head 9: run has heads 0 to 1" "$mla" draw attention run --text some --head 9 --json
check 2 "--layer 2: run has layers 0 to 1" "$mla" draw flow run --layer 2 --json
check 2 "--tokens 65: the model has 64 positions" "$mla" draw flow run --tokens 65 --json
check 2 "maps of at most 64 can be drawn (the model's max_position_embeddings)" "$mla" draw attention run --text "$(seq 100)" --json
echo short >short.txt
check 2 "need at least as many: give a longer text" "$mla" draw spectrum run --text short.txt --json
[ ! -e cache.pdf ] || fail "a picture of an unknown kind was written"
finish
