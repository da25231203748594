"""A cell of a study: one student, what it was made of, how far it is, and what it costs.

cost = cost_of(o, cell)        # o: study.Options; before anything is downloaded
state = state_of(o, cell)      # from what is on disk
"""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import evaluate
import flops
import train
from common import cli, files, hub
from config import ANSWERS, CORPORA, SCALES, TEACHER, Config, Corpus
from data import rows, toy
from data.benchmarks import ITEMS, TOY
from training import setup

# Of a CPU core, to plan small runs with: FLOP/s of training and of decoding, seconds of a step and
# of an evaluation besides (LOG.md); what a study has measured then corrects them.
CORE = {"training": 5e10, "decoding": 2e10, "step": 5e-3, "evaluation": 1.0}


@dataclass(frozen=True)
class Cell:
    name: str  # CORPUS/SCALE-ARM[-CONTROL]-sSEED: its folder in the study's
    corpus: str
    scale: str
    arm: str  # ift, reasoning, sequential-RHO or mixed-RHO
    control: str
    folder: str
    train: tuple[str, ...]  # arguments of train.py
    evaluate: tuple[str, ...]

    @property
    def row(self) -> tuple:
        """What its seeds share."""
        return (self.corpus, self.control, self.scale, self.arm)

    @functools.cached_property
    def learns(self):
        """(train.Options, origin)"""
        return train.parse(list(self.train))

    @functools.cached_property
    def asks(self):
        return cli.parse(evaluate.Options, list(self.evaluate), "", positional="model")[0]


@dataclass(frozen=True)
class Cost:
    """Of one cell; sums of ints, so that they agree with flops.py to the digit."""

    samples: int
    tokens: int
    train: dict  # FLOPs by method
    answers: dict  # FLOPs of the evaluation by method
    devices: int  # GPUs, or cores
    memory: float  # bytes on each, or of the process
    disk: int  # bytes it leaves
    seconds: tuple[float, float]  # training and evaluation on these devices, at an assumed speed
    is_estimate: bool  # from mean lengths, not from the pairs themselves


# ---- what a cell is made of, and how far it is ------------------------------------------------


def identity(data: str):
    """Tells pairs apart without reading them: their name on the Hub, or sizes and times."""
    if data == "toy":
        return hashlib.sha256(Path(toy.__file__).read_bytes()).hexdigest()
    try:
        return data if hub.is_hub_id(data) else rows.data_files(data)[1]
    except hub.UserError:
        return "missing"


def files_of(path: str):
    """The same for any file or folder; None where none is given."""
    if not path or path == "scratch" or hub.is_hub_id(path):
        return path or None
    here = Path(path).expanduser()
    files = [here] if here.is_file() else sorted(here.rglob("*"))
    return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]


def recipe(cell: Cell) -> dict:
    """All that a cell's weights, answers and scores depend on, but for the code and the Hub."""
    learns, asks, student = cell.learns[0], cell.asks, SCALES[cell.scale]
    names = evaluate.selected(asks.benchmarks)
    made = {
        "train": {
            **{k: v for k, v in vars(learns).items() if k not in setup.OF_THE_MACHINE},
            "rates": student.lr,
            "model": dataclasses.asdict(student.config) if learns.init == "scratch" else None,
            "base": files_of(learns.init),
            "pairs": identity(learns.data),
        },
        "answers": {
            **{name: getattr(asks, name) for name in evaluate.OF_THE_ANSWERS},
            "rows": [files_of(asks.data_dir), files_of(asks.ccsd)],
            "toy": identity("toy") if set(names) & set(TOY) else None,
        },
        "scores": {
            "benchmarks": names,
            **{name: getattr(asks, name) for name in ("limit", "samples", "judge")},
        },
    }
    return json.loads(json.dumps(made))


def stamp_file(o, cell: Cell) -> Path:
    return Path(o.out, "cells", f"{cell.name}.json")


def read_stamp(o, cell: Cell) -> dict:
    """{state: begun, done or failed; problem; made: its recipe}, or {} if it never began."""
    try:
        return json.loads(stamp_file(o, cell).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(o, cell: Cell, state: str, problem: str = ""):
    file = stamp_file(o, cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    stamp = {"state": state, "problem": problem, "made": recipe(cell)}
    files.write_atomic(file, json.dumps(stamp, indent=2) + "\n")


CHANGED = {"train": "train anew", "answers": "ask anew", "scores": "score anew"}


def state_of(o, cell: Cell) -> str:
    """done, failed, begun or to do; or what other options than those it was made by ask for."""
    before, has = read_stamp(o, cell), Path(cell.folder, "summary.json").is_file
    if not before:
        return "to do"  # train.py and evaluate.py refuse what others may have left there
    changed = [CHANGED[k] for k, made in recipe(cell).items() if before["made"].get(k) != made]
    if has() and not Path(cell.folder, "model").is_dir() and (changed or before["state"] != "done"):
        return CHANGED["train"]  # there is nothing left to ask
    if changed:
        return changed[0]
    return before["state"] if before["state"] != "done" or has() else "to do"


def set_aside(o, cell: Cell, state: str):
    """Moves what other options have made out of the way, to replaced/ in the study's folder."""
    folder = Path(cell.folder)
    what = {
        CHANGED["train"]: [folder],
        CHANGED["answers"]: [folder / name for name in ("answers", "scores", "scores.json")],
        CHANGED["scores"]: [folder / name for name in ("scores", "scores.json")],
    }
    for path in what.get(state, ()):
        if path.exists():
            place = Path(o.out, "replaced", path.relative_to(o.out))
            place.parent.mkdir(parents=True, exist_ok=True)
            places = (Path(f"{place}.{number}") for number in itertools.count(1))
            path.rename(next(free for free in places if not free.exists()))


def progress(cell: Cell, cost: Cost) -> float:
    """The share of a cell's time that is behind it, as its cost counts time."""
    folder, learning = Path(cell.folder), cost.seconds[0] / sum(cost.seconds)
    try:
        steps = json.loads((folder / "config.json").read_text(encoding="utf-8"))["plan"]["steps"]
        done = (folder / "metrics.jsonl").read_bytes().count(b"\n")
        answers = sum(file.read_bytes().count(b"\n") for file in folder.glob("answers/*.jsonl"))
    except (OSError, ValueError, KeyError):
        return 0.0
    return learning * done / steps + (1 - learning) * min(1, answers / asked(cell))


# ---- what it costs ----------------------------------------------------------------------------


def asked(cell: Cell) -> int:
    """Answers of one evaluation."""
    sizes = [ITEMS[name] for name in evaluate.selected(cell.asks.benchmarks)]
    return cell.asks.samples * sum(min(size, cell.asks.limit or size) for size in sizes)


def cost_of(o, cell: Cell) -> Cost:
    """From the run's own plan where its pairs and base are here, else from mean lengths.

    Raises hub.UserError where the pairs or the options of train.py are wrong.
    """
    t, origin = train.parse([*cell.train, "--out", f"{o.out}/none"])  # a run that is there, too
    if problems := setup.check_options(t, origin):
        raise hub.UserError("\n".join(problems).replace(f"{o.out}/none", o.out))
    is_to_be_made = o.teacher and not Path(t.data).exists()
    is_here = not hub.is_hub_id(t.data) and not is_to_be_made
    is_estimate = not is_here or hub.is_hub_id(t.init)
    if is_estimate:
        config, lengths = estimated(t, corpus_of(t.data) if is_here else known_corpus(t.data))
    else:
        config, lengths = measured(setup.prepare(t, origin))
    methods, answers = ("paper", "exact"), answers_like(lengths, asked(cell))
    learning = {
        m: sum(n * flops.train(config, [p + a], [a], method=m) for (_, p, a), n in lengths.items())
        for m in methods
    }
    answering = {
        m: sum(n * flops.inference(config, p, a, m) for (p, a), n in answers.items())
        for m in methods
    }
    samples = sum(lengths.values())
    tokens = sum(n * (p + a) for (_, p, a), n in lengths.items())
    devices, memory = placed(o, t, config, tokens / samples)
    if o.gpus:
        rate = devices * flops.PEAK[o.gpu] * o.mfu
        seconds = (learning["exact"] / rate, answering["exact"] / rate)
    else:
        steps = samples / t.batch
        seconds = (
            steps * CORE["step"] + learning["exact"] / CORE["training"] / devices,
            CORE["evaluation"] + answering["exact"] / CORE["decoding"] / devices,
        )
    weights = (2 if t.dtype == "bf16" or o.gpus else 4) * flops.parameters(config)
    text = 8 * sum(n * (p + a) for (p, a), n in answers.items())  # answers, and their scores
    return Cost(
        samples, tokens, learning, answering, devices, memory, weights + text, seconds, is_estimate
    )


def teaching(o, folders) -> dict:
    """FLOPs by method of a teacher's answers in both modes, for the pairs that are not made yet."""
    if Path(o.teacher).is_dir():
        teacher = Config.from_pretrained(o.teacher, mixtures=True, flag="--teacher")
    else:
        teacher = TEACHER  # the paper's; another's is not known before it is here
    found, corpus = dict.fromkeys(("paper", "exact"), 0), known_corpus("")
    answers = {format: corpus.tokens(format) for format in ANSWERS}
    for method in found:
        book = flops.ledger(SCALES["0.5b"].config, corpus.pairs, corpus.tokens("prompt"), answers,
                            "ift", teacher=teacher, method=method)  # fmt: skip
        missing = [f for f in folders if not Path(f, "manifest.json").is_file()]
        found[method] = len(missing) * book["generation"]
    return found


def measured(run) -> tuple[Config, Counter]:
    """(model, {(format, prompt tokens, answer tokens): samples}) of a planned run."""
    lengths = Counter()
    for step in run.plan.steps:
        tokens, answers = run.plan.lengths(step.samples, step.formats)
        prompts = [n - a for n, a in zip(tokens, answers, strict=True)]
        lengths.update(zip(step.formats, prompts, answers, strict=True))
    return run.config, lengths


def estimated(t, corpus: Corpus) -> tuple[Config, Counter]:
    """The same with every sample of its corpus's mean length."""
    config, prompt = SCALES[t.scale].config, corpus.tokens("prompt")
    answer = {format: corpus.tokens(format) for format in ANSWERS}
    price = {
        f: n if t.match == "tokens" else flops.train(config, [prompt + n], [n])
        for f, n in answer.items()
    }
    pairs = min(corpus.pairs, t.samples or corpus.pairs)
    mean = t.ratio * price["reasoning"] + (1 - t.ratio) * price["ift"]
    if t.match or t.flops_budget:
        budget = t.flops_budget or pairs * t.epochs * price["ift"]
        pairs = min(pairs, int(budget / mean / t.epochs))
    reasons = round(t.ratio * pairs)
    counts = {"ift": t.epochs * (pairs - reasons), "reasoning": t.epochs * reasons}
    return config, Counter({(f, prompt, answer[f]): n for f, n in counts.items() if n})


def known_corpus(data: str) -> Corpus:
    """The paper's corpus of that name; for pairs that nobody has seen yet, its general one."""
    return next((corpus for corpus in CORPORA.values() if corpus.data == data), CORPORA["general"])


@functools.cache
def corpus_of(data: str) -> Corpus:
    """Counts and mean lengths of pairs on this disk."""
    count, total = 0, Counter()
    for _, _, texts, wrong in rows.check(rows.data_files(data)[0]):
        if texts and not wrong:
            count += 1
            sizes = (len((text or "").encode()) for text in texts)
            total.update(dict(zip(("prompt", *ANSWERS), sizes, strict=True)))
    if not count:
        raise hub.UserError(f"--data {data}: no good pairs; python -m data.pairs {data} says why")
    means = {name: size / count for name, size in total.items()}
    return Corpus(data, count, means, CORPORA["general"].bytes_per_token)


def answers_like(lengths: Counter, count: int) -> Counter:
    """{(prompt tokens, answer tokens): answers} of an evaluation with training's mean lengths."""
    found, samples = Counter(), sum(lengths.values())
    for format in ANSWERS:
        mine = {(p, a): n for (f, p, a), n in lengths.items() if f == format}
        if share := sum(mine.values()):
            mean = tuple(round(sum(k[i] * n for k, n in mine.items()) / share) for i in (0, 1))
            found[mean] += round(count * share / samples)
    return found


def placed(o, t, config: Config, mean: float) -> tuple[int, float]:
    """(devices, bytes on each): the fewest GPUs that a run fits on, or cores of the CPU."""
    is_recomputing = t.checkpointing == "full"
    if not o.gpus:
        row = min(t.row_tokens, int(t.batch * mean) + 1)
        need = sum(flops.memory(config, row, 1, 4, is_recomputing, 2**26).values())
        return (1 if flops.parameters(config) < 10**7 else o.cores), need
    ranks = 1
    while True:
        need = sum(flops.memory(config, t.row_tokens, ranks, 2, is_recomputing).values())
        if fits(o, need) or 2 * ranks > o.gpus:
            return ranks, need
        ranks *= 2


def fits(o, need: float) -> bool:
    """Whether so many bytes fit on the planned GPU, with a tenth to spare; the CPU may swap."""
    return not o.gpus or need <= 0.9 * flops.MEMORY[o.gpu]
