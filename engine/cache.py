"""Keys and values of the sequences that are decoded, and the reference that decoding is held to."""

import torch
from torch import Tensor
from torch.nn import functional as F

from config import Config
from model import Transformer


class LayerCache:
    """Keys and values of one layer, [places, K, room, D] each; every sequence has a place.

    Of the tokens of a forward the first stand at `places` and `positions`; any others are padding.
    """

    def __init__(self, config: Config, like: Tensor):
        shape = (0, config.num_key_value_heads, 0, config.head_dim)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.places = self.positions = self.stretches = self.seen = None

    def write(self, k: Tensor, v: Tensor):
        n, at = len(self.places), (self.places, slice(None), self.positions)
        self.keys[at], self.values[at] = k[:n].to(self.keys), v[:n].to(self.values)

    def attend(self, q: Tensor) -> Tensor:
        """q [T, H, D] sees its own sequence up to itself -> [T, H, D]; keys are not copied."""
        n = len(self.places)
        if self.stretches:
            mixed = torch.cat([self.read(q, *stretch) for stretch in self.stretches])
        else:  # one token in each of the first n places: heads that share keys are queries of one
            k, v = (x[:n, :, : self.seen.shape[-1]].to(q) for x in (self.keys, self.values))
            q_shared = q[:n].unflatten(1, (k.shape[1], -1))
            mixed = F.scaled_dot_product_attention(q_shared, k, v, self.seen).flatten(1, 2)
        return F.pad(mixed, (0, 0, 0, 0, 0, len(q) - n))

    def read(self, q: Tensor, place: int, row: int, start: int, stop: int) -> Tensor:
        """One sequence's tokens start to stop, the rows of q from `row` on."""
        q = q[row : row + stop - start].transpose(0, 1)[None]
        k, v = (x[place, None, :, :stop].to(q) for x in (self.keys, self.values))
        seen = torch.arange(stop, device=q.device) <= self.positions[row : row + stop - start, None]
        seen, gqa = (seen if start else None), q.shape[1] != k.shape[1]
        mixed = F.scaled_dot_product_attention(q, k, v, seen, is_causal=start == 0, enable_gqa=gqa)
        return mixed[0].transpose(0, 1)


class Cache:
    """Keys and values of the sequences in flight, in all layers of a model."""

    def __init__(self, model: Transformer):
        like = model.head.new_empty(())
        self.layers = [LayerCache(model.config, like) for _ in model.model.layers]
        self.places = self.room = 0

    def resize(self, places: int, room: int):
        """Memory for so many sequences of so many tokens; keeps what fits in both shapes."""
        for layer in self.layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = old.new_zeros(places, old.shape[1], room, old.shape[3])
                kept = new[: len(old), :, : old.shape[2]]
                kept.copy_(old[:places, :, :room])
                setattr(layer, name, new)
        self.places, self.room = places, room

    def move(self, source: int, target: int):
        """Gives a sequence another place, whose own is forgotten."""
        for layer in self.layers:
            for x in (layer.keys, layer.values):
                x[target] = x[source]

    def aim(self, places: Tensor, positions: Tensor, stretches=None):
        """Where the tokens of the next forward stand: places [T] and positions [T].

        stretches: (place, first row, start, stop) of every sequence that is read; None: one token
        in each of the places 0 to T - 1.
        """
        seen = None
        if not stretches:
            slots = torch.arange(span(int(positions.max()) + 1), device=positions.device)
            seen = slots <= positions[:, None, None, None]
        for layer in self.layers:
            layer.places, layer.positions = places, positions
            layer.stretches, layer.seen = stretches, seen


def span(tokens: int) -> int:
    """How far a decoding step reads. In such steps masked keys change no bit of what others give.

    Measured on a CPU: its attention adds up 64 keys at a time, beyond 256 keys 512 at a time.
    """
    step = 64 if tokens <= 256 else 512
    return -(-tokens // step) * step


@torch.inference_mode()
def greedy(
    model: Transformer, prompts: list[list[int]], max_new: int, stop_ids, ids_in_use: int
) -> list[list[int]]:
    """The likeliest continuation of each prompt, one at a time: what engine.py is held against.

    At most `max_new` ids, a stop id included. Ids from `ids_in_use` on are rows of the embedding
    that no tokenizer emits: never taken.
    """
    device, answers = model.head.device, []
    for prompt in prompts:
        cache, ids, answer = Cache(model), prompt, []
        cache.resize(1, span(len(prompt) + max_new))
        while len(answer) < max_new and not set(stop_ids) & set(answer[-1:]):
            stop = len(prompt) + len(answer)
            positions = torch.arange(stop - len(ids), stop, device=device)
            stretches = [(0, 0, stop - len(ids), stop)]
            cache.aim(torch.zeros_like(positions), positions, stretches)
            x = model.hidden(torch.tensor(ids, device=device), positions, None, cache.layers)
            ids = [F.linear(x[-1], model.head)[:ids_in_use].argmax().item()]
            answer += ids
        answers.append(answer)
    return answers
