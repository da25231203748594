"""From scored answers to what is kept and shown: scores/, scores.json, scores.csv, summary.json.

A benchmark's accuracy is the mean of its items' values, with its standard error; a family's is the
mean of its benchmarks, with stderr = sqrt(sum stderr^2) / k.
"""

import csv
import io
import json
import math
import os
import re
import textwrap
from pathlib import Path

import flops
from common import cli, files, hub
from data.benchmarks import BENCHMARKS
from scoring import rules

COUNTED = ("prompt_tokens", "generated_tokens", "finish_reason")  # of an answer, kept in its score
METRICS = {"squad": "f1", "coqa": "f1", "summary": "rouge_l"}  # others: accuracy
METHODS = ("paper", "exact")  # of counting FLOPs
COLUMNS = (
    "name family metric n accuracy stderr generated_tokens_right generated_tokens_wrong"
    " flops_paper flops_exact truncated no_answer opened_think"
).split()

# ---- files ---------------------------------------------------------------------------------------


def read_json(file: Path) -> dict:
    """The object in `file`, {} where there is none. Raises hub.UserError for a broken file."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError) as error:
        raise hub.UserError(f"{file}: cannot be read ({error}); move it away") from error


def read_lines(file: Path, columns: dict[str, type]) -> list[dict]:
    """The rows of a JSONL file, [] where there is none; cuts off a last line torn by a kill.

    Raises hub.UserError for any other line that is no object with these columns of these types.
    """
    text, rows = file.read_bytes() if file.is_file() else b"", []
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(file, len(whole))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = dict(json.loads(line))
            wrong = [name for name in columns if not isinstance(row.get(name), columns[name])]
        except (ValueError, TypeError) as error:
            row, wrong = None, [str(error)]
        if wrong:
            why = ", ".join(wrong)
            raise hub.UserError(f"{file}:{number}: not an answer ({why}); remove that line")
        rows.append(row)
    return rows


def append_line(file: Path, row: dict):
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")  # ASCII: a lone surrogate stays writable


def key_of(row: dict) -> tuple[str, int]:
    """(item's id, sample) of a row of answers/ or scores/."""
    return row["id"], row.get("sample", 0)


# ---- means ---------------------------------------------------------------------------------------


def mean(values) -> float | None:
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def of_benchmark(name: str, rows: list[dict], config, max_new: int = 0) -> dict:
    """One benchmark of summary.json. Several samples of an item are one value, their mean.

    clamped: the share of answers that the context left less than max_new tokens for.
    """
    by_item, by_verdict, is_judged = {}, {True: [], False: []}, "votes" in rows[0]
    for row in rows:
        is_right = row["value"] > 0.5 if is_judged else row["correct"]
        by_item.setdefault(row["id"], []).append(row["value"])
        by_verdict[is_right].append(row["charged_tokens"])
    values = [mean(samples) for samples in by_item.values()]
    accuracy, n = mean(values), len(values)
    variance = sum((value - accuracy) ** 2 for value in values) / max(1, n - 1)
    lengths = [(row["prompt_tokens"], row["charged_tokens"]) for row in rows]
    return {
        "family": BENCHMARKS[name].family,
        "metric": "jury" if is_judged else METRICS.get(BENCHMARKS[name].scorer, "accuracy"),
        "n": n,
        "accuracy": accuracy,
        "stderr": math.sqrt(variance / n),
        "prompt_tokens": mean(prompt for prompt, _ in lengths),
        "generated_tokens": mean(generated for _, generated in lengths),
        "generated_tokens_right": mean(by_verdict[True]),
        "generated_tokens_wrong": mean(by_verdict[False]),
        "inference_flops": {
            method: mean(flops.inference(config, p, g, method) for p, g in lengths)
            for method in METHODS
        },
        "truncated": mean(row["finish_reason"] == "length" for row in rows),
        "no_answer": mean(row["extracted"] is None for row in rows),
        "opened_think": mean(row["opened_think"] for row in rows),
        "clamped": mean(prompt + max_new > config.max_position_embeddings for prompt, _ in lengths),
    }


def of_families(benchmarks: dict[str, dict]) -> dict[str, dict]:
    """Families of summary.json. ROUGE-L is no accuracy: without a jury it stays out of its mean."""
    members, families = {}, {}
    for name, entry in benchmarks.items():
        if entry["metric"] != "rouge_l":
            members.setdefault(entry["family"], {})[name] = entry
    for family, by_name in members.items():
        entries = list(by_name.values())
        costs = [entry["inference_flops"] for entry in entries]
        families[family] = {
            key: mean(entry[key] for entry in entries)
            for key in entries[0]
            if key not in ("family", "metric", "inference_flops", "clamped")
        } | {
            "n": sum(entry["n"] for entry in entries),
            "stderr": math.sqrt(sum(entry["stderr"] ** 2 for entry in entries)) / len(entries),
            "inference_flops": {m: mean(cost[m] for cost in costs) for m in METHODS},
            "benchmarks": list(by_name),
        }
    return families


def changes(folder: Path, scores: dict) -> list[str]:
    """Which verdicts of the rules differ from those in scores/: a count, and up to five of them."""
    shown = {True: [], False: []}  # by whether the answer became right
    for name, rows in scores.items():
        wanted = {"id": str, "correct": bool, "value": float}
        try:
            before = {
                key_of(row): row for row in read_lines(folder / f"scores/{name}.jsonl", wanted)
            }
        except hub.UserError:
            continue  # nothing to compare with
        for row in rows:
            old = before.get(key_of(row), row)
            values = old.get("rules", old["value"]), row["value"]
            if (old["correct"], values[0]) != (row["correct"], values[1]):
                line = f"  {name} {row['id']}: {values[0]:.3g} -> {values[1]:.3g}, extracted"
                line += f" {old.get('extracted')!r} -> {row['extracted']!r}, gold {row['gold']!r}"
                shown[values[1] > values[0]].append(textwrap.shorten(line, 160, placeholder=" ..."))
    better, worse = len(shown[True]), len(shown[False])
    head = (
        f"verdicts that changed: {better + worse}, {better} for the better, {worse} for the worse"
    )
    lines = [*shown[True][: 5 - min(worse, 2)], *shown[False]][:5]
    lines = [
        textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="    ") for line in lines
    ]
    return [head, *lines] if better + worse else []


# ---- what is written and shown -------------------------------------------------------------------


def write(folder: Path, settings: dict, scores: dict, config, jury: str = "") -> str:
    """Writes everything; returns the table. Benchmarks scored before with these settings, by the
    same rules and the same `jury`, stay."""
    (folder / "scores").mkdir(exist_ok=True)
    for name, rows in scores.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        files.write_atomic(folder / "scores" / f"{name}.jsonl", lines)
    kept = {key: settings[key] for key in ("model", "weights", "options", "engine")}
    kept |= {"rules": rules(), "jury": jury}
    before = read_json(folder / "scores.json")
    entries = before.get("benchmarks", {}) if before.get("settings") == kept else {}
    max_new = settings["options"]["max_new"]
    entries |= {name: of_benchmark(name, rows, config, max_new) for name, rows in scores.items()}
    entries = {name: entries[name] for name in BENCHMARKS if name in entries}
    evaluated = {"benchmarks": entries, "families": of_families(entries)}
    summary = read_json(folder / "summary.json")
    summary = summary or {"model": settings["model"], "parameters": flops.parameters(config)}
    texts = {
        "scores.json": json.dumps({"settings": kept, **evaluated}, indent=2) + "\n",
        "scores.csv": as_csv(evaluated),
        "summary.json": json.dumps(summary | evaluated, indent=2) + "\n",
    }
    for name, text in texts.items():
        files.write_atomic(folder / name, text)
    return f"{table(evaluated)}\nwrote {folder}/scores, scores.json, scores.csv, summary.json"


def flat(evaluated: dict) -> list[dict]:
    """COLUMNS of every benchmark, then of every family."""
    return [
        {"name": name, "family": "", "metric": "mean", **entry}
        | {f"flops_{method}": cost for method, cost in entry["inference_flops"].items()}
        for name, entry in {**evaluated["benchmarks"], **evaluated["families"]}.items()
    ]


def as_csv(evaluated: dict) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat(evaluated))
    return text.getvalue()


def table(evaluated: dict) -> str:
    """For a terminal of 80 columns: shares in per cent, tokens of right and wrong answers."""
    lines, metrics = [["", "n", "score", "tokens +/-", "paper", "exact", "cut", "none"]], {}
    for row in flat(evaluated):
        tokens = (row["generated_tokens_right"], row["generated_tokens_wrong"])
        tokens = "/".join("-" if count is None else f"{count:.0f}" for count in tokens)
        score = f"{100 * row['accuracy']:.1f} ±{100 * row['stderr']:4.1f}"
        costs = [re.sub(r"e\+0?", "e", f"{row[f'flops_{method}']:.1e}") for method in METHODS]
        shares = [f"{100 * row[name]:.0f}" for name in ("truncated", "no_answer")]
        lines.append([row["name"], row["n"], score, tokens, *costs, *shares])
        if row["metric"] not in ("accuracy", "mean"):
            metrics.setdefault(row["metric"], []).append(row["name"])
    shares = [f"{name} {part['opened_think']:.0%}" for name, part in evaluated["families"].items()]
    notes = ["paper, exact: FLOPs of an answer; cut, none: per cent cut off, or without an answer"]
    notes.append(f"opened <think>: {', '.join(shares)}")
    notes += [f"{', '.join(names)}: the score is {metric}" for metric, names in metrics.items()]
    notes = [textwrap.fill(note, 80, subsequent_indent="  ") for note in notes]
    return "\n".join([*cli.table(lines), *notes])
