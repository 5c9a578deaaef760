#!/usr/bin/env python3
"""Text as an imported model reads it, against transformers: tokenizers that put tokens before and behind texts.

    python tests/parity/text.py --mla build/mla

For each way to say so (TemplateProcessing, alone and in a Sequence; BertProcessing, RobertaProcessing;
tokenizer_config.json), a small Llama goes through `mla import`. Ids of documents (`mla data show`), the loss of texts
(`mla eval`), greedy text (`mla generate --prompt`) and the ids of what is exported again must be those of transformers.
Needs torch and transformers."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

TEXTS = ["The licensee may copy the work.\n", "Größe, 水 und 😀: 1234 Wörter, <s> und </s>.\n", "x", "a b\n\nc  d\t"]
SPECIAL = ["<s>", "</s>", "<|end_of_text|>"]


def template(single):
    return processors.TemplateProcessing(single=single, pair="$A $B", special_tokens=[(s, i) for i, s in enumerate(SPECIAL)])


AS_OBJECT = {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
PLAIN = {"bos_token": "<s>", "eos_token": "</s>"}
CASES = {  # name: post-processor, tokenizer_config.json, and the ids around a text where transformers 5 reads no such key
    "none": (None, PLAIN, None),
    "template": (template("<s> $A"), PLAIN, None),
    "template with an end": (template("<s> $A </s>"), PLAIN, None),
    "template with only an end": (template("$A <|end_of_text|>"), PLAIN, None),
    "sequence": (processors.Sequence([processors.ByteLevel(trim_offsets=False), template("<s> $A")]), PLAIN, None),
    "BERT": (processors.BertProcessing(("</s>", 1), ("<s>", 0)), PLAIN, None),
    "RoBERTa": (processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False), PLAIN, None),
    "configuration": (None, PLAIN | {"add_bos_token": True}, ([0], [])),
    "configuration, as an object": (processors.ByteLevel(), PLAIN | {"add_bos_token": True, "bos_token": AS_OBJECT}, ([0], [])),
    "configuration, both": (None, PLAIN | {"add_bos_token": True, "add_eos_token": True}, ([0], [1])),
    "configuration says no": (template("<s> $A"), PLAIN | {"add_bos_token": False}, None),
}


def make_folder(folder, post, config):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    if post:
        tokenizer.post_processor = post
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                         num_attention_heads=4, max_position_embeddings=256, initializer_range=0.3))
    model.save_pretrained(folder)
    tokenizer.save(f"{folder}/tokenizer.json")
    json.dump(config | {"tokenizer_class": "PreTrainedTokenizerFast"}, open(f"{folder}/tokenizer_config.json", "w"))
    return model.eval()


class Case:
    def __init__(self, mla, folder):
        self.mla, self.folder, self.wrong = mla, folder, []

    def run(self, *arguments):
        done = subprocess.run([self.mla, *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def expect(self, what, ours, theirs, tolerance=0):
        same = abs(ours - theirs) <= tolerance if tolerance else ours == theirs
        if not same:
            self.wrong.append(f"{what}: {ours}, transformers {theirs}")


def loss_of(model, documents):
    total = count = 0
    for ids in documents:
        if len(ids) > 1:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").item()
            count += len(ids) - 1
    return total / count


def check(mla, name, folder):
    post, config, around = CASES[name]
    case, model = Case(mla, folder), make_folder(f"{folder}/in", post, config)
    theirs = AutoTokenizer.from_pretrained(f"{folder}/in", split_special_tokens=True)
    before, behind = around or ([], [])
    documents = [before + theirs(t).input_ids + behind for t in TEXTS]
    plain = [theirs(t, add_special_tokens=False).input_ids for t in TEXTS]
    framed = documents != plain
    start = documents[0][:documents[0].index(plain[0][0])]
    os.mkdir(f"{folder}/texts")
    for i, text in enumerate(TEXTS):
        open(f"{folder}/texts/{i}.txt", "w").write(text)
    case.run("import", "in", "--out", "m.h5")

    separator = 2
    for flags, expected in ([], documents), (["--no-bos"], plain):
        shown = case.run("data", "show", "texts", "--tokenizer", "in/tokenizer.json", "--format", "text", "--samples", "9", "--json", *flags)
        case.expect(f"documents {flags}", sorted(d["ids"] for d in shown),
                    sorted(d if not flags and d[-1] == separator else d + [separator] for d in expected))
    scored = documents if framed else [[separator] + sum([d + [separator] for d in documents], [])]
    case.expect("loss", case.run("eval", "--checkpoint", "m.h5", "texts", "--sequence", "128", "--json")[0]["loss"], loss_of(model, scored), 2e-5)
    for text in TEXTS:
        for flags, first in ([], start), (["--no-bos"], []):
            prompt = first + theirs(text, add_special_tokens=False).input_ids
            ours = case.run("generate", "--checkpoint", "m.h5", "--prompt", text, "--greedy", "--tokens", "8", "--json", *flags)[0]
            with torch.no_grad():
                made = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=8,
                                      eos_token_id=separator, pad_token_id=0)[0, len(prompt):].tolist()
            case.expect(f"generated {flags}", ours["ids"], made[:made.index(separator)] if separator in made else made)

    case.run("export", "m.h5", "--out", "out")
    again = AutoTokenizer.from_pretrained(f"{folder}/out", split_special_tokens=True)
    case.expect("exported", [again(t).input_ids for t in TEXTS], documents)
    for key in config:
        case.expect(f"exported {key}", json.load(open(f"{folder}/out/tokenizer_config.json")).get(key), config[key])
    case.run("import", "out", "--out", "again.h5")
    case.expect("the tokenizer", *[case.run("info", f, "--json")[0]["tokenizer_hash"] for f in ("m.h5", "again.h5")])
    print(f"{name:32} {start} ... {documents[0][len(start) + len(plain[0]):]}: {'; '.join(case.wrong) or 'equal'}", flush=True)
    return len(case.wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True)
    mla, wrong = os.path.abspath(parser.parse_args().mla), 0
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            wrong += check(mla, name, folder)
    print(f"{wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
