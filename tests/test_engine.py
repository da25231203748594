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


def answers(folder, requests, **settings):
    """Completions of the built-in decoder, by id."""
    with engine.open("torch", folder, **settings) as e:
        return {c.id: c for c in e.complete(requests)}


# ---- the built-in decoder ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [dict(), dict(batch=3), dict(batch=40, prefill_tokens=50), dict(cache_tokens=1024),
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
    found = answers(lively, requests, **options)
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


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SAMPLED = [
    Sampling(80, temperature=0.7, top_p=0.8, top_k=20),
    Sampling(50, temperature=1.0),
    Sampling(300, temperature=0.6, top_p=0.95, top_k=20, stop_ids=(3, 4)),
    Sampling(60, temperature=1.3, min_p=0.05),
]


def test_a_sample_does_not_depend_on_its_neighbours(lively, prompts, one_thread):
    requests = [Request(str(i), p, SAMPLED[i % 4], seed=i // 2) for i, p in enumerate(prompts)]
    together = answers(lively, requests)
    reverse = answers(lively, list(reversed(requests)), batch=5, prefill_tokens=256)
    crowd = answers(lively, requests * 2, batch=80)
    assert len({tuple(c.ids) for c in together.values()}) > 30
    for request in requests[::3]:
        c = answers(lively, [request], batch=1)[request.id]
        assert c == together[request.id] == reverse[request.id] == crowd[request.id]


def test_another_seed_gives_another_sample_and_the_same_seed_the_same(lively, prompts):
    requests = [Request(f"{s}", prompts[1], SAMPLED[0], seed=s % 10) for s in range(20)]
    found = answers(lively, requests)
    assert len({tuple(c.ids) for c in found.values()}) == 10
    assert all(found[f"{s}"].ids == found[f"{s + 10}"].ids for s in range(10))
