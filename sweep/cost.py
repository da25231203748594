"""What a trial of a study costs, before anything is downloaded, and where it fits.

cost = cost_of(o, trial)       # o: study.Options, trial: sweep.trials.Trial
"""

import dataclasses
import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import evaluate
import flops
from common import hub
from config import ANSWERS, CORPORA, SCALES, TEACHER, Config, Corpus
from data import rows
from data.benchmarks import ITEMS
from training import setup

METHODS = ("paper", "exact")  # of counting FLOPs
# Speed of one CPU core (LOG.md): FLOP/s in training and decoding, and the overhead in seconds of a
# step and of an evaluation. What a study measures then corrects its time left.
CORE = {"training": 5e10, "decoding": 2e10, "step": 5e-3, "evaluation": 1.0}


@dataclass(frozen=True)
class Cost:
    """Of one trial. FLOPs are sums of ints, which agree with flops.py to the digit."""

    samples: int
    tokens: int
    train: dict  # FLOPs by method
    answers: dict  # FLOPs of the evaluation by method
    devices: int  # GPUs, or cores
    memory: float  # bytes on each, or of the process
    disk: int  # bytes it leaves
    seconds: tuple[float, float]  # of training and evaluation on these devices, at an assumed speed
    is_estimate: bool  # from mean lengths, not from the pairs themselves

    @property
    def device_seconds(self) -> float:
        return self.devices * sum(self.seconds)


def cost_of(o, trial) -> Cost:
    """From the run's own plan where its pairs and base are on disk, else from mean lengths.

    Raises hub.UserError where the pairs or the options of train.py are wrong.
    """
    # a folder that does not exist, so that no finished run with other options is in the way
    t = dataclasses.replace(trial.training, out=f"{o.out}/none")
    if problems := setup.check_options(t, trial.origin):
        raise hub.UserError("\n".join(problems).replace(t.out, o.out))
    is_on_disk = not hub.is_hub_id(t.data) and (Path(t.data).exists() or not o.teacher)
    is_estimate = not is_on_disk or hub.is_hub_id(t.init)
    if is_estimate:
        config = SCALES[t.scale].config
        lengths = mean_lengths(t, config, corpus_of(t.data) if is_on_disk else published(t.data))
    else:
        config, lengths = true_lengths(setup.prepare(t, trial.origin))
    answers = answers_like(lengths, answer_count(trial))
    trained = [(n, [p + a], [a]) for (_, p, a), n in lengths.items()]
    train = {m: sum(n * flops.train(config, *x, method=m) for n, *x in trained) for m in METHODS}
    asked = [(n, p, a) for (p, a), n in answers.items()]
    inference = {m: sum(n * flops.inference(config, *x, m) for n, *x in asked) for m in METHODS}
    samples = sum(lengths.values())
    tokens = sum(n * length for n, [length], _ in trained)
    devices, memory = placement(o, t, config, tokens / samples)
    gpu = flops.PEAK[o.gpu] * o.mfu
    speed = dict(training=gpu, decoding=gpu, step=0.0, evaluation=0.0) if o.gpus else CORE
    training = speed["step"] * samples / t.batch + train["exact"] / speed["training"] / devices
    seconds = training, speed["evaluation"] + inference["exact"] / speed["decoding"] / devices
    disk = (2 if t.dtype == "bf16" or o.gpus else 4) * flops.parameters(config)
    disk += 8 * sum(n * (p + a) for n, p, a in asked)  # text of answers and scores
    return Cost(samples, tokens, train, inference, devices, memory, disk, seconds, is_estimate)


def teacher_flops(o, folders) -> dict:
    """FLOPs by method of a teacher's answers in both modes, for the pairs that do not exist yet."""
    teacher = TEACHER  # the paper's: the shape of another is not known before its download
    if Path(o.teacher).is_dir():
        teacher = Config.from_pretrained(o.teacher, mixtures=True, flag="--teacher")
    corpus = published("")
    sizes = [(corpus.tokens("prompt"), corpus.tokens(answer)) for answer in ANSWERS]
    missing = [folder for folder in folders if not Path(folder, "manifest.json").is_file()]
    count = len(missing) * corpus.pairs
    return {m: count * sum(flops.inference(teacher, *x, m) for x in sizes) for m in METHODS}


# ---- lengths: {(answer, prompt tokens, answer tokens): samples} ---------------------------------


def true_lengths(planned: setup.Setup) -> tuple[Config, Counter]:
    """The model and the lengths of a planned run's samples."""
    lengths = Counter()
    for step in planned.plan.steps:
        prompts = [n - a for n, a in zip(step.lengths, step.answer_lengths, strict=True)]
        lengths.update(zip(step.formats, prompts, step.answer_lengths, strict=True))
    return planned.config, lengths


def mean_lengths(t, config: Config, corpus: Corpus) -> Counter:
    """The lengths of a run in which every sample has the mean lengths of its corpus."""
    prompt, tokens = corpus.tokens("prompt"), {name: corpus.tokens(name) for name in ANSWERS}
    price = {name: flops.train(config, [prompt + n], [n]) for name, n in tokens.items()}
    price = tokens if t.match == "tokens" else price
    pairs = min(corpus.pairs, t.samples or corpus.pairs)
    if t.match or t.flops_budget:
        budget = t.flops_budget or pairs * t.epochs * price["ift"]
        mean = t.ratio * price["reasoning"] + (1 - t.ratio) * price["ift"]
        pairs = min(pairs, int(budget / mean / t.epochs))
    reasoning = round(t.ratio * pairs)
    counts = {"ift": t.epochs * (pairs - reasoning), "reasoning": t.epochs * reasoning}
    return Counter({(name, prompt, tokens[name]): n for name, n in counts.items() if n})


def published(data: str) -> Corpus:
    """The paper's corpus of that Hub id; for any other pairs not on disk, its general one."""
    return next((corpus for corpus in CORPORA.values() if corpus.data == data), CORPORA["general"])


@functools.cache
def corpus_of(data: str) -> Corpus:
    """Number and mean lengths of pairs on disk."""
    count, total = 0, Counter()
    for _, _, texts, problem in rows.check(rows.data_files(data)[0]):
        if texts and not problem:
            count += 1
            sizes = [len((text or "").encode()) for text in texts]
            total.update(dict(zip(("prompt", *ANSWERS), sizes, strict=True)))
    if not count:
        raise hub.UserError(f"--data {data}: no good pairs; python -m data.pairs {data} says why")
    means = {name: size / count for name, size in total.items()}
    return Corpus(data, count, means, CORPORA["general"].bytes_per_token)


# ---- the evaluation -----------------------------------------------------------------------------


def answer_count(trial) -> int:
    """Answers of one evaluation."""
    e = trial.evaluation
    sizes = [ITEMS[name] for name in evaluate.selected(e.benchmarks)]
    return e.samples * sum(min(size, e.limit or size) for size in sizes)


def answers_like(lengths: Counter, count: int) -> Counter:
    """{(prompt tokens, answer tokens): answers} of an evaluation with training's mean lengths."""
    answers = Counter()
    for name in ANSWERS:
        sizes = [(p, a, n) for (answer, p, a), n in lengths.items() if answer == name]
        if samples := sum(n for _, _, n in sizes):
            prompt = round(sum(p * n for p, _, n in sizes) / samples)
            answer = round(sum(a * n for _, a, n in sizes) / samples)
            answers[prompt, answer] += round(count * samples / sum(lengths.values()))
    return answers


# ---- the machine --------------------------------------------------------------------------------


def placement(o, t, config: Config, mean: float) -> tuple[int, float]:
    """(devices, bytes on each): the fewest GPUs that a run fits on, or cores of the CPU.

    mean: tokens of a sample.
    """
    recompute = t.checkpointing == "full"
    if not o.gpus:
        row = min(t.row_tokens, int(t.batch * mean) + 1)
        parts = flops.memory(config, row, 1, 4, recompute, 2**26)
        return 1 if flops.parameters(config) < 10**7 else o.cores, sum(parts.values())
    for ranks in (2**i for i in range(o.gpus.bit_length())):
        need = sum(flops.memory(config, t.row_tokens, ranks, 2, recompute).values())
        if fits(o, need):
            break
    return ranks, need


def fits(o, need: float) -> bool:
    """Whether so many bytes fit on the planned GPU, with a tenth to spare; the CPU may swap."""
    return not o.gpus or need <= 0.9 * flops.MEMORY[o.gpu]
