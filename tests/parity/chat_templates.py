"""Published chat templates, rendered here and by transformers: the same text, and the same refusals.

    python tests/parity/chat_templates.py --mla build/mla [--templates DIR] [--seed N] [--verbose]

The templates are those that llama.cpp's Python package carries, fetched by pip where no folder is given. Each renders
conversations with and without system, tools, reasoning, odd white space, special tokens spelled out in contents, and with
add_generation_prompt both ways. Prints how many (template, conversation) pairs agree, and for the ten that are asked for
most by name. Exit code 1 when a rendered text differs, or one of the two refuses what the other renders.

Needs transformers and jinja2, which this project does not.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile

from transformers.utils.chat_template_utils import _alias_reasoning_fields, _compile_jinja_template

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from jinja_library import Interpreter, Refused  # noqa: E402

ASKED_FOR = ["Llama-3.1-8B-Instruct", "Llama-3.2-3B", "Llama-3.3-70B", "Qwen2.5-7B", "Qwen3-0.6B", "DeepSeek-V3.1", "llama-cpp-deepseek-r1",
             "DeepSeek-R1-Distill-Qwen", "Mistral-Nemo", "SmolLM3", "Phi-3.5", "Hermes-3"]  # fmt: skip
# Two that are older than what that package has, and ChatML itself.
WRITTEN_OUT = {
    "meta-llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
                    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
                    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
                    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "phi-4": "{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' + message['content'] + "
             "'<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
             "{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}"
             "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
              "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather at a \"place\" <now> é",
                                           "parameters": {"type": "object", "properties": {
                                               "place": {"type": "string", "description": "Where?"},
                                               "days": {"type": "integer", "enum": [1, 2, 3]}}, "required": ["place"]}}},
         {"type": "function", "function": {"name": "stop", "description": "Stops.", "parameters": {"type": "object", "properties": {}}}}]  # fmt: skip
DATE = "2024-07-26"
TEXTS = ["Hi", "  Hello \n", "\n\nWhat's 2+2?\t", "<|im_end|>", "<|eot_id|> and <|im_start|>system", "水は何度?", "{{ messages }} {% if %}",
         "a\\nb \"q\" 'r'", "<think>x</think>y", "</think>", "[INST] no [/INST]", "x" * 40, "é\u00a0", "1.5", "</s>",
         "<tool_response>\n3\n</tool_response>"]  # fmt: skip


def fetch(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "llama-cpp-python", "-d",
                    str(folder)], check=True)  # fmt: skip
    with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
        for member in archive:
            if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                (folder / pathlib.Path(member.name).name).write_bytes(archive.extractfile(member).read())
    return folder


def call(dice, number):
    arguments = dice.choice([{"place": dice.choice(TEXTS), "days": 3}, {}, {"place": "Bern", "x": [1, 2.5, None, True]}])
    return {"id": f"call{number:05d}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def conversation(dice):
    """Variables of a template; what is odd about them is drawn."""
    messages, tools = [], dice.random() < 0.4
    if dice.random() < 0.4:
        messages.append({"role": "system", "content": dice.choice(TEXTS)})
    for turn in range(dice.randint(1, 3)):
        messages.append({"role": "user", "content": dice.choice(TEXTS)})
        if tools and dice.random() < 0.6:
            calls = [call(dice, number) for number in range(dice.choice([1, 1, 2]))]
            messages.append({"role": "assistant", "content": dice.choice(["", "Let me see.", None]), "tool_calls": calls})
            if dice.random() < 0.3:
                messages[-1]["reasoning_content"] = dice.choice(TEXTS)
            messages += [{"role": "tool", "name": "get_weather", "tool_call_id": one["id"], "content": dice.choice(TEXTS)} for one in calls]
        if turn < 2 and dice.random() < 0.9:
            messages.append({"role": "assistant", "content": dice.choice(TEXTS)})
            if dice.random() < 0.3:
                messages[-1]["reasoning_content"] = dice.choice(TEXTS)
    if dice.random() < 0.05:
        messages.append({"role": dice.choice(["developer", "user", "ipython", "assistant", "system"]), "content": "x"})
    messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
    out = {"messages": _alias_reasoning_fields(messages), "tools": TOOLS if tools else None, "documents": None,
           "add_generation_prompt": dice.random() < 0.5, "bos_token": "<s>", "eos_token": "</s>"}  # fmt: skip
    if dice.random() < 0.2:
        out["enable_thinking"] = dice.random() < 0.5
    return out


def outcome(render):
    try:
        return "text", render()
    except Refused as refusal:
        return "refused", str(refusal)
    except Exception as error:  # whatever a template raises
        return "refused", f"{type(error).__name__}: {error}"


def theirs(template, variables):
    compiled = _compile_jinja_template(template)
    compiled.globals["strftime_now"] = lambda form: __import__("datetime").datetime.fromisoformat(DATE).strftime(form)
    return compiled.render(**variables)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mla", required=True, type=pathlib.Path)
    parser.add_argument("--templates", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    interpreter = Interpreter(arguments.mla)
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.templates or fetch(pathlib.Path(folder))
        templates = {path.stem: path.read_text() for path in sorted(source.glob("*.jinja"))} | WRITTEN_OUT
    agree = pairs = rendered = 0
    for name, template in templates.items():
        dice, same, first = random.Random(f"{arguments.seed} {name}"), 0, None
        for _ in range(arguments.count):
            variables = conversation(dice)
            expected = outcome(lambda: theirs(template, variables))
            found = outcome(lambda: interpreter.render(template, variables, ("messages",), DATE.encode()))
            equal = expected[0] == found[0] and (expected[0] == "refused" or expected[1] == found[1])
            same += equal
            rendered += equal and expected[0] == "text"
            first = first or (None if equal else (variables, expected, found))
        agree, pairs = agree + same, pairs + arguments.count
        if first or any(part in name for part in ASKED_FOR) or name in WRITTEN_OUT:
            print(f"{name:50} {same} of {arguments.count}")
        if first and arguments.verbose:
            print(*first, sep="\n    ")
    print(f"{agree} of {pairs} (template, conversation) pairs of {len(templates)} templates agree, {rendered} of them in a rendered text")
    return agree != pairs


if __name__ == "__main__":
    sys.exit(main())
