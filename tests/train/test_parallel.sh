#!/usr/bin/env bash
# Several ranks train the model that one would: the same curve, the same bits twice, checkpoints that any number of
# ranks goes on from, a stop that all make at the same step. $1: the mla command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
command -v mpirun >/dev/null || { fail "mpirun is not installed: train/install-packages.sh"; exit 1; }

# A batch that no number of ranks divides evenly, in microbatches that do not fit; buckets that cut parameters.
sed -i 's/batch: 4$/batch: 6/; s/microbatch: 1/microbatch: 2/; s/threads: 1/threads: 1\n  bucket_mb: 0.005\n  verify_every: 10/' tiny.yaml
steps=(--set train.steps=200 --set checkpoint.every=100 --set train.eval_every=50)
train() { local n=$1 out=$2; shift 2; check 0 "" ranks "$n" train tiny.yaml "${steps[@]}" "$@" --out "$out"; }

check 0 "" "$mla" train tiny.yaml "${steps[@]}" --out alone
for n in 1 2 3 4; do
    train $n "world$n"
    curves_near alone "world$n" 1e-5 || fail "$n ranks: another curve"
done
same_end alone world1 || fail "mpirun with one rank ends in other bits than no mpirun"
train 2 again
same_end world2 again || fail "2 ranks twice end in other bits"
train 3 shard3 --set optim.shard=true
curves_near alone shard3 1e-5 || fail "sharded: another curve"
train 3 shard3again --set optim.shard=true
same_end shard3 shard3again || fail "3 ranks, sharded, twice end in other bits"
train 2 recompute --set train.recompute=block
curves_near alone recompute 1e-5 || fail "with recompute: another curve"
train 2 late --set train.overlap=false
cmp <(steps_of world2) <(steps_of late) || fail "without overlap: other bits"
train 2 rounded --set train.reduce=bf16
curves_near alone rounded 0.02 || fail "gradients in bf16: a curve that is far off"
curves_near alone rounded 1e-5 >/dev/null 2>&1 && fail "gradients in bf16: nothing was rounded"

# other numbers of ranks, sharded and not, one after the other; each part of the run writes what the next one reads
goes_on() { local n=$1; shift; check 0 "" ranks "$n" train --resume changing "$@"; }
check 0 "" "$mla" train tiny.yaml "${steps[@]}" --set train.steps=40 --set optim.schedule=constant --out changing
check 0 "" "$mla" train tiny.yaml "${steps[@]}" --set optim.schedule=constant --out constant
goes_on 2 --set train.steps=80 --set optim.shard=true
goes_on 3 --set train.steps=120
goes_on 3 --set train.steps=160 --set optim.shard=false
check 0 "" "$mla" train --resume changing --set train.steps=200
curves_near constant changing 1e-5 || fail "1, 2, 3, 3, 1 ranks, one after the other: another curve"

# stopped by a signal to any rank
stopped() {
    local n=$1 rank=$2 signal=$3 dir=$4
    shift 4
    ranks "$n" train tiny.yaml --set train.steps=100000 "$@" --out "$dir" >printed 2>&1 &
    until [ "$(wc -l 2>/dev/null <"$dir/metrics.jsonl" || echo 0)" -ge 50 ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
    kill -"$signal" "$(pid_of_rank "$rank" "$dir")"
    wait $!
    local code=$? step
    [ $code -eq 75 ] || fail "SIG$signal to rank $rank of $n: exit code $code, not 75: $(cat printed)"
    [ "$(grep -c 'mla: stopped after step' printed)" -eq 1 ] || fail "SIG$signal to rank $rank: said otherwise: $(cat printed)"
    step=$(wc -l <"$dir/metrics.jsonl")
    [ "$(cat "$dir/latest")" = "$(printf 'step-%08d.h5' "$step")" ] || fail "stopped after step $step, saved $(cat "$dir/latest")"
}
stopped 2 0 TERM term0
stopped 3 2 USR1 usr2 --set optim.shard=true
stopped 3 1 TERM term1

# a rank that gives no sign of life any more
ranks 3 train tiny.yaml --set train.steps=100000 --set train.comm_timeout=2 --out silent >printed 2>&1 &
until [ "$(wc -l 2>/dev/null <silent/metrics.jsonl || echo 0)" -ge 20 ] || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
kill -STOP "$(pid_of_rank 1 silent)"
begin=$SECONDS
wait $!
code=$?
[ $code -eq 1 ] || fail "a stopped rank: exit code $code, not 1"
[ $((SECONDS - begin)) -le 15 ] || fail "a stopped rank is noticed after $((SECONDS - begin)) s only"
grep -q "rank 2 on .*: rank 1 on .* has given no sign of life for 2 s" printed || fail "a stopped rank is not named: $(cat printed)"
check 0 "" ranks 2 train --resume silent --set train.steps=30

# text is prepared by one rank for all
mkdir texts
for i in $(seq 60); do echo "Document $i says: to be or not to be, that is question $((i * i)) of $((i + 7))." >"texts/$i.txt"; done
sed '/synthetic:/,/tokens:/d; s/^data:/data:\n  source: texts\n  tokenizer: bpe\n  vocab_size: 300/' tiny.yaml >text.yaml
check 0 "" "$mla" train text.yaml --out text1
check 0 "" ranks 3 train text.yaml --out text3
curves_near text1 text3 1e-5 || fail "text on 3 ranks: another curve"

# adapters: most parameters are frozen, and have no place among the gradients
printf 'finetune: {base: text1}\nlora: {targets: ["*"], rank: 4, alpha: 8}\ndata: {source: texts, held_out: 0.2}\n' >lora.yaml
printf 'optim: {lr: 1e-2}\ntrain: {steps: 40, batch: 4, microbatch: 2, sequence: 32, bucket_mb: 0.002, threads: 1}\n' >>lora.yaml
check 0 "" "$mla" finetune lora.yaml --out adapter1
check 0 "" ranks 3 finetune lora.yaml --set optim.shard=true --out adapter3
curves_near adapter1 adapter3 1e-5 || fail "adapters on 3 ranks: another curve"

# the same where named parameters alone are trained
named=(--set lora.targets= --set finetune.train=kv_b_proj,norm)
check 0 "" "$mla" finetune lora.yaml "${named[@]}" --out named1
check 0 "" ranks 3 finetune lora.yaml "${named[@]}" --set optim.shard=true --out named3
curves_near named1 named3 1e-5 || fail "named parameters on 3 ranks: another curve"

# conversations: ranks have different numbers of targets that count
for i in $(seq 60); do printf '{"prompt": "%d and %d?", "completion": "%*d"}\n' $((i % 7)) "$i" $((i % 11)) "$i"; done >chats.jsonl
printf 'finetune: {base: text1}\ndata: {source: chats.jsonl, format: chat, held_out: 0.2}\noptim: {lr: 1e-3}\n' >chat.yaml
printf 'train: {steps: 40, batch: 5, microbatch: 1, sequence: 32, threads: 1, eval_every: 20}\n' >>chat.yaml
check 0 "" "$mla" finetune chat.yaml --out chat1
check 0 "" ranks 3 finetune chat.yaml --out chat3
curves_near chat1 chat3 1e-5 || fail "conversations on 3 ranks: another curve"
tokens_of() { sed -n '$ s/.*"tokens": \([0-9]*\).*/\1/p' "$1/metrics.jsonl"; }
[ "$(tokens_of chat1)" -lt $((40 * 5 * 16)) ] && [ "$(tokens_of chat1)" = "$(tokens_of chat3)" ] ||
    fail "3 ranks count other tokens"

# the time spent waiting is in the log, and only there where there is somebody to wait for
grep -q '"waited"' world2/metrics.jsonl || fail "the log of 2 ranks does not say how long they waited"
grep -q '"waited"' alone/metrics.jsonl && fail "the log of one process says that it waited"

# errors of one rank or of all end all
check 2 "too few for 3 ranks" ranks 3 train tiny.yaml --set train.batch=2 --set train.microbatch=1 --out few
huge=(--set model.hidden_size=16384 --set model.intermediate_size=65536 --set model.num_hidden_layers=64)
check 1 "for each of the 2 ranks on it" ranks 2 train tiny.yaml "${huge[@]}" --out huge
check 1 "rank 0 on" ranks 2 train tiny.yaml --out /proc/nowhere
[ ! -e few ] || fail "a refused run leaves a folder"
[ $failures -eq 0 ]
