"""Decoding one prompt at a time: the reference that the engines are compared with."""

import torch
from torch.nn import functional as F

from engine.cache import Cache, read_length
from model import Transformer


@torch.inference_mode()
def greedy(
    model: Transformer, prompts: list[list[int]], max_new: int, stop_ids, ids_in_use: int
) -> list[list[int]]:
    """The most likely continuation of each prompt: at most `max_new` ids, a stop id included.

    Ids from `ids_in_use` on are rows of the embedding that no tokenizer emits: never taken.
    """
    device, answers = model.head.device, []
    for prompt in prompts:
        cache, ids, answer = Cache(model), prompt, []
        cache.resize(1, read_length(len(prompt) + max_new))
        while len(answer) < max_new and not set(stop_ids) & set(answer[-1:]):
            stop = len(prompt) + len(answer)
            positions = torch.arange(stop - len(ids), stop, device=device)
            contexts = cache.chunk(0, stop - len(ids), stop)
            x = model.hidden(torch.tensor(ids, device=device), positions, contexts)
            ids = [F.linear(x[-1], model.head)[:ids_in_use].argmax().item()]
            answer += ids
        answers.append(answer)
    return answers
