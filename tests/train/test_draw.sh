#!/usr/bin/env bash
# mla draw from outside: pictures are whole SVG and PNG files of either theme, their figures are those of mla info.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

tiny_run run data.synthetic.tokens=4000 data.synthetic.vocabulary=16
tiny_run heads data.synthetic.tokens=4000 data.synthetic.vocabulary=16 model.attention=multi_head
tiny_run still data.synthetic.tokens=4000 data.synthetic.vocabulary=16 model.position=none model.qk_rope_head_dim=0

# figures PICTURE MODEL: what is drawn, a key a line.
figures() { "$mla" draw "$1" "$2" --json | tr '{}[]' '\n' | tr ',' '\n'; }
# line_of NAME KEY: the figure KEY of the part whose name begins with NAME, of a picture's JSON on standard input.
line_of() { tr '{' '\n' | grep "\"name\":\"$1" | head -n 1 | value "$2"; }
# same WHAT A B: two figures are one.
same() { [ -n "$2" ] && [ "$2" = "$3" ] || fail "$1: $2, not $3"; }

# Every picture, either format, either theme.
for picture in cache compare rope; do
    for theme in light dark; do
        check 0 "" "$mla" draw $picture run --out $picture.svg --theme $theme
        grep -q '</svg>' $picture.svg || fail "$picture.svg has no end"
        check 0 "" "$mla" draw $picture run --out $picture-$theme.png --theme $theme
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
finish
