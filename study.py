"""The whole experiment: a grid of students, costed, then trained, evaluated and compared.

    python study.py run --preset toy                             # a laptop: 22 small students
    python study.py plan --preset paper                          # the paper's grid and its cost
    python study.py run --preset paper-small --ccsd ccsd.jsonl   # one GPU
    python study.py run --preset toy --controls sample-mean --seeds 0,1,2

Writes to --out (runs/study-PRESET): a run folder for every cell of the grid, named
CORPUS/SCALE-ARM-sSEED, logs/, cells/ (what each was made of and how it ended), times.jsonl and
report/ (pareto.py's). The same command goes on where it was stopped, tries again what failed, and
redoes what is changed.
"""

import fnmatch
import itertools
import json
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

import torch

import evaluate
import flops
import pareto
from analysis.runs import Flags
from common import cli, files, hub
from config import CORPORA, FORMATS, SCALES
from data import items as testsets
from sweep import overview, workers
from sweep import trials as cells
from sweep.trials import Cell, Cost

ELSEWHERE = "another process is at work there"
ACTIONS = ("plan", "run", "status", "report")
# Options of the scripts that the grid sets: not to be passed on by --train and its like.
OF_THE_GRID = {
    "train": ("--scale", "--format", "--ratio", "--data", "--seed", "--out"),
    "evaluate": ("--benchmarks", "--out"),
    "generate": ("--teacher", "--prompts", "--same-sampling", "--out"),
}

# ---- presets: what a study is -----------------------------------------------------------------

MIXES = ",".join(f"{order}-{rho}" for order in ("sequential", "mixed") for rho in (0.25, 0.5, 0.75))
PAPER = {
    "corpora": "general,math", "scales": "0.5b,1.5b,3b,7b,14b", "arms": f"ift,reasoning,{MIXES}",
    "benchmarks": "all", "gpus": 8,
}  # fmt: skip
TOY = {
    "corpora": "toy", "scales": "toy-xs,toy-s,toy-m,toy-l,toy-xl", "seeds": "0,1",
    "benchmarks": "toy", "evaluate": "--max-new 512", "gpus": 0,
}  # fmt: skip
SMALL = {**PAPER, "corpora": "general", "scales": "0.5b,1.5b", "arms": "ift,reasoning", "gpus": 1}
PRESETS = {
    "toy": {**TOY, "arms": "ift,reasoning,sequential-0.25@toy-m-s0,mixed-0.5@toy-m-s0"},
    "toy-full": {**TOY, "seeds": "0,1,2", "arms": f"ift,reasoning,{MIXES}"},
    "paper": PAPER,
    "paper-small": {**SMALL, "corpora": "general,math", "arms": f"ift,reasoning,{MIXES}"},
    "lr-matched": {**SMALL, "controls": "lr-matched"},
    "token-matched": {**SMALL, "controls": "token-matched"},
    "flops-matched": {**SMALL, "controls": "flops-matched"},
    "sample-mean": {**SMALL, "arms": "ift,reasoning,mixed-0.25", "controls": "sample-mean"},
    "same-sampling": {**SMALL, "corpora": "general=BAAI/Infinity-Instruct", "gpus": 8,
                      "teacher": "Qwen/Qwen3-235B-A22B", "generate": "--tensor-parallel 8",
                      "controls": "same-sampling"},
    "seeds": {**SMALL, "seeds": "0,1,2"},
}  # fmt: skip

# What the paper leaves open: further runs beside the arms, by format, with options of train.py.
# {ift} and {reasoning} are the scale's peak learning rates; {same} is pairs of one sampling.
CONTROLS = {
    "lr-matched": {"ift": "--lr {reasoning}", "reasoning": "--lr {ift}"},
    "token-matched": {"reasoning": "--match tokens"},
    "flops-matched": {"reasoning": "--match flops"},
    "sample-mean": dict.fromkeys(FORMATS, "--loss-mean sample"),
    "same-sampling": dict.fromkeys(FORMATS, "--data {same}"),
}


@dataclass
class Options:
    action: str = ""  # plan (print the grid and its cost), run, status or report
    preset: str = "toy"  # toy toy-full paper paper-small, or a control: study.PRESETS
    out: str = ""  # folder of the study (default: runs/study-PRESET)
    # the grid; a preset sets these, and each may be set anew
    corpora: str = "general"  # general, math (the paper's), toy, or NAME=PAIRS; with commas
    scales: str = ""  # rows of config.SCALES
    arms: str = ""  # ift, reasoning, sequential-RHO, mixed-RHO; @SCALE: there alone
    seeds: str = "0"
    controls: str = ""  # further runs beside the arms: rows of study.CONTROLS
    benchmarks: str = "all"  # as evaluate.py takes them
    ccsd: str = ""  # JSONL of c_code_summarization, which is not on the Hub
    teacher: str = ""  # path or Hub id: makes the pairs first; --corpora is then NAME=PROMPTS
    train: str = ""  # more options of train.py, for every run: "--samples 1000 --max-len 8192"
    evaluate: str = ""  # of evaluate.py: "--limit 100"
    generate: str = ""  # of generate.py: "--tensor-parallel 8"
    only: str = ""  # names of runs, with * and commas: "general/7b-*,*-s1"
    # the machine
    gpus: int = 0  # 0: the CPU
    cores: int = 0  # of the CPU (default: all)
    gpu: str = "H100"  # what GPU-hours and memory are planned for: a row of flops.PEAK
    mfu: float = 0.4  # model FLOPs utilisation, assumed
    commands: bool = False  # plan: print each run's commands instead
    yes: bool = False  # run without asking


# ---- the grid ---------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def parse_arm(text: str) -> tuple[str, str, str]:
    """(arm, format, ratio) of ift, reasoning, sequential-RHO or mixed-RHO; ValueError otherwise."""
    format, dash, ratio = text.partition("-")
    if format in ("ift", "reasoning") and not dash:
        return text, format, ""
    if format in ("sequential", "mixed") and 0 < float(ratio or "nan") < 1:
        return f"{format}-{float(ratio):g}", format, f"{float(ratio):g}"
    raise ValueError


def check(o: Options) -> list[str]:
    """What is wrong with the options, one line a case."""
    problems = []

    def known(name, values, choices):
        for value in values or [""]:
            if value not in choices:
                problems.append(cli.not_one_of(cli.flag(name), value, choices))

    if o.action not in ACTIONS:
        problems.append(cli.not_one_of("--action", o.action, ACTIONS).removeprefix("--"))
    known("preset", [o.preset], PRESETS)
    known("scales", words(o.scales), SCALES)
    known("controls", words(o.controls) or list(CONTROLS)[:1], CONTROLS)
    known("gpu", [o.gpu], flops.PEAK)
    for word in words(o.arms) or [""]:
        arm, at, place = word.partition("@")
        try:
            parse_arm(arm)
        except ValueError:
            problems.append(
                f"--arms {word or '(not given)'}: ift, reasoning, sequential-RHO or mixed-RHO with"
                " rho between 0 and 1, like mixed-0.25"
            )
        everywhere = itertools.product(words(o.scales), words(o.seeds))
        if at and not any(is_at(place, *where) for where in everywhere):
            problems.append(f"--arms {word}: {place} is no SCALE or SCALE-sSEED of this grid")
    for seed in words(o.seeds) or [""]:
        if not re.fullmatch(r"\d{1,18}", seed):
            problems.append(f"--seeds {seed or '(not given)'}: whole numbers, like 0,1,2")
    names = [word.partition("=")[0] for word in words(o.corpora)]
    if len(set(names)) < len(names):
        problems.append(f"--corpora {o.corpora}: every corpus needs a name of its own")
    for word in words(o.corpora) or [""]:
        name, given, source = word.partition("=")
        if given and not (re.fullmatch(r"\w[\w.-]*", name) and source):
            problems.append(f"--corpora {word}: NAME=PATH or NAME=HUB_ID")
        elif not given and (o.teacher or word not in (*CORPORA, "toy")):
            what = "PROMPTS" if o.teacher else "PAIRS"
            problems.append(
                f"--corpora {word or '(not given)'}: {', '.join(CORPORA)}, toy, or NAME={what}, a"
                " path or Hub id; a teacher needs its prompts"
            )
    try:
        asks = evaluate.selected(o.benchmarks)
        has_ccsd = o.ccsd or "--ccsd" in o.evaluate or "--data-dir" in o.evaluate
        if o.action == "run" and "c_code_summarization" in asks and not has_ccsd:
            problems.append(f"--benchmarks {o.benchmarks}: c_code_summarization is {testsets.CCSD}")
    except hub.UserError as error:
        problems.append(str(error))
    if "same-sampling" in words(o.controls) and not o.teacher:
        problems.append("--controls same-sampling: needs the --teacher that makes pairs")
    for name, least in (("gpus", 0), ("cores", 0)):
        if getattr(o, name) < least:
            problems.append(f"--{name} {getattr(o, name)}: at least {least}")
    if not 0 < o.mfu <= 1:
        problems.append(f"--mfu {o.mfu}: a share, above 0 and at most 1")
    seen = torch.cuda.device_count()
    if o.action == "run" and o.gpus > seen:
        problems.append(f"--gpus {o.gpus}: torch sees {seen} here; pass --gpus {seen}"
                        + " for the CPU" * (seen == 0))  # fmt: skip
    for name, taken in OF_THE_GRID.items():
        try:
            flags = {word.partition("=")[0] for word in shlex.split(getattr(o, name))}
        except ValueError as error:
            problems.append(f"--{name} {getattr(o, name)}: {error}")
            continue
        if wrong := sorted(flags & set(taken)):
            problems.append(f"--{name}: {', '.join(wrong)} is set by the grid; see study.py --help")
    return problems


def is_at(place: str, scale: str, seed: str) -> bool:
    """Whether an arm's @PLACE is there: a scale, or a scale and seed, maybe with *."""
    return not place or any(fnmatch.fnmatch(x, place) for x in (scale, f"{scale}-s{seed}"))


def pairs_of(o: Options) -> dict[str, str]:
    """{corpus: its pairs}: of the paper, given, or those that the teacher will have made."""
    found = {}
    for word in words(o.corpora):
        name, given, source = word.partition("=")
        found[name] = source if given else CORPORA[name].data if name in CORPORA else name
        if o.teacher:
            found[name] = f"{o.out}/pairs/{name}"
    return found


def grid(o: Options) -> list[Cell]:
    """Every cell, in the order of the options; a control that changes nothing adds none."""
    found = []
    for (corpus, data), control, scale, word, seed in itertools.product(
        pairs_of(o).items(), ("", *words(o.controls)), words(o.scales), words(o.arms),
        dict.fromkeys(str(int(seed)) for seed in words(o.seeds)),
    ):  # fmt: skip
        spec, _, place = word.partition("@")
        if not is_at(place, scale, seed):
            continue
        arm, format, ratio = parse_arm(spec)
        rates = SCALES[scale].lr
        more = CONTROLS[control].get(format, "") if control else ""
        more = more.format(**rates, same=f"{data}-same-sampling")
        if control and (not more or more == f"--lr {rates.get(format)}"):
            continue
        name = f"{corpus}/{scale}-{arm}{'-' * bool(control)}{control}-s{seed}"
        if o.only and not any(fnmatch.fnmatch(name, pattern) for pattern in words(o.only)):
            continue
        folder = f"{o.out}/{name}"
        learns = ["--scale", scale, "--format", format, "--data", data, "--seed", seed]
        learns += ["--ratio", ratio] if ratio else []
        learns += ["--out", folder, "--show", "0", *shlex.split(o.train), *shlex.split(more)]
        asks = [folder, "--benchmarks", o.benchmarks, *(["--ccsd", o.ccsd] if o.ccsd else [])]
        asks += shlex.split(o.evaluate)
        found.append(Cell(name, corpus, scale, arm, control, folder, tuple(learns), tuple(asks)))
    return list({cell.name: cell for cell in found}.values())  # an arm spelled twice is one


def generations(o: Options) -> dict[str, tuple[str, ...]]:
    """{folder of pairs: arguments of generate.py}, in a study that makes its pairs."""
    found = {}
    for word in words(o.corpora) if o.teacher else ():
        name, _, prompts = word.partition("=")
        folder = f"{o.out}/pairs/{name}"
        common = ("--teacher", o.teacher, "--prompts", prompts, *shlex.split(o.generate))
        found[folder] = (*common, "--out", folder)
        if "same-sampling" in words(o.controls):
            found[f"{folder}-same-sampling"] = (
                *common, "--same-sampling", "--out", f"{folder}-same-sampling",
            )  # fmt: skip
    return found


# ---- what is to be done ------------------------------------------------------------------------


def costs_of(o: Options, grid: list[Cell]) -> tuple[dict[Cell, Cost], dict[Cell, str]]:
    """What each cell costs; what is wrong with those whose pairs or options are."""
    costs, wrong = {}, {}
    for cell in grid:
        try:
            costs[cell] = cells.cost_of(o, cell)
        except hub.UserError as error:
            wrong[cell] = " ".join(str(error).split())
    return costs, wrong


def commands(o: Options, cell: Cell, devices: int) -> list[tuple[str, ...]]:
    """What makes a cell: train.py, which ends at once if it has finished, then evaluate.py."""
    engines = ("--data-parallel", str(devices)) if o.gpus and devices > 1 else ()
    return [("train", *cell.train), ("evaluate", *cell.evaluate, *engines)]


# ---- run: all that is left to do --------------------------------------------------------------


def make_pairs(o: Options, costs: dict, wrong: dict):
    """The teacher's part. Where it fails, the cells that need its pairs are wrong."""
    jobs = []
    for folder, arguments in generations(o).items():
        log = Path(o.out, "logs", f"{Path(folder).name}-pairs.log")
        jobs.append(workers.Job(folder, (("generate", *arguments),), o.gpus or o.cores, log))
    for outcome in workers.run(jobs, o.cores, o.gpus):
        print(f"{outcome.job.name}: {outcome.problem or 'made'}", flush=True)
        for cell in [c for c in costs if c.learns[0].data == outcome.job.name]:
            if outcome.problem:
                wrong[cell] = f"its pairs: {outcome.problem}"


def run(o: Options, grid: list[Cell], costs: dict, wrong: dict) -> int:
    """Makes the pairs, then every cell that is not done, the costliest first; then the report."""
    started = time.monotonic()
    make_pairs(o, costs, wrong)
    states = {cell: cells.state_of(o, cell) for cell in grid}
    by_name, jobs = {cell.name: cell for cell in grid}, []
    for cell in sorted(costs, key=lambda cell: -sum(costs[cell].seconds)):
        if states[cell] != "done" and cell not in wrong:
            log, devices = Path(o.out, "logs", f"{cell.name}.log"), costs[cell].devices
            jobs.append(workers.Job(cell.name, tuple(commands(o, cell, devices)), devices, log))

    def begin(job) -> str:
        cell = by_name[job.name]
        if any(map(files.is_held, (Path(cell.folder), Path(cell.folder, "answers")))):
            return ELSEWHERE
        cells.set_aside(o, cell, states[cell])
        cells.write_stamp(o, cell, "begun")
        return ""

    finished = len(grid) - len(jobs) - len(wrong)
    for outcome in workers.run(jobs, o.cores, o.gpus, begin):
        cell, finished = by_name[outcome.job.name], finished + 1
        how = "FAILED" if outcome.problem else overview.clock(outcome.seconds)
        if outcome.problem == ELSEWHERE:
            how = "elsewhere"  # whoever works on it stamps it
        else:
            cells.write_stamp(o, cell, "failed" if outcome.problem else "done", outcome.problem)
        if not outcome.problem:  # the model is whole: what it took to resume is not needed
            shutil.rmtree(Path(cell.folder, "checkpoints"), ignore_errors=True)
            if states[cell] == "to do":
                note_time(o, cell, costs[cell], outcome.seconds)
        left = overview.eta(o, costs)
        print(f"[{finished:>3}/{len(grid)}] {cell.name:38} {how:>9}, {left} left", flush=True)
    print(f"in all {overview.clock(time.monotonic() - started)}\n")
    return show(o, grid, wrong)


def note_time(o: Options, cell: Cell, cost: Cost, seconds: float):
    """times.jsonl: what differs from run to run, apart from what must not."""
    line = {"cell": cell.name, "seconds": seconds, "planned": sum(cost.seconds), "at": time.time()}
    with open(Path(o.out, "times.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def show(o: Options, grid: list[Cell], wrong: dict) -> int:
    """pareto.py on the cells that are done; the others are named, there and here."""
    flags, folders, failed = Flags(), [], {}
    for cell in grid:
        state = "failed" if cell in wrong else cells.state_of(o, cell)
        if state == "done":
            folders.append(cell.folder)
        elif state == "failed":
            failed[cell.name] = wrong.get(cell) or cells.read_stamp(o, cell)["problem"]
            flags.add(cell.name, f"failed: {failed[cell.name]}", "left out")
        else:
            flags.add(cell.name, f"not done: {state}", "left out")
    if folders and (code := pareto.main([*folders, "--out", f"{o.out}/report"], flags)):
        return code
    if folders:
        print(f"\n{overview.results(o, grid)}\n\nfigure: {o.out}/report/frontier-train.png")
    else:
        text = overview.states(o, grid)
        print(f"error: no run of {o.out} is done with these options: {text}", file=sys.stderr)
    for name, problem in failed.items():
        print(f"FAILED {name}: {problem}\n  its log: {o.out}/logs/{name}.log")
    return int(bool(failed) or not folders)


# ---- python study.py --------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> Options:
    """--train, --evaluate and --generate take what follows, even one word that looks like a flag;
    what a preset passes on stays, and comes first."""
    given, joined = list(sys.argv[1:] if arguments is None else arguments), []
    while given:
        word = given.pop(0)
        is_passed_on = word.startswith("--") and word[2:] in OF_THE_GRID and given
        joined.append(f"{word}={given.pop(0)}" if is_passed_on else word)

    def layers(given):
        preset = PRESETS.get(given.get("preset", "toy"), {})
        for name in OF_THE_GRID:
            if name in given:
                given[name] = f"{preset.get(name, '')} {given[name]}".strip()
        return {"preset": preset}

    o, _ = cli.parse(Options, joined, __doc__, layers, positional="action")
    o.out = str(Path(o.out or f"runs/study-{o.preset}").expanduser())
    is_linux = hasattr(os, "sched_getaffinity")
    o.cores = o.cores or (len(os.sched_getaffinity(0)) if is_linux else os.cpu_count())
    return o


def is_agreed() -> bool:
    if not sys.stdin.isatty():
        print("error: nothing was started; pass --yes to start without asking", file=sys.stderr)
        return False
    try:
        return input("\nStart? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def main(arguments: list[str] | None = None) -> int:
    o = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the runs are told
    try:
        if problems := check(o):
            raise hub.UserError("\n".join(problems))
        if not (cell_grid := grid(o)):
            raise hub.UserError(f"--only {o.only}: no run has such a name; plan --commands has all")
        if problems := evaluate.check_options(cell_grid[0].asks):
            raise hub.UserError("\n".join(problems))
        costs, wrong = costs_of(o, cell_grid)
        if not costs:
            raise hub.UserError("\n".join(dict.fromkeys(wrong.values())))
        if o.action == "report":
            return show(o, cell_grid, wrong)
        if o.action == "status":
            print(overview.status(o, cell_grid, costs, wrong))
            return 0
        if o.action == "plan" and o.commands:
            for arguments in generations(o).values():
                print(shlex.join(workers.typed("generate", arguments)))
            for cell, cost in costs.items():
                made = (workers.typed(c[0], c[1:], o.gpus and cost.devices)
                        for c in commands(o, cell, cost.devices))  # fmt: skip
                print(" && ".join(shlex.join(command) for command in made))
            for cell, problem in wrong.items():
                print(f"{cell.name} cannot run: {problem}", file=sys.stderr)
            return 0
        print(overview.plan(o, cell_grid, costs, wrong), flush=True)
        if o.action == "plan":
            return 0
        if not o.yes and not is_agreed():
            return 2
        mine = f"working-{zlib.crc32(o.only.encode()):08x}"  # others may work on other --only
        with files.exclusive(Path(o.out, mine)):
            return run(o, cell_grid, costs, wrong)
    except hub.UserError as error:
        return cli.fail(error)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, say
        print(f"error: {error}; the same command goes on from what is saved", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
