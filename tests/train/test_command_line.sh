#!/usr/bin/env bash
# The command from outside: help, exit codes, messages that name the remedy, and no half-written files.
# $1: the mla command.
set -uo pipefail
export LC_ALL=C
mla=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
source=$(realpath "$(dirname "$0")/../..")
cd "$folder" || exit 1
failures=0

# check CODE WORDS COMMAND...: the command ends with CODE and prints WORDS (on either stream).
check() {
    local code=$1 words=$2
    shift 2
    local printed status
    printed=$("$@" 2>&1)
    status=$?
    if [ $status -ne "$code" ] || [[ $printed != *"$words"* ]]; then
        echo "FAILED: $*: exit code $status (expected $code), printed: $printed (expected: $words)"
        failures=$((failures + 1))
    fi
}
fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# help
check 2 "usage: mla COMMAND" "$mla"
check 0 "usage: mla COMMAND" "$mla" --help
check 0 "usage: mla COMMAND" "$mla" help
check 0 "mla 0." "$mla" --version
check 2 '--version takes nothing but --json; got "--jsno"' "$mla" --version --jsno
version=$("$mla" --version)
[[ $version =~ ^"mla "[0-9.]+(", commit "[0-9a-f]{12})?$'\n'"oneDNN "[0-9.]+", HDF5 "[0-9.]+", "[^,]*[0-9.]+$'\n'"processor: "(no )?"AVX2, " ]] ||
    fail "--version prints: $version"
[[ $("$mla" --version --json) =~ ^'{"version":"0.'[0-9.]+'","commit":'[^,]*',"onednn":"'[0-9.]+'","hdf5":"'[0-9.]+'","mpi":"' ]] ||
    fail "--version --json prints: $("$mla" --version --json)"
# what the processor may use decides on auto
DNNL_MAX_CPU_ISA=AVX2 check 0 "no AVX-512, no bf16, no AMX; train.precision=auto is f32" "$mla" --version
if grep -qw avx2 /proc/cpuinfo 2>/dev/null && [ -z "${DNNL_MAX_CPU_ISA:-}${ONEDNN_MAX_CPU_ISA:-}" ]; then # by Linux's words
    line= json=
    for words in avx2:AVX2:avx2 avx512:AVX-512:avx512vl bf16:bf16:avx512_bf16 amx:AMX:amx_bf16; do
        IFS=: read -r key name flag <<<"$words"
        if grep -qw "$flag" /proc/cpuinfo; then line+=", $name" json+=",\"$key\":true"; else line+=", no $name" json+=",\"$key\":false"; fi
    done
    [[ $version = *"processor: ${line#, };"* ]] || fail "the processor has ${line#, }; --version prints: $version"
    [[ $("$mla" --version --json) = *"\"processor\":{${json#,}}"* ]] || fail "not ${json#,}: $("$mla" --version --json)"
fi
for library in hdf5:HDF5 onednn:oneDNN; do
    number=$(sed -n "s/.*\"${library%:*}\":\"\([0-9.]*\)\".*/\1/p" <("$mla" --version --json))
    [[ $version = *"${library#*:} $number,"* ]] || fail "--version and --version --json differ in ${library#*:}"
done
commit=$(sed -n 's/.*, commit //p' <<<"$version") # of the sources' repository, where they have one
[ -z "$commit" ] || git -C "$source" cat-file -e "$commit" || fail "commit $commit is nowhere in $source"
check 0 "optim.weight_decay" "$mla" help recipe
check 0 "one of constant, cosine" "$mla" help recipe
for name in $("$mla" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    check 0 "Example:" "$mla" "$name" --help
    check 0 "usage: mla $name" "$mla" help "$name"
    check 2 "unknown option --zzzz" "$mla" "$name" --zzzz
done
check 2 'unknown command "pepare"; did you mean "prepare"?' "$mla" pepare
check 2 'unknown command "zzzz"; see mla --help' "$mla" zzzz
check 2 'did you mean "plot"?' "$mla" help plto
check 1 "cannot write to standard output" bash -c '"$0" help >/dev/full' "$mla"

# options
check 2 "unknown option --held; did you mean --held-out?" "$mla" prepare a --held 1
check 2 "--out needs a value" "$mla" prepare a --out
check 2 "--vocab-size: expected a whole number, got \"x\"" "$mla" prepare a --vocab-size=x
check 2 "--vocab-size: 5 is too small" "$mla" prepare a --vocab-size 5
check 2 "--format: expected one of auto, text" "$mla" prepare a --format csv
check 2 "options start with two dashes" "$mla" prepare a -o x
check 2 "needs --out FILE.h5" "$mla" prepare a
check 2 "usage: mla prepare [OPTION]... SOURCE..." "$mla" prepare --out a.h5
check 2 "usage: mla prepare [OPTION]... SOURCE..." "$mla" prepare '' --out a.h5
check 2 "usage: mla rank [OPTION]... FILE-OR-DIR" "$mla" rank '' --latent 4 --out a.h5
check 2 "train needs a recipe" "$mla" train '' --out a
check 2 "finetune needs a recipe, or --resume and a run folder. For adapters" "$mla" finetune --out a
check 2 "mla finetune --help" "$mla" finetune
cp "$mla" copied # far from the recipes' files
check 1 "cannot read nowhere.txt" ./copied train mla-small --set data.source=nowhere.txt --out no
check 2 "train takes a recipe or --resume, not both" "$mla" train quickstart --resume a

# several processes, where one is meant; an allocation's numbers are not those of a single process within it
alone="is one process, and 2 of it would each do the same: begin it without mpirun or srun"
check 2 "rank $alone" env OMPI_COMM_WORLD_SIZE=2 "$mla" rank a --latent 4 --out a.h5
check 2 "eval $alone" env PMI_SIZE=2 "$mla" eval --checkpoint a b.txt
check 2 "info $alone" env PMIX_RANK=0 SLURM_STEP_NUM_TASKS=2 "$mla" info a
check 1 "nowhere: No such file" env PMIX_RANK=0 SLURM_STEP_NUM_TASKS=2 OMPI_COMM_WORLD_SIZE=1 "$mla" info nowhere
check 0 "mla info" env OMPI_COMM_WORLD_SIZE=2 "$mla" info --help

# prepare
mkdir texts
for i in $(seq 40); do printf 'Document %d says: to be or not to be, that is question %d.\n' "$i" $((i * i)) >"texts/$i.txt"; done
check 0 "bytes per token" "$mla" prepare texts --out a.h5 --vocab-size 300 --held-out 0.2
check 0 "documents        40, " "$mla" prepare 'texts/*.txt' --out b.h5 --vocab-size=300 --held-out=0.2
cmp a.h5 b.h5 || fail "the same text gave different token files"
check 0 "bytes per token" "$mla" prepare texts --out b.h5 --vocab-size 300 --held-out 0.2 --held-out-text held-out.txt
held_out=$("$mla" prepare texts --out b.h5 --vocab-size 300 --held-out 0.2 | sed -n 's/^documents .* 40, \([0-9]*\) .*/\1/p')
[ "$(wc -l <held-out.txt)" -eq "$held_out" ] || fail "held-out.txt has not the $held_out held-out documents"
[ -z "$(sort held-out.txt | comm -23 - <(cat texts/* | sort))" ] || fail "held-out.txt has other lines than the texts"
check 1 "nofolder" "$mla" prepare texts --out e.h5 --held-out-text nofolder/a.txt
check 0 "vocabulary       257 tokens" "$mla" prepare --tokenizer bytes --out c.h5 -- texts
printf 'text' >--dashes
check 1 "cannot read --nowhere" "$mla" prepare --tokenizer bytes --out d.h5 -- --nowhere
check 0 "bytes            4," "$mla" prepare --tokenizer bytes --held-out 0 --out d.h5 -- --dashes
printf '{"body": "one"}\n{"body": "two"}\n{"body": "three"}\n' >lines.jsonl
check 0 "documents        3, " "$mla" prepare lines.jsonl --field body --tokenizer bytes --out d.h5
check 0 "documents        2, " "$mla" prepare lines.jsonl --format text --tokenizer bytes --out d.h5
check 1 "lines.jsonl" "$mla" prepare lines.jsonl --tokenizer bytes --out e.h5
check 1 "nowhere" "$mla" prepare nowhere --out e.h5
check 1 "nofolder" "$mla" prepare texts --out nofolder/e.h5
check 1 "none.json" "$mla" prepare texts --tokenizer none.json --out e.h5
echo '{}' >wrong.json
check 1 "wrong.json" "$mla" prepare texts --tokenizer wrong.json --out e.h5
: >empty.txt
check 2 "empty.txt" "$mla" prepare empty.txt --out e.h5
[ -e e.h5 ] && fail "a failed prepare left e.h5"
# a disk that is full, with an older file on it; `unshare` gives a name space where anyone may mount
mkdir small
full_disk() {
    mount -t tmpfs -o size=64k tmpfs small && cp c.h5 small/ || return 3
    "$mla" prepare texts --out small/c.h5 --vocab-size 300
    [ $? -eq 1 ] && cmp c.h5 small/c.h5 && [ "$(ls small)" = c.h5 ]
}
if unshare -rm true 2>/dev/null; then
    export -f full_disk
    export mla
    printed=$(unshare -rm bash -c full_disk 2>&1) || fail "a full disk: $printed"
    [[ $printed == *"small/c.h5: No space left on device"* ]] || fail "a full disk is not named: $printed"
fi
leftovers=$(find . -name '*.tmp*')
[ -z "$leftovers" ] || fail "left behind: $leftovers"

# plot
mkdir run "it's"
check 1 "run/metrics.jsonl" "$mla" plot run
: >run/metrics.jsonl
check 1 "holds no step yet" "$mla" plot run
echo '{"no": "step"}' >run/metrics.jsonl
check 1 "line 1 is not a step" "$mla" plot run
for i in 1 2 3; do echo "{\"step\": $i, \"loss\": $((4 - i)), \"held_out_loss\": $((5 - i))}"; done >run/metrics.jsonl
cp run/metrics.jsonl "it's/"
if command -v gnuplot >/dev/null; then
    check 0 "run/loss.png" "$mla" plot run
    check 0 "both.png" "$mla" plot run "it's" --out both.png
    for picture in run/loss.png both.png; do
        [ "$(head -c 4 $picture | tail -c 3)" = PNG ] || fail "$picture is no PNG"
    done
    check 0 "it's *" "$mla" plot "it's" --terminal
    check 0 "held out" "$mla" plot run --terminal
    check 1 "nofolder" "$mla" plot run --out nofolder/a.png
    # without evaluations, and by the folder for temporary files that the user names
    mkdir plain
    for i in $(seq 60); do echo "{\"step\": $i, \"loss\": $((90 - i))}"; done >plain/metrics.jsonl
    printed=$("$mla" plot plain 2>&1) && [ "$printed" = plain/loss.png ] || fail "without evaluations plot prints: $printed"
    printed=$("$mla" plot plain --terminal 2>&1)
    [[ $printed != *"held out"* && $printed = *"Loss over the steps"* ]] || fail "without evaluations plot draws: $printed"
    TMPDIR=$folder/nowhere check 1 "cannot write to $folder/nowhere: No such file" "$mla" plot plain
fi
check 1 "gnuplot-nox" env PATH=/nowhere "$mla" plot run --terminal
check 1 "gnuplot-nox" env PATH=/nowhere "$mla" plot run --out none.png
[ -e none.png ] || [ -e none.png.tmp ] && fail "a failed plot left none.png"

[ $failures -eq 0 ]
