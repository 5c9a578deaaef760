"""Models through `mla import` and `mla export`, held against transformers.

    python tests/parity/hugging_face.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

Each case is a random model of transformers, saved by save_pretrained in four ways: f32, f32 in shards, bf16 in
shards, f16. Each is imported, its logits compared (`mla eval --logits`, in f32, against transformers in double
precision), and exported again: the tensors must be bitwise those that were saved, and transformers must load the
folder as the same class and give bitwise the same logits as from its own folder. Two more cases are trained here,
exported, and compared in the same way, with their tokenizer.

Needs torch, transformers, tokenizers, safetensors, h5py and numpy. Exit code 1 when a case fails.
"""

import copy
import pathlib
import sys

import h5py
import numpy as np
import safetensors
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import reference  # noqa: E402
from case_runner import Mismatch, quiet, run, run_cases  # noqa: E402
from cases import BASE, LATENT, LLAMA3, YARN, YARN_PLAIN  # noqa: E402
from fill import fill_ids  # noqa: E402

GROUPED = BASE | {"num_key_value_heads": 2}


def longrope(width, original, **more):
    """Factors for the angles of a rotary width; the texts have 60 tokens, so that 59 asks for the long ones."""
    short = [1 + 0.05 * i for i in range(width // 2)]
    return {"rope_type": "longrope", "short_factor": short, "long_factor": [1.1 + x * x for x in short],
            "original_max_position_embeddings": original} | more


# name -> (class of transformers, its settings)
CASES = {
    "v2": ("DeepseekV2", LATENT | {"v_head_dim": 12}),
    "v2-no-rank": ("DeepseekV2", LATENT | {"q_lora_rank": None, "mlp_bias": True, "attention_bias": True}),
    "v2-yarn": ("DeepseekV2", LATENT | {"rope_scaling": YARN, "tie_word_embeddings": True}),
    "v3": ("DeepseekV3", LATENT | {"v_head_dim": 24}),
    "v3-no-rank-half": ("DeepseekV3", LATENT | {"q_lora_rank": None, "rope_interleave": False}),
    "v3-yarn": ("DeepseekV3", LATENT | {"rope_scaling": YARN_PLAIN, "attention_bias": True}),
    "v3-yarn-all-dim": ("DeepseekV3", LATENT | {"rope_scaling": YARN_PLAIN | {"mscale_all_dim": 0.6}}),
    "v3-yarn-mscale": ("DeepseekV3", LATENT | {"rope_scaling": YARN_PLAIN | {"mscale": 0.6}}),
    "llama": ("Llama", GROUPED | {"rms_norm_eps": 1e-5}),
    "llama-bias-head": ("Llama", GROUPED | {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama-llama3": ("Llama", GROUPED | {"rope_scaling": LLAMA3, "rope_theta": 500.0, "tie_word_embeddings": True}),
    "llama-yarn-factor": ("Llama", GROUPED | {"rope_scaling": YARN | {"attention_factor": 1.3}}),
    "qwen2": ("Qwen2", GROUPED | {"rope_theta": 1e6}),
    "qwen2-tied-yarn": ("Qwen2", GROUPED | {"tie_word_embeddings": True, "rope_scaling": YARN_PLAIN}),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 24, "rope_theta": 1e6}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": None, "head_dim": 24, "rms_norm_eps": 1e-5}),
    "mistral-tied-yarn": ("Mistral", GROUPED | {"sliding_window": None, "tie_word_embeddings": True,
                                                "rope_scaling": YARN_PLAIN}),
    "phi3": ("Phi3", GROUPED | {"pad_token_id": 0, "rope_theta": 500.0}),
    "phi3-tied": ("Phi3", GROUPED | {"pad_token_id": 0, "tie_word_embeddings": True, "num_key_value_heads": 4}),
    "v3-longrope-long": ("DeepseekV3", LATENT | {"rope_scaling": longrope(8, 59, attention_factor=1.2)}),
    "v3-longrope-short": ("DeepseekV3", LATENT | {"rope_scaling": longrope(8, 60), "rope_interleave": False}),
    "v2-longrope": ("DeepseekV2", LATENT | {"rope_scaling": longrope(8, 59, factor=3.0)}),
    "v3-linear": ("DeepseekV3", LATENT | {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
    "v3-dynamic": ("DeepseekV3", LATENT | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "llama-longrope-long": ("Llama", GROUPED | {"rope_scaling": longrope(16, 59)}),
    "llama-longrope-short": ("Llama", GROUPED | {"rope_scaling": longrope(16, 60, attention_factor=0.9)}),
    "llama-longrope-parameters": ("Llama", GROUPED | {"rope_parameters": longrope(16, 30, rope_theta=500.0)}),
    "qwen2-longrope": ("Qwen2", GROUPED | {"rope_scaling": longrope(16, 59, factor=0.5)}),
    "qwen3-linear-1": ("Qwen3", GROUPED | {"head_dim": 24, "rope_scaling": {"type": "linear", "factor": 1}}),
    "llama-linear": ("Llama", GROUPED | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 700.0}}),
    "llama-dynamic": ("Llama", GROUPED | {"rope_scaling": {"type": "dynamic", "factor": 4.0}}),
    "mistral-longrope": ("Mistral", GROUPED | {"sliding_window": None, "rope_scaling": longrope(16, 59)}),
    "phi3-longrope-long": ("Phi3", GROUPED | {"pad_token_id": 0, "original_max_position_embeddings": 59,
                                              "rope_scaling": longrope(16, 7)}),
    "phi3-longrope-short": ("Phi3", GROUPED | {"pad_token_id": 0, "original_max_position_embeddings": 60,
                                               "rope_scaling": longrope(16, 7) | {"rope_type": "su"}}),
    "phi3-longrope-4096": ("Phi3", GROUPED | {"pad_token_id": 0, "rope_scaling": longrope(16, 59) | {"type": "yarn",
                                                                                                  "rope_type": "yarn"}}),
    "qwen3-tied-bias": ("Qwen3", GROUPED | {"head_dim": 16, "attention_bias": True, "tie_word_embeddings": True}),
}
FORMS = {"f32": (torch.float32, "1GB"), "f32 sharded": (torch.float32, "50KB"), "bf16 sharded": (torch.bfloat16, "30KB"),
         "f16": (torch.float16, "1GB")}  # fmt: skip
# Sets of --set for `mla train`: latent attention, and multi-head attention with neighbours as rotary pairs.
TRAINED = {
    "trained-mla": ["model.kv_lora_rank=24", "model.q_lora_rank=32", "model.qk_rope_head_dim=8"],
    "trained-mla-ranks": ["model.kv_lora_rank=24", "model.qk_rope_head_dim=8"],
    "trained-mha": ["model.attention=multi_head", "model.num_key_value_heads=2", "model.qk_norm=true"],
}
RECIPE = """model: {hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, max_position_embeddings: 64}
data: {source: %s, tokenizer: bpe, vocab_size: 300, held_out: 0.1}
train: {steps: 3, batch: 2, sequence: 32}
"""


def relative_error(a, b):
    error = np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b) if a.shape == b.shape else np.inf
    return error if np.isfinite(error) else np.inf


# ---- the two sides


def build(name, seed):
    kind, settings = CASES[name]
    config = getattr(transformers, f"{kind}Config")(attn_implementation="eager", **copy.deepcopy(settings))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    reference.set_weights(model, f"{seed}/")
    return model


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits


def exact_logits(folder, ids):
    """In double precision. The rotary frequencies are made anew, as they are not part of the weights."""
    weights = load(folder).state_dict()
    with reference.double_precision():
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval().double()
        model.load_state_dict({name: value.double() for name, value in weights.items()})
        return logits(model, ids).numpy()


def mla_logits(mla, folder, checkpoint, ids):
    tokens, out = folder / "ids.h5", folder / "logits.h5"
    with h5py.File(tokens, "w", libver=("earliest", "v110")) as file:
        file["ids"] = ids.astype(np.int32)
    run(mla, "eval", "--checkpoint", checkpoint, "--tokens", tokens, "--logits", out)
    with h5py.File(out) as file:
        return file["logits"][...]


def tensors(folder):
    """name -> tensor, of all files of a folder."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(path, "pt") as file:
            out |= {name: file.get_tensor(name) for name in file.keys()}
    return out


# ---- what must hold


def bits(tensor):
    integers = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
    return tensor.view(integers[tensor.dtype])


def check_tensors(a, b):
    if a.keys() != b.keys():
        raise Mismatch(f"tensors differ: {sorted(a.keys() ^ b.keys())}")
    for name, x in a.items():
        y = b[name]
        if x.dtype != y.dtype or not torch.equal(bits(x), bits(y)):
            raise Mismatch(f"{name} is not bitwise what it was")


def check_loaded(theirs, ours, ids):
    a, b = load(theirs), load(ours)
    if type(a) is not type(b):
        raise Mismatch(f"{type(a).__name__} became {type(b).__name__}")
    if not torch.equal(logits(a, ids), logits(b, ids)):
        raise Mismatch("transformers' logits differ after export")


def check_logits(mla, folder, checkpoint, theirs, ids, tolerance):
    error = relative_error(mla_logits(mla, folder, checkpoint, ids), exact_logits(theirs, ids))
    if error > tolerance:
        raise Mismatch(f"logits are off by {error:.1e}")
    return error


def check_case(mla, folder, name, seed, tolerance):
    """The largest error of the logits over all forms."""
    model = build(name, seed)
    ids = fill_ids(f"{seed}/ids", (2, 60), model.config.vocab_size)
    errors = []
    for form, (dtype, shard_size) in FORMS.items():
        theirs, ours, checkpoint = (folder / f"{form}{end}".replace(" ", "-") for end in ("", "-out", ".h5"))
        copy.deepcopy(model).to(dtype).save_pretrained(theirs, max_shard_size=shard_size)
        if ("sharded" in form) != (len(list(theirs.glob("*.safetensors"))) > 1):
            raise Mismatch(f"{form}: not in the shards that the test wants")
        run(mla, "import", theirs, "--out", checkpoint)
        errors.append(check_logits(mla, folder, checkpoint, theirs, ids, tolerance))
        run(mla, "export", checkpoint, "--out", ours, "--shard-size", shard_size)
        check_tensors(tensors(theirs), tensors(ours))
        check_loaded(theirs, ours, ids)
    return max(errors)


def check_tokenizer(run_folder, ours):
    """AutoTokenizer gives the ids of `tokenizers` and knows the end token."""
    import tokenizers

    text = "The licence: 1984, naïve — \U0001f600\n\tdef f(x): return x\n"
    plain = tokenizers.Tokenizer.from_file(str(run_folder / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(ours)
    if auto(text)["input_ids"] != plain.encode(text).ids:
        raise Mismatch("AutoTokenizer gives other ids")
    if auto.eos_token != "<|endoftext|>" or auto.eos_token_id != plain.token_to_id("<|endoftext|>"):
        raise Mismatch(f"AutoTokenizer's end token is {auto.eos_token}")
    if load(ours).config.eos_token_id != auto.eos_token_id:
        raise Mismatch("config.json names another end token")


def check_trained(mla, folder, name, seed, tolerance):
    source, recipe, trained, ours = (folder / x for x in ("text.txt", "recipe.yaml", "run", "out"))
    source.write_text("\n\n".join(f"Line {i} of a text whose square is {i * i}." for i in range(400)))
    recipe.write_text(RECIPE % source)
    settings = [word for key in TRAINED[name] + [f"train.seed={seed + 1}"] for word in ("--set", key)]
    run(mla, "train", recipe, *settings, "--out", trained, "--json")
    if name == "trained-mla-ranks":
        run(mla, "rank", trained, "--latent", "24,16", "--method", "svd", "--out", folder / "ranks.h5")
        trained = folder / "ranks.h5"
    run(mla, "export", trained, "--out", ours)
    ids = fill_ids(f"{seed}/ids", (2, 60), 300)
    check_tokenizer(folder / "run", ours)
    return check_logits(mla, folder, trained, ours, ids, tolerance)


def check(name, mla, folder, seed, tolerance):
    error = (check_case if name in CASES else check_trained)(mla, folder, name, seed, tolerance)
    return f"logits within {error:.1e}"


def main():
    quiet()
    return run_cases(__doc__, [*CASES, *TRAINED], check, seed=0, tolerance=1e-5)


if __name__ == "__main__":
    sys.exit(main())
