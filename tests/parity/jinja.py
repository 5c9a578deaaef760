"""The interpreter of chat templates against jinja2, on random templates.

    python tests/parity/jinja.py --mla build/mla [--seed N] [--count N]

Templates are drawn from a grammar of what the interpreter knows, with white space and tags of all kinds, and rendered with
the same variables here and as transformers sets jinja2 up. Both must give the same text, or both refuse. What is refused
here alone by name ("not known here") is counted apart. Exit code 1 when anything else differs.

Needs transformers and jinja2, which this project does not.
"""

import argparse
import pathlib
import random
import sys
import warnings

from transformers.utils.chat_template_utils import _compile_jinja_template

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from jinja_library import Interpreter, Refused  # noqa: E402

VARIABLES = {
    "messages": [{"role": "user", "content": " Hi\n there "}, {"role": "assistant", "content": "<b>é'\"</b>", "n": 3, "x": [1, "a"]},
                 {"role": "tool", "content": "", "weight": 0.5}],
    "s": "Hello, World", "t": "a\nb\r\n c\n", "u": "日本 é", "e": "", "n": 7, "f": 2.5, "z": 0, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "w": ["b", "A", "c", "a"], "d": {"b": 1, "a": [1, {"k": None}], "items2": "x"}, "el": [], "ed": {},
}  # fmt: skip
TEXT_FILTERS = ["trim", "upper", "lower", "capitalize", "title", "length", "string", "list", "first", "last", "reverse", "int", "float",
                "safe", "e", "tojson", "wordcount", "default('q')", "default('q', true)", "replace('l', 'LL')", "replace('o', '0', 1)",
                "indent", "indent(2, true)", "indent('>', blank=true)", "trim('H')", "d", "count", "unique|list", "sort|list", "join('-')"]  # fmt: skip
LIST_FILTERS = ["length", "first", "last", "list", "join", "join(', ')", "sort", "sort(reverse=true)", "sort(case_sensitive=true)", "reverse|list",
                "unique|list", "tojson", "tojson(indent=2)", "tojson(separators=[',', ':'])", "tojson(sort_keys=true, indent=1)", "max", "min",
                "sum", "map('string')|list", "map('upper')|join", "map('int')|list", "select|list", "reject('none')|list", "select('string')|list",
                "batch(2)|list", "map(attribute='role')|list", "map(attribute='n', default=1)|list", "selectattr('n')|list|length",
                "selectattr('role', 'equalto', 'user')|list", "rejectattr('n', 'defined')|map(attribute='content')|list", "string",
                "map('tojson')|join(';')", "sum(start=1)", "items|list", "dictsort", "dictsort(by='value')", "reverse", "map('trim')"]  # fmt: skip
NUMBER_FILTERS = ["abs", "round", "round(1)", "round(1, 'floor')", "int", "float", "string", "tojson", "default(3)", "length"]
METHODS = [".strip()", ".lstrip()", ".rstrip('d \\n')", ".upper()", ".lower()", ".title()", ".capitalize()", ".split()", ".split(',')",
           ".split('l', 1)", ".rsplit('l', 1)", ".splitlines()", ".startswith('H')", ".endswith(('d', '\\n'))", ".replace('l', '')",
           ".replace('', '-')", ".find('o')", ".rfind('o')", ".count('l')", ".isdigit()", ".isspace()", ".partition(', ')", ".format(1)",
           ".items()|list", ".keys()|list", ".get('b')", ".get('q', 3)", ".values()|list", ".append(1)", ".content", ".role", ".b", ".missing",
           ".missing.more", "[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]", "[5:1:-2]", "['b']", "['missing']", "[99]", "[nil]",
           ".removeprefix('He')", ".index('l')", ".join(['a', 'b'])", "[1:3]", ".pop()", ".islower()", ".isupper()"]  # fmt: skip
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "true", "false",
         "odd", "even", "divisibleby 3", "in [1, 7, 'a']", "equalto 7", "eq 'b'", "ne 3", "gt 2", "lower", "upper", "sameas none", "callable",
         "not none", "not string"]  # fmt: skip
LITERALS = ["1", "-2", "0", "2.5", "1e20", "1e-7", "'a'", "'x\\ty\\u00e9'", '"it\'s"', "true", "none", "[]", "[1, 'b', none]", "{'k': 1, 2: [3]}",
            "('a', 'b')", "()", "[[1, 2], [3]]", "'a' 'b'", "100", "3", "range(3)|list", "namespace(a=1).a", "dict(a=1)"]  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "+", "~", "**"]


class Writer:
    def __init__(self, dice):
        self.dice = dice

    def pick(self, *choices):
        return self.dice.choice(choices)

    def typed(self, depth):
        """What mostly makes sense: a text, list, dict or number with a filter or method of its kind."""
        kind = self.dice.randint(0, 3)
        subject = self.dice.choice([["s", "t", "u", "e", "messages[0].content", "x"], ["messages", "l", "w", "el", "x"], ["d", "ed", "messages[1]"],
                                    ["n", "f", "z", "ns.v"]][kind])  # fmt: skip
        for _ in range(self.dice.randint(1, 2)):
            if kind == 0 and self.dice.random() < 0.5:
                subject += self.dice.choice([m for m in METHODS if "items" not in m and "keys" not in m and "values" not in m])
            else:
                subject += "|" + self.dice.choice([TEXT_FILTERS, LIST_FILTERS, ["items|list", "dictsort", "list", "length", "tojson(indent=2)"],
                                                   NUMBER_FILTERS][kind])  # fmt: skip
        return subject

    def expression(self, depth=0):
        if self.dice.random() < 0.5:
            return self.typed(depth)
        kind = self.dice.randint(0, 11) if depth < 2 else self.dice.randint(0, 2)
        if kind <= 1:
            return self.dice.choice([*VARIABLES, "undefined_name", "x", "y", "loop.index", "loop.last", "ns.v"])
        if kind == 2:
            return self.dice.choice(LITERALS)
        inner = self.expression(depth + 1)
        if kind == 3:
            return f"{inner} {self.dice.choice(OPERATORS)} {self.expression(depth + 1)}"
        if kind == 4:
            return f"({inner})|{self.dice.choice(self.pick(TEXT_FILTERS, LIST_FILTERS, NUMBER_FILTERS))}"
        if kind in (5, 6):
            return f"({inner}){self.dice.choice(METHODS)}"
        if kind == 7:
            return f"{inner} is {self.dice.choice(TESTS)}"
        if kind == 8:
            return f"({inner} if {self.expression(depth + 1)}{self.pick(' else ' + self.expression(depth + 1), '')})"
        if kind == 9:
            return f"{self.pick('not ', '-', '')}{inner}"
        if kind == 10:
            return self.pick(f"[{inner}, {self.expression(depth + 1)}]", f"{{'q': {inner}}}", f"m({inner})", f"m(a={inner}, b=2)")
        return f"{inner}{self.dice.choice(METHODS)}"

    def block(self, code):
        return self.pick("{%", "{%-", "{%+", "{%-") + f" {code} " + self.pick("%}", "-%}", "%}", "+%}")

    def space(self):
        return self.pick("", " ", "\n", "  \n", "\n  ", "text", "\ttext \n", "\n\n", "é ", "}", "{# c #}", "  {#- c -#}\n", "a{b")

    def statement(self, depth):
        kind = self.dice.randint(0, 9) if depth < 3 else 0
        body = lambda: self.body(depth + 1)  # noqa: E731
        if kind <= 3:
            return self.pick("{{", "{{-") + f" {self.expression()} " + self.pick("}}", "-}}")
        if kind == 4:
            other = self.pick("", self.block("else") + body(), self.block("elif " + self.expression()) + body())
            return self.block("if " + self.expression()) + body() + other + self.block("endif")
        if kind == 5:
            head = self.pick("x in ", "y in ", "x, y in ") + self.pick("messages", "l", "w", "d", "d.items()", "s", self.expression(2))
            head += self.pick("", "", " if x", " if loop is undefined", " if y != 1")
            leave = self.pick("", "", self.block("if x == 1") + self.block(self.pick("break", "continue")) + self.block("endif"))
            other = self.pick("", self.block("else") + body())
            return self.block("for " + head) + body() + leave + body() + other + self.block("endfor")
        if kind == 6:
            return self.block(self.pick("set x = ", "set y = ", "set x, y = ", "set ns.v = ", "set s = ") + self.expression())
        if kind == 7:
            return self.block("set x" + self.pick("", " | upper", " | trim | replace('a', 'b')")) + body() + self.block("endset")
        if kind == 8:
            return self.block("macro m(a, b=1)") + self.pick("{{ a }}{{ b }}", body()) + self.block("endmacro")
        return self.block("filter " + self.pick("upper", "trim", "indent(1)")) + body() + self.block("endfilter")

    def body(self, depth=0):
        return "".join(self.space() + self.statement(depth) for _ in range(self.dice.randint(1, 3))) + self.space()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mla", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Python on what templates compile to
    interpreter, texts, refused, unknown, wrong = Interpreter(arguments.mla), 0, 0, 0, 0
    for number in range(arguments.count):
        dice = random.Random(f"{arguments.seed} {number}")
        writer = Writer(dice)
        template = "{{ " + writer.expression() + " }}" if dice.random() < 0.5 else "{% set ns = namespace(v=0) %}" + writer.body()
        try:
            expected = ("text", _compile_jinja_template(template).render(**VARIABLES))
        except Exception as error:
            expected = ("refused", f"{type(error).__name__}: {error}")
        try:
            found = ("text", interpreter.render(template, VARIABLES))
        except Refused as refusal:
            found = ("refused", str(refusal))
        if found == expected or found[0] == expected[0] == "refused":
            texts, refused = texts + (found[0] == "text"), refused + (found[0] == "refused")
        elif found[0] == "refused" and any(words in found[1] for words in ("not known here", "too large a number", "is printed", "a text of", "is not subscriptable")):
            unknown += 1
        elif expected[0] == "text" and " object at 0x" in expected[1]:
            unknown += 1
        else:
            wrong += 1
            if wrong <= 15:
                print(repr(template), expected, found, sep="\n    ")
    print(f"{texts} templates give the same text, both refuse {refused}, {unknown} are refused here by name, {wrong} differ")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
