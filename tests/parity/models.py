"""Holds `mla eval` against transformers: the same random weights, the same ids, the logits compared.

    python tests/parity/models.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

Needs torch, transformers, h5py and numpy. Exit code 1 when any case is off by more than the tolerance. The reference
is computed in double precision; the last column says how far PyTorch's own float32 is from it.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import reference  # noqa: E402
from cases import LIVE  # noqa: E402
from fill import fill_ids  # noqa: E402


def write_checkpoint(path, config, tensors):
    """A checkpoint in our layout, without the seal of files that `mla` writes; texts have a fixed length."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for name, value in tensors.items():
            file[f"model/{name}"] = np.ascontiguousarray(value, np.float32)
        file["config/model"] = np.bytes_(json.dumps(config).encode())


def write_tokens(path, ids):
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file["ids"] = ids.astype(np.int32)


def mla_logits(mla, folder, config, tensors, ids):
    """What `mla eval` says; raises subprocess.CalledProcessError with its words when it fails."""
    checkpoint, tokens, logits = (folder / f"{name}.h5" for name in ("checkpoint", "ids", "logits"))
    write_checkpoint(checkpoint, config, tensors)
    write_tokens(tokens, ids)
    command = [mla, "eval", "--unsealed", "--checkpoint", checkpoint, "--tokens", tokens, "--logits", logits]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with h5py.File(logits) as file:
        return file["logits"][...]


def weights(model):
    return {name: cut(p.detach()).float().numpy() for name, (p, cut) in reference.views(model).items()}


def relative_error(a, b):
    if a.shape != b.shape:
        raise ValueError(f"logits have shape {a.shape}, the reference {b.shape}")
    error = np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b)
    return error if np.isfinite(error) else np.inf


def compare(mla, folder, name, seed):
    """(our error, PyTorch's float32 error) against the reference in double precision."""
    config = LIVE[name]
    shape = (2, min(200, config["max_position_embeddings"]))
    ids = fill_ids(f"{seed}/ids", shape, config["vocab_size"])
    exact = reference.run(config, ids, double=True, prefix=f"{seed}/")
    single = reference.run(config, ids, double=False, prefix=f"{seed}/")
    folder.mkdir(parents=True, exist_ok=True)
    ours = mla_logits(mla, folder, config, weights(single["model"]), ids)
    exact = exact["logits"].numpy()
    return relative_error(ours, exact), relative_error(single["logits"].numpy(), exact)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path, help="the mla command")
    parser.add_argument("--seed", type=int, default=0, help="other weights and ids (default 0)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative error allowed (default 1e-5)")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files in this folder")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(LIVE)}; all when none is given")
    options = parser.parse_args()
    unknown = set(options.cases) - set(LIVE)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known are {', '.join(LIVE)}")
    return options


def main():
    options = arguments()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, seed {options.seed}")
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or pathlib.Path(temporary)
        for name in options.cases or LIVE:
            try:
                ours, theirs = compare(options.mla.resolve(), root / name, name, options.seed)
            except (subprocess.CalledProcessError, ValueError, OSError) as error:
                failed += 1
                print(f"{name:20} FAILED  {(getattr(error, 'stderr', None) or str(error)).strip()}")
                continue
            good = ours <= options.tolerance
            failed += not good
            print(f"{name:20} {'ok' if good else 'WRONG':6}  error {ours:.1e}  (PyTorch float32 {theirs:.1e})")
    print(f"{failed} failed" if failed else "all agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
