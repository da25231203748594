"""Tokens per second of the built-in decoder against transformers' generate, one request by one.

    python bench/decode.py                        # a random model of 20M parameters, in a minute
    python bench/decode.py --model SmolLM2-135M --new 64

Both read the same weights in fp32 and write the same tokens, greedily; rounds take turns, and the
best of each counts. Prints a table and, as its last line, JSON.
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
from engine import Request, Sampling

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
            start = time.perf_counter()
            wanted = one_by_one(theirs, prompts[:4], o.new)
            best.setdefault("transformers, 1", []).append(4 * o.new / (time.perf_counter() - start))
            for batch in (1, 16, 64):
                count = max(4, 2 * batch) if batch < 64 else 64
                asked = [Request(str(i), p, Sampling(o.new)) for i, p in enumerate(prompts[:count])]
                with engine.open("torch", folder, batch=batch, dtype="fp32", device="cpu") as e:
                    e.ids_in_use = config.vocab_size  # as transformers: the whole head
                    start = time.perf_counter()
                    found = {c.id: c.ids for c in e.complete(asked)}
                    seconds = time.perf_counter() - start
                best.setdefault(f"built-in, {batch}", []).append(count * o.new / seconds)
                same = sum(found[str(i)] == wanted[i] for i in range(4))
    best = {name: max(rates) for name, rates in best.items()}
    slowest = best["transformers, 1"]
    print(f"{flops.parameters(config):,} parameters, prompts of {o.prompt}, answers of {o.new}")
    print(f"{torch.get_num_threads()} thread(s); {same} of 4 answers are the same tokens\n")
    for name, rate in best.items():
        print(f"{name:<18}{rate:>9,.0f} tokens/s{rate / slowest:>7.1f}x")
    ratios = {name: round(rate / slowest, 2) for name, rate in best.items()}
    print(json.dumps({"parameters": flops.parameters(config), "same": same, "ratios": ratios}))


if __name__ == "__main__":
    main()
