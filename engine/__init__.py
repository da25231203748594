"""Completions of token-id prompts, as they finish: from the built-in decoder, vLLM or a server.

    with engine.load("torch", "runs/toy-m-reasoning-s0/model") as e:
        for completion in e.complete(requests):      # consumed lazily, answered in any order
            print(completion.id, completion.finish_reason, completion.text)

A request's sample is drawn by its own seed: it depends neither on its neighbours nor on the batch.
"""

import importlib.util
from contextlib import contextmanager

import torch

from common import cli, hub
from engine.decoder import Decoder
from engine.request import Completion, Request, Sampling, Settings
from engine.server import Server
from engine.vllm import VLLM

__all__ = ["Completion", "Request", "Sampling", "Settings", "load"]


@contextmanager
def load(kind: str, model: str, **settings):
    """The engine of that kind for `model`, a path or Hub id (server: its name there).

    kind: torch, vllm, server, or auto: vllm where it and a GPU are, else torch. settings: fields of
    Settings. Raises hub.UserError where it cannot be had.
    """
    if kind == "auto":
        has_vllm = importlib.util.find_spec("vllm") and torch.cuda.is_available()
        kind = "vllm" if has_vllm else "torch"

    engines = {"torch": Decoder, "vllm": VLLM, "server": Server}
    if kind not in engines:
        raise hub.UserError(cli.not_one_of("--engine", kind, ["auto", *engines]))
    engine = engines[kind](model, Settings(**settings))
    try:
        yield engine
    finally:
        engine.close()
