"""Chat templates, masks and the loss on answers, held against transformers.

    python tests/parity/chat.py --mla build/mla [--seed N] [--keep DIR] [CASE...]

For each built-in template: a tokenizer trained here with its special tokens, the template as models have it in their
tokenizer_config.json, and random conversations. Compared are the ids of apply_chat_template and its assistant mask (the
template once more, with {% generation %} around the answers), by the template's name and by the model's own template.

Then tiny random models (DeepSeek-V3, Llama) are imported with such a tokenizer and fine-tuned on the conversations: the
losses of the first steps against PyTorch with labels of -100, once with every conversation alone, once packed as here with
a 4-D mask and positions that begin anew, with torch's AdamW.

Needs torch, transformers, tokenizers, h5py and numpy. Exit code 1 when something differs.
"""

import json
import pathlib
import random
import sys

import h5py
import numpy as np
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import reference  # noqa: E402
from case_runner import Mismatch, quiet, run, run_cases  # noqa: E402
from cases import LATENT  # noqa: E402
from hugging_face import GROUPED, load  # noqa: E402

LENGTH, STEPS = 64, 5
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")  # fmt: skip

# name -> special tokens (bos, eos first), the template of models, and the same with answers marked
GENERATION = "{% generation %}", "{% endgeneration %}"
USER_ASSISTANT = ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
                  "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}"
                  "{% elif message['role'] == 'assistant' %}ANSWER{% elif message['role'] == 'system' %}"
                  "{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
                  "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")  # fmt: skip
SPOKEN = ("{{ 'Assistant: ' + message['content'] + eos_token }}",
          "{{ 'Assistant:' }}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}")  # fmt: skip
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
          "BEGIN{{ message['content'] + '<|im_end|>' }}END{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")  # fmt: skip
LLAMA3 = ("{% for message in messages %}{% if loop.index0 == 0 %}{{ bos_token }}{% endif %}"
          "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}{% if message['role'] == 'assistant' %}"
          "BEGIN{{ message['content'] | trim + '<|eot_id|>' }}END{% else %}{{ message['content'] | trim + '<|eot_id|>' }}"
          "{% endif %}{% endfor %}")  # fmt: skip
DEEPSEEK3 = ("{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}"
             "{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}"
             "{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}"
             "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}ANSWER{%- endif %}{%- endfor %}")  # fmt: skip
ANSWER3 = ("{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}",
           "{{'<｜Assistant｜>'}}{% generation %}{{content + '<｜end▁of▁sentence｜>'}}{% endgeneration %}")  # fmt: skip

# Llama 3.1's, without what it prints of tools
LLAMA31 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['role'] == 'assistant' %}BEGIN{{- message['content'] | trim + '<|eot_id|>' }}END
    {%- else %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endif %}
{%- endfor %}"""
# Qwen2's and SmolLM2's: chatml with a system message of the model's own
OWN_SYSTEM = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
              "{{ '<|im_start|>system\nSYSTEM<|im_end|>\n' }}{% endif %}" + CHATML.split("{% for message in messages %}")[1])  # fmt: skip
# Qwen2.5's and Qwen3's, without what they print of tools
TOOLS = ("{%- if tools %}{{- '<|im_start|>system\\n' }}{{- \"# Tools\\n\\nYou may call one or more functions\" }}{{- '<|im_end|>\\n' }}"
         "{%- else %}{%- if messages[0]['role'] == 'system' %}"
         "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}OTHERWISE{%- endif %}{%- endif %}")  # fmt: skip
QWEN25 = (TOOLS.replace("OTHERWISE", "{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                                     "assistant.<|im_end|>\\n' }}")
          + "{%- for message in messages %}{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) %}"
            "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
            "{%- elif message.role == 'assistant' %}{{- '<|im_start|>' + message.role + '\\n' }}BEGIN"
            "{{- message.content + '<|im_end|>' }}END{{- '\\n' }}{%- endif %}{%- endfor %}")  # fmt: skip
QWEN3 = (TOOLS.replace("OTHERWISE", "") + """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' }}BEGIN
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- content }}
            {%- endif %}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>' }}END{{- '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}""")  # fmt: skip


def marked(template):
    return template.replace("BEGIN", "").replace("END", ""), template.replace("BEGIN", GENERATION[0]).replace("END", GENERATION[1])


def answered(template, answers):
    return tuple(template.replace("ANSWER", answer) for answer in answers)


CHATML_TOKENS = [None, "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEMPLATES = {
    "plain": ([None, "<|endoftext|>"], *answered(USER_ASSISTANT.replace("{{ bos_token }}", ""), SPOKEN)),
    "chatml": (CHATML_TOKENS, *marked(CHATML)),
    "llama3": (LLAMA3_TOKENS, *marked(LLAMA3)),
    "deepseek2": ([BOS, EOS], *answered(USER_ASSISTANT, SPOKEN)),
    "deepseek3": ([BOS, EOS, "<｜User｜>", "<｜Assistant｜>"], *answered(DEEPSEEK3, ANSWER3)),
    "llama3.1": (LLAMA3_TOKENS, *marked(LLAMA31)),
    "qwen2": (CHATML_TOKENS, *marked(OWN_SYSTEM.replace("SYSTEM", "You are a helpful assistant."))),
    "qwen2.5": (CHATML_TOKENS, *marked(QWEN25)),
    "smollm2": (CHATML_TOKENS, *marked(OWN_SYSTEM.replace("SYSTEM", "You are a helpful AI assistant named SmolLM, trained by Hugging "
                                                                    "Face"))),
    "qwen3": ([*CHATML_TOKENS, "<think>", "</think>"], *marked(QWEN3)),
}  # fmt: skip


def settings(*words):
    return [part for word in words for part in ("--set", word)]


# ---- tokenizers and conversations


def make_tokenizer(name, folder, vocabulary=600):
    """A byte-level BPE in the manner of Qwen's, as files of a model; the template in tokenizer_config.json."""
    (bos, eos, *others), template, _ = TEMPLATES[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token in (bos, eos, *others) if token]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    texts = [path.read_text(errors="replace") for path in sorted(pathlib.Path("/usr/share/common-licenses").glob("*GPL*"))]
    tokenizer.train_from_iterator([*texts, "\n\n" * 50, "user\n\n assistant\n\n" * 50], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos,
                                                additional_special_tokens=others)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    fast.chat_template = None if name == "plain" else template
    fast.save_pretrained(folder)
    return fast


WORDS = ["the", "licence", "Größe", "水", "42", "don't", "a\n\nb", "\n", "  ", "x\ty", "GNU", "?", "free software", "é"]


def conversations(seed, count, words=8, turns=3, reasoning=False):
    """Contents may begin and end with blanks and new lines, which merge with those of the template."""
    dice = random.Random(seed)

    def text():
        parts = [dice.choice(WORDS) + dice.choice(["", " "]) for _ in range(dice.randint(1, words))]
        return "".join(parts) + dice.choice(["", "!"])

    out = []
    while len(out) < count:
        chat = [{"role": "system", "content": text()}] if dice.random() < 0.3 else []
        for _ in range(dice.randint(1, turns)):
            thought = f"<think>{text()}</think>" if reasoning and dice.random() < 0.5 else ""
            chat += [{"role": "user", "content": text()}, {"role": "assistant", "content": thought + text()}]
        if reasoning and dice.random() < 0.3:
            chat.append({"role": "assistant", "content": text()})
        if all(message["content"].strip() for message in chat) and chat not in out:
            out.append(chat)
    return out


def write_lines(path, chats):
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))


# ---- ids and masks


def documents(path):
    """(ids, marks) of each document, the separator with them."""
    with h5py.File(path) as file:
        offsets = file["train/document_offsets"][...]
        ids, marks = file["train/tokens"][...].astype(int), file["train/answers"][...].astype(int)
    return [(ids[a:b].tolist(), marks[a:b].tolist()) for a, b in zip(offsets, offsets[1:])]


def check_tokens(mla, folder, name, template, fast, chats, lines, tokens):
    """With the template by its name, or with the one of tokenizer_config.json, which has no {% generation %}."""
    out = run(mla, "prepare", lines, "--format", "chat", "--tokenizer", folder / "tokenizer.json", "--held-out", "0", "--out",
                  tokens, *template)  # fmt: skip
    if f"template         {name if template else 'the model' + chr(39) + 's own'}\n" not in out:
        raise Mismatch(f"another template was used: {out}")
    plain, masked = TEMPLATES[name][1], TEMPLATES[name][2]
    for chat, (ids, marks) in zip(chats, documents(tokens), strict=True):
        text = fast.apply_chat_template(chat, chat_template=plain, tokenize=False)
        if text != fast.apply_chat_template(chat, chat_template=masked, tokenize=False):
            raise Mismatch("the marked template renders another text: the test is wrong")
        theirs = fast.apply_chat_template(chat, chat_template=masked, return_dict=True, return_assistant_tokens_mask=True)
        expected, mask = theirs["input_ids"], theirs["assistant_masks"]
        if expected[-1] != fast.eos_token_id:
            expected, mask = expected + [fast.eos_token_id], mask + [0]
        if ids != expected:
            raise Mismatch(f"ids of {chat}:\n{ids}\n{expected}")
        if marks != mask:
            raise Mismatch(f"marks of {chat}:\n{marks}\n{mask}")


def check_template(mla, folder, name, seed):
    fast = make_tokenizer(name, folder)
    chats, lines, tokens = conversations(seed, 300, reasoning=name == "qwen3"), folder / "chats.jsonl", folder / "tokens.h5"
    write_lines(lines, chats)
    check_tokens(mla, folder, name, ["--template", name], fast, chats, lines, tokens)
    if name != "plain":
        check_tokens(mla, folder, name, [], fast, chats, lines, tokens)
    return f"{len(chats)} conversations, {sum(len(ids) for ids, _ in documents(tokens))} tokens, ids and masks equal"


# ---- losses

MODELS = {"v3": ("DeepseekV3", LATENT | {"v_head_dim": 24}), "llama": ("Llama", GROUPED)}


def double_model(folder):
    with reference.double_precision():
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64).double().eval()
    model.load_state_dict({name: value.double() for name, value in load(folder).state_dict().items()})
    return model


def cut(document):
    """Inputs and labels of one conversation within LENGTH positions; None where no answer is left."""
    ids, marks = document
    labels = [token if mark else -100 for token, mark in zip(ids, marks)]
    ids, labels = ids[: LENGTH + 1], labels[: LENGTH + 1]
    return (ids, labels) if any(label >= 0 for label in labels[1:]) else None


def sum_alone(model, document):
    """The sum of transformers' own loss over one conversation, with labels of -100, and how many count."""
    ids, labels = (torch.tensor([part]) for part in document)
    count = int((labels[:, 1:] >= 0).sum())
    with reference.double_precision():
        return model(input_ids=ids, labels=labels, use_cache=False).loss * count, count


def packed_batch(lines, sequences):
    """What `mla data show --json` printed: ids, labels of the next token, positions and a 4-D mask."""
    ids = torch.zeros(sequences, LENGTH, dtype=torch.long)
    labels = torch.full((sequences, LENGTH), -100)
    positions = torch.zeros(sequences, LENGTH, dtype=torch.long)
    mask = torch.eye(LENGTH, dtype=torch.bool).repeat(sequences, 1, 1)
    for part in map(json.loads, lines):
        s, at = part["sequence"], part["position"]
        n = len(part["ids"]) - bool(part["learned"][-1])
        n = min(n, LENGTH - at)
        for t in range(n):
            ids[s, at + t], positions[s, at + t] = part["ids"][t], t
            if t + 1 < len(part["ids"]) and part["learned"][t + 1]:
                labels[s, at + t] = part["ids"][t + 1]
        mask[s, at : at + n, at : at + n] = torch.ones(n, n).tril().bool()
    none = torch.zeros((), dtype=torch.float64)
    return ids, labels, positions, torch.where(mask, none, none - 1e300)[:, None]


def packed_losses(model, batch):
    """Some steps of torch's AdamW on the whole batch."""
    ids, labels, positions, mask = batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
    out = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with reference.double_precision():
            logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return out


def check_losses(mla, folder, name, seed):
    kind, sizes = MODELS[name]
    make_tokenizer("chatml", folder / "model")
    config = getattr(transformers, f"{kind}Config")(attn_implementation="eager", **(sizes | {"vocab_size": 600}))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    reference.set_weights(model, f"{seed}/")
    model.save_pretrained(folder / "model")
    base, lines, tokens, out = (folder / x for x in ("base.h5", "chats.jsonl", "tokens.h5", "run"))
    write_lines(lines, conversations(seed + 1, 30, words=2, turns=1) + conversations(seed + 2, 10))
    run(mla, "import", folder / "model", "--out", base)
    recipe = folder / "recipe.yaml"
    common = [f"finetune.base={base}", f"data.source={lines}", "data.format=chat", "data.held_out=0", f"train.sequence={LENGTH}",
              f"train.steps={STEPS}", "train.precision=f32", "optim.lr=1e-3", "optim.schedule=constant", "optim.clip=0",
              "optim.weight_decay=0", "train.microbatch=1", "train.seed=3"]  # fmt: skip
    recipe.write_text("")
    shown = run(mla, "data", "show", recipe, *settings(*common), "--json", "--samples", "1000").splitlines()
    sequences = 1 + max(json.loads(line)["sequence"] for line in shown)
    run(mla, "finetune", recipe, *settings(*common, f"train.batch={sequences}"), "--out", out)
    ours = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    exact = double_model(folder / "model")
    with torch.no_grad():
        alone = [sum_alone(exact, part) for part in map(cut, documents(out / "tokens.h5")) if part]
    mean = float(sum(a for a, _ in alone) / sum(n for _, n in alone))
    packed = packed_losses(exact, packed_batch(shown, sequences))
    errors = [abs(ours[0] / mean - 1), abs(packed[0] / mean - 1), max(abs(a / b - 1) for a, b in zip(ours, packed, strict=True))]
    if not (errors[0] < 1e-5 and errors[1] < 1e-9 and errors[2] < 1e-4):
        raise Mismatch(f"losses {ours}, packed {packed}, alone {mean}: off by {errors}")
    return (f"{len(alone)} conversations in {sequences} sequences, {sum(n for _, n in alone)} answer tokens: loss off by "
            f"{errors[0]:.1e}, after {STEPS} steps by {errors[2]:.1e}")  # fmt: skip


def check(name, mla, folder, seed):
    return (check_template if name in TEMPLATES else check_losses)(mla, folder, name, seed)


def main():
    quiet()
    return run_cases(__doc__, [*TEMPLATES, *MODELS], check, seed=0)


if __name__ == "__main__":
    sys.exit(main())
