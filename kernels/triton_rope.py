"""RoPE of queries and keys in one pass, forward and backward: a rotation and its inverse."""

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 16  # a program's
WARPS = 4


@triton.jit
def _turn(X, Out, token, tokens, heads, x_stride, x_head, cos, sin, HALF: tl.constexpr):
    """Every head of some tokens: (a, b) -> (a cos - b sin, b cos + a sin) of the two halves."""
    column = tl.arange(0, HALF)[None, :]
    inside = token < tokens
    for head in range(heads):
        at = X + token.to(tl.int64) * x_stride + head * x_head + column
        a = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(at + HALF, mask=inside, other=0.0).to(tl.float32)
        to = Out + (token.to(tl.int64) * heads + head) * (2 * HALF) + column
        tl.store(to, (a * cos - b * sin).to(Out.dtype.element_ty), mask=inside)
        tl.store(to + HALF, (b * cos + a * sin).to(Out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["tokens"])
def rope_kernel(Q, K, Cos, Sin, OutQ, OutK, tokens, q_heads, k_heads, q_stride, q_head, k_stride,
                k_head, table_stride, INVERSE: tl.constexpr, HALF: tl.constexpr,
                TOKENS: tl.constexpr):  # fmt: skip
    """TOKENS tokens; their cos and sin, of which the second half repeats the first, are read once
    for all heads."""
    token = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS))[:, None]
    at = token.to(tl.int64) * table_stride + tl.arange(0, HALF)[None, :]
    cos = tl.load(Cos + at, mask=token < tokens, other=0.0)
    sin = tl.load(Sin + at, mask=token < tokens, other=0.0)
    if INVERSE:
        sin = -sin
    _turn(Q, OutQ, token, tokens, q_heads, q_stride, q_head, cos, sin, HALF)
    _turn(K, OutK, token, tokens, k_heads, k_stride, k_head, cos, sin, HALF)


@torch.library.custom_op("scale_or_reason::rope", mutates_args=())
def rope_op(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    q, k, cos, sin = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, cos, sin))
    tokens, heads, width = q.shape
    out_q, out_k = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))
    assert cos.stride() == sin.stride(), f"{cos.stride()=} {sin.stride()=}"
    if tokens:
        rope_kernel[(triton.cdiv(tokens, TOKENS),)](
            q, k, cos, sin, out_q, out_k, tokens, heads, k.shape[1], q.stride(0), q.stride(1),
            k.stride(0), k.stride(1), cos.stride(0), INVERSE=inverse, HALF=width // 2,
            TOKENS=TOKENS, num_warps=WARPS)  # fmt: skip
    return out_q, out_k


@rope_op.register_fake
def _(q, k, cos, sin, inverse):
    return tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[2], inputs[3])
    ctx.inverse = inputs[4]


def _differentiate(ctx, grad_q, grad_k):
    return *rope_op(grad_q, grad_k, *ctx.saved_tensors, not ctx.inverse), None, None, None


rope_op.register_autograd(_differentiate, setup_context=_save)


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return rope_op(q, k, cos, sin, False)
