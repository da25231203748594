"""What every engine takes and gives: requests, sampling, completions, settings. No torch."""

from dataclasses import dataclass

from common import hub


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
    """Options of all engines; each reads its own."""

    dtype: str | None = None  # torch, vllm: bf16 or fp32 (default: bf16 on a GPU)
    batch: int = 0  # sequences at once (default: 16; vllm 256 an engine; server 64)
    # torch
    device: str | None = None  # cpu, cuda (default: cuda where there is one)
    cache_tokens: int = 2**17  # of the KV cache: slots times the longest sequence; 512 or more
    prefill_tokens: int = 2048  # of one forward over prompts
    # vllm: one engine process for every group of tensor_parallel GPUs
    tensor_parallel: int = 1
    data_parallel: int = 1
    context: int = 0  # tokens of the longest prompt and answer (default: the model's)
    # server
    url: str | None = (
        None  # of its OpenAI interface, like http://localhost:8000/v1; $OPENAI_API_KEY is sent
    )
    timeout: float = 3600.0  # seconds without a byte from it
    retries: int = 8  # of a request, after 1, 2, 4 ... 60 seconds


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


def sampling_fields(request: Request, context: int) -> dict:
    """The fields of vLLM's SamplingParams, and of its server's JSON, that shape an answer: all of
    them, so that no default of a model or a server applies."""
    s, fields = request.sampling, {"n": 1, "seed": request.seed, "skip_special_tokens": True}
    fields |= {name: getattr(s, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    fields |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}
    fields |= {"stop": list(s.stop), "stop_token_ids": list(s.stop_ids)}
    return fields | {"max_tokens": room_for(request, context)}
