"""h5py lists a checkpoint and reads its tensors, and they are what libmla reads.   usage: checkpoint.py LIBMLA.so STEP.h5"""

import ctypes
import json
import sys

import h5py
import numpy as np

F32, SEALED = 0, 0

mla = ctypes.CDLL(sys.argv[1])
mla.mla_error.restype = ctypes.c_char_p
context, ours = ctypes.c_void_p(), ctypes.c_void_p()
assert mla.mla_context_create(ctypes.byref(context), None) == 0
assert mla.mla_h5_open(context, ctypes.byref(ours), sys.argv[2].encode(), SEALED) == 0, mla.mla_error(context)


def read_ours(name, shape):
    out = np.zeros(shape, np.float32)
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    status = mla.mla_h5_read(ours, name.encode(), F32, len(shape), sizes, out.ctypes.data_as(ctypes.c_void_p))
    assert status == 0, mla.mla_error(context).decode()
    return out


def tensors_below(group):
    found = {}
    group.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


with h5py.File(sys.argv[2]) as file:
    model = tensors_below(file["model"])
    assert model and json.loads(file["config/model"][()])["hidden_size"] > 0 and file["state/step"][()] > 0
    for group in ("model", "optim/m", "optim/v"):
        tensors = tensors_below(file[group])
        assert tensors.keys() == model.keys(), group
        for name, tensor in tensors.items():
            assert tensor.dtype == np.float32 and tensor.shape == model[name].shape, name
            values = tensor[()]
            assert np.isfinite(values).all() and np.array_equal(values, read_ours(f"/{group}/{name}", tensor.shape)), name
print(f"checkpoint: h5py reads {len(model)} tensors and their moments, equal to ours")
