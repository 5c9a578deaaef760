"""Adapters with a trained head (modules_to_save), held against PEFT, both ways.

    python tests/parity/adapted_heads.py --mla build/mla [CASE...]

Each case is a random language model of transformers. PEFT puts an adapter with a head for texts or tokens on it, all of it
random: `mla eval --logits` with its folder, with the state as a training loop saves it (".modules_to_save.default."), and
after `mla import --base` and `mla merge`, must give its logits of padded batches (1e-5 of their norm). Then `mla finetune`
trains one on the same model, and PEFT must load what is exported and give our logits; so must transformers load the
exported merged model.

Needs torch, transformers, peft, tokenizers, safetensors, h5py and numpy. Exit code 1 when a case fails.
"""

import json
import pathlib
import shutil
import sys

import h5py
import numpy as np
import safetensors.torch
import torch
import transformers

import peft

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from case_runner import Mismatch, run, run_cases  # noqa: E402
from classification import CASES, MULTI, NAMES, NUMBER, make_rows, make_tokenizer, near, pad  # noqa: E402

SOME = ["llama", "llama-flags", "llama-number", "llama-token", "qwen2", "qwen3-token", "v2", "v3", "v3-token"]


def make_base(case, vocabulary, folder):
    name, _, _, settings = CASES[case]
    config = getattr(transformers, name + "Config")(**(settings | {
        "vocab_size": vocabulary, "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": None}))  # fmt: skip
    torch.manual_seed(len(case))
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    for p in model.parameters():
        if p.ndim == 2:
            p.data.normal_(0, 0.15)
    model.save_pretrained(folder)


def labelling(case, folder):
    _, head, problem, _ = CASES[case]
    auto = getattr(transformers, f"AutoModelFor{head}Classification")
    return auto.from_pretrained(folder, num_labels=1 if problem == NUMBER else 3, problem_type=problem)


def make_adapter(case, base, folder):
    """A random adapter of PEFT's with a random head; and the same as a loop saves it that knows nothing of PEFT."""
    task = {"Sequence": "SEQ_CLS", "Token": "TOKEN_CLS"}[CASES[case][1]]
    targets = ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "v_proj", "o_proj"]
    model = labelling(case, base)
    targets = [t for t in targets if any(n.endswith(t) for n, _ in model.named_modules())]
    model = peft.get_peft_model(model, peft.LoraConfig(task_type=task, r=4, lora_alpha=8, target_modules=targets))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data.normal_(0, 0.2)
    model.save_pretrained(folder / "theirs")
    shutil.copytree(folder / "theirs", folder / "raw")
    state = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    if not any(".modules_to_save.default." in n for n in state):
        raise Mismatch("PEFT has another name for what it trains of the head")
    safetensors.torch.save_file(state, folder / "raw" / "adapter_model.safetensors", {"format": "pt"})
    return model.eval()


def ours(mla, folder, lengths, mask, head, checkpoint, *adapters):
    words = [word for a in adapters for word in ("--adapter", a)]
    run(mla, "eval", "--checkpoint", checkpoint, *words, "--tokens", folder / "ids.h5", "--logits", folder / "out.h5")
    with h5py.File(folder / "out.h5") as file:
        logits = file["logits"][()]
    return np.stack([row[n - 1] for row, n in zip(logits, lengths)]) if head == "Sequence" else logits[mask]


def theirs(model, ids, mask, head):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids, dtype=torch.long), attention_mask=torch.tensor(mask)).logits.numpy()
    return logits if head == "Sequence" else logits[mask]


def compare(case, mla, folder):
    _, head, problem, _ = CASES[case]
    tokenizer = make_tokenizer(folder / "base")
    make_base(case, tokenizer.get_vocab_size(), folder / "base")
    base = folder / "base.h5"
    run(mla, "import", folder / "base", "--out", base)
    rows = make_rows(problem, np.random.default_rng(5))
    ids, mask, lengths = pad(tokenizer, rows)
    with h5py.File(folder / "ids.h5", "w") as file:
        file["ids"] = ids
    mine = lambda *words: ours(mla, folder, lengths, mask, head, *words)  # noqa: E731

    model = make_adapter(case, folder / "base", folder)
    expected = theirs(model, ids, mask, head)
    errors = [near("PEFT's adapter", mine(base, folder / "theirs"), expected, 1e-5),
              near("its state", mine(base, folder / "raw"), expected, 1e-5)]  # fmt: skip
    run(mla, "import", folder / "theirs", "--base", base, "--out", folder / "own.h5")
    errors.append(near("imported", mine(base, folder / "own.h5"), expected, 1e-5))
    run(mla, "merge", base, folder / "theirs", "--out", folder / "merged.h5")
    errors.append(near("merged", mine(folder / "merged.h5"), expected, 1e-5))

    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "tune.yaml").write_text(
        f"finetune: {{base: {base}}}\nlora: {{targets: ['self_attn.*'], rank: 3}}\nmodel: {{head: {head.lower()}"
        f", problem_type: {problem or 'single_label_classification'}}}\noptim: {{lr: 1.0e-2}}\n"
        f"data: {{source: {folder}/rows.jsonl, held_out: 0}}\n"
        "train: {steps: 20, batch: 4, sequence: 48, precision: f32}\n")  # fmt: skip
    run(mla, "finetune", folder / "tune.yaml", "--out", folder / "tuned")
    run(mla, "export", folder / "tuned", "--out", folder / "exported")
    trained = mine(base, folder / "tuned")
    if np.abs(trained).max() < 0.05:
        raise Mismatch(f"twenty steps have taught nothing: {trained}")
    count = trained.shape[-1]
    auto = getattr(transformers, f"AutoModelFor{head}Classification")
    back = peft.PeftModel.from_pretrained(auto.from_pretrained(folder / "base", num_labels=count), folder / "exported")
    errors.append(near("exported", theirs(back.eval(), ids, mask, head), trained, 1e-5))
    run(mla, "merge", base, folder / "tuned", "--out", folder / "whole.h5")
    run(mla, "export", folder / "whole.h5", "--out", folder / "whole")
    back = auto.from_pretrained(folder / "whole").eval()
    errors.append(near("merged, exported", theirs(back, ids, mask, head), trained, 1e-5))
    if problem == MULTI and list(back.config.id2label.values()) != sorted(NAMES):
        raise Mismatch(f"exported with {back.config.id2label}")
    return errors


def check(case, mla, folder):
    errors = compare(case, mla, folder)
    return f"PEFT's here within {max(errors[:4]):.1e}, ours there {max(errors[4:]):.1e}"


if __name__ == "__main__":
    sys.exit(run_cases(__doc__, SOME, check))
