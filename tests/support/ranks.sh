# For scripts that start several ranks; sourced after `mla` is set.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none

# Without the search for leaks, where sanitizers are built in: OpenMPI keeps memory, in modules that it has unloaded.
# ranks N ARGUMENT...: the command on N ranks.
ranks() {
    local count=$1
    shift
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" mpirun -n "$count" "$mla" "$@"
}

# curves_near A B TOLERANCE: the logs have the same steps, with losses that differ by no more, relatively.
curves_near() {
    losses() { sed 's/.*"step": \([0-9]*\),.*"loss": \([^,]*\), "\(lr\|held\|kl\).*/\1 \2/' "$1/metrics.jsonl"; }
    paste -d ' ' <(losses "$1") <(losses "$2") | awk -v t="$3" '
        NF != 4 || $1 != $3 { print "other steps: " $0; bad = 1; exit }
        { d = ($2 - $4) / $2; if (d < 0) d = -d; if (!(d <= t)) { print "step " $1 ": " $2 " and " $4; bad = 1; exit } }
        d > most { most = d } END { if (!NR) bad = 1; printf "%s to %s: %d steps, at most %.1e apart\n", A, B, NR, most; exit bad }' A="$1" B="$2"
}

# pid_of_rank N DIR: the process of a rank of the run in DIR, below this folder: other tests may run elsewhere.
pid_of_rank() {
    local pid
    for pid in $(pgrep -f -- "$2( |\$)"); do
        [ "$(readlink "/proc/$pid/cwd")" = "$PWD" ] || continue
        grep -qz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$pid/environ" 2>/dev/null && echo "$pid" && return
    done
}
