"""What study.py shows of a study in 80 columns: its plan, its status, its results."""

import csv
import json
from collections import Counter
from pathlib import Path

import flops
from config import SCALES
from sweep import trials as cells
from sweep.trials import Cell

# ---- the plan: the grid and its cost ----------------------------------------------------------


def plan(o, grid: list[Cell], costs: dict, wrong: dict) -> str:
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


def totals(o, costs: dict, states: dict) -> list[str]:
    """FLOPs by stage and in all, what is left to do, and by which assumptions."""
    total = sum_of(costs.values())
    stages = {"training, 3 x forward": total["train"], "evaluation": total["answers"]}
    if o.teacher:
        folders = {cell.learns[0].data for cell in costs}
        stages["generation by the teacher"] = cells.teaching(o, folders)
    stages["total"] = {m: sum(stage[m] for stage in stages.values()) for m in ("paper", "exact")}
    lines = [f"{f'{len(costs)} runs':32}{'paper':>12}{'exact':>12}"]
    lines += [f"{name:32}{cost['paper']:12.3e}{cost['exact']:12.3e}"
              for name, cost in stages.items()]  # fmt: skip
    left = sum_of(cost for cell, cost in costs.items() if states[cell] != "done")
    said = count(states[cell] for cell in costs)
    lines += ["", f"now {said}; {amount(left['disk'])}B of disk to write"]
    if o.gpus:
        taught = stages.get("generation by the teacher", {"exact": 0})["exact"]
        hours = left["hours"] + taught / flops.PEAK[o.gpu] / o.mfu / 3600
        most = max(flops.parameters(SCALES[cell.scale].config) for cell in costs)
        lines += [
            f"{hours:,.0f} GPU-hours are left, {hours / o.gpus / 24:,.1f} days on {o.gpus} GPU(s):"
            f" exact FLOPs on {o.gpu}",
            f"at an assumed MFU of {o.mfu:.0%}, in decoding as well; not measured. The largest",
            f"student's checkpoints take {24 * most / 1e9:,.0f} GB while it trains; memory is an"
            " estimate.",
        ]
    else:
        lines.append(
            f"about {60 * left['hours'] / o.cores:,.0f} minutes on {o.cores} core(s), at the speed"
            " of the machine in LOG.md"
        )
    if any(not cells.fits(o, cost.memory) for cost in costs.values()):
        lines.append(
            f"! does not fit {o.gpus} x {flops.MEMORY[o.gpu] / 1e9:.0f} GB: another --gpu, more"
            ' --gpus, --train "--max-len 8192"'
        )
    if any(cost.is_estimate for cost in costs.values()):
        lines.append("samples have the mean lengths of their corpus; pairs on disk are counted")
    return lines


def count(states) -> str:
    return ", ".join(f"{number} {state}" for state, number in Counter(states).items())


def states(o, grid: list[Cell]) -> str:
    return count(cells.state_of(o, cell) for cell in grid)


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


# ---- how far it is, and what came out ---------------------------------------------------------


def status(o, grid: list[Cell], costs: dict, wrong: dict) -> str:
    """How many seeds of every arm are done, or how far they are; what failed; the time left."""
    states = {cell: "failed" if cell in wrong else cells.state_of(o, cell) for cell in grid}

    def text(mine: list[Cell]) -> str:
        done = f"{sum(states[cell] == 'done' for cell in mine)}/{len(mine)}"
        for state in ("failed", *cells.CHANGED.values()):
            if state in [states[cell] for cell in mine]:
                return f"{done} {state.split()[0][:4]}"
        begun = [cells.progress(c, costs[c]) for c in mine if states[c] == "begun" and c in costs]
        return f"{done} {max(begun):.0%}" if any(begun) else done

    lines = table(grid, text)
    done = sum(state == "done" for state in states.values())
    lines += ["", f"{done} of {len(grid)} done, about {eta(o, costs)} left"]
    for cell, state in states.items():
        if state == "failed":
            problem = wrong.get(cell) or cells.read_stamp(o, cell)["problem"]
            lines.append(f"failed: {cell.name}: {problem}")
    return "\n".join(lines)


def results(o, grid: list[Cell]) -> str:
    """Accuracy of every arm by report/points.csv: per cent, mean of its families and seeds."""

    def rows(name: str) -> list[dict]:
        with open(Path(o.out, "report", f"{name}.csv"), encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["name"] == "all"]

    best = {row["arm"] for row in rows("frontier")
            if row["cost"] == "train" and row["on_frontier"] == "True"}  # fmt: skip
    points = {name: row for row in rows("points") for name in row["runs"].split("; ")}

    def text(mine: list[Cell]) -> str:
        for cell in mine:
            if row := points.get(cell.name) or points.get(Path(cell.name).name):
                return f"{100 * float(row['accuracy']):.1f}{'*' if row['arm'] in best else ' '}"
        return ""

    head = "accuracy, mean of the families in per cent; * on the frontier of training FLOPs"
    return "\n".join([head, *table(grid, text)])


def table(grid: list[Cell], text) -> list[str]:
    """Lines of a table for every corpus and control: text(cells) at every scale and arm."""
    lines = []
    for corpus, control in dict.fromkeys((cell.corpus, cell.control) for cell in grid):
        here = [cell for cell in grid if (cell.corpus, cell.control) == (corpus, control)]
        arms = list(dict.fromkeys(cell.arm for cell in here))
        heads = [arm.replace("sequential-0", "seq ").replace("mixed-0", "mix ") for arm in arms]
        width = 9 if len(arms) > 6 else 11
        lines += ["", f"{corpus}{', ' * bool(control)}{control}"]
        lines += [f"{'':8}" + "".join(f"{head.replace('reasoning', 'reason.'):>{width}}"
                                      for head in heads)]  # fmt: skip
        for scale in dict.fromkeys(cell.scale for cell in here):
            line = f"{scale:8}"
            for arm in arms:
                mine = [cell for cell in here if (cell.scale, cell.arm) == (scale, arm)]
                line += f"{text(mine) if mine else '':>{width}}"
            lines.append(line.rstrip())
    return lines[1:]


def eta(o, costs: dict) -> str:
    """The planned time of what is not done, corrected by what was measured of what is."""
    left = sum(
        cost.devices * sum(cost.seconds) * (1 - cells.progress(cell, cost))
        for cell, cost in costs.items()
        if cells.state_of(o, cell) not in ("done", "failed")
    )
    measured = planned = 0.0
    file = Path(o.out, "times.jsonl")
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        measured, planned = measured + row["seconds"], planned + row["planned"]
    pace = measured / planned if planned else 1
    return clock(left * pace / (o.gpus or o.cores))


def clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} days"
