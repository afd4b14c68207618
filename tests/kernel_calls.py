"""Calls an operator of sharpdro/cpu_kernels as MindSpore does, without MindSpore."""

import ctypes

import numpy as np

_INT64 = ctypes.POINTER(ctypes.c_int64)


def call(library, name, inputs, shapes, dtype="float32"):
    """An operator's exit code and its outputs, float32 of the shapes given."""
    outputs = [np.full(shape, np.nan, np.float32) for shape in shapes]
    arrays = [np.ascontiguousarray(x, np.float32) for x in inputs] + outputs
    count = len(arrays)
    dims = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
    code = getattr(ctypes.CDLL(str(library)), name)(
        count,
        (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays)),
        (ctypes.c_int * count)(*(a.ndim for a in arrays)),
        (_INT64 * count)(*(ctypes.cast(d, _INT64) for d in dims)),
        (ctypes.c_char_p * count)(*[dtype.encode()] * count),
        None,
        None,
    )
    return code, outputs
