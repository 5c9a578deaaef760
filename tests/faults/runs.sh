# What the scripts that interrupt runs share. Sourced with `mla` set to the command; works in a folder of its own,
# which goes at the end.
. "$(dirname "${BASH_SOURCE[0]}")/../support/command.sh" "$(realpath "$mla")"

# A tiny model on a few epochs of synthetic tokens, with all that a resumed run could get wrong: dropout, four
# microbatches a step, a learning rate that changes, evaluations in between.
cat >tiny.yaml <<'END'
model:
  hidden_size: 32
  num_hidden_layers: 2
  num_attention_heads: 2
  kv_lora_rank: 16
  qk_nope_head_dim: 16
  qk_rope_head_dim: 8
  v_head_dim: 16
  intermediate_size: 64
  max_position_embeddings: 64
  dropout: 0.1
data:
  synthetic:
    tokens: 1000
  held_out: 0.2
optim:
  lr: 3e-3
  warmup_steps: 3
train:
  steps: 40
  batch: 4
  microbatch: 1
  sequence: 32
  eval_every: 5
  threads: 1
checkpoint:
  every: 4
END

# The lines of a log without what depends on the clock.
steps_of() { sed 's/, "time": .*//' "$1/metrics.jsonl"; }

# Whether two runs ended in the same bits: model, moments, state, recipe; and the log of their steps.
same_end() {
    local last
    last=$(cat "$1/latest") || return 1
    cmp "$1/$last" "$2/$last" && cmp "$1/latest" "$2/latest" && cmp "$1/recipe.yaml" "$2/recipe.yaml" &&
        cmp <(steps_of "$1") <(steps_of "$2") && [ -z "$(find "$2" -name '*.tmp')" ]
}

# random_moment PROCESS STEPS: waits for a random moment of the run in the folder `run`: one in nine in its first second,
# the others after as many steps as chance wants, and some milliseconds.
random_moment() {
    local at=$((RANDOM % ($2 + $2 / 8) - $2 / 8))
    [ $at -ge 0 ] || { sleep "0.$((RANDOM % 90 + 10))"; return; }
    until [ "$(wc -l 2>/dev/null <run/metrics.jsonl || echo 0)" -ge $at ] || ! kill -0 "$1" 2>/dev/null; do sleep 0.005; done
    sleep "0.0$((RANDOM % 90 + 10))"
}

# What a comparison has found, without what depends on the clock; and whether two have found the same.
table_of() { awk '/^ *"time": \{/ { match($0, /^ */); indent = RLENGTH } indent && /^ *\}/ { match($0, /^ */); if (RLENGTH == indent) indent = 0; next } !indent' "$1/comparison.json"; }
same_table() { [ -s "$1/comparison.json" ] && cmp <(table_of "$1") <(table_of "$2"); }
