#!/usr/bin/env bash
# Rows of a table that are events of sequences: trained on, evaluated and labelled as sequences; the same as from a table of
# whole texts that sort and awk have made of them. $1: the mla command.
source "$(dirname "$0")/../support/command.sh"

# Cards of three to five purchases; the last one decides. Rows of all cards are mixed, times are numbers of other lengths.
for card in $(seq 60); do
    for k in $(seq $((3 + card % 3))); do
        printf '%d,c%d,%s,%s\n' $((k * 40 + card * 7 % 37)) $card "$([ $k -eq 3 ] && echo jewels || echo bread)" \
            "$([ $k -ge 3 ] && [ $((3 + card % 3)) -eq 3 ] && echo fraud || echo ok)"
    done
done | awk '{ print (NR * 7919) % 1009 "," $0 }' | sort -t, -k1n | cut -d, -f2- >rows
{ echo time,card,what,label && cat rows; } >events.csv
# "1: ..." keeps the order in which cards came.
awk -F, '!($2 in seen) { seen[$2] = ++n } { print seen[$2] "," $0 }' rows | sort -s -t, -k1,1n -k2,2n | awk -F, '
    $1 != last { if (last) print "{\"text\": \"" text "\", \"label\": \"" label "\"}"; last = $1; text = "" }
    { text = text (text == "" ? "" : "\\n") "buy " $4; label = $5 }
    END { print "{\"text\": \"" text "\", \"label\": \"" label "\"}" }' >whole.jsonl
small=(model.head=sequence data.tokenizer=bytes data.held_out=0.2 train.steps=0 train.epochs=8 train.sequence=64 optim.lr=1e-2)
rows=(data.sequence_field=card data.order_field=time 'data.text_template=buy {what}')

tiny_run events data.source=events.csv "${small[@]}" "${rows[@]}"
tiny_run whole data.source=whole.jsonl "${small[@]}"
cmp <(grep -o '"loss":[^,]*' events/metrics.jsonl) <(grep -o '"loss":[^,]*' whole/metrics.jsonl) ||
    fail "rows that are gathered train otherwise than whole texts"
grep -q '"loss"' events/metrics.jsonl || fail "nothing was trained"

# ---- eval and classify gather as well
check 0 ' of 60' "$mla" eval --checkpoint events events.csv
[ "$("$mla" eval --checkpoint events events.csv --json | sed 's/.*"targets"//')" = \
    "$("$mla" eval --checkpoint whole whole.jsonl --json | sed 's/.*"targets"//')" ] || fail "evaluated otherwise"
"$mla" classify --checkpoint events events.csv >labels.tsv || fail "classify of rows"
[ "$(cut -f1 labels.tsv)" = "$(cut -d, -f2 rows | awk '!seen[$0]++')" ] || fail "keys: $(cat labels.tsv)"
[ "$(cut -f2- labels.tsv)" = "$("$mla" classify --checkpoint whole whole.jsonl)" ] || fail "labels of rows"
cmp labels.tsv <("$mla" classify --checkpoint events --batch 7 events.csv) || fail "keys in a batch"
check 0 "{\"key\":\"$(head -1 labels.tsv | cut -f1)\",\"label\":\"" "$mla" classify --checkpoint events --json events.csv
# A table in two files is one; text by itself is one, too.
{ echo time,card,what,label && sed -n '1,90p' rows; } >one.csv
{ echo time,card,what,label && sed -n '91,$p' rows; } >two.csv
cmp labels.tsv <("$mla" classify --checkpoint events one.csv two.csv) || fail "a table in two files"
check 0 $'\t' "$mla" classify --checkpoint events --text $'buy bread\nbuy jewels'
check 2 'rows.txt: the model labels sequences of rows (data.sequence_field: card)' \
    "$mla" classify --checkpoint events events.csv rows.txt

# ---- what is too long loses its oldest rows
printf 'time,card,what,label\n1,a,OLD,x\n2,a,bread,x\n3,a,jewels,x\n' >long.csv
printf 'time,card,what,label\n1,a,NEW,x\n2,a,bread,x\n3,a,jewels,x\n' >other.csv
tiny_run short data.source=events.csv "${small[@]}" "${rows[@]}" train.epochs=1 train.sequence=20 2>short.log
grep -q 'longer than train.sequence 20: their oldest rows are cut off' short.log || fail "what is cut: $(cat short.log)"
[ "$("$mla" classify --checkpoint short long.csv)" = "$("$mla" classify --checkpoint short other.csv)" ] ||
    fail "the oldest row of what is too long still counts"
sed -i 's/jewels/bread/' other.csv
[ "$("$mla" classify --checkpoint short long.csv)" != "$("$mla" classify --checkpoint short other.csv)" ] ||
    fail "the newest row of what is too long does not count"

# ---- whole groups are held out, and what is wrong leaves nothing
awk -F, 'NR == 1 { print $0 ",owner"; next } { print $0 ",o" substr($2, 2) % 10 }' events.csv >owners.csv
tiny_run owners data.source=owners.csv "${small[@]}" "${rows[@]}" data.group_field=owner train.epochs=1
check 0 '"targets":12,' "$mla" eval --checkpoint owners --json
refused() {
    local set
    local -a sets=()
    for set in "${tiny_sizes[@]}" "${small[@]}" "${@:3}"; do sets+=(--set "$set"); done
    check "$1" "$2" "$mla" train tiny.yaml "${sets[@]}" --out refused
    [ "$1" -ne 1 ] || [ -z "$(find refused -name '*.h5*' 2>/dev/null)" ] || fail "written of bad data: $(ls refused)"
    rm -rf refused
}
refused 2 'go together' data.source=events.csv data.sequence_field=card
refused 2 'are for labelled texts' model.head=language data.source=events.csv data.format=text "${rows[@]}"
{ cat events.csv && echo ',c1,bread,ok'; } >untimed.csv
refused 1 "untimed.csv:$(wc -l <untimed.csv): \"time\" is empty" data.source=untimed.csv "${rows[@]}"
check 1 'untimed.csv:' "$mla" eval --checkpoint events untimed.csv
check 1 'untimed.csv:' "$mla" classify --checkpoint events untimed.csv
{ cat events.csv && echo 'yesterday,c1,bread,ok'; } >spoken.csv
refused 1 'is neither a number nor a time' data.source=spoken.csv "${rows[@]}"
finish
