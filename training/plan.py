"""A run before its first step: each step's samples, in which format, at which rate and cost.

Everything is a function of the options, the data and the seed, never of the machine, and every rank
derives the same plan. To change the mixing rule, change arrange(); the schedule, wsd().
"""

import math
from dataclasses import dataclass

import numpy as np

import flops
from common import hub
from config import ANSWERS, SCALES
from data.pairs import Pairs

COSTS = ("flops_paper", "flops_exact")

# ---- order and mix --------------------------------------------------------------------------


def permutation(count: int, seed: int, stream: int) -> np.ndarray:
    """A permutation that is a function of its arguments alone, on every machine and release."""
    keys = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(count)
    return np.argsort(keys, kind="stable")


def split(pairs: Pairs, max_len: int, val: int, samples: int | None, seed: int):
    """(train, val, dropped) row numbers. The seed ranks the rows; the last `val` are held out.

    dropped: rows whose longer answer and prompt exceed `max_len` tokens, out of *both* arms.
    samples: only the first so many of the ranking, so that a smaller run is a part of a larger one.
    """
    fits = pairs.longest()[pairs.good] <= max_len
    kept, dropped = pairs.good[fits], pairs.good[~fits]
    shuffled = kept[permutation(len(kept), seed, 0)]
    first = max(0, len(shuffled) - val)  # of the held-out ones
    return shuffled[:first][:samples], shuffled[first:], dropped


def arrange(train: np.ndarray, arm_format: str, ratio: float, seed: int, epochs: int = 1):
    """(rows, is_reasoning) in the order of training: row numbers, and who answers with reasoning.

    arm_format: ift, reasoning, sequential or mixed. ratio: rho, the share that answers with
    reasoning, for the latter two. The first rho of `train` reason, so who reasons at 25 % does at
    50 %; the order is a function of (seed, epoch) alone, and sequential moves all of ift first.
    """
    rho = {"ift": 0.0, "reasoning": 1.0}.get(arm_format, ratio)
    is_reasoning = np.arange(len(train)) < round(rho * len(train))
    order = np.concatenate([permutation(len(train), seed, 1 + i) for i in range(epochs)])
    if arm_format == "sequential":
        order = np.concatenate([order[~is_reasoning[order]], order[is_reasoning[order]]])
    return train[order], is_reasoning[order]


# ---- steps ----------------------------------------------------------------------------------


@dataclass
class Step:
    """The samples of one optimiser step, n of them."""

    samples: np.ndarray  # [n] row numbers of the pairs
    is_reasoning: np.ndarray  # [n] bool: the reasoning answer, else ift
    lengths: list[int]  # [n] tokens, system prompt and prompt included
    answer_lengths: list[int]  # [n] tokens of the answer
    lr: float = 0.0
    reset_optimizer: bool = False  # AdamW forgets its moments first (--restart)

    @property
    def formats(self) -> list[str]:
        return formats_of(self.is_reasoning)


def formats_of(is_reasoning) -> list[str]:
    return ["reasoning" if reasons else "ift" for reasons in is_reasoning]


@dataclass
class Plan:
    """All steps of a run, and the rows that are held out or dropped.

    options: anything with train.Options' fields. system_tokens: of the system prompt.
    switch_tokens: of a teacher's toggle, before every ift answer.
    """

    options: object
    config: object
    pairs: Pairs
    system_tokens: int
    train: np.ndarray
    val: np.ndarray
    dropped: np.ndarray
    steps: list[Step]
    switch_tokens: int = 0

    def lengths(self, samples, formats) -> tuple[list[int], list[int]]:
        """Tokens of each sample, system prompt and prompt included, and its answer tokens."""
        answers = np.zeros(len(samples), dtype=np.int64)
        for name in set(formats):
            chosen = np.array([name == other for other in formats])
            answers[chosen] = self.pairs.answer_lengths[name][samples[chosen]]
        tokens = self.system_tokens + self.pairs.prompt_lengths[samples] + answers
        tokens += self.switch_tokens * np.array([name == "ift" for name in formats])
        return tokens.tolist(), answers.tolist()

    def step(self, samples: np.ndarray, is_reasoning: np.ndarray, **more) -> Step:
        lengths = self.lengths(samples, formats_of(is_reasoning))
        return Step(samples, is_reasoning, *lengths, **more)

    def ledger(self, step: Step) -> dict:
        """What a step holds and costs: all of its log line that is known without running it."""
        by_sample = float(step.is_reasoning.mean())
        reasoning_tokens = np.array(step.answer_lengths)[step.is_reasoning].sum()
        by_token = float(reasoning_tokens / sum(step.answer_lengths))
        lengths = step.lengths, step.answer_lengths
        return {
            "samples": len(step.samples),
            "tokens": sum(step.lengths),
            "answer_tokens": sum(step.answer_lengths),
            "reasoning_samples": by_sample,  # shares of the step, as are the next two
            "reasoning_answer_tokens": by_token,
            "reasoning_weight": by_token if self.options.loss_mean == "token" else by_sample,
            "flops_paper": flops.train(self.config, *lengths, method="paper"),
            "flops_exact": flops.train(self.config, *lengths),
        }

    def totals(self, steps: list[Step]) -> dict[str, int]:
        """What some steps hold and cost together."""
        totals = dict.fromkeys(("samples", "tokens", "answer_tokens", *COSTS), 0)
        for step in steps:
            ledger = self.ledger(step)
            totals = {key: total + ledger[key] for key, total in totals.items()}
        return totals


def make_plan(options, config, pairs: Pairs, system_tokens: int, switch_tokens: int = 0) -> Plan:
    """The plan of a run. Raises hub.UserError where nothing is left or paid for."""
    o = options
    room = o.max_len - system_tokens - switch_tokens
    train, val, dropped = split(pairs, room, o.val, o.samples, o.seed)
    if not len(train):
        raise hub.UserError(
            f"--data {o.data}: {len(pairs.good)} pairs, of which {len(dropped)} are longer than"
            f" --max-len {o.max_len} and {len(val)} held out by --val {o.val}: none is left to"
            " train on; pass another --max-len or --val"
        )
    if o.samples and o.samples > len(train):
        raise hub.UserError(
            f"--samples {o.samples}: there are {len(train)} to train on; pass as many or fewer, or"
            " --epochs"
        )
    plan = Plan(o, config, pairs, system_tokens, train, val, dropped, [], switch_tokens)
    if o.flops_budget or o.match:
        plan.train = train[: afford(plan)]
    samples, is_reasoning = arrange(plan.train, o.format, o.ratio, o.seed, o.epochs)
    first = int((~is_reasoning).sum()) if o.restart else 0  # sequential: ift samples come first
    for phase in (slice(0, first), slice(first, None)):
        if len(samples[phase]):
            plan.steps += steps_of(plan, samples[phase], is_reasoning[phase])
    return plan


def steps_of(plan: Plan, samples: np.ndarray, is_reasoning: np.ndarray) -> list[Step]:
    """The steps of one schedule. A step's peak rate is that of its formats, mixed by their share.

    The share is rho in a mixed run and the step's own elsewhere: 0 or 1, but where sequential
    passes from ift to reasoning.
    """
    o, steps = plan.options, []
    low, high = (o.lr or SCALES[o.scale].lr[name] for name in ANSWERS)
    bounds = step_bounds(
        plan.lengths(samples, formats_of(is_reasoning))[0], o.batch, o.batch_tokens
    )
    shape = wsd(len(bounds) - 1, o.warmup, o.decay)
    for i, (a, b) in enumerate(zip(bounds, bounds[1:], strict=False)):
        share = o.ratio if o.format == "mixed" else is_reasoning[a:b].mean()
        lr = float((low + (high - low) * share) * shape[i])
        is_reset = i == 0 and bool(plan.steps)
        steps.append(plan.step(samples[a:b], is_reasoning[a:b], lr=lr, reset_optimizer=is_reset))
    return steps


def step_bounds(lengths: list[int], batch: int, batch_tokens: int | None = None) -> list[int]:
    """Bounds of the steps among samples of these lengths: `batch` each, the last maybe fewer.

    batch_tokens: instead, as many samples in a row as have so many tokens together, at least one.
    """
    if not batch_tokens:
        return [*range(0, len(lengths), batch), len(lengths)]
    bounds, tokens = [0], 0
    for i, length in enumerate(lengths):
        if i > bounds[-1] and tokens + length > batch_tokens:
            bounds.append(i)
            tokens = 0
        tokens += length
    return [*bounds, len(lengths)]


def wsd(steps: int, warmup: int | None = None, decay: int | None = None) -> list[float]:
    """Warm-up, stable, decay: each step's share of the peak. Linear up, linear down to 10 %."""
    warmup = min(150, steps // 20) if warmup is None else warmup
    decay = min(300, steps // 10) if decay is None else decay
    shares = []
    for i in range(steps):
        up = min(1.0, (i + 1) / max(1, warmup))
        left = min(1.0, (steps - 1 - i) / decay) if decay else 1.0
        shares.append(up * (0.1 + 0.9 * left))
    return shares


def afford(plan: Plan) -> int:
    """How many of the training rows a budget pays for, at the same rho.

    --flops-budget is in exact train FLOPs; --match flops or tokens (answer tokens) is the cost of
    all rows with their ift answers, and of no more than all rows.
    """
    o, totals = plan.options, {}
    for name, is_used in (("ift", o.ratio < 1 or o.match), ("reasoning", o.ratio > 0)):
        totals[name] = np.zeros(len(plan.train) + 1, dtype=object)  # Python ints: none overflows
        if is_used:
            lengths, answers = plan.lengths(plan.train, [name] * len(plan.train))
            costs = answers
            if o.match != "tokens":
                sizes = zip(lengths, answers, strict=True)
                costs = [flops.train(plan.config, [n], [a]) for n, a in sizes]
            totals[name][1:] = np.cumsum(np.array(costs, dtype=object))
    budget = o.flops_budget or o.epochs * totals["ift"][-1]
    counts = np.array([round(o.ratio * n) for n in range(len(plan.train) + 1)])  # who reason
    cost = o.epochs * (totals["reasoning"][counts] + totals["ift"] - totals["ift"][counts])
    if cost[-1] < budget and not o.match:
        raise hub.UserError(
            f"--flops-budget {budget:.3g}: {o.epochs} epoch(s) of all {len(plan.train):,} training"
            f" pairs cost {cost[-1]:.3g}; pass less, or --epochs"
            f" {math.ceil(budget / (cost[-1] / o.epochs))}"
        )
    count = int(np.flatnonzero(cost <= budget)[-1])
    if not count:
        raise hub.UserError(f"--flops-budget {budget:.3g}: one sample alone costs {cost[1]:.3g}")
    return count
