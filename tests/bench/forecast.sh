#!/usr/bin/env bash
# mla forecast against measurement: one rank, and two ranks that share this machine, of one thread each; with root, also
# two ranks on two hosts (network namespaces) with a link of so many Mbit/s.
#     tests/bench/forecast.sh [MLA] [--rounds N] [--recipe FILE] [--set KEY=VALUE]... [--link MBIT]
# Forecast and training take turns. Printed last: the middle of the ratios of all rounds, and the ratio of the fastest forecast
# to the fastest training, which says more where the machine has other work.
set -uo pipefail
mla=build/mla rounds=5 recipe='' link=0 sets=()
case ${1:-} in "" | --*) ;; *) mla=$1 && shift ;; esac
while [ $# -gt 1 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --recipe) recipe=$(realpath "$2") ;;
    --set) sets+=(--set "$2") ;;
    --link) link=$2 ;;
    *) echo "unknown option $1" && exit 2 ;;
    esac
    shift 2
done
here=$(realpath "$(dirname "$0")")
[ -n "$recipe" ] || recipe=$here/../../train/recipes/decoder-d512x8.yaml
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
if [ "$link" -gt 0 ]; then
    . "$here/../faults/hosts.sh"
    open_hosts
    for side in a b; do tc -n $hosts$side qdisc add dev v$side root tbf rate "${link}mbit" burst 256kb latency 50ms || exit 1; done
fi
# Random tokens: they are as good as any to take time.
sets=(--set data.source= --set data.synthetic.tokens=300000 --set model.vocab_size=8192 --set train.threads=1
    --set train.batch=4 --set train.microbatch=1 --set train.sequence=256 "${sets[@]}")

# run KIND ARGUMENT...
run() {
    local kind=$1
    shift
    case $kind in
    one) "$mla" "$@" ;;
    two) ranks 2 "$@" ;;
    hosts) two_hosts 2 "$@" ;;
    esac
}
seconds_of_row() { sed 's/.*"rows":\[//; s/.*"nodes":'"$1"',[^}]*"seconds":\([0-9.e-]*\).*/\1/'; }
middle() { sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'; }

kinds=(one two)
[ "$link" -gt 0 ] && kinds=(hosts)
for kind in "${kinds[@]}"; do
    nodes=1
    [ $kind = hosts ] && nodes=2
    for round in $(seq "$rounds"); do
        rm -rf run
        forecast=$(run $kind forecast "$recipe" "${sets[@]}" --nodes $nodes --json 2>printed) || { cat printed && exit 1; }
        forecast=$(seconds_of_row $nodes <<<"$forecast")
        run $kind train "$recipe" "${sets[@]}" --set train.steps=12 --set optim.warmup_steps=0 --set train.eval_every=0 \
            --set data.held_out=0 --out run >printed 2>&1 || { cat printed && exit 1; }
        measured=$(tail -n +4 run/metrics.jsonl | sed 's/.*"seconds": \([0-9.e-]*\).*/\1/' | middle)
        awk -v f="$forecast" -v m="$measured" -v k=$kind -v r="$round" \
            'BEGIN { printf "%-5s round %d: forecast %8.1f ms, measured %8.1f ms, %.3f\n", k, r, 1e3 * f, 1e3 * m, f / m }' | tee -a ratios-$kind
    done
    fastest() { sed "s/.*$1 *\([0-9.]*\) ms.*/\1/" ratios-$kind | sort -g | head -n 1; }
    awk -v k=$kind -v m="$(sed 's/.* //' ratios-$kind | middle)" -v f="$(fastest forecast)" -v g="$(fastest measured)" -v n="$rounds" \
        'BEGIN { printf "%s: forecast / measured: middle of %d rounds %.3f, of the fastest %.3f\n", k, n, m, f / g }'
done
