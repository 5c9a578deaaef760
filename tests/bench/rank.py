"""What `mla rank` costs on a model that this trains first (256 wide, 4 layers, latent 96) on manual pages and licences:
growing; shrinking by the text and by the weights alone; ranks by a budget against the same rank for all, at equal bytes;
200 steps of recovery. What growing changes is also computed in double precision, by transformers on the exported models.
Needs h5py, numpy, torch and transformers.

    python tests/bench/rank.py --mla build/mla [--steps 600]

--run DIR --tokens FILE.h5 --held-out FILE.txt take a model that is there, and what `mla prepare --held-out-text` made.
"""

import argparse
import glob
import gzip
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
import transformers

MOST_HELD_OUT = 150000  # bytes
RECIPE = """
model: {hidden_size: 256, num_hidden_layers: 4, num_attention_heads: 4, kv_lora_rank: 96, qk_nope_head_dim: 64,
        qk_rope_head_dim: 32, v_head_dim: 64, intermediate_size: 704, max_position_embeddings: 512}
data: {tokens: tokens.h5}
optim: {lr: 2.0e-3, warmup_steps: 50}
train: {steps: %d, batch: 8, sequence: 256}
"""
RECOVERY = """
finetune: {base: %s}
data: {tokens: %s}
optim: {lr: 5.0e-4, warmup_steps: 20}
train: {steps: 200, batch: 8, sequence: 128, eval_every: 0, eval_batches: 4}
"""


def mla(*words):
    """The JSON that a command prints last."""
    words = [arguments.mla, *map(str, words)]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in words else None


def write_text(most_bytes):
    """Manual pages without most of their markup, and licences."""
    (folder / "texts").mkdir()
    total = 0
    for path in sorted(glob.glob("/usr/share/common-licenses/*") + glob.glob("/usr/share/man/man[158]/*.gz")):
        try:
            text = (gzip.open(path) if path.endswith(".gz") else open(path, "rb")).read()
        except OSError:
            continue
        for mark in (b"\\fB", b"\\fI", b"\\fR", b"\\fP"):
            text = text.replace(mark, b"")
        (folder / "texts" / (pathlib.Path(path).name + ".txt")).write_bytes(text.replace(b"\\-", b"-"))
        total += len(text)
        if total > most_bytes:
            return


def train():
    write_text(12 << 20)
    mla("prepare", "texts", "--vocab-size", 2048, "--held-out", 0.05, "--held-out-text", "held-out.txt", "--out", "tokens.h5")
    (folder / "model.yaml").write_text(RECIPE % arguments.steps)
    mla("train", "model.yaml", "--out", "run", "--json")
    return folder / "run", folder / "tokens.h5", folder / "held-out.txt"


def loss(checkpoint):
    return mla("eval", "--checkpoint", checkpoint, "short.txt", "--sequence", 256, "--batch", 8, "--json")["loss"]


def logits(checkpoint):
    mla("eval", "--checkpoint", checkpoint, "--tokens", "ids.h5", "--logits", "logits.h5")
    with h5py.File(folder / "logits.h5") as file:
        return file["logits"][:]


def exact_logits(checkpoint):
    """In double precision: what the weights say, without the rounding of an evaluation."""
    mla("export", checkpoint, "--out", "exported")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "exported", dtype=torch.float64)
    shutil.rmtree(folder / "exported")
    with h5py.File(folder / "ids.h5") as file, torch.no_grad():
        return model(torch.from_numpy(file["ids"][:].astype("i8"))).logits.numpy()


def show_growth():
    mla("rank", run, "--latent", 128, "--out", "wide.h5")
    old, new, exact_old, exact_new = logits(run), logits("wide.h5"), exact_logits(run), exact_logits("wide.h5")
    print(f"96 -> 128: {old.size} logits up to {abs(old).max():.1f} change by {abs(exact_new - exact_old).max():.2g} at most in "
          f"double precision, by {abs(new - old).max():.2g} in f32, which is off by {abs(old - exact_old).max():.2g} itself")


def show(name, checkpoint, report=None):
    now = loss(checkpoint)
    ranks = errors = ""
    if report:
        ranks = " ".join(str(layer["after"]) for layer in report["layers"])
        errors = " ".join(f"{layer['error']:.4f}" for layer in report["layers"])
    print(f"{name:34} {ranks:14} {errors:28} {now:9.5f} {now - before:+9.5f} {100 * (now / before - 1):+7.3f} %", flush=True)


def recover(name, base):
    (folder / "recovery.yaml").write_text(RECOVERY % (base, tokens))
    mla("finetune", "recovery.yaml", "--out", f"recovered-{name}", "--json")
    show(f"{name}, 200 steps of recovery", f"recovered-{name}")


parser = argparse.ArgumentParser()
parser.add_argument("--mla", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--run", type=lambda path: pathlib.Path(path).resolve())
parser.add_argument("--tokens", type=lambda path: pathlib.Path(path).resolve())
parser.add_argument("--held-out", type=lambda path: pathlib.Path(path).resolve())
arguments = parser.parse_args()
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    run, tokens, held_out = (arguments.run, arguments.tokens, arguments.held_out) if arguments.run else train()
    (folder / "short.txt").write_bytes(held_out.read_bytes()[:MOST_HELD_OUT])
    before = loss(run)
    with h5py.File(tokens) as file, h5py.File(folder / "ids.h5", "w") as ids:
        ids["ids"] = file["held_out/tokens"][: 8 * 256].astype("i4").reshape(8, 256)
    show_growth()
    print(f"\n{'':34} {'ranks':14} {'errors of the attention':28} {'held-out':>9}")
    show("as it was", run)
    recover("original", run)
    for rank in (64, 32, 16):
        size = 4 * 4 * (rank + 32)
        print(f"-- {size} bytes per token, {100 * size / 2048:.1f} % of the cache")
        for kind, words in (("svd", ("--latent", rank, "--method", "svd")), ("text", ("--latent", rank)),
                            ("budget", ("--budget", size))):
            report = mla("rank", run, *words, "--calibrate", tokens, "--out", f"{kind}-{rank}.h5", "--json")
            show({"svd": "plain SVD of the weights", "text": "by the text, one rank", "budget": "by the text, a budget"}[kind],
                 f"{kind}-{rank}.h5", report)
        if rank in (64, 32):
            recover(f"text-{rank}", f"text-{rank}.h5")
