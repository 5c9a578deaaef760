#!/usr/bin/env bash
# Our training step against PyTorch's in one run, in turns; prints medians, ratio, peak memory, versions, machine.
#   tests/bench/step.sh build/mla [--steps N] [--recipe FILE] [-- --pad-v --bf16 --compile --untied]
# PyTorch comes from PyPI into ~/.cache/mla-bench at the first run (several GB); MLA_BENCH_PYTHON names another
# Python that has torch.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: $0 MLA-COMMAND [--steps N] [--recipe FILE] [-- TORCH-OPTIONS]" >&2
    exit 2
fi
mla=$1
shift

python=${MLA_BENCH_PYTHON:-}
if [ -z "$python" ]; then
    venv=${XDG_CACHE_HOME:-$HOME/.cache}/mla-bench
    python=$venv/bin/python
    if ! "$python" -c 'import torch' 2>/dev/null; then
        echo "Installing PyTorch into $venv" >&2
        python3 -m venv "$venv" || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
        "$python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6
    fi
fi
exec "$python" "$here/interleave.py" --mla "$mla" "$@"
