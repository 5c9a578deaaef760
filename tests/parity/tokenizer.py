#!/usr/bin/env python3
"""Our tokenizer against the PyPI package `tokenizers`, live.

    tests/parity/tokenizer.py LIBMLA.SO [SEED]

Trains a vocabulary of 4096 on 20 MB of what the machine has, exports it, and compares the ids of about 5 MB of
text, source code, Unicode and random bytes with those of `tokenizers` loading the export. Then the other way
round: files made by `tokenizers` in the manner of known models, read by ours. Exit code 1 on any difference.
"""
import ctypes as c
import glob
import json
import os
import random
import sys
import tempfile
import time
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

END = "<|endoftext|>"


class Chunk(c.Structure):
    _fields_ = [("bytes", c.c_char_p), ("length", c.c_int64)]


class Options(c.Structure):
    _fields_ = [("vocab_size", c.c_int32), ("pattern", c.c_char_p)]


NONE, PLAIN, ALL = range(3)  # which added tokens are found in text


class EncoderOptions(c.Structure):
    _fields_ = [("added", c.c_int), ("frame", c.c_bool)]


class List(c.Structure):
    _fields_ = [("items", c.c_void_p), ("count", c.c_int64), ("capacity", c.c_int64)]


class Library:
    """libmla, with its errors as exceptions."""

    def __init__(self, path):
        self.mla, self.libc = c.CDLL(path), c.CDLL(None)
        self.mla.mla_error.restype = c.c_char_p
        self.libc.free.argtypes = [c.c_void_p]
        self.context = c.c_void_p()
        self.mla.mla_context_create(c.byref(self.context), None)

    def call(self, name, *arguments):
        if getattr(self.mla, name)(self.context, *arguments):
            raise RuntimeError(self.mla.mla_error(self.context).decode())

    def make(self, name, *arguments):
        out = c.c_void_p()
        self.call(name, c.byref(out), *arguments)
        return out

    def train(self, documents, vocab_size):
        chunks = (Chunk * len(documents))(*[Chunk(d, len(d)) for d in documents])
        return self.make("mla_tokenizer_train", c.byref(Options(vocab_size, None)), chunks, c.c_int64(len(documents)))

    def load(self, path):
        return self.make("mla_tokenizer_load", path.encode())

    def encoder(self, tokenizer, added=NONE, frame=False):
        return self.make("mla_encoder_create", tokenizer, c.byref(EncoderOptions(added, frame)))

    def encode(self, encoder, data):
        out = List()
        self.call("mla_encoder_encode", encoder, c.c_char_p(data), c.c_int64(len(data)), c.byref(out))
        return self.take(out, 4, lambda raw: list(memoryview(raw).cast("i")))

    def decode(self, tokenizer, ids):
        out = List()
        self.call("mla_tokenizer_decode", tokenizer, (c.c_int32 * len(ids))(*ids), c.c_int64(len(ids)), c.byref(out))
        return self.take(out, 1, bytes)

    def take(self, out, size, convert):
        items = convert(c.string_at(out.items, out.count * size) if out.count else b"")
        self.libc.free(out.items)
        return items


def gather(patterns, limit):
    """Files as documents, up to `limit` bytes."""
    documents, total = [], 0
    for pattern in patterns:
        for path in sorted(glob.glob(pattern, recursive=True)):
            if total >= limit:
                return documents
            if os.path.isfile(path):
                data = open(path, "rb").read(min(limit - total, 400_000))
                documents.append(data)
                total += len(data)
    return documents


TEXT = ["/usr/share/common-licenses/*", "/usr/share/doc/*/copyright"]
CODE = [os.path.dirname(os.__file__) + "/**/*.py", "/usr/include/**/*.h", sys.prefix + "/lib/**/*.py",
        sys.prefix + "/lib/**/*.h"]
SAMPLES = ("Привет, мир! Καλημέρα κόσμε. שלום עולם، مرحبا بالعالم ١٢٣٤؟ नमस्ते दुनिया। १२३ 你好，世界！「引号」 "
           "こんにちは、世界ー 안녕하세요 세계 ภาษาไทย ๑๒๓ Việt Nam tiếng ça Straße ǅ ﬁ ﬆ 'ſ don't I'LL we'Ve ½ ² Ⅷ "
           "👨‍👩‍👧 ❤️ 🏳️‍🌈 ☃ → ∑ “quotes” – — … \u00a0\u2003\u3000\u2028\u2029\u0085\u180e\u200b\u200c\u200d\ufeff\t\v\f\r\n"
           " e\u0301 a\u0308\u0323 1234567 3.14e-10 foo_bar(x[0]) == '<|endoftext|>' \x00\x1f\x7f").split(" ")
SPACES = ["", " ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "    ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e"]


def unicode_text(rng, size, known_only):
    """Words of many scripts and runs of random characters. known_only: none that Unicode 14 does not have."""
    parts, length = [], 0
    while length < size:
        if rng.random() < 0.7:
            part = rng.choice(SAMPLES)
        else:
            block = rng.randrange(0, 0x110000 if rng.random() < 0.2 else 0x3000)
            part = "".join(chr(block + rng.randrange(64)) for _ in range(rng.randrange(1, 8)) if block + 63 < 0x110000)
        part = "".join(x for x in part if not 0xD800 <= ord(x) <= 0xDFFF)
        if known_only:
            part = "".join(x for x in part if unicodedata.category(x) != "Cn")
        parts.append(part + rng.choice(SPACES))
        length += len(parts[-1].encode())
    return "".join(parts)


def every_character():
    characters = [chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF]
    return ["".join(f"a{x}b {x}{x}1" for x in characters[i:i + 50_000]) for i in range(0, len(characters), 50_000)]


def cut(text, size=100_000):
    return [text[i:i + size] for i in range(0, len(text), size)]


def mixed(rng, known_only):
    """Name -> documents, some 5 MB altogether."""
    noise = rng.randbytes(600_000)
    decode = lambda documents: [d.decode("utf-8", "replace") for d in documents]
    return {"text": decode(gather(TEXT, 1_500_000)), "source code": decode(gather(CODE[1::-1], 1_500_000)),
            "Unicode": cut(unicode_text(rng, 1_200_000, known_only)),
            "random bytes, latin-1": cut(noise.decode("latin-1")),
            "random bytes, replaced": cut(noise.decode("utf-8", "replace")),
            "runs": ["a" * 50_000, " " * 50_000, "\n" * 50_000, "1" * 50_000, "!?" * 20_000, "\u4e00" * 20_000]}


def compare(library, name, ours, theirs, documents, added=PLAIN):
    """Prints one line; returns the number of documents that differ."""
    encoder, wrong, size, count, seconds, other = library.encoder(ours, added), 0, 0, 0, 0, 0
    theirs.encode_special_tokens = added != ALL  # ours by default: text that spells a special token is text
    for text in documents:
        data = text.encode()
        start = time.perf_counter()
        ids = library.encode(encoder, data)
        seconds += time.perf_counter() - start
        start = time.perf_counter()
        expected = theirs.encode(text, add_special_tokens=False).ids
        other += time.perf_counter() - start
        size, count = size + len(data), count + len(ids)
        if ids != expected or library.decode(ours, ids) != data:
            if not wrong:
                at = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), min(len(ids), len(expected)))
                near = library.decode(ours, ids[max(0, at - 3):at + 3])
                print(f"  differs at token {at}: ours {ids[at:at + 4]}, theirs {expected[at:at + 4]}, near {near!r}")
            wrong += 1
    library.mla.mla_encoder_destroy(encoder)
    print(f"  {name:34} {size / 1e6:6.2f} MB {count:9} ids  {size / seconds / 1e6:6.1f} MB/s "
          f"(tokenizers {size / other / 1e6:5.1f})  {'differs in %d documents' % wrong if wrong else 'equal'}", flush=True)
    return wrong


def round_trips(library, tokenizer, rng):
    wrong, encoder = 0, library.encoder(tokenizer)
    pool = [b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", "é".encode(), b"text ", b"\n"]
    for i in range(3000):
        data = rng.randbytes(rng.randrange(200)) if i % 2 else b"".join(rng.choices(pool, k=rng.randrange(40)))
        ids = library.encode(encoder, data)
        wrong += library.decode(tokenizer, ids) != data or 256 in ids
    library.mla.mla_encoder_destroy(encoder)
    print(f"  3000 byte strings there and back: {wrong} differ")
    return wrong


def split(*patterns):
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]


GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
               r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V2 = ("[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+",
               r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+")


def known_models():
    """Name -> (steps before ByteLevel, or None for its own pattern; more of the model)."""
    return {"GPT-2": (None, {}), "Llama 3": (split(GPT4 % "{1,3}"), {"ignore_merges": True}),
            "Qwen 2": (split(GPT4 % ""), {}), "GPT-4o": (split(GPT4O), {}),
            "DeepSeek V3": (split(*DEEPSEEK_V3), {}),
            "DeepSeek V2": (split(*DEEPSEEK_V2) + [pre_tokenizers.Digits(individual_digits=True)], {})}


def make_like(steps, model, documents):
    tokenizer = Tokenizer(models.BPE(**model))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=steps is None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps + [last]) if steps else last
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<tool>2", normalized=False)])
    return tokenizer


def spell_out(library, ours, theirs):
    """Text that spells added tokens: matched (theirs by default), and as data (ours by default)."""
    documents = [f"one{END}two {END} <tool>2<tool> three<|endoftext|", END * 3, f"  {END}\n\n{END}  x"]
    return (compare(library, f"{END} in the text, matched", ours, theirs, documents, ALL) +
            compare(library, f"{END} in the text, as text", ours, theirs, documents))


def check_export(library, folder, rng):
    documents = gather(TEXT, 8_000_000) + gather(CODE, 20_000_000)
    while sum(map(len, documents)) < 20_000_000:
        documents += documents
    total = 0
    documents = [d for d in documents if (total := total + len(d)) <= 20_000_000]
    start = time.perf_counter()
    ours = library.train(documents, 4096)
    print(f"trained 4096 tokens on {sum(map(len, documents)) / 1e6:.1f} MB in {time.perf_counter() - start:.2f} s")
    path = os.path.join(folder, "tokenizer.json")
    library.call("mla_tokenizer_save", ours, path.encode())
    theirs = Tokenizer.from_file(path)
    wrong = sum(compare(library, name, ours, theirs, texts) for name, texts in mixed(rng, False).items() if texts)
    wrong += compare(library, "every character", ours, theirs, every_character())
    wrong += spell_out(library, ours, theirs) + round_trips(library, ours, rng)
    wrong += theirs.get_vocab_size() != 4096 or theirs.token_to_id(END) != 256
    library.mla.mla_tokenizer_destroy(ours)
    return wrong


def check_import(library, folder, rng):
    wrong, samples = 0, mixed(rng, True)
    for name, (steps, model) in known_models().items():
        theirs = make_like(steps, model, [d for documents in samples.values() for d in documents[:3]])
        path = os.path.join(folder, "theirs.json")
        theirs.save(path)
        ours = library.load(path)
        wrong += compare(library, f"in the manner of {name}", ours, theirs, sum(samples.values(), []))
        wrong += spell_out(library, ours, theirs)
        library.mla.mla_tokenizer_destroy(ours)
        old = json.load(open(path))  # merges as files have them that are older than tokenizers 0.20
        old["model"]["merges"] = [" ".join(m) for m in old["model"]["merges"]]
        json.dump(old, open(path, "w"))
        ours = library.load(path)
        wrong += compare(library, "  with merges as \"a b\"", ours, theirs, samples["Unicode"])
        library.mla.mla_tokenizer_destroy(ours)
    return wrong


NORMALIZERS = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(), "NFD, StripAccents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "Strip": normalizers.Strip(), "Strip left": normalizers.Strip(left=True, right=False), "StripAccents": normalizers.StripAccents(),
    "Strip right": normalizers.Strip(left=False, right=True), "Prepend": normalizers.Prepend("é "),
    "Replace": normalizers.Replace("e", "\u0301oe"), "Replace spaces": normalizers.Replace(Regex(r"\s{2,}|ß"), " "),
    "Replace with nothing": normalizers.Replace(Regex("[aeiou]"), ""),
    "many": normalizers.Sequence([normalizers.Strip(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents(),
                                  normalizers.Sequence([normalizers.Replace(" ", "▁"), normalizers.Prepend("▁")]), normalizers.NFC()])}
ADDED = ["<tool>", "<tool>2", "<a>", "<A>", "<b>", "word", "the", "世", "ﬁ<", "<é>", "<E\u0301>", "  x", "_", "<|x y|>", "١٢", "👨\u200d👩"]


def with_fallback(rng, documents):
    """Name and tokenizer in the manner of those that SentencePiece makes: Llama 2, Mistral, Gemma, and kinds between them."""
    kind, scheme = rng.choice(["prepend", "metaspace", "gemma", "pieces"]), rng.choice(["first", "always", "never"])
    space = pre_tokenizers.Metaspace("▁", scheme, split=True)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = space if rng.random() < 0.8 else pre_tokenizers.Metaspace("▁", scheme, split=False)
    trainer = trainers.BpeTrainer(vocab_size=1500, show_progress=False, limit_alphabet=rng.choice([40, 120, 400]))
    trained.train_from_iterator([d[:20_000].replace("\0", "") for d in documents], trainer)
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + sorted(model["vocab"], key=model["vocab"].get)
    tokenizer = Tokenizer(models.BPE({x: i for i, x in enumerate(dict.fromkeys(names))}, [tuple(m) for m in model["merges"]],
                                     unk_token="<unk>", fuse_unk=rng.random() < 0.5, byte_fallback=True,
                                     ignore_merges=rng.random() < 0.3))
    written = normalizers.Replace(" ", "▁")
    if kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), written])
    elif kind == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", scheme, split=rng.random() < 0.3)
        tokenizer.normalizer = rng.choice([None, None, normalizers.NFC(), normalizers.NFKC(), normalizers.Lowercase()])
    elif kind == "gemma":
        tokenizer.normalizer = written
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        behavior = rng.choice(["isolated", "merged_with_previous", "merged_with_next", "contiguous"])
        pattern = rng.choice(["▁", "a", Regex("[aeiou.]"), Regex(r"\p{L}+"), "(."])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace("▁", scheme, split=rng.random() < 0.5), pre_tokenizers.Split(pattern, behavior, rng.random() < 0.3),
             pre_tokenizers.Digits(rng.random() < 0.5)])
    tokenizer.decoder = decoders.Metaspace("▁", scheme) if rng.random() < 0.2 else decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + [decoders.Strip(" ", 1, 0)] * (rng.random() < 0.6))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return f"byte_fallback, {kind}, {scheme}", tokenizer, "</s>"


def byte_level(rng, documents):
    steps, model = rng.choice(list(known_models().values()))
    tokenizer = make_like(steps, model, documents)
    name = rng.choice([None] + list(NORMALIZERS))
    if name:
        tokenizer.normalizer = NORMALIZERS[name]
    return name, tokenizer, END


def random_tokenizer(rng, documents, make):
    name, tokenizer, ending = make(rng, documents)
    for content in rng.sample(ADDED, rng.randrange(len(ADDED))):
        flag = lambda: rng.random() < 0.3
        token = AddedToken(content, lstrip=flag(), rstrip=flag(), single_word=flag(), normalized=rng.random() < 0.5)
        known = tokenizer.token_to_id(content) is not None  # here text never becomes a special token by merging
        (tokenizer.add_special_tokens if flag() and not known else tokenizer.add_tokens)([token])
    end = tokenizer.token_to_id(ending)
    tokenizer.post_processor = rng.choice([
        processors.ByteLevel(trim_offsets=False), processors.BertProcessing((ending, end), ("a", tokenizer.token_to_id("a"))),
        processors.RobertaProcessing((ending, end), (ending, end)),
        processors.TemplateProcessing(single=rng.choice([f"{ending} $A", f"$A {ending}", f"{ending} $A {ending}"]), pair="$A $B",
                                      special_tokens=[(ending, end)])])
    if rng.random() < 0.5:
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), tokenizer.post_processor])
    return name, tokenizer


def spliced(rng, text, size=400):
    """Pieces of the text with added tokens between them and white space of all kinds beside those, composed or not."""
    parts = []
    for _ in range(rng.randrange(1, 12)):
        begin = rng.randrange(max(1, len(text) - size))
        parts += [text[begin:begin + rng.randrange(size)], rng.choice(SPACES), rng.choice(ADDED + [END]), rng.choice(SPACES)]
    return unicodedata.normalize(rng.choice(["NFC", "NFD"]), "".join(parts)) if rng.random() < 0.5 else "".join(parts)


def decodable(theirs):
    """`tokenizers` takes an added token of Latin-1 letters for the bytes that they stand for in the byte-level alphabet."""
    return "ByteLevel" not in theirs.decoder.__getstate__().decode() or all(all(ord(x) < 0x7F or ord(x) > 0x17F for x in t.content) for t in theirs.get_added_tokens_decoder().values())


def check_random(library, folder, rng, count, make):
    """Random tokenizers, each with many texts: added tokens special and not, with and without the frame."""
    samples, wrong, texts, ids = mixed(rng, True), 0, 0, 0
    everything = [t for documents in samples.values() for t in documents]
    for trial in range(count):
        name, theirs = random_tokenizer(rng, everything[::7], make)
        path = os.path.join(folder, "random.json")
        theirs.save(path)
        ours, compared = library.load(path), decodable(theirs)
        for added, frame in (PLAIN, False), (ALL, False), (PLAIN, True), (ALL, True):
            encoder, theirs.encode_special_tokens = library.encoder(ours, added, frame), added != ALL
            for _ in range(25):
                text = spliced(rng, rng.choice(everything))
                a, b = library.encode(encoder, text.encode()), theirs.encode(text, add_special_tokens=frame).ids
                same = a == b and (not compared or library.decode(ours, a).decode("utf-8", "replace") == theirs.decode(b, skip_special_tokens=False))
                if not same and wrong < 10:
                    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                    print(f"  {name}, tokenizer {trial}, {added}: token {at}: ours {a[at:at + 4]} {library.decode(ours, a[max(0, at - 4):at + 4])!r}, "
                          f"theirs {b[at:at + 4]} {library.decode(ours, b[max(0, at - 4):at + 4])!r}")
                wrong, texts, ids = wrong + (not same), texts + 1, ids + len(b)
            library.mla.mla_encoder_destroy(encoder)
        library.mla.mla_tokenizer_destroy(ours)
    print(f"  {count} random tokenizers ({make.__name__}), {texts} texts, {ids} ids: {wrong} differ", flush=True)
    return wrong


def check_normalizers(library, folder, rng):
    """Each normalizer on every character, and on much text."""
    wrong, samples = 0, mixed(rng, True)
    alone = ["".join(chr(i) + "|" for i in range(j, j + 4096) if unicodedata.category(chr(i)) not in ("Cs", "Cn")) for j in range(0, 0x110000, 4096)]
    joined = ["".join(f"{chr(i)}a{chr(i)}\u0323\u0301" for i in range(j, j + 4096) if unicodedata.category(chr(i)) not in ("Cs", "Cn")) for j in range(0, 0x110000, 4096)]
    for name, normalizer in NORMALIZERS.items():
        theirs = make_like(None, {}, samples["text"][:3])
        theirs.normalizer = normalizer
        theirs.save(os.path.join(folder, "normal.json"))
        ours = library.load(os.path.join(folder, "normal.json"))
        check = lambda documents: sum(library.encode(encoder, d.encode()) != theirs.encode(d).ids for d in documents)
        encoder = library.encoder(ours, PLAIN)
        theirs.encode_special_tokens = True
        documents = sum(samples.values(), [])
        documents += [unicodedata.normalize("NFD", d) for d in samples["Unicode"] + samples["text"]]
        counts = [check(alone), check(joined), check(documents)]
        print(f"  normalizer {name:22} every character, with marks, {len(documents)} documents: {counts} differ", flush=True)
        library.mla.mla_encoder_destroy(encoder)
        library.mla.mla_tokenizer_destroy(ours)
        wrong += sum(counts)
    return wrong


def main():
    library, rng = Library(sys.argv[1]), random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(f"tokenizers {tokenizers.__version__}, Python's Unicode {unicodedata.unidata_version}")
    with tempfile.TemporaryDirectory() as folder:
        wrong = check_export(library, folder, rng) + check_import(library, folder, rng)
        wrong += check_normalizers(library, folder, rng) + check_random(library, folder, rng, 60, byte_level)
        wrong += check_random(library, folder, rng, 60, with_fallback)
    print(f"{wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
