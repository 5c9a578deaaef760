#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: as they are, under the address and undefined-behaviour
# sanitizers, and from outside with an installed copy. Ends with the names of those that failed, each with the file that
# keeps what it printed, and "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja} OMP_WAIT_POLICY=passive # tests share the cores
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
passed=0
failed=() # a line each

# build FOLDER [OPTION]...: counts as a failed test where it fails.
build() {
    local folder=$1
    shift
    echo "== build $folder"
    rm -rf "$folder/Testing/failed"
    mkdir -p "$folder/Testing/failed"
    cmake -S . -B "$folder" -DMLA_TESTS=ON "$@" >"$log" 2>&1 && cmake --build "$folder" --parallel "$(nproc)" >"$log" 2>&1 &&
        return
    tail -n 100 "$log"
    cp "$log" "$folder/Testing/failed/build.log"
    failed+=("$folder: it cannot be built; see $folder/Testing/failed/build.log")
    return 1
}

# printed_by TEST FOLDER: what it printed when ctest ran it.
printed_by() {
    awk -v test="$1" '$2 == "Testing:" { own = $3 == test } own' "$2/Testing/Temporary/LastTest.log"
}

# suite FOLDER: the tests that were built there.
suite() {
    echo "== tests in $1"
    ctest --test-dir "$1" --parallel 2 --no-tests=error --output-on-failure </dev/null 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]} before=${#failed[@]}
    local name why bad all
    while read -r _ _ name why; do
        printed_by "$name" "$1" >"$1/Testing/failed/$name.log"
        failed+=("$1: $name $why; see $1/Testing/failed/$name.log")
    done < <(sed '1,/^The following tests FAILED:/d' "$log" | grep -E '^[[:space:]]*[0-9]+ - ')
    read -r bad all < <(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log")
    [ "$((code != 0))" -eq "$((${bad:-1} != 0))" ] && [ "${bad:-1}" -eq $((${#failed[@]} - before)) ] ||
        failed+=("$1: ctest itself, with exit code $code")
    passed=$((passed + ${all:-0} - ${bad:-0}))
}

# outside FOLDER: its installed copy, see tests/consumer.
outside() {
    echo "== installed from $1"
    tests/consumer/run.sh "$1" </dev/null 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]} before=${#failed[@]} name
    cp "$log" "$1/Testing/failed/installed.log"
    while read -r name; do
        failed+=("installed from $1: $name; see $1/Testing/failed/installed.log")
    done < <(sed -n 's/^FAILED: //p' "$log")
    [ "$code" -eq 0 ] || [ ${#failed[@]} -gt "$before" ] ||
        failed+=("installed from $1: it cannot be installed; see $1/Testing/failed/installed.log")
    passed=$((passed + $(grep -c '^passed: ' "$log")))
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
train/install-packages.sh || failed+=("train/install-packages.sh")
train/install-packages.sh clang-format-14 || failed+=("train/install-packages.sh clang-format-14")
build build && suite build && outside build
build build-sanitize -DMLA_SANITIZE=ON && suite build-sanitize
[ ${#failed[@]} -eq 0 ] || printf 'FAILED: %s\n' "${failed[@]}"
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] && [ "$passed" -gt 0 ]
