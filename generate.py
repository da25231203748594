"""Turns prompts into pairs: one teacher answers each twice, its reasoning mode off and on.

    python generate.py --teacher Qwen/Qwen3-8B --prompts BAAI/Infinity-Instruct --out pairs
    python generate.py --teacher Qwen/Qwen3-235B-A22B --tensor-parallel 8 --prompts q.jsonl
    python generate.py --teacher ./Qwen3-8B --prompts q.jsonl --engine server --url http://host/v1
    python generate.py --teacher runs/toy-teacher/model --prompts prompts.jsonl --same-sampling

Writes the folder --out: reasoning_ift_pairs-*.jsonl (what train.py --data reads, in the order of
the prompts), answers/ (every completion as it came, kept or not), manifest.json (teacher, sampling,
counts, tokens, FLOPs), README.md (a data card) and config.json. The same command goes on where it
was stopped: what is in answers/ is not asked again. Other --filters there only sort anew.
"""

import dataclasses
import hashlib
import importlib.util
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import engine
import flops
from common import cli, files, hub
from config import ANSWERS, Config
from data.answers import FILTERS, SHARD, Answers, card
from data.prompts import Prompt, read_prompts
from data.rows import PAIRED_SPLIT
from data.teacher import TOGGLES, Teacher
from engine.request import Request, Sampling, Settings


@dataclass
class Options:
    # who answers what
    teacher: str = ""  # path or Hub id
    prompts: str = ""  # path or Hub id: JSONL or Parquet, strings or lists of turns
    columns: str = ""  # where prompts are, if not seen: prompt=NAME,id=NAME,system=NAME
    limit: int | None = None  # the first N prompts
    skip_bad: bool = False  # leave bad and too long prompts out instead of stopping
    out: str = "pairs"  # folder of the pairs
    # how
    toggle: str = "auto"  # of thinking: nemotron-v1, nemotron, qwen3; auto: as its template shows
    same_sampling: bool = False  # both modes with the sampling of reasoning
    max_new: int = 32768  # tokens of an answer at most
    seed: int = 0
    filters: str = "cut,think,empty,leak,loop"  # what drops a pair, in this order
    # the engine; none of these is part of what a run is, but for the engine
    engine: str = "auto"  # torch, vllm, server, or auto (vllm where it and a GPU are)
    dtype: str = ""  # torch, vllm: bf16 or fp32 (default: bf16 on a GPU)
    device: str = ""  # torch: cpu, cuda (default: cuda where there is one)
    batch: int = 0  # sequences in flight (default: torch 16, vllm 256 an engine, server 64)
    cache_tokens: int = 2**17  # torch: of the KV cache
    tensor_parallel: int = 1  # vllm: GPUs of one engine
    data_parallel: int = 1  # vllm: engines, each in its own process on its own GPUs
    context: int = 0  # vllm: tokens of the longest prompt and answer (default: the model's)
    url: str = ""  # server: its OpenAI interface, like http://localhost:8000/v1
    served_name: str = ""  # server: the teacher's name there (default: as --teacher)
    timeout: float = 3600.0  # server: seconds without a byte
    retries: int = 8  # server: of a request


# ---- what is known before the first answer -----------------------------------------------------


@dataclass
class Job:
    options: Options
    teacher: Teacher
    config: Config | None  # None: a family whose FLOPs are not known
    prompts: list[Prompt]
    bad: int  # rows and prompts left out
    sampling: dict  # mode -> Sampling
    record: dict  # config.json of --out


def prepare(o: Options) -> Job:
    """Reads and checks everything but the weights; hub.UserError lists all that is wrong."""
    problems = check(o)

    def attempt(work, *arguments):
        try:
            return work(*arguments)
        except hub.UserError as error:
            problems.append(str(error))

    teacher = attempt(Teacher, o.teacher, o.toggle) if o.teacher else None
    found = attempt(read_prompts, o.prompts, o.columns, o.limit, o.skip_bad) if o.prompts else None
    if not teacher or not found:
        raise hub.UserError("\n".join(problems))
    prompts, bad = found
    folder = hub.fetch(o.teacher, files=hub.TOKENIZER_FILES, flag="--teacher")
    try:
        config = Config.from_pretrained(folder, mixtures=True)
    except hub.UserError:
        config = None
    context = min(o.context or 2**31, config.max_position_embeddings if config else 2**31)
    long = {prompt.id for prompt in prompts if not teacher.fits(prompt.messages, context)}
    if long and not o.skip_bad:
        problems.append(
            f"--prompts {o.prompts}: {len(long)} leave no room for an answer in the {context}"
            f" tokens that the teacher reads: {', '.join(sorted(long)[:20])}; shorten them, or pass"
            " --skip-bad to leave them out"
        )
    prompts, digest = [prompt for prompt in prompts if prompt.id not in long], hashlib.sha256()
    if not prompts:
        problems.append(f"--prompts {o.prompts}: none is left to ask")
    for prompt in prompts:
        digest.update(json.dumps([prompt.id, prompt.messages]).encode())
    sampling = {
        mode: Sampling(o.max_new, **fields, stop_ids=tuple(teacher.stop_ids))
        for mode, fields in teacher.sampling(o.same_sampling).items()
    }
    record = {
        "teacher": o.teacher,
        "revision": folder.name if hub.is_hub_id(o.teacher) else hub.fingerprint(folder),
        "served_name": o.served_name if o.engine == "server" else "",
        "toggle": teacher.toggle,
        "rendering": teacher.rendering(),
        "sampling": {mode: dataclasses.asdict(sampling[mode]) for mode in ANSWERS},
        "seed": o.seed,
        "prompts": {"source": o.prompts, "sha256": digest.hexdigest()},
    }
    problems += check_folder(o.out, record)
    if problems:
        raise hub.UserError("\n".join(problems))
    return Job(o, teacher, config, prompts, bad + len(long), sampling, record)


def check(o: Options) -> list[str]:
    """What is wrong with the options by themselves, one line a case."""
    problems = [f"{cli.flag(n)}: not given" for n in ("teacher", "prompts") if not getattr(o, n)]
    choices = {"engine": ("auto", "torch", "vllm", "server"), "toggle": ("auto", *TOGGLES),
               "dtype": ("", *engine.DTYPES), "device": ("", "cpu", "cuda")}  # fmt: skip
    for name, known in choices.items():
        if (value := getattr(o, name)) not in known:
            known = [choice for choice in known if choice]
            problems.append(cli.not_one_of(cli.flag(name), value, known))
    for name in filter(None, o.filters.split(",")):
        if name not in FILTERS:
            problems.append(cli.not_one_of("--filters", name, FILTERS))
    may_be_zero = ("seed", "batch", "context", "retries")
    for name, value in vars(o).items():
        least = name not in may_be_zero and not isinstance(value, bool)
        if isinstance(value, int | float) and value < least:
            problems.append(f"{cli.flag(name)} {value}: a number of at least {least:d}")
    if o.engine == "server" and not o.url:
        problems.append("--engine server: pass its --url, like http://localhost:8000/v1")
    if o.engine == "vllm" and not importlib.util.find_spec("vllm"):
        problems.append("--engine vllm: it is not installed; pip install '.[vllm]'")
    if o.device == "cuda" and not torch.cuda.is_available():
        problems.append("--device cuda: torch sees no GPU here; leave --device out")
    return problems


def check_folder(out: str, record: dict) -> list[str]:
    """How the pairs in --out, if there are any, differ from these in what is asked."""
    folder = Path(out)
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        return [f"--out {out}: {error.strerror}; choose a folder"]
    if "config.json" not in names:
        is_foreign = any(not name.endswith(".tmp") for name in names)
        return [f"--out {out}: holds other files; choose a new folder"] if is_foreign else []
    here = json.loads(json.dumps(record))
    try:
        before = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return [f"--out {out}: its config.json is not of pairs; choose a new folder"]
    changed = [key for key in here if before.get(key) != here[key]]
    changed = [f"  {key}: {before.get(key)} there, {here[key]} here" for key in changed]
    head = f"--out {out}: holds other pairs; pass their options, or another --out"
    return ["\n".join([head, *changed])] if changed else []


# ---- answers -----------------------------------------------------------------------------------


def requests(job: Job, done: np.ndarray):
    """The missing answers, prompt by prompt; a seed depends on the prompt's id and mode alone."""
    for number, prompt in enumerate(job.prompts):
        for thinking, mode in enumerate(ANSWERS):
            if not done[number, thinking]:
                key = json.dumps([job.options.seed, prompt.id, mode]).encode()
                seed = int.from_bytes(hashlib.sha256(key).digest()[:4]) >> 1
                ids = job.teacher.prompt(prompt.messages, bool(thinking))
                yield Request(f"{number} {mode}", ids, job.sampling[mode], seed)


def ask(job: Job, answers: Answers):
    """Gets every answer that is missing, and keeps each as it comes."""
    o, missing = job.options, int((~answers.done).sum())
    if not missing:
        return None
    settings = {k: v for k, v in vars(o).items() if k in Settings.__dataclass_fields__}
    model = (o.engine == "server" and o.served_name) or o.teacher
    openings = {"ift": "", "reasoning": job.teacher.opening()}
    with engine.load(o.engine, model, **settings) as e:
        print(f"{missing:,} answers from {o.teacher} by {e.name}")
        bar = tqdm(total=missing, unit=" answers", disable=not sys.stderr.isatty(), leave=False)
        for completion in e.complete(requests(job, answers.done)):
            number, mode = completion.id.split()
            row = {"number": int(number), "mode": mode, "id": job.prompts[int(number)].id}
            row |= {"text": openings[mode] + completion.text, "by": e.name}
            measures = ("finish_reason", "prompt_tokens", "generated_tokens")
            row |= {name: getattr(completion, name) for name in measures}
            answers.add(row)
            bar.update()
        bar.close()


# ---- pairs, manifest and data card -------------------------------------------------------------


def assemble(job: Job, answers: Answers) -> dict:
    """Writes the pairs, in the order of the prompts, and the manifest, which it returns."""
    o, folder = job.options, Path(job.options.out)
    filters = [name for name in FILTERS if name in o.filters.split(",")]
    dropped = dict.fromkeys(filters, 0)
    tokens = {kind: dict.fromkeys(("prompt", *ANSWERS), 0) for kind in ("generated", "kept")}
    cost = {method: dict.fromkeys(ANSWERS, 0) for method in ("paper", "exact")}
    pairs, engines = 0, set()
    for shard in range(-(-len(job.prompts) // SHARD)):
        rows, lines = answers.read(shard), []
        first = shard * SHARD
        for number, prompt in enumerate(job.prompts[first : first + SHARD], first):
            both = ift, reasoning = [rows[number, mode] for mode in ANSWERS]
            wrong = next((name for name in filters if FILTERS[name](ift, reasoning)), None)
            for kind in ("generated", "kept")[: 1 if wrong else 2]:
                for row in both:
                    tokens[kind]["prompt"] += row["prompt_tokens"]
                    tokens[kind][row["mode"]] += row["generated_tokens"]
            for row in both if job.config else ():
                for method in cost:
                    sizes = row["prompt_tokens"], row["generated_tokens"]
                    cost[method][row["mode"]] += flops.inference(job.config, *sizes, method=method)
            engines |= {row["by"] for row in both}
            if wrong:
                dropped[wrong] += 1
                continue
            pair = {"id": prompt.id, "prompt": prompt.text}
            pair |= {mode: row["text"].strip() for mode, row in zip(ANSWERS, both, strict=True)}
            if len(prompt.messages) > 1:
                pair["messages"] = prompt.messages
            lines.append(json.dumps(pair, ensure_ascii=False) + "\n")
        pairs += len(lines)
        file, text = folder / f"{PAIRED_SPLIT}-{shard:05}.jsonl", "".join(lines)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:  # else it keeps its time
            files.write_atomic(file, text)
    counts = {"prompts": len(job.prompts), "pairs": pairs, "dropped": dropped, "bad": job.bad}
    manifest = {
        **job.record,
        "engines": sorted(engines),
        "counts": counts,  # prompts = pairs + all dropped; each is counted under its first filter
        "tokens": tokens,
        "teacher_flops": cost if job.config else None,  # of every answer generated, kept or not
        "commit": cli.git_commit(),
    }
    files.write_atomic(folder / "README.md", card(manifest))
    files.write_atomic(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    return manifest


# ---- the run -----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options, _ = cli.parse(Options, arguments, __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that engines are closed
    folder = Path(options.out)
    try:
        job = prepare(options)
        with files.exclusive(folder):
            if not (folder / "config.json").is_file():
                text = json.dumps(job.record, indent=2)
                files.write_atomic(folder / "config.json", text + "\n")
            answers = Answers(folder / "answers", len(job.prompts))
            ask(job, answers)
            counts = assemble(job, answers)["counts"]
    except hub.UserError as error:
        return cli.fail(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, say: what was whole before is whole still
        print(f"error: {error}; the same command goes on from what is saved", file=sys.stderr)
        return 1
    dropped = ", ".join(f"{n:,} {name}" for name, n in counts["dropped"].items())
    print(f"{counts['pairs']:,} pairs of {counts['prompts']:,} prompts; dropped: {dropped or '-'}")
    if not job.config:
        print(
            f"the FLOPs of {options.teacher} are not known: its family is none of config.FAMILIES"
        )
    print(f"wrote {folder}/{PAIRED_SPLIT}-*.jsonl, manifest.json and README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
