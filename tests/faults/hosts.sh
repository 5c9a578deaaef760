# Two hosts on this machine: network namespaces with host names of their own, joined by a veth pair. Sourced, as root,
# after runs.sh and support/ranks.sh; all goes when the script ends.
hosts=mla$$ # their namespaces: ${hosts}a and ${hosts}b
lane=10.77.0 # the network that ranks talk over; addresses .1 and .2
processes_on() { ip netns pids "$hosts$1" 2>/dev/null; }
close_hosts() {
    local side
    for side in a b; do
        while [ -n "$(processes_on $side)" ]; do kill -KILL $(processes_on $side) 2>/dev/null; done
        ip netns del $hosts$side 2>/dev/null
    done
    rm -rf "$folder"
}
trap close_hosts EXIT
trap 'exit 1' INT TERM HUP

for tool in ip unshare mpirun; do command -v $tool >/dev/null || { echo "skipped: there is no $tool here"; exit 77; }; done
[ "$(id -u)" -eq 0 ] || { echo "skipped: network namespaces need root"; exit 77; }

# A command on host a or b.
on() { local side=$1; shift; ip netns exec $hosts$side unshare --uts sh -c 'hostname "$0" && exec "$@"' host$side "$@"; }

open_hosts() {
    local side
    ip netns add ${hosts}a && ip netns add ${hosts}b &&
        ip link add va netns ${hosts}a type veth peer name vb netns ${hosts}b || { echo "skipped: no network namespaces here"; exit 77; }
    ip -n ${hosts}a address add 10.77.0.1/24 dev va
    ip -n ${hosts}b address add 10.77.0.2/24 dev vb
    for side in a b; do ip -n $hosts$side link set lo up && ip -n $hosts$side link set v$side up || exit 1; done
    # What mpirun calls instead of ssh: ADDRESS COMMAND
    cat >agent <<END_OF_AGENT
#!/bin/sh
case \$1 in *.1) side=a ;; *) side=b ;; esac
shift
exec ip netns exec $hosts\$side unshare --uts sh -c 'hostname "\$0" && exec sh -c "\$1"' host\$side "\$*"
END_OF_AGENT
    chmod +x agent
}

# two_hosts N ARGUMENT...: the command on N ranks, on both hosts by turns; mpirun is on host a.
two_hosts() {
    local count=$1
    shift
    on a mpirun -n "$count" --host "$lane.1:$(((count + 1) / 2)),$lane.2:$((count / 2))" --map-by node \
        --mca plm_rsh_agent "$folder/agent" --mca btl tcp,self --mca btl_tcp_if_include "$lane.0/24" \
        --mca oob_tcp_if_include "$lane.0/24" -x OMP_NUM_THREADS "$mla" "$@"
}
