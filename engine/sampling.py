"""From logits to the next token: greedy, or a draw among the ids that temperature, min_p, top_k and
top_p leave."""

import torch
from torch import Tensor

from engine.request import Sampling


def top(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of logits [n, V], best first, and their ids: [n, k] each.

    The k best lie in the k groups with the largest maxima; on the CPU that is 20 times faster than
    topk or argmax of a whole vocabulary.
    """
    n, size = len(logits), 64
    groups = logits.shape[1] // size
    if groups < 4 * k:
        return logits.topk(k)
    grouped = logits[:, : size * groups].unflatten(1, (size, groups))
    best = grouped.amax(1).topk(k).indices
    ids = (best[:, None] + torch.arange(size, device=logits.device)[:, None] * groups).flatten(1)
    rest = torch.arange(size * groups, logits.shape[1], device=logits.device).expand(n, -1)
    ids = torch.cat((ids, rest), 1)
    values, places = logits.gather(1, ids).topk(k)
    return values, ids.gather(1, places)


def choose(logits: Tensor, sampling: Sampling, draws: Tensor | None) -> Tensor:
    """The next id of each of n sequences: logits [n, V] fp32, draws [n] uniform in [0, 1) -> [n].

    In vLLM's order: temperature, then min_p, top_k, and top_p of what is left. The draw picks from
    the ids sorted by probability; only if the 256 best may not hold it are all of them sorted.
    """
    if sampling.temperature == 0:
        return top(logits, 1)[1][:, 0]
    V, T = logits.shape[1], sampling.temperature
    is_cut = sampling.top_k or sampling.top_p < 1 or sampling.min_p
    for count in (min(sampling.top_k or 256, V), V):
        values, ids = top(logits, count)
        scaled = values.double() / T
        total = scaled if sampling.top_k else logits / T
        p = (scaled - total.logsumexp(1, keepdim=True)).exp()
        p *= p >= sampling.min_p * p[:, :1]
        mass = p.sum(1, keepdim=True) if sampling.min_p else 1.0
        p *= p.cumsum(1) - p < sampling.top_p * mass
        reach = p.cumsum(1)
        if is_cut:
            reach /= reach[:, -1:].clone()
        picked = (reach <= draws[:, None]).sum(1, keepdim=True)
        is_held = not p[:, -1].any() if is_cut else (picked < count).all()
        if sampling.top_k or count == V or is_held:
            return ids.gather(1, picked.clamp_max(count - 1))[:, 0]
    raise AssertionError(f"{sampling=}")
