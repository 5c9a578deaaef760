#!/usr/bin/env bash
# Our training step against PyTorch's in one run, in turns; prints medians, ratio, peak memory, versions, machine.
#   tests/bench/step.sh build/mla [--steps N] [--recipe FILE] [-- --pad-v --bf16 --compile --untied]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] && [ -x "$1" ] || { echo "usage: $0 MLA-COMMAND [--steps N] [--recipe FILE] [-- TORCH-OPTIONS]" >&2; exit 2; }
. "$here/python.sh"
mla=$1
shift
exec "$python" "$here/interleave.py" --mla "$mla" "$@"
