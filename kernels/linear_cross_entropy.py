"""The head and its loss in one: [tokens, vocabulary] never exists whole.

The logits of a chunk of tokens are made, turned into their own gradient in place, multiplied into
the gradients of the hidden states and of the head, and forgotten. So the backward pass recomputes
nothing, and what is kept for it has the sizes of the inputs. No gradient is filtered or rounded.
"""

import torch
from torch import Tensor

CHUNK_LOGITS = 2**26  # fp32 logits held at once: 256 MiB, 441 tokens of Qwen's vocabulary


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, head, targets, weights, chunk):
        want_hidden, want_head = ctx.needs_input_grad[:2]
        head_c = head.to(hidden.dtype)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if want_hidden else None
        d_head = torch.zeros_like(head, dtype=torch.float32) if want_head else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = (hidden[part] @ head_c.T).float()  # [C, V]
            target, weight = targets[part, None], weights[part, None]
            wanted, most = logits.gather(1, target), logits.amax(1, keepdim=True)
            total = logits.sub_(most).exp_().sum(1, keepdim=True)  # in place: one [C, V] buffer
            losses[part] = (weight * (most + total.log() - wanted))[:, 0]
            if not (want_hidden or want_head):
                continue
            gradient = logits.mul_(weight / total)  # softmax - onehot, times the token's weight
            gradient.scatter_add_(1, target, -weight)
            gradient = gradient.to(hidden.dtype)
            if want_hidden:
                d_hidden[part] = gradient @ head_c
            if want_head and gradient.dtype == d_head.dtype:
                torch.addmm(d_head, gradient.T, hidden[part], out=d_head)
            elif want_head:
                d_head += gradient.T @ hidden[part]
        ctx.save_for_backward(d_hidden, d_head)
        ctx.head_dtype = head.dtype
        return losses.sum()

    @staticmethod
    def backward(ctx, d_loss):
        d_hidden, d_head = ctx.saved_tensors
        d_hidden = None if d_hidden is None else d_hidden.mul_(d_loss)
        d_head = None if d_head is None else d_head.mul_(d_loss).to(ctx.head_dtype)
        return d_hidden, d_head, None, None, None


@torch.compiler.disable
def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None = None, chunk: int = 0
) -> Tensor:
    """Sum over tokens of weights * cross_entropy(hidden @ head.T, targets), an fp32 scalar.

    hidden [N, d], head [V, d], targets [N] int64 (every one a real target), weights [N] fp32 (None:
    ones), chunk: tokens at once (0: CHUNK_LOGITS // V). N = 0 gives 0 with gradients 0. The
    backward may run once: it reuses its buffers.
    """
    if weights is None:
        weights = torch.ones(len(hidden), device=hidden.device)
    chunk = chunk or max(1, CHUNK_LOGITS // len(head))
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(hidden, head, targets, weights.float(), chunk)
