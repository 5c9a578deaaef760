#!/usr/bin/env python3
"""Choices, continuations and rolling perplexity against lm-evaluation-harness.

    python tests/parity/choices.py --mla build/mla [CASE...]

Each case is a random model of transformers with a tokenizer that puts BOS before texts, puts none, or names none. It
goes through `mla import` and `mla export`; the harness evaluates the exported folder on tasks of local JSON, `mla eval`
the checkpoint on the same rows. The log-likelihood of every choice, continuation and text must be within 1e-4 of the
harness's (of ours in f32, relative to its size where that is above one), and the metrics and standard errors equal.

Needs torch, transformers, tokenizers, datasets and lm_eval. Exit code 1 when a case fails.
"""

import json
import os
import pathlib
import random
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
               "DISABLE_MULTIPROC": "1"}  # fmt: skip

import lm_eval  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / "golden")]
from case_runner import Mismatch, run, run_cases  # noqa: E402
from cases import BASE, LATENT  # noqa: E402

POSITIONS = 48
GROUPED = BASE | {"num_key_value_heads": 2}
# name -> (class of transformers, settings, special tokens, whether BOS stands before texts, the delimiter)
ENDS, BOTH = ["<|endoftext|>"], ["<s>", "</s>"]
CASES = {
    "llama": ("Llama", GROUPED, ENDS, False, " "),
    "llama-bos": ("Llama", GROUPED, BOTH, True, " "),
    "llama-named-bos": ("Llama", GROUPED, BOTH, False, "\n"),
    "qwen2": ("Qwen2", GROUPED, ENDS, False, " "),
    "qwen3-bos": ("Qwen3", GROUPED | {"head_dim": 24}, BOTH, True, ""),
    "mistral-bos": ("Mistral", GROUPED | {"sliding_window": None}, BOTH, True, " "),
    "v2": ("DeepseekV2", LATENT | {"v_head_dim": 12}, ENDS, False, " "),
    "v3": ("DeepseekV3", LATENT | {"v_head_dim": 24}, ENDS, False, " "),
    "v3-bos": ("DeepseekV3", LATENT | {"v_head_dim": 24}, BOTH, True, " "),
}
WORDS = "the licence of a work permits copies if notice stays Größe 水 😀 né\u2003e no warranty\x1cis given".split(" ")


def near(what, ours, theirs, tolerance):
    if not abs(ours - theirs) <= tolerance * max(1, abs(theirs)):
        raise Mismatch(f"{what}: {ours!r}, the harness has {theirs!r}")
    return abs(ours - theirs)


def make_model(case, folder):
    kind, settings, special, bos, _ = CASES[case]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    if bos:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])  # fmt: skip
    names = {"bos_token": "<s>", "eos_token": "</s>"} if special == BOTH else {"eos_token": "<|endoftext|>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    config = getattr(transformers, kind + "Config")(**(settings | {
        "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": POSITIONS, "bos_token_id": None,
        "eos_token_id": 0, "pad_token_id": None}))  # fmt: skip
    torch.manual_seed(len(case))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float()
    for p in model.parameters():
        if p.ndim == 2:
            p.data.normal_(0, 0.15)
    model.save_pretrained(folder)
    return tokenizer


def words(random_, low, high):
    return " ".join(random_.choices(WORDS, k=random_.randint(low, high)))


def make_rows(tokenizer, special, delimiter):
    """Choices of one token and of many, contexts that are empty, end in white space, are too long, name tokens."""
    r = random.Random(3)
    questions, continuations, texts = [], [], []
    for i in range(40):
        context = words(r, 1, 8) + r.choice(["", "", " ", "  ", "\n", ":"])
        context = {5: "", 11: words(r, 60, 70), 12: f"{special[0]}{words(r, 1, 4)}", 13: f"a {special[-1]} b"}.get(i, context)
        choices = r.sample("ABCDE", 4) if i % 3 == 0 else [words(r, 1, 5) for _ in range(r.randint(2, 5))]
        if i == 7:
            choices = ["of a", "of a", "of"]  # equal ones
        questions.append({"context": context, "choices": choices, "gold": r.randrange(len(choices))})
        continuations.append({"context": context, "continuation": delimiter + choices[0]})
        texts.append({"text": words(r, 1, [5, 40, 200][i % 3]) + r.choice(["", " ", "\n"])})
    # Continuations that the model would give itself, so that some are greedy.
    return questions, continuations, texts


def write_rows(folder, **rows):
    for name, of in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))


def task(folder, name, delimiter, **settings):
    return {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "test_split": "test", "target_delimiter": delimiter} | settings  # fmt: skip


def harness(folder, model, delimiter):
    tasks = [
        task(folder, "questions", delimiter, output_type="multiple_choice", doc_to_text="{{context}}",
             doc_to_choice=lambda d: d["choices"], doc_to_target="gold",
             metric_list=[{"metric": m} for m in ("acc", "acc_norm", "acc_bytes")]),
        task(folder, "continuations", delimiter, output_type="loglikelihood", doc_to_text=lambda d: d["context"],
             doc_to_target=lambda d: d["continuation"], metric_list=[{"metric": "perplexity"}, {"metric": "acc"}]),
        task(folder, "texts", delimiter, output_type="loglikelihood_rolling", doc_to_text="",
             doc_to_target=lambda d: d["text"],
             metric_list=[{"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")]),
    ]  # fmt: skip
    tasks[0]["doc_to_text"] = lambda d: d["context"]
    out = lm_eval.simple_evaluate(model=model, tasks=tasks, num_fewshot=0, bootstrap_iters=2, log_samples=True)
    samples = {n: sorted(s, key=lambda x: x["doc_id"]) for n, s in out["samples"].items()}
    return {n: (out["results"][n], samples[n]) for n in samples}


def ours(mla, folder, name, *options):
    file = folder / f"{name}.scores"
    text = run(mla, "eval", "--checkpoint", folder / "ours.h5", "--json", "--samples", file, *options)
    return json.loads(text), [json.loads(line) for line in file.read_text().splitlines()]


def compare_choices(name, ours_, theirs, metrics):
    result, rows = ours_
    expected, samples = theirs
    worst = 0
    for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        responses = [r[0] for r in sample["resps"]]
        for k, (a, b, (total, greedy)) in enumerate(zip(row["loglikelihood"], row["greedy"], responses, strict=True)):
            worst = max(worst, near(f"{name} {i}, choice {k}", a, float(total), 1e-4))
            if b != (str(greedy) == "True"):
                raise Mismatch(f"{name} {i}, choice {k}: greedy {b}, the harness has {greedy}")
    for metric in metrics:
        near(metric, result[metric], expected[f"{metric},none"], 1e-9 if metric != "perplexity" else 1e-4)
    return worst


def compare_rolling(ours_, theirs):
    result, rows = ours_
    expected, samples = theirs
    worst = 0
    for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        worst = max(worst, near(f"text {i}", row["loglikelihood"], float(sample["resps"][0][0]), 1e-4))
        if row["words"] != sample["word_perplexity"][1] or row["bytes"] != sample["byte_perplexity"][1]:
            raise Mismatch(f"text {i}: {row}, the harness has {sample['word_perplexity']}, {sample['byte_perplexity']}")
    for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        near(metric, result[metric], expected[f"{metric},none"], 1e-5)
    return worst


def make_greedy(model, continuations):
    """Half of the continuations become what the model says itself; what it says is text again in most cases."""
    for row in continuations[::2]:
        ids = model.tok_encode(row["context"])[-POSITIONS + 4 :] or [model.prefix_token_id]
        with torch.no_grad():
            made = model.model.generate(torch.tensor([ids]), max_new_tokens=2, do_sample=False, pad_token_id=0)
        row["continuation"] = model.tokenizer.decode(made[0, len(ids) :]) or row["continuation"]


def compare(case, mla, folder):
    _, _, special, _, delimiter = CASES[case]
    tokenizer = make_model(case, folder / "theirs")
    run(mla, "import", folder / "theirs", "--out", folder / "ours.h5")
    run(mla, "export", folder / "ours.h5", "--out", folder / "out")
    model = HFLM(pretrained=str(folder / "out"), dtype="float32", device="cpu", batch_size=8)
    questions, continuations, texts = make_rows(tokenizer, special, delimiter)
    if not delimiter:
        make_greedy(model, continuations)
    write_rows(folder, questions=questions, continuations=continuations, texts=texts)

    theirs = harness(folder, model, delimiter)
    found = {n: ours(mla, folder, n, "--choices", folder / f"{n}.jsonl", "--delimiter", delimiter)
             for n in ("questions", "continuations")}  # fmt: skip
    if not found["questions"][0]["cut"]:
        raise Mismatch("no context was cut")
    errors = [compare_choices("question", found["questions"], theirs["questions"],
                              [m + e for m in ("acc", "acc_norm", "acc_bytes") for e in ("", "_stderr")]),
              compare_choices("continuation", found["continuations"], theirs["continuations"], ["acc", "perplexity"]),
              compare_rolling(ours(mla, folder, "texts", "--rolling", folder / "texts.jsonl"), theirs["texts"])]  # fmt: skip
    return errors, found["continuations"][0]["acc"]


def check(case, mla, folder):
    torch.set_num_threads(2)
    errors, greedy = compare(case, mla, folder)
    return (f"choices {errors[0]:.1e}, continuations {errors[1]:.1e} ({greedy:.2f} greedy), "
            f"texts {errors[2]:.1e}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_cases(__doc__, CASES, check))
