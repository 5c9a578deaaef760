# For scripts that drive the command from outside; they source it with the mla command's path as $1. Leaves the
# shell in a folder of its own, which is removed at the end, with a place for temporary files that no other script on
# this machine uses. The last line of a script is `finish`.
set -uo pipefail
export LC_ALL=C OMP_NUM_THREADS=1
mla=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" && mkdir tmp || exit 1
export TMPDIR=$folder/tmp
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# check CODE WORDS COMMAND...: the command ends with CODE and prints WORDS (on either stream); `printed` keeps all.
check() {
    local code=$1 words=$2 status
    shift 2
    printed=$("$@" 2>&1)
    status=$?
    if [ $status -ne "$code" ] || [[ $printed != *"$words"* ]]; then
        fail "$*: exit code $status (expected $code), printed: $printed (expected: $words)"
    fi
}

# value KEY: the number or word that the JSON object on standard input has there.
value() {
    sed -n "s/.*\"$1\":\"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p"
}

# For scripts that draw, where sanitizers are built in: fontconfig keeps memory until the process ends.
fonts_keep_memory() {
    echo "leak:libfontconfig" >fonts.suppressed
    export LSAN_OPTIONS=suppressions=$folder/fonts.suppressed:print_suppressions=0
}

# near A B TOLERANCE: both are numbers that differ by no more.
near() {
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { number = "^-?[0-9.]+(e[-+]?[0-9]+)?$"
        exit !(a ~ number && b ~ number && a - b <= t && b - a <= t) }'
}

tiny_sizes=(model.hidden_size=32 model.intermediate_size=48 model.num_hidden_layers=2 model.num_attention_heads=2
    model.kv_lora_rank=8 model.qk_nope_head_dim=16 model.qk_rope_head_dim=4 model.v_head_dim=8
    model.max_position_embeddings=64 train.steps=3 train.batch=4 train.sequence=32 train.precision=f32)

# tiny_run DIR KEY=VALUE...: a run of three steps of a model with 2 layers, which takes a moment.
tiny_run() {
    local dir=$1 set
    local -a sets
    shift
    for set in "${tiny_sizes[@]}" "$@"; do sets+=(--set "$set"); done
    : >tiny.yaml
    "$mla" train tiny.yaml "${sets[@]}" --out "$dir" --json >"$dir.json" || fail "training $dir"
}

# texts DIR: forty short documents, with characters of several bytes.
texts() {
    mkdir "$1"
    for i in $(seq 40); do
        printf 'Dokument %d: Größe, 水 und 😀, das sind %d Wörter.\n' "$i" $((i * i)) >"$1/$i.txt"
    done
}

finish() {
    leftovers=$(find . -name '*.tmp*' -o -name 'mla-data-*')
    [ -z "$leftovers" ] || fail "left behind: $leftovers"
    [ $failures -eq 0 ]
}
