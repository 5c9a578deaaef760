"""Models through `mla convert`, held against transformers.

    python tests/parity/convert.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

Each case is a random model of transformers with multi-head attention (MHA, GQA or MQA; several kinds of frequencies,
with and without biases). It is imported, converted exactly, and exported: the logits of ours (`mla eval --logits`) and
those of transformers' own DeepseekV3ForCausalLM on the export must be the original's to 1e-5, and 200 greedy tokens the
same. Qwen3's norms of heads have no place in DeepSeek-V3's layout: there ours alone is compared, the export must be
refused by name, and with the norms folded it must be what ours computes.

Needs torch, transformers, safetensors, h5py and numpy. Exit code 1 when a case fails.
"""

import subprocess
import sys

import torch

import hugging_face as hf
from case_runner import Mismatch, quiet, run, run_cases
from cases import BASE, LLAMA3, YARN_PLAIN
from fill import fill_ids

GROUPED = BASE | {"num_key_value_heads": 2, "max_position_embeddings": 256}

# name -> (class of transformers, its settings)
CASES = {
    "llama": ("Llama", GROUPED),
    "llama-mha": ("Llama", GROUPED | {"num_key_value_heads": 4}),
    "llama-mqa": ("Llama", GROUPED | {"num_key_value_heads": 1, "head_dim": 24}),
    "llama-bias": ("Llama", GROUPED | {"attention_bias": True}),
    "llama-llama3": ("Llama", GROUPED | {"rope_scaling": LLAMA3, "rope_theta": 500.0, "tie_word_embeddings": True}),
    "llama-yarn": ("Llama", GROUPED | {"rope_scaling": YARN_PLAIN}),
    "qwen2": ("Qwen2", GROUPED | {"rope_theta": 1e6}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": None, "head_dim": 24}),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 24, "rope_theta": 1e6, "vocab_size": 320}),
}
GREEDY = 200


def greedy(model, ids):
    """The most likely next token, GREEDY times, from the first eight of a row."""
    row = torch.from_numpy(ids[:1, :8]).long()
    with torch.no_grad():
        for _ in range(GREEDY):
            row = torch.cat([row, model(input_ids=row, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return row[0].tolist()


def compare_folded(mla, folder, settings):
    """The norms folded by text: another function, which transformers computes as ours."""
    run(mla, "prepare", __file__, "--tokenizer", "bytes", "--held-out", "0", "--out", folder / "text.h5")
    run(mla, "convert", folder / "original.h5", "--fold-qk-norm", "--calibrate", folder / "text.h5",
           "--sequence", "64", "--out", folder / "folded.h5")
    run(mla, "export", folder / "folded.h5", "--out", folder / "export")
    ids = fill_ids("ids", (2, 48), settings["vocab_size"])
    ours = hf.mla_logits(mla, folder, folder / "folded.h5", ids)
    theirs = hf.relative_error(hf.logits(hf.load(folder / "export"), ids).numpy(), ours)
    if not theirs < 1e-5:
        raise Mismatch(f"transformers differs by {theirs:.1e} on the folded export")
    return f"folded, transformers on the export {theirs:.1e}"


def compare(name, mla, folder, seed):
    kind, settings = CASES[name]
    model = getattr(hf.transformers, f"{kind}ForCausalLM")(
        getattr(hf.transformers, f"{kind}Config")(attn_implementation="eager", **hf.copy.deepcopy(settings))).eval()
    hf.reference.set_weights(model, f"{seed}/")
    model.save_pretrained(folder / "original")
    ids = fill_ids("ids", (2, 48), settings["vocab_size"])
    expected = hf.exact_logits(folder / "original", ids)
    run(mla, "import", folder / "original", "--out", folder / "original.h5")
    run(mla, "convert", folder / "original.h5", "--out", folder / "latent.h5")
    ours = hf.relative_error(hf.mla_logits(mla, folder, folder / "latent.h5", ids), expected)
    if not ours < 1e-5:
        raise Mismatch(f"ours differ by {ours:.1e}")
    if kind == "Qwen3":
        done = subprocess.run([str(mla), "export", str(folder / "latent.h5"), "--out", str(folder / "export")],
                              capture_output=True, text=True)
        if done.returncode == 0 or "qk_norm" not in done.stderr:
            raise Mismatch(f"the export is not refused by name: {done.stderr}")
        return f"ours {ours:.1e}, export refused; {compare_folded(mla, folder, settings)}"
    run(mla, "export", folder / "latent.h5", "--out", folder / "export")
    exported = hf.load(folder / "export")
    if type(exported).__name__ != "DeepseekV3ForCausalLM":
        raise Mismatch(f"it is exported as {type(exported).__name__}")
    theirs = hf.relative_error(hf.logits(exported, ids).numpy(), expected)
    if not theirs < 1e-5:
        raise Mismatch(f"transformers differs by {theirs:.1e} on the export")
    same = greedy(model, ids) == greedy(exported, ids)
    if not same:
        raise Mismatch(f"{GREEDY} greedy tokens differ")
    return f"ours {ours:.1e}, transformers on the export {theirs:.1e}, {GREEDY} greedy tokens equal"


def main():
    quiet()
    return run_cases(__doc__, CASES, compare, seed=1)


if __name__ == "__main__":
    sys.exit(main())
