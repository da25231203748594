"""Asks one checkpoint the 18 benchmarks and scores its answers.

    python evaluate.py runs/3b-ift-s0 --ccsd ccsd/test.jsonl          # all 18, but one from the Hub
    python evaluate.py runs/toy-m-reasoning-s0 --benchmarks toy       # a laptop, seconds
    python evaluate.py Qwen/Qwen2.5-3B --shots 3 --out runs/3b-base --benchmarks math-oe,squad
    python evaluate.py runs/3b-ift-s0 --rescore                     # no model: cached answers

Writes, in the run folder or --out: answers/BENCHMARK.jsonl (one line an answer, as they come),
scores/BENCHMARK.jsonl, scores.json, scores.csv, and the run's summary.json. The same command goes
on where it was stopped; answers of another checkpoint or other options are refused.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import engine
from common import cli, files, hub
from config import Config, Mixture
from data import benchmarks
from data import items as testsets
from data.benchmarks import BENCHMARKS, FAMILIES, STUDY, TOY, Item
from data.chat import Chat, load_tokenizer
from engine.request import Request, Sampling
from scoring import jury, score, scoreboard, stated

BASE_MAX_NEW = 2048  # tokens of a base model's answer, which knows no end


@dataclass
class Options:
    # what is asked, and of whom
    model: str = ""  # run folder, model folder or Hub id
    benchmarks: str = (
        "all"  # names, families like math-oe, all, hub (those on it) or toy, with commas
    )
    data_dir: str = ""  # folder of BENCHMARK.jsonl, rows as the Hub has them (default: the Hub)
    ccsd: str = ""  # JSONL of c_code_summarization, which is not on the Hub
    coqa: str = "first"  # turns asked of every story: first, last or all, with their history
    limit: int | None = None  # items of each benchmark, a seeded sample (default: all)
    shots: int = 0  # worked demonstrations, as plain text without chat markup: 3 for base models
    system: str | None = None  # system prompt (default: the run's)
    seed: int = 0  # of the sample of items, and of sampled answers
    out: str = ""  # where to write (default: the run folder, or runs/NAME)
    # how it answers
    max_new: int = 16384  # tokens of an answer at most; what the context leaves, if less
    samples: int = 1  # answers to each item
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    # the machine
    engine: str = "auto"  # vllm, torch, server; auto: vllm where it and a GPU are, else torch
    device: str = ""  # torch: cpu or cuda
    dtype: str = ""  # bf16 or fp32 (default: bf16 on a GPU)
    batch: int = 0  # answers in flight (default: the engine's)
    tensor_parallel: int = 1  # vllm: GPUs an engine
    data_parallel: int = 1  # vllm: engines
    url: str = ""  # server: of its OpenAI interface, like http://localhost:8000/v1
    served: str = ""  # server: the model's name there (default: as given here)
    # scores
    rescore: bool = False  # score the answers that are there; reads no model
    judge: str = ""  # one or three judges, joined by commas: a model, or NAME@URL of a server
    judge_max_new: int = 4096  # tokens of a judge's answer at most


# What makes answers incomparable; limit, samples and the machine do not.
OF_THE_ANSWERS = ("shots", "system", "seed", "max_new", "coqa", "temperature", "top_p", "top_k",
                  "min_p")  # fmt: skip
OF_THE_MACHINE = ("device", "dtype", "batch", "tensor_parallel", "data_parallel", "url")


@dataclass
class Plan:
    """All that is known before an engine is opened."""

    options: Options
    folder: Path  # where to write
    model: Path | None  # None: --rescore
    config: Config
    chat: Chat | None
    items: dict[str, list[Item]]  # by benchmark
    demos: dict[str, list[dict]]
    settings: dict  # answers/settings.json


# ---- plan -----------------------------------------------------------------------------------


def prepare(o: Options) -> Plan:
    """Reads and checks everything but the weights; hub.UserError lists all that is wrong."""
    problems = check_options(o)
    o.max_new = min(o.max_new, BASE_MAX_NEW) if o.shots else o.max_new

    def attempt(work, *arguments, **named):
        try:
            return work(*arguments, **named)
        except hub.UserError as error:
            problems.append(str(error))

    names = attempt(selected, o.benchmarks) or []
    run = Path(o.model).expanduser()
    is_run = (run / "model").is_dir() or (run / "metrics.jsonl").is_file()
    source = str(run / "model") if is_run else o.model
    folder = Path(o.out or (run if is_run else f"runs/{run.name}")).expanduser()
    if is_run and o.system is None and (run / "config.json").is_file():
        record = read_json(run / "config.json", problems)
        o.system = record.get("options", {}).get("system", "")
    o.system = o.system or ""
    for name in filter(None, o.judge.split(",")):
        attempt(jury.reader, name.partition("@")[0])
    for name in ("summary.json", "scores.json"):
        if (folder / name).is_file():
            read_json(folder / name, problems)
    file, model, config, chat = folder / "answers/settings.json", None, None, None
    before = read_json(file, problems) if file.is_file() else {}
    if o.rescore and not before and not problems:
        problems.append(f"--rescore: no answers in {folder}/answers; leave --rescore out first")
    elif o.rescore and before:
        fields = before["config"]
        config = (Mixture if "num_experts" in fields else Config)(**fields)
        for name in OF_THE_ANSWERS:  # as they were when the answers were made
            setattr(o, name, before["options"][name])
        o.data_dir, o.ccsd = o.data_dir or before["data_dir"], o.ccsd or before["ccsd"]
        names = [name for name in names if (file.parent / f"{name}.jsonl").is_file()]
        if not names:
            problems.append(f"--rescore: no answers to {o.benchmarks} in {file.parent}")
    elif o.model:
        read = (*hub.TOKENIZER_FILES, *(() if o.engine == "server" else hub.WEIGHT_FILES))
        model = attempt(hub.fetch, source, files=read, flag="MODEL")
        config = model and attempt(Config.from_pretrained, model, mixtures=True)
        tokenizer = model and attempt(load_tokenizer, model, "MODEL")
        chat = tokenizer and attempt(Chat, tokenizer[0])
    if problems and not o.data_dir:
        names = []  # no download for a command that cannot run
    items, demos, content = read_items(o, names, problems)
    if model and config and not problems:
        settings = {
            "model": o.model,
            "weights": hub.fingerprint(model, read, f"{o.url} {o.served}"),
            "config": dataclasses.asdict(config),
            "options": {name: getattr(o, name) for name in OF_THE_ANSWERS},
            "data": {**before.get("data", {}), **content},
            "data_dir": o.data_dir and str(Path(o.data_dir).absolute()),
            "ccsd": o.ccsd and str(Path(o.ccsd).absolute()),
            "engine": before.get("engine"),
            "commit": cli.git_commit(),
        }
    else:
        settings = {**before, "data": {**before.get("data", {}), **content}}
    if before and not problems:
        problems += differences(folder, before, settings, content)
    if problems:
        raise hub.UserError("\n".join(problems))
    return Plan(o, folder, model, config, chat, items, demos, settings)


def read_items(o: Options, names: list[str], problems: list[str]) -> tuple[dict, dict, dict]:
    """By benchmark: items, demonstrations, and a hash of all rows; what is wrong joins `problems`.

    Once the Hub cannot be reached it is not asked again: every try is a long wait.
    """
    items, demos, content, unreached = {}, {}, {}, []
    for name in names:
        if unreached and not o.data_dir and BENCHMARKS[name].source:
            unreached.append(name)
            continue
        try:
            every = testsets.load(name, o.data_dir, o.ccsd, o.coqa)
            if o.shots and name != "ifeval" and name not in TOY:
                demos[name] = testsets.demonstrations(name, o.shots, every, o.data_dir)
                every = every if BENCHMARKS[name].demos else every[o.shots :]
        except hub.UserError as error:
            problems.append(str(error))
            unreached += [name] if isinstance(error, hub.Unreachable) else []
            continue
        rows = json.dumps([item.row for item in every], sort_keys=True, default=str)
        content[name] = hashlib.sha256(rows.encode()).hexdigest()
        items[name] = testsets.limited(name, every, o.limit, o.seed)
    if unreached[1:]:
        files = ", ".join(f"DIR/{name}.jsonl" for name in unreached[1:])
        problems.append(f"the Hub was not asked for the others: {files}")
    return items, demos, content


def check_options(o: Options) -> list[str]:
    """What is wrong with the options by themselves, one line a case."""
    problems = [] if o.model else ["MODEL (not given): a run folder, a model folder or a Hub id"]
    choices = {"coqa": ("first", "last", "all"), "engine": ("auto", "vllm", "server", "torch"),
               "device": ("", "cpu", "cuda"), "dtype": ("", "bf16", "fp32")}  # fmt: skip
    for name, known in choices.items():
        if getattr(o, name) not in known:
            choices = [k for k in known if k]
            problems.append(cli.not_one_of(cli.flag(name), getattr(o, name), choices))
    for name in ("limit", "max_new", "samples", "judge_max_new"):
        if getattr(o, name) is not None and getattr(o, name) < 1:
            problems.append(f"{cli.flag(name)} {getattr(o, name)}: at least 1")
    at_least = {"shots": 0, "top_k": 0, "batch": 0, "seed": 0, "tensor_parallel": 1,
                "data_parallel": 1}  # fmt: skip
    for name, least in at_least.items():
        if getattr(o, name) < least:
            problems.append(f"{cli.flag(name)} {getattr(o, name)}: at least {least}")
    if not 0 <= o.temperature < float("inf"):
        problems.append(f"--temperature {o.temperature}: at least 0")
    if not 0 < o.top_p <= 1 or not 0 <= o.min_p <= 1:
        problems.append("--top-p is above 0 and at most 1, --min-p from 0 to 1")
    if o.samples > 1 and o.temperature == 0:
        problems.append(f"--samples {o.samples}: greedy answers are all alike; --temperature 0.6")
    if (o.engine == "server") != bool(o.url):
        problems.append("--engine server goes with --url, like http://localhost:8000/v1")
    if o.judge and len(o.judge.split(",")) not in (1, 3):
        problems.append(f"--judge {o.judge}: one judge, or three joined by commas")
    return problems


def selected(text: str) -> list[str]:
    """Names of benchmarks from names, families, all, hub and toy, in the table's order."""
    groups = {"all": STUDY, "hub": [n for n in STUDY if BENCHMARKS[n].source], "toy": TOY}
    groups |= {f: [n for n in STUDY if BENCHMARKS[n].family == f] for f in FAMILIES}
    found = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        if word not in groups and word not in BENCHMARKS:
            raise hub.UserError(cli.not_one_of("--benchmarks", word, [*groups, *BENCHMARKS]))
        found |= set(groups.get(word, [word]))
    if not found:
        raise hub.UserError(cli.not_one_of("--benchmarks", "", [*groups, *BENCHMARKS]))
    return [name for name in BENCHMARKS if name in found]


def read_json(file: Path, problems: list[str]) -> dict:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        problems.append(f"{file}: cannot be read ({error}); move it away")
        return {}


def differences(folder: Path, before: dict, now: dict, content: dict) -> list[str]:
    """Why the answers in `folder` cannot be gone on with: one message, a line a difference."""
    pairs = [("weights", before["weights"], now["weights"])]
    pairs += [(cli.flag(n), before["options"].get(n), now["options"][n]) for n in OF_THE_ANSWERS]
    pairs += [(f"rows of {n}", before["data"].get(n, new), new) for n, new in content.items()]
    changed = [
        f"  {what}: {str(a)[:60]} there, {str(b)[:60]} here" for what, a, b in pairs if a != b
    ]
    if not changed:
        return []
    head = f"--out {folder}: its answers are of another checkpoint, options or data"
    return ["\n".join([f"{head}; pass those, or another --out", *changed])]


# ---- answers --------------------------------------------------------------------------------


def read_answers(file: Path) -> dict[tuple[str, int], dict]:
    """The answers of a file by (id, sample). A line torn by a kill is cut off."""
    found = {}
    if not file.is_file():
        return found
    with file.open("r+b") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError as error:
                message = f"{file}:{number}: not an answer ({error}); remove that line"
                raise hub.UserError(message) from error
            if row is None:
                lines.truncate(lines.tell() - len(line))
                break
            found.setdefault((row["id"], row.get("sample", 0)), row)
    return found


def prompt_ids(plan: Plan, name: str, item: Item) -> tuple[str, list[int]]:
    """What is asked, as text and as ids."""
    o = plan.options
    if not o.shots:
        text = benchmarks.prompt(name, item.row)
        return text, plan.chat.prompt(text, o.system)
    demos = testsets.chosen(name, item.row, plan.demos.get(name, []), o.shots)
    text = benchmarks.few_shot(name, item.row, demos)
    return text, plan.chat.encode(text)


def to_ask(plan: Plan, answers: dict) -> tuple[list[Request], dict, dict]:
    """The requests that have no answer yet; prompts by request id; the answers no room is left for.

    An item longer than the context is answered with nothing: truncated, wrong, and counted.
    """
    o, requests, asked, hopeless = plan.options, [], {}, {}
    context = plan.config.max_position_embeddings
    most, clamped = o.max_new, 0
    for name, items in plan.items.items():
        for item in items:
            missing = [i for i in range(o.samples) if (item.id, i) not in answers[name]]
            if not missing:
                continue
            text, ids = prompt_ids(plan, name, item)
            room = context - len(ids)
            clamped += 0 < room < most
            for sample in missing:
                if room < 1:
                    row = answer_row(o, item.id, sample, text, "", len(ids), 0, "length")
                    hopeless.setdefault(name, []).append(row)
                    continue
                number = f"{name}/{item.id}/{sample}"
                seed = int.from_bytes(hashlib.sha256(f"{o.seed} {number}".encode()).digest()[:4])
                sampling = Sampling(
                    min(most, room), o.temperature, o.top_p, o.top_k, o.min_p,
                    tuple(plan.chat.stop_ids), ("Question:",) if o.shots else (),
                )  # fmt: skip
                requests.append(Request(number, ids, sampling, seed))
                asked[number] = (name, item.id, sample, text)
    if clamped:
        print(f"{clamped} prompts leave less than {most} tokens of the context {context}")
    if hopeless:
        counts = ", ".join(f"{name} {len(rows)}" for name, rows in hopeless.items())
        print(f"longer than the context of {context} tokens, counted as truncated: {counts}")
    return requests, asked, hopeless


def answer_row(o, id, sample, prompt, output, prompt_tokens, generated_tokens, finish_reason):
    row = {"id": id, "sample": sample} if o.samples > 1 else {"id": id}
    return row | {
        "prompt": prompt,
        "output": output,
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated_tokens,
        "finish_reason": finish_reason,
    }


def answer(plan: Plan) -> dict[str, dict]:
    """Every answer by benchmark and (id, sample): those on disk, and the missing ones asked now."""
    o, folder = plan.options, plan.folder / "answers"
    answers = {name: read_answers(folder / f"{name}.jsonl") for name in plan.items}
    if o.rescore:
        o.samples = 1 + max([sample for part in answers.values() for _, sample in part], default=0)
        return answers
    requests, asked, hopeless = to_ask(plan, answers)
    with contextlib.ExitStack() as stack:
        files = {}

        def keep(name, row):
            if name not in files:
                path = folder / f"{name}.jsonl"
                files[name] = stack.enter_context(path.open("a", encoding="utf-8"))
            files[name].write(json.dumps(row) + "\n")  # ASCII: a lone surrogate stays writable
            files[name].flush()
            answers[name][row["id"], row.get("sample", 0)] = row

        if requests:
            model = o.served or (o.model if o.engine == "server" else str(plan.model))
            machine = {name: getattr(o, name) for name in OF_THE_MACHINE}
            e = stack.enter_context(engine.load(o.engine, model, **machine))
            note_engine(plan, e.name)
        else:
            note_engine(plan, plan.settings["engine"])
        for name, rows in hopeless.items():
            for row in rows:
                keep(name, row)
        pause = 0.1 if sys.stderr.isatty() else 30  # seconds between lines of progress
        bar = tqdm(total=len(requests), desc="answers", mininterval=pause, disable=not requests)
        for done in e.complete(requests) if requests else ():
            name, item, sample, text = asked[done.id]
            counts = (done.prompt_tokens, done.generated_tokens, done.finish_reason)
            keep(name, answer_row(o, item, sample, text, done.text, *counts))
            bar.update()
        bar.close()
    for name in plan.items:
        order = {item.id: i for i, item in enumerate(plan.items[name])}
        place = {key: (order.get(key[0], len(order)), *key) for key in answers[name]}
        if list(place) != (keys := sorted(place, key=place.get)) or name in files:
            lines = "".join(json.dumps(answers[name][key]) + "\n" for key in keys)
            files.write_atomic(folder / f"{name}.jsonl", lines)
    return answers


def note_engine(plan: Plan, name: str):
    """Records what answers; refuses to mix two engines in one folder."""
    before = plan.settings["engine"]
    if before and before != name:
        raise hub.UserError(
            f"--out {plan.folder}: its answers are by {before}, this is {name}; pass another --out"
        )
    plan.settings["engine"] = name
    text = json.dumps(plan.settings, indent=2) + "\n"
    files.write_atomic(plan.folder / "answers/settings.json", text)


# ---- scores ---------------------------------------------------------------------------------


def scored_text(plan: Plan, name: str, output: str) -> str:
    """What of an output is scored: all of it; of a base model's, up to the end of its first box."""
    if not plan.options.shots or name == "ifeval":
        return output
    boxes, _ = stated.boxes(output)
    return output[: boxes[0][1]] if boxes else output


def score_all(plan: Plan, answers: dict) -> dict[str, list[dict]]:
    """The rows of scores/, by benchmark; --rescore takes the items that have answers."""
    scores = {}
    for name, items in plan.items.items():
        rows = []
        for item in items:
            gold = BENCHMARKS[name].gold(item.row)
            for sample in range(plan.options.samples):
                if (found := answers[name].get((item.id, sample))) is None:
                    continue
                text = scored_text(plan, name, found["output"])
                result = score(name, item.row, text)
                row = {"id": item.id, "gold": gold, **dataclasses.asdict(result)}
                row |= {key: found[key] for key in scoreboard.COUNTED}
                row["opened_think"] = found["output"].lstrip().startswith("<think>")
                rows.append(row | ({"sample": sample} if plan.options.samples > 1 else {}))
        if rows:
            scores[name] = rows
    return scores


def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__, positional="model")
    try:
        plan = prepare(o)
        with files.exclusive(plan.folder / "answers"):
            # ---- answers
            answers = answer(plan)

            # ---- scores: by the rules, which nothing can stop, then by a jury
            scores = score_all(plan, answers)
            if not scores:
                raise hub.UserError(f"--rescore: no answers to {o.benchmarks} in {plan.folder}")
            table = scoreboard.write(plan.folder, plan.settings, scores, plan.config)
            if o.judge:
                print(jury.judge(plan, answers, scores))
                table = scoreboard.write(plan.folder, plan.settings, scores, plan.config, o.judge)
            print(table)
    except hub.UserError as error:
        return cli.fail(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, say
        print(f"error: {error}; the same command goes on from what is saved", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
