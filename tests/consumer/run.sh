#!/usr/bin/env bash
# An installed copy, used from outside: the command, the recipes, every header, the library by CMake and by
# pkg-config.
#     tests/consumer/run.sh BUILD     a folder where the project is built
set -euo pipefail
build=$(realpath "$1")
source=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >/dev/null
cd "$work"
failures=0
check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "passed: $what"
    else
        echo "FAILED: $what: $*"
        cat "$work/log"
        failures=$((failures + 1))
    fi
}

by_cmake() {
    cmake -S "$source" -B by-cmake -DCMAKE_PREFIX_PATH="$prefix" && cmake --build by-cmake && by-cmake/memorise
}
by_pkg_config() {
    local flags
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name mla.pc)")
    export PKG_CONFIG_PATH
    flags=$(pkg-config --cflags --libs mla) || return 1
    cc -std=c17 "$source/memorise.c" $flags -Wl,-rpath,"$(pkg-config --variable=libdir mla)" -o by-pkg-config &&
        ./by-pkg-config
}
headers() {
    local header found=0
    for header in $(cd "$prefix/include/mla" && find . -name '*.h'); do
        found=$((found + 1))
        echo "#include <$header>" | cc -std=c17 -fopenmp -Wall -Wextra -Werror "-I$prefix/include/mla" -fsyntax-only -x c - ||
            return 1
    done
    [ $found -gt 20 ]
}
command_line() {
    [ "$("$prefix/bin/mla" --version | sed -n 's/^\(mla [0-9.]*\).*/\1/p')" = "$(sed -n 's/^project(mla VERSION \([0-9.]*\).*/mla \1/p' "$source/../../CMakeLists.txt")" ]
}
recipes() { # by its name alone; one step on a line of text
    local set=(--set train.steps=1 --set optim.warmup_steps=0 --set train.sequence=16 --set data.source=text --set data.tokenizer=bytes)
    seq 500 >text
    [ "$(ls "$prefix/share/mla/recipes")" = "$(ls "$source/../../train/recipes")" ] &&
        "$prefix/bin/mla" train quickstart "${set[@]}" --out run
}

check "the installed command" command_line
check "the installed recipes" recipes
check "every installed header by itself" headers
check "a program built with find_package(mla)" by_cmake
check "a program built with pkg-config" by_pkg_config
[ $failures -eq 0 ]
