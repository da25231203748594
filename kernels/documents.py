"""Where the documents of a packed row begin and end, in the forms that attention needs."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 128  # tokens of one entry of the schedule; every kernel's tile divides it
PAD = 64  # cu_seqlens is padded to a multiple of it: one shape, one graph, for 63 documents


class Documents:
    """The documents of a packed row of T tokens. N documents; made without a device-to-host copy.

    cu_seqlens: [N+1] int32, ascending from 0 to T; equal neighbours are empty documents. Kept
    padded with T to a multiple of PAD, or torch.compile would compile again for every N.
    length: T (None: read from cu_seqlens, which waits for a GPU).
    similar: the reference pads documents of more than this share of the longest one to its length;
        1: none is padded, so that no bit of a document depends on its neighbours.
    positions: [T] int64, each token's place in its own document, for RoPE.
    schedule: [.., 3] int32, the kernels' work (see schedule() below).
    """

    def __init__(self, cu_seqlens: Tensor, length: int | None = None, similar: float = 0.75):
        self.similar = similar
        self.length = int(cu_seqlens[-1]) if length is None else length
        ascending = (cu_seqlens.diff() >= 0).all() & (cu_seqlens[0] == 0)
        is_right = ascending & (cu_seqlens[-1] == self.length)
        torch._assert_async(is_right, f"cu_seqlens does not ascend from 0 to {self.length}")
        self.cu_seqlens = F.pad(cu_seqlens, (0, -len(cu_seqlens) % PAD), value=self.length)
        token = torch.arange(self.length, device=cu_seqlens.device)
        document = torch.searchsorted(self.cu_seqlens, token, right=True) - 1
        self.positions = token - self.cu_seqlens[document]
        self.schedule = schedule(self.cu_seqlens, self.length)

    @cached_property
    def groups(self) -> list[tuple[Tensor, Tensor, int, int]]:
        """For the reference: documents of similar length as (rows [t], slots [t], count, longest).

        Row position rows[i] of the packed tensor is slot slots[i] of the padded batch
        [count, longest].
        """
        bounds = self.cu_seqlens.tolist()
        spans = [(b - a, a) for a, b in zip(bounds, bounds[1:], strict=False) if b > a]
        spans.sort(key=lambda span: -span[0])
        groups = []
        while spans:
            longest = spans[0][0]
            shortest = self.similar * longest
            count = sum(length > shortest or length == longest for length, _ in spans)
            group, spans = spans[:count], spans[count:]
            rows = torch.cat([torch.arange(start, start + length) for length, start in group])
            slots = torch.cat(
                [torch.arange(length) + i * longest for i, (length, _) in enumerate(group)]
            )
            device = self.cu_seqlens.device
            groups.append((rows.to(device), slots.to(device), count, longest))
        return groups


def schedule(cu_seqlens: Tensor, length: int) -> Tensor:
    """[tiles, 3] int32, a row for every TILE tokens of a document: its start, its end, the tile's
    first token. Longest documents first, and in each the last tile first, whose queries see most.

    There are at most length // TILE + N tiles, so the shape does not depend on the values; what is
    left over is empty: start = end = first = length.
    """
    lengths, order = cu_seqlens.diff().sort(descending=True, stable=True)
    tiles = (lengths + TILE - 1) // TILE
    last = tiles.cumsum(0)  # tiles of this document and of all before it
    tile = torch.arange(length // TILE + len(order), device=cu_seqlens.device)
    document = torch.searchsorted(last, tile, right=True)
    is_left_over = document == len(order)
    document = document.clamp_max(len(order) - 1)
    start = cu_seqlens[order[document]]
    first = start + TILE * (last[document] - 1 - tile)
    rows = torch.stack([start, start + lengths[document], first], 1)
    return rows.masked_fill(is_left_over[:, None], length).int()
