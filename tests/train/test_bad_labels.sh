#!/usr/bin/env bash
# Bad tables of labelled text: train, eval and classify say what is wrong, with file and line, and leave nothing half-written.
# $1: the mla command.
source "$(dirname "$0")/../support/command.sh"

for i in $(seq 3 62); do
    case $((i % 3)) in 0) word=good label=plus ;; 1) word=bad label=minus ;; 2) word=so label=none ;; esac
    printf '{"text": "the %d thing was %s", "label": "%s"}\n' $((i / 3)) $word $label
done >mood.jsonl
{ echo 'label,text' && sed -E 's/.*"text": "(.*)", "label": "(.*)".*/\2,\1/' mood.jsonl; } >mood.csv
sed 's/"plus"/1/; s/"minus"/2/; s/"none"/3.5/' mood.jsonl >numbers.jsonl
sed -E 's/"label": "(.*)"/"label": ["\1", "all"]/' mood.jsonl >several.jsonl
for i in $(seq 30); do printf '{"text": "%d meets Anna", "label": [[%d, %d, "PER"]]}\n' $i $((${#i} + 7)) $((${#i} + 11)); done >spans.jsonl
small=(model.head=sequence data.tokenizer=bytes data.held_out=0.2 train.steps=0 train.epochs=1)
several=(model.problem_type=multi_label_classification) numbers=(model.problem_type=regression) spans=(model.head=token)
filled=('data.text_template=a {text}')
for kind in several numbers spans; do
    declare -n more=$kind
    tiny_run $kind data.source=$kind.jsonl "${small[@]}" "${more[@]}"
done
tiny_run mood data.source=mood.csv "${small[@]}" 'data.labels=plus, minus,none'
tiny_run filled data.source=mood.csv "${small[@]}" "${filled[@]}"
check 0 '"0": "plus"' cat <("$mla" export mood --out hf >/dev/null && cat hf/config.json)

# bad MODEL FILE CODE WORDS CLASSIFY: the three commands end with CODE and say WORDS, classify only where it reads what is
# wrong (yes), otherwise it labels the rest (no).
bad() {
    local model=$1 file=$2 code=$3 words=$4 set
    local -n more=$([ "$model" = mood ] && echo none || echo "$model")
    local -a sets=() none=()
    for set in "${tiny_sizes[@]}" "${small[@]}" "${more[@]}" data.source="$file"; do sets+=(--set "$set"); done
    check "$code" "$words" "$mla" train tiny.yaml "${sets[@]}" --out refused
    [ -z "$(find refused -type f 2>/dev/null)" ] || fail "$file: written of bad data: $(ls refused)"
    rm -rf refused
    check "$code" "$words" "$mla" eval --checkpoint "$model" "$file"
    check "$([ "$5" = yes ] && echo "$code" || echo 0)" "$([ "$5" = yes ] && echo "$words")" \
        "$mla" classify --checkpoint "$model" "$file"
}
refused() {
    local set
    local -a sets=()
    for set in "${tiny_sizes[@]}" "${small[@]}" "${@:3}"; do sets+=(--set "$set"); done
    check "$1" "$2" "$mla" train tiny.yaml "${sets[@]}" --out refused
    [ -z "$(find refused -type f 2>/dev/null)" ] || fail "$2: written of bad data: $(ls refused)"
    rm -rf refused
}
csv() { { cat mood.csv && printf "$2\n"; } >"$1.csv"; }
json() { { cat "$2.jsonl" && printf '%s\n' "$3"; } >"$1.jsonl"; }

csv text 'plus,' && bad mood text.csv 1 'text.csv:62: "text" is empty' yes
csv label ',some text' && bad mood label.csv 1 'label.csv:62: "label" is empty' no
csv absent 'NaN,some text' && bad mood absent.csv 1 'absent.csv:62: "label" is NaN: give the row its label' no
sed '1s/text/words/' mood.csv >column.csv && bad mood column.csv 1 'column.csv:2: there is no column "text"; it has label, words' yes
sed '1s/label/class/' mood.csv >class.csv && bad mood class.csv 1 'class.csv:2: there is no column "label"; it has class, text' no
sed '1s/label/text/' mood.csv >twice.csv && bad mood twice.csv 1 'twice.csv: two columns are called "text"' yes
csv latin 'plus,gr\344ulich' && bad mood latin.csv 1 'latin.csv:62: byte 0xe4 is not UTF-8 text' yes
iconv -t UTF-16 mood.csv >wide.csv && bad mood wide.csv 1 'wide.csv: is UTF-16, not text' yes
csv open 'plus,"never closed' && bad mood open.csv 1 'open.csv:62: the quote that begins a field here never ends' yes
csv quotes 'plus,"never closed\nplus,"another"' && bad mood quotes.csv 1 'quotes.csv:63: text behind a quoted field, which begins in line 62' yes
csv nan 'plus,nan' && bad filled nan.csv 1 'nan.csv:62: "text" is not a number' yes
head -1 mood.csv >header.csv
refused 2 "header.csv: has no rows" data.source=header.csv
check 2 'header.csv: has no rows' "$mla" eval --checkpoint mood header.csv
json cut mood '{"text": "a", "label": ' && bad mood cut.jsonl 1 'cut.jsonl:61: not valid JSON' yes
json none mood '{"text": null, "label": "plus"}' && bad mood none.jsonl 1 'none.jsonl:61: "text" is empty' yes
json infinite numbers '{"text": "a", "label": NaN}' && bad numbers infinite.jsonl 1 'infinite.jsonl:61: "label" is not a finite number' no
json pair numbers '{"text": "a", "label": [1, 2]}' && bad numbers pair.jsonl 1 'pair.jsonl:61: 2 numbers, but the rows before have 1' no
json word numbers '{"text": "a", "label": "x"}' && bad numbers word.jsonl 1 'word.jsonl:61: "label" is no number' no
json behind spans '{"text": "ab", "label": [[0, 3, "PER"]]}' && bad spans behind.jsonl 1 'behind.jsonl:31: "label": 0 to 3 is no span' no
json across spans '{"text": "abcd", "label": [[0, 3, "PER"], [2, 4, "PER"]]}' &&
    bad spans across.jsonl 1 'across.jsonl:31: "label": 2 to 4 overlaps another span' no

# ---- labels that the model does not have: training takes new ones, unless data.labels says which there are
csv odd 'odd,unknown'
check 1 'odd.csv:62: the label "odd" is none of the 3 that are known: plus, minus, none' "$mla" eval --checkpoint mood odd.csv
json strange several '{"text": "a", "label": ["plus", "odd"]}'
check 1 'strange.jsonl:61: the label "odd" is none of the 4 that are known' "$mla" eval --checkpoint several strange.jsonl
json place spans '{"text": "abcd", "label": [[0, 3, "LOC"]]}'
check 1 'place.jsonl:31: the label "B-LOC" is none of the 3' "$mla" eval --checkpoint spans place.jsonl
declare -a mood=('data.labels=plus, minus,none')
refused 1 'odd.csv:62: the label "odd" is none of the 3' data.source=odd.csv "${mood[@]}"
refused 2 'model.num_labels: 5, but the data has 3 labels' data.source=mood.csv model.num_labels=5
refused 2 'model.num_labels: 2, but the data has 1 label:' data.source=numbers.jsonl model.num_labels=2 "${numbers[@]}"
grep -E 'label|plus' mood.csv >one.csv
refused 2 'one.csv: all examples have one label, "plus"' data.source=one.csv

check 2 'has other labels, not those of mood' "$mla" eval --checkpoint mood --tokens several/tokens.h5
prepared=(data.tokenizer= data.held_out=0.02 data.tokens=mood/tokens.h5)
refused 2 'model.num_labels: 5, but the data has 3 labels' "${prepared[@]}" model.num_labels=5
refused 2 'model.head: token, but the data has labels of whole texts' "${prepared[@]}" model.head=token
refused 2 'model.problem_type: regression, but the data has one class a text' "${prepared[@]}" "${numbers[@]}"

# ---- a table without the groups that training wants; options that do nothing
awk -F, 'NR == 1 { print $0 ",owner"; next } { print $0 "," NR % 10 }' mood.csv >owners.csv
tiny_run owners data.source=owners.csv "${small[@]}" data.group_field=owner
check 0 ' of 60' "$mla" eval --checkpoint owners mood.csv
check 2 '--all is for --json' "$mla" classify --checkpoint mood --all --text a
check 2 '--field names a column of .jsonl, .csv or .tsv' "$mla" classify --checkpoint mood --field b --text a
[ -z "$(ls "$TMPDIR")" ] || fail "left behind: $(ls "$TMPDIR")"
finish
