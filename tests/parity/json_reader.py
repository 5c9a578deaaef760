"""JSON as it is read here, held against Python's json.

    python tests/parity/json_reader.py build/libmla.so [--seed N] [--count N]

Random documents, and mutations of them: both read a text, or both refuse it, and what they read is the same. Known
differences: Python refuses what is no UTF-8, nesting beyond a thousand and numbers of more than 4300 digits; it takes
UTF-16. Here, whole numbers beyond 64 bits become reals; NaN, Infinity and numbers beyond a double become strings, as they
are spelled; lone surrogates, and zeros in keys, become U+FFFD. Needs Python alone. Exit code 1 when something differs.
"""

import argparse
import ctypes
import ctypes.util
import json
import random
import re
import sys

KEEP_ZEROS, QUIET = 4, 2
PIECES = ["{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\ud83d", "\\ude00", "\\n", "0", "1", "-", "+", ".", "e", "E5",
          "NaN", "Infinity", "-Infinity", "true", "false", "null", " ", "\n", "\t", "\r", "\x00", "\x1f", "\x7f", "é", "😀",
          "1e999", "9223372036854775807", "9223372036854775808", "00", "1.5e-7", "\ufeff", "\u00a0", '"a"', '{"a":1}', "'", "/"]  # fmt: skip


class Spelled(str):
    """A number that is a string here."""


def number(text):
    value = float(text)
    return Spelled(text) if value in (float("inf"), float("-inf")) else value


def whole(text):
    value = int(text)
    if -(2**63) <= value < 2**63:
        return value
    try:
        return number(text)
    except OverflowError:
        return Spelled(text)


def repaired(text):
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def ours(value):
    """What stands for a value of Python's."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, list):
        return [ours(item) for item in value]
    if isinstance(value, dict):
        return {repaired(key).replace("\0", "\ufffd"): ours(item) for key, item in value.items()}
    return value


def same(a, b):
    if type(a) is bool or type(b) is bool or a is None or b is None:
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and str(a) == str(b)
    return type(a) is type(b) and repr(a) == repr(b)


def value(rng, depth):
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return rng.choice(["true", "false", "null", "NaN", "Infinity", "-Infinity", "-0", "1e999", "5e-324"])
    if kind == 1:
        return str(rng.randrange(-(2 ** rng.randrange(1, 140)), 2 ** rng.randrange(1, 140)))
    if kind == 2:
        return repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300))
    if kind in (3, 4):
        characters = [chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0xD800), 10, 0, rng.randrange(0xD800, 0xE000),
                                      rng.randrange(0xE000, 0x110000)])) for _ in range(rng.randrange(20))]  # fmt: skip
        ascii = any(0xD800 <= ord(c) < 0xE000 for c in characters) or rng.random() < 0.5
        return json.dumps("".join(characters), ensure_ascii=ascii)
    space = rng.choice(["", " ", "\n\t"])
    items = [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return "[" + space + ("," + space).join(items) + space + "]"
    keys = [rng.choice(['"a"', '"b"', '"\\u0061"', '"c\\u0000"', '"é"']) for _ in items]
    return "{" + space + ("," + space).join(key + space + ":" + item for key, item in zip(keys, items)) + space + "}"


def mutated(rng, text):
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(["", rng.choice(PIECES)]) + text[at + rng.randrange(3) :]
    return text


class Reader:
    def __init__(self, path):
        self.mla = ctypes.CDLL(path)
        self.jansson = ctypes.CDLL(ctypes.util.find_library("jansson"))
        self.jansson.json_dumps.restype = ctypes.c_void_p
        self.jansson.json_dumps.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.jansson.json_delete.argtypes = [ctypes.c_void_p]
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = [ctypes.c_void_p]
        self.mla.mla_error.restype = ctypes.c_char_p
        self.context = ctypes.c_void_p()
        self.mla.mla_context_create(ctypes.byref(self.context), None)

    def read(self, data):
        """The value, or the message that refuses it. Trees are few enough to be left."""
        tree = ctypes.c_void_p()
        status = self.mla.mla_json_read(self.context, b"", data, ctypes.c_int64(len(data)), KEEP_ZEROS | QUIET, ctypes.byref(tree))
        if status:
            message = self.mla.mla_error(self.context).decode(errors="replace")
            self.mla.mla_clear_error(self.context)
            return None, message
        text = self.jansson.json_dumps(tree, 0x200 | 17 << 11)  # any value, 17 digits
        decoded = json.loads(ctypes.string_at(text).decode())
        self.free(text)
        return decoded, None


def compare(reader, text):
    data = text.encode()
    if len(data) > 1 and bool(data[0]) != bool(data[1]):
        return True, False  # as UTF-16
    try:
        theirs, refused = ours(json.loads(data.decode("utf-8-sig"), parse_float=number, parse_int=whole, parse_constant=Spelled)), False
    except ValueError:
        theirs, refused = None, True
    here, message = reader.read(data)
    return refused == (message is not None) and (refused or same(theirs, here)), not refused


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    options = parser.parse_args()
    reader, rng, read = Reader(options.library), random.Random(options.seed), 0
    for i in range(options.count):
        text = value(rng, rng.randrange(5))
        if i % 2:
            text = mutated(rng, text)
        agrees, was_read = compare(reader, text)
        read += was_read
        if not agrees:
            print(f"differs: {text!r}: {reader.read(text.encode())}")
            return 1
    print(f"{options.count} texts, {read} of them read, the rest refused by both: the same values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
