# Sourced: sets `python` to one that has PyTorch and PEFT, from PyPI into ~/.cache/mla-bench at the first run (several
# GB). MLA_BENCH_PYTHON names another.
python=${MLA_BENCH_PYTHON:-}
if [ -z "$python" ]; then
    venv=${XDG_CACHE_HOME:-$HOME/.cache}/mla-bench
    python=$venv/bin/python
    if ! "$python" -c 'import torch, peft' 2>/dev/null; then
        echo "Installing PyTorch and PEFT into $venv" >&2
        python3 -m venv "$venv" || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
        "$python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.4.6 peft==0.21.2
    fi
fi
