#!/usr/bin/env bash
# tests/house/format.sh finds what is laid out otherwise, mends it, and says what is missing.
set -uo pipefail
house=$(realpath "$(dirname "$0")")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}
# check CODE WORDS COMMAND...: the command ends with CODE and prints WORDS.
check() {
    local code=$1 words=$2 printed status
    shift 2
    printed=$("$@" 2>&1)
    status=$?
    [ $status -eq "$code" ] && [[ $printed == *"$words"* ]] || fail "$*: exit code $status, printed: $printed (expected: $words)"
}

mkdir -p tree/autograd tree/tests
cp "$house/../../.clang-format" tree
cat >good.c <<'END'
#include "autograd/tensor.h"

#include <stdio.h>

static int sign(double x) { return x < 0 ? -1 : x > 0; }

void scale(int64_t count, float *x, float factor) {
    #pragma omp parallel for schedule(static) if (count > 1000)
    for (int64_t i = 0; i < count; i++) {
        if (!x[i]) x[i] = factor;
        else x[i] *= factor;
    }
}
END
cp good.c tree/autograd/good.c
cp good.c tree/tests/good.c
check 0 "" bash "$house/format.sh" tree

# spoil EXPRESSION: one file, changed by sed, is found and mended.
spoil() {
    sed "$1" good.c >tree/tests/good.c
    cmp -s good.c tree/tests/good.c && fail "$1 changes nothing"
    check 1 "1 files are not formatted; remedy: tests/house/format.sh --fix" bash "$house/format.sh" tree
    check 0 "" bash "$house/format.sh" --fix tree
    cmp good.c tree/tests/good.c || fail "$1 is not mended"
    cmp good.c tree/autograd/good.c || fail "a file that was right has changed"
}
spoil 's/^    for/  for/'
spoil 's/^    #pragma/#pragma/'
spoil 's/^    #pragma/            #pragma/'
spoil 's/factor;/factor ;/'
spoil 's/) x\[i\] = /)\n            x[i] = /'

# another version, or none
mkdir bin
for tool in bash cat cmp cp diff dirname find mktemp rm sed sort; do ln -s "$(command -v $tool)" bin/; done
check 1 "clang-format 14 is needed, and none is here: train/install-packages.sh clang-format-14 installs it" \
    env PATH="$PWD/bin" bash "$house/format.sh" tree
printf '#!/bin/sh\necho "Debian clang-format version 15.0.6"\n' >bin/clang-format
chmod +x bin/clang-format
check 1 "clang-format 14 is needed, and 15 is here" env PATH="$PWD/bin" bash "$house/format.sh" tree
rm -r tree/autograd tree/tests
check 1 "no sources" bash "$house/format.sh" tree

# ---- the project itself
check 0 "" bash "$house/format.sh"

[ $failures -eq 0 ]
