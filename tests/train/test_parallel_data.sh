#!/usr/bin/env bash
# Several ranks on text, with adapters, with named parameters, on conversations: the curve of one process. $1: the mla command.
set -uo pipefail
mla=$1
here=$(realpath "$(dirname "$0")")
. "$here/../faults/runs.sh"
. "$here/../support/ranks.sh"
command -v mpirun >/dev/null || { fail "mpirun is not installed: train/install-packages.sh"; exit 1; }

uneven_batches

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
[ $failures -eq 0 ]
