#!/usr/bin/env bash
# How long waiting threads should spin: the time of a training step with the machine for itself and beside one busy
# process, by GOMP_SPINCOUNT, all in turns. Prints medians in ms and what each is above the best of its column.
#     tests/bench/busy.sh build/mla [ROUNDS]      default: 7
# `default` is libgomp's own. train/main.c has the number that mla sets; nothing else may run meanwhile.
set -euo pipefail
[ $# -ge 1 ] && [ -x "$1" ] || { echo "usage: $0 MLA-COMMAND [ROUNDS]" >&2; exit 2; }
mla=$(realpath "$1")
rounds=${2:-7}
recipe=(quickstart --set data.source= --set data.synthetic.tokens=100000 --set data.synthetic.vocabulary=2048
    --set data.held_out=0 --set optim.warmup_steps=0 --set train.steps=24 --set train.precision=f32)
folder=$(mktemp -d)
busy=
trap '[ -z "$busy" ] || kill $busy; rm -rf "$folder"' EXIT

# step_time SPINS: the median of the steps of a short run but the first four.
step_time() {
    local variables=(-u OMP_WAIT_POLICY "GOMP_SPINCOUNT=$1")
    # libgomp's own number for an undefined policy: setting it keeps mla from setting another
    [ "$1" != default ] || variables=(-u OMP_WAIT_POLICY GOMP_SPINCOUNT=300000)
    rm -rf "$folder/run"
    env "${variables[@]}" "$mla" train "${recipe[@]}" --out "$folder/run" --json >"$folder/printed"
    sed -n 's/.*"seconds": *\([0-9.e-]*\).*/\1/p' "$folder/run/metrics.jsonl" | tail -n +5 | sort -g | sed -n 10p
}

echo "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
for ((round = 0; round < rounds; round++)); do
    for spins in 0 1000 2000 5000 10000 default; do
        echo "quiet $spins $(step_time $spins)"
        (while :; do :; done) &
        busy=$!
        echo "busy $spins $(step_time $spins)"
        kill $busy
        wait $busy 2>/dev/null || true
        busy=
    done
done | tee "$folder/times" | awk '{ printf "%s %s %.1f ms\n", $1, $2, 1e3 * $3; fflush() }' >&2

sort -k1,1 -k2,2 -k3,3g "$folder/times" | awk '
    { key = $1 " " $2; time[key, ++n[key]] = $3; spins[$2] }
    function median(key) { return time[key, int((n[key] + 1) / 2)] * 1e3 }
    END {
        best["quiet"] = best["busy"] = 1e30
        for (key in n) { split(key, a, " "); if (median(key) < best[a[1]]) best[a[1]] = median(key) }
        printf "%10s %18s %18s\n", "spins", "quiet", "busy"
        split("0 1000 2000 5000 10000 default", order, " ")
        for (i = 1; i <= 6; i++) {
            q = median("quiet " order[i]); b = median("busy " order[i])
            printf "%10s %8.1f ms %+5.0f %% %8.1f ms %+5.0f %%\n", order[i], q, 100 * (q / best["quiet"] - 1), b, 100 * (b / best["busy"] - 1)
        }
    }'
