#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: as they are, under the address and undefined-behaviour
# sanitizers, and from outside with an installed copy. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja} OMP_WAIT_POLICY=passive # tests share the cores
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0

# build FOLDER [OPTION]...: counts as a failed test where it fails.
build() {
    local folder=$1
    shift
    echo "== build $folder"
    cmake -S . -B "$folder" -DMLA_TESTS=ON "$@" >"$log" 2>&1 && cmake --build "$folder" --parallel "$(nproc)" >"$log" 2>&1 &&
        return
    tail -n 100 "$log"
    failed=$((failed + 1))
    return 1
}

# suite FOLDER: the tests that were built there.
suite() {
    echo "== tests in $1"
    ctest --test-dir "$1" --parallel 2 --no-tests=error --output-on-failure </dev/null 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]}
    local bad all
    read -r bad all < <(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log")
    [ -n "${all:-}" ] && [ "$((code != 0))" -eq "$((bad != 0))" ] || { bad=1 all=${all:-1}; } # ctest itself failed
    passed=$((passed + all - bad)) failed=$((failed + bad))
}

# outside FOLDER: its installed copy, see tests/consumer.
outside() {
    echo "== installed from $1"
    tests/consumer/run.sh "$1" </dev/null 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]}
    local bad
    bad=$(grep -c '^FAILED: ' "$log")
    [ "$code" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + $(grep -c '^passed: ' "$log"))) failed=$((failed + bad))
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
train/install-packages.sh || failed=1
build build && suite build && outside build
build build-sanitize -DMLA_SANITIZE=ON && suite build-sanitize
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
