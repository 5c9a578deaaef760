"""The interpreter of chat templates in libmla, called from Python; and transformers' own, with the same outcome."""

import ctypes
import json
import pathlib


class Variable(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_void_p), ("kind", ctypes.c_int)]


class Output(ctypes.Structure):
    _fields_ = [("bytes", ctypes.POINTER(ctypes.c_char)), ("marks", ctypes.POINTER(ctypes.c_uint16)), ("length", ctypes.c_int64),
                ("capacity", ctypes.c_int64), ("mark_capacity", ctypes.c_int64), ("spans", ctypes.POINTER(ctypes.c_int64)),
                ("span_count", ctypes.c_int64), ("span_capacity", ctypes.c_int64)]  # fmt: skip


OF_DATA, OF_TEMPLATE, OF_MESSAGES = 0, 1, 2
ALLOW_NUL = 0x10  # JSON_ALLOW_NUL
DECODE_ANY = 0x4


class Refused(Exception):
    pass


class Interpreter:
    """mla: the command; libmla lies beside it."""

    def __init__(self, mla):
        self.mla = ctypes.CDLL(str(pathlib.Path(mla).resolve().parent / "libmla.so"))
        self.jansson = ctypes.CDLL("libjansson.so.4")
        self.jansson.json_loadb.restype = ctypes.c_void_p
        self.jansson.json_loadb.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
        self.jansson.json_delete.argtypes = [ctypes.c_void_p]
        self.mla.mla_error.restype = ctypes.c_char_p
        for name in ("mla_error", "mla_clear_error", "mla_jinja_destroy", "mla_jinja_output_free"):
            getattr(self.mla, name).argtypes = [ctypes.c_void_p]
        self.mla.mla_jinja_parse.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64]
        self.mla.mla_jinja_render.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int,
                                              ctypes.c_char_p, ctypes.c_void_p]  # fmt: skip
        self.context = ctypes.c_void_p()
        self.mla.mla_context_create(ctypes.byref(self.context), None)

    def check(self, status):
        if status:
            words = self.mla.mla_error(self.context).decode(errors="replace")
            self.mla.mla_clear_error(self.context)
            raise Refused(words)

    def render(self, template, variables, messages=(), date=None):
        """The text; Refused with the message. `messages` are the names of variables that are lists of messages."""
        text, jinja, output = template.encode(), ctypes.c_void_p(), Output()
        self.check(self.mla.mla_jinja_parse(self.context, ctypes.byref(jinja), b"template", text, len(text)))
        parsed = []
        for name, value in variables.items():
            line = json.dumps(value).encode()
            parsed.append((name, self.jansson.json_loadb(line, len(line), ALLOW_NUL | DECODE_ANY, None)))
        given = (Variable * len(parsed))(*[Variable(name.encode(), value, OF_MESSAGES if name in messages else OF_DATA)
                                           for name, value in parsed])  # fmt: skip
        status = self.mla.mla_jinja_render(self.context, jinja, b"data", given, len(parsed), date, ctypes.byref(output))
        out = ctypes.string_at(output.bytes, output.length) if output.length else b""
        self.mla.mla_jinja_output_free(ctypes.byref(output))
        self.mla.mla_jinja_destroy(jinja)
        self.check(status)
        return out.decode()
