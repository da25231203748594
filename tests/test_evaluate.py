"""evaluate.py as a user meets it: what it writes, going on, scoring again, juries, mistakes."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import made
import pytest
from conftest import ROOT

import engine
import evaluate
import flops
import model as models
import scoring
from common import files, hub
from config import Config
from data import benchmarks, toy
from data.benchmarks import STUDY, TOY
from data.chat import Chat, load_tokenizer
from engine import decoder
from engine.reference import greedy
from scoring import scoreboard

FIELDS = {"n", "accuracy", "stderr", "prompt_tokens", "generated_tokens", "generated_tokens_right",
          "generated_tokens_wrong", "inference_flops", "truncated", "no_answer",
          "opened_think"}  # fmt: skip


def run(*arguments):
    return evaluate.main([str(a) for a in arguments])


def rows(folder, name, kind="answers"):
    return [json.loads(line) for line in (folder / kind / f"{name}.jsonl").read_text().splitlines()]


def content(folder):
    """Every file of an evaluation but what names the engine's machine."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    return made.write_rows(tmp_path / "rows")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A run folder: a toy student that has learnt some of its tasks."""
    import train

    out = tmp_path_factory.mktemp("runs") / "toy"
    cache = tmp_path_factory.mktemp("pairs")
    pairs = cache / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in toy.rows(1000)))
    arguments = ("--scale", "toy-xs", "--format", "reasoning", "--data", pairs, "--show", "0",
                 "--val", "0", "--cache", cache, "--out", out)  # fmt: skip
    assert train.main([str(a) for a in arguments]) == 0
    return out


def copy(student, tmp_path):
    return shutil.copytree(student, tmp_path / "run")


# ---- what it writes -------------------------------------------------------------------------


def test_all_18_run_from_files(base, folder, tmp_path):
    out = tmp_path / "out"
    assert run(base, "--data-dir", folder, "--out", out, "--max-new", 8, "--limit", 5) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["benchmarks"]) == STUDY and summary["model"] == str(base)
    for part in (*summary["benchmarks"].values(), *summary["families"].values()):
        assert FIELDS <= part.keys() and 0 <= part["accuracy"] <= 1
        assert part["inference_flops"]["exact"] > 0 and part["inference_flops"]["paper"] > 0
    assert "code-oe" not in summary["families"]  # ROUGE-L is no accuracy
    assert summary["benchmarks"]["c_code_summarization"]["metric"] == "rouge_l"
    assert summary["families"]["math-oe"]["benchmarks"] == ["gsm8k", "math_500", "aime"]
    for name in STUDY:
        for row in rows(out, name):
            assert list(row) == ["id", "prompt", "output", "prompt_tokens", "generated_tokens",
                                 "finish_reason"]  # fmt: skip
        for row in rows(out, name, "scores"):
            assert {"id", "gold", "extracted", "value", "correct", "detail", "prompt_tokens",
                    "generated_tokens", "charged_tokens", "finish_reason",
                    "opened_think"} == row.keys()  # fmt: skip
    table = list(csv.DictReader((out / "scores.csv").open()))
    assert [line["name"] for line in table] == [*STUDY, *summary["families"]]


def test_a_students_answers_are_the_greedy_ones_and_its_summary_grows(student, tmp_path, capsys):
    run_folder = copy(student, tmp_path)
    before = json.loads((run_folder / "summary.json").read_text())
    assert run(run_folder, "--benchmarks", "toy", "--limit", 12, "--max-new", 120) == 0
    chat = Chat(load_tokenizer(student / "model")[0])
    model = models.load(student / "model")
    config = model.config
    for name in TOY:
        for row in rows(run_folder, name):
            prompt = chat.prompt(row["prompt"])
            ids = greedy(model, [prompt], 120, chat.stop_ids, chat.ids_in_use)[0]
            assert row["generated_tokens"] == len(ids) and row["prompt_tokens"] == len(prompt)
            text = chat.decode(ids).replace("<|im_end|>", "").replace("<|endoftext|>", "")
            assert row["output"] == text
    summary = json.loads((run_folder / "summary.json").read_text())
    assert before.items() <= summary.items()
    part = summary["benchmarks"]["toy_sort"]
    found = rows(run_folder, "toy_sort", "scores")
    assert (
        part["accuracy"] == sum(r["value"] for r in found) / 12 and part["family"] == "general-oe"
    )
    assert part["opened_think"] == sum(r["opened_think"] for r in found) / 12
    assert "toy_sort" in capsys.readouterr().out
    costs = [flops.inference(config, r["prompt_tokens"], r["generated_tokens"]) for r in found]
    assert part["inference_flops"]["exact"] == pytest.approx(sum(costs) / 12)


def test_means_errors_and_families_are_as_defined():
    config = Config(512, 32, 64, 2, 2, 1, 16)

    def row(i, value, tokens=10, **more):
        return {"id": str(i), "value": value, "correct": value == 1, "prompt_tokens": 5,
                "generated_tokens": 99, "charged_tokens": tokens, "finish_reason": "stop",
                "extracted": "x",
                "opened_think": False, **more}  # fmt: skip

    odd = row(3, 1, 30, finish_reason="length", extracted=None, opened_think=True)
    rows = [row(0, 1, 20), row(1, 0, 40), row(2, 0, 60), odd]
    part = scoreboard.of_benchmark("gsm8k", rows, config)
    assert (part["n"], part["accuracy"]) == (4, 0.5)
    assert part["stderr"] == pytest.approx((1 / 3 / 4) ** 0.5)
    assert (part["generated_tokens_right"], part["generated_tokens_wrong"]) == (25, 50)
    assert part["truncated"] == part["no_answer"] == part["opened_think"] == 0.25
    samples = scoreboard.of_benchmark("gsm8k", [row(0, 1), row(0, 0), row(1, 1), row(1, 1)], config)
    assert samples["n"] == 2 and samples["accuracy"] == 0.75  # items, not answers
    assert samples["stderr"] == pytest.approx((0.125 / 2) ** 0.5)
    lone = scoreboard.of_benchmark("aime", [row(0, 0)], config)
    assert lone["stderr"] == 0 and lone["generated_tokens_right"] is None
    family = scoreboard.of_families({"gsm8k": part, "aime": lone})["math-oe"]
    assert family["accuracy"] == 0.25 and family["n"] == 5
    assert family["stderr"] == pytest.approx(part["stderr"] / 2)
    assert family["generated_tokens_right"] == 25 and family["generated_tokens_wrong"] == 30


class Says:
    """An engine that answers every request with one text."""

    name, context = "made", 4096

    def __init__(self, text, seen):
        self.text, self.seen = text, seen

    def complete(self, requests):
        for r in requests:
            self.seen.append(r)
            yield engine.Completion(r.id, self.text, [1], "stop", len(r.prompt), 10)


def let_say(monkeypatch, text):
    """Makes every engine an engine that says `text`; returns what it is asked."""
    seen = []
    monkeypatch.setattr(engine, "load", lambda *_, **__: nullcontext(Says(text, seen)))
    return seen


def test_base_models_get_demonstrations_and_stop_at_their_benchmarks_next_turn(
    base, folder, tmp_path, monkeypatch
):
    seen = let_say(monkeypatch, " So \\boxed{7}. Then \\boxed{1,200}.")
    names = "gsm8k,ifeval,scibench,squad,consumer_qa"
    arguments = (base, "--data-dir", folder, "--benchmarks", names, "--shots", 1)
    assert run(*arguments, "--out", tmp_path / "out") == 0
    stops = {r.id.split("/")[0]: r.sampling.stop for r in seen}
    assert stops["gsm8k"] == stops["ifeval"] == stops["scibench"] == ("\nQuestion:",)
    assert stops["squad"] == ("\nPassage:", "\nQuestion:")
    assert stops["consumer_qa"] == ("\nContract:", "\nQuestion:")
    assert all(r.sampling.max_new <= 2048 for r in seen)
    asked = {name: rows(tmp_path / "out", name)[0]["prompt"] for name in names.split(",")}
    assert asked["gsm8k"].count("Answer:") == 2 and asked["ifeval"].count("Answer:") == 1
    assert [r["id"] for r in rows(tmp_path / "out", "scibench")] == ["1"]  # 0 was shown
    scores = rows(tmp_path / "out", "gsm8k", "scores")
    assert [r["extracted"] for r in scores] == ["7", "7"]  # the first box
    assert [r["correct"] for r in scores] == [False, True]


def test_an_invented_next_turn_of_a_cached_answer_is_neither_judged_nor_charged(
    base, folder, tmp_path, monkeypatch, capsys
):
    turn = "The answer is 7.\n\nQuestion: Another one?\nAnswer: The answer is 1,200. And so on."
    let_say(monkeypatch, turn)
    arguments = (base, "--data-dir", folder, "--benchmarks", "gsm8k,ifeval", "--shots", 1)
    assert run(*arguments, "--out", tmp_path / "out") == 0
    found = rows(tmp_path / "out", "gsm8k", "scores")
    assert {r["extracted"] for r in found} == {"7"}
    assert {r["generated_tokens"] for r in found} == {10}
    assert {r["charged_tokens"] for r in found} == {math.ceil(10 * 18 / len(turn))}
    assert rows(tmp_path / "out", "gsm8k")[0]["output"] == turn  # as it was generated
    summary = json.loads((tmp_path / "out/summary.json").read_text())["benchmarks"]
    assert summary["gsm8k"]["generated_tokens"] == found[0]["charged_tokens"]
    seen = let_say(monkeypatch, "\\boxed{no}")
    assert run(*arguments, "--out", tmp_path / "out", "--judge", base) == 0
    asked = [Chat(load_tokenizer(base)[0]).decode(r.prompt) for r in seen]
    assert asked and not any("Another one" in text for text in asked)


def test_under_a_chat_template_a_line_that_says_question_ends_nothing(
    base, folder, tmp_path, monkeypatch
):
    seen = let_say(monkeypatch, "Hello there\nQuestion: is it, or not?")
    arguments = (base, "--data-dir", folder, "--benchmarks", "ifeval", "--out", tmp_path / "out")
    assert run(*arguments) == 0
    assert {r.sampling.stop for r in seen} == {()}
    found = rows(tmp_path / "out", "ifeval", "scores")[0]
    assert "Question: is it" in found["extracted"] and not found["correct"]  # its comma counts


def test_rescoring_says_which_verdicts_changed_and_by_which_rules(
    base, folder, tmp_path, monkeypatch, capsys
):
    let_say(monkeypatch, "\\boxed{7}")
    out = tmp_path / "out"
    assert run(base, "--data-dir", folder, "--benchmarks", "gsm8k", "--out", out) == 0
    settings = json.loads((out / "scores.json").read_text())["settings"]
    assert settings["rules"] == scoring.rules() and len(scoring.rules()) == 12
    capsys.readouterr()
    assert run(base, "--out", out, "--rescore") == 0
    assert "no verdict changed" in capsys.readouterr().out
    older = [r | {"correct": True, "value": 1.0} for r in rows(out, "gsm8k", "scores")]
    (out / "scores/gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in older))
    assert run(base, "--out", out, "--rescore") == 0
    said = capsys.readouterr().out
    assert "verdicts that changed: 1, 0 for the better, 1 for the worse" in said
    assert "gsm8k 0: 1 -> 0, extracted '7' -> '7', gold '1,200'" in " ".join(said.split())
    changed = said.partition(" n  ")[0].splitlines()[:-1]
    assert len(changed) > 1 and all(len(line) <= 80 for line in changed)
    monkeypatch.setattr(scoreboard, "rules", lambda: "others")
    assert run(base, "--data-dir", folder, "--benchmarks", "aime", "--out", out) == 0
    assert list(json.loads((out / "scores.json").read_text())["benchmarks"]) == ["aime"]


def test_rows_that_cannot_be_scored_are_told_before_anything_is_asked(
    base, folder, tmp_path, capsys
):
    odd = [made.IFEVAL | {"instruction_id_list": ["punctuation:no_comma", "style:rhyme"]},
           made.IFEVAL | {"key": 9, "kwargs": [{}, {"relation": "at least"}]}]  # fmt: skip
    (folder / "ifeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
    strange = made.ROWS["scibench"][0] | {"answer_number": "see the figure"}
    (folder / "scibench.jsonl").write_text(json.dumps(strange) + "\n")
    names, out = "ifeval,scibench", tmp_path / "out"
    said = told(capsys, base, "--data-dir", folder, "--benchmarks", names, "--out", out)
    for part in ("style:rhyme: not one of IFEval's", "needs num_words", "see the figure"):
        assert part in said
    assert not out.exists()


@pytest.mark.parametrize("line", ["5", "[]", "{}", '{"id": "0", "output": 5}'])
def test_a_line_of_answers_that_is_json_but_no_answer_is_named(
    line, base, folder, tmp_path, monkeypatch, capsys
):
    let_say(monkeypatch, "\\boxed{7}")
    out = tmp_path / "out"
    assert run(base, "--data-dir", folder, "--benchmarks", "gsm8k", "--out", out) == 0
    with (out / "answers/gsm8k.jsonl").open("a") as answers:
        answers.write(line + "\n")
    assert "gsm8k.jsonl:3: not an answer" in told(capsys, base, "--out", out, "--rescore")


# ---- going on -------------------------------------------------------------------------------


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "evaluate.py", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def lines_in(folder):
    return sum(path.read_bytes().count(b"\n") for path in (folder / "answers").glob("*.jsonl"))


def test_kill_9_loses_no_answer_and_doubles_none(student, tmp_path):
    names = ("--benchmarks", "toy", "--limit", 40, "--max-new", 40)
    whole, killed = (shutil.copytree(student, tmp_path / name) for name in ("whole", "killed"))
    assert run(whole, *names) == 0
    counts = []
    for more in (10, 70):
        process = start(killed, *names)
        deadline = time.monotonic() + 60
        while lines_in(killed) < more and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        counts.append(lines_in(killed))
    assert 10 <= counts[0] <= counts[1] < 160, counts
    file = next((killed / "answers").glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b'{"id": "torn", "outp')
    assert run(killed, *names) == 0
    before, after = content(whole), content(killed)
    assert before.keys() == after.keys()
    different = [str(p) for p in before if before[p] != after[p] and "settings" not in str(p)]
    assert [p for p in different if p.startswith(("answers", "scores/"))] == []
    summaries = [json.loads((f / "summary.json").read_text()) for f in (whole, killed)]
    assert summaries[0] == summaries[1]


def test_more_items_and_more_benchmarks_ask_only_what_is_missing(student, tmp_path, monkeypatch):
    out, asked = copy(student, tmp_path), []
    complete = decoder.Decoder.complete

    def counted(self, requests):
        requests = list(requests)
        asked.append(len(requests))
        return complete(self, requests)

    monkeypatch.setattr(decoder.Decoder, "complete", counted)
    for names, limit in (("toy_sort", 4), ("toy_sort", 10), ("toy_sort,toy_add", 10)):
        assert run(out, "--benchmarks", names, "--limit", limit, "--max-new", 40) == 0
    assert asked == [4, 6, 10]
    assert run(out, "--benchmarks", "toy_sort,toy_add", "--limit", 10, "--max-new", 40) == 0
    assert asked == [4, 6, 10]  # no engine was needed
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["benchmarks"]) == {"toy_sort", "toy_add"}


def test_samples_are_drawn_apart_and_averaged(student, tmp_path):
    out = copy(student, tmp_path)
    options = ("--benchmarks", "toy_add", "--limit", 5, "--max-new", 40, "--temperature", 1.0)
    assert run(out, *options, "--samples", 2) == 0
    first = rows(out, "toy_add")
    assert [(r["id"], r["sample"]) for r in first] == [
        (r["id"], i % 2) for i, r in enumerate(first)
    ]
    assert len(first) == 10 and len({r["output"] for r in first}) > 5
    assert run(out, *options, "--samples", 3) == 0
    more = rows(out, "toy_add")
    assert len(more) == 15 and all(row in more for row in first)
    assert json.loads((out / "summary.json").read_text())["benchmarks"]["toy_add"]["n"] == 5


def test_rescore_needs_no_model(student, tmp_path, monkeypatch):
    out = copy(student, tmp_path)
    assert run(out, "--benchmarks", "toy", "--limit", 8, "--max-new", 60) == 0
    summary, answers = (out / "summary.json").read_text(), content(out / "answers")
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "scores")
    monkeypatch.setattr(engine, "load", None)
    assert run(out, "--benchmarks", "all,toy", "--rescore") == 0
    assert (out / "summary.json").read_text() == summary and len(
        rows(out, "toy_add", "scores")
    ) == 8
    assert content(out / "answers") == answers


def test_an_item_longer_than_the_context_is_counted(base, tmp_path, capsys):
    model = shutil.copytree(base, tmp_path / "model")
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 512}
    (model / "config.json").write_text(json.dumps(config))
    story = {**made.SQUAD, "context": "word " * 300}
    folder = made.write_rows(tmp_path / "rows", {"squad": [story, made.SQUAD]}, {})
    out = tmp_path / "out"
    names = ("--data-dir", folder, "--benchmarks", "squad")
    assert run(model, *names, "--out", out, "--max-new", 400) == 0
    first, second = rows(out, "squad")
    assert first["output"] == "" and first["finish_reason"] == "length"
    assert first["generated_tokens"] == 0 and first["prompt_tokens"] > 512
    assert second["prompt_tokens"] + second["generated_tokens"] <= 512
    said = capsys.readouterr().out
    assert "longer than the context of 512 tokens, counted as truncated: squad 1" in said
    assert "1 prompts leave less than 400 tokens" in said
    part = json.loads((out / "summary.json").read_text())["benchmarks"]["squad"]
    assert part["truncated"] >= 0.5 and part["clamped"] == 1


# ---- juries ---------------------------------------------------------------------------------


def test_a_jury_decides_and_the_rules_stay_beside_it(base, folder, tmp_path, monkeypatch, capsys):
    judges = [shutil.copytree(base, tmp_path / name) for name in ("one", "two", "three")]
    says = {"one": "\\boxed{yes}", "two": "<think>\\boxed{no}</think>\\boxed{yes}", "three": "hm"}
    asked = []

    class Fake:
        name, context = "fake", 4096

        def __init__(self, model):
            self.model = model

        def complete(self, requests):
            for r in requests:
                asked.append(self.model)
                text = says.get(self.model.split("/")[-1], "The answer is \\boxed{Yes}.")
                yield engine.Completion(r.id, text, [1], "stop", len(r.prompt), 1)

    import contextlib

    monkeypatch.setattr(
        engine, "load", lambda kind, model, **_: contextlib.nullcontext(Fake(model))
    )
    out = tmp_path / "out"
    arguments = (base, "--data-dir", folder, "--out", out, "--benchmarks",
                 "consumer_qa,c_code_summarization")  # fmt: skip
    assert run(*arguments, "--judge", ",".join(map(str, judges))) == 0
    scores = rows(out, "consumer_qa", "scores")
    assert [r["value"] for r in scores] == [1, 1] and [r["rules"] for r in scores] == [1, 0]
    assert [r["votes"] for r in scores] == [[True, True, None]] * 2
    summary = json.loads((out / "summary.json").read_text())
    assert summary["benchmarks"]["consumer_qa"]["metric"] == "jury"
    assert summary["families"]["code-oe"]["accuracy"] == 1  # the jury ran
    said = capsys.readouterr().out
    assert "three and the rules disagree on 25.0" in said and "without a verdict: 4 of 12" in said
    before = len(asked)
    assert run(*arguments, "--rescore", "--judge", ",".join(map(str, judges))) == 0
    assert len(asked) == before  # verdicts are kept
    assert run(base, "--out", out, "--rescore") == 0  # without --judge the rules decide
    assert (
        json.loads((out / "summary.json").read_text())["benchmarks"]["consumer_qa"]["accuracy"]
        == 0.5
    )


def test_a_judge_without_chatml_is_asked_by_its_own_template(base, tmp_path):
    from scoring import jury

    model = shutil.copytree(base, tmp_path / "judge")
    fields = json.loads((model / "tokenizer.json").read_text())
    for token in fields["added_tokens"]:  # <|im_start|> and the others under another name
        token["content"] = token["content"].replace("<|", "<:").replace("|>", ":>")
    (model / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(hub.UserError, match="no ChatML tokens, and no chat template"):
        jury.reader(str(model))
    settings = {"chat_template": "<:im_start:>{{ messages[0].content }}<:im_end:>"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (model / "generation_config.json").write_text('{"eos_token_id": 5}')
    render, stop_ids = jury.reader(str(model))
    tokenizer = load_tokenizer(model)[0]
    assert tokenizer.decode(render("Is it?"), skip_special_tokens=False) == (
        "<:im_start:>Is it?<:im_end:>"
    )
    assert stop_ids == [5]


# ---- mistakes -------------------------------------------------------------------------------


def told(capsys, *arguments):
    assert run(*arguments) == 2
    return capsys.readouterr().err


def test_all_mistakes_are_told_at_once_before_anything_is_written(base, tmp_path, capsys):
    out = tmp_path / "out"
    said = told(capsys, base, "--benchmarks", "gms8k", "--samples", 3, "--limit", 0, "--engine",
                "vlm", "--coqa", "middle", "--judge", "a,b", "--out", out)  # fmt: skip
    for part in ("--benchmarks gms8k: one of", "did you mean gsm8k?", "--samples 3: greedy",
                 "--limit 0: at least 1", "did you mean vllm?", "--coqa middle",
                 "--judge a,b"):  # fmt: skip
        assert part in said, part
    assert not out.exists()


def test_numbers_that_no_sampler_takes_are_told(base, tmp_path, capsys):
    said = told(capsys, base, "--benchmarks", "toy", "--out", tmp_path / "o", "--batch", -1,
                "--temperature", "nan", "--top-p", 0, "--top-k", -1, "--min-p", 2,
                "--tensor-parallel", 0, "--judge", "/no/such/judge")  # fmt: skip
    for part in ("--batch -1", "--temperature nan", "--top-p 0.0: more than 0", "--top-k -1",
                 "--tensor-parallel 0", "/no/such/judge: no such file"):  # fmt: skip
        assert part in said, part


def test_a_row_without_a_usable_gold_is_told_before_anything_is_asked(
    base, folder, tmp_path, capsys
):
    rows = (folder / "winogrande.jsonl").read_text().splitlines()
    rows[0] = json.dumps({**json.loads(rows[0]), "answer": ""})
    (folder / "winogrande.jsonl").write_text("\n".join(rows) + "\n")
    said = told(capsys, base, "--data-dir", folder, "--benchmarks", "winogrande", "--out",
                tmp_path / "o")  # fmt: skip
    assert "winogrande.jsonl, row 1: ValueError" in said and not (tmp_path / "o").exists()


def test_broken_summaries_and_full_disks_lose_nothing(student, tmp_path, capsys, monkeypatch):
    out = copy(student, tmp_path)
    summary = (out / "summary.json").read_text()
    (out / "summary.json").write_text("{")
    said = told(capsys, out, "--benchmarks", "toy_add", "--limit", 2)
    assert "summary.json: cannot be read" in said and not (out / "answers").exists()
    (out / "summary.json").write_text(summary)
    whole = files.write_atomic

    def full(path, text):
        if path.name == "scores.json":
            raise OSError(28, "No space left on device")
        whole(path, text)

    monkeypatch.setattr(files, "write_atomic", full)
    assert run(out, "--benchmarks", "toy_add", "--limit", 2) == 1
    assert "No space left on device; the same command resumes" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(out, "--benchmarks", "toy_add", "--limit", 2) == 0


def test_scores_of_rules_and_of_a_jury_are_not_averaged(student, tmp_path):
    out = copy(student, tmp_path)
    assert run(out, "--benchmarks", "toy_add", "--limit", 2) == 0
    settings = json.loads((out / "answers/settings.json").read_text())
    lines = (out / "scores/toy_add.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    config = Config.from_pretrained(out / "model")
    scoreboard.write(out, settings, {"toy_largest": rows}, config, jury="a judge")
    assert list(json.loads((out / "scores.json").read_text())["benchmarks"]) == ["toy_largest"]


def test_a_missing_column_and_file_are_told(base, folder, tmp_path, capsys):
    (folder / "gsm8k.jsonl").write_text('{"question": "x"}\n')
    (folder / "aime.jsonl").unlink()
    out = tmp_path / "out"
    said = told(capsys, base, "--data-dir", folder, "--benchmarks", "math-oe", "--out", out)
    assert "gsm8k.jsonl, row 1: no answer" in said and "has no aime.jsonl" in said
    assert not out.exists()


@pytest.mark.parametrize(("model", "part"), [
    ("/no/such/model", "no such file or folder"), ("", "MODEL: not given"),
    ("EMPTY", "no config.json there"),
])  # fmt: skip
def test_a_missing_model_is_told(model, part, tmp_path, capsys):
    model = model.replace("EMPTY", str(tmp_path))
    assert part in told(capsys, model, "--benchmarks", "toy", "--out", tmp_path / "o")


def test_answers_of_another_checkpoint_or_other_options_are_refused(student, tmp_path, capsys):
    out = copy(student, tmp_path)
    options = ("--benchmarks", "toy_add", "--limit", 3)
    assert run(out, *options, "--max-new", 30) == 0
    before = content(out)
    assert "--max-new: 30 there, 31 here" in told(capsys, out, *options, "--max-new", 31)
    model = models.load(out / "model")
    model.model.norm.weight.data[0] += 1e-3
    models.save(model, out / "model", eos=[0])
    said = told(capsys, out, *options, "--max-new", 30)
    assert "of another checkpoint" in said and "weights: " in said
    after = content(out)
    assert all(after[p] == before[p] for p in before if not str(p).startswith("model"))


def test_changed_rows_are_refused(base, folder, tmp_path, capsys):
    arguments = (base, "--data-dir", folder, "--benchmarks", "gsm8k,squad", "--out",
                 tmp_path / "out", "--max-new", 4)  # fmt: skip
    assert run(*arguments) == 0
    made.write_rows(folder, {"gsm8k": made.ROWS["gsm8k"][::-1]}, {})
    assert "rows of gsm8k: " in told(capsys, *arguments)


def test_rescore_without_answers_is_told(student, tmp_path, capsys):
    out = copy(student, tmp_path)
    assert "no answers in" in told(capsys, out, "--benchmarks", "toy", "--rescore")
    assert not (out / "answers").exists()


def test_two_at_once_are_refused(student, tmp_path, capsys):
    from common import files

    out = copy(student, tmp_path)
    with files.exclusive(out / "answers"):
        said = told(capsys, out, "--benchmarks", "toy", "--limit", 1)
    assert "another process is at work there" in said


def test_a_broken_answers_file_is_told_by_its_line(student, tmp_path, capsys):
    out = copy(student, tmp_path)
    arguments = (out, "--benchmarks", "toy_add", "--limit", 3, "--max-new", 10)
    assert run(*arguments) == 0
    file = out / "answers/toy_add.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    assert "toy_add.jsonl:2: not an answer" in told(capsys, *arguments)
    assert file.read_text().count("\n") == 4


def test_names_families_and_groups_select_in_the_tables_order():
    assert evaluate.selected("all") == STUDY and evaluate.selected("toy") == TOY
    assert evaluate.selected("math-oe, squad") == ["squad", "gsm8k", "math_500", "aime"]
    assert evaluate.selected("gsm8k,gsm8k") == ["gsm8k"]
    assert set(STUDY) - set(evaluate.selected("hub")) == {"c_code_summarization"}
    assert len(benchmarks.TASK_FAMILIES) == 10
