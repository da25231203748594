"""The engines: the built-in decoder against one-at-a-time decoding, and what its samples are."""

import dataclasses
import random

import pytest
import torch

import engine
import model as models
from common import hub
from data import toy
from data.chat import Chat
from engine import cache, decoder
from engine.reference import greedy
from engine.request import Request, Sampling, text_of
from engine.sampling import choose, top


@pytest.fixture(scope="module")
def chat():
    return Chat(toy.tokenizer())


@pytest.fixture(scope="module")
def prompts(chat):
    texts = [row["prompt"] for row in toy.rows(40)]
    return [chat.prompt(text if i % 5 else text * 9) for i, text in enumerate(texts)]


def answers(folder, requests, **settings):
    """Completions of the built-in decoder, by id."""
    with engine.load("torch", folder, **settings) as e:
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
        ids = greedy(model, [request.prompt], most, stop, chat.ids_in_use)[0]
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
    alone = answers(lively, requests[::3], batch=1)
    for i, c in alone.items():
        assert c == together[i] == reverse[i] == crowd[i]


def test_another_seed_gives_another_sample_and_the_same_seed_the_same(lively, prompts):
    requests = [Request(f"{s}", prompts[1], SAMPLED[0], seed=s % 10) for s in range(20)]
    found = answers(lively, requests)
    assert len({tuple(c.ids) for c in found.values()}) == 10
    assert all(found[f"{s}"].ids == found[f"{s + 10}"].ids for s in range(10))


def test_stop_strings_end_the_text_before_them(lively, chat, prompts):
    plain = answers(lively, [Request(str(i), p, SAMPLED[0], i) for i, p in enumerate(prompts)])
    tried = 0
    for c in plain.values():
        stop = chat.tokenizer.decode(c.ids[10:13], skip_special_tokens=True)
        if not stop or "\ufffd" in stop:
            continue  # part of a letter
        tried += 1
        sampling = dataclasses.replace(SAMPLED[0], stop=("never there", stop))
        request = Request("r", prompts[int(c.id)], sampling, int(c.id))
        found = answers(lively, [request])["r"]
        assert found.finish_reason == "stop" and found.ids == c.ids[: len(found.ids)]
        assert stop not in found.text and found.text == c.text[: c.text.index(stop)]
        assert stop in chat.tokenizer.decode(found.ids, skip_special_tokens=True)
    assert tried > 5


def test_a_stop_id_and_special_tokens_are_not_text_but_think_tags_are(chat):
    ids = [*chat.encode("<think>a</think>"), chat.start, *chat.encode("b"), chat.end]
    assert text_of(toy.tokenizer(), ids, Sampling(9, stop_ids=(chat.end,))) == "<think>a</think>b"
    seven = chat.encode("7")[0]
    ids, sampling = [*ids[:3], seven], Sampling(9, stop_ids=(seven,))
    assert text_of(toy.tokenizer(), ids, sampling) == "<think>a</think>"


def test_requests_are_taken_as_places_become_free(lively, prompts):
    taken = []

    def source():
        for i, prompt in enumerate(prompts):
            taken.append(i)
            yield Request(str(i), prompt, Sampling(5 + i))

    with engine.load("torch", lively, batch=4) as e:
        for done, _ in enumerate(e.complete(source()), 1):
            assert len(taken) <= done + 4
    assert len(taken) == len(prompts)


def test_the_cache_stays_within_its_tokens_and_sequences_that_step_back_are_finished(
    lively, prompts, monkeypatch
):
    sizes, popped = [], []
    resize, preempt = cache.Cache.resize, decoder.Decoder.preempt

    def recording(cache, slots, capacity):
        sizes.append(slots * capacity)
        resize(cache, slots, capacity)

    def counting(self, waiting, running, cache):
        preempt(self, waiting, running, cache)
        popped.append(len(waiting))

    monkeypatch.setattr(cache.Cache, "resize", recording)
    monkeypatch.setattr(decoder.Decoder, "preempt", counting)
    requests = [Request(str(i), p, Sampling(400), i) for i, p in enumerate(prompts[:20])]
    few = answers(lively, requests, cache_tokens=2048)
    assert max(sizes) <= 2048 and max(popped) > 1
    assert {c.generated_tokens for c in few.values()} == {400}


def test_a_prompt_without_room_is_told_and_an_answer_ends_with_the_context(base, lively, prompts):
    with engine.load("torch", lively, cache_tokens=512) as e:
        assert e.context == 512
        c = next(e.complete([Request("r", prompts[1] * 5, Sampling(5000))]))
        assert c.finish_reason == "length" and c.prompt_tokens + c.generated_tokens == 512
        for bad in ([1] * 512, []):
            with pytest.raises(hub.UserError, match="r: a prompt of"):
                list(e.complete([Request("r", bad, Sampling(5))]))
    with pytest.raises(hub.UserError, match="did you mean torch"):
        with engine.load("troch", lively):
            pass


def test_prefill_depends_on_no_neighbour_of_any_length(lively, chat, one_thread):
    """Bitwise: the cache and the logits of a prompt alone and with others in the same forward."""
    with engine.load("torch", lively) as e:
        ids = torch.randint(0, 300, (20, 400), generator=torch.Generator().manual_seed(0)).tolist()

        def prefilled(lengths):
            sequences = [
                decoder.Sequence(Request(str(n), ids[n][:length], Sampling(9)), 2048, None)
                for n, length in enumerate(lengths)
            ]
            kept = cache.Cache(e.model)
            kept.resize(len(lengths) + 2, 512)
            logits = e.prefill(sequences, 2, kept)
            layers = [(layer.keys[2], layer.values[2]) for layer in kept.layers]
            return logits[0], [x[:, : lengths[0]] for pair in layers for x in pair]

        for length in (5, 64, 130):
            alone, stored = prefilled([length])
            for ratio in (0.8, 1.0, 1.1, 1.3):
                for others in ([ratio], [ratio, ratio], [1.3, 0.8, ratio]):
                    logits, beside = prefilled([length, *(int(length * r) for r in others)])
                    assert torch.equal(logits, alone)
                    assert all(map(torch.equal, beside, stored))


def test_a_prompt_alone_is_prefilled_as_the_reference_reads_it(lively, one_thread):
    with engine.load("torch", lively, prefill_tokens=64) as e:
        for length in (5, 64, 150):  # the last one in chunks
            prompt = torch.arange(length) % 300
            kept = cache.Cache(e.model)
            kept.resize(1, 256)
            sequence = decoder.Sequence(Request("r", prompt.tolist(), Sampling(9)), 2048, None)
            logits = e.prefill([sequence], 0, kept)[0]
            bounds = torch.tensor([0, length], dtype=torch.int32)
            whole = e.model(prompt, bounds)[-1, : e.ids_in_use]
            assert torch.allclose(logits, whole, atol=1e-4)
            assert torch.equal(logits.argmax(), whole.argmax())


# ---- sampling ---------------------------------------------------------------------------------


def kept(logits, sampling):
    """The distribution that is sampled from, in vLLM's order, written the long way round."""
    p = torch.softmax(logits.double() / sampling.temperature, 0)
    p[p < sampling.min_p * p.max()] = 0
    if sampling.top_k:
        p[p < p.topk(sampling.top_k).values[-1]] = 0
    p /= p.sum()
    order = p.argsort(descending=True)
    before = p[order].cumsum(0) - p[order]
    p[order[before >= sampling.top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize("vocabulary", [300, 20_000])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(1, 1.0), Sampling(1, 0.7, 0.8, 20), Sampling(1, 0.6, 0.95), Sampling(1, 2.0, 0.9),
     Sampling(1, 1.0, min_p=0.1), Sampling(1, 1.5, 0.7, 50, 0.02), Sampling(1, 3.0, 0.999)],
)  # fmt: skip
def test_draws_have_the_distribution_that_the_fields_say(sampling, vocabulary):
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(1)) * 3
    p = kept(logits, sampling)
    # the draws are the quantiles of a uniform variable, so that frequencies are exact to 1 / n
    n = 400
    draws = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    ids = torch.cat([choose(logits.expand(50, -1), sampling, part) for part in draws.split(50)])
    frequencies = torch.bincount(ids, minlength=vocabulary) / n
    assert not frequencies[p == 0].any()
    assert (frequencies - p).abs().max() <= 1.01 / n


def test_top_equals_topk():
    logits = torch.randn(7, 151_936, generator=torch.Generator().manual_seed(0))
    for k in (1, 20, 256):
        values, ids = top(logits, k)
        assert torch.equal(values, logits.topk(k).values)
        assert torch.equal(logits.gather(1, ids), values)
    assert torch.equal(choose(logits, Sampling(1), None), logits.argmax(1))
