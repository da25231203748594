"""Tokens per second of the built-in decoder against transformers' generate, one request by one.

    python bench/decode.py                        # a random model of 20M parameters, in a minute
    python bench/decode.py --model SmolLM2-135M --new 64

Both read the same weights in fp32 and write the same tokens, greedily; rounds take turns, and the
best of each counts. Prints a table and, as its last line, JSON with the ratios by the clock and by
the CPU time of this process, which other work on the machine disturbs less.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

import engine
import flops
import model as models
from config import Config
from data import toy
from data.chat import load_tokenizer
from engine.request import Request, Sampling

SHAPE = Config(8192, 384, 1152, 10, 6, 2, 64, max_position_embeddings=4096)  # Qwen2, 20M


def random_model(folder: str) -> str:
    models.save(models.initialise(models.build(SHAPE), seed=0), folder)
    toy.tokenizer().save(f"{folder}/tokenizer.json")
    return folder


def one_by_one(theirs, prompts, new: int) -> list[list[int]]:
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        answers.append(whole[0, len(prompt) :].tolist())
    return answers


def rates(tokens: int, work):
    """Tokens a second of the clock and of CPU time, and what work() returns."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return (tokens / (time.perf_counter() - clock), tokens / (time.process_time() - cpu)), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a model folder (default: random, 20M parameters)")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=2)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = o.model or random_model(scratch)
        config = Config.from_pretrained(folder)
        transformers.utils.logging.set_verbosity_error()
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        used = engine.ids_in_use(load_tokenizer(folder)[0])
        generator = torch.Generator().manual_seed(0)
        prompts = torch.randint(0, used, (64, o.prompt), generator=generator).tolist()
        best, same = {}, 0
        for _ in range(o.rounds):
            rate, wanted = rates(4 * o.new, lambda: one_by_one(theirs, prompts[:4], o.new))
            best.setdefault("transformers, 1", []).append(rate)
            for batch in (1, 16, 64):
                count = max(4, 2 * batch) if batch < 64 else 64
                asked = [Request(str(i), p, Sampling(o.new)) for i, p in enumerate(prompts[:count])]
                with engine.load("torch", folder, batch=batch, dtype="fp32", device="cpu") as e:
                    e.ids_in_use = config.vocab_size  # as transformers: the whole head
                    rate, found = rates(count * o.new, lambda e=e, r=asked: list(e.complete(r)))
                found = {c.id: c.ids for c in found}
                best.setdefault(f"built-in, {batch}", []).append(rate)
                same = sum(found[str(i)] == wanted[i] for i in range(4))
    best = {name: [max(kind) for kind in zip(*found, strict=True)] for name, found in best.items()}
    first = best["transformers, 1"]
    ratios = {
        name: [round(rate / one, 2) for rate, one in zip(both, first, strict=True)]
        for name, both in best.items()
    }
    print(f"{flops.parameters(config):,} parameters, prompts of {o.prompt}, answers of {o.new}")
    print(f"{torch.get_num_threads()} thread(s); {same} of 4 answers are the same tokens\n")
    print(f"{'':<18}{'tokens/s':>10}{'ratio':>8}{'by CPU time':>13}")
    for name, (rate, _) in best.items():
        clock, cpu = ratios[name]
        print(f"{name:<18}{rate:>10,.0f}{clock:>7.1f}x{cpu:>12.1f}x")
    print(json.dumps({"parameters": flops.parameters(config), "same": same, "ratios": ratios}))


if __name__ == "__main__":
    main()
