#!/usr/bin/env bash
# tests/run.sh counts what passed and what failed, names what failed and keeps its output; in a project of its own, with
# tests that take no time.
set -uo pipefail
tests=$(realpath "$(dirname "$0")/..")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
unset CTEST_PARALLEL_LEVEL CTEST_OUTPUT_ON_FAILURE
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}
# project LINE...: one with these CMake commands; `installed` is what its installed copy prints.
project() {
    rm -rf project
    mkdir -p project/tests/consumer project/train
    cp "$tests/run.sh" project/tests/
    printf '#!/bin/sh\n' >project/train/install-packages.sh
    printf '#!/bin/sh\n%s\n' "$installed" >project/tests/consumer/run.sh
    chmod +x project/train/*.sh project/tests/consumer/run.sh
    printf '%s\n' 'cmake_minimum_required(VERSION 3.25)' 'project(small LANGUAGES NONE)' 'enable_testing()' "$@" >project/CMakeLists.txt
}
# ends CODE LINE...: how run.sh ends.
ends() {
    local code=$1 status
    shift
    bash project/tests/run.sh >printed 2>&1
    status=$?
    [ $status -eq "$code" ] || fail "exit code $status, not $code: $(cat printed)"
    [ "$(tail -n $# printed)" = "$(printf '%s\n' "$@")" ] || fail "ends otherwise than by $*: $(cat printed)"
}

good='add_test(NAME good COMMAND true)'
installed='echo "passed: command"; echo "passed: headers"'
project "$good" 'add_test(NAME better COMMAND true)'
ends 0 "6 passed, 0 failed"

bad='add_test(NAME bad COMMAND sh -c "echo the reason; exit 1")'
slow='add_test(NAME slow COMMAND sleep 60)
set_tests_properties(slow PROPERTIES TIMEOUT 0.1)
add_test(NAME crash COMMAND sh -c "echo first; kill -SEGV \$\$")'
installed='echo "passed: command"; echo "FAILED: headers: cc x.h"; exit 1'
project "$bad" "$good" 'if(MLA_SANITIZE)' "$slow" 'endif()'
ends 1 "FAILED: build: bad (Failed); see build/Testing/failed/bad.log" \
    "FAILED: installed from build: headers: cc x.h; see build/Testing/failed/installed.log" \
    "FAILED: build-sanitize: bad (Failed); see build-sanitize/Testing/failed/bad.log" \
    "FAILED: build-sanitize: slow (Timeout); see build-sanitize/Testing/failed/slow.log" \
    "FAILED: build-sanitize: crash (SEGFAULT); see build-sanitize/Testing/failed/crash.log" "3 passed, 5 failed"
grep -qx "the reason" project/build/Testing/failed/bad.log || fail "the output is not kept: $(cat project/build/Testing/failed/*)"
grep -qx "first" project/build-sanitize/Testing/failed/crash.log || fail "the output of a crash is not kept"
grep -q "the reason" project/build-sanitize/Testing/failed/crash.log && fail "the output of others is kept as well"

# what failed once, and passes now, is named no more
installed='exit 1'
sed -i 's/exit 1/exit 0/' project/CMakeLists.txt
printf '#!/bin/sh\nexit 1\n' >project/tests/consumer/run.sh
sed -i '/^if/,$d' project/CMakeLists.txt
ends 1 "FAILED: installed from build: it cannot be installed; see build/Testing/failed/installed.log" "4 passed, 1 failed"
[ ! -e project/build/Testing/failed/bad.log ] || fail "a test that passes has kept its failure"

project "$good" 'if(MLA_SANITIZE)' 'message(FATAL_ERROR "no compiler")' 'endif()'
ends 1 "FAILED: installed from build: it cannot be installed; see build/Testing/failed/installed.log" \
    "FAILED: build-sanitize: it cannot be built; see build-sanitize/Testing/failed/build.log" "1 passed, 2 failed"
grep -q "no compiler" project/build-sanitize/Testing/failed/build.log || fail "the output of the build is not kept"

installed='echo "passed: command"'
project 'if(NOT MLA_SANITIZE)' "$good" 'endif()'
ends 1 "FAILED: build-sanitize: ctest itself, with exit code 8" "2 passed, 1 failed"
[ $failures -eq 0 ]
