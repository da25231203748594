"""A built-in teacher for machines without one: it answers procedural prompts in both formats.

    python train.py --scale toy-m --format reasoning        # toy scales have --data toy
    python -m data.toy pairs.jsonl --pairs 20000 --seed 0   # the same pairs as an ordinary file

Four families as in the real study, {general, math} x {open-ended, multiple choice}, each of graded
difficulty. To add a task, add a row to TASKS. tokenizer() is a real byte-level BPE, built in code.
"""

import argparse
import json
import random
from collections.abc import Iterator

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

PAIRS = 20_000  # of --data toy; every scale and format shares them

NAMES = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal"]
PLACES = ["rome", "oslo", "lima", "bonn", "kiev", "bern", "cork", "nice"]
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = ["tiger", "robin", "snake", "mouse", "horse", "zebra", "camel", "otter", "whale", "goose"]

# ---- the tasks: each gives (prompt, trace, gold), difficulty drawn inside ----------------------


def add(rng: random.Random) -> tuple[str, str, str]:
    """Column addition of two numbers of 1 to 4 digits, from the right, with carries."""
    digits = rng.randint(1, 4)
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
    lines, carry = [], 0
    for x, y in zip(reversed(str(a)), reversed(str(b)), strict=True):
        total = int(x) + int(y) + carry
        lines.append(f"{x}+{y}+{carry}={total}")
        carry = total // 10
    return f"What is {a}+{b}?", "\n".join(lines), str(a + b)


def chain(rng: random.Random) -> tuple[str, str, str]:
    """A running sum modulo 10 over 2 to 6 digits, then its letter among four options."""
    value, *rest = (rng.randint(0, 9) for _ in range(rng.randint(2, 6)))
    prompt, lines = str(value), []
    for digit in rest:
        prompt += f"+{digit}"
        lines.append(f"{value}+{digit}={(value + digit) % 10}")
        value = (value + digit) % 10
    wrong = rng.sample([i for i in range(10) if i != value], 3)
    options, gold = choices(rng, str(value), [str(i) for i in wrong])
    return f"What is the last digit of {prompt}?{options}", "\n".join(lines), gold


def spell(rng: random.Random) -> tuple[str, str, str]:
    """A word of 3 to 5 letters backwards."""
    word = rng.choice(WORDS)[: rng.randint(3, 5)]
    numbered = " ".join(f"{i}{letter}" for i, letter in enumerate(" ".join(word).split(), 1))
    return f"Spell backwards: {' '.join(word)}", numbered, " ".join(reversed(word))


def where(rng: random.Random) -> tuple[str, str, str]:
    """Who is where, through 0 to 2 others, then its letter among four options."""
    hops = rng.randint(0, 2)
    names, places = rng.sample(NAMES, 4), rng.sample(PLACES, 4)
    facts = [f"{names[i]} is with {names[i + 1]}." for i in range(hops)]
    facts += [f"{names[i]} is in {places[i]}." for i in range(hops, 4)]
    trace = "\n".join([*facts[:hops], facts[hops]])
    rng.shuffle(facts)
    options, gold = choices(rng, places[hops], [p for i, p in enumerate(places) if i != hops])
    return f"{' '.join(facts)} Where is {names[0]}?{options}", trace, gold


def choices(rng: random.Random, right: str, wrong: list[str]) -> tuple[str, str]:
    """The option lines in random order, and the letter of the right one."""
    options = [right, *wrong]
    rng.shuffle(options)
    lines = "".join(f"\n{letter}) {text}" for letter, text in zip("ABCD", options, strict=True))
    return lines, "ABCD"[options.index(right)]


TASKS = {"math-oe": add, "math-mc": chain, "general-oe": spell, "general-mc": where}

# ---- the teacher and its tokenizer ----------------------------------------------------------


def rows(count: int = PAIRS, seed: int = 0) -> Iterator[dict]:
    """`count` pairs {prompt, ift, reasoning, family, gold}, the families in turn."""
    rng = random.Random(seed)
    for i in range(count):
        family = list(TASKS)[i % len(TASKS)]
        prompt, trace, gold = TASKS[family](rng)
        answer = f"\\boxed{{{gold}}}"
        reasoning = f"<think>\n{trace}\n</think>\n\n{answer}"
        yield dict(prompt=prompt, ift=answer, reasoning=reasoning, family=family, gold=gold)


def tokenizer() -> Tokenizer:
    """A byte-level BPE of under 512 ids that can write any text; <think> is one id as in Qwen3.

    Normaliser and splits are Qwen2's: transformers takes those for any model of type qwen2.
    """
    text = "user assistant system boxed What Where Spell backwards last digit the with of is in"
    words = [*text.split(), *NAMES, *PLACES]
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([word for w in words for word in (w, f" {w}")], trainer)
    bpe.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    bpe.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    return bpe


def main():
    parser = argparse.ArgumentParser(description="write the built-in teacher's pairs to a file")
    parser.add_argument("out")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with open(options.out, "w", encoding="utf-8") as file:
        for row in rows(options.pairs, options.seed):
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
