"""Triton's interpreter made to compute bf16 as a GPU does, and to count the bytes it moves.

The interpreter (TRITON_INTERPRET=1) keeps a bf16 value as its 16 bits in an unsigned integer, which
it then multiplies and adds as an integer, without a word. Here conversions round to nearest even,
tl.dot multiplies the values, and any other arithmetic on bf16 is an error: our kernels compute in
fp32. tests/test_kernels.py shows what the repair is for.
"""

from collections import Counter
from functools import cache

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, _get_np_dtype

moved = Counter()  # bytes that launches have loaded and stored, masked elements left out


def widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(values: np.ndarray) -> np.ndarray:
    """fp32 -> the bits of bf16, to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def is_bf16(handle) -> bool:
    return isinstance(handle, TensorHandle) and handle.dtype.scalar == tl.bfloat16


def fp32(handle: TensorHandle) -> TensorHandle:
    return TensorHandle(widen(handle.data), tl.float32) if is_bf16(handle) else handle


@cache
def repair():
    """Mends the interpreter of this process, once."""
    names = ("cast_impl", "create_fp_to_fp", "create_dot", "binary_op", "unary_op", "create_fma",
             "create_masked_load", "create_masked_store")  # fmt: skip
    old = {name: getattr(InterpreterBuilder, name) for name in names}

    def converter(name):
        def convert(self, source, to, *rest):
            if to.scalar != tl.bfloat16 and not is_bf16(source):
                return old[name](self, source, to, *rest)
            values = fp32(source).data.astype(np.float32)
            if to.scalar == tl.bfloat16:
                return TensorHandle(narrow(values), tl.bfloat16)
            return TensorHandle(values.astype(_get_np_dtype(to)), to.scalar)

        return convert

    def dot(self, a, b, *rest):  # exact products, added in fp32 in an order of its own
        return old["create_dot"](self, fp32(a), fp32(b), *rest)

    def refuser(name):
        def compute(self, *operands):
            assert not any(map(is_bf16, operands)), "arithmetic on bf16: convert to fp32 first"
            return old[name](self, *operands)

        return compute

    def load(self, pointers, mask, *rest):
        count(pointers, mask)
        return old["create_masked_load"](self, pointers, mask, *rest)

    def store(self, pointers, value, mask, *rest):
        count(pointers, mask)
        return old["create_masked_store"](self, pointers, value, mask, *rest)

    def count(pointers, mask):
        elements = int(np.broadcast_to(mask.data, pointers.data.shape).sum())
        moved["bytes"] += elements * pointers.get_element_ty().primitive_bitwidth // 8

    new = {"create_dot": dot, "create_masked_load": load, "create_masked_store": store}
    for name in ("cast_impl", "create_fp_to_fp"):
        new[name] = converter(name)
    for name in ("binary_op", "unary_op", "create_fma"):
        new[name] = refuser(name)
    for name in names:
        setattr(InterpreterBuilder, name, new[name])
