#!/usr/bin/env bash
# How long OpenMP's threads spin while they wait: short, but as the user says where he says something. libgomp shows what
# it has read whenever the process begins.
# $1: the mla command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
unset GOMP_SPINCOUNT OMP_WAIT_POLICY
export OMP_NUM_THREADS=2

# spins COMMAND...: the numbers that it begins with, in their order; nothing without libgomp.
spins() { OMP_DISPLAY_ENV=verbose "$@" 2>&1 | sed -n "s/.*GOMP_SPINCOUNT = '\([0-9]*\)'.*/\1/p" | tr '\n' ' '; }
[ -n "$(spins "$mla" --version)" ] || { echo "not libgomp: nothing to test"; exit 0; }

standard=$(GOMP_SPINCOUNT=300000 spins "$mla" --version)
[ "$(spins "$mla" --version)" = "${standard}2000 " ] || fail "begins with $(spins "$mla" --version), not with 2000 in the end"
[ "$(GOMP_SPINCOUNT=77 spins "$mla" --version)" = "77 " ] || fail "GOMP_SPINCOUNT of the user is not left alone"
[ "$(OMP_WAIT_POLICY=passive spins "$mla" --version)" = "0 " ] || fail "OMP_WAIT_POLICY of the user is not left alone"
[ "$(OMP_NUM_THREADS=1 spins "$mla" --version)" = "$standard" ] || fail "begins again for one thread, which never waits"
[ "$(spins mpirun -n 2 "$mla" --version | tr ' ' '\n' | grep -cx 2000)" -eq 2 ] || fail "not all ranks spin for 2000"

# where it cannot begin again it runs as it is: here its file has been removed
cp "$mla" gone
exec 9<gone
rm gone
check 0 "mla 0." /proc/self/fd/9 --version
[ "$(spins /proc/self/fd/9 --version)" = "$standard" ] || fail "the removed file began again"
exec 9<&-

# the same process, by the same name and with the same words
(exec -a "its name" "$mla" train tiny.yaml --set train.steps=100000 --set "data.source=" --out run) >printed 2>&1 &
while [ ! -s run/metrics.jsonl ] && kill -0 $! 2>/dev/null; do sleep 0.02; done
words=$(tr '\0' ' ' </proc/$!/cmdline)
[ "$words" = "its name train tiny.yaml --set train.steps=100000 --set data.source= --out run " ] || fail "its words: $words"
[ "$(cat /proc/$!/comm)" = "$(basename "$mla")" ] || fail "its name is $(cat /proc/$!/comm)"
grep -qz '^GOMP_SPINCOUNT=2000$' /proc/$!/environ || fail "it has not begun again"
kill -TERM $!
wait $!
[ $? -eq 75 ] || fail "it does not stop as it should: $(cat printed)"
finish
