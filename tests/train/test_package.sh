#!/usr/bin/env bash
# The Debian package: what is in it and what it needs; unpacked somewhere else it trains, for a user who is not root. That
# it installs and leaves nothing when it is removed takes root: tests/faults/package.sh.
# $1: the mla command, in its build folder.
set -uo pipefail
build=$(dirname "$(realpath "$1")")
recipes=$(realpath "$(dirname "$0")/../../train/recipes")
. "$(dirname "$0")/../support/command.sh" "$(realpath "$1")"
for program in cpack dpkg-deb dpkg-shlibdeps; do
    command -v $program >/dev/null || { echo "no $program: nothing to test"; exit 0; }
done

check 0 "mla_" cpack --config "$build/CPackConfig.cmake" -B "$folder/package"
deb=$(echo package/*.deb)
[ -e "$deb" ] || { fail "no package: $(ls -R package)"; exit 1; }
depends=$(dpkg-deb -f "$deb" Depends)
for library in libc6 libgomp1 libdnnl libhdf5 libopenmpi libjansson libyaml libpcre2 libxxhash; do
    [[ $depends = *$library* ]] || fail "$library is not among what it needs: $depends"
done
[[ $(dpkg-deb -f "$deb" Recommends) = *gnuplot-nox* ]] || fail "it does not recommend gnuplot"

chmod 755 . && mkdir root && dpkg-deb -x "$deb" root
expected="bin/mla
share/bash-completion/completions/mla
share/doc/mla/changelog.gz
share/doc/mla/copyright
share/man/man1/mla.1.gz"
[ "$(cd root/usr && find . -type f | sed 's/^..//' | grep -v '^share/mla/' | LC_ALL=C sort)" = "$expected" ] ||
    fail "it holds $(cd root && find . -type f)"
[ -z "$(find root ! -type l -perm /022)" ] || fail "others may write $(find root ! -type l -perm /022)"
[ -x root/usr/share/mla/slurm/train.sbatch ] || fail "no script for Slurm that can be run"
diff -r "$recipes" root/usr/share/mla/recipes || fail "other recipes than those of the sources"
gzip -t root/usr/share/man/man1/mla.1.gz root/usr/share/doc/mla/changelog.gz || fail "a page is not compressed"
[[ $(nm root/usr/bin/mla 2>&1) = *"no symbols"* ]] || fail "the command still has its symbols"
ldd root/usr/bin/mla | grep -q "libmla\|not found" && fail "it does not run by itself: $(ldd root/usr/bin/mla)"

mkdir elsewhere
as_user=()
if [ "$(id -u)" -eq 0 ]; then
    chown 65534 elsewhere tmp
    as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
fi
cd elsewhere || exit 1
check 0 "held-out loss" "${as_user[@]}" "$folder/root/usr/bin/mla" train quickstart --set data.source= --set data.synthetic.tokens=3000 \
    --set train.steps=3 --set optim.warmup_steps=0 --set train.batch=2 --set train.sequence=32 --set model.hidden_size=64 --out run
[ -e run/latest ] || fail "it has saved nothing: $(ls run)"
cd ..
finish
