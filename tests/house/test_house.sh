#!/usr/bin/env bash
# The rules of the house: what each folder may include, one file per foreign header, threads by the number, a README
# everywhere, no file too long, nothing at the top that does not belong there.
set -uo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
failures=0
fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# may_include FOLDER PATTERN: every #include "..." below FOLDER matches PATTERN as a whole.
may_include() {
    local folder=$1 pattern=$2 line
    while IFS= read -r line; do
        [ -z "$line" ] || fail "$line: $folder may include only $pattern"
    done < <(grep -rnE --include='*.c' --include='*.h' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder" |
             grep -vE "\"($pattern)\"")
}
may_include autograd/base 'autograd/base/.*'
may_include autograd/json 'autograd/(base|json)/.*'
may_include autograd/schema 'autograd/(base|json|schema)/.*'
may_include autograd/kernels 'autograd/(base|kernels)/.*'
may_include autograd 'autograd/.*'
may_include layers '(autograd|layers)/.*'
may_include optim '(autograd|optim)/.*'
may_include data 'data/.*|autograd/(base|json|schema)/.*|autograd/tensor\.h'
may_include train '(autograd|layers|optim|data|train)/.*'

# only_in FILE HEADER: of the library's files, none but FILE includes HEADER.
only_in() {
    local file=$1 header=$2 found
    found=$(grep -rlE --include='*.c' --include='*.h' "#[[:space:]]*include[[:space:]]*[<\"](.*/)?$header" \
            autograd layers optim data train)
    [ -z "$found" ] || [ "$found" = "$file" ] || fail "$header is for $file alone, but is included by:" $found
}
only_in autograd/kernels/gemm_onednn.c dnnl.h
only_in data/formats/h5_internal.h hdf5.h
only_in autograd/schema/yaml.c 'yaml.h>' # libyaml's; our own is between quotes
only_in train/distributed/comm.c mpi.h
only_in train/draw/canvas.c 'cairo[a-z-]*.h'
only_in train/log/event_file.c '(protobuf-c|event\.pb-c)\.h'
for header in zlib zstd lzma bzlib; do only_in data/text/unpack.c "$header.h"; done

# One reader of JSON, autograd/json: jansson's own refuses what Python's reads.
while IFS= read -r line; do
    [ -z "$line" ] || fail "$line: read JSON with mla_json_read (autograd/json/tree.h)"
done < <(grep -rnE --include='*.c' --include='*.h' '\<json_load(s|b|f|fd|_file|_callback)\>' autograd layers optim data train)

# A parallel region states its number of threads: what each has for itself is laid out for those of a context.
while IFS= read -r line; do
    [ -z "$line" ] || fail "$line: state num_threads, from the context"
done < <(grep -rnE --include='*.c' --include='*.h' '#[[:space:]]*pragma[[:space:]]+omp[[:space:]]+parallel' \
              autograd layers optim data train | grep -v 'num_threads(')

# the top of the house
for entry in *; do
    case $entry in
    autograd | layers | optim | data | train | tests | CMakeLists.txt | README.md | LICENSE) ;;
    build* | runs | compile_commands.json) ;; # git ignores them
    *) fail "$entry does not belong at the top" ;;
    esac
done

# a README: for every folder of the top, for those with sources, and for those of tests that mirror none of them
needs_readme() {
    echo autograd layers optim data train tests | tr ' ' '\n'
    find autograd layers optim data train -type f -name '*.[ch]' -printf '%h\n'
    for folder in tests/*/; do
        folder=${folder%/}
        case $folder in tests/support | tests/house) continue ;; esac # tests/README.md tells
        [ -d "${folder#tests/}" ] || echo "$folder"
    done
}
while IFS= read -r folder; do
    [ -f "$folder/README.md" ] || fail "$folder has no README.md: say what lives there, what it may include, how to add one"
done < <(needs_readme | sort -u)

# of at most a page
while IFS= read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 66 ] || fail "$file has $lines lines, a page has 66"
done < <(find autograd layers optim data train tests -type f -name README.md)

# no source that cannot be held in one's head
while IFS= read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 500 ] || fail "$file has $lines lines; cut it at 500"
done < <(find autograd layers optim data train tests CMakeLists.txt README.md -type f \
              \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.md' -o -name '*.txt' -o -name '*.yaml' \))

[ $failures -eq 0 ]
