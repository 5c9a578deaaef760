#!/usr/bin/env bash
# Two hosts over TCP: the same bits as on one; a slow and lossy network changes nothing in them; a link that is cut ends
# all ranks within the timeout, and the run continues when it is there again.
#     tests/faults/network.sh [MLA]
# The hosts are network namespaces of this machine: needs root. Delay and loss come from the kernel's netem where it has
# that, else from relay.py.
set -uo pipefail
mla=${1:-build/mla}
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"
. "$here/hosts.sh"
open_hosts
sed -i 's/batch: 4$/batch: 6/; s/threads: 1/threads: 1\n  bucket_mb: 0.005\n  comm_timeout: 8/' tiny.yaml

# ---- the same bits
for kind in "2 false" "4 true"; do
    read -r n shard <<<"$kind"
    check 0 "" ranks "$n" train tiny.yaml --set optim.shard="$shard" --out one-$n
    check 0 "" two_hosts "$n" train tiny.yaml --set optim.shard="$shard" --out two-$n
    same_end one-$n two-$n || fail "$n ranks on two hosts end in other bits than on one"
done
echo "two hosts, 2 ranks and 4 sharded: checked"

# ---- 10 ms and 1 % of the packets
if tc -n ${hosts}a qdisc add dev va root netem delay 10ms loss 1% 2>/dev/null; then
    by=netem
    tc -n ${hosts}b qdisc add dev vb root netem delay 10ms loss 1%
else
    by="relay.py, as this kernel has no netem"
    python3 "$here/relay.py" ${hosts}a ${hosts}b 0.01 0.01 >relay 2>&1 &
    relay=$!
    until grep -q ready relay || ! kill -0 $relay 2>/dev/null; do sleep 0.1; done
    lane=10.78.0
fi
for kind in "2 false" "4 true"; do
    read -r n shard <<<"$kind"
    begin=$(date +%s%N)
    check 0 "" two_hosts "$n" train tiny.yaml --set optim.shard="$shard" --out slow-$n
    same_end one-$n slow-$n || fail "$n ranks over a slow and lossy network end in other bits"
    echo "10 ms and 1 % loss by $by, $n ranks: checked, in $((($(date +%s%N) - begin) / 1000000)) ms"
done
tc -n ${hosts}a qdisc del dev va root 2>/dev/null
tc -n ${hosts}b qdisc del dev vb root 2>/dev/null
[ "$lane" = 10.77.0 ] || { kill $relay && wait $relay; tail -n 1 relay; }
lane=10.77.0

# ---- a link that is cut
bring_up() {
    local side
    for side in a b; do ip -n $hosts$side link set v$side up && ip -n $hosts$side neigh flush dev v$side nud all; done
}
# Down on one side; or a black hole: the link is there, and packets go to nobody.
cut() {
    case $1 in
    a | b) ip -n $hosts$1 link set v$1 down ;;
    hole)
        ip -n ${hosts}a neigh replace 10.77.0.2 lladdr 02:00:00:00:00:99 dev va nud permanent
        ip -n ${hosts}b neigh replace 10.77.0.1 lladdr 02:00:00:00:00:99 dev vb nud permanent
        ;;
    esac
}
ranks_left() { local p; for p in $(processes_on a) $(processes_on b); do grep -qx mla "/proc/$p/comm" 2>/dev/null && echo "$p"; done; }
# gone SECONDS COMMAND...: waits until the command prints nothing any more.
gone() {
    local end=$((SECONDS + $1))
    shift
    while [ -n "$("$@")" ]; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}
is_up() { kill -0 "$1" 2>/dev/null && echo up; }

long=(train tiny.yaml --set train.steps=600 --set train.eval_every=300 --set checkpoint.every=50 --set optim.shard=true)
# start COMMAND...: with its output in `printed`, until it has made some steps.
start() {
    rm -rf cut
    "$@" >printed 2>&1 &
    starter=$!
    until [ "$(wc -l 2>/dev/null <cut/metrics.jsonl || echo 0)" -ge 80 ] || [ -z "$(is_up $starter)" ]; do sleep 0.05; done
}
go_on() {
    bring_up
    check 0 "" two_hosts 4 train --resume cut
    same_end one-long cut || fail "$1: the run continues to other bits"
}

check 0 "" ranks 4 "${long[@]}" --out one-long
limit=14 # seconds: the timeout of 8, and some for a busy machine
for fault in a b hole; do
    # mpirun that probes its connections ends all, non-zero and by name
    OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=2 \
        start two_hosts 4 "${long[@]}" --out cut
    cut $fault
    begin=$SECONDS
    gone $limit is_up $starter || fail "$fault: mpirun hangs: $(cat printed)"
    gone $limit ranks_left || fail "$fault: ranks hang: $(cat printed)"
    taken=$((SECONDS - begin))
    wait $starter && fail "$fault: exit code 0"
    grep -qE "lost communication with a remote daemon|no sign of life" printed || fail "$fault: no clear error: $(cat printed)"
    go_on "$fault"

    # without, all ranks end by themselves, naming those that they have lost; mpirun, left over, by Ctrl-C twice
    start two_hosts 4 "${long[@]}" --out cut
    cut $fault
    begin=$SECONDS
    gone $limit ranks_left || fail "$fault: ranks hang: $(cat printed)"
    echo "link cut ($fault): all over after $taken s where mpirun probes, all ranks after $((SECONDS - begin)) s where not"
    grep -q "mla: warning: should a host be cut off" printed || fail "$fault: no word about mpirun: $(cat printed)"
    grep -q "on hosta: rank [0-3] on hostb has given no sign of life for 8 s" printed || fail "$fault: no clear error: $(cat printed)"
    for i in 1 2; do kill -INT $(processes_on a) 2>/dev/null; sleep 1; done
    gone 5 is_up $starter || fail "$fault: Ctrl-C does not end mpirun"
    kill -KILL $(processes_on a) $(processes_on b) 2>/dev/null
    wait $starter && fail "$fault: exit code 0"
    go_on "$fault"
done
echo "$failures failures"
[ $failures -eq 0 ]
