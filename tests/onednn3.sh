#!/usr/bin/env bash
# Builds against oneDNN 3, which clusters have, and runs the suite; Debian 12 has 2.6. The library comes from
# PyPI, so this needs Python with venv and a network, and is not part of run.sh.
#     tests/onednn3.sh [FOLDER]       where the library and the build go; default: build-onednn3
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-build-onednn3}")
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}

if [ ! -e "$folder/onednn/lib/libdnnl.so" ]; then
    python3 -m venv "$folder/onednn"
    "$folder/onednn/bin/pip" install -q --no-deps --disable-pip-version-check onednn-cpu-gomp onednn-devel-cpu-gomp
fi
cmake -S . -B "$folder/build" -DDNNL_INCLUDE_DIR="$folder/onednn/include" -DDNNL_LIBRARY="$folder/onednn/lib/libdnnl.so" >/dev/null
cmake --build "$folder/build" --parallel "$(nproc)"
ldd "$folder/build/libmla.so" | grep "$folder/onednn/lib/libdnnl.so.3" || { echo "the build does not use oneDNN 3" >&2; exit 1; }
OMP_WAIT_POLICY=passive ctest --test-dir "$folder/build" --parallel 2 --no-tests=error --output-on-failure
