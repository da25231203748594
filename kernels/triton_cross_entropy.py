"""The head and its loss in one: [tokens, vocabulary] never exists whole.

Chunks of tokens pass through three matmuls of torch's own (logits, and the two gradients) with one
kernel between them, which turns a chunk's logits into their gradient in place. LOG.md has why this
and not tiles that recompute the logits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels.reference import head_in_chunks

CHUNK_BYTES = 2**30  # of logits at once: in bf16 3,533 tokens of Qwen's vocabulary
BLOCK = 4096  # logits of one row that a program holds
WARPS = 8
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


# Compiled for a vocabulary that is a multiple of 16 or not: or every logit is a separate load.
@triton.jit(do_not_specialize_on_alignment=["Targets", "Weights"])
def softmax_kernel(
    Logits, Targets, Weights, Losses, V, stride, WANT_GRADIENT: tl.constexpr, BLOCK: tl.constexpr
):
    """One token: its weighted loss, and Logits[row] = weight * (softmax - onehot) in place.

    The first pass finds the row's log-sum-exp in base 2, online; the second writes the gradient.
    """
    row = tl.program_id(0)
    Logits += row.to(tl.int64) * stride
    target, weight = tl.load(Targets + row), tl.load(Weights + row)
    wanted = tl.load(Logits + target).to(tl.float32) * LOG2_E
    most, total = float("-inf"), 0.0
    for at in range(0, V, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        x = tl.load(Logits + columns, mask=columns < V, other=float("-inf"))
        x = x.to(tl.float32) * LOG2_E
        new_most = tl.maximum(most, tl.max(x, 0))
        total = total * tl.exp2(most - new_most) + tl.sum(tl.exp2(x - new_most), 0)
        most = new_most
    lse = most + tl.log2(total)
    tl.store(Losses + row, weight * (lse - wanted) * LN_2)
    if WANT_GRADIENT:
        for at in range(0, V, BLOCK):
            columns = at + tl.arange(0, BLOCK)
            x = tl.load(Logits + columns, mask=columns < V, other=float("-inf"))
            softmax = tl.exp2(x.to(tl.float32) * LOG2_E - lse)
            gradient = weight * tl.where(columns == target, softmax - 1.0, softmax)
            tl.store(Logits + columns, gradient.to(Logits.dtype.element_ty), mask=columns < V)


def softmax_step(logits: Tensor, targets: Tensor, weights: Tensor, want_gradient: bool):
    losses = torch.empty_like(weights)
    shape = (logits.shape[1], logits.stride(0))
    arguments = (logits, targets, weights, losses, *shape, want_gradient, BLOCK)
    softmax_kernel[len(logits),](*arguments, num_warps=WARPS)
    return losses, logits


@torch.library.custom_op("scale_or_reason::linear_cross_entropy", mutates_args=())
def linear_cross_entropy_op(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    weights: Tensor,
    chunk: int,
    want_hidden: bool,
    want_head: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, d_hidden, d_head): gradients are computed with the loss; empty where not wanted."""
    targets, weights = targets.contiguous(), weights.contiguous()
    inputs = (hidden, head, targets, weights, chunk)
    loss, *gradients = head_in_chunks(*inputs, want_hidden, want_head, softmax_step)
    return loss, *(hidden.new_empty(0) if x is None else x for x in gradients)


@linear_cross_entropy_op.register_fake
def _(hidden, head, targets, weights, chunk, want_hidden, want_head):
    d_hidden = torch.empty_like(hidden) if want_hidden else hidden.new_empty(0)
    d_head = torch.empty_like(head) if want_head else hidden.new_empty(0)
    return weights.new_empty(()), d_hidden, d_head


def _save(ctx, inputs, output):
    ctx.wanted = inputs[5:]
    ctx.save_for_backward(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, d_loss, *_):
    gradients = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    scaled = (x.mul_(d_loss) if wanted else None for x, wanted in gradients)
    return *scaled, None, None, None, None, None


linear_cross_entropy_op.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.scale_or_reason.linear_cross_entropy)
def flops(hidden, head, targets, weights, chunk, want_hidden, want_head, **_) -> int:
    """The head's matmul, and the one of each gradient, which the forward computes too."""
    return 2 * hidden[0] * hidden[1] * head[0] * (1 + want_hidden + want_head)


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, chunk: int
) -> Tensor:
    chunk = chunk or max(1, CHUNK_BYTES // (len(head) * hidden.element_size()))
    wanted = (x.requires_grad and torch.is_grad_enabled() for x in (hidden, head))
    return linear_cross_entropy_op(hidden, head, targets, weights, chunk, *wanted)[0]
