"""Runs our training step and PyTorch's in turns, so that both meet the same machine, and compares them.

    python interleave.py --mla build/mla --recipe train/recipes/decoder-d512x8.yaml [--steps N] [-- torch_step options]

Both programs speak one protocol: a JSON line {"ready": true, ...} with versions, then for each line "step" on their
stdin one training step and a JSON line with "ms" and "peak_mib". `step.sh` calls this with a Python that has torch.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path


class Program:
    def __init__(self, name, command, threads):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)  # fmt: skip
        self.steps = []
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self.process.wait()} before it answered")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.answer()

    def median(self):
        return statistics.median(s["ms"] for s in self.steps)

    def peak(self):
        return max(s["peak_mib"] for s in self.steps)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"{self.name} ended with exit code {self.process.returncode}")


def take_turns(programs, warm_up, steps):
    """Who goes first alternates; the steps of the warm-up are not counted, but for their memory."""
    for number in range(warm_up + steps):
        for program in programs if number % 2 == 0 else programs[::-1]:
            result = program.step()
            counted = number >= warm_up
            if counted:
                program.steps.append(result)
            print(f"{'step' if counted else 'warm-up'} {number + 1:3}  {program.name:5} {result['ms']:10.1f} ms")


def arguments():
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", type=Path, required=True, help="the mla command")
    parser.add_argument("--recipe", type=Path, default=here.parent.parent / "train/recipes/decoder-d512x8.yaml")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("torch_options", nargs="*", help="after --: options of torch_step.py, such as --pad-v")
    options = parser.parse_args()
    if options.steps < 1 or options.warm_up < 0 or options.threads < 1:
        parser.error("--steps and --threads must be at least 1, --warm-up at least 0")
    return options


def main():
    options = arguments()
    theirs = [sys.executable, Path(__file__).parent / "torch_step.py", "--interactive", "--threads",
              str(options.threads), *options.torch_options]  # fmt: skip
    ours = [options.mla.resolve(), "bench", "step", options.recipe, "--interactive"]
    programs = [Program("mla", ours, options.threads), Program("torch", theirs, options.threads)]
    print(f"machine {platform.node()}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.2f}")
    for program in programs:
        print(f"{program.name:5} {json.dumps(program.about)}")
    take_turns(programs, options.warm_up, options.steps)
    for program in programs:
        program.close()
    for p in programs:
        low, high = min(s["ms"] for s in p.steps), max(s["ms"] for s in p.steps)
        print(f"{p.name:5} median {p.median():10.1f} ms  ({low:.1f} to {high:.1f})  peak {p.peak():8.1f} MiB")
    mla, torch = programs
    print(f"torch / mla: time {torch.median() / mla.median():.3f}, peak memory {torch.peak() / mla.peak():.3f}")


if __name__ == "__main__":
    main()
