"""Causal grouped-query attention over a packed row, each document alone; forward and backward.

FlashAttention's algorithm (Dao et al. 2022; Dao 2023) on tiles that never leave a document. The
scores [T, T] are never stored: the backward recomputes them from the row-wise log-sum-exp. Three
kernels (forward; dQ; dK and dV), each of which owns what it writes: there are no atomics, and
results are bitwise repeatable. T tokens, H query heads, K key/value heads, D head width.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels import launch
from kernels.documents import TILE

LOG2_E = tl.constexpr(1.4426950408889634)  # softmax in base 2, the exponential that GPUs have
SCHEDULED = tl.constexpr(TILE)  # tokens of one entry of the schedule


@dataclass(frozen=True)
class Constants:
    """What is compiled into a kernel."""

    group: int  # query heads that share a key/value head
    width: int  # D
    block_q: int  # tokens of a query tile
    block_k: int  # tokens of a key tile
    precision: str  # how tl.dot multiplies fp32


# ---- the kernels ----------------------------------------------------------------------------
# Grid: (heads, tiles). Tokens count from the start of their document, to which each kernel first
# moves its pointers. strides: of a token of q, k and v, then of a head of each.


@triton.jit
def _tile(Schedule, BLOCK: tl.constexpr):
    """This program's document (its start in the row, its length) and its tile's start in it."""
    entry = Schedule + tl.program_id(1) // (SCHEDULED // BLOCK) * 3
    offset = tl.program_id(1) % (SCHEDULED // BLOCK) * BLOCK
    start = tl.load(entry)
    return start.to(tl.int64), tl.load(entry + 1) - start, tl.load(entry + 2) - start + offset


@triton.jit
def _rows(X, tokens, length, stride, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    """X[tokens] of one head as a tile [tokens, WIDTH], 0 past the document's end."""
    at = X + tokens[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    if MASKED:
        return tl.load(at, mask=tokens[:, None] < length, other=0.0)
    return tl.load(at)


@triton.jit
def _store_rows(X, tile, tokens, length, stride, WIDTH: tl.constexpr):
    at = X + tokens[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    tl.store(at, tile.to(X.dtype.element_ty), mask=tokens[:, None] < length)


@triton.jit(do_not_specialize=["tokens"])
def forward_kernel(Q, K, V, Schedule, Out, Lse, tokens, scale, strides, C: tl.constexpr):
    """One head of one query tile: Out [T, H, D], Lse [H, T] (fp32, base 2). Online softmax over
    the keys: the running maximum and sum of a row, and the mixture of values.

    Keys before the tile are seen by all of its queries and need no mask; the tile's own keys, on
    the diagonal, do. No query sees none: the first key it meets is its document's first.
    """
    start, length, first = _tile(Schedule, C.block_q)
    if first >= length:
        return
    head, heads = tl.program_id(0), tl.num_programs(0)
    q_stride, k_stride, v_stride, q_head, k_head, v_head = strides
    queries = first + tl.arange(0, C.block_q)
    q = _rows(Q + start * q_stride + head * q_head, queries, length, q_stride, C.width, True)
    K += start * k_stride + head // C.group * k_head
    V += start * v_stride + head // C.group * v_head
    row_max = tl.full([C.block_q], float("-inf"), tl.float32)
    row_sum = tl.full([C.block_q], 0.0, tl.float32)
    mixed = tl.full([C.block_q, C.width], 0.0, tl.float32)
    scale_2 = scale * LOG2_E
    for DIAGONAL in tl.static_range(2):
        low, high = (first, tl.minimum(first + C.block_q, length)) if DIAGONAL else (0, first)
        for at in range(low, high, C.block_k):
            keys = at + tl.arange(0, C.block_k)
            k = _rows(K, keys, length, k_stride, C.width, DIAGONAL)
            scores = tl.dot(q, k.T, input_precision=C.precision) * scale_2
            if DIAGONAL:
                scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
            new_max = tl.maximum(row_max, tl.max(scores, 1))
            weights = tl.exp2(scores - new_max[:, None])
            shrink = tl.exp2(row_max - new_max)
            row_sum = row_sum * shrink + tl.sum(weights, 1)
            v = _rows(V, keys, length, v_stride, C.width, DIAGONAL)
            mixed = mixed * shrink[:, None]
            mixed = tl.dot(weights.to(v.dtype), v, mixed, input_precision=C.precision)
            row_max = new_max
    stride, out = heads * C.width, mixed / row_sum[:, None]
    _store_rows(Out + start * stride + head * C.width, out, queries, length, stride, C.width)
    lse = Lse + head * tokens + start + queries
    tl.store(lse, row_max + tl.log2(row_sum), mask=queries < length)


@triton.jit(do_not_specialize=["tokens"])
def backward_q_kernel(
    Q, K, V, Schedule, Out, Grad, Lse, Delta, DQ, tokens, scale, strides, C: tl.constexpr
):
    """One head of one query tile: DQ [T, H, D], and Delta [H, T] = sum(Grad * Out), which the
    kernel of dK and dV reads. Its loops are those of the forward kernel."""
    start, length, first = _tile(Schedule, C.block_q)
    if first >= length:
        return
    head, heads = tl.program_id(0), tl.num_programs(0)
    q_stride, k_stride, v_stride, q_head, k_head, v_head = strides
    stride, own = heads * C.width, start * heads * C.width + head * C.width
    queries = first + tl.arange(0, C.block_q)
    grad = _rows(Grad + own, queries, length, stride, C.width, True)
    out = _rows(Out + own, queries, length, stride, C.width, True)
    delta = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    row = head * tokens + start + queries
    tl.store(Delta + row, delta, mask=queries < length)
    lse = tl.load(Lse + row, mask=queries < length, other=float("inf"))
    q = _rows(Q + start * q_stride + head * q_head, queries, length, q_stride, C.width, True)
    K += start * k_stride + head // C.group * k_head
    V += start * v_stride + head // C.group * v_head
    dq = tl.full([C.block_q, C.width], 0.0, tl.float32)
    scale_2 = scale * LOG2_E
    for DIAGONAL in tl.static_range(2):
        low, high = (first, tl.minimum(first + C.block_q, length)) if DIAGONAL else (0, first)
        for at in range(low, high, C.block_k):
            keys = at + tl.arange(0, C.block_k)
            k = _rows(K, keys, length, k_stride, C.width, DIAGONAL)
            v = _rows(V, keys, length, v_stride, C.width, DIAGONAL)
            scores = tl.dot(q, k.T, input_precision=C.precision) * scale_2
            weights = tl.exp2(scores - lse[:, None])
            if DIAGONAL:
                weights = tl.where(queries[:, None] >= keys[None, :], weights, 0.0)
            d_weights = tl.dot(grad, v.T, input_precision=C.precision)
            d_scores = weights * (d_weights - delta[:, None])
            dq = tl.dot(d_scores.to(k.dtype), k, dq, input_precision=C.precision)
    _store_rows(DQ + own, dq * scale, queries, length, stride, C.width)


@triton.jit(do_not_specialize=["tokens"])
def backward_kv_kernel(
    Q, K, V, Schedule, Grad, Lse, Delta, DK, DV, tokens, scale, strides, C: tl.constexpr
):
    """One key/value head of one key tile, over all query heads that share it: DK, DV [T, K, D].
    The schedule is read backwards within a document: its first keys are seen most.

    Scores are transposed, [keys, queries]. A query past the document's end gets weight
    exp2(-inf) = 0. Every tile is masked: one loop leaves registers for larger tiles than two.
    """
    start, length, last = _tile(Schedule, C.block_k)
    if last >= length:
        return
    kv_head, kv_heads = tl.program_id(0), tl.num_programs(0)
    q_stride, k_stride, v_stride, q_head, k_head, v_head = strides
    first = (length - 1) // C.block_k * C.block_k - last
    keys = first + tl.arange(0, C.block_k)
    k = _rows(K + start * k_stride + kv_head * k_head, keys, length, k_stride, C.width, True)
    v = _rows(V + start * v_stride + kv_head * v_head, keys, length, v_stride, C.width, True)
    dk = tl.full([C.block_k, C.width], 0.0, tl.float32)
    dv = tl.full([C.block_k, C.width], 0.0, tl.float32)
    grad_stride = kv_heads * C.group * C.width
    for head in range(kv_head * C.group, (kv_head + 1) * C.group):
        q_rows = Q + start * q_stride + head * q_head
        grad_rows = Grad + start * grad_stride + head * C.width
        numbers = head * tokens + start
        for at in range(first, length, C.block_q):
            queries = at + tl.arange(0, C.block_q)
            q = _rows(q_rows, queries, length, q_stride, C.width, True)
            lse = tl.load(Lse + numbers + queries, mask=queries < length, other=float("inf"))
            scores = tl.dot(k, q.T, input_precision=C.precision) * (scale * LOG2_E)
            weights = tl.exp2(scores - lse[None, :])
            weights = tl.where(queries[None, :] >= keys[:, None], weights, 0.0)
            grad = _rows(grad_rows, queries, length, grad_stride, C.width, True)
            dv = tl.dot(weights.to(grad.dtype), grad, dv, input_precision=C.precision)
            delta = tl.load(Delta + numbers + queries, mask=queries < length, other=0.0)
            d_weights = tl.dot(v, grad.T, input_precision=C.precision)
            d_scores = weights * (d_weights - delta[None, :])
            dk = tl.dot(d_scores.to(q.dtype), q, dk, input_precision=C.precision)
    stride, own = kv_heads * C.width, start * kv_heads * C.width + kv_head * C.width
    _store_rows(DK + own, dk * scale, keys, length, stride, C.width)
    _store_rows(DV + own, dv, keys, length, stride, C.width)


# ---- the operators --------------------------------------------------------------------------


def _launch(name, kernel, heads: int, q, k, v, schedule, *tensors: Tensor):
    """Launches `kernel` over heads and tiles with what all three have in common."""
    tokens, _, width = q.shape
    block_q, block_k, warps, stages = launch.attention_tiles(name, q.device, q.dtype, width)
    constants = Constants(q.shape[1] // k.shape[1], width, block_q, block_k, launch.precision())
    tiles = len(schedule) * (TILE // (block_k if name == "backward_kv" else block_q))
    strides = tuple(x.stride(axis) for axis in (0, 1) for x in (q, k, v))
    arguments = (q, k, v, schedule, *tensors, tokens, width**-0.5, strides, constants)
    kernel[heads, tiles](*arguments, num_warps=warps, num_stages=stages)


def _outputs(q: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous, whatever the strides of q."""
    return q.new_empty(q.shape), q.new_empty(q.shape[1], q.shape[0], dtype=torch.float32)


@torch.library.custom_op("scale_or_reason::attention", mutates_args=())
def attention_op(q: Tensor, k: Tensor, v: Tensor, schedule: Tensor) -> tuple[Tensor, Tensor]:
    """(out [T, H, D], lse [H, T] fp32 in base 2)"""
    out, lse = _outputs(q)
    _launch("forward", forward_kernel, q.shape[1], q, k, v, schedule, out, lse)
    return out, lse


@attention_op.register_fake
def _(q, k, v, schedule):
    return _outputs(q)


@torch.library.custom_op("scale_or_reason::attention_backward", mutates_args=())
def attention_backward_op(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, schedule: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dq [T, H, D], dk [T, K, D], dv [T, K, D])"""
    inputs, grad, delta = (q, k, v, schedule), grad.contiguous(), torch.empty_like(lse)
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    _launch("backward_q", backward_q_kernel, q.shape[1], *inputs, out, grad, lse, delta, dq)
    _launch("backward_kv", backward_kv_kernel, k.shape[1], *inputs, grad, lse, delta, dk, dv)
    return dq, dk, dv


@attention_backward_op.register_fake
def _(grad, q, k, v, out, lse, schedule):
    return tuple(x.new_empty(x.shape) for x in (q, k, v))


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs, *output)
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad, _):
    q, k, v, schedule, out, lse = ctx.saved_tensors
    return *attention_backward_op(grad, q, k, v, out, lse, schedule), None


attention_op.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.scale_or_reason.attention, get_raw=True)
def forward_flops(q, k, v, schedule, *_, **__) -> int:
    """2 matmuls over the causal pairs, counted from the schedule: query i sees i - start + 1."""
    start, end, first = schedule.long().unbind(1)
    count = (end - first).clamp_max(TILE)
    pairs = int((count * (first - start) + count * (count + 1) // 2).sum())
    return 4 * q.shape[1] * q.shape[2] * pairs


@register_flop_formula(torch.ops.scale_or_reason.attention_backward, get_raw=True)
def backward_flops(grad, q, k, v, out, lse, schedule, *_, **__) -> int:
    """4 matmuls, as in flops.py: recomputing the scores, twice, is no model FLOP."""
    return 2 * forward_flops(q, k, v, schedule)


def attention(q: Tensor, k: Tensor, v: Tensor, schedule: Tensor) -> Tensor:
    """q [T, H, D], k and v [T, K, D] of one dtype; schedule: Documents.schedule -> [T, H, D].

    Raises ValueError for a head width that the kernels do not take.
    """
    if q.shape[2] not in (16, 32, 64, 128):
        supported = f"the kernels take 16, 32, 64 or 128; {launch.SWITCH}=reference takes any"
        raise ValueError(f"head width {q.shape[2]}: {supported}")
    q, k, v = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, v))
    return attention_op(q, k, v, schedule)[0]
