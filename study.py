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
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

import cells
import checkpoint
import cli
import evaluate
import flops
import hub
import pareto
import workers
from cells import Cell, Cost
from config import CORPORA, SCALES
from data import testsets
from runs import Flags

# ---- presets: what a study is -----------------------------------------------------------------

TOYS = "toy-xs,toy-s,toy-m,toy-l,toy-xl"
MIXES = ",".join(f"{order}-{rho}" for order in ("sequential", "mixed") for rho in (0.25, 0.5, 0.75))
PAPER = {
    "corpora": "general,math", "scales": "0.5b,1.5b,3b,7b,14b", "arms": f"ift,reasoning,{MIXES}",
    "benchmarks": "all", "gpus": 8,
}  # fmt: skip
SMALL = {**PAPER, "corpora": "general", "scales": "0.5b,1.5b", "arms": "ift,reasoning", "gpus": 1}
PRESETS = {
    "toy": {"corpora": "toy", "scales": TOYS, "benchmarks": "toy", "seeds": "0,1", "gpus": 0,
            "arms": "ift,reasoning,sequential-0.25@toy-m-s0,mixed-0.5@toy-m-s0"},
    "toy-full": {"corpora": "toy", "scales": TOYS, "benchmarks": "toy", "seeds": "0,1,2", "gpus": 0,
                 "arms": f"ift,reasoning,{MIXES}"},
    "paper": PAPER,
    "paper-small": {**SMALL, "corpora": "general,math", "arms": f"ift,reasoning,{MIXES}"},
    "lr-matched": {**SMALL, "controls": "lr-matched"},
    "token-matched": {**SMALL, "controls": "token-matched"},
    "flops-matched": {**SMALL, "controls": "flops-matched"},
    "sample-mean": {**SMALL, "arms": "ift,reasoning,mixed-0.25", "controls": "sample-mean"},
    "same-sampling": {**SMALL, "corpora": "general=BAAI/Infinity-Instruct", "gpus": 8,
                      "teacher": "Qwen/Qwen3-235B-A22B", "controls": "same-sampling"},
    "seeds": {**SMALL, "seeds": "0,1,2"},
}  # fmt: skip

# What the paper leaves open: further runs beside the arms, by format, with options of train.py.
# {ift} and {reasoning} are the scale's peak learning rates; {same} is pairs of one sampling.
ALL = ("ift", "reasoning", "sequential", "mixed")
CONTROLS = {
    "lr-matched": {"ift": "--lr {reasoning}", "reasoning": "--lr {ift}"},
    "token-matched": {"reasoning": "--match tokens"},
    "flops-matched": {"reasoning": "--match flops"},
    "sample-mean": dict.fromkeys(ALL, "--loss-mean sample"),
    "same-sampling": dict.fromkeys(ALL, "--data {same}"),
}


@dataclass
class Options:
    action: str = ""  # plan (print the grid and its cost), run, status or report
    preset: str = "toy"  # toy toy-full paper paper-small, or a control: study.PRESETS
    out: str = ""  # folder of the study (default: runs/study-PRESET)
    # the grid; a preset sets these, and each may be set anew
    corpora: str = "general"  # general, math (the paper's), toy, or NAME=PAIRS; with commas
    scales: str = ""  # rows of config.SCALES
    arms: str = ""  # ift, reasoning, sequential-RHO, mixed-RHO; @SCALE*: there alone
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
                problems.append(cli.not_one_of(name, value, choices))

    known("action", [o.action], ("plan", "run", "status", "report"))
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
        if at and not fnmatch.filter(places(o), place):
            problems.append(f"--arms {word}: {place} is no SCALE-sSEED of this grid; toy-m* is")
    for seed in words(o.seeds) or [""]:
        if not re.fullmatch(r"\d{1,18}", seed):
            problems.append(f"--seeds {seed or '(not given)'}: whole numbers, like 0,1,2")
    for word in words(o.corpora) or [""]:
        name, given, source = word.partition("=")
        if given and not (re.fullmatch(r"[\w.-]+", name) and source):
            problems.append(f"--corpora {word}: NAME=PATH or NAME=HUB_ID")
        elif not given and (o.teacher or word not in (*CORPORA, "toy")):
            what = "PROMPTS" if o.teacher else "PAIRS"
            problems.append(
                f"--corpora {word or '(not given)'}: {', '.join(CORPORA)}, toy, or NAME={what}, a"
                " path or Hub id; a teacher needs its prompts"
            )
    try:
        asks = evaluate.selected(o.benchmarks)
        if o.action == "run" and "c_code_summarization" in asks and not o.ccsd + o.evaluate:
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
    for name in ("train", "evaluate", "generate"):
        try:
            shlex.split(getattr(o, name))
        except ValueError as error:
            problems.append(f"--{name} {getattr(o, name)}: {error}")
    return problems


def places(o: Options) -> list[str]:
    return [f"{scale}-s{seed}" for scale in words(o.scales) for seed in words(o.seeds)]


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
        words(o.seeds),
    ):  # fmt: skip
        spec, _, place = word.partition("@")
        if place and not fnmatch.fnmatch(f"{scale}-s{seed}", place):
            continue
        arm, format, ratio = parse_arm(spec)
        rates = SCALES[scale].lr
        more = CONTROLS[control].get(format, "") if control else ""
        more = more.format(**rates, same=f"{data}-same-sampling")
        if control and (not more or more == f"--lr {rates[format]}"):
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
    return found


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


# ---- plan: the grid and its cost --------------------------------------------------------------


def costs_of(o: Options, grid: list[Cell]) -> tuple[dict[Cell, Cost], dict[Cell, str]]:
    """What each cell costs; what is wrong with those whose pairs or options are."""
    costs, wrong = {}, {}
    for cell in grid:
        try:
            costs[cell] = cells.cost_of(o, cell)
        except hub.UserError as error:
            wrong[cell] = str(error)
    return costs, wrong


def plan(o: Options, grid: list[Cell], costs: dict, wrong: dict) -> str:
    """The grid in 80 columns: every arm with its seeds summed, what is left to do, the totals."""
    states = {cell: cells.state_of(o, cell) for cell in grid}
    lines, unit, hour = [], *(("GPU-h", 1) if o.gpus else ("core-min", 60))
    groups = {}
    for cell in costs:
        groups.setdefault(cell.row, []).append(cell)
    section = None
    for (corpus, control, scale, arm), members in groups.items():
        if section != (section := (corpus, control)):
            lines += ["", f"{corpus}{', ' * bool(control)}{control}: {members[0].learns[0].data}"]
            lines += [f"{'':18}{'runs':>5}{'samples':>8}{'tokens':>7}{'train':>8}{'answers':>8}"
                      f"{unit:>9}{'memory':>9}{'disk':>8}"]  # fmt: skip
        part = [costs[cell] for cell in members]
        need = f"{part[0].devices}x" if o.gpus else ""
        need += f"{amount(round(part[0].memory))}B"
        need += "" if cells.fits(o, part[0].memory) else "!"
        total = sum_of(part)
        lines.append(
            f"{scale} {short(arm):{17 - len(scale)}}{len(part):>5}{amount(total['samples']):>8}"
            f"{amount(total['tokens']):>7}{total['train']['exact']:>8.1e}"
            f"{total['answers']['exact']:>8.1e}{hour * total['hours']:>9,.1f}"
            f"{need:>9}{amount(total['disk']):>8}"
        )
    for cell, problem in wrong.items():
        lines += ["", f"{cell.name} cannot run:", f"  {problem}"]
    lines += ["", *totals(o, costs, states)]
    return "\n".join(line.replace("e+", "e") for line in lines[1:])


def totals(o: Options, costs: dict, states: dict) -> list[str]:
    """FLOPs by stage and in all, what is left to do, and by which assumptions."""
    total = sum_of(costs.values())
    lines = [f"{len(costs)} runs{'':24}{'paper':>12}{'exact':>12}"]
    for name, key in (("training, 3 x forward", "train"), ("evaluation", "answers")):
        lines.append(f"{name:32}{total[key]['paper']:12.3e}{total[key]['exact']:12.3e}")
    both = [total["train"][m] + total["answers"][m] for m in ("paper", "exact")]
    lines.append(f"{'total':32}{both[0]:12.3e}{both[1]:12.3e}")
    left = [cost for cell, cost in costs.items() if states[cell] != "done"]
    hours = sum_of(left)["hours"]
    counts = {}
    for cell in costs:
        counts[states[cell]] = counts.get(states[cell], 0) + 1
    said = ", ".join(f"{n} {state}" for state, n in counts.items())
    lines += ["", f"now {said}; {amount(sum(c.disk for c in left))}B of disk to write"]
    if o.gpus:
        most = max(flops.parameters(SCALES[cell.scale].config) for cell in costs)
        lines += [
            f"{hours:,.0f} GPU-hours are left, {hours / o.gpus / 24:,.1f} days on {o.gpus} GPU(s):"
            f" exact FLOPs on {o.gpu} at an",
            f"assumed MFU of {o.mfu:.0%}, in decoding as well; not measured. The largest student's"
            " checkpoints",
            f"take {24 * most / 1e9:,.0f} GB while it trains. Memory of each GPU is an estimate.",
        ]
    else:
        lines.append(
            f"about {60 * hours / o.cores:,.0f} minutes on {o.cores} core(s), by the speed of"
            " another machine's (LOG.md)"
        )
    if any(not cells.fits(o, cost.memory) for cost in costs.values()):
        lines.append(
            f"! does not fit {o.gpus} x {flops.MEMORY[o.gpu] / 1e9:.0f} GB: another --gpu, more"
            ' --gpus, --train "--max-len 8192"'
        )
    if any(cost.is_estimate for cost in costs.values()):
        lines.append("samples have the mean lengths of their corpus; pairs on disk are counted")
    return lines


def sum_of(costs) -> dict:
    costs = list(costs)
    found = {name: sum(getattr(cost, name) for cost in costs)
             for name in ("samples", "tokens", "disk")}  # fmt: skip
    for name in ("train", "answers"):
        methods = ("paper", "exact")
        found[name] = {m: sum(getattr(cost, name)[m] for cost in costs) for m in methods}
    found["hours"] = sum(cost.devices * sum(cost.seconds) for cost in costs) / 3600
    return found


def amount(count: int) -> str:
    """1,300,000 as 1.3M, in at most five letters."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def short(arm: str) -> str:
    return arm.replace("sequential-", "seq. ").replace("mixed-", "mixed ")


def commands(o: Options, cell: Cell, devices: int) -> list[tuple[str, ...]]:
    """What makes a cell: train.py, unless it has finished, then evaluate.py."""
    found = [("evaluate", *cell.evaluate)]
    if o.gpus and devices > 1:
        found = [(*found[0], "--data-parallel", str(devices))]
    is_trained = Path(cell.folder, "model").is_dir() and Path(cell.folder, "summary.json").is_file()
    return found if is_trained else [("train", *cell.train), *found]


# ---- run: all that is left to do --------------------------------------------------------------


def run(o: Options, grid: list[Cell], costs: dict, wrong: dict) -> int:
    """Makes the pairs, then every cell that is not done, the costliest first; then the report."""
    started, out = time.monotonic(), Path(o.out)
    states = {cell: cells.state_of(o, cell) for cell in grid}
    jobs = [
        workers.Job(folder, (("generate", *arguments),), o.gpus or o.cores,
                    out / "logs" / f"{Path(folder).name}-pairs.log")
        for folder, arguments in generations(o).items()
    ]  # fmt: skip
    for outcome in workers.run(jobs, o.cores, o.gpus):
        print(f"{outcome.job.name}: {outcome.problem or 'made'}", flush=True)
    by_name = {cell.name: cell for cell in costs}
    jobs = []
    for cell in sorted(costs, key=lambda cell: -sum(costs[cell].seconds)):
        if states[cell] == "done":
            continue
        cells.set_aside(o, cell, states[cell])
        cells.write_stamp(o, cell, "begun")
        devices = costs[cell].devices
        log = out / "logs" / f"{cell.name}.log"
        jobs.append(workers.Job(cell.name, tuple(commands(o, cell, devices)), devices, log))
    for cell, problem in wrong.items():
        cells.write_stamp(o, cell, "failed", problem)
    finished = len(grid) - len(jobs) - len(wrong)
    for outcome in workers.run(jobs, o.cores, o.gpus):
        cell, finished = by_name[outcome.job.name], finished + 1
        cells.write_stamp(o, cell, "failed" if outcome.problem else "done", outcome.problem)
        if not outcome.problem:  # the model is whole: what it took to resume is not needed
            shutil.rmtree(Path(cell.folder, "checkpoints"), ignore_errors=True)
            note_time(o, cell, costs[cell], outcome.seconds)
        print(f"[{finished:>{len(str(len(grid)))}}/{len(grid)}] {cell.name:36} "
              + (f"FAILED: {outcome.problem}" if outcome.problem else result(cell))
              + f"  {clock(outcome.seconds)}, {eta(o, costs)} left", flush=True)  # fmt: skip
    print(f"\nin all {clock(time.monotonic() - started)}\n")
    return show(o, grid)


def result(cell: Cell) -> str:
    families = json.loads(Path(cell.folder, "scores.json").read_text(encoding="utf-8"))["families"]
    return f"{sum(part['accuracy'] for part in families.values()) / len(families):6.1%}"


def clock(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} days"


def note_time(o: Options, cell: Cell, cost: Cost, seconds: float):
    """times.jsonl: what differs from run to run, apart from what must not."""
    line = {"cell": cell.name, "seconds": seconds, "planned": sum(cost.seconds), "at": time.time()}
    with open(Path(o.out, "times.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def eta(o: Options, costs: dict) -> str:
    """The planned time of what is not done, corrected by what was measured of what is."""
    left = sum(
        cost.devices * sum(cost.seconds) * (1 - cells.progress(cell, cost))
        for cell, cost in costs.items() if cells.state_of(o, cell) not in ("done", "failed")
    )  # fmt: skip
    try:
        text = Path(o.out, "times.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError):
        lines = []
    pace = (
        sum(line["seconds"] for line in lines) / sum(line["planned"] for line in lines or [{}])
        if lines
        else 1.0
    )
    return "about " + clock(left * pace / (o.gpus or o.cores))


# ---- status and report ------------------------------------------------------------------------


def status(o: Options, grid: list[Cell], costs: dict) -> str:
    """The grid: rows are scales, columns arms; how many seeds are done, or how far they are."""
    lines, failed = [], []
    for corpus, control in dict.fromkeys((cell.corpus, cell.control) for cell in grid):
        here = [cell for cell in grid if (cell.corpus, cell.control) == (corpus, control)]
        arms = list(dict.fromkeys(cell.arm for cell in here))
        heads = [short(arm).replace("mixed", "mix").replace("reasoning", "reason") for arm in arms]
        lines += ["", f"{corpus}{', ' * bool(control)}{control}",
                  f"{'':8}" + "".join(f"{head:>9}" for head in heads)]  # fmt: skip
        for scale in dict.fromkeys(cell.scale for cell in here):
            texts = []
            for arm in arms:
                mine = [cell for cell in here if (cell.scale, cell.arm) == (scale, arm)]
                texts.append(f"{seeds_of(o, mine, costs):>9}")
            lines.append(f"{scale:8}" + "".join(texts))
        for cell in here:
            stamp = cells.read_stamp(o, cell)
            if stamp.get("state") == "failed":
                failed.append(f"failed: {cell.name}: {stamp['problem']}")
    done = sum(cells.state_of(o, cell) == "done" for cell in grid)
    lines += ["", f"{done} of {len(grid)} done, {eta(o, costs)} of work left", *failed]
    return "\n".join(lines[1:])


def seeds_of(o: Options, mine: list[Cell], costs: dict) -> str:
    """2/2, 1/2 40%, or what is the matter."""
    if not mine:
        return ""
    states = [cells.state_of(o, cell) for cell in mine]
    done = f"{states.count('done')}/{len(mine)}"
    for state in ("failed", *cells.CHANGED.values()):
        if state in states:
            return f"{done} {state.split()[0][:4]}"
    begun = [cells.progress(c, costs[c]) for c, s in zip(mine, states, strict=True)
             if s == "begun" and c in costs]  # fmt: skip
    return f"{done} {max(begun):.0%}" if begun and max(begun) > 0 else done


def show(o: Options, grid: list[Cell]) -> int:
    """pareto.py on the cells that are done; the others are named in its report."""
    flags, folders, failed = Flags(), [], 0
    for cell in grid:
        state = cells.state_of(o, cell)
        if state == "done":
            folders.append(cell.folder)
            continue
        problem = cells.read_stamp(o, cell).get("problem", "") if state == "failed" else ""
        failed += state == "failed"
        why = f"{state}: {problem}" if problem else f"not done ({state})"
        flags.add(cell.name, why, "left out")
        if problem:
            print(f"FAILED  {cell.name}: {problem}\n        see {o.out}/logs/{cell.name}.log")
    if not folders:
        print(f"error: no run in {o.out} is done", file=sys.stderr)
        return 1
    code = pareto.main([*folders, "--out", f"{o.out}/report"], flags)
    return code or int(failed > 0)


# ---- python study.py --------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> Options:
    def layers(given):
        return {"preset": PRESETS.get(given.get("preset", "toy"), {})}

    o, _ = cli.parse(Options, arguments, __doc__, layers, positional="action")
    o.out = o.out or f"runs/study-{o.preset}"
    is_linux = hasattr(os, "sched_getaffinity")
    o.cores = o.cores or (len(os.sched_getaffinity(0)) if is_linux else os.cpu_count())
    return o


def is_agreed() -> bool:
    if not sys.stdin.isatty():
        print("error: nothing was started; pass --yes to start without asking", file=sys.stderr)
        return False
    return input("\nStart? [y/N] ").strip().lower() in ("y", "yes")


def main(arguments: list[str] | None = None) -> int:
    o = parse(arguments)
    try:
        if problems := check(o):
            raise hub.UserError("\n".join(problems))
        if not (cell_grid := grid(o)):
            raise hub.UserError(f"--only {o.only}: no run has such a name; plan --commands has all")
        if o.action == "report":
            return show(o, cell_grid)
        costs, wrong = costs_of(o, cell_grid)
        if not costs:
            raise hub.UserError("\n".join(dict.fromkeys(wrong.values())))
        if o.action == "status":
            print(status(o, cell_grid, costs))
            return 0
        if o.action == "plan" and o.commands:
            for cell, cost in costs.items():
                made = (workers.typed(c[0], c[1:], o.gpus and cost.devices)
                        for c in commands(o, cell, cost.devices))  # fmt: skip
                print(" && ".join(shlex.join(command) for command in made))
            return 0
        print(plan(o, cell_grid, costs, wrong), flush=True)
        if o.action == "plan":
            return 0
        if not o.yes and not is_agreed():
            return 2
        mine = f"working-{zlib.crc32(o.only.encode()):08x}"  # others may work on other --only
        with checkpoint.only_run(Path(o.out, mine)):
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
