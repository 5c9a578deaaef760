#!/usr/bin/env bash
# All works in f32 and bf16 against PyTorch, eager and compiled, in turns: prints a table and writes bench.json.
#   tests/bench/run.sh build/mla [--steps N] [--only WORK] [--padded] [--torch-f32] [--out bench.json]
# Takes some 20 minutes on two cores that do nothing else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] && [ -x "$1" ] || { echo "usage: $0 MLA-COMMAND [--steps N] [--only WORK] [--padded] [--torch-f32] [--out FILE]" >&2; exit 2; }
. "$here/python.sh"
mla=$1
shift
exec "$python" "$here/table.py" --mla "$mla" "$@"
