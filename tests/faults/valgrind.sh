#!/usr/bin/env bash
# Small runs on 2 ranks under valgrind: no error, and nothing lost, but within OpenMPI and oneDNN.
#     tests/faults/valgrind.sh build/mla
# oneDNN keeps to SSE there: valgrind knows no AVX-512, and takes fused multiplications one by one.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"
export GOMP_SPINCOUNT=1000 # otherwise mla begins again to set it, without valgrind
command -v valgrind >/dev/null || { fail "valgrind is not installed: apt-get install valgrind"; exit 1; }
suppressions=("--suppressions=$here/valgrind.supp")
for file in /usr/share/openmpi/openmpi-valgrind.supp "${MPI_HOME:-/nowhere}/share/openmpi/openmpi-valgrind.supp"; do
    [ -e "$file" ] && suppressions+=("--suppressions=$file")
done
check_memory=(valgrind --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect
    --errors-for-leak-kinds=definite,indirect --num-callers=60 --log-file=valgrind.%p "${suppressions[@]}")
few=(--set train.steps=3 --set train.eval_every=2 --set checkpoint.every=1 --set train.comm_timeout=600)
errors=0
# watched N OPTION...
watched() {
    local n=$1 code found
    shift
    rm -f valgrind.*
    DNNL_MAX_CPU_ISA=SSE41 mpirun -n "$n" --mca btl tcp,self "${check_memory[@]}" "$mla" train "$@" >printed 2>&1
    code=$?
    found=$(sed -n 's/.*ERROR SUMMARY: \([0-9]*\) errors.*/\1/p' valgrind.* | awk '{ s += $1 } END { print s + 0 }')
    errors=$((errors + found))
    [ $code -eq 0 ] && [ "$found" -eq 0 ] && [ "$(ls valgrind.* | wc -l)" -ge "$n" ] ||
        fail "$*: exit code $code, $found errors: $(head -n 60 valgrind.*) $(tail -n 5 printed)"
}
watched 2 tiny.yaml "${few[@]}" --out plain
watched 2 tiny.yaml "${few[@]}" --set optim.shard=true --set checkpoint.background=true --out shard
watched 2 --resume shard --set train.steps=5
watched 2 tiny.yaml "${few[@]}" --set train.reduce=bf16 --set train.precision=f32 --out half
echo "$errors errors of valgrind in 4 runs on 2 ranks: $failures failures"
[ $failures -eq 0 ]
