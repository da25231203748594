"""RMSNorm, alone or of a sum that the residual stream keeps; forward and backward.

One pass over memory each way. Kept for the backward: the normalised input and one fp32 number a
row; x * rstd is recomputed from them. N rows, d their width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048  # values that a program holds at once, in as many rows as fit (at least one)
PARTS = 256  # programs of the backward: each sums the weight's gradient over its share of the rows


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    X, Added, W, Out, Sum, Rstd, rows, width, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """ROWS rows: Sum = X + Added (or X, if Added is None), Rstd = 1 / rms(Sum), Out = Sum * Rstd
    * W."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    at = row[:, None].to(tl.int64) * width + column[None, :]
    inside = (row[:, None] < rows) & (column[None, :] < width)
    x = tl.load(X + at, mask=inside, other=0.0)
    if Added is not None:
        added = tl.load(Added + at, mask=inside, other=0.0)
        x = (x.to(tl.float32) + added.to(tl.float32)).to(Sum.dtype.element_ty)
        tl.store(Sum + at, x, mask=inside)
    x = x.to(tl.float32)
    weight = tl.load(W + column, mask=column < width, other=0.0).to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(x * x, 1) / width + eps)
    tl.store(Rstd + row, rstd, mask=row < rows)
    out = x * rstd[:, None] * weight[None, :]
    tl.store(Out + at, out.to(Out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "rows_each"])
def backward_kernel(
    DOut, DSum, X, W, Rstd, DX, DW, rows, width, rows_each, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """A share of the rows, ROWS at a time: DX, and DW [PARTS, d], the sum over this share.

    With n = x * rstd and g = DOut * W: dx = rstd * (g - n * mean(g * n)), plus DSum, the gradient
    of the residual stream (unless DSum is None).
    """
    column = tl.arange(0, BLOCK)
    weight = tl.load(W + column, mask=column < width, other=0.0).to(tl.float32)
    d_weight = tl.zeros([BLOCK], tl.float32)
    low = tl.program_id(0) * rows_each
    high = tl.minimum(low + rows_each, rows)
    for first in range(low, high, ROWS):
        row = first + tl.arange(0, ROWS)
        at = row[:, None].to(tl.int64) * width + column[None, :]
        inside = (row[:, None] < high) & (column[None, :] < width)
        grad = tl.load(DOut + at, mask=inside, other=0.0).to(tl.float32)
        rstd = tl.load(Rstd + row, mask=row < high, other=0.0)
        normal = tl.load(X + at, mask=inside, other=0.0).to(tl.float32) * rstd[:, None]
        d_weight += tl.sum(grad * normal, 0)
        grad = grad * weight[None, :]
        mean = tl.sum(grad * normal, 1) / width
        dx = rstd[:, None] * (grad - normal * mean[:, None])
        if DSum is not None:
            dx += tl.load(DSum + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=inside)
    tl.store(DW + tl.program_id(0) * width + column, d_weight, mask=column < width)


def launch_options(width: int) -> dict:
    block = triton.next_power_of_2(width)
    warps = max(8, min(32, block // 256))  # 8 values a thread
    return {"ROWS": max(1, TILE // block), "BLOCK": block, "num_warps": warps}


def _forward(x: Tensor, added: Tensor | None, weight: Tensor, eps: float):
    x, added, weight = (None if t is None else t.contiguous() for t in (x, added, weight))
    out, summed = torch.empty_like(x), None if added is None else torch.empty_like(x)
    width, rows = x.shape[-1], x.numel() // x.shape[-1]
    rstd = torch.empty(rows, dtype=torch.float32, device=x.device)
    options = launch_options(width)
    if rows:
        grid = (triton.cdiv(rows, options["ROWS"]),)
        forward_kernel[grid](x, added, weight, out, summed, rstd, rows, width, eps, **options)
    return out, summed, rstd


@torch.library.custom_op("scale_or_reason::rms_norm", mutates_args=())
def rms_norm_op(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(out like x, rstd [N] fp32)"""
    out, _, rstd = _forward(x, None, weight, eps)
    return out, rstd


@torch.library.custom_op("scale_or_reason::add_rms_norm", mutates_args=())
def add_rms_norm_op(
    x: Tensor, added: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(out and x + added, both like x, rstd [N] fp32)"""
    return _forward(x, added, weight, eps)


@torch.library.custom_op("scale_or_reason::rms_norm_backward", mutates_args=())
def backward_op(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """(dx like x, d_weight like weight); x: what was normalised, of contiguous rows."""
    x, grad, weight = x.contiguous(), grad.contiguous(), weight.contiguous()
    grad_sum = None if grad_sum is None else grad_sum.contiguous()
    width, rows, dx = x.shape[-1], len(rstd), torch.empty_like(x)
    rows_each = max(1, triton.cdiv(rows, PARTS))
    parts = max(1, triton.cdiv(rows, rows_each))
    d_weight = torch.empty(parts, width, dtype=torch.float32, device=x.device)
    arguments = (grad, grad_sum, x, weight, rstd, dx, d_weight, rows, width, rows_each)
    backward_kernel[parts,](*arguments, **launch_options(width))
    return dx, d_weight.sum(0).to(weight.dtype)


@rms_norm_op.register_fake
def _(x, weight, eps):
    rows = x.numel() // x.shape[-1]
    return x.new_empty(x.shape), x.new_empty(rows, dtype=torch.float32)


@add_rms_norm_op.register_fake
def _(x, added, weight, eps):
    rows = x.numel() // x.shape[-1]
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(rows, dtype=torch.float32)


@backward_op.register_fake
def _(grad, grad_sum, x, weight, rstd):
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _save(ctx, inputs, output):
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output[-1])
    ctx.set_materialize_grads(False)


def _save_sum(ctx, inputs, output):
    _, summed, rstd = output
    ctx.save_for_backward(summed, inputs[2], rstd)


def _differentiate(ctx, grad, _):
    return *backward_op(grad, None, *ctx.saved_tensors), None


def _differentiate_sum(ctx, grad, grad_sum, _):
    dx, d_weight = backward_op(grad, grad_sum, *ctx.saved_tensors)
    return dx, dx, d_weight, None


rms_norm_op.register_autograd(_differentiate, setup_context=_save)
add_rms_norm_op.register_autograd(_differentiate_sum, setup_context=_save_sum)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return rms_norm_op(x, weight, eps)[0]


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return add_rms_norm_op(x, added, weight, eps)[:2]
