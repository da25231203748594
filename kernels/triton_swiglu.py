"""silu(gate) * up in one pass; the backward makes the sigmoid again instead of keeping it."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048  # values of a program
WARPS = 8


@triton.jit
def forward_kernel(Gate, Up, Out, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(Gate + at, mask=at < count, other=0.0).to(tl.float32)
    up = tl.load(Up + at, mask=at < count, other=0.0).to(tl.float32)
    out = gate * tl.sigmoid(gate) * up
    tl.store(Out + at, out.to(Out.dtype.element_ty), mask=at < count)


@triton.jit
def backward_kernel(Grad, Gate, Up, DGate, DUp, count, BLOCK: tl.constexpr):
    """With s = sigmoid(gate): d silu = s + gate * s * (1 - s)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    grad = tl.load(Grad + at, mask=at < count, other=0.0).to(tl.float32)
    gate = tl.load(Gate + at, mask=at < count, other=0.0).to(tl.float32)
    up = tl.load(Up + at, mask=at < count, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    silu = gate * sigmoid
    d_gate = grad * up * (sigmoid + silu * (1.0 - sigmoid))
    tl.store(DGate + at, d_gate.to(DGate.dtype.element_ty), mask=at < count)
    tl.store(DUp + at, (grad * silu).to(DUp.dtype.element_ty), mask=at < count)


def _launch(kernel, *tensors):
    count = tensors[0].numel()
    if count:
        kernel[(triton.cdiv(count, BLOCK),)](*tensors, count, BLOCK=BLOCK, num_warps=WARPS)


@torch.library.custom_op("scale_or_reason::swiglu", mutates_args=())
def swiglu_op(gate: Tensor, up: Tensor) -> Tensor:
    gate, up = gate.contiguous(), up.contiguous()
    out = torch.empty_like(gate)
    _launch(forward_kernel, gate, up, out)
    return out


@torch.library.custom_op("scale_or_reason::swiglu_backward", mutates_args=())
def swiglu_backward_op(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    grad, gate, up = grad.contiguous(), gate.contiguous(), up.contiguous()
    d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
    _launch(backward_kernel, grad, gate, up, d_gate, d_up)
    return d_gate, d_up


@swiglu_op.register_fake
def _(gate, up):
    return gate.new_empty(gate.shape)


@swiglu_backward_op.register_fake
def _(grad, gate, up):
    return gate.new_empty(gate.shape), up.new_empty(up.shape)


swiglu_op.register_autograd(
    lambda ctx, grad: swiglu_backward_op(grad, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return swiglu_op(gate, up)
