#!/usr/bin/env bash
# Training learns: on a source of known entropy the held-out loss comes within 2 % of it, and is not below it by more
# than the sampling error of the held-out tokens. $1: the mla command.
set -uo pipefail
mla=$1
recipe=$(realpath "$(dirname "$0")/../../train/recipes/synthetic.yaml")
. "$(dirname "$0")/../faults/runs.sh"

check 0 '"held_out_loss"' "$mla" train "$recipe" --set train.threads=1 --json --out run
value() { sed "s/.*\"$1\":\([^,}]*\).*/\1/" <<<"$printed"; }
# The sampling error: -ln p of a token has a standard deviation below 1.2 here, over 100 000 tokens; three of them.
awk -v loss="$(value held_out_loss)" -v entropy="$(value entropy)" -v source="$(value source_loss)" 'BEGIN {
    error = 3 * 1.2 / sqrt(100000)
    printf "held-out loss %.4f, entropy %.4f (%+.2f %%), the source itself on these tokens %.4f (%+.2f %%)\n",
           loss, entropy, 100 * (loss / entropy - 1), source, 100 * (loss / source - 1)
    exit !(loss <= 1.02 * entropy && loss >= entropy - error && loss >= source - error / 10)
}' || fail "the model has not learnt the source, or knows more than there is to know: $printed"
[ $failures -eq 0 ]
