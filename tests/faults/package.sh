#!/usr/bin/env bash
# The Debian package on this machine: what apt would install for it, installed, used by a user who is not root, removed
# without a trace; and what lintian says. As root.
#     tests/faults/package.sh build/mla_0.1.0_amd64.deb
set -uo pipefail
[ $# -eq 1 ] && [ -e "$1" ] && [ "$(id -u)" -eq 0 ] || { echo "usage: $0 PACKAGE.deb, as root" >&2; exit 2; }
deb=$(realpath "$1")
. "$(dirname "$0")/../support/command.sh" mla
dpkg-query -W mla 2>/dev/null && { echo "mla is installed already: remove it first" >&2; exit 2; }

check 0 "Inst mla" apt-get install -s "$deb"
find / -xdev \( -path /proc -o -path /tmp -o -path /var -o -path "$folder" \) -prune -o -path '*mla*' -print 2>/dev/null | sort >before
check 0 "Setting up mla" dpkg -i "$deb"
mkdir mine && chmod 755 . && chown 65534 mine tmp
user=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all)
cd mine || exit 1
check 0 "held-out loss" "${user[@]}" mla train quickstart --set data.source= --set data.synthetic.tokens=3000 \
    --set train.steps=3 --set optim.warmup_steps=0 --set train.batch=2 --set train.sequence=32 --out run
check 0 "mla - train and use" env MANPAGER=cat man mla
cd ..
check 0 "Removing mla" dpkg -P mla
find / -xdev \( -path /proc -o -path /tmp -o -path /var -o -path "$folder" \) -prune -o -path '*mla*' -print 2>/dev/null | sort >after
cmp before after || fail "it leaves $(comm -13 before after)"
if command -v lintian >/dev/null; then
    printed=$(lintian --allow-root "$deb" 2>&1)
    [ -z "$printed" ] || fail "lintian: $printed"
fi
finish
