#!/usr/bin/env bash
# Installs the Debian packages that the build, the tests and the plots need, if any is missing.
#     train/install-packages.sh [PACKAGE]...     these as well
# Root installs directly, others through sudo.
set -euo pipefail

packages=(build-essential cmake ninja-build pkg-config libdnnl-dev libopenmpi-dev openmpi-bin libhdf5-dev
          libcmocka-dev libjansson-dev libyaml-dev libpcre2-dev libutf8proc-dev libxxhash-dev zlib1g-dev libzstd-dev
          liblzma-dev libbz2-dev libcairo2-dev libprotobuf-c-dev protobuf-c-compiler gnuplot-nox xz-utils zstd bzip2 "$@")

missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "These packages are missing and need root to install: ${missing[*]}" >&2; exit 1; }
    root=(sudo)
fi
echo "Installing: ${missing[*]}"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
