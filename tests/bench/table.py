"""All works in both precisions against PyTorch, eager and compiled, in turns; a table, and bench.json with a row each.

`ratio` is PyTorch's better time over ours; `onednn_fraction` is our step's model FLOPs per second over the rate of
oneDNN's own products of that step, weighted by their FLOPs and measured in turns with it. A peer that cannot run (out of
memory, or slower than the limit) has null. `of_full` is our step with adapters over ours of the whole model. `--padded`
gives PyTorch values as wide as keys, for its flash kernel. On a processor that does not multiply bf16, PyTorch's products
of it are 5 to 100 times slower than of f32: `--torch-f32` sets our bf16 against what its users would take there.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from interleave import Program, take_turns

HERE = Path(__file__).parent
RECIPES = HERE.parent.parent / "train/recipes"
LONG = ["--set", "train.sequence=8192", "--set", "train.batch=1", "--set", "train.microbatch=1",
        "--set", "model.max_position_embeddings=8192"]  # fmt: skip
SMALL = ["--set", "train.batch=4", "--set", "train.microbatch=4", "--set", "model.num_hidden_layers=4",
         "--set", "model.vocab_size=2048"]  # fmt: skip
ARTICLE = ["--set", "model.dropout=0", "--set", "train.batch=32", "--set", "train.microbatch=32"]

ATTENTION = "q_proj,kv_a_proj_with_mqa,kv_b_proj,o_proj"
LORA = ["--set", f"lora.targets={ATTENTION}", "--set", "lora.rank=8", "--set", "lora.alpha=16"]

# name: our benchmark, recipe and settings; options of torch_step.py
WORKS = {
    "decoder d512 x 8, T 1024 x 4": ("step", "decoder-d512x8.yaml", [], []),
    "lora-d512x8, T 1024 x 4": ("step", "decoder-d512x8.yaml", LORA, ["--lora", "8"]),
    "article's layer, 32 x 128 x 512": ("block", "article.yaml", ARTICLE, ["--work", "article"]),
    "decoder d512 x 8, T 8192 x 1": ("step", "decoder-d512x8.yaml", LONG, ["--length", "8192", "--batch", "1"]),
    "decoder d256 x 4, T 256 x 4": ("step", "quickstart.yaml", SMALL, ["--size", "d256x4", "--length", "256"]),
}


class Peer(Program):
    """A program that may be unable to run: then it has no steps."""

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def works(self):
        return self.about is not None and self.step_or_none() is not None

    def step_or_none(self):
        try:
            return self.step()
        except BrokenPipeError:
            return None


def start(options, work, precision):
    what, recipe, sets, torch = WORKS[work]
    ours = [options.mla.resolve(), "bench", what, RECIPES / recipe, "--interactive", "--set",
            f"train.precision={precision}", *sets]  # fmt: skip
    theirs = [options.python, HERE / "torch_step.py", "--interactive", "--threads", str(options.threads), *torch]
    theirs += (["--bf16"] if precision == "bf16" and not options.torch_f32 else []) + (["--pad-v"] if options.padded else [])
    peers = [Peer("mla", ours, options.threads), Peer("eager", theirs, options.threads)]
    if not options.eager:
        peers.append(Peer("compile", [*theirs, "--compile"], options.threads))
    if sets is LORA:  # what adapters save: our own step of the whole model
        peers.append(Peer("full", [*ours[: -len(LORA)]], options.threads))
    return peers


def fraction(mla, rounds):
    """Steps and products in turns, each step against the products after it: the machine's speed changes by the minute."""
    parts = []
    for _ in range(rounds):
        ms = mla.step()["ms"]
        mla.process.stdin.write("fraction\n")
        mla.process.stdin.flush()
        answer = mla.answer()
        parts.append(answer["model_gflop"] / (ms / 1e3) / answer["products_gflops"])
    return statistics.median(parts)


def measure(options, work, precision):
    programs = start(options, work, precision)
    running = [p for p in programs if p.works()]  # the first step of each warms up and is not counted
    take_turns(running, 1, options.steps)
    by_name = {p.name: p for p in running}
    torch = [p for p in running if p.name in ("eager", "compile")]
    mla = by_name["mla"]
    row = {
        "work": work, "precision": precision, "ours_ms": mla.median(),
        "torch_eager_ms": by_name["eager"].median() if "eager" in by_name else None,
        "torch_compile_ms": by_name["compile"].median() if "compile" in by_name else None,
        "ratio": min((p.median() for p in torch), default=float("nan")) / mla.median(),
        "of_full": mla.median() / by_name["full"].median() if "full" in by_name else None,
        "ours_peak_mb": mla.peak(), "onednn_fraction": fraction(mla, min(3, options.steps)),
        "torch_peak_mb": min((p.peak() for p in torch), default=None),
    }  # fmt: skip
    row["versions"] = [p.about for p in running]
    for p in running:
        p.process.stdin.close()
        p.process.wait()
    return row


def show(rows):
    print(f"\n{'work':32} {'':5} {'ours':>9} {'eager':>9} {'compiled':>9} {'ratio':>6} {'of full':>7} {'oneDNN':>7} {'MiB':>6} {'torch':>6}")
    for r in rows:
        times = [f"{r[k]:9.1f}" if r[k] else f"{'-':>9}" for k in ("ours_ms", "torch_eager_ms", "torch_compile_ms")]
        of_full = f"{r['of_full']:7.3f}" if r["of_full"] else f"{'-':>7}"
        torch_peak = f"{r['torch_peak_mb']:6.0f}" if r["torch_peak_mb"] else f"{'-':>6}"
        print(f"{r['work']:32} {r['precision']:5} {' '.join(times)} {r['ratio']:6.2f} {of_full} {r['onednn_fraction']:7.3f} "
              f"{r['ours_peak_mb']:6.0f} {torch_peak}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=WORKS, action="append")
    parser.add_argument("--precision", choices=("f32", "bf16"), action="append")
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--torch-f32", action="store_true", help="PyTorch stays in f32")
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out")
    parser.add_argument("--python", default=os.sys.executable)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    processor = subprocess.run(["sh", "-c", "grep -m1 'model name' /proc/cpuinfo"], capture_output=True, text=True)
    print(f"{processor.stdout.strip()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
          f"load {os.getloadavg()[0]:.2f}; PyTorch's values {'padded' if options.padded else 'as they are'}")  # fmt: skip
    rows = []
    for work in options.only or WORKS:
        for precision in options.precision or ("f32", "bf16"):
            rows.append(measure(options, work, precision))
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
            show(rows)


if __name__ == "__main__":
    main()
