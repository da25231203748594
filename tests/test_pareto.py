"""pareto.py on runs made here, whose answers are known, and on the paper's Table 1."""

import csv
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flops
import pareto
from analysis import intervals, published
from analysis import runs as runs_module
from config import SCALES

SIZES = {"toy-xs": 1e4, "toy-s": 4e4, "toy-m": 1e5, "toy-l": 3e5, "toy-xl": 5e5}
FAMILIES = {"math-oe": ["gsm8k", "math_500"], "general-mc": ["winogrande"]}


def make_run(folder: Path, scale, format, seed=0, ratio=None, items=None, accuracy=None, **more):
    """A run folder as train.py and evaluate.py leave it. items: {benchmark: values [n]} makes
    scores files; accuracy: a share for all benchmarks, or by benchmark, of n = 400."""
    cost = SIZES[scale] * {"ift": 1, "reasoning": 6, "sequential": 2, "mixed": 3}[format]
    tokens = {"ift": 20, "reasoning": 200, "sequential": 60, "mixed": 90}[format]
    benchmarks = {}
    for family, names in FAMILIES.items():
        for name in names:
            if items:
                values = np.asarray(items[name], dtype=float)
                mean, n = values.mean(), len(values)
            else:
                mean, n = accuracy[name] if isinstance(accuracy, dict) else accuracy, 400
            benchmarks[name] = {
                "family": family, "n": n, "accuracy": float(mean), "stderr": None,
                "prompt_tokens": 30.0, "generated_tokens": float(tokens),
                "generated_tokens_right": tokens * 0.8, "generated_tokens_wrong": tokens * 1.5,
                "inference_flops": {m: float(cost * tokens * k) for m, k in METHODS.items()},
                "truncated": 0.01, "no_answer": 0.02, "opened_think": float(format != "ift"),
            }  # fmt: skip
    summary = {
        "scale": scale, "format": format, "seed": seed, "paired": True, "samples": 1000,
        "ratio": {"ift": 0.0, "reasoning": 1.0}.get(format, ratio), "parameters": SIZES[scale],
        "train_flops": {m: cost * 1e9 * k for m, k in METHODS.items()},
        "benchmarks": benchmarks, **more,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    for name, values in (items or {}).items():
        (folder / "scores").mkdir(exist_ok=True)
        lines = [
            json.dumps({"id": f"{i}", "value": float(v), "correct": bool(v), "prompt_tokens": 30,
                        "generated_tokens": int(tokens * (0.5 + i % 7 / 6))})
            for i, v in enumerate(values)
        ]  # fmt: skip
        (folder / "scores" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


METHODS = {"exact": 1.0, "paper": 1.1}
ACCURACY = {
    ("toy-xs", "ift"): 0.20, ("toy-s", "ift"): 0.30, ("toy-m", "ift"): 0.40,
    ("toy-l", "ift"): 0.50, ("toy-xl", "ift"): 0.55,
    ("toy-xs", "reasoning"): 0.25, ("toy-s", "reasoning"): 0.45, ("toy-m", "reasoning"): 0.60,
    ("toy-l", "reasoning"): 0.70, ("toy-xl", "reasoning"): 0.75,
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """Five scales, two formats, two seeds, and mixes on toy-m; items shared by all runs."""
    rng = np.random.default_rng(5)
    hard = {name: rng.random(300) for names in FAMILIES.values() for name in names}
    cells = {(*key, None): value for key, value in ACCURACY.items()}
    cells |= {("toy-m", "sequential", 0.25): 0.55, ("toy-m", "mixed", 0.5): 0.58}
    for (scale, format, ratio), accuracy in cells.items():
        for seed in (0, 1):
            items = {k: v + rng.normal(0, 0.1, 300) < accuracy for k, v in hard.items()}
            share = f"-{ratio}" if ratio else ""
            make_run(tmp_path / f"runs/{scale}-{format}{share}-s{seed}", scale, format, seed, ratio,
                     items=items)  # fmt: skip
    return tmp_path / "runs"


def analyse(*arguments, code=0):
    """Runs pareto.py here; its --out, and the tables by name."""
    assert pareto.main([str(a) for a in arguments]) == code
    if code:
        return None
    out = [str(a) for a in arguments]
    out = Path(out[out.index("--out") + 1]) if "--out" in out else Path(out[0]) / "pareto"
    return out, {file.stem: rows(file) for file in out.glob("*.csv")}


def rows(file):
    return list(csv.DictReader(file.open()))


def pick(table, **wanted):
    return [row for row in table if all(row[key] == str(v) for key, v in wanted.items())]


# ---- known points ----------------------------------------------------------------------------


def test_known_points_give_the_known_frontier_matched_values_and_choice(tmp_path):
    for (scale, format), accuracy in ACCURACY.items():
        make_run(tmp_path / f"runs/{scale}-{format}", scale, format, accuracy=accuracy)
    out, tables = analyse(
        tmp_path / "runs", "--budget", 6e14, "--serve", 1e9, "--no-figures", "--out", tmp_path / "o"
    )
    on = pick(tables["frontier"], name="all", cost="train", on_frontier="True")
    # reasoning of a scale costs 6 IFT runs of it: toy-xs 6e13 against toy-s IFT 4e13, and so on
    assert [row["arm"] for row in on] == [
        "toy-xs ift", "toy-s ift", "toy-s reasoning", "toy-m ift", "toy-m reasoning", "toy-l ift",
        "toy-l reasoning", "toy-xl ift", "toy-xl reasoning",
    ]  # fmt: skip
    beaten = pick(tables["frontier"], name="all", cost="train", arm="toy-xs reasoning")[0]
    # 0.25 lies half-way between toy-xs (1e13, 0.20) and toy-s (4e13, 0.30): at 2e13, not 6e13
    assert float(beaten["cost_ratio"]) == pytest.approx(3)
    assert float(beaten["margin"]) == pytest.approx(0.25 - 0.30)

    found = json.loads((out / "answer.json").read_text())["answers"]["pairs"]["all"]
    best = found["training"]  # 6e14 pays for toy-m reasoning exactly
    assert (best["arm"], best["accuracy"]) == ("toy-m reasoning", pytest.approx(0.60))
    assert best["runner_up"]["arm"] == "toy-xl ift" and best["confidence"] > 0.8
    assert found["scale_or_reason"]["ift"] is None  # the largest IFT student cost 5e14
    # serving 1e9 answers costs 20 (IFT) or 1,200 (reasoning) x size x 1e9
    total = {s: SIZES[s] * 1e9 * 21 for s in SIZES}
    affordable = max((s for s in SIZES if total[s] <= 6e14), key=total.get, default=None)
    assert affordable == "toy-xs"
    assert found["total"]["arm"] == "toy-xs ift"
    assert found["equal_total"]["arm"] == "toy-m reasoning"

    row = pick(tables["matched"], name="all", cost="train", asked="True")[0]
    assert row["ift"] == "" and float(row["reasoning"]) == pytest.approx(0.6)


def test_matched_compute_interpolates_in_log_cost(tmp_path):
    for (scale, format), accuracy in ACCURACY.items():
        make_run(tmp_path / f"runs/{scale}-{format}", scale, format, accuracy=accuracy)
    _, tables = analyse(tmp_path / "runs", "--budget", 1.2e14 * 2**0.5, "--no-figures")
    row = pick(tables["matched"], name="all", cost="train", asked="True")[0]
    share = math.log(1.2e14 * 2**0.5 / 1e14) / math.log(3)
    assert float(row["ift"]) == pytest.approx(0.40 + 0.10 * share, abs=1e-5)
    share = math.log(1.2e14 * 2**0.5 / 6e13) / math.log(4)
    assert float(row["reasoning"]) == pytest.approx(0.25 + 0.20 * share, abs=1e-5)
    assert float(row["difference"]) < 0 and float(row["p_reasoning"]) < 0.5


def test_both_methods_are_reported_and_either_can_rule(tmp_path):
    for scale in SIZES:
        make_run(tmp_path / f"runs/{scale}", scale, "ift", accuracy=ACCURACY[scale, "ift"])
    costs = {}
    for method in METHODS:
        _, tables = analyse(tmp_path / "runs", "--method", method, "--no-figures")
        costs[method] = float(tables["power_laws"][0]["A"])
        row = tables["points"][0]
        assert float(row["train_flops_paper"]) == pytest.approx(
            1.1 * float(row["train_flops_exact"])
        )
    assert costs["paper"] == pytest.approx(1.1 * costs["exact"], rel=1e-4)


# ---- intervals -------------------------------------------------------------------------------


def score(values, family="f"):
    values = np.asarray(values, dtype=float)
    items = {"id": tuple(map(str, range(len(values)))), "item": values}
    return runs_module.Score(family, len(values), values.mean(), None, {"exact": 1.0}, items=items)


def a_run(name, values, seed=0, scale="a"):
    return runs_module.Run(name, "c", scale, 1.0, "ift", 0.0, seed, 1, "", {"exact": 1.0},
                           {"b": score(values)})  # fmt: skip


@pytest.mark.parametrize("accuracy, n", [(0.5, 100), (0.8, 300), (0.1, 200)])
def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say(accuracy, n):
    rng, covered = np.random.default_rng(0), 0
    for trial in range(400):
        run = a_run(f"run-{trial}", rng.random(n) < accuracy)
        draws = intervals.draw([run], "b", 400, runs_module.Flags())[:, 0]
        low, high = np.percentile(draws, (2.5, 97.5))
        covered += low <= accuracy <= high
    assert 0.91 <= covered / 400 <= 0.98, covered / 400


def test_differences_of_runs_that_share_items_are_paired():
    """The interval of a difference covers as it says, and is narrower than for unrelated items."""
    rng, covered, widths = np.random.default_rng(1), 0, []
    for trial in range(300):
        hard = rng.random(200)
        first, second = (hard + rng.normal(0, 0.15, 200) < share for share in (0.5, 0.6))
        pair = [a_run(f"a{trial}", first), a_run(f"b{trial}", second)]
        draws = intervals.draw(pair, "b", 400, runs_module.Flags())
        low, high = np.percentile(draws[:, 1] - draws[:, 0], (2.5, 97.5))
        covered += low <= 0.1 <= high
        alone = np.hypot(*draws.std(0))
        widths.append((high - low) / (2 * 1.96 * alone))
    assert 0.91 <= covered / 300 <= 0.99, covered / 300
    assert np.mean(widths) < 0.85


def test_the_noise_of_training_is_pooled_over_arms_and_covered():
    rng, covered = np.random.default_rng(2), []
    for _ in range(100):
        truth = rng.uniform(0.3, 0.7, 8)
        by_run = [rng.normal(mean, 0.04, 2) for mean in truth]
        items = np.tile([values.mean() for values in by_run], (1000, 1))  # no item noise at all
        draws = intervals.over_seeds(items, by_run, list("abcdefgh"))
        low, high = np.percentile(draws, (2.5, 97.5), axis=0)
        covered += ((low <= truth) & (truth <= high)).tolist()
    assert 0.90 <= np.mean(covered) <= 0.97, np.mean(covered)


def test_intervals_do_not_depend_on_which_other_runs_there_are(study):
    _, before = analyse(study, "--no-figures")
    make_run(study / "zz-other", "toy-s", "mixed", 3, 0.5, accuracy=0.4)
    _, after = analyse(study, "--no-figures")
    for name in ("low", "high"):
        old = {row["arm"]: row[name] for row in pick(before["points"], name="gsm8k")}
        new = {row["arm"]: row[name] for row in pick(after["points"], name="gsm8k")}
        assert old.items() <= new.items()


def test_seeds_without_item_scores_share_the_choice_of_items():
    """Eight runs on the same 300 items say no more of the items than one does."""
    rng, covered = np.random.default_rng(3), 0
    for trial in range(300):
        accuracy = (rng.random(300) < 0.5).mean()
        runs = [a_run(f"{trial}-{seed}", [0, 1], seed, f"scale-{trial}") for seed in range(8)]
        for run in runs:
            spread = math.sqrt(accuracy * (1 - accuracy) / 300)
            run.scores["b"] = runs_module.Score("f", 300, accuracy, spread, {"exact": 1.0})
        mean = intervals.draw(runs, "b", 400, runs_module.Flags()).mean(1)
        low, high = np.percentile(mean, (2.5, 97.5))
        covered += low <= 0.5 <= high
    assert 0.91 <= covered / 300 <= 0.99, covered / 300


def test_the_mean_of_the_families_weighs_families_alike(tmp_path):
    folder = make_run(tmp_path / "runs/a", "toy-s", "ift", accuracy=0.5)

    def change(summary):
        for name, tokens in (("gsm8k", 1000.0), ("math_500", 1000.0), ("winogrande", 10.0)):
            summary["benchmarks"][name]["generated_tokens"] = tokens
            summary["benchmarks"][name]["inference_flops"] = {"exact": tokens, "paper": tokens}

    edit(folder, change)
    _, tables = analyse(tmp_path / "runs", "--no-figures")
    row = pick(tables["points"], name="all")[0]
    assert float(row["generated_tokens"]) == float(row["inference_flops_exact"]) == 505


# ---- the other tables ------------------------------------------------------------------------


def test_lengths_early_stops_ratios_and_the_mode_switch(study):
    out, tables = analyse(study)
    row = pick(tables["lengths"], name="math-oe", arm="toy-m reasoning")[0]
    assert float(row["wrong_over_right"]) == pytest.approx(1.5 / 0.8)
    mixed = pick(tables["ratios"], name="all", scale="toy-m", order="mixed")[0]
    assert float(mixed["extra_token_factor"]) == pytest.approx(90 / 20)
    assert float(mixed["gain"]) == pytest.approx(0.18, abs=0.05)
    assert float(mixed["gain_low"]) < float(mixed["gain"]) < float(mixed["gain_high"])
    assert mixed["opened_think"] == "1"

    stops = pick(tables["early_stop"], name="general-mc", arm="toy-m reasoning")
    assert [row["percentile"] for row in stops] == ["50", "75", "90", "95", "99", "100"]
    accuracies = [float(row["accuracy"]) for row in stops]
    assert accuracies == sorted(accuracies) and accuracies[0] < accuracies[-1]
    half = 0.0  # by hand: both seeds' answers at or below the median length, the rest wrong
    for seed in (0, 1):
        lines = (study / f"toy-m-reasoning-s{seed}/scores/winogrande.jsonl").read_text()
        items = [json.loads(line) for line in lines.splitlines()]
        limit = np.percentile([i["generated_tokens"] for i in items], 50)
        half += sum(i["value"] for i in items if i["generated_tokens"] <= limit) / len(items) / 2
    assert accuracies[0] == pytest.approx(half, abs=1e-6)
    config, lengths = SCALES["toy-m"].config, [min(i["generated_tokens"], limit) for i in items]
    cost = np.mean([flops.inference(config, 30, int(length)) for length in lengths])
    assert float(stops[0]["inference_flops"]) == pytest.approx(cost, rel=1e-5)

    names = {file.name for file in out.glob("*.png")}
    kinds = ("frontier-train", "frontier-inference", "benchmarks", "matched", "power-laws",
             "lengths", "early-stop", "ratios")  # fmt: skip
    assert names == {f"{kind}.png" for kind in kinds}
    report = (out / "report.md").read_text()
    assert set(re.findall(r"\]\((.+?\.png)\)", report)) == names


def test_a_second_analysis_leaves_nothing_of_the_first(study):
    out, tables = analyse(study, "--serve", 1e6)
    assert (out / "frontier-total.png").exists()
    again, _ = analyse(study, "--no-figures")
    assert again == out and not list(out.glob("*.png"))
    assert not [row for row in rows(out / "frontier.csv") if row["cost"] == "total"]
    assert not (out / "flags.csv").exists()  # its own folder is not taken for a broken run


def test_tables_are_the_same_bit_for_bit(study, tmp_path):
    texts = []
    for out in ("a", "b"):
        analyse(study, "--no-figures", "--out", tmp_path / out)
        texts.append({f.name: f.read_bytes() for f in (tmp_path / out).iterdir()})
    assert texts[0] == texts[1]


# ---- what is wrong with the input is named ---------------------------------------------------


def flagged(folder):
    _, tables = analyse(folder, "--no-figures")
    return [f"{r['where']}: {r['problem']}; {r['consequence']}" for r in tables.get("flags", [])]


def edit(folder, change):
    file = folder / "summary.json"
    summary = json.loads(file.read_text())
    change(summary)
    file.write_text(json.dumps(summary))


def set_accuracy(value):
    return lambda s: s["benchmarks"]["gsm8k"].update(accuracy=value)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda s: s["benchmarks"].pop("gsm8k"), "math-oe: x: lacks gsm8k or math_500; left out"),
        (set_accuracy(0.0), "x: gsm8k: accuracy 0 on 400 items; interval from the Jeffreys"),
        (set_accuracy(1.0), "x: gsm8k: accuracy 1 on 400 items; interval from the Jeffreys"),
        (lambda s: s.update(paired=False), "x: trained on pairs without both formats"),
        (lambda s: s.update(format="iftt"), "summary.json: format 'iftt' is not one of ift"),
        (lambda s: s.pop("parameters"), "summary.json: no 'parameters'; left out"),
        (lambda s: s.pop("scale"), "summary.json: no 'scale'; left out"),
        (lambda s: s.update(train_flops={"paper": 1e13}), "x: train_flops has no 'exact'"),
        (lambda s: s.update(benchmarks={}), "x: not evaluated; left out; python evaluate.py"),
        (lambda s: s.update(seed=0), "x, y: the same arm with the same seed"),
        (lambda s: s["train_flops"].update(exact=9e13), "train FLOPs from 1.00e+13 to 9.00e+13"),
        (lambda s: s["benchmarks"]["gsm8k"].update(n=100), "gsm8k: runs were asked 100 to 400"),
        (lambda s: s["benchmarks"]["gsm8k"].pop("inference_flops"), "no inference FLOPs by 'exac"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_never_averaged(tmp_path, change, expected):
    make_run(tmp_path / "runs/y", "toy-xs", "ift", 0, accuracy=0.3)
    make_run(tmp_path / "runs/z", "toy-s", "ift", 0, accuracy=0.4)
    edit(make_run(tmp_path / "runs/x", "toy-xs", "ift", 1, accuracy=0.5), change)
    found = flagged(tmp_path / "runs")
    assert any(expected in flag for flag in found), found


def test_runs_on_other_pairs_or_another_recipe_are_not_averaged(tmp_path):
    make_run(tmp_path / "runs/a", "toy-s", "ift", 0, accuracy=0.3, data="p/general.jsonl")
    make_run(tmp_path / "runs/b", "toy-s", "ift", 1, accuracy=0.5, data="p/math.jsonl")
    make_run(tmp_path / "runs/c", "toy-s", "ift", 1, accuracy=0.6, data="p/math.jsonl",
             variant="--lr 0.1")  # fmt: skip
    _, tables = analyse(tmp_path / "runs", "--no-figures")
    found = {(r["corpus"], r["arm"]): r["accuracy"] for r in pick(tables["points"], name="all")}
    assert found == {
        ("general", "toy-s ift"): "0.3",
        ("math", "toy-s ift"): "0.5",
        ("math", "toy-s ift, --lr 0.1"): "0.6",
    }


def test_the_same_pairs_under_two_names_are_one_corpus(tmp_path):
    for i, data in enumerate(("a/pairs.jsonl", "b/copy.jsonl")):
        make_run(tmp_path / f"runs/{i}", "toy-s", "ift", i, accuracy=0.3, data=data, content="abc")
    _, tables = analyse(tmp_path / "runs", "--no-figures")
    assert {(r["corpus"], r["seeds"]) for r in tables["points"]} == {("pairs", "2")}


def test_runs_of_one_name_in_two_folders_are_told_apart(tmp_path):
    make_run(tmp_path / "a/x", "toy-s", "ift", accuracy=0.5)
    make_run(tmp_path / "b/x", "toy-s", "reasoning", accuracy=0.52)
    out, _ = analyse(tmp_path / "a", tmp_path / "b", "--no-figures", "--out", tmp_path / "o")
    best = json.loads((out / "answer.json").read_text())["answers"]["pairs"]["all"]["training"]
    assert 0.6 < best["confidence"] < 0.95
    assert best["runner_up"]["lead_low"] < 0 < best["runner_up"]["lead_high"]


def test_one_run_with_one_more_family_leaves_the_others_compared(study):
    def add(summary):
        law = {**summary["benchmarks"]["winogrande"], "family": "law-mc"}
        summary["benchmarks"]["mmlu_pro_law"] = law

    edit(study / "toy-xs-ift-s0", add)
    found = flagged(study)
    assert any("only some arms have law-mc; left out of the mean" in flag for flag in found), found
    assert len(pick(rows(study / "pareto/points.csv"), name="all")) == 12


def test_a_run_without_item_scores_among_others_is_flagged_as_unpaired(study):
    (study / "toy-m-ift-s0/scores/gsm8k.jsonl").unlink()
    assert any("no scores of single items, others have them" in flag for flag in flagged(study))


def test_answers_without_token_counts_are_not_stopped_early(study):
    file = study / "toy-m-ift-s0/scores/gsm8k.jsonl"
    file.write_text(file.read_text().replace('"generated_tokens"', '"tokens"', 1))
    assert any("answers without token counts; no early stopping" in f for f in flagged(study))
    stops = pick(rows(study / "pareto/early_stop.csv"), name="math-oe", arm="toy-m ift")
    assert not stops


def test_folders_that_are_no_runs_are_named(study):
    (study / "notes").mkdir()
    (study / "begun").mkdir()
    (study / "begun/config.json").write_text("{}")
    (study / "torn").mkdir()
    (study / "torn/summary.json").write_text('{"scale": ')
    found = flagged(study)
    assert any("notes: not a run; left out" in flag for flag in found), found
    assert any("begun: not finished (no summary.json)" in flag for flag in found)
    assert any("torn: summary.json: Expecting value" in flag for flag in found)


def test_scores_that_contradict_the_summary_are_not_used(study):
    file = study / "toy-m-ift-s0/scores/gsm8k.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:200]) + "\n")
    assert any("200 items do not give summary.json's" in flag for flag in flagged(study))
    file.write_text("not json\n")
    assert any("gsm8k.jsonl: cannot be read" in flag for flag in flagged(study))


def test_samples_of_an_item_are_one_item(study):
    for file in study.glob("*/scores/gsm8k.jsonl"):
        file.write_text(file.read_text() * 2)  # every item answered twice, alike
    assert not flagged(study)


def test_one_seed_and_one_scale(tmp_path):
    make_run(tmp_path / "runs/a", "toy-s", "ift", accuracy=0.3)
    make_run(tmp_path / "runs/b", "toy-s", "reasoning", accuracy=0.6)
    assert any(
        "one seed; intervals cover the choice of items" in f for f in flagged(tmp_path / "runs")
    )
    out, tables = analyse(tmp_path / "runs")
    fits = {row["why_not"] for row in tables["fits"]}
    assert fits == {"1 distinct costs; four parameters need at least 4"}
    assert {row["why_not"] for row in tables["power_laws"]} == {
        "one size only: a power law needs two"
    }
    assert "No cost is spanned by both formats" in (out / "report.md").read_text()


def test_nothing_to_compare_is_an_error_that_teaches(tmp_path, capsys):
    (tmp_path / "runs/x").mkdir(parents=True)
    analyse(tmp_path / "runs", code=2)
    error = capsys.readouterr().err
    assert "no evaluated run in" in error and "evaluate.py" in error and "x: not a run" in error
    analyse(tmp_path / "absent", "--method", "papier", "--budget", -1, "--draws", 3, code=2)
    error = capsys.readouterr().err
    for text in ("absent: no such folder", "did you mean paper?", "--budget -1", "--draws 3"):
        assert text in error
    analyse(code=2)
    assert "--published" in capsys.readouterr().err
    assert not (tmp_path / "runs/pareto").exists()


@pytest.mark.slow
def test_ten_thousand_runs_in_under_a_minute(tmp_path):
    """Summaries alone, 10,000 runs of 200 arms on three benchmarks."""
    rng, scales = np.random.default_rng(0), list(SIZES)
    for i in range(10_000):
        scale, format = scales[i % 5], ("ift", "reasoning", "sequential", "mixed")[i // 5 % 4]
        share, is_mix = i // 20 % 10, format in ("sequential", "mixed")
        samples = 1000 if is_mix else 1000 + share
        make_run(tmp_path / f"runs/{i}", scale, format, i // 200, share / 10,
                 accuracy=rng.uniform(0.2, 0.9), samples=samples)  # fmt: skip
    started = time.process_time()
    _, tables = analyse(tmp_path / "runs", "--no-figures")
    assert time.process_time() - started < 60
    assert len(pick(tables["points"], name="all")) == 200
    assert all(row["seeds"] == "50" for row in tables["points"])


# ---- the paper's table -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_table(tmp_path_factory):
    out = tmp_path_factory.mktemp("published")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(
        [sys.executable, "pareto.py", "--published", "--serve", "1e9", "--budget", "1e20", "--out",
         out],
        cwd=Path(__file__).parents[1], timeout=200, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert code.returncode == 0, code.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # CPU seconds: other jobs may run here
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, code.stdout


def test_the_published_table_comes_out_to_the_digit(from_table):
    out, seconds, shown = from_table
    assert seconds < 30
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("wrote"))
    assert "nothing fits: 1.26e20 to train and serve 0.5b ift" in shown  # whole, not cut
    points = rows(out / "points.csv")
    table = {(r["corpus"], r["family"], r["format"]): r for r in published.TABLE}
    assert len(table) == 16
    checked = 0
    for row in points:
        if row["name"] != "all":
            said = table[row["corpus"], row["name"], row["format"]][row["scale"]]
            assert row["accuracy"] == f"{float(said) / 100:.6g}"
            checked += 1
    assert checked == 80


def test_the_published_costs_are_those_of_the_formulas(from_table):
    out = from_table[0]
    for row in rows(out / "points.csv"):
        if row["name"] != "all":
            a, p = published.LAWS[row["name"], row["format"]]
            law = a * float(row["scale"][:-1]) ** p
            assert float(row["inference_flops_paper"]) == pytest.approx(law, rel=1e-5)
            assert 0.7 < float(row["inference_flops_exact"]) / law < 1.3
    assert pareto.main(["--published", "--method", "paper", "--no-figures", "--out", str(out)]) == 0
    for row in rows(out / "power_laws.csv"):
        if row["name"] != "all":
            a, p = published.LAWS[row["name"], row["curve"]]
            assert (float(row["A"]), float(row["p"])) == pytest.approx((a, p), rel=1e-4)


def test_item_counts_give_the_standard_errors():
    items = published.ITEMS["math-oe"].values()
    by_hand = math.sqrt(0.21 / 1319 + 0.21 / 500 + 0.21 / 30) / 3
    assert published.stderr(0.3, items) == pytest.approx(by_hand)
    config = SCALES["3b"].config
    for tokens in (1, 7, 900):
        cost = flops.inference(config, 0, tokens, "paper")
        assert published.implied_tokens(config, cost) == tokens
        assert published.implied_tokens(config, cost - 1) == tokens
