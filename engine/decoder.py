"""The built-in engine: continuous batching on model.py, anywhere that torch runs."""

import random
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import model as models
from data.chat import load_tokenizer
from engine import cache as caches
from engine.request import Completion, Request, Settings, ids_in_use, room_for, text_of
from engine.sampling import choose

LEAST = 16  # rows of a matmul: with fewer, the CPU adds up a row in an order that depends on them
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


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
        flight, cache = [], caches.Cache(self.model)  # sequence i has place i
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
            need = caches.span(max(min(len(s.tokens) + 64, s.longest) for s in together))
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
        need = caches.span(max(len(s.tokens) for s in flight))
        while len(flight) > 1 and len(flight) * need > self.cache_tokens:
            waiting.append(flight.pop())
        self.fit(cache, len(flight), need)

    def fit(self, cache, places: int, need: int):
        """Resizes the cache where it is too small, or far too large for what it holds."""
        if places > cache.places or not need <= cache.room <= max(512, 8 * need):
            ample = caches.span(2 * need)  # so that it is not copied again soon
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
