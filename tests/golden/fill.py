"""Values that Python and C compute alike, so that no fixture stores its weights or inputs.

u(name, i) = (splitmix64 value number i of the stream that starts at FNV-1a-64(name)) >> 40, as a number in [-1, 1)
fill       = offset + scale * u, in double, rounded once to float

The product of two 24-bit numbers is exact in double, so a fused multiply-add changes nothing. The C twin is
tests/support/golden.c; tests/autograd/test_golden.c holds the two together, bit by bit.
"""

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(h)


def bits(name, count):
    """The first `count` 64-bit values of the stream called `name`."""
    with np.errstate(over="ignore"):
        z = fnv1a(name) + np.arange(1, count + 1, dtype=np.uint64) * GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fill(name, shape, scale=1.0, offset=0.0):
    """float32 array of the given shape; scale and offset count as float32."""
    u = (bits(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0
    values = np.float64(np.float32(offset)) + np.float64(np.float32(scale)) * u
    return values.astype(np.float32).reshape(shape)


def fill_ids(name, shape, vocab):
    """int32 ids: the stream's values modulo the vocabulary."""
    return (bits(name, int(np.prod(shape))) % np.uint64(vocab)).astype(np.int32).reshape(shape)
