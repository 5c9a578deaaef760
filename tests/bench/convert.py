"""What `mla convert` costs in loss, on models that this trains first on texts of the machine. Losses are of the
held-out text, nats per token.

    python tests/bench/convert.py --mla build/mla --out DIR [--steps 3000] [--tokens 65536] [--threads N]
    python tests/bench/convert.py --mla build/mla --out DIR --qk-norm ...

A GQA and an MHA model at 100, 50, 25 and 12.5 % of the GQA's cache: after the rotary stage, after the latent one, and
after recovery on 1 and 5 % of the training tokens; beside the latent of the weights' singular values alone, and a model
of that shape trained from scratch on as many tokens. With --qk-norm instead: a GQA model with norms of queries and keys
beside the same one without, and what each stage adds to their losses at the same bytes.

DIR keeps all that is made, and each loss (losses.json): what is there is taken as it is, and a training that was
stopped goes on from its last checkpoint, so that the same words again continue. Seed 1.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HEADS, LAYERS, GROUPS, VOCABULARY, SEQUENCE, BATCH = 8, 4, 2, 2048, 256, 8
SOURCES = ["/usr/share/common-licenses", "/usr/share/doc/*/copyright"]
SHARES = (1, 0.5, 0.25, 0.125)
NORM_SHARES = (0.5, 0.25)
RECOVERIES = (0.01, 0.05)


def mla(*words):
    done = subprocess.run([given.mla, *map(str, words)], stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": str(given.threads)})
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}")
    return done.stdout


def sets(settings):
    return [word for setting in settings for word in ("--set", setting)]


def train(name, settings, recipe=None, command="train"):
    """A run folder."""
    folder, done = given.out / name, given.out / f"{name}.done"
    if folder.exists() and not done.exists():
        mla(command, "--resume", folder)
    elif not done.exists():
        if not recipe:
            recipe = given.out / "empty.yaml"
            recipe.write_text("")
        data = [f"data.tokens={given.out / 'tokens.h5'}", f"train.batch={BATCH}", f"train.sequence={SEQUENCE}",
                "train.seed=1", "train.eval_every=0", "checkpoint.every=100", "checkpoint.keep=1"]
        mla(command, recipe, *sets(data + settings), "--out", folder)
    done.touch()
    return folder


def make(name, *words):
    """A converted model; the file is there whole or not at all."""
    path = given.out / f"{name}.h5"
    if not path.exists():
        mla(*words, "--calibrate", given.out / "tokens.h5", "--tokens", given.tokens, "--sequence", SEQUENCE,
            "--out", path)
    return path


def loss(checkpoint):
    kept = given.out / "losses.json"
    losses = json.loads(kept.read_text()) if kept.exists() else {}
    if checkpoint.name not in losses:
        report = json.loads(mla("eval", "--checkpoint", checkpoint, "--tokens", given.out / "tokens.h5", "--sequence",
                                SEQUENCE, "--json"))
        losses[checkpoint.name] = report["loss"]
        written = kept.with_suffix(".tmp")
        written.write_text(json.dumps(losses, indent=1))
        written.replace(kept)
    return losses[checkpoint.name]


# ---- models


def sizes():
    return [f"model.{key}={value}" for key, value in {
        "hidden_size": HEADS * given.width, "intermediate_size": 22 * given.width, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "max_position_embeddings": 2 * SEQUENCE, "vocab_size": VOCABULARY,
        "tie_word_embeddings": "true", "zero_attention_output": "true"}.items()]


def training():
    return [f"train.steps={given.steps}", "optim.lr=3e-3", f"optim.warmup_steps={min(50, given.steps)}"]


def multi_head(name, groups, *more):
    shape = ["model.attention=multi_head", f"model.num_key_value_heads={groups}", f"model.head_dim={given.width}"]
    return train(name, sizes() + shape + list(more) + training())


def from_scratch(rotary, rank):
    """The same bytes, whatever the original."""
    shape = ["model.attention=latent", "model.q_lora_rank=0", f"model.kv_lora_rank={rank}",
             f"model.qk_rope_head_dim={rotary}", f"model.qk_nope_head_dim={given.width}",
             f"model.v_head_dim={given.width}"]
    return train(f"scratch-{rank}", sizes() + shape + training())


def recover(name, base, teacher, share):
    """A step sees as many tokens as one of the original's training."""
    steps = max(1, round(given.steps * share))
    settings = ["data.source=", f"finetune.base={base}", f"finetune.distil={teacher}", f"train.steps={steps}",
                f"optim.warmup_steps={min(20, steps)}"]
    return train(f"{name}-recovered-{share}", settings, "recover", "finetune")


def budget(share):
    """Rotary rows, latent and bytes at a share of the GQA's cache."""
    numbers = round(2 * GROUPS * given.width * share)
    rotary = max(2, min(given.width, numbers // 4))
    return rotary, numbers - rotary, 4 * LAYERS * numbers


# ---- tables


def print_row(first, cells):
    print(f"{first:>14}" + "".join(f"{cell:12.4f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells),
          flush=True)


def row(name, original, share):
    """The losses of one budget, as they come: rotary, latent, singular values, recovered, from scratch."""
    rotary, rank, size = budget(share)
    here = f"{name}-{share}"
    turned = make(f"{here}-rotary", "convert", original, "--rope-dim", rotary)
    yield loss(turned)
    latent = make(f"{here}-latent", "convert", original, "--rope-dim", rotary, "--budget", size)
    yield loss(latent)
    yield loss(make(f"{here}-svd", "rank", turned, "--latent", rank, "--method", "svd"))
    for part in RECOVERIES:
        yield loss(recover(here, latent, original, part))
    yield loss(from_scratch(rotary, rank))


def compare_budgets():
    columns = ["rotary", "latent", "svd", *(f"after {part:.0%}" for part in RECOVERIES), "scratch"]
    for name, groups in (("gqa", GROUPS), ("mha", HEADS)):
        original = multi_head(name, groups)
        print(f"{name}: {loss(original):.4f} after {given.steps} steps")
        print_row("bytes a token", columns)
        for share in SHARES:
            print_row(budget(share)[2], row(name, original, share))


def added(name, original, share):
    """What the exact, the rotary and the latent stage add to the original's loss."""
    rotary, _, size = budget(share)
    base, fewer = loss(original), ["--rope-dim", rotary]
    yield loss(make(f"{name}-exact", "convert", original)) - base
    yield loss(make(f"{name}-{share}-rotary", "convert", original, *fewer)) - base
    yield loss(make(f"{name}-{share}-latent", "convert", original, *fewer, "--budget", size)) - base


def compare_norms():
    models = {"plain": multi_head("plain", GROUPS), "normed": multi_head("normed", GROUPS, "model.qk_norm=true")}
    for name, original in models.items():
        print(f"{name}: {loss(original):.4f} after {given.steps} steps")
    print_row("bytes a token", ["", "exact", "rotary", "latent"])
    for share in NORM_SHARES:
        plain, normed = (list(added(name, original, share)) for name, original in models.items())
        ratio = ["-", *(b / a for a, b in zip(plain[1:], normed[1:]))]  # the exact stage adds rounding alone
        for name, cells in (("plain", plain), ("normed", normed), ("ratio", ratio)):
            print_row(budget(share)[2], [name, *cells])
    folded = make("normed-folded", "convert", models["normed"], "--fold-qk-norm")
    print(f"norms folded, before any other stage: {loss(folded) - loss(models['normed']):+.4f}")


def main():
    given.out.mkdir(parents=True, exist_ok=True)
    if not (given.out / "tokens.h5").exists():
        mla("prepare", *SOURCES, "--vocab-size", VOCABULARY, "--held-out", given.held_out,
            "--out", given.out / "tokens.h5")
    (compare_norms if given.qk_norm else compare_budgets)()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--out", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--qk-norm", action="store_true", help="norms of queries and keys, with and without")
    parser.add_argument("--steps", type=int, default=3000, help="of each model's training, 2048 tokens each")
    parser.add_argument("--tokens", type=int, default=65536, help="to calibrate on")
    parser.add_argument("--width", type=int, default=32, help="of each of the 8 heads; the least budget needs 32")
    parser.add_argument("--held-out", type=float, default=0.01, help="share of the text")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    main()
