"""What scripts with named cases share: commands that are run, and a line for each case."""

import argparse
import contextlib
import pathlib
import subprocess
import tempfile


class Mismatch(Exception):
    """What differs, in words."""


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise Mismatch(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def quiet():
    """Torch on two threads, and transformers without bars and advice."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


@contextlib.contextmanager
def folder_of(case, keep):
    if keep:
        (keep / case).mkdir(parents=True)
        yield keep / case
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield pathlib.Path(folder)


def run_cases(description, cases, check, **numbers):
    """Prints what check(case, mla, folder, **numbers) returns for the cases of the command line, or all; the exit code.
    Numbers are options, given with their defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path, help="the mla command")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files in this folder, without the cases as yet")
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}; all when none is given")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(cases):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known are {', '.join(cases)}")
    failed = 0
    for case in given.cases or cases:
        with folder_of(case, given.keep) as folder:
            try:
                found = check(case, given.mla.absolute(), folder, **{name: getattr(given, name) for name in numbers})
                print(f"{case}: {found}", flush=True)
            except Mismatch as error:
                failed += 1
                print(f"{case}: FAILED: {error}", flush=True)
    print(f"{failed} failed" if failed else "all agree")
    return 1 if failed else 0
