#!/usr/bin/env bash
# mla forecast: rows that add up, that follow from what was measured and stated, and name what bounds them. $1: the mla command.
here=$(realpath "$(dirname "$0")")
. "$here/../support/command.sh"
. "$here/../support/ranks.sh"
: >tiny.yaml
sets=()
for set in "${tiny_sizes[@]}" data.synthetic.tokens=1000 train.batch=16 train.microbatch=2 train.bucket_mb=0.02; do sets+=(--set "$set"); done
forecast() { "$mla" forecast tiny.yaml "${sets[@]}" "$@" --json; }
# of NODES KEY: a number, or a word, of a row of the forecast on standard input.
of() { sed 's/.*"rows"://; s/{/\n{/g' | grep "\"nodes\":$1," | value "$2"; }
# holds EXPRESSION NUMBER...: an expression in a, b, c ...
holds() { awk -v a="$2" -v b="${3:-0}" -v c="${4:-0}" -v d="${5:-0}" -v e="${6:-0}" -v f="${7:-0}" "BEGIN { exit !($1) }" </dev/null; }

forecast --nodes 1,2,4,...,16,32 --network 25,20 >25
for n in 1 2 4 8 16; do
    parts=()
    for key in seconds compute update reduction bandwidth latency; do parts+=("$(of $n $key <25)"); done
    holds "a > 0 && a - b - c - d - e - f < 1e-9 && b + c + d + e + f - a < 1e-9" "${parts[@]}" || fail "$n nodes: parts do not add up: ${parts[*]}"
done
[ "$(of 1 reduction <25)" = 0.0 ] || fail "one rank has nothing to reduce"
[ "$(of 1 efficiency <25)" = 1.0 ] || fail "one node is not as efficient as itself"
[ "$(of 2 sequences <25)" = 8 ] && [ "$(of 16 sequences <25)" = 1 ] || fail "sequences a rank"
holds "4 * a - b < 1e-9 && b - 4 * a < 1e-9" "$(of 4 compute <25)" "$(of 1 compute <25)" || fail "4 nodes do not compute a quarter each"
[ "$(of 32 bound <25)" = "more ranks than sequences" ] || fail "32 ranks of 16 sequences: $(of 32 bound <25)"
[ "$(of 32 seconds <25)" = null ] || fail "a step that cannot be has a time"

# A network of 1 kbit/s: 8 nodes wait for it as long as it takes to carry all gradients there and back, beside which
# computing is nothing, however busy this machine is.
forecast --nodes 1,8 --network 0.000001,20 >slow
[ "$(of 8 bound <slow)" = "network bandwidth" ] || fail "1 kbit/s: bound by $(of 8 bound <slow)"
bytes=$(value gradient_bytes <slow)
holds "a > 2 * b * 7 / 8 / 125 * 0.95 && a < 2 * b * 7 / 8 / 125 * 1.05" "$(of 8 bandwidth <slow)" "$bytes" ||
    fail "1 kbit/s: $(of 8 bandwidth <slow) s for $bytes bytes"
forecast --nodes 1,8 --set train.reduce=bf16 --network 0.000001,20 >half
holds "2 * a > 0.95 * b && 2 * a < 1.05 * b" "$(of 8 bandwidth <half)" "$(of 8 bandwidth <slow)" || fail "bf16 is not half of the bytes"
forecast --nodes 1,8 --network 100,50000000 >late
[ "$(of 8 bound <late)" = "network latency" ] || fail "50 s: bound by $(of 8 bound <late)"
holds "a > 100 && a < 1000" "$(of 8 latency <late)" || fail "there and back at 50 s each: $(of 8 latency <late)"

# Sharded moments: less memory a rank; parameters travel instead of half of the gradients, after the backward pass
forecast --nodes 1,8 --set optim.shard=true --network 0.000001,20 >shard
saved=$(($(of 1 memory <shard) - $(of 8 memory <shard))) # but for three buckets of 20 kB
[ $saved -eq $((bytes * 2 * 7 / 8 - 60000)) ] || fail "8 ranks need $saved bytes less than one, of moments of $((2 * bytes))"
holds "a > b / 8 * 0.99 && a < b / 8 * 1.01" "$(of 8 update <shard)" "$(sed "s|.rows.:.*||" shard | value update)" || fail "8 ranks do not update an eighth each"
holds "a > 0.95 * b && a < 1.05 * b" "$(of 8 bandwidth <shard)" "$(of 8 bandwidth <slow)" || fail "sharded, as many bytes travel"

# several ranks measure what they exchange
ranks 2 forecast tiny.yaml "${sets[@]}" --nodes 1,2 --json >two
[ "$(value ranks_per_node <two)" = 2 ] && [ "$(value exchange_measured <two)" = true ] || fail "2 ranks: $(cat two)"
[ "$(of 2 ranks <two)" = 4 ] || fail "2 nodes of 2 ranks"
[ "$(wc -l <two)" = 1 ] || fail "2 ranks both print"

check 0 "network 25 Gbit/s a node each way, delay 20 us" "$mla" forecast tiny.yaml "${sets[@]}" --nodes "1 2 ... 8" --network "25 20"
check 0 "Assumed:" "$mla" forecast tiny.yaml "${sets[@]}" --nodes 1,2
check 2 "--nodes 4,2: give rising numbers" "$mla" forecast tiny.yaml "${sets[@]}" --nodes 4,2
check 2 "--nodes 4,2: give rising numbers" "$mla" forecast tiny.yaml "${sets[@]}" --nodes "4 2"
check 2 "--nodes: expected words with commas between" "$mla" forecast tiny.yaml "${sets[@]}" --nodes 1,,2
for nodes in 1,... ...,8 1,2,...,...,8 1,x; do
    check 2 "--nodes $nodes: give rising numbers" "$mla" forecast tiny.yaml "${sets[@]}" --nodes $nodes
done
for network in 25 25,20,1 0,20 25,-1 25,x; do
    check 2 "--network $network: give Gbit/s" "$mla" forecast tiny.yaml "${sets[@]}" --network $network
done
check 2 "--nodes 1,...,8: give rising numbers" "$mla" forecast tiny.yaml "${sets[@]}" --nodes 1,...,8
check 2 "--network fast: give Gbit/s" "$mla" forecast tiny.yaml "${sets[@]}" --network fast
finish
