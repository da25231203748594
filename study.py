"""The whole experiment: a grid of students, costed, then trained, evaluated and compared.

    python study.py run --preset toy                             # a laptop: 22 small students
    python study.py plan --preset paper                          # the paper's grid and its cost
    python study.py run --preset paper-small --ccsd ccsd.jsonl   # one GPU
    python study.py run --preset toy --controls sample-mean --seeds 0,1,2

Writes to --out: a run folder for every trial, CORPUS/SCALE-ARM-sSEED; logs/; trials/ (the recipe of
each, how it ended and its time); report/ (pareto.py's). The same command resumes what was
interrupted, retries what failed, and redoes what changed, keeping the old in replaced/.
"""

import fnmatch
import itertools
import os
import re
import shlex
import shutil
import signal
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch

import evaluate
import flops
import pareto
import train
from analysis.runs import Flags
from common import cli, files, hub
from common.cli import OneOf
from config import CORPORA, FORMATS, SCALES
from data import items
from sweep import overview, workers
from sweep.cost import cost_of
from sweep.trials import Trial, problem_of, set_aside, state_of, write_stamp

# ---- presets: what a study is -----------------------------------------------------------------

ALL = "ift,reasoning,sequential-0.25,sequential-0.5,sequential-0.75,mixed-0.25,mixed-0.5,mixed-0.75"
TOY = {"corpora": "toy", "scales": "toy-xs,toy-s,toy-m,toy-l,toy-xl", "seeds": "0,1",
       "benchmarks": "toy", "evaluate": "--max-new 512"}  # fmt: skip
PAPER = {"corpora": "general,math", "scales": "0.5b,1.5b,3b,7b,14b", "arms": ALL, "gpus": 8}
SMALL = {"scales": "0.5b,1.5b", "arms": "ift,reasoning", "gpus": 1}
PRESETS = {
    "toy": {**TOY, "arms": "ift,reasoning,sequential-0.25@toy-m-s0,mixed-0.5@toy-m-s0"},
    "toy-full": {**TOY, "seeds": "0,1,2", "arms": ALL},
    "paper": PAPER,
    "paper-small": {**PAPER, "scales": "0.5b,1.5b", "gpus": 1},
    "lr-matched": {**SMALL, "controls": "lr-matched"},
    "token-matched": {**SMALL, "controls": "token-matched"},
    "flops-matched": {**SMALL, "controls": "flops-matched"},
    "sample-mean": {**SMALL, "arms": "ift,reasoning,mixed-0.25", "controls": "sample-mean"},
    "same-sampling": {**SMALL, "corpora": "general=BAAI/Infinity-Instruct", "gpus": 8,
                      "teacher": "Qwen/Qwen3-235B-A22B", "generate": "--tensor-parallel 8",
                      "controls": "same-sampling"},
    "seeds": {**SMALL, "seeds": "0,1,2"},
}  # fmt: skip

# What the paper leaves open: trials in addition to the arms, by format, with options of train.py.
# {ift} and {reasoning} are the scale's peak learning rates; {same} is pairs of one sampling.
CONTROLS = {
    "lr-matched": {"ift": "--lr {reasoning}", "reasoning": "--lr {ift}"},
    "token-matched": {"reasoning": "--match tokens"},
    "flops-matched": {"reasoning": "--match flops"},
    "sample-mean": dict.fromkeys(FORMATS, "--loss-mean sample"),
    "same-sampling": dict.fromkeys(FORMATS, "--data {same}"),
}

# Options of the scripts that the grid sets, so that --train and its like may not.
SET_BY_THE_GRID = {
    "train": ("--scale", "--format", "--ratio", "--data", "--seed", "--out"),
    "evaluate": ("--benchmarks", "--out"),
    "generate": ("--teacher", "--prompts", "--same-sampling", "--out"),
}
ARM = r"(?:(ift|reasoning)|(sequential|mixed)-(0?\.\d*[1-9]\d*))(?:@(.+))?"
Action = Literal["plan", "run", "status", "report"]
NAMED = r"\w[\w.-]*=.+"  # a corpus


@dataclass
class Options:
    # the study
    action: Action = cli.positional("")  # plan (print the grid and its cost), run, status or report
    preset: Annotated[str, OneOf(PRESETS)] = "toy"  # options of the grid: a row of study.PRESETS
    out: str | None = None  # folder of the study (default: runs/study-PRESET)
    # the grid: its lists are joined by commas
    corpora: str = "general"  # general, math, toy or NAME=PAIRS (default: by preset, or general)
    scales: Annotated[str, OneOf(SCALES, several=True)] = ""  # students (default: by preset)
    arms: str = (
        ""  # ift, reasoning, sequential-RHO, mixed-RHO, ARM@SCALE[-sSEED] (default: by preset)
    )
    seeds: str = "0"  # whole numbers: of order and weights (default: by preset, or 0)
    controls: Annotated[str, OneOf(("", *CONTROLS), several=True)] = ""  # additional trials
    benchmarks: str = "all"  # as evaluate.py takes them (default: by preset, or all)
    only: str = ""  # names of trials, with *: "general/7b-*,*-s1" (default: all)
    # options passed on to the scripts
    ccsd: str | None = None  # JSONL of c_code_summarization, which is not on the Hub
    teacher: str = ""  # path or Hub id: generates the pairs first; --corpora is then NAME=PROMPTS
    train: str = ""  # more options of train.py, for every trial: "--samples 1000 --max-len 8192"
    evaluate: str = ""  # more options of evaluate.py: "--limit 100"
    generate: str = ""  # more options of generate.py: "--tensor-parallel 8"
    # the machine
    gpus: cli.NonNegative = 0  # number of GPUs; 0: the CPU (default: by preset, or 0)
    cores: cli.Positive | None = None  # cores of the CPU (default: all)
    gpu: Annotated[str, OneOf(flops.PEAK)] = "H100"  # GPU that hours and memory are planned for
    mfu: Annotated[float, cli.Range(0, 1, is_open=True)] = 0.4  # model FLOPs utilisation, assumed
    commands: bool = False  # plan: print each trial's commands instead
    yes: bool = False  # run without asking


# ---- the grid ---------------------------------------------------------------------------------


def is_at(place: str, scale: str, seed: str) -> bool:
    """Whether an arm's @PLACE is there: a scale, or a scale and seed, maybe with *."""
    return not place or any(fnmatch.fnmatch(x, place) for x in (scale, f"{scale}-s{seed}"))


def check(o: Options) -> cli.Problems:
    """What is wrong with the options, one line a case."""
    problems = cli.Problems(cli.check(o))
    known = "|".join([*CORPORA, "toy"])
    lists = {
        "arms": (ARM, "ift, reasoning, sequential-RHO or mixed-RHO with 0 < RHO < 1, maybe @SCALE"),
        "seeds": (r"\d{1,18}", "whole numbers, like 0,1,2"),
        "corpora": (f"{known}|{NAMED}", f"{known} or NAME=PAIRS, a path or Hub id"),
    }
    if o.teacher:
        lists["corpora"] = (NAMED, "NAME=PROMPTS, a path or Hub id, since there is a teacher")
    for name, (pattern, rule) in lists.items():
        for word in cli.words(getattr(o, name)) or ["(not given)"]:
            is_fine = re.fullmatch(pattern, word)
            problems.add(not is_fine, f"--{name} {word}: {rule}")
    above = next(path for path in (Path(o.out), *Path(o.out).absolute().parents) if path.exists())
    can_write = above.is_dir() and os.access(above, os.W_OK)
    problems.add(not can_write, f"--out {o.out}: cannot write in {above}; choose another")
    is_unique = len(corpora(o)) == len(cli.words(o.corpora))
    problems.add(not is_unique, f"--corpora {o.corpora}: two corpora have the same name")
    points = list(itertools.product(cli.words(o.scales), cli.words(o.seeds)))
    for word in [word for word in cli.words(o.arms) if "@" in word]:
        is_in_grid = any(is_at(word.partition("@")[2], *point) for point in points)
        problems.add(not is_in_grid, f"--arms {word}: no such SCALE or SCALE-sSEED in this grid")
    asked = problems.attempt(evaluate.selected, o.benchmarks) or []
    has_rows = o.ccsd or re.search("--(ccsd|data-dir)", o.evaluate)
    if o.action == "run" and "c_code_summarization" in asked and not has_rows:
        problems.append(f"--benchmarks {o.benchmarks}: c_code_summarization is {items.CCSD}")
    is_paired = "same-sampling" in cli.words(o.controls) and not o.teacher
    problems.add(is_paired, "--controls same-sampling: needs the --teacher that generates pairs")
    most = torch.cuda.device_count() if o.action == "run" else o.gpus
    problems.add(o.gpus > most, f"--gpus {o.gpus}: torch sees {most} here; pass --gpus {most}")
    for name, taken in SET_BY_THE_GRID.items():
        try:
            flags = {word.partition("=")[0] for word in shlex.split(getattr(o, name))}
        except ValueError as error:
            problems.append(f"--{name} {getattr(o, name)}: {error}")
            continue
        wrong = ", ".join(sorted(flags & set(taken)))
        problems.add(wrong, f"--{name}: {wrong} is set by the grid; see study.py --help")
    return problems


def corpora(o: Options) -> dict[str, str]:
    """{corpus: its pairs, or the prompts for a teacher}."""
    published = {name: corpus.data for name, corpus in CORPORA.items()}
    words = [word.partition("=") for word in cli.words(o.corpora)]
    return {name: source or published.get(name, name) for name, _, source in words}


def grid(o: Options) -> list[Trial]:
    """Every trial, in the order of the options; a control that changes nothing adds none."""
    trials = {}  # by name: an arm spelled twice is one
    seeds = dict.fromkeys(str(int(seed)) for seed in cli.words(o.seeds))
    axes = (["", *cli.words(o.controls)], cli.words(o.scales), cli.words(o.arms), seeds)
    for (corpus, data), control, scale, word, seed in itertools.product(corpora(o).items(), *axes):
        pure, mixture, rho, place = re.fullmatch(ARM, word).groups()
        arm_format, ratio = pure or mixture, [f"{float(rho):g}"] if rho else []
        arm = "-".join([arm_format, *ratio])
        data = f"{o.out}/pairs/{corpus}" if o.teacher else data
        rates, same = SCALES[scale].lr, f"{data}-same-sampling"
        change = CONTROLS.get(control, {}).get(arm_format, "").format(**rates, same=same)
        is_idle = control and change in ("", f"--lr {rates.get(arm_format)}")
        name = f"{corpus}/{scale}-{arm}{'-' * bool(control)}{control}-s{seed}"
        is_chosen = any(fnmatch.fnmatch(name, pattern) for pattern in cli.words(o.only or "*"))
        if is_idle or not is_chosen or not is_at(place, scale, seed):
            continue
        folder = f"{o.out}/{name}"
        recipe = ["--scale", scale, "--format", arm_format, "--data", data, "--seed", seed]
        recipe += ["--ratio", *ratio] if ratio else []
        recipe += ["--out", folder, "--show", "0", *shlex.split(f"{o.train} {change}")]
        questions = [folder, "--benchmarks", o.benchmarks, *(["--ccsd", o.ccsd] if o.ccsd else [])]
        questions += shlex.split(o.evaluate)
        evaluation, _ = cli.parse(evaluate.Options, questions, evaluate.__doc__)
        commands = (("train", *recipe), ("evaluate", *questions))
        trials[name] = Trial(name, corpus, arm, control, commands, *train.parse(recipe), evaluation)
    return list(trials.values())


def generations(o: Options) -> list[workers.Job]:
    """The jobs that generate pairs, named by their folders, in a study with a teacher."""
    is_paired, jobs = "same-sampling" in cli.words(o.controls), []
    for corpus, prompts in corpora(o).items() if o.teacher else ():
        for suffix in ("", "-same-sampling") if is_paired else ("",):
            folder = f"{o.out}/pairs/{corpus}{suffix}"
            command = ("generate", "--teacher", o.teacher, "--prompts", prompts, "--out", folder)
            command += (*shlex.split(o.generate), *(["--same-sampling"] if suffix else []))
            log = Path(o.out, "logs", f"{corpus}{suffix}-pairs.log")
            jobs.append(workers.Job(folder, (command,), o.gpus or o.cores, log))
    return jobs


def job_of(o: Options, trial: Trial) -> workers.Job:
    """train.py, which ends at once if it has finished, then evaluate.py."""
    log = Path(o.out, "logs", f"{trial.name}.log")
    return workers.Job(trial.name, trial.commands, trial.cost.devices, log)


# ---- run: all that is left to do --------------------------------------------------------------


def generate_pairs(o: Options, trials: list[Trial]):
    """Runs the teacher. Where it fails, so do the trials that need its pairs."""
    for job in workers.run(generations(o), o.cores, o.gpus):
        print(f"{job.name}: {job.problem or 'done'}", flush=True)
        for trial in [t for t in trials if job.problem and t.training.data == job.name]:
            trial.problem = f"its pairs: {job.problem}"


def run(o: Options, trials: list[Trial]) -> int:
    """Runs every trial that is not done, the costliest first; then the report."""
    started = time.monotonic()
    generate_pairs(o, trials)
    states, jobs = {trial: state_of(o, trial) for trial in trials}, {}
    left = [trial for trial in trials if not trial.problem and states[trial] != "done"]
    for trial in sorted(left, key=lambda trial: -sum(trial.cost.seconds)):
        jobs[job_of(o, trial)] = trial

    def begin(job) -> str:
        trial = jobs[job]
        if any(map(files.is_held, (trial.folder, trial.folder / "answers"))):
            return "elsewhere"
        set_aside(o, trial, states[trial])
        write_stamp(o, trial, "begun")
        return ""

    count = sum(state == "done" for state in states.values())
    for job in workers.run(list(jobs), o.cores, o.gpus, begin):
        trial, count = jobs[job], count + 1
        result = "FAILED" if job.problem else overview.clock(job.seconds)
        if job.problem == "elsewhere":  # another process works on it, and stamps it
            result = job.problem
        elif job.problem:
            write_stamp(o, trial, "failed", job.problem)
        else:
            is_whole = states[trial] == "to do"  # nothing was done before
            write_stamp(o, trial, "done", seconds=job.seconds if is_whole else None)
            shutil.rmtree(trial.folder / "checkpoints", ignore_errors=True)
        remaining = overview.time_left(o, trials)
        line = f"[{count:>3}/{len(trials)}] {trial.name:38} {result:>9}, {remaining} left"
        print(line, flush=True)
    print(f"in all {overview.clock(time.monotonic() - started)}\n")
    return report(o, trials)


def report(o: Options, trials: list[Trial]) -> int:
    """Compares the trials that are done; the others are flagged, failed ones listed at the end."""
    states, flags = {trial: state_of(o, trial) for trial in trials}, Flags()
    for trial, state in states.items():
        if state != "done":
            problem = (
                f"failed: {problem_of(o, trial)}" if state == "failed" else f"not done: {state}"
            )
            flags.add(trial.name, problem, "left out")
    if done := [str(trial.folder) for trial in trials if states[trial] == "done"]:
        tables = pareto.compare(pareto.Options(runs=done, out=f"{o.out}/report"), flags)
        print(f"\n{overview.results(trials, tables)}\n")
        print(f"figure: {o.out}/report/frontier-train.png")
    else:
        counts = overview.counts(states.values())
        print(f"error: no trial of {o.out} is done with these options: {counts}", file=sys.stderr)
    for line in overview.failures(o, trials):
        print(line)
    return int("failed" in states.values() or not done)


# ---- python study.py --------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> Options:
    """The options. --train, --evaluate and --generate take the next word even if it looks like a
    flag, and add to what the preset passes on."""
    words = iter(sys.argv[1:] if arguments is None else arguments)
    passed_on = list(map(cli.flag, SET_BY_THE_GRID))
    joined = [f"{word}={next(words, '')}" if word in passed_on else word for word in words]

    def layers(given):
        preset = PRESETS.get(given.get("preset", "toy"), {})
        for name in SET_BY_THE_GRID.keys() & given.keys():
            given[name] = f"{preset.get(name, '')} {given[name]}".strip()
        return {"preset": preset}

    o, _ = cli.parse(Options, joined, __doc__, layers)
    o.out = str(Path(o.out or f"runs/study-{o.preset}").expanduser())
    available = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
    o.cores = o.cores or len(available)
    return o


def print_commands(o: Options, trials: list[Trial]) -> int:
    """One line a job, as one would type it."""
    for job in [*generations(o), *(job_of(o, trial) for trial in trials if trial.cost)]:
        typed = [workers.typed(command, o.gpus and job.devices) for command in job.commands]
        print(" && ".join(map(shlex.join, typed)))
    for line in overview.failures(o, trials):
        print(line, file=sys.stderr)
    return 0


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that jobs are terminated, too
    check(o).raise_any()
    if not (trials := grid(o)):
        raise hub.UserError(f"--only {o.only}: no trial has such a name; plan --commands lists all")
    cli.Problems(evaluate.check_options(trials[0].evaluation)).raise_any()
    for trial in trials:
        try:
            trial.cost = cost_of(o, trial)
        except hub.UserError as error:
            trial.problem = " ".join(str(error).split())
    if all(trial.problem for trial in trials):
        raise hub.UserError("\n".join(dict.fromkeys(trial.problem for trial in trials)))

    if o.action == "report":
        return report(o, trials)
    if o.action == "plan" and o.commands:
        return print_commands(o, trials)
    show = overview.status if o.action == "status" else overview.plan
    print(show(o, trials), flush=True)
    if o.action != "run":
        return 0
    if not o.yes:
        print("\nStart? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise hub.UserError("nothing was started; pass --yes to start without asking")
    # one process for each --only: several nodes may share a study
    with files.exclusive(Path(o.out, f"working-{zlib.crc32(o.only.encode()):08x}")):
        return run(o, trials)


if __name__ == "__main__":
    sys.exit(main())
