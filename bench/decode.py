"""Tokens per second of the built-in decoder against transformers' generate, one request by one.

    python bench/decode.py                        # a random model of 20M parameters, in a minute
    python bench/decode.py --model SmolLM2-135M --new 64

Both read the same weights in fp32 and write the same tokens, greedily; rounds take turns, and the
best of each counts. Prints a table and, as its last line, JSON with the ratios by the clock and by
the CPU time of this process, which other work on the machine disturbs less.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

import engine
import flops
import model as models
from common import cli
from config import Config
from data import toy
from data.chat import load_tokenizer
from engine.request import Request, Sampling, ids_in_use

SHAPE = Config(8192, 384, 1152, 10, 6, 2, 64, max_position_embeddings=4096)  # Qwen2, 20M


@dataclass
class Options:
    model: str | None = None  # a model folder (default: random weights, 20M parameters)
    prompt: cli.Positive = 64  # tokens of a prompt
    new: cli.Positive = 64  # tokens of an answer
    rounds: cli.Positive = 2  # the best counts


def random_model(folder: str) -> str:
    models.save(models.initialise(models.build(SHAPE), seed=0), folder)
    toy.tokenizer().save(f"{folder}/tokenizer.json")
    return folder


def one_by_one(peer, prompts, new: int) -> list[list[int]]:
    answers, options = [], {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False}
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = peer.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options)
        answers.append(output[0, len(prompt) :].tolist())
    return answers


def rates(tokens: int, work):
    """(tokens a second of the clock, and of CPU time), and what work() returns."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return (tokens / (time.perf_counter() - clock), tokens / (time.process_time() - cpu)), result


def race(folder: str, o: Options) -> tuple[dict, int]:
    """({decoder: best rates}, how many of 4 answers are the same tokens)."""
    transformers.utils.logging.set_verbosity_error()
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    used = ids_in_use(load_tokenizer(folder)[0])
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, used, (64, o.prompt), generator=generator).tolist()
    rounds, same = {}, 0
    for _ in range(o.rounds):
        rate, wanted = rates(4 * o.new, lambda: one_by_one(peer, prompts[:4], o.new))
        rounds.setdefault("transformers, 1", []).append(rate)
        for batch in (1, 16, 64):
            count = max(4, 2 * batch) if batch < 64 else 64
            asked = [Request(str(i), p, Sampling(o.new)) for i, p in enumerate(prompts[:count])]
            with engine.load("torch", folder, batch=batch, dtype="fp32", device="cpu") as e:
                e.ids_in_use = peer.config.vocab_size  # as transformers: the whole head
                rate, answers = rates(count * o.new, lambda e=e, r=asked: list(e.complete(r)))
            ids = {answer.id: answer.ids for answer in answers}
            rounds.setdefault(f"built-in, {batch}", []).append(rate)
            same = sum(ids[str(i)] == wanted[i] for i in range(4))
    best = {name: [max(x) for x in zip(*of_name, strict=True)] for name, of_name in rounds.items()}
    return best, same


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    cli.Problems(cli.check(o)).raise_any()
    with tempfile.TemporaryDirectory() as scratch:
        folder = o.model or random_model(scratch)
        size = flops.parameters(Config.from_pretrained(folder, flag="--model"))
        best, same = race(folder, o)
    one, ratios, lines = best["transformers, 1"], {}, [["", "tokens/s", "ratio", "by CPU time"]]
    for name, both in best.items():
        ratios[name] = [round(rate / first, 2) for rate, first in zip(both, one, strict=True)]
        lines.append([name, f"{both[0]:,.0f}", *(f"{ratio:.1f}x" for ratio in ratios[name])])
    print(f"{size:,} parameters, prompts of {o.prompt}, answers of {o.new}")
    print(f"{torch.get_num_threads()} thread(s); {same} of 4 answers are the same tokens\n")
    print("\n".join(cli.table(lines)))
    print(json.dumps({"parameters": size, "same": same, "ratios": ratios}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
