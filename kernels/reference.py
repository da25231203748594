"""What each kernel computes, in plain torch: its definition, its test, and what runs on a CPU.

No Triton here. Shapes and dtypes are those of the functions in kernels/__init__.py.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.documents import Documents


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    x = x + added
    return rms_norm(x, weight, eps), x


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return _rotate(q, cos, sin), _rotate(k, cos, sin)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


@torch.compiler.disable
def attention(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """Scatters the documents into right-padded batches of similar length, where is_causal=True
    needs no mask (a token never looks right, so it never sees padding), and gathers the answers."""
    if len(documents.groups) == 1 and documents.groups[0][2] == 1:  # one document fills the row
        return _causal(q[None], k[None], v[None])[0]
    outputs, order = [], []
    for rows, slots, count, longest in documents.groups:
        padded = []
        for x in (q, k, v):
            batch = x.new_zeros(count * longest, *x.shape[1:])
            batch = batch.index_copy(0, slots, x.index_select(0, rows))
            padded.append(batch.view(count, longest, *x.shape[1:]))
        outputs.append(_causal(*padded).flatten(0, 1).index_select(0, slots))
        order.append(rows)
    return torch.empty_like(q).index_copy(0, torch.cat(order), torch.cat(outputs))


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [B, S, H, D], k and v [B, S, K, D] -> [B, S, H, D]"""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    gqa = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa).transpose(1, 2)


# ---- the head and its loss ------------------------------------------------------------------

CHUNK_LOGITS = 2**26  # fp32 logits held at once: 256 MiB, 441 tokens of Qwen's vocabulary


def head_in_chunks(hidden, head, targets, weights, chunk, want_hidden, want_head, softmax_step):
    """(sum of weights * losses, its gradients for hidden and head: those that are wanted, or None).

    The logits of `chunk` tokens are computed, turned into their own gradient, multiplied into the
    gradients of the hidden states and of the head, and freed: [N, V] never exists whole, and the
    backward recomputes nothing. No gradient is filtered. The head's is summed in fp32.
    softmax_step(logits [C, V], targets, weights, want_gradient) -> (losses [C] fp32, their gradient
    [C, V] in the dtype of `hidden`) may overwrite the logits.
    """
    head_c = head.to(hidden.dtype)
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    d_hidden = torch.empty_like(hidden) if want_hidden else None
    d_head = torch.zeros_like(head, dtype=torch.float32) if want_head else None
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        losses[rows], gradient = softmax_step(
            hidden[rows] @ head_c.T, targets[rows], weights[rows], want_hidden or want_head
        )
        if want_hidden:
            d_hidden[rows] = gradient @ head_c
        if want_head and gradient.dtype == d_head.dtype:
            torch.addmm(d_head, gradient.T, hidden[rows], out=d_head)
        elif want_head:
            d_head += gradient.T @ hidden[rows]
        del gradient  # before the next chunk's logits are allocated
    return losses.sum(), d_hidden, d_head.to(head.dtype) if want_head else None


def softmax_step(logits: Tensor, targets: Tensor, weights: Tensor, want_gradient: bool):
    dtype, logits = logits.dtype, logits.float()
    target, weight = targets[:, None], weights[:, None]
    wanted, most = logits.gather(1, target), logits.amax(1, keepdim=True)
    total = logits.sub_(most).exp_().sum(1, keepdim=True)  # in place: one fp32 [C, V] buffer
    losses = (weight * (most + total.log() - wanted))[:, 0]
    if not want_gradient:
        return losses, None
    gradient = logits.mul_(weight / total)  # softmax - onehot, times the token's weight
    return losses, gradient.scatter_add_(1, target, -weight).to(dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, head, targets, weights, chunk):
        wanted = ctx.needs_input_grad[:2]
        inputs = (hidden, head, targets, weights, chunk)
        loss, *gradients = head_in_chunks(*inputs, *wanted, softmax_step)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx, d_loss):
        scaled = (None if x is None else x.mul_(d_loss) for x in ctx.saved_tensors)
        return *scaled, None, None, None


@torch.compiler.disable
def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, chunk: int
) -> Tensor:
    chunk = chunk or max(1, CHUNK_LOGITS // len(head))
    return _LinearCrossEntropy.apply(hidden, head, targets, weights, chunk)
