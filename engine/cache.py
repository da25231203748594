"""Keys and values of the sequences that are decoded, and what a token sees of them.

    cache = Cache(model)
    cache.resize(slots=2, capacity=256)
    model.hidden(ids, row.positions, cache.prefill(row, slots))        # whole prompts, packed
    model.hidden(ids, positions, cache.chunk(slot, start, stop))       # a later part of a long one
    model.hidden(ids, positions, cache.decode(positions))              # one token of every sequence

Each gives one context a layer, for Transformer.hidden: attend(q, k, v) stores the new keys and
values and mixes what the tokens see. n sequences, K key/value heads, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model import PackedRow, Transformer


class LayerCache:
    """Keys and values of one layer, [slots, K, capacity, D] each; every sequence has a slot."""

    def __init__(self, config, like: Tensor):
        shape = (0, config.num_key_value_heads, 0, config.head_dim)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)

    def store(self, slots: Tensor, positions: Tensor, k: Tensor, v: Tensor):
        """k and v [T, K, D]: the first len(slots) tokens are real, the rest padding."""
        at = (slots, slice(None), positions)
        self.keys[at], self.values[at] = (x[: len(slots)].to(self.keys) for x in (k, v))


class Cache:
    """Keys and values of the running sequences, in all layers of a model."""

    def __init__(self, model: Transformer):
        like = model.head.new_empty(())
        self.layers = [LayerCache(model.config, like) for _ in model.model.layers]
        self.slots = self.capacity = 0

    def resize(self, slots: int, capacity: int):
        """Memory for `slots` sequences of `capacity` tokens; keeps what fits in both shapes."""
        for layer in self.layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = old.new_zeros(slots, old.shape[1], capacity, old.shape[3])
                new[: len(old), :, : old.shape[2]] = old[:slots, :, :capacity]
                setattr(layer, name, new)
        self.slots, self.capacity = slots, capacity

    def move(self, source: int, target: int):
        """Gives the sequence of slot `source` the slot `target`, whose own is dropped."""
        for layer in self.layers:
            for x in (layer.keys, layer.values):
                x[target] = x[source]

    def prefill(self, row: PackedRow, slots: Tensor) -> list["Prefill"]:
        """Contexts of whole prompts, the documents of `row`; slots [n]: of its first n tokens."""
        return [Prefill(layer, row, slots) for layer in self.layers]

    def chunk(self, slot: int, start: int, stop: int) -> list["Chunk"]:
        """Contexts of the tokens start to stop of one sequence, whose earlier ones are cached."""
        return [Chunk(layer, slot, start, stop) for layer in self.layers]

    def decode(self, positions: Tensor) -> list["Decode"]:
        """Contexts of one token of each of the sequences in slots 0 to n - 1; positions [n]."""
        slots = torch.arange(len(positions), device=positions.device)
        reach = torch.arange(read_length(int(positions.max()) + 1), device=positions.device)
        mask = reach <= positions[:, None, None, None]
        return [Decode(layer, slots, positions, mask) for layer in self.layers]


@dataclass
class Prefill:
    """Documents side by side: the training forward, whose keys and values are kept."""

    layer: LayerCache
    row: PackedRow
    slots: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.layer.store(self.slots, self.row.positions[: len(self.slots)], k, v)
        return self.row.attend(q, k, v)


@dataclass
class Chunk:
    """A part of one sequence, which sees all that is cached of it and itself."""

    layer: LayerCache
    slot: int
    start: int
    stop: int

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [T, H, D] -> [T, H, D]; the first stop - start tokens are real."""
        count = self.stop - self.start
        positions = torch.arange(self.start, self.stop, device=q.device)
        self.layer.store(torch.full_like(positions, self.slot), positions, k, v)
        real = q[:count].transpose(0, 1)[None]
        keys, values = (
            x[self.slot, None, :, : self.stop].to(q) for x in (self.layer.keys, self.layer.values)
        )
        is_first, gqa = self.start == 0, real.shape[1] != keys.shape[1]
        mask = None  # causal where there is nothing before it
        if not is_first:
            mask = torch.arange(self.stop, device=q.device) <= positions[:, None]
        attended = F.scaled_dot_product_attention(
            real, keys, values, mask, is_causal=is_first, enable_gqa=gqa
        )
        return F.pad(attended[0].transpose(0, 1), (0, 0, 0, 0, 0, len(q) - count))


@dataclass
class Decode:
    """One token of each of n sequences, which sees its own sequence up to itself."""

    layer: LayerCache
    slots: Tensor  # [n]
    positions: Tensor  # [n]
    mask: Tensor  # [n, 1, 1, tokens that are read]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [T, H, D] -> [T, H, D]; the first n tokens are real. Keys are not copied."""
        self.layer.store(self.slots, self.positions, k, v)
        n, reach = len(self.slots), self.mask.shape[-1]
        keys, values = (x[:n, :, :reach].to(q) for x in (self.layer.keys, self.layer.values))
        shared = q[:n].unflatten(1, (keys.shape[1], -1))  # heads of one key become queries
        attended = F.scaled_dot_product_attention(shared, keys, values, self.mask).flatten(1, 2)
        return F.pad(attended, (0, 0, 0, 0, 0, len(q) - n))


def read_length(tokens: int) -> int:
    """How many cached tokens a decoding step reads: masked keys then change no bit of the result.

    Measured on a CPU: its attention adds up 64 keys at a time, beyond 256 keys 512 at a time.
    """
    step = 64 if tokens <= 256 else 512
    return -(-tokens // step) * step
