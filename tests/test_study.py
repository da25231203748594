"""study.py: the grid, its cost, and what is left of it after kills, failures and changes."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

import flops
import study
from common import files
from config import CORPORA, SCALES
from data import toy
from data.benchmarks import ITEMS, STUDY
from sweep import trials, workers
from sweep.cost import cost_of, fits

TINY = ("--scales", "toy-xs,toy-s", "--arms", "ift,reasoning,mixed-0.5@toy-xs", "--seeds", "0")
SHORT = ("--train", "--samples 64 --val 16 --max-len 256", "--evaluate", "--limit 4 --max-new 24")


def start(*arguments, **options):
    """study.py as a process group of its own."""
    command = [sys.executable, "study.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stdin=-3,
                            stderr=subprocess.PIPE, start_new_session=True, **options)  # fmt: skip


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=300)
    return SimpleNamespace(returncode=process.returncode, out=out, err=err)


def tiny(out, *more):
    """A study of five runs, seconds each; what comes later on the command line wins."""
    return ("run", "--yes", "--cores", 2, "--out", out, *TINY, *SHORT, *more)


def grid(*arguments):
    return study.grid(study.parse(["plan", *map(str, arguments)]))


def tables(out) -> dict[str, bytes]:
    """All that must not differ between two studies: tables, scores, answers, weights, losses."""
    out = Path(out)
    files = [*out.glob("report/*.csv"), *out.glob("*/*/scores/*"), *out.glob("*/*/answers/toy_*")]
    files += [*out.glob("*/*/model/model.safetensors"), *out.glob("*/*/scores.csv")]
    assert len(files) > 20
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "whole"
    done = run(*tiny(out))
    assert done.returncode == 0, done.err
    return SimpleNamespace(folder=out, out=done.out)


# ---- the plan ---------------------------------------------------------------------------------


def test_presets_are_the_grids_they_say():
    sizes = {name: len(grid("--preset", name)) for name in study.PRESETS}
    assert sizes["toy"] == 22
    assert sizes["toy-full"] == 5 * 8 * 3
    assert sizes["paper"] == 2 * 5 * 8
    assert sizes["paper-small"] == 2 * 2 * 8
    assert sizes["lr-matched"] == sizes["same-sampling"] == 2 * 4
    assert sizes["token-matched"] == sizes["flops-matched"] == 4 + 2
    assert sizes["sample-mean"] == sizes["seeds"] == 12
    names = [trial.name for trial in grid("--preset", "paper")]
    assert len(set(names)) == 80 and "math/14b-sequential-0.75-s0" in names


@pytest.fixture(scope="module")
def paper():
    """`study.py plan --preset paper` where there is no network, no GPU and no cache of weights."""
    began = os.times()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent",
                   "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    done = run("plan", "--preset", "paper", env=environment)
    assert done.returncode == 0, done.err
    now = os.times()
    spent = now.children_user + now.children_system - began.children_user - began.children_system
    return SimpleNamespace(out=done.out, seconds=spent)


def test_the_papers_plan_takes_seconds_and_agrees_with_flops_to_the_digit(paper):
    assert paper.seconds < 30
    asked = sum(ITEMS[name] for name in STUDY)
    stages = {"training, 3 x forward": "training", "evaluation": "evaluation"}
    total = dict.fromkeys((*stages, "total"), 0)
    for corpus in CORPORA.values():
        answers = {name: corpus.tokens(name) for name in ("ift", "reasoning")}
        prompt = corpus.tokens("prompt")
        for scale in ("0.5b", "1.5b", "3b", "7b", "14b"):
            for rho in (0, 1, 0.25, 0.5, 0.75, 0.25, 0.5, 0.75):
                for format, share in (("reasoning", rho), ("ift", 1 - rho)):
                    book = flops.ledger(
                        SCALES[scale].config, round(share * corpus.pairs), prompt, answers, format,
                        round(asked * share), teacher=None,
                    )  # fmt: skip
                    for line, stage in stages.items():
                        total[line] += book[stage]
                        total["total"] += book[stage]
    for line, value in total.items():
        shown = re.search(rf"^{line} +\S+ +(\S+)$", paper.out, re.MULTILINE)[1]
        assert shown == f"{value:.3e}".replace("e+", "e"), line


def test_a_run_of_the_plan_costs_what_flops_py_prints():
    o = study.parse(["plan", "--preset", "paper"])
    [trial] = [trial for trial in study.grid(o) if trial.name == "math/3b-reasoning-s0"]
    cost = cost_of(o, trial)
    asked = sum(ITEMS[name] for name in STUDY)
    arguments = ["--scale", "3b", "--format", "reasoning", "--corpus", "math", "--asked", asked]
    command = [sys.executable, "flops.py", *map(str, arguments)]
    printed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    for label, costs in (("training, 3 x forward", cost.train), ("evaluation, ", cost.answers)):
        line = next(line for line in printed.splitlines() if line.startswith(label))
        assert f"{costs['paper']:14.3e}{costs['exact']:14.3e}" in line
    hours = float(printed.split("training, 3 x forward")[1].split()[2].replace(",", ""))
    assert abs(cost.devices * cost.seconds[0] / 3600 - hours) < 0.1


def test_the_readme_quotes_the_plan(paper):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    total = re.search(r"^total +(\S+) +(\S+)$", paper.out, re.MULTILINE)
    hours = re.search(r"^(\S+) GPU-hours are left, (\S+) days", paper.out, re.MULTILINE)
    for quoted in (*total.groups(), *hours.groups()):
        assert quoted in text, quoted


def test_all_that_is_shown_fits_80_columns(paper, undisturbed):
    status = run("status", *tiny(undisturbed.folder)[1:])
    for text in (paper.out, undisturbed.out, status.out):
        for line in text.splitlines():
            assert len(line) <= 80 or "/study" in line, line  # but for long paths
    assert "1/1" in status.out and "5 of 5 done" in status.out


def test_larger_students_get_the_gpus_they_need():
    o = study.parse(["plan", "--preset", "paper"])
    found = {}
    for trial in study.grid(o):
        if trial.name.startswith("general/") and trial.arm == "ift":
            found[trial.training.scale] = cost_of(o, trial)
    assert [found[s].devices for s in ("0.5b", "1.5b", "3b", "7b", "14b")] == [1, 1, 1, 4, 8]
    assert all(fits(o, cost.memory) for cost in found.values())
    small = study.parse(["plan", "--preset", "paper", "--gpus", "1", "--gpu", "RTX 4090"])
    [trial] = [c for c in study.grid(small) if c.name == "general/7b-ift-s0"]
    assert not fits(small, cost_of(small, trial).memory)


def test_the_plan_of_pairs_on_disk_is_what_the_run_then_counts(undisturbed):
    o = study.parse(list(map(str, tiny(undisturbed.folder))))
    for trial in study.grid(o):
        summary = json.loads(Path(trial.folder, "summary.json").read_text())
        cost = cost_of(o, trial)
        assert cost.train == summary["train_flops"] and not cost.is_estimate
        assert (cost.samples, cost.tokens) == (summary["samples"], summary["tokens"])


def test_pairs_on_disk_for_a_base_from_the_hub_are_counted_by_their_bytes(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in toy.rows(50)))
    o = study.parse(["plan", "--corpora", f"mine={pairs}", "--scales", "0.5b", "--arms", "ift"])
    cost = cost_of(o, study.grid(o)[0])
    assert cost.samples == 50 and cost.is_estimate
    text = sum(len(row["prompt"]) + len(row["ift"]) for row in toy.rows(50))
    assert abs(cost.tokens - text / 4) < 100


def test_controls_add_runs_only_where_they_change_something():
    base = ("--scales", "0.5b,toy-m", "--arms", "ift,reasoning,mixed-0.25", "--seeds", "0")
    more = {c: [trial.name for trial in grid(*base, "--controls", c) if trial.control]
            for c in study.CONTROLS if c != "same-sampling"}  # fmt: skip
    names = [f"toy/{scale}-{arm}" for scale in ("0.5b", "toy-m")
             for arm in ("ift", "reasoning", "mixed-0.25")]  # fmt: skip
    assert more["sample-mean"] == [f"{name}-sample-mean-s0" for name in names]
    assert more["flops-matched"] == [f"{n}-flops-matched-s0" for n in names if "reasoning" in n]
    assert "toy/0.5b-ift-lr-matched-s0" in more["lr-matched"]
    rates = SCALES["toy-m"].lr
    differ = rates["ift"] != rates["reasoning"]
    assert any("toy-m" in name for name in more["lr-matched"]) == differ
    [trial] = grid(*base, "--controls", "lr-matched", "--only", "toy/0.5b-ift-lr*")
    assert trial.training.lr == SCALES["0.5b"].lr["reasoning"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["rin"], "did you mean run?"),
        (["plan", "--preset", "toyy", "--scales", "3bb", "--arms", "mixed-2,ift@7b"],
         "--preset toyy|--scales 3bb|--arms mixed-2|--arms ift@7b"),
        (["plan", "--corpora", "foo,a=", "--seeds", "x", "--mfu", "3", "--gpu", "H1"],
         "--corpora foo|--corpora a=|--seeds x|--mfu 3.0|--gpu H1"),
        (["run", "--preset", "paper", "--yes", "--gpus", "0"], "--ccsd /path/to/test.jsonl"),
        (["plan", "--controls", "same-sampling"], "needs the --teacher"),
        (["plan", "--only", "nothing"], "--only nothing"),
        (["plan", "--train", "--samples '1"], "--train"),
        (["plan", "--train", "--seed 7 --out=x", "--corpora", "a=b,a=c", "--evaluate", "--out y"],
         "--train: --out, --seed is set|--evaluate: --out is set|the same name"),
        (["plan", "--evaluate", "--limit 0"], "--limit 0"),
        (["plan", "--train", "--ratio 3"], "--ratio"),
    ],
)  # fmt: skip
def test_mistakes_are_told_all_at_once_before_anything_is_written(
    arguments, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert study.main(arguments) == 2
    err = capsys.readouterr().err
    assert all(part in err for part in told.split("|")), err
    assert not list(tmp_path.iterdir())


def test_nothing_starts_before_the_user_has_agreed(tmp_path):
    arguments = [a for a in tiny(tmp_path / "out") if a != "--yes"]
    done = run(*arguments)
    assert done.returncode == 2 and "--yes" in done.err and "5 runs" in done.out
    assert not (tmp_path / "out").exists()


def test_the_commands_are_what_one_would_type():
    found = run("plan", "--preset", "paper", "--commands").out.splitlines()
    assert len(found) == 80
    [line] = [line for line in found if "general/14b-mixed-0.25-s0 --show" in line]
    assert line.startswith("torchrun --standalone --nproc_per_node=8 train.py --scale 14b")
    assert "&& python evaluate.py runs/study-paper/general/14b-mixed-0.25-s0" in line


# ---- the run ----------------------------------------------------------------------------------


def test_a_study_ends_with_tables_figures_and_every_run_done(undisturbed):
    report = undisturbed.folder / "report"
    for name in ("points.csv", "frontier.csv", "report.md", "frontier-train.png"):
        assert (report / name).stat().st_size > 0
    assert "on the frontier of training FLOPs" in undisturbed.out
    assert "toy-xs" in undisturbed.out and "frontier-train.png" in undisturbed.out
    runs = sorted(path.parent for path in undisturbed.folder.glob("toy/*/summary.json"))
    assert len(runs) == 5 and not any((run / "checkpoints").exists() for run in runs)
    assert all(json.loads((run / "summary.json").read_text())["benchmarks"] for run in runs)


def test_a_finished_study_runs_nothing_again(undisturbed):
    before = {file: file.stat().st_mtime_ns for file in undisturbed.folder.glob("toy/*/*")}
    again = run(*tiny(undisturbed.folder))
    assert again.returncode == 0 and "5 done" in again.out and "[" not in again.out
    assert before == {file: file.stat().st_mtime_ns for file in undisturbed.folder.glob("toy/*/*")}


def test_a_report_of_one_run(undisturbed, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(undisturbed.folder, out)
    arguments = list(map(str, tiny(out)[1:]))
    assert study.main(["status", *arguments]) == 0 and "5 of 5 done" in capsys.readouterr().out
    assert study.main(["report", *arguments, "--only", "toy/toy-s-ift-s0"]) == 0
    assert re.search(r"^toy-s +\d+\.\d\*$", capsys.readouterr().out, re.MULTILINE)
    assert study.main(["report", *arguments, "--train", "--samples 32"]) == 1
    assert "5 to retrain" in capsys.readouterr().err


def test_what_is_set_aside_has_a_place_whatever_was_tidied_away(tmp_path):
    o = study.parse(["plan", "--out", str(tmp_path)])
    trial = study.grid(o)[0]
    for number in range(4):
        folder = Path(trial.folder)
        folder.mkdir(parents=True)
        (folder / "made").write_text(str(number))
        trials.set_aside(o, trial, trials.CHANGED["train"])
        if number == 2:
            shutil.rmtree(tmp_path / "replaced/toy" / f"{folder.name}.1")
    kept = sorted(file.read_text() for file in tmp_path.glob("replaced/toy/*/made"))
    assert kept == ["1", "2", "3"] and not folder.exists()


def test_pairs_that_are_away_for_a_moment_cost_nothing(undisturbed, tmp_path):
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in toy.rows(200)))
    arguments = tiny(out, "--corpora", f"mine={pairs},toy", "--scales", "toy-xs", "--arms", "ift")
    assert run(*arguments).returncode == 0
    pairs.rename(tmp_path / "away")
    done = run(*arguments)
    assert done.returncode == 1 and "FAILED mine/toy-xs-ift-s0" in done.out
    (tmp_path / "away").rename(pairs)
    done = run(*arguments)
    assert done.returncode == 0 and "2 done" in done.out and not (out / "replaced").exists()


def test_a_run_at_work_elsewhere_is_left_alone(tmp_path):
    out = tmp_path / "out"
    with files.exclusive(out / "toy/toy-xs-ift-s0"):
        done = run(*tiny(out, "--arms", "ift"))
        assert "elsewhere" in done.out and "FAILED" not in done.out
        assert not (out / "toy/toy-xs-ift-s0/config.json").exists()
    assert (out / "toy/toy-s-ift-s0/scores.json").is_file()
    assert run(*tiny(out, "--arms", "ift")).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all of it", "the first process", "SIGTERM", "Ctrl-C"])
def test_a_study_killed_at_random_moments_has_the_same_tables(which, undisturbed, tmp_path):
    out, rng = tmp_path / "killed", random.Random(which)
    kills, number = 0, {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}.get(which, 9)
    while kills < (5 if number == 9 else 2):
        process = start(*tiny(out))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(5, 13))
        if process.poll() is not None:
            if process.returncode == 0:  # too fast for this machine: from the start again
                shutil.rmtree(out)
            continue
        kill = os.kill if which in ("the first process", "SIGTERM") else os.killpg
        kill(process.pid, number)
        kills += 1
        process.communicate(timeout=150)
        assert process.returncode in {9: (-9,), signal.SIGTERM: (143,)}.get(number, (130,))
    done = run(*tiny(out))
    assert done.returncode == 0, done.out + done.err
    assert tables(out) == tables(undisturbed.folder)


def test_a_corrupt_pairs_file_fails_its_own_run_and_is_named(tmp_path):
    good, bad, out = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "out"
    lines = [json.dumps(row) + "\n" for row in toy.rows(200)]
    good.write_text("".join(lines))
    bad.write_text("".join(lines[:50]) + '{"prompt": "half a li')
    arguments = tiny(out, "--corpora", f"good={good},bad={bad}", "--scales", "toy-xs",
                     "--arms", "ift,reasoning@toy-xs", "--only", "good/*,bad/*-ift-*")  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 1
    assert "FAILED bad/toy-xs-ift-s0" in done.out and "bad.jsonl:51" in done.out
    report = (out / "report/report.md").read_text()
    assert "bad/toy-xs-ift-s0: failed" in report and "bad.jsonl:51" in report
    assert len(list(out.glob("good/*/summary.json"))) == 2
    status = run("status", *arguments[1:])
    assert "FAILED bad/toy-xs-ift-s0" in status.out and "2 of 3 done" in status.out
    bad.write_text("".join(lines))  # mended: only that one is run
    again = run(*arguments)
    assert again.returncode == 0, again.out + again.err
    assert again.out.count("/3] ") == 1 and "failed" not in again.out.lower()


def test_a_run_that_fails_on_its_way_leaves_the_rest_complete(tmp_path):
    out = tmp_path / "out"
    (out / "toy").mkdir(parents=True)
    (out / "toy/toy-xs-reasoning-s0").write_text("a file where a folder should be")
    done = run(*tiny(out))
    assert done.returncode == 1 and "FAILED toy/toy-xs-reasoning-s0" in done.out
    assert len(list(out.glob("toy/*/scores.json"))) == 4


@pytest.mark.slow
def test_one_changed_option_reruns_only_the_runs_it_touches(undisturbed, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(undisturbed.folder, out)
    for stamp in out.glob(
        "trials/*/*.json"
    ):  # copied: their folder is another now, not their recipe
        assert str(undisturbed.folder) not in stamp.read_text()

    def times(name):
        return {file.parent.name: file.stat().st_mtime_ns for file in out.glob(f"toy/*/{name}")}

    def changed(before, name):
        return {run for run, time in times(name).items() if before.get(run) != time}

    # one more scale: its runs alone
    trained = times("config.json")
    done = run(*tiny(out, "--scales", "toy-xs,toy-s,toy-m", "--arms", "ift,mixed-0.5@toy-xs"))
    assert done.returncode == 0, done.err
    assert changed(trained, "config.json") == {"toy-m-ift-s0"}

    # more items of the benchmarks: nothing is trained, and answers that are there are kept
    trained = times("config.json")
    first = {f: f.read_text() for f in out.glob("toy/toy-xs-ift-s0/answers/toy_*")}
    done = run(*tiny(out, "--evaluate", "--limit 6 --max-new 24"))
    assert done.returncode == 0 and not changed(trained, "config.json")
    for file, text in first.items():
        assert set(text.splitlines()) <= set(file.read_text().splitlines())
        assert len(file.read_text().splitlines()) == 6

    # another length of answers: asked anew, the old ones set aside, nothing trained
    done = run(*tiny(out, "--evaluate", "--limit 6 --max-new 20"))
    assert done.returncode == 0 and not changed(trained, "config.json")
    assert len(list(out.glob("replaced/toy/*/answers.1"))) == 5

    # another learning rate in config.py: the runs of that scale alone
    o = study.parse(list(map(str, tiny(out, "--evaluate", "--limit 6 --max-new 20"))))
    assert {trials.state_of(o, trial) for trial in study.grid(o)} == {"done"}
    student = SCALES["toy-s"]
    rates = {**student.lr, "ift": 0.5}
    monkeypatch.setitem(SCALES, "toy-s", type(student)(student.base, rates, student.config))
    states = {trial.name: trials.state_of(o, trial) for trial in study.grid(o)}
    assert states.pop("toy/toy-s-ift-s0") == states.pop("toy/toy-s-reasoning-s0") == "to retrain"
    assert set(states.values()) == {"done"}
    monkeypatch.undo()

    # another option of train.py: all of them, and what was there is kept aside
    samples = "--samples 32 --val 16 --max-len 256"
    done = run(*tiny(out, "--train", samples, "--only", "toy/toy-xs-ift-s0"))
    assert done.returncode == 0 and "1 to retrain" in done.out
    assert changed(trained, "config.json") == {"toy-xs-ift-s0"}
    assert (out / "replaced/toy/toy-xs-ift-s0.1/summary.json").is_file()


def test_a_job_on_cores_starts_with_the_scripts_imported(tmp_path):
    (tmp_path / "probe.py").write_text(
        "import sys\n\n\n"
        "def main(arguments):\n"
        "    print([name for name in arguments if name in sys.modules])\n"
    )
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path.append(sys.argv[1])\n"
        "from sweep import workers\n"
        "command = ('probe', *workers.SCRIPTS, 'torch', 'no_such_module')\n"
        "assert not {*workers.SCRIPTS} & {*sys.modules}\n"
        "jobs = [workers.Job('probe', (command,), 1, Path('log'))]\n"
        "assert [job.problem for job in workers.run(jobs, cores=1)] == ['']\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", code, str(ROOT)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=200)
    log = (tmp_path / "log").read_text()
    assert log.splitlines()[-1] == str([*workers.SCRIPTS, "torch"])


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("script", workers.SCRIPTS)
def test_commands_on_gpus_run_files_that_exist(script, gpus):
    command = workers.executable((script, "--out", "run"), gpus)
    [file] = [word for word in command if word.endswith(".py")]
    assert Path(file).is_file() and Path(file).is_absolute() and command[0] == sys.executable


@pytest.mark.slow
def test_on_more_than_one_device_training_is_torchruns(tmp_path):
    out = tmp_path / "run"
    learns = ("train", "--scale", "toy-xs", "--format", "ift", "--samples", "64", "--val", "8",
              "--device", "cpu", "--out", str(out), "--show", "0")  # fmt: skip
    job = workers.Job("two", (learns,), 2, tmp_path / "two.log")
    wrong = workers.Job("wrong", (("train", "--scale", "none"),), 1, tmp_path / "wrong.log")
    outcomes = {job.name: job.problem for job in workers.run([job, wrong], gpus=3)}
    log = (tmp_path / "two.log").read_text()
    assert outcomes["two"] == "" and "torchrun --standalone --nproc_per_node=2" in log
    assert "2 rank(s)" in log and (out / "summary.json").is_file()
    assert "--format" in outcomes["wrong"]


@pytest.mark.slow
def test_a_teacher_makes_the_pairs_of_both_samplings_first(tmp_path):
    made = tmp_path / "teacher"
    arguments = ("--scale", "toy-s", "--format", "mixed", "--ratio", 0.5, "--toggle", "qwen3",
                 "--samples", 6000, "--out", made, "--show", 0)  # fmt: skip
    command = [sys.executable, "train.py", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=200)
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out"
    prompts.write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n"
                               for row in toy.rows(120, seed=5)))  # fmt: skip
    arguments = tiny(
        out, "--corpora", f"mine={prompts}", "--teacher", made / "model", "--controls",
        "same-sampling", "--generate", "--max-new 200", "--scales", "toy-xs", "--arms",
        "ift,reasoning", "--train", "--val 8 --max-len 256",
    )  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 0, done.out + done.err
    assert "generation by the teacher" in done.out
    for folder, is_same in (("mine", False), ("mine-same-sampling", True)):
        record = json.loads((out / "pairs" / folder / "manifest.json").read_text())
        sampling = record["sampling"]
        assert record["counts"]["pairs"] > 40
        assert (sampling["ift"] == sampling["reasoning"]) == is_same
    assert len(list(out.glob("mine/*/summary.json"))) == 4
    again = run(*arguments)  # the same pairs are no change
    assert again.returncode == 0 and "4 done" in again.out and "/4] " not in again.out
