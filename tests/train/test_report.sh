# mla report: a page of HTML about runs, by itself.
source "$(dirname "$0")/../support/command.sh"
fonts_keep_memory
command -v gnuplot >/dev/null || { echo "gnuplot is not installed"; exit 1; }

for i in $(seq 400); do echo "line $i of <text> & more: $((i * 7919 % 1000))"; done >text.txt
sets=(--set data.source=text.txt --set data.vocab_size=270 --set data.held_out=0.1 --set model.hidden_size=16
    --set model.num_hidden_layers=1 --set model.num_attention_heads=2 --set model.intermediate_size=16
    --set train.sequence=16 --set train.batch=2 --set train.microbatch=2 --set train.steps=3 --set train.eval_every=2
    --set optim.warmup_steps=1)
"$mla" train quickstart "${sets[@]}" --out run >/dev/null 2>&1 || fail "no run"
"$mla" train quickstart "${sets[@]}" --set train.seed=2 --out '<b>&other' >/dev/null 2>&1 || fail "no other run"

# ---- the page: whole, by itself, with the numbers of the log, everything escaped
check 0 "run/report.html" "$mla" report run
[ "$printed" = run/report.html ] || fail "more than the name is printed: $printed"
row() { sed -n "s|.*<th>$1</th>||p" "$2" | head -n 1; grep -A9 "<th>$1</th>" "$2"; }
row "Held-out loss" run/report.html >row
loss=$(tail -n 1 run/metrics.jsonl | tr -d ' ' | value held_out_loss)
grep -qF "<td>$(printf %.4g "$loss")</td>" row || fail "the held-out loss $loss is not in: $(cat row)"
row Steps run/report.html | grep -q '<td>3</td>' || fail "the steps: $(row Steps run/report.html)"
tail -n 1 run/report.html | grep -q '</html>' || fail "the page is cut off"
grep -qE '<script|<link|@import|src="[^d]|https?://' run/report.html && fail "the page asks for something elsewhere"
[ "$(grep -o '<img src="data:image/svg+xml;base64,' run/report.html | wc -l)" -eq 9 ] || fail "5 curves and 4 pictures"
grep -m 1 '<img src=' run/report.html | sed 's/.*<img src="data:image.svg+xml;base64,\([^"]*\)".*/\1/' | base64 -d >first.svg ||
    fail "the first picture is no base64"
grep -q '</svg>' first.svg || fail "the first picture is no SVG"
grep -qF 'intermediate_size: 16' run/report.html || fail "no recipe"

grep -A4 '<th>from step 1</th>' run/report.html | tr -d '\n' | grep -q "</th>.*<td>1</td><td>1</td><td>$("$mla" --version | sed -n '1s/mla //p')</td>" ||
    fail "the machine: $(grep -A4 '<th>from step 1</th>' run/report.html)"

# ---- samples: what generate says, the prompt set apart, everything escaped
check 0 "sample.html" "$mla" report run --sample 'line <1>' --sample 'text' --sample-tokens 20 --out sample.html
text=$("$mla" generate --checkpoint run --prompt 'line <1>' --greedy --tokens 20 --json | value text)
[ -n "$text" ] || fail "generate says nothing"
grep -aqF "<pre><b>line &lt;1&gt;</b>" sample.html && [ "$(grep -ac '^<pre><b>' sample.html)" -eq 2 ] || fail "not two samples"
text=$(sed 's/&/\&amp;/g; s/>/\&gt;/g; s/</\&lt;/g' <<<"$text")
grep -qF "<pre><b>line &lt;1&gt;</b>$text</pre>" sample.html || fail "not what generate says: $text"
"$mla" finetune lora --set finetune.base=run --set data.source=text.txt --set train.sequence=16 --set train.batch=2 \
    --set train.steps=2 --set optim.warmup_steps=0 --set optim.lr=1 --out adapted >/dev/null 2>&1 || fail "no adapters"
check 0 "adapted.html" "$mla" report adapted --sample text --sample-tokens 20 --out adapted.html
text=$("$mla" generate --checkpoint run --adapter adapted --prompt text --greedy --tokens 20 --json | value text)
[ -n "$text" ] && [ "$text" != "$("$mla" generate --checkpoint run --prompt text --greedy --tokens 20 --json | value text)" ] ||
    fail "the adapters change nothing"
grep -qF "<pre><b>text</b>$(sed 's/&/\&amp;/g; s/>/\&gt;/g; s/</\&lt;/g' <<<"$text")</pre>" adapted.html || fail "not by the adapters: $text"
mkdir bare && cp run/metrics.jsonl bare
check 1 "bare" "$mla" report bare --sample x --out no.html
check 0 "both.html" "$mla" report run '<b>&other' --title 'Two <i>runs</i>' --out both.html
grep -qF '<title>Two &lt;i&gt;runs&lt;/i&gt;</title>' both.html || fail "the title is not escaped"
grep -qF '<td>&lt;b&gt;&amp;other</td>' both.html || fail "the name of a run is not escaped"
grep -q '<b>' both.html && fail "a name of a folder became HTML"

# ---- runs that are not over
cp -r run short && sed -i '$d' short/metrics.jsonl
"$mla" report short --out short.html >/dev/null || fail "a run that was stopped"
row Steps short.html | grep -q '<td>2 of 3, stopped</td>' || fail "stopped: $(row Steps short.html)"
exec 8<short && flock 8 && "$mla" report short --out short.html >/dev/null || fail "a run that goes on"
exec 8<&-
row Steps short.html | grep -q '<td>2 of 3, going on</td>' || fail "going on: $(row Steps short.html)"

# ---- a single step, and a single evaluation: nothing to warn of
mkdir one && head -n 1 run/metrics.jsonl | sed 's/"lr"/"held_out_loss": 2, "macro_f1": 1, "lr"/' >one/metrics.jsonl
[ "$("$mla" report one --out one.html 2>&1)" = one.html ] || fail "a single step: $("$mla" report one --out one.html 2>&1)"

# ---- what has no noise is drawn as it is, also where there are many steps. In the place of gnuplot: its scripts
mkdir steps bin && printf '#!/bin/sh\ncat "$1" >>scripts\necho "<svg></svg>"\n' >bin/gnuplot && chmod +x bin/gnuplot
for i in $(seq 120); do
    echo "{\"step\": $i, \"loss\": $((i % 7)), \"lr\": $((i > 60)), \"time\": {\"memory\": $((i > 90 ? 2 : 4))000000}}"
done >steps/metrics.jsonl
PATH=$PWD/bin:$PATH "$mla" report steps --out no.html >/dev/null && rm no.html || fail "many steps"
smoothed() { awk '/^\$run0/ { n = 0 } NF == 4 && $1 ~ /^[0-9]+$/ && $2 != $3 { n++ } /^set title/ { print n, $0 }' scripts; }
smoothed | grep -q "^0 set title 'Learning rate'" && smoothed | grep -q "^0 set title 'Memory" || fail "smoothed: $(smoothed)"
smoothed | grep "^0 set title 'Loss" && fail "the loss of many steps is not smoothed"

# ---- names in the key are short, for gnuplot leaves out a key that is too wide: without common folders, long ones cut
rm scripts && mkdir -p all/a all/b && cp -r steps all/a/steps && cp -r steps "all/b/ä-name-of-22-letters-öß-and-more"
PATH=$PWD/bin:$PATH "$mla" report all/*/* --out no.html >/dev/null && rm no.html || fail "long names"
[ "$(grep -o "title '[a-z]/[^']*'" scripts | sort -u | xargs)" = "title a/steps title b/ä-name-of…ß-and-more" ] ||
    fail "names in the key: $(grep -o "title '[a-z]/[^']*'" scripts | sort -u)"

# ---- a comparison: as its comparison.json has it
mkdir found && cat >found/comparison.json <<'JSON'
{"recipe": "a<b.yaml", "match": "parameters", "runs": 4, "runs_done": 3, "complete": false, "learning_rates": [0.001, 0.002], "arms": [
 {"name": "mha", "parameters": 1000, "cache_bytes_per_token": 512, "held_out_loss": 2.5, "deviation": 0.01, "differences": {},
  "sweep": [{"learning_rate": 0.002, "held_out_loss": 2.5}, {"learning_rate": 0.001, "held_out_loss": 2.75}],
  "time": {"decoding": [{"context": 1024, "tokens_per_second": 50}]}},
 {"name": "mla", "parameters": 1001, "cache_bytes_per_token": 128, "held_out_loss": 2.25, "deviation": null,
  "differences": {"held_out_loss": {"mean": -0.25, "half_width": 0.125, "seeds": 2}}, "time": {"peak_memory": 1048576,
   "decoding": [{"context": 1024, "skipped": "no <room>"}]}, "sweep": [{"learning_rate": 0.001, "diverged": true}]}]}
JSON
check 0 "found/report.html" "$mla" report found
[ "$printed" = found/report.html ] || fail "gnuplot warns: $printed"
grep -qF "a&lt;b.yaml, matched by parameters; 3 of 4 runs are done: the rest is missing" found/report.html || fail "no state"
# cells HEADING PAGE: those of the first row with this heading, "A|B|".
cells() { awk -v h="<th>$1</th>" 'index($0, h) { on = 1 } on { gsub(/.*<th>.*<\/th>/, ""); gsub(/<\/?td>/, ""); if ($0 ~ /<\/tr>/) exit; if ($0 != "") printf "%s|", $0 }' "$2"; }
[ "$(cells Arm found/report.html)" = "mha|mla|" ] || fail "the arms: $(cells Arm found/report.html)"
[ "$(cells "Difference, 95 %" found/report.html)" = "-|-0.2500 ± 0.1250|" ] || fail "no interval: $(cells "Difference, 95 %" found/report.html)"
[ "$(cells "Decoding after 1024 tokens, tokens/s" found/report.html)" = "50|- (no &lt;room&gt;)|" ] || fail "decoding"
[ "$(cells 0.001 found/report.html)" = "2.75|diverged|" ] && [ "$(cells 0.002 found/report.html)" = "2.5|-|" ] || fail "the sweep"
[ "$(grep -c '<img src=' found/report.html)" -eq 2 ] || fail "not a picture of the cache and one of the sweep"
check 2 "is a comparison of many models" "$mla" report found --sample x --out no.html
check 2 "is a comparison, which is reported by itself" "$mla" report found run --out no.html
mkdir begun && echo '{"learning_rates": [0.1, 0.2], "arms": [{"name": "mla", "cache_bytes_per_token": 64, "held_out_loss": 2,
 "sweep": [{"learning_rate": 0.1, "held_out_loss": 2}]}, {"name": "mha", "held_out_loss": null}]}' >begun/comparison.json
[ "$("$mla" report begun --out begun.html 2>&1)" = begun.html ] || fail "a single point: $("$mla" report begun --out begun.html 2>&1)"
echo '{"arms": []}' >found/comparison.json
check 1 'found/comparison.json has no "arms"' "$mla" report found --out no.html

# ---- for TensorBoard: an event a step, for runs of before too; a folder stands for the runs below it
events() { cat "$@" | grep -ao 'train/loss' | wc -l; }
check 0 "events/run/events.out.tfevents.mla" "$mla" report run '<b>&other' --tensorboard events
[ "$(events events/run/*)" -eq 3 ] && [ "$(events events/*/*)" -eq 6 ] || fail "not an event a step: $(events events/*/*)"
grep -aq 'eval/loss' events/run/* && grep -aq 'intermediate_size: 16' events/run/* || fail "no held-out loss, or no recipe"
[ "$(sort <<<"$printed")" = "$(ls -d events/*/*)" ] || fail "not the files are printed: $printed"
cp -r events before && sed -i 's/"wall_time": [0-9.]*, //' run/metrics.jsonl
check 0 "page.html" "$mla" report run --tensorboard events --out page.html
[ "$(ls events/run)" = events.out.tfevents.mla ] && [ "$(events events/run/*)" -eq 3 ] || fail "the events are not replaced"
cmp -s {before,events}/run/events.out.tfevents.mla && fail "an old log has times of its own"
mkdir -p runs/arm && cp -r run runs/arm/one && cp -r run runs/two && mkdir runs/three && : >runs/three/metrics.jsonl
check 0 "left out $PWD/runs/three/metrics.jsonl: it holds no step yet" "$mla" report runs --tensorboard below
[ "$(cd below && find . -type f | sort | xargs)" = "./runs/arm/one/events.out.tfevents.mla ./runs/two/events.out.tfevents.mla" ] ||
    fail "the runs below a folder: $(find below -type f)"
check 2 "another run has this name" "$mla" report run runs/../run --tensorboard twice
check 2 "there is no run in it" "$mla" report found --tensorboard none
check 1 "nowhere" "$mla" report nowhere --tensorboard none
check 1 "Not a directory" "$mla" report run --tensorboard text.txt

# ---- the same while a run trains; cut and gone on where it resumes
"$mla" train quickstart "${sets[@]}" --set train.tensorboard=true --set checkpoint.every=2 --out live >/dev/null 2>&1 || fail "no events"
[ "$(events live/*.mla)" -eq 3 ] || fail "not an event a step while it trains"
rm live/step-00000003.h5 # as if it had been killed after its last step
"$mla" train --resume live --set train.steps=4 >/dev/null 2>&1 || fail "resuming with events"
[ "$(ls live/*.mla | wc -l)" -eq 2 ] && [ "$(events live/*.mla)" -eq 4 ] || fail "a step is there twice, or missing: $(ls live)"

# ---- what cannot be reported leaves nothing behind
check 2 "a report is FILE.html" "$mla" report run --out page.pdf
check 1 "nowhere/metrics.jsonl" "$mla" report nowhere --out no.html
mkdir empty && : >empty/metrics.jsonl
check 1 "holds no step yet" "$mla" report run empty --out no.html
cp -r run damaged && sed -i '1s/.*/{"step": "x"}/' damaged/metrics.jsonl
check 1 "damaged/metrics.jsonl" "$mla" report damaged --out no.html
check 1 "damaged/metrics.jsonl" "$mla" report damaged --tensorboard none
[ -z "$(find none -type f 2>/dev/null)" ] || fail "events of a damaged log"
check 1 "no-such-folder" "$mla" report run --out no-such-folder/page.html
PATH=/nowhere check 1 "gnuplot-nox" "$mla" report run --out no.html
[ -e no.html ] && fail "a page was half written"
finish
