# For scripts that start several ranks; sourced after `mla` is set.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none

# uneven_batches: tiny.yaml gets a batch that no number of ranks divides evenly, in microbatches that do not fit; buckets
# that cut parameters.
uneven_batches() {
    sed -i 's/batch: 4$/batch: 6/; s/microbatch: 1/microbatch: 2/; s/threads: 1/threads: 1\n  bucket_mb: 0.005\n  verify_every: 10/' tiny.yaml
}

# Where sanitizers are built in: without the search for leaks. OpenMPI keeps memory, in modules that it has unloaded.
export asan_of_ranks="${ASAN_OPTIONS:-}:detect_leaks=0"
# ranks N ARGUMENT...: the command on N ranks.
ranks() {
    local count=$1
    shift
    ASAN_OPTIONS=$asan_of_ranks mpirun -n "$count" "$mla" "$@"
}

# curves_near A B TOLERANCE: the logs have the same steps, with losses that differ by no more, relatively.
curves_near() {
    losses() { sed 's/.*"step": \([0-9]*\),.*"loss": \([^,]*\), "\(lr\|held\|kl\).*/\1 \2/' "$1/metrics.jsonl"; }
    paste -d ' ' <(losses "$1") <(losses "$2") | awk -v t="$3" '
        NF != 4 || $1 != $3 { print "other steps: " $0; bad = 1; exit }
        { d = ($2 - $4) / $2; if (d < 0) d = -d; if (!(d <= t)) { print "step " $1 ": " $2 " and " $4; bad = 1; exit } }
        d > most { most = d } END { if (!NR) bad = 1; printf "%s to %s: %d steps, at most %.1e apart\n", A, B, NR, most; exit bad }' A="$1" B="$2"
}

# pid_of_rank N DIR: the process of a rank of the run in DIR; of this script's runs alone, which are in its folder.
pid_of_rank() {
    local pid
    for pid in $(pgrep -f -- "$2( |\$)"); do
        [ "/proc/$pid/cwd" -ef . ] && grep -qz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$pid/environ" 2>/dev/null && echo "$pid" && return
    done
}

# ranks_here: the processes of all ranks of this script's runs.
ranks_here() {
    local pid
    for pid in $(pgrep -x mla); do [ "/proc/$pid/cwd" -ef . ] && echo "$pid"; done
}

# launcher_ends PROCESS [STOPPED]: waits for `timeout`, or a shell, around mpirun, and returns its exit code. A STOPPED rank
# that is the last one left, since all others had done with the run, is killed: nobody else could. OpenMPI 4.1's mpirun
# with PMIx 4.2 sometimes locks itself up when a rank dies while it starts (pmix_rte_finalize): where all ranks have been
# gone for 5 s it is ended, and counted in `stuck`.
stuck=0
launcher_ends() {
    local since=$SECONDS
    while kill -0 "$1" 2>/dev/null; do
        [ -z "$(ranks_here | grep -vx "${2:-}")" ] || since=$SECONDS
        if [ $((SECONDS - since)) -gt 5 ]; then
            if [ -n "$(ranks_here)" ]; then kill -KILL "$2"; else pkill -KILL -P "$1" mpirun && stuck=$((stuck + 1)); fi
            since=$SECONDS
        fi
        sleep 0.02
    done
    wait "$1" 2>/dev/null
}
