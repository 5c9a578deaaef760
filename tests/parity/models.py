"""Holds `mla eval` against transformers: the same random weights, the same ids, the logits compared.

    python tests/parity/models.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

Needs torch, transformers, h5py and numpy. Exit code 1 when any case is off by more than the tolerance. The reference
is computed in double precision; the last column says how far PyTorch's own float32 is from it.
"""

import json
import pathlib
import sys

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import reference  # noqa: E402
from case_runner import Mismatch, quiet, run, run_cases  # noqa: E402
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
    checkpoint, tokens, logits = (folder / f"{name}.h5" for name in ("checkpoint", "ids", "logits"))
    write_checkpoint(checkpoint, config, tensors)
    write_tokens(tokens, ids)
    run(mla, "eval", "--unsealed", "--checkpoint", checkpoint, "--tokens", tokens, "--logits", logits)
    with h5py.File(logits) as file:
        return file["logits"][...]


def weights(model):
    return {name: cut(p.detach()).float().numpy() for name, (p, cut) in reference.views(model).items()}


def relative_error(a, b):
    if a.shape != b.shape:
        raise Mismatch(f"logits have shape {a.shape}, the reference {b.shape}")
    error = np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b)
    return error if np.isfinite(error) else np.inf


def check(name, mla, folder, seed, tolerance):
    config = LIVE[name]
    shape = (2, min(200, config["max_position_embeddings"]))
    ids = fill_ids(f"{seed}/ids", shape, config["vocab_size"])
    exact = reference.run(config, ids, double=True, prefix=f"{seed}/")["logits"].numpy()
    single = reference.run(config, ids, double=False, prefix=f"{seed}/")
    ours = relative_error(mla_logits(mla, folder, config, weights(single["model"]), ids), exact)
    theirs = relative_error(single["logits"].numpy(), exact)
    if not ours <= tolerance:
        raise Mismatch(f"logits are off by {ours:.1e} (PyTorch's in f32 by {theirs:.1e})")
    return f"logits within {ours:.1e} (PyTorch's in f32: {theirs:.1e})"


def main():
    quiet()
    return run_cases(__doc__, LIVE, check, seed=0, tolerance=1e-5)


if __name__ == "__main__":
    sys.exit(main())
