"""Causal grouped-query attention over a packed row: each document by itself, forward and backward.

FlashAttention's algorithm (Dao et al. 2022; Dao 2023) on tiles that never leave a document. The
scores [T, T] are never stored: the backward pass makes them again from the row-wise log-sum-exp.
Three kernels (forward; dQ; dK and dV), each of which owns what it writes, so there are no atomics
and results are bitwise repeatable. T tokens, H query heads, K key/value heads, D head width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels.documents import TILE
from kernels.launch import SWITCH, attention_tiles, precision

LOG2_E = tl.constexpr(1.4426950408889634)  # softmax in base 2, the exponential that GPUs have


# ---- the kernels ----------------------------------------------------------------------------
# Tokens are counted from their document's start, to which each kernel first moves its pointers.


@triton.jit
def _tile(Schedule, TILE: tl.constexpr, BLOCK: tl.constexpr):
    """This program's document: its start in the row and its length; in it, its tile's start."""
    entry = Schedule + tl.program_id(1) // (TILE // BLOCK) * 3
    part = tl.program_id(1) % (TILE // BLOCK)
    start = tl.load(entry)
    return start.to(tl.int64), tl.load(entry + 1) - start, tl.load(entry + 2) - start + part * BLOCK


@triton.jit
def _rows(X, tokens, length, stride, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    """X[tokens] as a tile [tokens, WIDTH], 0 from the document's end on."""
    at = X + tokens[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    if MASKED:
        return tl.load(at, mask=tokens[:, None] < length, other=0.0)
    return tl.load(at)


@triton.jit
def _store_rows(X, tile, tokens, length, stride, WIDTH: tl.constexpr):
    at = X + tokens[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    tl.store(at, tile.to(X.dtype.element_ty), mask=tokens[:, None] < length)


@triton.jit
def _forward_step(q, K, V, queries, low, high, length, most, total, mixed, k_stride, v_stride,
                  scale, WIDTH: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
                  DIAGONAL: tl.constexpr):  # fmt: skip
    """Online softmax over the keys [low, high): the running maximum, sum and mixture of values."""
    for at in range(low, high, BLOCK_K):
        keys = at + tl.arange(0, BLOCK_K)
        k = _rows(K, keys, length, k_stride, WIDTH, DIAGONAL)
        scores = tl.dot(q, k.T, input_precision=PRECISION) * scale
        if DIAGONAL:
            scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
        new_most = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - new_most[:, None])
        shrink = tl.exp2(most - new_most)
        total = total * shrink + tl.sum(weights, 1)
        v = _rows(V, keys, length, v_stride, WIDTH, DIAGONAL)
        mixed = mixed * shrink[:, None]
        mixed = tl.dot(weights.to(v.dtype), v, mixed, input_precision=PRECISION)
        most = new_most
    return most, total, mixed


@triton.jit(do_not_specialize=["tokens"])
def forward_kernel(Q, K, V, Schedule, Out, Lse, tokens, scale, q_stride, k_stride, v_stride,
                   q_head, k_head, v_head, GROUP: tl.constexpr, WIDTH: tl.constexpr,
                   TILE: tl.constexpr, PRECISION: tl.constexpr,
                   BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """One head of one query tile: Out [T, H, D], Lse [H, T] (fp32, base 2).

    Keys before the tile are seen by all of its queries and need no mask; the tile's own, on the
    diagonal, do. No query sees none: the first key it meets is its document's first.
    """
    start, length, first = _tile(Schedule, TILE, BLOCK_Q)
    if first >= length:
        return
    head, heads = tl.program_id(0), tl.num_programs(0)
    queries = first + tl.arange(0, BLOCK_Q)
    q = _rows(Q + start * q_stride + head * q_head, queries, length, q_stride, WIDTH, True)
    K += start * k_stride + head // GROUP * k_head
    V += start * v_stride + head // GROUP * v_head
    most = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    mixed = tl.zeros([BLOCK_Q, WIDTH], tl.float32)
    most, total, mixed = _forward_step(
        q, K, V, queries, 0, first, length, most, total, mixed, k_stride, v_stride,
        scale * LOG2_E, WIDTH, BLOCK_K, PRECISION, False)  # fmt: skip
    most, total, mixed = _forward_step(
        q, K, V, queries, first, tl.minimum(first + BLOCK_Q, length), length, most, total, mixed,
        k_stride, v_stride, scale * LOG2_E, WIDTH, BLOCK_K, PRECISION, True)  # fmt: skip
    stride = heads * WIDTH
    _store_rows(Out + start * stride + head * WIDTH, mixed / total[:, None], queries, length,
                stride, WIDTH)  # fmt: skip
    lse = Lse + head * tokens + start + queries
    tl.store(lse, most + tl.log2(total), mask=queries < length)


@triton.jit
def _backward_q_step(q, grad, K, V, queries, low, high, length, lse, delta, dq, k_stride, v_stride,
                     scale, WIDTH: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
                     DIAGONAL: tl.constexpr):  # fmt: skip
    for at in range(low, high, BLOCK_K):
        keys = at + tl.arange(0, BLOCK_K)
        k = _rows(K, keys, length, k_stride, WIDTH, DIAGONAL)
        v = _rows(V, keys, length, v_stride, WIDTH, DIAGONAL)
        scores = tl.dot(q, k.T, input_precision=PRECISION) * scale
        weights = tl.exp2(scores - lse[:, None])
        if DIAGONAL:
            weights = tl.where(queries[:, None] >= keys[None, :], weights, 0.0)
        d_weights = tl.dot(grad, v.T, input_precision=PRECISION)
        d_scores = weights * (d_weights - delta[:, None])
        dq = tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)
    return dq


@triton.jit(do_not_specialize=["tokens"])
def backward_q_kernel(Q, K, V, Schedule, Out, Grad, Lse, Delta, DQ, tokens, scale, q_stride,
                      k_stride, v_stride, q_head, k_head, v_head, GROUP: tl.constexpr,
                      WIDTH: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
                      BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """One head of one query tile: DQ [T, H, D], and Delta [H, T] = sum(Grad * Out), which the
    kernel of dK and dV reads. Its loops are those of the forward kernel."""
    start, length, first = _tile(Schedule, TILE, BLOCK_Q)
    if first >= length:
        return
    head, heads = tl.program_id(0), tl.num_programs(0)
    queries = first + tl.arange(0, BLOCK_Q)
    stride, mine = heads * WIDTH, start * heads * WIDTH + head * WIDTH
    grad = _rows(Grad + mine, queries, length, stride, WIDTH, True)
    out = _rows(Out + mine, queries, length, stride, WIDTH, True)
    delta = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    row = head * tokens + start + queries
    tl.store(Delta + row, delta, mask=queries < length)
    lse = tl.load(Lse + row, mask=queries < length, other=float("inf"))
    q = _rows(Q + start * q_stride + head * q_head, queries, length, q_stride, WIDTH, True)
    K += start * k_stride + head // GROUP * k_head
    V += start * v_stride + head // GROUP * v_head
    dq = tl.zeros([BLOCK_Q, WIDTH], tl.float32)
    dq = _backward_q_step(q, grad, K, V, queries, 0, first, length, lse, delta, dq, k_stride,
                          v_stride, scale * LOG2_E, WIDTH, BLOCK_K, PRECISION, False)  # fmt: skip
    dq = _backward_q_step(q, grad, K, V, queries, first, tl.minimum(first + BLOCK_Q, length),
                          length, lse, delta, dq, k_stride, v_stride, scale * LOG2_E, WIDTH,
                          BLOCK_K, PRECISION, True)  # fmt: skip
    _store_rows(DQ + mine, dq * scale, queries, length, stride, WIDTH)


@triton.jit(do_not_specialize=["tokens"])
def backward_kv_kernel(Q, K, V, Schedule, Grad, Lse, Delta, DK, DV, tokens, scale, q_stride,
                       k_stride, v_stride, q_head, k_head, v_head, GROUP: tl.constexpr,
                       WIDTH: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
                       BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """One key/value head of one key tile, over all GROUP query heads that share it: DK, DV
    [T, K, D]. The schedule is read backwards within a document: its first keys are seen most.

    Scores are transposed, [keys, queries]. A query past the document's end gets weight
    exp2(-inf) = 0. Every tile is masked: one loop leaves registers for larger tiles than two.
    """
    start, length, last = _tile(Schedule, TILE, BLOCK_K)
    if last >= length:
        return
    kv_head, kv_heads = tl.program_id(0), tl.num_programs(0)
    first = (length - 1) // BLOCK_K * BLOCK_K - last
    keys = first + tl.arange(0, BLOCK_K)
    k = _rows(K + start * k_stride + kv_head * k_head, keys, length, k_stride, WIDTH, True)
    v = _rows(V + start * v_stride + kv_head * v_head, keys, length, v_stride, WIDTH, True)
    dk = tl.zeros([BLOCK_K, WIDTH], tl.float32)
    dv = tl.zeros([BLOCK_K, WIDTH], tl.float32)
    grad_stride = kv_heads * GROUP * WIDTH
    for head in range(kv_head * GROUP, (kv_head + 1) * GROUP):
        q_rows = Q + start * q_stride + head * q_head
        grad_rows = Grad + start * grad_stride + head * WIDTH
        numbers = head * tokens + start
        for at in range(first, length, BLOCK_Q):
            queries = at + tl.arange(0, BLOCK_Q)
            q = _rows(q_rows, queries, length, q_stride, WIDTH, True)
            lse = tl.load(Lse + numbers + queries, mask=queries < length, other=float("inf"))
            scores = tl.dot(k, q.T, input_precision=PRECISION) * (scale * LOG2_E)
            weights = tl.exp2(scores - lse[None, :])
            weights = tl.where(queries[None, :] >= keys[:, None], weights, 0.0)
            grad = _rows(grad_rows, queries, length, grad_stride, WIDTH, True)
            dv = tl.dot(weights.to(grad.dtype), grad, dv, input_precision=PRECISION)
            delta = tl.load(Delta + numbers + queries, mask=queries < length, other=0.0)
            d_weights = tl.dot(v, grad.T, input_precision=PRECISION)
            d_scores = weights * (d_weights - delta[None, :])
            dk = tl.dot(d_scores.to(q.dtype), q, dk, input_precision=PRECISION)
    stride, mine = kv_heads * WIDTH, start * kv_heads * WIDTH + kv_head * WIDTH
    _store_rows(DK + mine, dk * scale, keys, length, stride, WIDTH)
    _store_rows(DV + mine, dv, keys, length, stride, WIDTH)


# ---- the operators --------------------------------------------------------------------------


def _launch(name, kernel, heads, q, k, v, schedule, *tensors):
    """Launches `kernel` over heads and tiles with what all three have in common."""
    tokens, _, width = q.shape
    tiles = attention_tiles(name, q.device, q.dtype, width)
    mine = tiles["BLOCK_K" if name == "backward_kv" else "BLOCK_Q"]
    grid = (heads, len(schedule) * (TILE // mine))
    kernel[grid](
        q, k, v, schedule, *tensors, tokens, width**-0.5, q.stride(0), k.stride(0), v.stride(0),
        q.stride(1), k.stride(1), v.stride(1), GROUP=q.shape[1] // k.shape[1], WIDTH=width,
        TILE=TILE, PRECISION=precision(), **tiles)  # fmt: skip


@torch.library.custom_op("scale_or_reason::attention", mutates_args=())
def attention_op(q: Tensor, k: Tensor, v: Tensor, schedule: Tensor) -> tuple[Tensor, Tensor]:
    """(out [T, H, D], lse [H, T] fp32 in base 2)"""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = q.new_empty(q.shape[1], q.shape[0], dtype=torch.float32)
    _launch("forward", forward_kernel, q.shape[1], q, k, v, schedule, out, lse)
    return out, lse


@attention_op.register_fake
def _(q, k, v, schedule):
    lse = q.new_empty(q.shape[1], q.shape[0], dtype=torch.float32)
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), lse


@torch.library.custom_op("scale_or_reason::attention_backward", mutates_args=())
def attention_backward_op(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, schedule: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dq [T, H, D], dk [T, K, D], dv [T, K, D])"""
    grad, delta = grad.contiguous(), torch.empty_like(lse)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    _launch("backward_q", backward_q_kernel, q.shape[1], q, k, v, schedule, out, grad, lse, delta,
            dq)  # fmt: skip
    _launch("backward_kv", backward_kv_kernel, k.shape[1], q, k, v, schedule, grad, lse, delta,
            dk, dv)  # fmt: skip
    return dq, dk, dv


@attention_backward_op.register_fake
def _(grad, q, k, v, out, lse, schedule):
    return tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs, *output)
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad, _):
    q, k, v, schedule, out, lse = ctx.saved_tensors
    return *attention_backward_op(grad, q, k, v, out, lse, schedule), None


attention_op.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.scale_or_reason.attention, get_raw=True)
def forward_flops(q, k, v, schedule, *_, **__) -> int:
    """2 matmuls over the causal pairs, which a tile's entry tells: query i sees i - start + 1."""
    start, end, first = schedule.long().unbind(1)
    count = (end - first).clamp_max(TILE)
    pairs = int((count * (first - start) + count * (count + 1) // 2).sum())
    return 4 * q.shape[1] * q.shape[2] * pairs


@register_flop_formula(torch.ops.scale_or_reason.attention_backward, get_raw=True)
def backward_flops(grad, q, k, v, out, lse, schedule, *_, **__) -> int:
    """4 matmuls, as flops.py counts: making the scores again, twice, is no model FLOP."""
    return 2 * forward_flops(q, k, v, schedule)


def attention(q: Tensor, k: Tensor, v: Tensor, schedule: Tensor) -> Tensor:
    """q [T, H, D], k and v [T, K, D] of one dtype; schedule: Documents.schedule -> [T, H, D]."""
    width = q.shape[2]
    if width not in (16, 32, 64, 128):
        raise ValueError(
            f"head width {width}: the kernels take 16, 32, 64 or 128; {SWITCH}=reference takes any"
        )
    q, k, v = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, v))
    return attention_op(q, k, v, schedule)[0]
