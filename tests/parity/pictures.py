"""Holds the figures of `mla draw attention` and `spectrum` against transformers: models trained here for a few steps and
exported, their attention weights on a sentence and the singular values of their latents on a text.

    python tests/parity/pictures.py --mla build/mla [--keep DIR]

Needs torch, transformers and numpy. Exit code 1 when any figure is off by more than the tolerance.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

SENTENCE = "You may convey a work based on the Program, 水 und Wörter."
SIZES = ["hidden_size=32", "intermediate_size=48", "num_hidden_layers=2", "num_attention_heads=4",
         "max_position_embeddings=512"]
LATENT = ["kv_lora_rank=24", "qk_nope_head_dim=16", "qk_rope_head_dim=8", "v_head_dim=12", "q_lora_rank=20"]
MODELS = {
    "latent": LATENT,
    "yarn": LATENT + ["rope_scaling.type=yarn", "rope_scaling.factor=4", "rope_scaling.mscale=1",
                      "rope_scaling.mscale_all_dim=1", "rope_scaling.original_max_position_embeddings=64"],
    "multi_head": ["attention=multi_head", "rope_interleave=false"],
    "groups": ["attention=multi_head", "rope_interleave=false", "num_key_value_heads=2"],
}


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def make(mla, folder, name, text):
    """Trains, exports, and loads the export in double precision."""
    settings = [f"model.{s}" for s in SIZES + MODELS[name]] + [
        f"data.source={text}", "data.tokenizer=bpe", "data.vocab_size=400", "data.held_out=0", "train.steps=20",
        "train.batch=4", "train.sequence=64", "train.precision=f32", "optim.lr=1e-2", "optim.warmup_steps=0"]
    (folder / "empty.yaml").write_text("")
    run(mla, "train", folder / "empty.yaml", *[w for s in settings for w in ("--set", s)], "--out", folder / name)
    run(mla, "export", folder / name, "--out", folder / f"{name}-export")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / f"{name}-export", attn_implementation="eager")
    return model.double().eval(), transformers.AutoTokenizer.from_pretrained(folder / f"{name}-export")


def attention_error(mla, folder, name, model, tokenizer):
    figures = json.loads(run(mla, "draw", "attention", folder / name, "--text", SENTENCE, "--json"))
    ids = tokenizer(SENTENCE, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        exact = model(ids, output_attentions=True).attentions
    assert len(figures["maps"]) == len(exact) * exact[0].shape[1] and len(figures["tokens"]) == ids.shape[1]
    worst = 0
    for map_ in figures["maps"]:
        for t, row in enumerate(map_["weights"]):
            reference = exact[map_["layer"]][0, map_["head"], t, : t + 1].numpy()
            worst = max(worst, np.abs(np.array(row) - reference).max())
    return worst


def spectrum_error(mla, folder, name, model, tokenizer, text):
    figures = json.loads(run(mla, "draw", "spectrum", folder / name, "--text", text, "--tokens", 512, "--json"))
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = [separator] + tokenizer(text.read_text())["input_ids"]
    latents = {}
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.kv_a_layernorm.register_forward_hook(lambda _m, _x, y, i=i: latents.update({i: y[0]}))
    with torch.no_grad():
        model(torch.tensor([ids[:512]]))
    worst = 0
    for i, layer in enumerate(figures["layers"]):
        exact = np.linalg.svd(latents[i].numpy(), compute_uv=False) / np.sqrt(figures["tokens"])
        share = exact / exact.sum()
        effective = np.exp(-(share * np.log(share)).sum())
        worst = max(worst, np.abs(np.array(layer["singular_values"]) / exact - 1).max(),
                    abs(layer["effective_rank"] / effective - 1))
    return worst


def compare(mla, folder, tolerance):
    text = folder / "text.txt"
    text.write_text(pathlib.Path("/usr/share/common-licenses/GPL-3").read_text())
    good = True
    for name in MODELS:
        model, tokenizer = make(mla, folder, name, text)
        errors = {"attention": attention_error(mla, folder, name, model, tokenizer)}
        if "multi_head" not in MODELS[name][0]:
            errors["spectrum"] = spectrum_error(mla, folder, name, model, tokenizer, text)
        for picture, error in errors.items():
            good = good and error <= tolerance
            print(f"{name:12} {picture:10} {error:.1e}{'' if error <= tolerance else '   OFF'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path, help="the mla command")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="error allowed (default 1e-5)")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return 0 if compare(options.mla.resolve(), folder, options.tolerance) else 1


if __name__ == "__main__":
    sys.exit(main())
