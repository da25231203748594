"""Completions of token-id prompts, as they finish: from the built-in decoder, vLLM or a server.

    with engine.open("torch", "runs/toy-m-reasoning-s0/model") as e:
        for completion in e.complete(requests):      # consumed lazily, answered in any order
            print(completion.id, completion.finish_reason, completion.text)

A request's sample is drawn by its own seed: it depends neither on its neighbours nor on the batch.
"""

import importlib.util
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import cli
import hub
import model as models
from data.chat import load_tokenizer

LEAST = 16  # rows of a matmul: with fewer, the CPU adds up a row in an order that depends on them
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Sampling:
    max_new: int  # tokens at most, a stop id included
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    stop_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()  # the text ends before the first of these


@dataclass(frozen=True)
class Request:
    id: str
    prompt: list[int]
    sampling: Sampling
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    id: str
    text: str  # without special tokens and the stop string; <think> tags are kept
    ids: list[int]  # as generated, a stop id included
    finish_reason: str  # "stop" or "length"
    prompt_tokens: int
    generated_tokens: int


@dataclass(frozen=True)
class Settings:
    """What an engine may be told; each reads its own."""

    dtype: str = ""  # torch, vllm: bf16 or fp32 (default: bf16 on a GPU)
    batch: int = 0  # sequences in flight (default: 16; vllm 256 an engine; server 64)
    # torch
    device: str = ""  # cpu, cuda (default: cuda where there is one)
    cache_tokens: int = 2**17  # of the KV cache: places times the longest in flight; 512 or more
    prefill_tokens: int = 2048  # of one forward over prompts
    # vllm: one engine process for every group of tensor_parallel GPUs
    tensor_parallel: int = 1
    data_parallel: int = 1
    context: int = 0  # tokens of the longest prompt and answer (default: the model's)
    # server
    url: str = ""  # of its OpenAI interface, like http://localhost:8000/v1; $OPENAI_API_KEY is sent
    timeout: float = 3600.0  # seconds without a byte from it
    retries: int = 8  # of a request, after 1, 2, 4 ... 60 seconds


@contextmanager
def open(kind: str, model: str, **settings):
    """The engine of that kind for `model`, a path or Hub id (server: its name there).

    kind: torch, vllm, server, or auto: vllm where it and a GPU are, else torch. settings: fields of
    Settings. Raises hub.UserError where it cannot be had.
    """
    if kind == "auto":
        has_vllm = importlib.util.find_spec("vllm") and torch.cuda.is_available()
        kind = "vllm" if has_vllm else "torch"
    import remote  # which reads this file

    engines = {"torch": Torch, "vllm": remote.VLLM, "server": remote.Server}
    if kind not in engines:
        raise hub.UserError(cli.not_one_of("engine", kind, ["auto", *engines]))
    engine = engines[kind](model, Settings(**settings))
    try:
        yield engine
    finally:
        engine.close()


def text_of(tokenizer, ids: list[int], sampling: Sampling) -> str:
    """The text of generated ids: no special tokens, no stop id, nothing from a stop string on."""
    if ids and ids[-1] in sampling.stop_ids:
        ids = ids[:-1]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return text[: min([text.find(stop) for stop in sampling.stop if stop in text], default=None)]


def ids_in_use(tokenizer) -> int:
    """Ids from here on are rows of the head that no tokenizer emits: never to be sampled."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())


def room_for(request: Request, context: int) -> int:
    """Tokens that may be generated in a model of `context` positions; hub.UserError if none."""
    room = context - len(request.prompt)
    if room < 1 or not request.prompt:
        raise hub.UserError(
            f"{request.id}: a prompt of {len(request.prompt)} tokens, for a model that reads"
            f" {context}; leave this prompt out"
        )
    return min(room, request.sampling.max_new)


# ---- sampling ---------------------------------------------------------------------------------


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


# ---- the built-in decoder ---------------------------------------------------------------------


class Sequence:
    """A request on its way: its tokens so far, prompt included, and why it has ended."""

    def __init__(self, request: Request, context: int, tokenizer):
        self.request, self.tokenizer = request, tokenizer
        self.tokens, self.start = list(request.prompt), len(request.prompt)
        self.longest = self.start + room_for(request, context)
        self.random, self.finish_reason = random.Random(request.seed), None
        # a stop string of n bytes is in the last n tokens, or in some that began with half a letter
        self.tail = max([len(stop.encode()) + 4 for stop in request.sampling.stop], default=0)

    def add(self, token: int):
        self.tokens.append(token)
        sampling = self.request.sampling
        if token in sampling.stop_ids or (self.tail and self.holds_stop_string()):
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.longest:
            self.finish_reason = "length"

    def holds_stop_string(self) -> bool:
        tail = self.tokens[max(self.start, len(self.tokens) - self.tail) :]
        text = self.tokenizer.decode(tail, skip_special_tokens=True)
        return any(stop in text for stop in self.request.sampling.stop)

    def completion(self) -> Completion:
        ids = self.tokens[self.start :]
        text = text_of(self.tokenizer, ids, self.request.sampling)
        return Completion(self.request.id, text, ids, self.finish_reason, self.start, len(ids))


class Torch:
    """Continuous batching on model.py: a sequence that ends gives its place to the next at once.

    Where the KV cache runs out, the last sequence steps back and is read again later; a prompt
    longer than prefill_tokens is read in parts.
    """

    def __init__(self, model: str, settings: Settings):
        device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = settings.dtype or ("bf16" if device == "cuda" else "fp32")
        self.tokenizer, _ = load_tokenizer(model)
        self.model = models.load(model, device, DTYPES[dtype])
        self.name = f"torch {torch.__version__}, {dtype}"
        self.device, self.batch = self.model.head.device, settings.batch or 16
        self.cache_tokens, self.prefill_tokens = settings.cache_tokens, settings.prefill_tokens
        longest = self.model.config.max_position_embeddings
        self.context = min(longest, self.cache_tokens // 512 * 512)
        self.ids_in_use = ids_in_use(self.tokenizer)

    def close(self):
        self.model = None

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        source, waiting = iter(requests), []  # waiting: taken from the source or stepped back
        flight, cache = [], models.Cache(self.model)  # sequence i has place i
        while True:
            entering = self.admit(source, waiting, flight, cache)
            if entering:
                logits = self.prefill(entering, len(flight), cache)
                flight += entering
            elif flight:
                self.make_room(waiting, flight, cache)
                entering, logits = flight, self.decode(flight, cache)
            else:
                return
            self.advance(entering, logits)
            for place in reversed(range(len(flight))):
                if flight[place].finish_reason:
                    yield flight[place].completion()
                    last = flight.pop()
                    if place < len(flight):
                        flight[place] = last
                        cache.move(len(flight), place)

    def admit(self, source, waiting, flight, cache) -> list[Sequence]:
        """The sequences that may be read now: as many as there are places, memory and tokens for.

        Some room is left to every one, so that it does not step back at once.
        """
        entering, tokens, room = [], 0, 0
        while len(flight) + len(entering) < self.batch:
            if not waiting:
                if (request := next(source, None)) is None:
                    break
                waiting.append(Sequence(request, self.context, self.tokenizer))
            together = [*flight, *entering, waiting[-1]]
            need = models.span(max(min(len(s.tokens) + 64, s.longest) for s in together))
            is_full = len(together) > 1 and len(together) * need > self.cache_tokens
            if is_full or entering and tokens + len(waiting[-1].tokens) > self.prefill_tokens:
                break
            tokens, room = tokens + len(waiting[-1].tokens), need
            entering.append(waiting.pop())
        if entering:
            self.fit(cache, len(flight) + len(entering), room)
        return entering

    def make_room(self, waiting, flight, cache):
        """Gives every sequence in flight room for one more token, or sends the last ones back."""
        need = models.span(max(len(s.tokens) for s in flight))
        while len(flight) > 1 and len(flight) * need > self.cache_tokens:
            waiting.append(flight.pop())
        self.fit(cache, len(flight), need)

    def fit(self, cache, places: int, need: int):
        """Resizes the cache where it is too small, or far too large for what it holds."""
        if places > cache.places or not need <= cache.room <= max(512, 8 * need):
            ample = models.span(2 * need)  # so that it is not copied again soon
            cache.resize(places, ample if places * ample <= self.cache_tokens else need)

    @torch.inference_mode()
    def prefill(self, entering: list[Sequence], first: int, cache) -> Tensor:
        """Reads whole sequences into the places from `first` on; logits [n, V] after each."""
        parts = [(s.tokens, 0, len(s.tokens)) for s in entering]
        if len(entering) == 1:  # it may be longer than one forward
            tokens, size = entering[0].tokens, self.prefill_tokens
            starts = range(0, len(tokens), size)
            parts = [(tokens, start, min(start + size, len(tokens))) for start in starts]
        rows = [parts] if len(entering) > 1 else [[part] for part in parts]
        for row in rows:
            ids, places, positions, stretches = [], [], [], []
            for place, (tokens, start, stop) in enumerate(row, first):
                stretches.append((place, len(ids), start, stop))
                ids += tokens[start:stop]
                places += [place] * (stop - start)
                positions += range(start, stop)
            x = self.hidden(ids, places, positions, cache, stretches)
        ends = [row + stop - start - 1 for _, row, start, stop in stretches]
        return self.logits(x[ends])

    @torch.inference_mode()
    def decode(self, flight: list[Sequence], cache) -> Tensor:
        """Reads the newest token of every sequence; logits [n, V] after each."""
        positions = [len(s.tokens) - 1 for s in flight]
        ids = [s.tokens[-1] for s in flight]
        return self.logits(self.hidden(ids, range(len(flight)), positions, cache))

    def hidden(self, ids, places, positions, cache, stretches=None) -> Tensor:
        """The head's input for each of the tokens. Fewer than LEAST are computed with padding."""
        n, padding = len(ids), [0] * (LEAST - len(ids))
        positions = self.tensor([*positions, *padding])
        cache.aim(self.tensor(places), positions[:n], stretches)
        return self.model.hidden(self.tensor([*ids, *padding]), positions, None, cache.layers)[:n]

    @torch.inference_mode()
    def advance(self, sequences: list[Sequence], logits: Tensor):
        """Gives each sequence its next token; those that sample alike are drawn together."""
        alike = {}
        for row, sequence in enumerate(sequences):
            s = sequence.request.sampling
            alike.setdefault((s.temperature, s.top_p, s.top_k, s.min_p), []).append(row)
        for rows in alike.values():
            part = logits if len(rows) == len(sequences) else logits[rows]
            draws = [sequences[row].random.random() for row in rows]
            draws = torch.tensor(draws, dtype=torch.float64, device=self.device)
            ids = choose(part, sequences[rows[0]].request.sampling, draws)
            for row, token in zip(rows, ids.tolist(), strict=True):
                sequences[row].add(token)

    def logits(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 0, max(0, LEAST - len(x))))
        return F.linear(padded, self.model.head)[: len(x), : self.ids_in_use].float()

    def tensor(self, numbers) -> Tensor:
        return torch.tensor(list(numbers), device=self.device)
