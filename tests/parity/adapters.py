"""Adapters held against PEFT: its files here, ours there, and ten steps of training side by side.

    python tests/parity/adapters.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

For each model (random, of transformers) and each kind of adapter (LoRA with ranks and alphas by pattern, rsLoRA, DoRA):

  loaded    one made by PEFT, with A and B random: `mla eval --adapter`, and after `mla import --base` and `mla merge`,
            against PEFT in double precision; and exported again
  trained   ten steps of `mla finetune` from A and B of ours, and of PEFT with torch's AdamW from the same, on the same
            tokens: the losses; then the trained adapter, exported, in PEFT: the logits
  bf16      the same steps in bf16 on a base that is kept in bf16, and PEFT's on its: both within bf16's rounding of the
            losses in double precision

Needs torch, transformers, peft, safetensors, h5py and numpy. Exit code 1 when a case fails.
"""

import copy
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import safetensors.torch
import torch
import transformers

import peft

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import reference  # noqa: E402
from case_runner import Mismatch, quiet, run, run_cases  # noqa: E402
from cases import LATENT  # noqa: E402
from fill import fill_ids  # noqa: E402
from hugging_face import GROUPED, exact_logits, load, mla_logits, relative_error  # noqa: E402

VOCABULARY, BATCH, LENGTH, STEPS = 300, 4, 32, 10
SIZES = {"vocab_size": VOCABULARY}

MODELS = {
    "v3": ("DeepseekV3", LATENT | SIZES | {"v_head_dim": 24, "attention_bias": True}),
    "v2-no-rank": ("DeepseekV2", LATENT | SIZES | {"q_lora_rank": None}),
    "llama": ("Llama", GROUPED | SIZES | {"attention_bias": True}),
    "qwen3": ("Qwen3", GROUPED | SIZES | {"head_dim": 24, "tie_word_embeddings": True}),
}
# PEFT 0.21 takes the feed-forward of DeepSeek's architectures for experts even where it is dense, and puts no adapter
# on it: there, only the attention's projections are compared.
LATENT_NAMES = ["q_a_proj", "q_b_proj", "q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
OTHER_NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS = {
    "lora": {"rank_pattern": {r"layers\.1\..*o_proj": 2, "kv_b_proj": 3}, "alpha_pattern": {"o_proj": 5}},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}
OURS = {"lora": ["lora.targets=layers.0.*.q*_proj:3,layers.1.*.o_proj:2:5,%s"],
        "rslora": ["lora.targets=%s", "lora.rslora=true"], "dora": ["lora.targets=%s", "lora.dora=true"],
        "pissa": ["lora.targets=%s", "lora.init=pissa"]}  # fmt: skip
COMMON = ["lora.rank=4", "lora.alpha=8", "optim.lr=3e-3", "optim.schedule=constant", "optim.weight_decay=0.1",
          "optim.clip=1", "train.precision=f32", f"train.batch={BATCH}", f"train.sequence={LENGTH}"]  # fmt: skip


def is_latent(model):
    return "kv_lora_rank" in json.loads((model / "config.json").read_text())


def settings(*words):
    return [part for word in words for part in ("--set", word)]


# ---- models and their adapters


def build(name, seed, folder):
    """A random model: its folder and our checkpoint of it."""
    kind, config = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(attn_implementation="eager", **copy.deepcopy(config))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    reference.set_weights(model, f"{seed}/")
    model.save_pretrained(folder / "model")
    return folder / "model"


def exact(model, adapter, ids):
    """PEFT's logits in double precision."""
    both = double(model, adapter)
    with torch.no_grad(), reference.double_precision():
        return both(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits.numpy()


def double(model, adapter, **how):
    """The model with PEFT's adapter, in double precision; the rotary frequencies are made anew, they are no weights."""
    weights = {name: value.double() for name, value in load(model).state_dict().items()}
    with reference.double_precision():
        config = transformers.AutoConfig.from_pretrained(model, attn_implementation="eager")
        base = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64).double().eval()
    base.load_state_dict(weights)
    return peft.PeftModel.from_pretrained(base, adapter, autocast_adapter_dtype=False, **how).double().eval()


def adapter_logits(mla, folder, checkpoint, adapters, ids):
    tokens, out = folder / "ids.h5", folder / "logits.h5"
    with h5py.File(tokens, "w", libver=("earliest", "v110")) as file:
        file["ids"] = ids.astype(np.int32)
    words = [word for adapter in adapters for word in ("--adapter", adapter)]
    run(mla, "eval", "--checkpoint", checkpoint, *words, "--tokens", tokens, "--logits", out)
    with h5py.File(out) as file:
        return file["logits"][...]


def check(what, ours, theirs, tolerance):
    error = relative_error(ours, theirs)
    if error > tolerance:
        raise Mismatch(f"{what}: logits are off by {error:.1e}")
    return error


# ---- the checks


def rename(theirs, out):
    """As a training loop saves it that knows nothing of PEFT's names."""
    shutil.copytree(theirs, out)
    file = out / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(file)
    names = {name: f"module.{name}" for name in tensors}
    for name in names:
        stem, last = name.rsplit(".", 1)
        names[name] = f"module.{stem}.default.{last}" if last == "weight" else f"module.{name}.default.weight"
    safetensors.torch.save_file({names[name]: value for name, value in tensors.items()}, file)


def check_incomplete(mla, folder, base, theirs):
    """Without the tensors of one module, and without any, it is refused."""
    file = theirs / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(file)
    module = sorted(tensors)[0].split(".lora_")[0]
    for kept in {name: x for name, x in tensors.items() if not name.startswith(module)}, {}:
        cut = folder / f"cut-{len(kept)}"
        shutil.copytree(theirs, cut)
        safetensors.torch.save_file(kept, cut / "adapter_model.safetensors", {"format": "pt"})
        result = subprocess.run([mla, "merge", base, cut, "--out", folder / "no.h5"], capture_output=True, text=True)
        words = module.removeprefix("base_model.model.") if kept else "no tensors for"
        if result.returncode == 0 or words not in result.stderr:
            raise Mismatch(f"{len(kept)} of {len(tensors)} tensors were taken: {result.stderr}")
        shutil.rmtree(cut)


def check_loaded(mla, folder, model, base, kind, seed, tolerance):
    """An adapter of PEFT's, with nothing in it zero."""
    torch.manual_seed(seed)
    network = load(model)
    names = LATENT_NAMES if is_latent(model) else OTHER_NAMES
    targets = [name for name in names if any(key.endswith(f".{name}") for key, _ in network.named_modules())]
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, **KINDS[kind])
    both = peft.get_peft_model(network, config)
    with torch.no_grad():
        for name, value in both.named_parameters():
            if "lora_magnitude" in name:
                value.mul_(1 + 0.1 * torch.rand_like(value))
    theirs, ours, merged, again = (folder / f"{kind}-{x}" for x in ("peft", "own.h5", "merged.h5", "again"))
    both.save_pretrained(theirs)
    ids = fill_ids(f"{seed}/ids", (2, 60), VOCABULARY)
    expected = exact(model, theirs, ids)
    if relative_error(exact_logits(model, ids), expected) < 1e-2:
        raise Mismatch("the adapter hardly changes anything: the test is worth nothing")
    errors = [check("PEFT's adapter", adapter_logits(mla, folder, base, [theirs], ids), expected, tolerance)]
    check_incomplete(mla, folder, base, theirs)
    run(mla, "import", theirs, "--base", base, "--out", ours)
    errors.append(check("imported", adapter_logits(mla, folder, base, [ours], ids), expected, tolerance))
    run(mla, "merge", base, theirs, "--out", merged)
    errors.append(check("merged", adapter_logits(mla, folder, merged, [], ids), expected, tolerance))
    renamed = folder / f"{kind}-renamed"
    rename(theirs, renamed)
    errors.append(check("renamed", adapter_logits(mla, folder, base, [renamed], ids), expected, tolerance))
    run(mla, "export", ours, "--out", again)
    errors.append(check("exported again", exact(model, again, ids), expected, 1e-9))
    return max(errors)


def losses(run_folder):
    return [json.loads(line)["loss"] for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def train(mla, folder, base, tokens, kind, name, steps, *more):
    out = folder / f"{kind}-{name}"
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"finetune: {{base: {base}}}\ndata: {{tokens: {tokens}}}\n")
    targets = "self_attn.*" if is_latent(folder / "model") else "*"
    ours = [word.replace("%s", targets) for word in OURS[kind]]
    run(mla, "finetune", recipe, *settings(f"train.steps={steps}", *COMMON, *ours, *more), "--out", out, "--json")
    return out


def bf16_losses(model, start, tokens):
    """PEFT with a base in bf16 and adapters in f32, under autocast."""
    base = transformers.AutoModelForCausalLM.from_pretrained(model, attn_implementation="eager", dtype=torch.bfloat16)
    both = peft.PeftModel.from_pretrained(base, start, is_trainable=True)
    return torch_losses(both, tokens, lambda: torch.autocast("cpu", dtype=torch.bfloat16))


def exact_losses(model, start, tokens):
    return torch_losses(double(model, start, is_trainable=True), tokens, reference.double_precision)


def torch_losses(both, tokens, precision):
    """Losses of PEFT's adapter, trained with torch's AdamW on all sequences at once."""
    for name, value in both.named_parameters():
        value.requires_grad_("lora_" in name)
    matrices = [value for name, value in both.named_parameters() if value.requires_grad and "magnitude" not in name]
    others = [value for name, value in both.named_parameters() if value.requires_grad and "magnitude" in name]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    ids = torch.from_numpy(tokens[: BATCH * LENGTH].reshape(BATCH, LENGTH)).long()
    targets = torch.from_numpy(tokens[1 : BATCH * LENGTH + 1].copy()).long()
    out = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        both.train()  # forgets what DoRA keeps of its norms; dropout is 0
        with precision():
            logits = both(input_ids=ids, use_cache=False).logits
        if logits.dtype == torch.bfloat16:
            logits = logits.float()
        loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCABULARY), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(matrices + others, 1.0)
        optimizer.step()
        out.append(loss.item())
    return out


def apart(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


def check_bf16(mla, folder, model, base, tokens, kind, seed):
    ours = losses(train(mla, folder, base, tokens, kind, "bf16", STEPS, f"train.seed={seed + 1}", "train.precision=bf16"))
    with h5py.File(tokens) as file:
        ids = file["train/tokens"][...].astype(np.int32)
    first = folder / f"{kind}-first"
    exact, theirs = exact_losses(model, first, ids), bf16_losses(model, first, ids)
    if not apart(ours, exact) < 4e-3:
        raise Mismatch(f"bf16: losses are off by {apart(ours, exact):.1e} (PEFT's by {apart(theirs, exact):.1e})")
    return apart(ours, exact), apart(theirs, exact)


def check_trained(mla, folder, model, base, tokens, kind, seed, tolerance):
    seeded = f"train.seed={seed + 1}"
    start = train(mla, folder, base, tokens, kind, "start", 1, seeded, "optim.lr=1e-12", "optim.weight_decay=0")
    trained = train(mla, folder, base, tokens, kind, "trained", STEPS, seeded)
    first, last = folder / f"{kind}-first", folder / f"{kind}-last"
    run(mla, "export", start, "--out", first)
    run(mla, "export", trained, "--out", last)
    with h5py.File(tokens) as file:
        theirs = exact_losses(model, first, file["train/tokens"][...].astype(np.int32))
    ours = losses(trained)
    worst = apart(ours, theirs)
    if not worst < 1e-4:
        raise Mismatch(f"losses differ by {worst:.1e}: {ours} and {theirs}")
    if not ours[-1] < ours[0] - 0.01:
        raise Mismatch(f"ten steps have taught nothing: {ours}")
    ids = fill_ids(f"{seed}/ids", (2, 60), VOCABULARY)
    error = check("trained here", adapter_logits(mla, folder, base, [trained], ids), exact(model, last, ids), tolerance)
    return worst, error


def check_pissa(mla, folder, model, base, tokens, seed, tolerance):
    """What it has taken out of the weights is in the exported adapter, which is for the base as it was."""
    trained, last = train(mla, folder, base, tokens, "pissa", "trained", STEPS, f"train.seed={seed + 1}"), folder / "pissa-last"
    run(mla, "export", trained, "--out", last)
    ids = fill_ids(f"{seed}/ids", (2, 60), VOCABULARY)
    return check("PiSSA", adapter_logits(mla, folder, base, [trained], ids), exact(model, last, ids), tolerance)


def make_tokens(mla, folder):
    """A token file of exactly BATCH sequences, so that each step sees them all."""
    text, tokens = folder / "text.txt", folder / "tokens.h5"
    words = " ".join(f"{i}x{i}={i * i}" for i in range(1000))
    length = BATCH * LENGTH
    for _ in range(2):
        text.write_text(words[:length])
        run(mla, "prepare", text, "--tokenizer", "bytes", "--held-out", "0", "--out", tokens)
        with h5py.File(tokens) as file:
            count = file["train/tokens"].shape[0]
        length += BATCH * LENGTH + 1 - count
    if count != BATCH * LENGTH + 1:
        raise Mismatch(f"{count} tokens instead of {BATCH * LENGTH + 1}")
    return tokens


def check_case(name, mla, folder, seed, tolerance):
    model, base = build(name, seed, folder), folder / "base.h5"
    run(mla, "import", model, "--out", base)
    tokens = make_tokens(mla, folder)
    for kind in KINDS:
        loaded = check_loaded(mla, folder, model, base, kind, seed, tolerance)
        loss, logits = check_trained(mla, folder, model, base, tokens, kind, seed, tolerance)
        print(f"{name} {kind}: loaded within {loaded:.1e}, ten losses {loss:.1e}, trained {logits:.1e}", flush=True)
        ours, theirs = check_bf16(mla, folder, model, base, tokens, kind, seed)
        print(f"{name} {kind} in bf16: ten losses {ours:.1e} from exact, PEFT's {theirs:.1e}", flush=True)
    return f"pissa: trained {check_pissa(mla, folder, model, base, tokens, seed, tolerance):.1e}"


def main():
    quiet()
    print(f"peft {peft.__version__}")
    return run_cases(__doc__, MODELS, check_case, seed=0, tolerance=1e-5)


if __name__ == "__main__":
    sys.exit(main())
