#!/usr/bin/env bash
# tests/house/structure.sh finds what it should, in small trees, and nothing else.
set -uo pipefail
structure=$(realpath "$(dirname "$0")/structure.sh")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}
# source_file FILE HEADER...: a file below `tree` that includes these.
source_file() {
    local file=tree/$1
    shift
    mkdir -p "$(dirname "$file")"
    [ $# -eq 0 ] || printf '#include "%s"\n' "$@" >>"$file"
    echo '#include <stdio.h>' >>"$file"
}
# A tree with nothing wrong: 16 sources in layers, and arrows from one folder to another, up and down, one way each.
begin() {
    rm -rf tree
    source_file autograd/tensor.h
    source_file autograd/tensor.c autograd/tensor.h autograd/tensor_internal.h
    source_file autograd/tensor_internal.h autograd/tensor.h
    source_file autograd/tensor_print.c autograd/tensor.h autograd/tensor_internal.h
    for i in $(seq 16); do
        source_file layers/layer$i.h autograd/tensor.h
        source_file layers/layer$i.c layers/layer$i.h layers/layer$((i / 2)).h
    done
    source_file layers/norms/rms.h layers/layer1.h
    source_file train/commands/train.h layers/norms/rms.h
    source_file train/main.c train/commands/train.h autograd/tensor.h
}
# right: the tree is right. wrong LINE...: it is not, and these lines are among those that say why.
right() { said=$(bash "$structure" tree 2>&1) && [ -z "$said" ] || fail "$1: $said"; }
wrong() {
    local line
    said=$(bash "$structure" tree 2>&1) && fail "not found: $1"
    for line in "$@"; do grep -qxF -- "$line" <<<"$said" || fail "not said: $line; but: $said"; done
}
circles() { [ "$(grep -c '^a circle of ' <<<"$said")" -eq "$1" ] || fail "not $1 circles: $said"; }

begin
right "a tree without circles"

begin
source_file autograd/tensor.h layers/layer1.h # which others include, without being part of the circle
wrong "a circle of files: autograd/tensor layers/layer1" "    layers/layer1 -> autograd/tensor: 1 include" \
    '        layers/layer1.h:1: #include "autograd/tensor.h"' "a circle of folders: autograd layers"
circles 2

begin
source_file layers/layer9.c layers/layer10.h
source_file layers/layer10.h layers/layer11.h
source_file layers/layer11.c layers/layer9.h
wrong "a circle of files: layers/layer10 layers/layer11 layers/layer9" \
    '        layers/layer9.c:4: #include "layers/layer10.h"' '        layers/layer10.h:3: #include "layers/layer11.h"' \
    '        layers/layer11.c:4: #include "layers/layer9.h"'
circles 1

begin
source_file autograd/tensor_internal.h autograd/print.h
source_file autograd/print.c autograd/tensor_internal.h
source_file autograd/print.h
wrong "a circle of files: autograd/print autograd/tensor"
circles 1

begin
source_file data/text.c optim/adamw.h
source_file data/bytes.h
source_file optim/adamw.h
source_file optim/clip.c data/bytes.h
wrong "a circle of folders: data optim" '        data/text.c:1: #include "optim/adamw.h"'
circles 1

begin
source_file train/commands/eval.c train/arguments.h
source_file train/arguments.h
wrong "a circle of folders: train train/commands"
circles 1

begin
source_file layers/layer17.h
wrong "layers has 17 sources, at most 16: move those that belong together into a folder below it"
circles 0

rm -r tree
mkdir tree
wrong "$PWD/tree: no sources in autograd, layers, optim, data, train"

# ---- the project itself
bash "$structure" || fail "the project's own sources"

[ $failures -eq 0 ]
