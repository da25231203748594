"""Turns prompts into pairs: one teacher answers each twice, its reasoning mode off and on.

    python generate.py --teacher Qwen/Qwen3-8B --prompts BAAI/Infinity-Instruct --out pairs
    python generate.py --teacher Qwen/Qwen3-235B-A22B --tensor-parallel 8 --prompts q.jsonl
    python generate.py --teacher ./Qwen3-8B --prompts q.jsonl --engine server --url http://host/v1
    python generate.py --teacher runs/toy-teacher/model --prompts prompts.jsonl --same-sampling

Writes the folder --out: reasoning_ift_pairs-*.jsonl (what train.py --data reads, in the order of
the prompts), answers/ (every completion, kept or not), manifest.json (teacher, sampling, counts,
tokens, FLOPs), README.md (a data card) and config.json. The same command resumes: what is in
answers/ is not asked again. With other --filters it only selects other pairs of those answers.
"""

import dataclasses
import hashlib
import importlib.util
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

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

Toggle = Annotated[str, cli.OneOf(("auto", *TOGGLES))]
Filters = Annotated[str, cli.OneOf(("", *FILTERS), several=True)]  # "": none


@dataclass
class Options:
    # the pairs
    teacher: cli.Required = ""  # path or Hub id
    prompts: cli.Required = ""  # path or Hub id: JSONL or Parquet, strings or lists of turns
    columns: str | None = None  # prompt=NAME,id=NAME,system=NAME (default: the usual names)
    limit: cli.Positive | None = None  # the first N prompts (default: all)
    skip_bad: bool = False  # leave bad and too long prompts out instead of stopping
    out: str = "pairs"  # folder of the pairs
    # the answers
    toggle: Toggle = "auto"  # how thinking is turned off; auto: as the chat template shows
    same_sampling: bool = False  # both modes with the sampling of reasoning
    max_new: cli.Positive = 32768  # tokens of an answer at most
    seed: cli.NonNegative = 0  # seed of every sample
    filters: Filters = ",".join(FILTERS)  # what drops a pair, separated by commas
    # the engine: no part of what a run is, except --served-name
    engine: Literal["auto", "torch", "vllm", "server"] = "auto"  # auto: vllm, if it and a GPU exist
    dtype: Literal["bf16", "fp32"] | None = None  # torch, vllm: of weights (default: bf16 on a GPU)
    device: Literal["cpu", "cuda"] | None = None  # torch (default: cuda if there is a GPU)
    batch: cli.Positive | None = None  # sequences at once (default: torch 16, vllm 256, server 64)
    tensor_parallel: cli.Positive = 1  # vllm: GPUs of one engine
    data_parallel: cli.Positive = 1  # vllm: engines, each in its own process on its own GPUs
    context: cli.Positive | None = None  # vllm: tokens of prompt and answer (default: the model's)
    url: str | None = None  # server: its OpenAI interface, like http://localhost:8000/v1
    served_name: str | None = None  # server: the teacher's name there (default: as --teacher)
    retries: cli.NonNegative = 8  # server: repeats of a failed request


# ---- what is known before the first answer -----------------------------------------------------


@dataclass
class Job:
    options: Options
    teacher: Teacher
    config: Config | None  # None: a family whose FLOPs are not known
    prompts: list[Prompt]
    bad: int  # rows and prompts left out
    sampling: dict[str, Sampling]  # by mode
    record: dict  # config.json of --out


def prepare(o: Options) -> Job:
    """Reads and checks everything except the weights; hub.UserError lists all that is wrong."""
    problems = cli.Problems(cli.check(o))
    no_url = o.engine == "server" and not o.url
    problems.add(no_url, "--engine server: pass its --url, like http://localhost:8000/v1")
    no_vllm = o.engine == "vllm" and not importlib.util.find_spec("vllm")
    problems.add(no_vllm, "--engine vllm: it is not installed; pip install '.[vllm]'")
    no_gpu = o.device == "cuda" and not torch.cuda.is_available()
    problems.add(no_gpu, "--device cuda: torch sees no GPU here; leave --device out")
    teacher = o.teacher and problems.attempt(Teacher, o.teacher, o.toggle)
    arguments = o.prompts, o.columns, o.limit, o.skip_bad
    prompts, bad = (o.prompts and problems.attempt(read_prompts, *arguments)) or ([], 0)
    if not teacher or not prompts:
        problems.raise_any()
    folder = hub.fetch(o.teacher, files=hub.TOKENIZER_FILES, flag="--teacher")
    config = cli.Problems().attempt(Config.from_pretrained, folder, mixtures=True)
    lengths = o.context, config and config.max_position_embeddings
    context = min(filter(None, lengths), default=2**31)
    too_long = {p.id for p in prompts if not teacher.fits(p.messages, context)}
    if too_long and not o.skip_bad:
        room = f"{len(too_long)} leave no room for an answer in the teacher's {context} tokens"
        names = ", ".join(sorted(too_long)[:20])
        problems.append(f"--prompts {o.prompts}: {room}: {names}; shorten them, or pass --skip-bad")
    prompts = [prompt for prompt in prompts if prompt.id not in too_long]
    problems.add(not prompts, f"--prompts {o.prompts}: none is left to ask")
    digest = hashlib.sha256("".join(json.dumps([p.id, p.messages]) for p in prompts).encode())
    sampling = {
        mode: Sampling(o.max_new, **fields, stop_ids=tuple(teacher.stop_ids))
        for mode, fields in teacher.sampling(o.same_sampling).items()
    }
    record = {
        "teacher": o.teacher,
        "revision": folder.name if hub.is_hub_id(o.teacher) else hub.fingerprint(folder),
        "served_name": (o.engine == "server" and o.served_name) or "",
        "toggle": teacher.toggle,
        "rendering": teacher.rendering(),
        "sampling": {mode: dataclasses.asdict(sampling[mode]) for mode in ANSWERS},
        "seed": o.seed,
        "prompts": {"source": o.prompts, "sha256": digest.hexdigest()},
    }
    problems += files.other_contents(o.out, "pairs", record)
    problems.raise_any()
    return Job(o, teacher, config, prompts, bad + len(too_long), sampling, record)


# ---- answers -----------------------------------------------------------------------------------


def requests(job: Job, done: np.ndarray) -> Iterator[Request]:
    """The missing answers, prompt by prompt; a seed depends on the prompt's id and mode alone."""
    for number, prompt in enumerate(job.prompts):
        for thinking, mode in enumerate(ANSWERS):
            if not done[number, thinking]:
                key = json.dumps([job.options.seed, prompt.id, mode]).encode()
                seed = int.from_bytes(hashlib.sha256(key).digest()[:4]) >> 1
                ids = job.teacher.prompt(prompt.messages, bool(thinking))
                yield Request(f"{number} {mode}", ids, job.sampling[mode], seed)


def ask(job: Job, answers: Answers):
    """Generates every missing answer, and saves each as it finishes."""
    o, missing = job.options, int((~answers.done).sum())
    if not missing:
        return
    fields = {name: getattr(o, name, None) for name in Settings.__dataclass_fields__}
    settings = {name: value for name, value in fields.items() if value is not None}
    model = (o.engine == "server" and o.served_name) or o.teacher
    prefix = {"ift": "", "reasoning": job.teacher.reasoning_prefix()}
    with engine.load(o.engine, model, **settings) as e:
        print(f"{missing:,} answers from {o.teacher} by {e.name}")
        completions = e.complete(requests(job, answers.done))
        is_quiet = not sys.stderr.isatty()
        for c in tqdm(completions, total=missing, unit=" answers", disable=is_quiet, leave=False):
            number, mode = c.id.split()
            row = {"number": int(number), "mode": mode, "id": job.prompts[int(number)].id}
            row |= {"text": prefix[mode] + c.text, "by": e.name, "finish_reason": c.finish_reason}
            row |= {name: getattr(c, name) for name in ("prompt_tokens", "generated_tokens")}
            answers.add(row)


# ---- pairs, manifest and data card -------------------------------------------------------------


def assemble(job: Job, answers: Answers) -> dict:
    """Writes the pairs, in the order of the prompts, the data card and the manifest; returns it."""
    folder = Path(job.options.out)
    filters = [name for name in FILTERS if name in cli.words(job.options.filters)]
    dropped = dict.fromkeys(filters, 0)
    tokens = {kind: dict.fromkeys(("prompt", *ANSWERS), 0) for kind in ("generated", "kept")}
    cost = {method: dict.fromkeys(ANSWERS, 0) for method in ("paper", "exact")}
    pairs, engines = 0, set()
    for shard in range(-(-len(job.prompts) // SHARD)):
        rows, lines, first = answers.read(shard), [], shard * SHARD
        for number, prompt in enumerate(job.prompts[first : first + SHARD], first):
            both = [rows[number, mode] for mode in ANSWERS]
            problem = next((name for name in filters if FILTERS[name](*both)), None)
            for row in both:
                mode, lengths = row["mode"], (row["prompt_tokens"], row["generated_tokens"])
                for kind in ["generated"] if problem else ["generated", "kept"]:
                    tokens[kind]["prompt"] += lengths[0]
                    tokens[kind][mode] += lengths[1]
                for method in cost if job.config else ():
                    cost[method][mode] += flops.inference(job.config, *lengths, method=method)
                engines.add(row["by"])
            if problem:
                dropped[problem] += 1
                continue
            pair = {"id": prompt.id, "prompt": prompt.text}
            pair |= {row["mode"]: row["text"].strip() for row in both}
            pair |= {"messages": prompt.messages} if len(prompt.messages) > 1 else {}
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


@cli.run
def main(arguments: list[str] | None = None):
    o, _ = cli.parse(Options, arguments, __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that engines are closed
    job, folder = prepare(o), Path(o.out)
    with files.exclusive(folder):
        if not (folder / "config.json").is_file():
            files.write_atomic(folder / "config.json", json.dumps(job.record, indent=2) + "\n")
        answers = Answers(folder / "answers", len(job.prompts))
        ask(job, answers)
        counts = assemble(job, answers)["counts"]
    dropped = ", ".join(f"{n:,} {name}" for name, n in counts["dropped"].items()) or "-"
    print(f"{counts['pairs']:,} pairs of {counts['prompts']:,} prompts; dropped: {dropped}")
    if not job.config:
        print(f"the FLOPs of {o.teacher} are not known: its family is none of config.FAMILIES")
    print(f"wrote {folder}/{PAIRED_SPLIT}-*.jsonl, manifest.json and README.md")


if __name__ == "__main__":
    sys.exit(main())
