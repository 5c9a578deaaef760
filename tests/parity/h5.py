"""h5py reads what libmla writes, and libmla reads what h5py writes.   usage: h5.py LIBMLA.so"""

import ctypes
import json
import os
import sys
import tempfile

import h5py
import numpy as np

F32, BF16, I32, I64, F64, U8, U16 = range(7)
SEALED, ANY = range(2)

mla = ctypes.CDLL(sys.argv[1])
mla.mla_error.restype = ctypes.c_char_p
context = ctypes.c_void_p()
assert mla.mla_context_create(ctypes.byref(context), None) == 0


def ok(status):
    assert status == 0, mla.mla_error(context).decode()


def shape_of(array):
    return (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)


def bf16_bits(values):
    """Upper half of the f32, for values that bf16 holds exactly."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write(path, datasets, texts):
    file = ctypes.c_void_p()
    ok(mla.mla_h5_create(context, ctypes.byref(file), path.encode(), None))
    for name, (kind, array) in datasets.items():
        data = bf16_bits(array) if kind == BF16 else array
        ok(mla.mla_h5_write(file, name.encode(), kind, array.ndim, shape_of(array), data.ctypes.data_as(ctypes.c_void_p)))
    for name, text in texts.items():
        ok(mla.mla_h5_write_text(file, name.encode(), text.encode()))
    ok(mla.mla_h5_commit(file))
    mla.mla_h5_close(file)


def h5py_reads_ours(path):
    random = np.random.default_rng(1)
    exact = np.array([[0, -0.0, 1, -2.5], [np.inf, -np.inf, 2.0**-133, 3.3895314e38]], np.float32)
    datasets = {
        "/model/w": (F32, random.standard_normal((5, 7, 2)).astype(np.float32)),
        "/model/h": (BF16, exact),
        "/optim/m/w": (F64, random.standard_normal(11)),
        "/ids": (I32, random.integers(-9, 9, (3, 4)).astype(np.int32)),
        "/offsets": (I64, np.array([0, 1 << 40])),
        "/bytes": (U8, np.arange(256, dtype=np.uint8)),
        "/short": (U16, np.arange(0, 65536, 7, dtype=np.uint16)),
        "/step": (I64, np.array(1000)),
        "/empty": (F32, np.zeros((0, 3), np.float32)),
    }
    config = json.dumps({"name": "schön", "long": "x" * 200_000}, ensure_ascii=False)
    write(path, datasets, {"/config": config})
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append("/" + name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(names) == sorted([*datasets, "/config", "/integrity"]), names
        for name, (kind, array) in datasets.items():
            read = file[name][()]
            assert read.dtype == (np.float32 if kind == BF16 else array.dtype), (name, read.dtype)
            assert np.array_equal(read, array) and np.array_equal(np.signbit(read), np.signbit(array)), name
        assert json.loads(file["config"][()]) == json.loads(config)


def we_read_theirs(path):
    ids = np.arange(12, dtype=np.int32).reshape(3, 4)
    with h5py.File(path, "w") as file:
        file["ids"] = ids
        file.create_dataset("packed", data=ids, chunks=(1, 4), compression="gzip")
        file["big"] = ids.astype(">i4")
        file["names"] = ["a", "b"]
    file = ctypes.c_void_p()
    assert mla.mla_h5_open(context, ctypes.byref(file), path.encode(), SEALED) != 0
    assert b"another program" in mla.mla_error(context)
    mla.mla_clear_error(context)
    ok(mla.mla_h5_open(context, ctypes.byref(file), path.encode(), ANY))
    for name in (b"ids", b"packed", b"big"):
        out = np.zeros_like(ids)
        ok(mla.mla_h5_read(file, name, I32, 2, shape_of(ids), out.ctypes.data_as(ctypes.c_void_p)))
        assert np.array_equal(out, ids), name
    place = ctypes.c_void_p()
    ok(mla.mla_h5_map(file, b"ids", I32, 2, shape_of(ids), ctypes.byref(place)))
    assert ctypes.string_at(place, ids.nbytes) == ids.tobytes()
    for name in (b"packed", b"big"):
        assert mla.mla_h5_map(file, name, I32, 2, shape_of(ids), ctypes.byref(place)) != 0
        mla.mla_clear_error(context)
    assert mla.mla_h5_read(file, b"names", I32, 1, shape_of(ids), None) != 0
    mla.mla_clear_error(context)
    mla.mla_h5_close(file)


with tempfile.TemporaryDirectory() as folder:
    h5py_reads_ours(os.path.join(folder, "ours.h5"))
    we_read_theirs(os.path.join(folder, "theirs.h5"))
print("h5: h5py reads ours (bf16 and f32 included), we read h5py's")
