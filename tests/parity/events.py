"""Opens event files with TensorBoard and compares every value with the log: of a run that wrote them while it trained, was
killed, resumed without TensorBoard and resumed with it, read at its end and by a TensorBoard that watched it from the first
kill on; and of `mla report --tensorboard` of that run.

    python tests/parity/events.py --mla build/mla [--keep DIR]

Needs the package tensorboard. Exit code 1 when a step is missing, there twice, or off.
"""

import argparse
import collections
import json
import math
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"train/loss": "loss", "train/grad_norm": "grad_norm", "train/learning_rate": "lr", "train/kl": "kl",
        "train/tokens": "tokens", "eval/loss": "held_out_loss", "eval/accuracy": "accuracy", "eval/macro_f1": "macro_f1"}
ALWAYS = {"train/loss", "train/grad_norm"}  # NaN where the log has null


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def scalars_of(line):
    """What an event file should have of a line of the log."""
    scalars = {tag: line.get(key) for tag, key in TAGS.items()}
    scalars |= {f"time/{key}": value for key, value in line["time"].items() if key not in ("wall_time", "session")}
    scalars |= {f"statistics/{key}": value for key, value in line.get("statistics", {}).items()}
    scalars |= {f"eval/loss_{k + 1}": value for k, value in enumerate(line.get("held_out_losses", []))}
    return {tag: math.nan if value is None else f32(value)
            for tag, value in scalars.items() if value is not None or tag in ALWAYS}


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def compare(name, run, accumulator):
    """The number of differences."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {(tag, line["step"]): (value, float(line["time"]["wall_time"]))
                for line in lines for tag, value in scalars_of(line).items()}
    found = [((tag, e.step), (e.value, e.wall_time))
             for tag in accumulator.Tags()["scalars"] for e in accumulator.Scalars(tag)]
    wrong = [key for key, pair in found if key not in expected or repr(pair) != repr(expected[key])]
    wrong += [key for key in expected if key not in dict(found)]
    wrong += [key for key, times in collections.Counter(key for key, _ in found).items() if times > 1]
    text = accumulator.Tensors("recipe")[0].tensor_proto.string_val[0].decode()
    if "".join(line[4:] for line in text.splitlines(keepends=True)) != (run / "recipe.yaml").read_text():
        wrong.append("recipe")
    print(f"{name}: {len(lines)} steps, {len(expected)} scalars, {len(wrong)} off", *wrong[:3])
    return len(wrong)


def train(*command, kill_after=None):
    """Trains to the end, or kills it once the log has so many lines."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, end = kill_after or (None, 0)
    while log and process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < end):
        time.sleep(0.002)
    if log:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    assert log or code == 0, command


def make_run(mla, folder, kind):
    """Killed twice: after the first time it resumes without TensorBoard, after the second with it. Returns the run, and who
    watched it."""
    run = folder / kind
    tokens = [folder / "gpl.h5", folder / "apache.h5"]
    for path, name in zip(tokens, ("GPL-3", "Apache-2.0")):
        subprocess.run([mla, "prepare", f"/usr/share/common-licenses/{name}", "--tokenizer", "bytes", "--held-out", "0.1",
                        "--out", path], check=True, capture_output=True)
    data = {"plain": [f"data.tokens={tokens[0]}"], "mix": [f"data.mix={tokens[0]}:3,{tokens[1]}:1"]}[kind]
    settings = data + ["data.source=", "model.hidden_size=32", "model.num_hidden_layers=2",
                       "model.num_attention_heads=2", "model.intermediate_size=32", "train.sequence=32", "train.batch=4",
                       "train.steps=300", "train.eval_every=7", "checkpoint.every=20", "train.tensorboard=true"]
    log = run / "metrics.jsonl"
    train(mla, "train", "quickstart", *[w for s in settings for w in ("--set", s)], "--out", run, kill_after=(log, 110))
    watcher = read(run)
    train(mla, "train", "--resume", run, "--set", "train.tensorboard=false", kill_after=(log, 170))
    train(mla, "train", "--resume", run, "--set", "train.tensorboard=true", kill_after=(log, 230))
    train(mla, "train", "--resume", run, "--set", "train.tensorboard=true")
    watcher.Reload()
    return run, watcher


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path, help="the mla command")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files in this folder")
    options = parser.parse_args()
    mla = options.mla.resolve()
    differences = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("plain", "mix"):
            run, watcher = make_run(mla, folder, kind)
            differences += compare(f"{kind}, afterwards", run, read(run))
            differences += compare(f"{kind}, watched", run, watcher)
            subprocess.run([mla, "report", run, "--tensorboard", folder / "events"], check=True, capture_output=True)
            differences += compare(f"{kind}, by report", run, read(folder / "events" / kind))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
