"""Causal attention over a packed row, in which no document sees its neighbour.

The twin scatters the documents into right-padded batches of similar length, where is_causal=True
needs no mask (a token never looks right, so it never sees padding), and gathers the answers back.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


class Documents:
    """Where the documents of a packed row begin and end. T tokens, N documents.

    cu_seqlens: [N+1] int32, ascending from 0 to T; equal neighbours are empty documents.
    positions: [T] int64, each token's place in its own document, for RoPE.
    groups: documents of similar length as (rows [t], slots [t], count, longest): row position
    rows[i] of the packed tensor is slot slots[i] of the padded batch [count, longest].
    """

    def __init__(self, cu_seqlens: Tensor):
        bounds = cu_seqlens.tolist()
        assert bounds[0] == 0 and bounds == sorted(bounds), f"{bounds=}"
        self.device, self.length = cu_seqlens.device, bounds[-1]
        spans = [(b - a, a) for a, b in zip(bounds, bounds[1:], strict=False) if b > a]
        ramps = [torch.arange(length) for length, _ in spans]
        self.positions = torch.cat(ramps or [torch.arange(0)]).to(self.device)
        spans.sort(key=lambda span: -span[0])
        self.groups = []
        while spans:
            longest = spans[0][0]
            count = sum(length > 0.75 * longest for length, _ in spans)
            group, spans = spans[:count], spans[count:]
            rows = torch.cat([torch.arange(start, start + length) for length, start in group])
            slots = torch.cat(
                [torch.arange(length) + i * longest for i, (length, _) in enumerate(group)]
            )
            self.groups.append((rows.to(self.device), slots.to(self.device), count, longest))


@torch.compiler.disable
def attention(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """q [T, H, D], k and v [T, K, D], H a multiple of K -> [T, H, D], each document by itself."""
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
