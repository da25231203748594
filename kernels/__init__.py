"""The hot spots of a training step: Triton kernels on CUDA, plain torch references elsewhere.

SCALE_OR_REASON_KERNELS=reference (or triton, or varlen: torch's varlen_attn, Triton for the rest)
forces a choice. T tokens, H query heads, K key/value heads, D head width, d model width, V
vocabulary.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from kernels import launch, reference
from kernels.documents import Documents

if find_spec("triton"):
    from kernels import (
        triton_attention,
        triton_cross_entropy,
        triton_rms_norm,
        triton_rope,
        triton_swiglu,
    )


def _is_reference(x: Tensor) -> bool:
    return launch.backend(x.device) == "reference"


def attention(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """q [T, H, D], k and v [T, K, D], H a multiple of K -> [T, H, D]: causal, scaled by D^-0.5,
    each document alone."""
    choice = launch.backend(q.device)
    if choice == "reference":
        return reference.attention(q, k, v, documents)
    if choice == "varlen":
        from torch.nn.attention.varlen import varlen_attn

        # T stands for the longest document: no wait for the GPU, no guard on a value
        bounds, T, options = documents.cu_seqlens, len(q), {"window_size": (-1, 0)}
        return varlen_attn(q, k, v, bounds, bounds, T, T, enable_gqa=True, **options)
    return triton_attention.attention(q, k, v, documents.schedule)


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None = None, chunk: int = 0
) -> Tensor:
    """Sum over tokens of weights * cross_entropy(hidden @ head.T, targets), an fp32 scalar.

    hidden [N, d], head [V, d], targets [N] int64 (every one a real target), weights [N] fp32 (None:
    ones), chunk: tokens at once (0: as memory allows). N = 0 gives 0 with gradients 0. The backward
    may run once: it reuses its buffers.
    """
    if weights is None:
        weights = torch.ones(len(hidden), device=hidden.device)
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    module = reference if _is_reference(hidden) else triton_cross_entropy
    with torch.autocast(device, enabled=False):
        return module.linear_cross_entropy(hidden, head, targets, weights.float(), chunk)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [.., d] / rms(x) * weight [d]; the mean of squares in fp32."""
    return (reference if _is_reference(x) else triton_rms_norm).rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(rms_norm(x + added), x + added), all [.., d]: a norm that keeps the residual stream."""
    return (reference if _is_reference(x) else triton_rms_norm).add_rms_norm(x, added, weight, eps)


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """q [T, H, D] and k [T, K, D] rotated by tables [T, 1, D] fp32 (Su et al. 2021, in the
    two-halves layout), computed in fp32."""
    return (reference if _is_reference(q) else triton_rope).rope(q, k, cos, sin)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, all of one shape."""
    return (reference if _is_reference(gate) else triton_swiglu).swiglu(gate, up)
