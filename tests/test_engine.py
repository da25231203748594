"""The engines: the built-in decoder against one-at-a-time decoding, and what its samples are."""

import random
import shutil

import pytest
import torch

import engine
import model as models
from data import toy
from data.chat import Chat
from engine import Request, Sampling


@pytest.fixture(scope="module")
def chat():
    return Chat(toy.tokenizer())


@pytest.fixture(scope="module")
def lively(base, tmp_path_factory):
    """The small base with larger weights: its answers are neither repetitive nor tied."""
    folder = tmp_path_factory.mktemp("lively") / "model"
    shutil.copytree(base, folder)
    model = models.load(base)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=noise) * 0.3
    models.save(model, folder)
    return str(folder)


@pytest.fixture(scope="module")
def prompts(chat):
    texts = [row["prompt"] for row in toy.rows(40)]
    return [chat.prompt(text if i % 5 else text * 9) for i, text in enumerate(texts)]


def alone(folder, requests, **options):
    """Every request in an engine that holds one sequence, by id."""
    with engine.open("torch", folder, batch=1, **options) as e:
        return {c.id: c for c in e.complete(requests)}


# ---- the built-in decoder ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [dict(), dict(batch=3), dict(batch=40, prefill_tokens=50), dict(cache_tokens=900),
     dict(batch=9, cache_tokens=2000, prefill_tokens=64)],
)  # fmt: skip
def test_p26_greedy_equals_one_at_a_time_decoding(options, lively, chat, prompts):
    lengths = random.Random(0)
    requests = [
        Request(
            f"r{i}", prompt, Sampling(lengths.randint(1, 90), stop_ids=tuple(range(0, 375, 25)))
        )
        for i, prompt in enumerate(prompts)
    ]
    model = models.load(lively)
    with engine.open("torch", lively, **options) as e:
        found = {c.id: c for c in e.complete(requests)}
    assert len(found) == len(requests)
    reasons = set()
    for request in requests:
        most, stop = request.sampling.max_new, request.sampling.stop_ids
        ids = models.greedy(model, [request.prompt], most, stop, chat.ids_in_use)[0]
        c = found[request.id]
        assert c.ids == ids and c.generated_tokens == len(ids)
        assert c.prompt_tokens == len(request.prompt)
        assert c.finish_reason == ("stop" if ids[-1] in stop else "length")
        reasons.add(c.finish_reason)
    assert reasons == {"stop", "length"}
