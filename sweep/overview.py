"""What study.py shows of a study in 80 columns: its plan, its status, its results."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from operator import attrgetter
from pathlib import Path

import flops
from common import cli
from config import SCALES
from sweep.cost import METHODS, fits, teacher_flops
from sweep.trials import CHANGED, Trial, problem_of, progress, read_stamp, state_of

# ---- the plan: the grid and its cost ----------------------------------------------------------


def plan(o, trials: list[Trial]) -> str:
    """The grid in 80 columns: every arm with its seeds summed, what is left to do, the totals."""
    costed = [trial for trial in trials if trial.cost]
    heads = ["", "runs", "samples", "tokens", "train", "eval", "GPU-h" if o.gpus else "minutes"]
    lines = []
    for section, members in groups(costed, "corpus", "control").items():
        rows = [[*heads, "memory", "disk"]]
        rows += [arm_row(o, seeds) for seeds in groups(members, "training.scale", "arm").values()]
        title = ", ".join(filter(None, section))
        lines += [f"{title}: {members[0].training.data}", *cli.table(rows), ""]
    return "\n".join([*lines, *totals(o, costed), *failures(o, trials)])


def arm_row(o, seeds: list[Trial]) -> list:
    cost = seeds[0].cost
    need = f"{cost.devices}x" * bool(o.gpus) + amount(round(cost.memory))
    need += "" if fits(o, cost.memory) else "!"
    sizes = [amount(total(seeds, name)) for name in ("samples", "tokens")]
    compute = [power(total(seeds, name, "exact"), 1) for name in ("train", "answers")]
    time = total(seeds, "device_seconds") / (3600 if o.gpus else 60)
    name, disk = f"{seeds[0].training.scale} {short(seeds[0].arm)}", amount(total(seeds, "disk"))
    return [name, len(seeds), *sizes, *compute, f"{time:,.1f}", need, disk]


def totals(o, trials: list[Trial]) -> list[str]:
    """FLOPs by stage and in all, what is left to do, and by which assumptions."""
    states = {trial: state_of(o, trial) for trial in trials}
    left = [trial for trial in trials if states[trial] != "done"]
    seconds = total(left, "device_seconds")
    stages = {"training, 3 x forward": [total(trials, "train", m) for m in METHODS]}
    stages["evaluation"] = [total(trials, "answers", m) for m in METHODS]
    if o.teacher:
        teacher = teacher_flops(o, {trial.training.data for trial in trials})
        stages["generation by the teacher"] = list(teacher.values())
        seconds += teacher["exact"] / flops.PEAK[o.gpu] / o.mfu if o.gpus else 0
    stages["total"] = [sum(column) for column in zip(*stages.values(), strict=True)]
    rows = [[name, *(power(value, 3) for value in values)] for name, values in stages.items()]
    lines = cli.table([[f"{len(trials)} runs", *METHODS], *rows])
    lines += ["", f"now {counts(states.values())}; {amount(total(left, 'disk'))}B of disk to write"]
    if o.gpus:
        hours, days = seconds / 3600, seconds / o.gpus / 86_400
        most = max(flops.parameters(SCALES[trial.training.scale].config) for trial in trials)
        lines.append(f"""\
{hours:,.0f} GPU-hours are left, {days:,.1f} days on {o.gpus} GPU(s): exact FLOPs on {o.gpu}
at an assumed MFU of {o.mfu:.0%}, in decoding as well; not measured. The largest
student's checkpoints take {24 * most / 1e9:,.0f} GB while it trains; memory is an estimate.""")
    else:
        minutes = f"about {seconds / o.cores / 60:,.0f} minutes on {o.cores} core(s)"
        lines.append(f"{minutes}, at the speed of the machine in LOG.md")
    if not all(fits(o, trial.cost.memory) for trial in trials):
        size = f"! does not fit {o.gpus} x {flops.MEMORY[o.gpu] / 1e9:.0f} GB"
        lines.append(f'{size}: another --gpu, more --gpus, --train "--max-len 8192"')
    if any(trial.cost.is_estimate for trial in trials):
        lines.append("samples have the mean lengths of their corpus; pairs on disk are counted")
    return lines


def total(trials: list[Trial], name: str, method: str = "") -> float:
    """The sum of a field of the trials' costs; method: of a field of FLOPs."""
    values = [getattr(trial.cost, name) for trial in trials]
    return sum(value[method] for value in values) if method else sum(values)


# ---- how far it is, and what came out ---------------------------------------------------------


def status(o, trials: list[Trial]) -> str:
    """How many seeds of every arm are done, or what they wait for; what failed; the time left."""
    states = {trial: state_of(o, trial) for trial in trials}

    def cell(seeds: list[Trial]) -> str:
        for state in ("failed", *CHANGED.values()):
            if state in [states[trial] for trial in seeds]:
                return state.removeprefix("to ")
        done = f"{sum(states[trial] == 'done' for trial in seeds)}/{len(seeds)}"
        begun = max(progress(trial) if states[trial] == "begun" else 0 for trial in seeds)
        return f"{done} {begun:.0%}" if begun else done

    done = sum(state == "done" for state in states.values())
    lines = [*by_scale_and_arm(trials, cell), ""]
    lines.append(f"{done} of {len(trials)} done, about {time_left(o, trials)} left")
    return "\n".join([*lines, *failures(o, trials)])


def results(trials: list[Trial], tables: dict[str, list[dict]]) -> str:
    """Accuracy of every arm in per cent, mean of its families and seeds.

    tables: the rows of points and frontier that pareto.compare returns.
    """
    points = [row for row in tables["points"] if row["name"] == "all"]
    frontier = [row for row in tables["frontier"] if row["name"] == "all" and row["on_frontier"]]
    best = {row["arm"] for row in frontier if row["cost"] == "train"}
    by_run = {run: row for row in points for run in row["runs"].split("; ")}

    def cell(seeds: list[Trial]) -> str:
        for trial in seeds:
            if row := by_run.get(trial.name) or by_run.get(trial.folder.name):
                return f"{100 * row['accuracy']:.1f}{'*' if row['arm'] in best else ' '}"
        return ""

    head = "accuracy, mean of the families in per cent; * on the frontier of training FLOPs"
    return "\n".join([head, *by_scale_and_arm(trials, cell)])


def failures(o, trials: list[Trial]) -> list[str]:
    failed = [trial for trial in trials if state_of(o, trial) == "failed"]
    logs = Path(o.out, "logs")
    return [f"FAILED {t.name}: {problem_of(o, t)}\n  its log: {logs / t.name}.log" for t in failed]


def by_scale_and_arm(trials: list[Trial], cell) -> list[str]:
    """Lines of a table for every corpus and control: cell(seeds) at every scale and arm."""
    lines = []
    for section, members in groups(trials, "corpus", "control").items():
        arms = list(dict.fromkeys(trial.arm for trial in members))
        rows = [["", *map(short, arms)]]
        for scale, students in groups(members, "training.scale").items():
            seeds = groups(students, "arm")
            rows.append([scale, *(cell(seeds[arm]) if arm in seeds else "" for arm in arms)])
        lines += ["", ", ".join(filter(None, section)), *cli.table(rows)]
    return lines[1:]


def time_left(o, trials: list[Trial]) -> str:
    """The planned time of what is not done, corrected by the measured time of what is."""
    left = measured = planned = 0.0
    for trial in trials:
        state, seconds = state_of(o, trial), read_stamp(o, trial).get("seconds")
        if state not in ("done", "failed"):
            left += trial.cost.device_seconds * (1 - progress(trial))
        elif trial.cost and seconds:
            measured, planned = measured + seconds, planned + sum(trial.cost.seconds)
    return clock(left * (measured / planned if planned else 1) / (o.gpus or o.cores))


# ---- words and numbers --------------------------------------------------------------------------


def groups(trials: list[Trial], *names: str) -> dict:
    """{value or values of these attributes: the trials that have them}, in order."""
    members = {}
    for trial in trials:
        members.setdefault(attrgetter(*names)(trial), []).append(trial)
    return members


def counts(states: Iterable[str]) -> str:
    return ", ".join(f"{number} {state}" for state, number in Counter(states).items())


def short(arm: str) -> str:
    return arm.replace("sequential-0", "seq ").replace("mixed-0", "mix ")


def power(value: int, digits: int) -> str:
    return f"{value:.{digits}e}".replace("e+", "e")


def amount(count: int) -> str:
    """1,300,000 as 1.3M, in at most five letters."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def clock(seconds: float) -> str:
    """hours:minutes:seconds, after the number of days if there are any."""
    return str(timedelta(seconds=round(seconds)))
