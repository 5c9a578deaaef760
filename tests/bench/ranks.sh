#!/usr/bin/env bash
# Two ranks of one thread against one process of two threads, on the same global batch, in turns: throughput, how much
# of the communication the backward pass hides, memory of the sharded optimizer, bytes on the wire in f32 and bf16.
#     tests/bench/ranks.sh build/mla [--rounds N] [--steps N] [--recipe FILE] [--set KEY=VALUE]...
# Needs two cores that do nothing else.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
[ $# -ge 1 ] && [ -x "$1" ] || { echo "usage: $0 MLA-COMMAND [--rounds N] [--steps N] [--recipe FILE] [--set KEY=VALUE]..." >&2; exit 2; }
mla=$(realpath "$1")
shift
. "$here/../support/ranks.sh"
rounds=3 steps=8 recipe=$here/../../train/recipes/decoder-d512x8.yaml sets=()
while [ $# -gt 1 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --steps) steps=$2 ;;
    --recipe) recipe=$2 ;;
    --set) sets+=(--set "$2") ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
recipe=$(realpath "$recipe")
folder=$(mktemp -d -p /dev/shm mla-ranks.XXXXXX) # checkpoints cost no time there
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Random tokens: what they say does not matter here, nor does what is evaluated.
sets=(--set data.source= --set data.synthetic.tokens=200000 --set data.held_out=0 --set model.vocab_size=8192
    --set train.steps="$steps" --set train.eval_every=0 --set optim.warmup_steps=0 "${sets[@]}")
warm_up=2

# turn NAME RANKS THREADS [OPTION]...: a run; appends its later steps' seconds, seconds waited and bytes of memory.
turn() {
    local name=$1 count=$2 threads=$3
    shift 3
    local run=("$mla" train "$recipe" "${sets[@]}" --set train.threads="$threads" "$@" --json --out bench-ranks)
    [ "$count" -eq 1 ] || run=(mpirun ${wire[@]+"${wire[@]}"} -n "$count" "${run[@]}")
    OMP_NUM_THREADS=$threads "${run[@]}" >result 2>said || { cat said; exit 1; }
    tail -n +$((warm_up + 1)) bench-ranks/metrics.jsonl | sed 's/.*"seconds": \([^,]*\), \("waited": \([^,]*\), \)\{0,1\}.*"memory": \([0-9]*\).*/\1 0\3 \4/' >>"$name"
    rm -r bench-ranks
}

# median NAME COLUMN
median() { cut -d ' ' -f "$2" "$1" | sort -g | awk '{ x[NR] = $1 } END { m = int((NR + 1) / 2); print (x[m] + x[NR + 1 - m]) / 2 }'; }

echo "machine $(uname -n), $(nproc) cores, load $(cut -d ' ' -f 1 /proc/loadavg); $("$mla" --version); $(mpirun --version | head -n 1)"
for i in $(seq "$rounds"); do
    turn threads 1 2
    turn ranks 2 1
    turn shard 2 1 --set optim.shard=true
    turn late 2 1 --set train.overlap=false # all of it after the backward pass
    turn half 2 1 --set train.reduce=bf16
done
# least NAME COLUMN: of seconds waited, what is left where neither rank was late for other reasons
least() { cut -d ' ' -f "$2" "$1" | sort -g | head -n 1; }

printf '%-10s %14s %14s %14s %14s\n' "" "ms a step" "ms waited" "at least" "MB a rank"
for name in threads ranks shard late half; do
    printf '%-10s %14.1f %14.1f %14.1f %14.1f\n' $name "$(awk "BEGIN { print 1e3 * $(median $name 1) }")" \
        "$(awk "BEGIN { print 1e3 * $(median $name 2) }")" "$(awk "BEGIN { print 1e3 * $(least $name 2) }")" "$(awk "BEGIN { print $(median $name 3) / 1e6 }")"
done
for name in ranks shard half; do
    awk "BEGIN { printf \"2 ranks x 1 thread ($name) / 1 rank x 2 threads: throughput %.3f\\n\", $(median threads 1) / $(median $name 1) }"
done
awk "BEGIN { printf \"hidden share of the communication: %.3f (waited at least, against all of it after the backward pass)\\n\",
    1 - $(least ranks 2) / $(least late 2) }"
parameters=$(sed 's/.*"parameters":\([0-9]*\).*/\1/' result)
awk "BEGIN { printf \"moments %.1f MB; sharded over 2 ranks: %.1f MB less a rank, 1/2 is %.1f\\n\", 8e-6 * $parameters,
    ($(median ranks 3) - $(median shard 3)) / 1e6, 4e-6 * $parameters }"

# Bytes that cross the wire: over TCP, in a network of its own where that may be made.
if unshare -rn true 2>/dev/null; then
    export -f turn
    export mla recipe warm_up
    bytes() { # bytes OPTION...: of a step, over the loopback device
        printf '%s\n' "${sets[@]}" >options
        unshare -rn bash -c 'ip link set lo up; mapfile -t sets <options
            wire=(--mca btl tcp,self --mca pml ob1 --mca btl_tcp_if_include lo)
            sent() { awk "/lo:/ { print \$10 }" /proc/net/dev; }
            a=$(sent); turn wire 2 1 --set train.steps=3 "$@"; b=$(sent); turn wire 2 1 --set train.steps=5 "$@"; c=$(sent)
            echo $(((c - b - (b - a)) / 2))' - "$@"
    }
    f32=$(bytes) half=$(bytes --set train.reduce=bf16)
    awk "BEGIN { printf \"bytes a step on the wire, both ranks: f32 %.1f MB, bf16 %.1f MB, ratio %.3f\\n\", $f32 / 1e6, $half / 1e6, $half / $f32 }"
fi
