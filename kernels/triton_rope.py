"""RoPE of queries and keys in one pass, forward and backward: a rotation and its inverse."""

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = tl.constexpr(16)  # of a program
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
def rope_kernel(
    Q, K, Cos, Sin, OutQ, OutK, tokens, heads, strides, INVERSE: tl.constexpr, HALF: tl.constexpr
):
    """TOKENS tokens. Their cos and sin, whose second half repeats the first, are read once for all
    heads. heads: of Q and K. strides: of a token and a head of Q, then of K; of a table's row."""
    q_stride, q_head, k_stride, k_head, table_stride = strides
    token = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS))[:, None]
    at = token.to(tl.int64) * table_stride + tl.arange(0, HALF)[None, :]
    cos = tl.load(Cos + at, mask=token < tokens, other=0.0)
    sin = tl.load(Sin + at, mask=token < tokens, other=0.0)
    if INVERSE:
        sin = -sin
    _turn(Q, OutQ, token, tokens, heads[0], q_stride, q_head, cos, sin, HALF)
    _turn(K, OutK, token, tokens, heads[1], k_stride, k_head, cos, sin, HALF)


@torch.library.custom_op("scale_or_reason::rope", mutates_args=())
def rope_op(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    q, k, cos, sin = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, cos, sin))
    assert cos.stride() == sin.stride(), f"{cos.stride()=} {sin.stride()=}"
    out_q, out_k = q.new_empty(q.shape), k.new_empty(k.shape)
    tokens, heads = len(q), (q.shape[1], k.shape[1])
    strides = (*q.stride()[:2], *k.stride()[:2], cos.stride(0))
    if tokens:
        arguments = (q, k, cos, sin, out_q, out_k, tokens, heads, strides, inverse, q.shape[2] // 2)
        rope_kernel[triton.cdiv(tokens, TOKENS.value),](*arguments, num_warps=WARPS)
    return out_q, out_k


@rope_op.register_fake
def _(q, k, cos, sin, inverse):
    return q.new_empty(q.shape), k.new_empty(k.shape)


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[2], inputs[3])
    ctx.inverse = inputs[4]


def _differentiate(ctx, grad_q, grad_k):
    return *rope_op(grad_q, grad_k, *ctx.saved_tensors, not ctx.inverse), None, None, None


rope_op.register_autograd(_differentiate, setup_context=_save)


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return rope_op(q, k, cos, sin, False)
