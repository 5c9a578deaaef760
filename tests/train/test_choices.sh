#!/usr/bin/env bash
# mla eval --choices and --rolling from outside: figures that follow from the model's loss, and rows that are wrong.
# tests/parity/choices.py holds them against lm-evaluation-harness.
# $1: the mla command.
source "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh"

texts texts
tiny_run run data.source=texts data.tokenizer=bytes data.held_out=0.2
eval=("$mla" eval --checkpoint run)

# A text is scored behind the end token; the figures are its log-likelihood by words, bytes and bits.
printf 'Dokument 7' >text.txt
json=$("${eval[@]}" --rolling text.txt --json)
[ "$(value bytes <<<"$json")" = 10 ] && [ "$(value words <<<"$json")" = 2 ] || fail "words and bytes: $json"
sum=$(value loglikelihood <<<"$json")
over() { awk -v s="$1" -v n="$2" 'BEGIN { print -s / n }'; }
logarithm() { value "$1" | awk '{ print log($1) }'; }
near "$(over "$sum" 2)" "$(logarithm word_perplexity <<<"$json")" 1e-3 || fail "by words: $json"
near "$(over "$sum" 10)" "$(logarithm byte_perplexity <<<"$json")" 1e-3 || fail "by bytes: $json"
near "$(over "$sum" 6.9314718)" "$(value bits_per_byte <<<"$json")" 1e-3 || fail "bits: $json"

# What a text is worth is the sum of what its parts are worth, each behind those before it.
part() { # CONTEXT CONTINUATION
    printf '{"context": "%s", "continuation": "%s"}\n' "$1" "$2" >part.jsonl
    "${eval[@]}" --choices part.jsonl --samples part.out --json >part.json
    sed 's/.*"loglikelihood":\[\([^]]*\)\].*/\1/' part.out
}
first=$(part "" Dok) second=$(part "<|endoftext|>Dok" "ument 7")
near "$sum" "$(awk -v a="$first" -v b="$second" 'BEGIN { print a + b }')" 1e-4 || fail "parts: $first and $second, $sum"
near "$(over "$second" 1)" "$(logarithm perplexity <part.json)" 1e-3 || fail "perplexity: $(cat part.json)"
# White space at the end of a context is scored with what follows it.
near "$(part "Dok " x)" "$(part Dok " x")" 1e-6 || fail "white space belongs to the continuation"
# A token across the border: the context by itself has 11 tokens, all of which are one in the whole. What
# is behind 11 tokens of the whole is scored, and the model reads the context as it is by itself before.
near "$(part "<|endoftext" "|>abcdefghijklmnop")" "$(part "<|endoftext" klmnop)" 1e-6 || fail "a token across the border"

# Windows: texts longer than the sequence, of which no token is scored twice.
long=$(printf 'abcdefgh%.0s' $(seq 20))
printf '%s' "$long" >long.txt
whole=$("${eval[@]}" --rolling long.txt --sequence 64 --samples long.out --json | value loglikelihood)
windows=$(part "" "${long:0:64}")" "$(part "${long:63:1}" "${long:64:64}")" "$(part "${long:95:33}" "${long:128:32}")
near "$whole" "$(awk -v w="$windows" 'BEGIN { n = split(w, a, " "); for (i = 1; i <= n; i++) s += a[i]; print s }')" 1e-3 ||
    fail "windows: $whole, but $windows"
[[ $(cat long.out) == *'"place":"long.txt"'*'"words":1'* ]] || fail "samples: $(cat long.out)"
printf '{"body": "a b"}\n{"body": " c "}\n' >body.jsonl
json=$("${eval[@]}" --rolling body.jsonl --field body --json)
[ "$(value words <<<"$json")" = 5 ] && [ "$(value documents <<<"$json")" = 2 ] || fail "rows of text: $json"

# Equal choices: the first. By characters and by bytes the longer one wins.
cat >choices.jsonl <<'ROWS'
{"id": 1, "context": "Dokument", "choices": ["7", "7", "12"], "gold": 0}
{"context": "Dokument", "choices": ["7", "7", "12"], "gold": 1}

{"context": "", "choices": ["水水水水", "das sind Wörter"], "gold": "das sind Wörter"}
ROWS
check 0 "acc_norm" "${eval[@]}" --choices choices.jsonl --samples scores.jsonl
[[ $printed == *"of 3 rows"* ]] || fail "rows: $printed"
[ "$(sed -n 1p scores.jsonl | value gold)" = 0 ] || fail "samples: $(cat scores.jsonl)"
[ "$(sed -n 3p scores.jsonl | value gold)" = 1 ] || fail "gold by its text: $(cat scores.jsonl)"
[ "$(sed -n 2p scores.jsonl | value acc)" = 0 ] || fail "of equal choices the first: $(cat scores.jsonl)"
sums=$(sed -n '1s/.*"loglikelihood":\[\([^]]*\)\].*/\1/p' scores.jsonl)
awk -v s="$sums" 'BEGIN { split(s, a, ","); exit !(a[1] == a[2] && a[1] < 0 && a[3] < 0) }' || fail "sums: $sums"
json=$("${eval[@]}" --choices choices.jsonl --json)
p=$(value acc <<<"$json")
near "$(awk -v p="$p" 'BEGIN { print sqrt(p * (1 - p) / 2) }')" "$(value acc_stderr <<<"$json")" 1e-5 || fail "$json"
[ "$(value requests <<<"$json")" = 8 ] && [ "$(value cut <<<"$json")" = 0 ] || fail "requests: $json"
# Choices share what is before them, and come out the same as alone.
for choice in 7 12; do
    alone=$(part Dokument " $choice")
    [[ $choice = 7 ]] && shared=${sums%%,*} || shared=${sums##*,}
    near "$alone" "$shared" 1e-5 || fail "choice $choice: $alone alone, $shared among others"
done
head -1 choices.jsonl >one.jsonl
[[ $("${eval[@]}" --choices one.jsonl --json) == *'"acc_stderr":null'* ]] || fail "one row has a standard error"

# Contexts that are too long are cut at their beginning, and counted.
printf '{"context": "%s", "choices": ["a", "bc"], "gold": 0}\n' "$long" >cut.jsonl
check 0 "cut              2 of 2 contexts" "${eval[@]}" --choices cut.jsonl

# What is wrong, with file and line.
wrong() { # ROW WORDS
    printf '{"context": "a", "choices": ["b", "c"], "gold": 0}\n%s\n' "$1" >wrong.jsonl
    check 1 "wrong.jsonl:2: $2" "${eval[@]}" --choices wrong.jsonl --samples none.jsonl
    [ -e none.jsonl ] && fail "$1: a failed evaluation left samples"
}
wrong '{"context": "a", "choices": ["b", "c"], "gold": 2}' '"gold" is 2, but the choices are numbered 0 to 1'
wrong '{"context": "a", "choices": ["b", "c"], "gold": -1}' '"gold" is -1'
wrong '{"context": "a", "choices": ["b", "c"], "gold": "d"}' '"gold" is a text that none'
wrong '{"context": "a", "choices": ["b", "c"], "gold": [0]}' '"gold" must be'
wrong '{"context": "a", "choices": ["b", "c"], "gold": 0.0}' '"gold" must be'
wrong '{"context": "a", "choices": ["b", "c"]}' 'there is no "gold"'
wrong '{"choices": ["b", "c"], "gold": 0}' 'there is no "context"'
wrong '{"context": 5, "choices": ["b", "c"], "gold": 0}' '"context" must be a text'
wrong '{"context": null, "choices": ["b", "c"], "gold": 0}' '"context" must be a text'
wrong '{"context": "a", "choices": [], "gold": 0}' '"choices" must be at least two'
wrong '{"context": "a", "choices": ["b"], "gold": 0}' '"choices" must be at least two'
wrong '{"context": "a", "choices": ["b", ""], "gold": 0}' 'choice 1 is empty'
wrong '{"context": "a", "choices": ["b", 5], "gold": 0}' '"choices" must be a list of texts'
wrong '{"context": "a", "choices": "b", "gold": 0}' '"choices" must be a list of texts'
wrong '{"context": "a", "gold": 0}' 'there are no "choices"'
wrong '{"context": "a", "continuation": "b"}' 'rows with "choices" and rows with "continuation"'
wrong '{"context": "a", "continuation": "b", "choices": ["b", "c"]}' 'give either'
wrong '{"context": "a", "continuation": "b", "gold": 0}' '"gold" is for "choices"'
wrong '["a"]' 'not a JSON object'
wrong '{"context": "a"' 'not valid JSON'
wrong "{\"context\": \"a\", \"choices\": [\"b\", \"$long\"], \"gold\": 0}" 'choice 1 has 161 tokens, and the model sees 64'
printf '{"context": "a", "continuation": 5}\n' >number.jsonl
check 1 'number.jsonl:1: "continuation" must be a text' "${eval[@]}" --choices number.jsonl
printf '{"context": "a", "continuation": ""}\n' >nothing.jsonl
check 1 'nothing.jsonl:1: "continuation" is empty' "${eval[@]}" --choices nothing.jsonl
: >empty.jsonl
check 2 "empty.jsonl" "${eval[@]}" --choices empty.jsonl
printf '\n\n' >blank.jsonl
check 1 "blank.jsonl: there are no rows" "${eval[@]}" --choices blank.jsonl
printf 'context,choices,gold\na,b,0\n' >table.csv
check 1 "named .jsonl" "${eval[@]}" --choices table.csv
check 1 "nowhere.jsonl" "${eval[@]}" --choices nowhere.jsonl
check 2 "evaluated alone" "${eval[@]}" --choices choices.jsonl text.txt
check 2 "evaluated alone" "${eval[@]}" --choices choices.jsonl --rolling
check 2 "do not go with" "${eval[@]}" --choices choices.jsonl --batch 4
check 2 "do not go with" "${eval[@]}" --rolling text.txt --tokens run/tokens.h5
check 2 "name them" "${eval[@]}" --rolling
check 2 "--samples is for" "${eval[@]}" text.txt --samples out.jsonl
check 2 "--delimiter is for" "${eval[@]}" text.txt --delimiter x
check 2 "has its own keys" "${eval[@]}" --choices choices.jsonl --field body
check 2 "the model has 64 positions" "${eval[@]}" --choices choices.jsonl --sequence 65
finish
