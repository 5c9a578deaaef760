"""Models that label, held against transformers' ...ForSequenceClassification and ...ForTokenClassification.

    python tests/parity/classification.py --mla build/mla

Each case is a random model of transformers with a tokenizer whose end token pads. It is imported; the logits of padded
batches are compared (1e-5 of their norm), those of each text at its last token; it is exported, and transformers must
load the folder as the same class and give the logits and labels of its own; and a step of `mla finetune` on labelled
text, packed, must find the loss (1e-5) and the norm of the gradient (1e-4) that PyTorch finds on the padded batch.

Needs torch, transformers, tokenizers, h5py and numpy. Exit code 1 when a case fails.
"""

import json
import pathlib
import sys

import h5py
import numpy as np
import tokenizers
import torch
import transformers

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / "golden")]
from case_runner import Mismatch, run, run_cases  # noqa: E402
from cases import BASE, LATENT  # noqa: E402

GROUPED = BASE | {"num_key_value_heads": 2}
NAMES = ["no", "maybe", "yes"]
SINGLE, MULTI, NUMBER = "single_label_classification", "multi_label_classification", "regression"
# name -> (class of transformers, its head, problem, settings)
CASES = {
    "llama": ("Llama", "Sequence", SINGLE, GROUPED),
    "llama-flags": ("Llama", "Sequence", MULTI, GROUPED),
    "llama-number": ("Llama", "Sequence", NUMBER, GROUPED),
    "llama-token": ("Llama", "Token", None, GROUPED),
    "qwen2": ("Qwen2", "Sequence", SINGLE, GROUPED),
    "qwen2-token": ("Qwen2", "Token", None, GROUPED),
    "qwen3": ("Qwen3", "Sequence", SINGLE, GROUPED | {"head_dim": 24}),
    "qwen3-token": ("Qwen3", "Token", None, GROUPED | {"head_dim": 24}),
    "mistral": ("Mistral", "Sequence", SINGLE, GROUPED | {"sliding_window": None}),
    "phi3": ("Phi3", "Sequence", SINGLE, GROUPED),
    "v2": ("DeepseekV2", "Sequence", SINGLE, LATENT | {"v_head_dim": 12}),
    "v3": ("DeepseekV3", "Sequence", SINGLE, LATENT | {"v_head_dim": 24}),
    "v3-flags": ("DeepseekV3", "Sequence", MULTI, LATENT | {"v_head_dim": 24}),
    "v3-token": ("DeepseekV3", "Token", None, LATENT | {"v_head_dim": 24}),
}
WORDS = "the parcel is late again broken and nobody answers thanks for quick help all good Ada Bonn".split()


def near(what, a, b, tolerance):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    error = np.linalg.norm(a - b) / np.linalg.norm(b) if a.shape == b.shape else np.inf
    if not error <= tolerance:
        raise Mismatch(f"{what}: {error:.1e}, more than {tolerance:.0e}")
    return error


def make_tokenizer(folder):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.save_pretrained(folder)
    return tokenizer


def make_model(case, vocabulary):
    name, head, problem, settings = CASES[case]
    config = getattr(transformers, name + "Config")(**(settings | {
        "vocab_size": vocabulary, "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": None,
        "id2label": {0: "price"} if problem == NUMBER else dict(enumerate(NAMES if problem else ["I-A", "B-A", "O"]))}))
    config.problem_type = problem
    config.label2id = {v: k for k, v in config.id2label.items()}
    config.classifier_dropout = 0.0
    torch.manual_seed(len(case))
    model = getattr(transformers, f"{name}For{head}Classification")(config).float().eval()
    for p in model.parameters():
        if p.ndim == 2:
            p.data.normal_(0, 0.15)
    return model


def make_rows(problem, generator):
    rows = []
    for _ in range(12):
        words = [WORDS[i] for i in generator.integers(0, len(WORDS), generator.integers(2, 9))]
        row = {"text": " ".join(words), "label": NAMES[generator.integers(0, 3)]}
        if problem == MULTI:
            row["label"] = [n for n in NAMES if generator.random() < 0.5]
        if problem == NUMBER:
            row["label"] = float(np.round(generator.normal(), 3))
        if problem is None:
            row["label"] = [[0, len(words[0]), "A"]]
        rows.append(row)
    return rows


def pad(tokenizer, rows):
    ids = [tokenizer.encode(r["text"], add_special_tokens=False).ids for r in rows]
    lengths = [len(i) for i in ids]
    padded = np.zeros((len(ids), max(lengths)), np.int32)
    for row, i in zip(padded, ids):
        row[: len(i)] = i
    mask = np.arange(padded.shape[1])[None] < np.array(lengths)[:, None]
    return padded, mask, lengths


def tags(tokenizer, row, labels, width):
    encoded = tokenizer.encode(row["text"], add_special_tokens=False)
    end, out, begun = row["label"][0][1], [-100] * width, False
    for i, (a, b) in enumerate(encoded.offsets):
        while a < b and row["text"][a] == " ":
            a += 1
        out[i] = labels["O"] if a >= end else labels["I-A" if begun else "B-A"]
        begun |= a < end
    return out


def loss_and_norm(model, problem, tokenizer, rows):
    ids, mask, _ = pad(tokenizer, rows)
    labels = [r["label"] for r in rows]
    if problem == SINGLE:
        labels = torch.tensor([NAMES.index(x) for x in labels])
    elif problem == MULTI:
        labels = torch.tensor([[float(n in x) for n in NAMES] for x in labels], dtype=torch.float64)
    elif problem == NUMBER:
        labels = torch.tensor(labels, dtype=torch.float64)
    else:
        labels = torch.tensor([tags(tokenizer, r, model.config.label2id, ids.shape[1]) for r in rows])
    model = model.double()
    model.zero_grad()
    loss = model(input_ids=torch.tensor(ids, dtype=torch.long), attention_mask=torch.tensor(mask),
                 labels=labels).loss  # fmt: skip
    loss.backward()
    norm = sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None) ** 0.5
    return float(loss.detach()), norm


def compare(case, mla, folder):
    name, head, problem, _ = CASES[case]
    tokenizer = make_tokenizer(folder / "theirs")
    model = make_model(case, tokenizer.get_vocab_size())
    model.save_pretrained(folder / "theirs")
    rows = make_rows(problem, np.random.default_rng(5))
    ids, mask, lengths = pad(tokenizer, rows)
    run(mla, "import", folder / "theirs", "--out", folder / "ours.h5")

    with h5py.File(folder / "ids.h5", "w") as f:
        f["ids"] = ids
    run(mla, "eval", "--checkpoint", folder / "ours.h5", "--tokens", folder / "ids.h5", "--logits", folder / "out.h5")
    with h5py.File(folder / "out.h5") as f:
        ours = f["logits"][()]
    with torch.no_grad():
        theirs = model.double()(input_ids=torch.tensor(ids, dtype=torch.long), attention_mask=torch.tensor(mask)).logits
    model.float()
    ours = np.stack([row[n - 1] for row, n in zip(ours, lengths)]) if head == "Sequence" else ours[mask]
    theirs = theirs.numpy() if head == "Sequence" else theirs.numpy()[mask]
    errors = [near("logits", ours, theirs, 1e-5)]

    run(mla, "export", folder / "ours.h5", "--out", folder / "back")
    auto = getattr(transformers, f"AutoModelFor{head}Classification")
    back = auto.from_pretrained(folder / "back").eval()
    if type(back) is not type(model) or back.config.id2label != model.config.id2label:
        raise Mismatch(f"exported as {type(back).__name__} with {back.config.id2label}")
    with torch.no_grad():
        batch = {"input_ids": torch.tensor(ids, dtype=torch.long), "attention_mask": torch.tensor(mask)}
        near("exported", back(**batch).logits.numpy(), model(**batch).logits.numpy(), 0)

    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "tune.yaml").write_text(
        f"finetune: {{base: {folder}/ours.h5}}\ndata: {{source: {folder}/rows.jsonl, held_out: 0}}\n"
        "optim: {clip: 0, weight_decay: 0}\ntrain: {steps: 1, batch: 8, sequence: 48, precision: f32}\n")
    run(mla, "finetune", folder / "tune.yaml", "--out", folder / "tuned", "--set", "model.classifier_dropout=0")
    step = json.loads((folder / "tuned" / "metrics.jsonl").read_text().splitlines()[0])
    # An epoch may be smaller than the batch: then each text is there as often as another, or not at all.
    loss, norm = loss_and_norm(model, problem, tokenizer, rows)
    if step["tokens"] % (len(rows) if head == "Sequence" else sum(lengths)) == 0:
        errors += [near("loss", step["loss"], loss, 1e-5), near("gradient", step["grad_norm"], norm, 1e-4)]
    else:
        raise Mismatch(f"{step['tokens']} targets in a step of {len(rows)} texts")
    return errors


def check(case, mla, folder):
    errors = compare(case, mla, folder)
    return f"logits {errors[0]:.1e}, loss {errors[1]:.1e}, gradient {errors[2]:.1e}"


if __name__ == "__main__":
    sys.exit(run_cases(__doc__, CASES, check))
