"""A trial of a study: one student, the recipe it is made by, and how far it is on disk.

state = state_of(o, trial)     # o: study.Options
"""

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import evaluate
import train
from common import files, hub
from config import SCALES
from data import rows
from data.benchmarks import TOY
from sweep.cost import Cost, answer_count
from training import setup


@dataclass(eq=False)
class Trial:
    name: str  # CORPUS/SCALE-ARM[-CONTROL]-sSEED, its folder in the study's
    corpus: str
    arm: str  # ift, reasoning, sequential-RHO or mixed-RHO
    control: str  # "": none
    commands: tuple[tuple[str, ...], ...]  # ("train", argument, ...), ("evaluate", argument, ...)
    training: train.Options  # what these commands say
    origin: dict  # of the options of training, as train.parse returns it
    evaluation: evaluate.Options
    cost: Cost | None = None
    problem: str = ""  # why it cannot run

    @property
    def folder(self) -> Path:
        return Path(self.training.out)


# ---- what a trial is made of ---------------------------------------------------------------------


def identity(path: str | None):
    """Tells files apart without reading them: a Hub id, or paths, sizes, times; None for none."""
    if not path or path == "scratch" or hub.is_hub_id(path):
        return path or None
    root = Path(path).expanduser()
    members = [root] if root.is_file() else sorted(root.rglob("*"))
    return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in members if f.is_file()]


def pairs_identity(data: str):
    """The same for pairs; of a folder only the files that are read count, by name."""
    try:
        return data if hub.is_hub_id(data) else rows.data_files(data)[1]
    except hub.UserError:
        return "missing"


def recipe(trial: Trial) -> dict:
    """All that a trial's weights, answers and scores depend on, except the code and the Hub."""
    t, e, student = trial.training, trial.evaluation, SCALES[trial.training.scale]
    names = evaluate.selected(e.benchmarks)
    weights = {k: v for k, v in vars(t).items() if k not in setup.MACHINE_OPTIONS}
    weights |= {"rates": student.lr, "base": identity(t.init), "pairs": pairs_identity(t.data)}
    weights["model"] = dataclasses.asdict(student.config) if t.init == "scratch" else None
    answers = {name: getattr(e, name) for name in evaluate.ANSWER_OPTIONS}
    answers["rows"] = [identity(e.data_dir), identity(e.ccsd)]
    answers["toy"] = pairs_identity("toy") if set(names) & set(TOY) else None
    scores = {name: getattr(e, name) for name in ("limit", "samples", "judge")}
    stages = {"train": weights, "answers": answers, "scores": {**scores, "benchmarks": names}}
    return json.loads(json.dumps(stages))  # tuples are lists, as in a stamp


# ---- how far it is -------------------------------------------------------------------------------

CHANGED = {"train": "to retrain", "answers": "to re-ask", "scores": "to rescore"}


def stamp_file(o, trial: Trial) -> Path:
    return Path(o.out, "trials", f"{trial.name}.json")


def read_stamp(o, trial: Trial) -> dict:
    """{state: begun, done or failed; problem; seconds; recipe}, or {} if it never began."""
    try:
        return json.loads(stamp_file(o, trial).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(o, trial: Trial, state: str, problem: str = "", seconds: float | None = None):
    """seconds: that all of it took, where this is known."""
    file = stamp_file(o, trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    stamp = {"state": state, "problem": problem, "seconds": seconds, "recipe": recipe(trial)}
    files.write_atomic(file, json.dumps(stamp, indent=2) + "\n")


def state_of(o, trial: Trial) -> str:
    """done, failed, begun or to do; or the first stage whose options differ from its stamp's."""
    if trial.problem:
        return "failed"
    if not (before := read_stamp(o, trial)):
        return "to do"  # train.py and evaluate.py refuse what others may have left there
    now = recipe(trial)
    changed = [name for stage, name in CHANGED.items() if before["recipe"].get(stage) != now[stage]]
    is_trained = (trial.folder / "summary.json").is_file()
    is_asked = before["state"] == "done" and not changed
    if is_trained and not is_asked and not (trial.folder / "model").is_dir():
        return CHANGED["train"]
    if changed:
        return changed[0]
    return "to do" if before["state"] == "done" and not is_trained else before["state"]


def problem_of(o, trial: Trial) -> str:
    """Why a failed trial failed."""
    return trial.problem or read_stamp(o, trial)["problem"]


def set_aside(o, trial: Trial, state: str):
    """Moves what other options have made out of the way, to replaced/ in the study's folder."""
    scores = ["scores", "scores.json"]
    stale = dict(zip(CHANGED.values(), (["."], ["answers", *scores], scores), strict=True))
    for path in [trial.folder / name for name in stale.get(state, ())]:
        if path.exists():
            place = Path(o.out, "replaced", path.relative_to(o.out))
            place.parent.mkdir(parents=True, exist_ok=True)
            numbered = (Path(f"{place}.{number}") for number in itertools.count(1))
            path.rename(next(new for new in numbered if not new.exists()))


def progress(trial: Trial) -> float:
    """The share of a trial's planned time that is spent, by the lines that it has written."""

    def lines(pattern: str) -> int:
        return sum(file.read_bytes().count(b"\n") for file in trial.folder.glob(pattern))

    training, evaluation = trial.cost.seconds
    training *= min(1, lines("metrics.jsonl") * trial.training.batch / trial.cost.samples)
    evaluation *= min(1, lines("answers/*.jsonl") / answer_count(trial))
    return (training + evaluation) / sum(trial.cost.seconds)
