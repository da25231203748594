"""From scored answers to what is kept and shown: scores/, scores.json, scores.csv, summary.json.

A benchmark's accuracy is the mean of its items' values, with its standard error; a family's is the
mean of its benchmarks, with stderr = sqrt(sum stderr^2) / k.
"""

import csv
import io
import json
import math
import re
import textwrap
from pathlib import Path

import flops
from common import files
from data.benchmarks import BENCHMARKS

COUNTED = ("prompt_tokens", "generated_tokens", "finish_reason")  # of an answer, kept in its score
METRICS = {"squad": "f1", "coqa": "f1", "summary": "rouge_l"}  # others: accuracy
COLUMNS = ("n", "accuracy", "stderr", "generated_tokens_right", "generated_tokens_wrong",
           "flops_paper", "flops_exact", "truncated", "no_answer", "opened_think")  # fmt: skip


def mean(values) -> float | None:
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def of_benchmark(name: str, rows: list[dict], config, max_new: int = 0) -> dict:
    """One benchmark of summary.json. Several samples of an item are one value, their mean.

    clamped: the share of answers that the context left less than max_new tokens for.
    """
    by_item = {}
    for row in rows:
        by_item.setdefault(row["id"], []).append(row["value"])
    values = [mean(samples) for samples in by_item.values()]
    accuracy, n = mean(values), len(values)
    variance = sum((value - accuracy) ** 2 for value in values) / max(1, n - 1)
    is_judged = "votes" in rows[0]

    def tokens(is_right=None):
        def counts(row):
            right = row["value"] > 0.5 if is_judged else row["correct"]
            return is_right is None or right == is_right

        return mean(row["generated_tokens"] for row in rows if counts(row))

    def cost(method):
        lengths = [(row["prompt_tokens"], row["generated_tokens"]) for row in rows]
        return mean(flops.inference(config, p, g, method) for p, g in lengths)

    metric = METRICS.get(BENCHMARKS[name].scorer, "accuracy")
    return {
        "family": BENCHMARKS[name].family,
        "metric": "jury" if is_judged else metric,
        "n": n,
        "accuracy": accuracy,
        "stderr": math.sqrt(variance / n),
        "prompt_tokens": mean(row["prompt_tokens"] for row in rows),
        "generated_tokens": tokens(),
        "generated_tokens_right": tokens(True),
        "generated_tokens_wrong": tokens(False),
        "inference_flops": {"paper": cost("paper"), "exact": cost("exact")},
        "truncated": mean(row["finish_reason"] == "length" for row in rows),
        "no_answer": mean(row["extracted"] is None for row in rows),
        "opened_think": mean(row["opened_think"] for row in rows),
        "clamped": mean(
            row["prompt_tokens"] + max_new > config.max_position_embeddings for row in rows
        ),
    }


def of_families(found: dict[str, dict]) -> dict[str, dict]:
    """Families of summary.json. ROUGE-L is no accuracy: without a jury it stays out of its mean."""
    members = {}
    for name, part in found.items():
        if part["metric"] != "rouge_l":
            members.setdefault(part["family"], {})[name] = part
    families = {}
    for family, named in members.items():
        parts = list(named.values())
        families[family] = {
            key: mean(part[key] for part in parts)
            for key in parts[0]
            if key not in ("family", "metric", "inference_flops", "clamped")
        } | {
            "n": sum(part["n"] for part in parts),
            "stderr": math.sqrt(sum(part["stderr"] ** 2 for part in parts)) / len(parts),
            "inference_flops": {
                method: mean(part["inference_flops"][method] for part in parts)
                for method in ("paper", "exact")
            },
            "benchmarks": list(named),
        }
    return families


def write(folder: Path, settings: dict, scores: dict, config, jury: str = "") -> str:
    """Writes everything; returns the table. Benchmarks scored before with these settings, and by
    the same `jury`, stay."""
    (folder / "scores").mkdir(exist_ok=True)
    for name, rows in scores.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        files.write_atomic(folder / "scores" / f"{name}.jsonl", lines)
    kept = {key: settings[key] for key in ("model", "weights", "options", "engine")}
    kept["jury"] = jury
    before = read(folder / "scores.json")
    found = before.get("benchmarks", {}) if before.get("settings") == kept else {}
    max_new = settings["options"]["max_new"]
    found |= {name: of_benchmark(name, rows, config, max_new) for name, rows in scores.items()}
    found = {name: found[name] for name in BENCHMARKS if name in found}
    evaluated = {"benchmarks": found, "families": of_families(found)}
    summary = read(folder / "summary.json")
    summary = summary or {"model": settings["model"], "parameters": flops.parameters(config)}
    texts = {
        "scores.json": json.dumps({"settings": kept, **evaluated}, indent=2) + "\n",
        "scores.csv": as_csv(evaluated),
        "summary.json": json.dumps(summary | evaluated, indent=2) + "\n",
    }
    for name, text in texts.items():
        files.write_atomic(folder / name, text)
    return f"{table(evaluated)}\nwrote {folder}/scores, scores.json, scores.csv, summary.json"


def read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def lines_of(evaluated: dict):
    """(name, family, metric, values of COLUMNS) of every benchmark and family."""
    for name, part in {**evaluated["benchmarks"], **evaluated["families"]}.items():
        costs = {f"flops_{method}": cost for method, cost in part["inference_flops"].items()}
        values = [{**part, **costs}[column] for column in COLUMNS]
        yield name, part.get("family", ""), part.get("metric", "mean"), values


def as_csv(evaluated: dict) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "family", "metric", *COLUMNS))
    for name, family, metric, values in lines_of(evaluated):
        writer.writerow((name, family, metric, *("" if v is None else v for v in values)))
    return text.getvalue()


def table(evaluated: dict) -> str:
    """For a terminal of 80 columns: shares in per cent, tokens of right and wrong answers."""
    head = f"{'':21}{'n':>6}{'score':>12}{'tokens +/-':>12}{'FLOPs paper, exact':>19}"
    out, others = [f"{head}{'cut':>4}{'none':>5}"], {}
    for name, family, metric, values in lines_of(evaluated):
        n, score, stderr, right, wrong, paper, exact, truncated, no_answer, opened = values
        tokens = "/".join("-" if count is None else f"{count:.0f}" for count in (right, wrong))
        costs = re.sub(r"e\+0?", "e", f"{paper:.1e} {exact:.1e}")
        out.append(
            f"{name:21}{n:>6}{100 * score:>6.1f} ±{100 * stderr:>4.1f}{tokens:>12}{costs:>19}"
            f"{100 * truncated:>4.0f}{100 * no_answer:>5.0f}"
        )
        if family and metric != "accuracy":
            others.setdefault(metric, []).append(name)
    shares = [f"{name} {part['opened_think']:.0%}" for name, part in evaluated["families"].items()]
    out.append("cut, none: per cent of answers cut off, or without an answer")
    out.append(f"opened <think>: {', '.join(shares)}")
    out += [f"{', '.join(names)}: the score is {metric}" for metric, names in others.items()]
    return "\n".join(textwrap.fill(line, 80, subsequent_indent="  ") if len(line) > 80 else line
                     for line in out)  # fmt: skip
