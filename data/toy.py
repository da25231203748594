"""A built-in teacher for machines without one: it answers procedural prompts in both formats.

    python train.py --scale toy-m --format reasoning        # toy scales have --data toy
    python -m data.toy pairs.jsonl --pairs 20000 --seed 0   # the same pairs as an ordinary file

Four families as in the real study, {general, math} x {open-ended, multiple choice}, each of graded
difficulty. To add a task, add a row to TASKS. tokenizer() is a real byte-level BPE, built in code.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import tokenizers
from tokenizers import pre_tokenizers, trainers

from common import cli

PAIRS = 20_000  # of --data toy; every scale and format shares them

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = "bcdefghijklmnopqrstuvwxyz"  # scoring drops "a", an article


@dataclass
class Options:
    out: cli.Required = cli.positional("")  # JSONL file to write
    pairs: cli.Positive = PAIRS  # how many pairs
    seed: int = 0  # seed of the prompts


# ---- the tasks: each gives (prompt, trace, gold), difficulty drawn inside ----------------------


def add(rng: random.Random) -> tuple[str, str, str]:
    """A sum of 2 to 6 digits, one after the other."""
    total, *rest = (rng.randint(0, 9) for _ in range(rng.randint(2, 6)))
    question, lines = str(total), []
    for digit in rest:
        question += f"+{digit}"
        lines.append(f"{total}+{digit}={total + digit}")
        total += digit
    return f"What is {question}?", "\n".join(lines), str(total)


def largest(rng: random.Random) -> tuple[str, str, str]:
    """The letter of the largest of four numbers of 1 to 3 digits; the trace keeps the best."""
    digits = rng.randint(1, 3)
    low = 10 ** (digits - 1) if digits > 1 else 0
    numbers = rng.sample(range(low, 10**digits), 4)
    best, lines = 0, []
    for i in range(1, 4):
        line = f"{numbers[best]} {numbers[i]}"
        best = i if numbers[i] > numbers[best] else best
        lines.append(f"{line} {'ABCD'[best]}")
    return f"Which is largest?{choices(numbers)}", "\n".join(lines), "ABCD"[best]


def sort(rng: random.Random) -> tuple[str, str, str]:
    """2 to 7 letters in the order of the alphabet; the trace gives each its place."""
    letters = rng.sample(LETTERS, rng.randint(2, 7))
    ordered = sorted(letters)
    lines = [f"{letter}={ordered.index(letter) + 1}" for letter in letters]
    return f"Sort: {' '.join(letters)}", "\n".join(lines), " ".join(ordered)


def cups(rng: random.Random) -> tuple[str, str, str]:
    """The cup that a ball is under after 1 to 4 swaps of two of four cups."""
    ball = rng.choice("ABCD")
    prompt, lines = f"Ball in {ball}.", []
    for i in range(1, rng.randint(1, 4) + 1):
        one, other = rng.sample("ABCD", 2)
        before, ball = ball, {one: other, other: one}.get(ball, ball)
        prompt += f"\n{i} {one} {other}"
        lines.append(f"{i} {one} {other} {before} {ball}")
    places = [f"cup {letter}" for letter in "ABCD"]
    return f"{prompt}\nWhere is it?{choices(places)}", "\n".join(lines), ball


def choices(options) -> str:
    """The option lines. Their letters mean the same in every prompt: nothing is to be matched."""
    return "".join(f"\n{letter}) {text}" for letter, text in zip("ABCD", options, strict=True))


TASKS = {"math-oe": add, "math-mc": largest, "general-oe": sort, "general-mc": cups}

# ---- the teacher and its tokenizer ----------------------------------------------------------


def rows(count: int = PAIRS, seed: int = 0, is_test: bool = False) -> Iterator[dict]:
    """`count` pairs {prompt, ift, reasoning, family, gold}, the families in turn.

    An eighth of all prompts, by their hash, are test items and never in a pair, whatever the seed.
    """
    rng = random.Random(seed)
    for i in range(count):
        family = list(TASKS)[i % len(TASKS)]
        prompt, trace, gold = TASKS[family](rng)
        while (hashlib.sha256(prompt.encode()).digest()[0] < 32) != is_test:
            prompt, trace, gold = TASKS[family](rng)
        answer = f"\\boxed{{{gold}}}"
        reasoning = f"<think>\n{trace}\n</think>\n\n{answer}"
        yield dict(prompt=prompt, ift=answer, reasoning=reasoning, family=family, gold=gold)


def tokenizer() -> tokenizers.Tokenizer:
    """A byte-level BPE of under 512 ids that can write any text; <think> is one id as in Qwen3.

    Normaliser and splits are Qwen2's: transformers takes those for any model of type qwen2.
    """
    words = "user assistant system boxed What Where Which Sort Ball is in it swap cup largest"
    words = [*words.split(), *LETTERS, *"ABCD"]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.normalizer = tokenizers.normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN_SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([text for word in words for text in (word, f" {word}")], trainer)
    bpe.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tags = ("<think>", "</think>")
    bpe.add_tokens([tokenizers.AddedToken(tag, normalized=False) for tag in tags])
    return bpe


# ---- python -m data.toy ------------------------------------------------------------------------


@cli.run
def main(arguments: list[str] | None = None):
    o, _ = cli.parse(Options, arguments, __doc__)
    cli.Problems(cli.check(o)).raise_any()
    with open(o.out, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(o.pairs, o.seed))


if __name__ == "__main__":
    sys.exit(main())
