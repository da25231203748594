"""The built-in engine: continuous batching on model.py, anywhere that torch runs."""

import random
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import model as models
from data.chat import load_tokenizer
from engine.cache import Cache, read_length
from engine.request import Completion, Request, Settings, ids_in_use, room_for, text_of
from engine.sampling import choose

MIN_ROWS = (
    16  # rows of a matmul: with fewer, the CPU adds up a row in an order that depends on them
)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Sequence:
    """A request that is being answered: its tokens so far, prompt included, and why it ended."""

    def __init__(self, request: Request, context: int, tokenizer):
        self.request, self.tokenizer = request, tokenizer
        self.tokens, self.start = list(request.prompt), len(request.prompt)
        self.longest = self.start + room_for(request, context)
        self.random, self.finish_reason = random.Random(request.seed), None
        # a stop string of n bytes is in the last n tokens, or in some more that began with an
        # incomplete UTF-8 character
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


class Decoder:
    """Continuous batching: a sequence that ends gives its slot to the next one at once.

    Where the KV cache runs out, the newest sequence is preempted and prefilled again later; a
    prompt longer than prefill_tokens is prefilled in chunks.
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
        source, waiting = iter(requests), []  # waiting: taken from the source, or preempted
        running, cache = [], Cache(self.model)  # running[i] has slot i
        while True:
            advancing = self.admit(source, waiting, running, cache)
            if advancing:
                logits = self.prefill(advancing, len(running), cache)
                running += advancing
            elif running:
                self.preempt(waiting, running, cache)
                advancing, logits = running, self.decode(running, cache)
            else:
                return
            self.advance(advancing, logits)
            for slot in reversed(range(len(running))):
                if running[slot].finish_reason:
                    yield running[slot].completion()
                    last = running.pop()
                    if slot < len(running):
                        running[slot] = last
                        cache.move(len(running), slot)

    # ---- which sequences run

    def admit(self, source, waiting, running, cache) -> list[Sequence]:
        """The sequences to prefill now: as many as there are slots, memory and tokens for.

        Each is left some room to grow, so that it is not preempted at once.
        """
        admitted, tokens, capacity = [], 0, 0
        while len(running) + len(admitted) < self.batch:
            if not waiting:
                if (request := next(source, None)) is None:
                    break
                waiting.append(Sequence(request, self.context, self.tokenizer))
            together = [*running, *admitted, waiting[-1]]
            need = read_length(max(min(len(s.tokens) + 64, s.longest) for s in together))
            is_full = len(together) > 1 and len(together) * need > self.cache_tokens
            if is_full or admitted and tokens + len(waiting[-1].tokens) > self.prefill_tokens:
                break
            tokens, capacity = tokens + len(waiting[-1].tokens), need
            admitted.append(waiting.pop())
        if admitted:
            self.fit(cache, len(running) + len(admitted), capacity)
        return admitted

    def preempt(self, waiting, running, cache):
        """Gives every running sequence room for one more token; the newest ones make way."""
        need = read_length(max(len(s.tokens) for s in running))
        while len(running) > 1 and len(running) * need > self.cache_tokens:
            waiting.append(running.pop())
        self.fit(cache, len(running), need)

    def fit(self, cache, slots: int, need: int):
        """Resizes the cache where it is too small, or far too large for what it holds."""
        if slots > cache.slots or not need <= cache.capacity <= max(512, 8 * need):
            ample = read_length(2 * need)  # so that it is not copied again soon
            cache.resize(slots, ample if slots * ample <= self.cache_tokens else need)

    # ---- one forward, one token each

    @torch.inference_mode()
    def prefill(self, sequences: list[Sequence], first: int, cache) -> Tensor:
        """Stores whole sequences in the slots from `first` on; logits [n, V] after each.

        They are documents of a packed row. What exceeds prefill_tokens, of a sequence that is then
        prefilled alone, follows in chunks.
        """
        ids = [
            s.tokens[: self.prefill_tokens] if len(sequences) == 1 else s.tokens for s in sequences
        ]
        lengths = torch.tensor([len(part) for part in ids], device=self.device)
        padding = max(0, MIN_ROWS - int(lengths.sum()))  # one more document
        bounds = torch.tensor([0, *lengths.tolist(), padding], device=self.device).cumsum(0).int()
        row = models.PackedRow(bounds, int(bounds[-1]), similar=1.0)
        slots = torch.arange(first, first + len(ids), device=self.device)
        contexts = cache.prefill(row, slots.repeat_interleave(lengths))
        x = self.model.hidden(self.padded(sum(ids, [])), row.positions, contexts)
        ends = lengths.cumsum(0) - 1
        tokens = sequences[0].tokens
        for start in range(len(ids[0]), len(tokens), self.prefill_tokens):
            stop = min(start + self.prefill_tokens, len(tokens))
            positions = self.padded(range(start, stop))
            contexts = cache.chunk(first, start, stop)
            x = self.model.hidden(self.padded(tokens[start:stop]), positions, contexts)
            ends = [stop - start - 1]
        return self.logits(x[ends])

    @torch.inference_mode()
    def decode(self, running: list[Sequence], cache) -> Tensor:
        """Reads the newest token of every sequence; logits [n, V] after each."""
        positions = self.padded(len(s.tokens) - 1 for s in running)
        contexts = cache.decode(positions[: len(running)])
        ids = self.padded(s.tokens[-1] for s in running)
        return self.logits(self.model.hidden(ids, positions, contexts)[: len(running)])

    @torch.inference_mode()
    def advance(self, sequences: list[Sequence], logits: Tensor):
        """Gives each sequence its next token; those that sample alike are drawn together."""
        alike = {}
        for i, sequence in enumerate(sequences):
            s = sequence.request.sampling
            alike.setdefault((s.temperature, s.top_p, s.top_k, s.min_p), []).append(i)
        for rows in alike.values():
            chosen = logits if len(rows) == len(sequences) else logits[rows]
            draws = [sequences[i].random.random() for i in rows]
            draws = torch.tensor(draws, dtype=torch.float64, device=self.device)
            ids = choose(chosen, sequences[rows[0]].request.sampling, draws)
            for i, token in zip(rows, ids.tolist(), strict=True):
                sequences[i].add(token)

    def logits(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 0, max(0, MIN_ROWS - len(x))))
        return F.linear(padded, self.model.head)[: len(x), : self.ids_in_use].float()

    def padded(self, numbers) -> Tensor:
        """int64 tensor of the numbers, and of zeros up to MIN_ROWS."""
        numbers = list(numbers)
        return torch.tensor(numbers + [0] * (MIN_ROWS - len(numbers)), device=self.device)
