#!/usr/bin/env bash
# The sources are laid out as clang-format 14 does it with .clang-format: prints what is not, and fails; or mends it.
#     tests/house/format.sh [--fix] [ROOT]     the folder with .clang-format and the sources; by default the project's
# Other versions break other lines. A `#pragma omp` is shown to clang-format as a comment: it stays with its code, where
# every other directive goes to the first column.
set -uo pipefail
export LC_ALL=C
fix=
[ "${1:-}" != --fix ] || { fix=yes && shift; }
cd "${1:-$(dirname "$0")/../..}" || exit 1

formatter=clang-format-14
command -v $formatter >/dev/null || formatter=clang-format
version=$($formatter --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
[ "$version" = 14 ] || {
    echo "clang-format 14 is needed, and ${version:-none} is here: train/install-packages.sh clang-format-14 installs it," \
        "or, where there is no such package, pip install clang-format==14.0.6"
    exit 1
}

mapfile -t files < <(find autograd layers optim data train tests -name '*.[ch]' 2>/dev/null | sort)
[ ${#files[@]} -gt 0 ] || { echo "$PWD: no sources"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp --parents .clang-format "${files[@]}" "$work" && (
    cd "$work" && sed -i 's|^\( *\)#pragma omp|\1//#pragma omp|' "${files[@]}" && $formatter -i "${files[@]}" &&
        sed -i 's|^\( *\)//#pragma omp|\1#pragma omp|' "${files[@]}"
) || exit 1

wrong=0
for file in "${files[@]}"; do
    cmp -s "$file" "$work/$file" && continue
    wrong=$((wrong + 1))
    if [ $fix ]; then cp "$work/$file" "$file"; else diff -u --label "$file" --label "$file, formatted" "$file" "$work/$file"; fi
done
[ $fix ] || [ $wrong -eq 0 ] || { echo "$wrong files are not formatted; remedy: tests/house/format.sh --fix"; exit 1; }
