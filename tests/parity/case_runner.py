"""What scripts with named cases share: commands that are run, and a line for each case."""

import argparse
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


def run_cases(description, cases, check):
    """Prints what check(case, mla, folder) returns for the cases of the command line, or all; the exit code."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--mla", required=True, type=pathlib.Path)
    parser.add_argument("cases", nargs="*", default=list(cases))
    arguments = parser.parse_args()
    failed = 0
    for case in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{case}: {check(case, arguments.mla.absolute(), pathlib.Path(folder))}", flush=True)
            except Mismatch as error:
                failed += 1
                print(f"{case}: FAILED: {error}", flush=True)
    return 1 if failed else 0
