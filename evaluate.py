"""Asks one checkpoint the 18 benchmarks and scores its answers.

    python evaluate.py runs/3b-ift-s0 --ccsd ccsd/test.jsonl          # all 18, one from a file
    python evaluate.py runs/toy-m-reasoning-s0 --benchmarks toy       # a laptop, seconds
    python evaluate.py Qwen/Qwen2.5-3B --shots 3 --out runs/3b-base --benchmarks math-oe,squad
    python evaluate.py runs/3b-ift-s0 --rescore                       # cached answers, no model

Writes, in the run folder or --out: answers/BENCHMARK.jsonl (one line an answer, as they come),
scores/BENCHMARK.jsonl, scores.json, scores.csv, and the run's summary.json. The same command
resumes; answers of another checkpoint or other options are refused.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tqdm import tqdm

import engine
import scoring
from common import cli, files, hub
from config import Config, Mixture
from data import benchmarks
from data import items as testsets
from data.benchmarks import BENCHMARKS, STUDY, TASK_FAMILIES, TOY, Item
from data.chat import Chat, load_tokenizer
from engine.request import Completion, Request, Sampling
from scoring import jury, score, scoreboard
from scoring.scoreboard import key_of, read_json

BASE_MAX_NEW = 2048  # tokens of a base model's answer, which knows no end
GROUPS = {"all": STUDY, "hub": [n for n in STUDY if BENCHMARKS[n].source], "toy": TOY}
GROUPS |= {f: [n for n in STUDY if BENCHMARKS[n].family == f] for f in TASK_FAMILIES}
NAMES = cli.OneOf([*GROUPS, *BENCHMARKS], several=True)


# ---- options -------------------------------------------------------------------------------------


@dataclass
class Options:
    # what is asked, and of which model
    model: cli.Required = cli.positional("")  # run folder, model folder or Hub id
    benchmarks: Annotated[str, NAMES] = (
        "all"  # names and groups, with commas; hub: the 17 that are on it
    )
    data_dir: str | None = None  # folder of BENCHMARK.jsonl, rows as on the Hub (default: the Hub)
    ccsd: str | None = None  # JSONL of c_code_summarization, not on the Hub: all needs it
    coqa: Literal["first", "last", "all"] = "first"  # turns asked of a story, with their history
    limit: cli.Positive | None = None  # items of each benchmark, a seeded sample (default: all)
    shots: cli.NonNegative = 0  # worked demonstrations, without chat markup: 3 for base models
    system: str | None = None  # system prompt (default: the run's)
    seed: cli.NonNegative = 0  # seed of the sample of items, and of sampled answers
    out: str | None = None  # folder to write (default: the run folder, or runs/NAME)
    # how it answers
    max_new: cli.Positive = 16384  # tokens of an answer at most (default: 16384, with --shots 2048)
    samples: cli.Positive = 1  # answers to each item
    temperature: cli.AtLeast0 = 0.0  # of sampling; 0: greedy
    top_p: Annotated[float, cli.Range(0, 1, is_open=True)] = 1.0  # probability mass sampled from
    top_k: cli.NonNegative = 0  # most probable tokens sampled from; 0: all
    min_p: cli.Share = 0.0  # least probability sampled from, as a share of the largest
    # the machine
    engine: Literal["auto", "vllm", "torch", "server"] = "auto"  # auto: vllm on a GPU, else torch
    device: Literal["cpu", "cuda"] | None = (
        None  # torch: of the model (default: cuda where there is one)
    )
    dtype: Literal["bf16", "fp32"] | None = (
        None  # of the weights (default: bf16 on a GPU, else fp32)
    )
    batch: cli.Positive | None = None  # answers at a time (default: torch 16, vllm 256, server 64)
    tensor_parallel: cli.Positive = 1  # vllm: GPUs of an engine
    data_parallel: cli.Positive = 1  # vllm: engines
    url: str | None = None  # server: its OpenAI interface, like http://localhost:8000/v1
    served_name: str | None = None  # server: the model's name there (default: MODEL)
    # scores
    rescore: bool = False  # score the answers on disk; reads no model
    judge: str | None = None  # one or three judges, joined by commas: a model, or NAME@URL


# What makes answers incomparable; limit, samples and the engine do not.
SAMPLING_OPTIONS = ("temperature", "top_p", "top_k", "min_p")
ANSWER_OPTIONS = ("shots", "system", "seed", "max_new", "coqa", *SAMPLING_OPTIONS)
JUDGE_OPTIONS = ("device", "dtype", "tensor_parallel", "data_parallel")  # of a judge's engine
ENGINE_OPTIONS = (*JUDGE_OPTIONS, "batch", "url")


def check_options(o: Options) -> list[str]:
    """What is wrong with the options alone, one line a case."""
    problems = cli.Problems(cli.check(o))
    is_greedy = o.samples != 1 and o.temperature == 0
    problems.add(is_greedy, f"--samples {o.samples}: greedy answers are alike; --temperature 0.6")
    is_server = o.engine == "server"
    problems.add(is_server != bool(o.url), "--engine server and --url http://HOST/v1 go together")
    is_odd = o.judge and len(cli.words(o.judge)) not in (1, 3)
    problems.add(is_odd, f"--judge {o.judge}: one judge, or three with commas")
    return problems


def selected(text: str) -> list[str]:
    """Names of benchmarks from names, families, all, hub and toy, in the table's order."""
    if problem := NAMES.problem("--benchmarks", text):
        raise hub.UserError(problem)
    names = {name for word in cli.words(text) for name in GROUPS.get(word, [word])}
    return [name for name in BENCHMARKS if name in names]


# ---- what is known before an engine is opened ----------------------------------------------------


@dataclass
class Evaluation:
    """What is asked of which model, and where the answers are kept."""

    options: Options
    folder: Path  # where to write
    model: Path | None  # None: --rescore
    config: Config
    chat: Chat | None
    items: dict[str, list[Item]]  # by benchmark
    demos: dict[str, list[dict]]  # rows to choose demonstrations from, by benchmark
    settings: dict  # answers/settings.json


def prepare(o: Options) -> Evaluation:
    """Reads and checks everything but the weights. Raises hub.UserError with all that is wrong."""
    problems = cli.Problems(check_options(o))
    names = [] if problems else selected(o.benchmarks)
    run = Path(o.model).expanduser()
    is_run = (run / "model").is_dir() or (run / "metrics.jsonl").is_file()
    folder = Path(o.out or (run if is_run else f"runs/{run.name}")).expanduser()
    if is_run and o.system is None:
        record = problems.attempt(read_json, run / "config.json") or {}
        o.system = record.get("options", {}).get("system")
    o.system = o.system or ""
    for judge in cli.words(o.judge or ""):
        problems.attempt(jury.reader, judge.partition("@")[0])
    earlier = ("answers/settings.json", "summary.json", "scores.json")
    before, *_ = [problems.attempt(read_json, folder / name) or {} for name in earlier]
    model = config = chat = None
    if o.rescore:
        names = [n for n in names if before and (folder / f"answers/{n}.jsonl").is_file()]
        problems.add(not problems and not names, f"--rescore: no answers in {folder}/answers")
        config = recall(o, before) if names else None
    elif o.model:
        source = str(run / "model") if is_run else o.model
        patterns = (*hub.TOKENIZER_FILES, *(() if o.engine == "server" else hub.WEIGHT_FILES))
        model = problems.attempt(hub.fetch, source, files=patterns, flag="MODEL")
    if model:
        config = problems.attempt(Config.from_pretrained, model, mixtures=True)
        chat = problems.attempt(lambda: Chat(load_tokenizer(model, "MODEL")[0]))
    if problems and not o.data_dir:
        names = []  # no download for a command that cannot run
    items, demos, hashes = read_items(o, names, problems)
    problems.raise_any()
    settings = {**before, "data": {**before.get("data", {}), **hashes}}
    if not o.rescore:
        o.max_new = min(o.max_new, BASE_MAX_NEW) if o.shots else o.max_new
        settings |= {
            "model": o.model,
            "weights": hub.fingerprint(model, patterns, f"{o.url or ''} {o.served_name or ''}"),
            "config": dataclasses.asdict(config),
            "options": {name: getattr(o, name) for name in ANSWER_OPTIONS},
            "data_dir": o.data_dir and str(Path(o.data_dir).absolute()),
            "ccsd": o.ccsd and str(Path(o.ccsd).absolute()),
            "engine": before.get("engine"),
            "commit": cli.git_commit(),
        }
    check_same(folder, before or settings, settings)
    return Evaluation(o, folder, model, config, chat, items, demos, settings)


def recall(o: Options, before: dict) -> Config:
    """Sets the options that the answers on disk were asked with; the config of their model."""
    for name in ANSWER_OPTIONS:
        setattr(o, name, before["options"][name])
    o.data_dir, o.ccsd = o.data_dir or before["data_dir"], o.ccsd or before["ccsd"]
    return (Mixture if "num_experts" in before["config"] else Config)(**before["config"])


def read_items(o: Options, names: list[str], problems: cli.Problems) -> tuple[dict, dict, dict]:
    """By benchmark: items, rows for demonstrations, and a hash of all rows.

    Once the Hub cannot be reached it is not asked again: every try is a long wait.
    """
    items, demos, hashes, unreached = {}, {}, {}, []
    for name in names:
        if unreached and not o.data_dir and BENCHMARKS[name].source:
            unreached.append(name)
            continue
        try:
            loaded = testsets.load(name, o.data_dir, o.ccsd, o.coqa)
            if o.shots and name != "ifeval" and name not in TOY:
                demos[name] = testsets.demonstrations(name, o.shots, loaded, o.data_dir)
                loaded = loaded if BENCHMARKS[name].demos else loaded[o.shots :]
        except hub.UserError as error:
            problems.append(str(error))
            unreached += [name] if isinstance(error, hub.Unreachable) else []
            continue
        problems += unscorable(name, loaded)
        rows = json.dumps([item.row for item in loaded], sort_keys=True, default=str)
        hashes[name] = hashlib.sha256(rows.encode()).hexdigest()
        items[name] = testsets.limited(name, loaded, o.limit, o.seed)
    others = ", ".join(f"DIR/{name}.jsonl" for name in unreached[1:])
    problems.add(others, f"the Hub was not asked for the others: {others}")
    return items, demos, hashes


def unscorable(name: str, items: list[Item]) -> list[str]:
    """The rows that no answer can be scored against, as one problem."""
    found = []
    for item in items:
        try:
            score(name, item.row, "")
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            found.append(f"{item.id}: {error}")
    more = [f"... and {len(found) - 3} rows more"] if len(found) > 3 else []
    return (
        ["\n  ".join([f"{name}: rows that cannot be scored", *found[:3], *more])] if found else []
    )


def check_same(folder: Path, before: dict, now: dict):
    """Raises hub.UserError where the answers in `folder` are of other settings than these."""
    pairs = [("weights", before["weights"], now["weights"])]
    pairs += [(cli.flag(n), before["options"].get(n), now["options"][n]) for n in ANSWER_OPTIONS]
    pairs += [(f"rows of {n}", rows, now["data"][n]) for n, rows in before["data"].items()]
    changed = [
        f"  {what}: {str(a)[:60]} there, {str(b)[:60]} here" for what, a, b in pairs if a != b
    ]
    if changed:
        head = f"--out {folder}: its answers are of another checkpoint, options or data"
        raise hub.UserError("\n".join([f"{head}; pass those, or another --out", *changed]))


# ---- answers -------------------------------------------------------------------------------------


def read_answers(file: Path) -> dict[tuple[str, int], dict]:
    """The answers of a file by (id, sample)."""
    columns = {"id": str, "output": str, "prompt_tokens": int, "generated_tokens": int}
    return {key_of(row): row for row in scoreboard.read_lines(file, columns)}


def prompt_ids(e: Evaluation, name: str, item: Item) -> tuple[str, list[int]]:
    """What is asked, as text and as ids."""
    if not e.options.shots:
        text = benchmarks.prompt(name, item.row)
        return text, e.chat.prompt(text, e.options.system)
    demos = testsets.chosen(name, item.row, e.demos.get(name, []), e.options.shots)
    text = benchmarks.few_shot(name, item.row, demos)
    return text, e.chat.encode(text)


def to_ask(e: Evaluation, answers: dict) -> tuple[list[Request], list[Completion], dict]:
    """The requests that have no answer yet, the answers to prompts longer than the context, and
    (benchmark, item id, sample, prompt) of both by request id.

    An item longer than the context is answered with nothing: truncated, wrong, and counted.
    """
    o, context = e.options, e.config.max_position_embeddings
    requests, too_long, asked, clamped = [], [], {}, 0
    settings = {name: getattr(o, name) for name in SAMPLING_OPTIONS}
    settings["stop_ids"] = tuple(e.chat.stop_ids)
    for name, item in [(name, item) for name, items in e.items.items() for item in items]:
        missing = [i for i in range(o.samples) if (item.id, i) not in answers[name]]
        if not missing:
            continue
        text, ids = prompt_ids(e, name, item)
        openings = benchmarks.openings(name, item.row) if o.shots else ()
        settings["stop"] = tuple(f"\n{opening}" for opening in openings)
        room = context - len(ids)  # for the answer
        clamped += 0 < room < o.max_new
        for sample in missing:
            key = f"{name}/{item.id}/{sample}"
            asked[key] = (name, item.id, sample, text)
            if room < 1:
                too_long.append(Completion(key, "", [], "length", len(ids), 0))
                continue
            seed = int.from_bytes(hashlib.sha256(f"{o.seed} {key}".encode()).digest()[:4])
            requests.append(Request(key, ids, Sampling(min(o.max_new, room), **settings), seed))
    if clamped:
        print(f"{clamped} prompts leave less than {o.max_new} tokens of the context {context}")
    if too_long:
        counts = Counter(asked[completion.id][0] for completion in too_long)
        counts = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"longer than the context of {context} tokens, counted as truncated: {counts}")
    return requests, too_long, asked


def answer(e: Evaluation) -> dict[str, dict]:
    """Every answer by benchmark and (id, sample): those on disk, and the missing ones asked now."""
    o, folder = e.options, e.folder / "answers"
    answers = {name: read_answers(folder / f"{name}.jsonl") for name in e.items}
    if o.rescore:
        o.samples = 1 + max((sample for keys in answers.values() for _, sample in keys), default=0)
        return answers
    requests, too_long, asked = to_ask(e, answers)
    for completion in itertools.chain(complete(e, requests), too_long):
        name, item, sample, prompt = asked[completion.id]
        row = {"id": item, "sample": sample} if o.samples > 1 else {"id": item}
        row |= {"prompt": prompt, "output": completion.text}
        row |= {key: getattr(completion, key) for key in scoreboard.COUNTED}
        scoreboard.append_line(folder / f"{name}.jsonl", row)
        answers[name][item, sample] = row
    for name, items in e.items.items():  # in the order of the items, whatever came first
        order = {item.id: i for i, item in enumerate(items)}
        keys = sorted(answers[name], key=lambda key: (order.get(key[0], len(order)), *key))
        if keys != list(answers[name]):
            lines = "".join(json.dumps(answers[name][key]) + "\n" for key in keys)
            files.write_atomic(folder / f"{name}.jsonl", lines)
    return answers


def complete(e: Evaluation, requests: list[Request]) -> Iterator[Completion]:
    """The student's completions. Its engine is recorded in answers/settings.json."""
    o = e.options
    if not requests:
        record_engine(e, e.settings["engine"])
        return
    model = (o.served_name or o.model) if o.engine == "server" else str(e.model)
    with engine.load(o.engine, model, **engine_settings(o, ENGINE_OPTIONS)) as student:
        record_engine(e, student.name)
        yield from with_progress(student.complete(requests), len(requests), "answers")


def record_engine(e: Evaluation, name: str | None):
    """Raises hub.UserError rather than mix the answers of two engines in one folder."""
    before = e.settings["engine"]
    if before and before != name:
        raise hub.UserError(
            f"--out {e.folder}: its answers are by {before}, this is {name}; pass another --out"
        )
    e.settings["engine"] = name
    files.write_atomic(e.folder / "answers/settings.json", json.dumps(e.settings, indent=2) + "\n")


def engine_settings(o: Options, names: tuple[str, ...]) -> dict:
    """Those of the options that are given; the engine has defaults for the others."""
    return {name: getattr(o, name) for name in names if getattr(o, name) is not None}


def with_progress(completions: Iterator[Completion], count: int, label: str):
    pause = 0.1 if sys.stderr.isatty() else 30  # seconds between lines of progress
    return tqdm(completions, label, count, mininterval=pause)


# ---- scores --------------------------------------------------------------------------------------


def score_all(e: Evaluation, answers: dict) -> tuple[dict[str, list[dict]], dict[tuple, str]]:
    """The rows of scores/, by benchmark, of the items that have answers; the texts judged, by
    (benchmark, id, sample).

    charged_tokens: those of the answer's own turn, by its share of the characters.
    """
    scores, texts = {}, {}
    for name, items in e.items.items():
        for item, sample in itertools.product(items, range(e.options.samples)):
            if (reply := answers[name].get((item.id, sample))) is None:
                continue  # --rescore of fewer items
            output, is_plain = reply["output"], e.options.shots > 0
            output = scoring.own_turn(name, item.row, output) if is_plain else output
            texts[name, item.id, sample] = text = scoring.judged(name, output, is_plain)
            row = {"id": item.id, "gold": BENCHMARKS[name].gold(item.row)}
            row |= dataclasses.asdict(score(name, item.row, text))
            row |= {key: reply[key] for key in scoreboard.COUNTED}
            share = len(output) / len(reply["output"]) if output else not reply["output"]
            row["charged_tokens"] = math.ceil(share * reply["generated_tokens"])
            row["finish_reason"] = reply["finish_reason"] if share == 1 else "stop"
            row["opened_think"] = reply["output"].lstrip().startswith("<think>")
            row |= {"sample": sample} if e.options.samples > 1 else {}
            scores.setdefault(name, []).append(row)
    return scores, texts


def ask_judge(o: Options, spec: str, prompts: dict[tuple, list[int]], stop_ids: list[int]):
    """Yields (key, text, engine's name) as a judge answers the prompts that fit its context."""
    name, _, url = spec.partition("@")
    kind = "server" if url else "auto" if o.engine == "server" else o.engine
    settings = {"url": url} if url else engine_settings(o, JUDGE_OPTIONS)
    sampling = Sampling(jury.MAX_NEW, stop_ids=tuple(stop_ids))
    with engine.load(kind, name, **settings) as judge:
        fits = {str(i): key for i, key in enumerate(prompts) if len(prompts[key]) < judge.context}
        requests = [Request(number, prompts[key], sampling) for number, key in fits.items()]
        for completion in with_progress(judge.complete(requests), len(requests), name):
            yield fits[completion.id], completion.text, judge.name


@cli.run
def main(arguments: list[str] | None = None):
    o, _ = cli.parse(Options, arguments, __doc__)
    e = prepare(o)
    with files.exclusive(e.folder / "answers"):
        # ---- answers
        answers = answer(e)

        # ---- scores: by the rules, which nothing can stop, then by a jury
        scores, texts = score_all(e, answers)
        if not scores:
            raise hub.UserError(f"--rescore: no answers to {o.benchmarks} in {e.folder}")
        changed = scoreboard.changes(e.folder, scores)
        if o.rescore or changed:
            print("\n".join(changed or ["no verdict changed"]))
        table = scoreboard.write(e.folder, e.settings, scores, e.config)
        if o.judge:
            ask, judges = functools.partial(ask_judge, o), cli.words(o.judge)
            print(jury.judge(judges, e.folder, e.items, texts, scores, ask))
            table = scoreboard.write(e.folder, e.settings, scores, e.config, o.judge)
        print(table)


if __name__ == "__main__":
    sys.exit(main())
