#!/usr/bin/env bash
# The manual page and bash's completion: what they say is what the command takes.
# $1: the mla command.
set -uo pipefail
. "$(dirname "$0")/../support/command.sh" "$(realpath "$1")"

# the manual
check 0 "" "$mla" help --man
"$mla" help --man >mla.1
for name in $("$mla" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    sed -n "/^\.SS mla $name\$/,/^\.S/p" mla.1 | sed 's/\\-/-/g; s/\\(dq/"/g; s/\\e/\\/g; s/^\\&//' >section
    [ -s section ] || fail "the manual does not have mla $name"
    "$mla" "$name" --help >help
    for option in $(sed -n 's/^  \(--[a-z-]*\) .*/\1/p' help); do
        [ "$option" = --help ] || grep -qx "\.B $option" section || fail "the manual of mla $name does not have $option"
    done
    sed -n '/^Example/,$p' help | grep '^  mla' | head -1 >example
    grep -qxF -- "$(cat example)" section || fail "the manual of mla $name has not its example $(cat example)"
    operands=$(sed -n '1s/.*\[OPTION\]\.\.\. *//p' help)
    [ -z "$operands" ] || grep -qxF -- "$operands" section || fail "the manual of mla $name does not name $operands"
    switch=$(sed -n 's/^  \(--[a-z-]*\) .*/\1/p' <(grep -v '(.*)$' help) | head -1) # takes no value
    [ "${switch:---help}" = --help ] || grep -A1 -xF ".B $switch" section | tail -1 | grep -qv '(.*default.*)$' || fail "$name $switch has a value"
done
grep -qx '\.B optim\.weight\\-decay\|\.B optim\.weight_decay' mla.1 || fail "the manual does not have optim.weight_decay"
grep -q '[^ -~]' mla.1 && fail "the manual has bytes beyond ASCII: $(grep -m1 '[^ -~]' mla.1)"
if command -v groff >/dev/null; then
    printed=$(groff -man -Tutf8 -ww -z mla.1 2>&1)
    [ -z "$printed" ] || fail "groff warns: $printed"
fi
if command -v mandoc >/dev/null; then
    printed=$(mandoc -T lint -W warning mla.1 2>&1 | grep -v 'missing date') # it has none: builds repeat
    [ -z "$printed" ] || fail "mandoc warns: $printed"
fi

# completion, by bash's own machinery: completes EXPECTED WORD... has all words of the line, the last being completed
"$mla" help --completion >completion.bash
. ./completion.bash || fail "bash cannot read it"
complete -p mla | grep -q "_mla" || fail "it completes nothing: $(complete -p mla)"
mkdir -p bin/../share/mla/recipes runs/first data
touch share/mla/recipes/quickstart.yaml share/mla/recipes/chat.yaml "my recipe.yaml" data/texts.jsonl
ln -s "$mla" bin/mla
PATH=$folder/bin:$PATH
completes() {
    local expected=$1 reply
    shift
    COMP_WORDS=(mla "$@")
    COMP_CWORD=$#
    COMP_LINE="mla $*"
    COMP_POINT=${#COMP_LINE}
    local word=${COMP_WORDS[COMP_CWORD]}
    _mla mla "$word" "${COMP_WORDS[COMP_CWORD - 1]}"
    reply=$(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd'|')
    [[ $reply == $expected ]] || fail "mla $*: completes to $reply, not to $expected"
}
completes "finetune|forecast" f
completes "train" tr
completes "recipe" help rec
completes "--resume" train --re
completes "--set" bench --se
completes "quickstart" train quick
completes "chat|completion.bash" train c
completes "my recipe.yaml" train my
completes "step" bench st
completes "share|show" data sh
completes "share|show" data --json sh
completes "runs/first" train --resume runs/
completes "optim.weight_decay=" train --set optim.wei
completes "auto|bf16|f32" train --set train.precision = ""
completes "latent|multi_head" train --set model.attention = ""
completes "bf16" train --set train.precision = b
completes "auto|bf16|f32" train --set train.precision =
completes "false|true" train --set optim.shard = ""
completes "runs/first" train --set finetune.base = runs/
completes "data/texts.jsonl" prepare --json data/
completes "text" prepare --format te
completes "text" prepare --format = te
for name in $("$mla" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    completes "*" "$name" --
    for option in "${COMPREPLY[@]}"; do
        [ "$option" = --help ] || "$mla" "$name" --help | grep -q "^  $option " || fail "mla $name has no $option"
    done
    [ ${#COMPREPLY[@]} -eq $(("$("$mla" "$name" --help | grep -c '^  --')")) ] || fail "mla $name: not all options: ${COMPREPLY[*]}"
done
finish
