#!/usr/bin/env bash
# Saves beside training under gcc's thread sanitizer: no report may come. Builds into a folder of its own.
#     tests/faults/threads.sh [BUILD-FOLDER]
# One OpenMP thread, as libgomp's barriers are unknown to the sanitizer and look like races; what is looked at is the
# thread that writes and the one that gives signs of life. On 2 ranks, memory is shared with OpenMPI, which is not built
# for the sanitizer either: what is touched from within it is left out there, and not on one rank.
set -uo pipefail
source=$(realpath "$(dirname "$0")/../..")
build=$(realpath -m "${1:-$source/build-threads}")
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
cmake -S "$source" -B "$build" -DMLA_TESTS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS="-fsanitize=thread -O1" >/dev/null &&
    cmake --build "$build" --parallel 2 --target mla_command test_saver test_h5 >/dev/null || { echo "cannot be built"; exit 1; }
mla=$build/mla
. "$source/tests/faults/runs.sh"
. "$source/tests/support/ranks.sh"
fixed=(setarch -R) # the sanitizer of gcc 12 wants addresses where old kernels put them
reports=0
# watched COMMAND...: 0 where it ends well; counts reports.
watched() {
    local code found
    TSAN_OPTIONS="exitcode=66 ${TSAN_OPTIONS:-}" "$@" >printed 2>&1
    code=$?
    found=$(grep -c "WARNING: ThreadSanitizer" printed)
    reports=$((reports + found))
    [ $code -eq 0 ] && [ "$found" -eq 0 ] || fail "$*: exit code $code, $found reports: $(head -n 40 printed)"
}

beside=(--set checkpoint.background=true --set checkpoint.every=1)
watched "${fixed[@]}" "$build/tests/test_saver"
watched "${fixed[@]}" "$build/tests/test_h5"
watched "${fixed[@]}" "$mla" train tiny.yaml "${beside[@]}" --out alone
watched "${fixed[@]}" "$mla" train --resume alone --set train.steps=50
export TSAN_OPTIONS=ignore_noninstrumented_modules=1
for shard in false true; do
    watched "${fixed[@]}" mpirun -n 2 "$mla" train tiny.yaml "${beside[@]}" --set optim.shard=$shard --out ranks-$shard
done
echo "$reports reports of the thread sanitizer in 6 runs: $failures failures"
[ $failures -eq 0 ]
