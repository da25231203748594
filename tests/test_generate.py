"""generate.py: prompts in, pairs out, whatever happens in between."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, SHARED

import generate
from common import hub
from data import toy
from data.answers import FILTERS, Answers, loops
from data.chat import template
from data.prompts import read_prompts
from data.rows import check
from data.teacher import Teacher

QWEN = SHARED / "qwen"
real = pytest.mark.skipif(not QWEN.is_dir(), reason="Qwen's tokenizers are not beside the project")


def start(*arguments, **options):
    """generate.py as a process of one thread."""
    command = [sys.executable, "generate.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def finish(process):
    process.out, process.err = process.communicate(timeout=120)
    return process


@pytest.fixture
def run(capsys):
    """generate.py in this process, which has torch loaded already."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        code = generate.main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, out=out, err=err)

    yield call
    signal.signal(signal.SIGTERM, before)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs_of(folder):
    files = sorted(Path(folder).glob("reasoning_ift_pairs-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    rows = [{"id": f"q{i}", "prompt": row["prompt"]} for i, row in enumerate(toy.rows(60, seed=1))]
    return write(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", rows)


@pytest.fixture(scope="module")
def undisturbed(lively, prompts, tmp_path_factory):
    """The pairs of a run that nothing interrupts; no filter, since the teacher talks nonsense."""
    out = tmp_path_factory.mktemp("undisturbed") / "pairs"
    arguments = ("--teacher", lively, "--prompts", prompts, "--max-new", 80, "--filters", "")
    assert generate.main(list(map(str, (*arguments, "--out", out)))) == 0
    return arguments, out


# ---- what is written --------------------------------------------------------------------------


def test_every_prompt_is_answered_in_both_modes_and_the_counts_add_up(undisturbed, prompts):
    _, out = undisturbed
    rows, manifest = pairs_of(out), json.loads((out / "manifest.json").read_text())
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(60)]
    asked = [json.loads(line) for line in prompts.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in asked]
    answers = [json.loads(x) for x in (out / "answers/00000.jsonl").read_text().splitlines()]
    assert len({(row["id"], row["mode"]) for row in answers}) == len(answers) == 120
    counts, tokens = manifest["counts"], manifest["tokens"]
    assert counts["prompts"] == counts["pairs"] + sum(counts["dropped"].values()) == 60
    assert (
        tokens["generated"]["ift"]
        == tokens["kept"]["ift"]
        == sum(row["generated_tokens"] for row in answers if row["mode"] == "ift")
    )
    assert manifest["teacher_flops"]["exact"]["reasoning"] > 0
    card = (out / "README.md").read_text()
    assert card.startswith("---\nconfigs:") and "q" in card and "qwen3" in card


def test_the_two_modes_differ_only_in_the_toggle(lively):
    teacher = Teacher(lively)
    for messages in ([{"role": "user", "content": "a<|im_end|>b"}],
                     [{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
                      {"role": "assistant", "content": "<think>t</think>a"},
                      {"role": "user", "content": "v"}]):  # fmt: skip
        off, on = (teacher.prompt(messages, thinking) for thinking in (False, True))
        assert off[: len(on)] == on
        assert teacher.tokenizer.decode(off[len(on) :]) == "<think>\n\n</think>\n\n"
    assert teacher.sampling(same=True)["ift"] == teacher.sampling(same=True)["reasoning"]
    assert teacher.sampling(same=False)["ift"] != teacher.sampling(same=False)["reasoning"]


@real
def test_p10_prompts_of_both_modes_equal_qwen3s_template():
    goldens = json.loads((QWEN / "chat_template_golden.json").read_text(encoding="utf-8"))
    teacher = Teacher(QWEN / "qwen3")
    assert teacher.toggle == "qwen3" and teacher.chat  # rendered by Chat, which equals its template
    assert teacher.stop_ids == [151645, 151643]
    for case in ("user_gen", "user_gen_thinkoff", "user_gen_thinkon", "sys_user_gen",
                 "multi_turn_gen"):  # fmt: skip
        messages, thinking = goldens[case]["messages"], goldens[case]["kwargs"]
        thinking = thinking.get("enable_thinking", True)
        wanted = goldens[case]["qwen3_2504"]["ids"]
        assert teacher.prompt(messages, thinking) == wanted
        assert teacher.by_template(messages, thinking) == wanted


NEMOTRON = """\
{{- bos_token }}
{%- set ns = namespace(on=true) %}
{%- for m in messages %}
    {%- if m.role == 'system' and '/no_think' in m.content %}{% set ns.on = false %}{% endif %}
    {{- '<|im_start|>' + m.role + '|' + m.content.replace('/no_think', '').replace('/think', '') }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant|' }}
    {{- '<think>\\n' if ns.on else '<think></think>' }}{% endif %}"""


def test_a_system_switch_is_rendered_by_the_teachers_own_template(lively, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in Path(lively).iterdir():
        (copy / file.name).symlink_to(file)
    (copy / "tokenizer_config.json").unlink()
    settings = {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|im_end|>"}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    (copy / "chat_template.jinja").write_text(NEMOTRON)
    teacher = Teacher(copy)
    assert teacher.toggle == "nemotron" and not teacher.chat
    user = [{"role": "user", "content": "a<|im_end|>b"}]
    text = {t: teacher.tokenizer.decode(teacher.prompt(user, t), False) for t in (False, True)}
    head = "<|endoftext|><|im_start|>system|<|im_start|>user|a<|im_end|>b<|im_start|>assistant|"
    assert text == {False: head + "<think></think>", True: head + "<think>\n"}
    ids = teacher.prompt(user, True)  # the user's control token stays text
    assert ids.count(teacher.tokenizer.token_to_id("<|im_end|>")) == 0
    assert teacher.reasoning_prefix() == "<think>\n"
    both = [{"role": "system", "content": "be brief"}, *user]
    assert "system|\n\nbe brief" in teacher.tokenizer.decode(teacher.prompt(both, False), False)


def test_a_teacher_without_a_known_toggle_is_told(base):
    with pytest.raises(hub.UserError, match="pass --toggle nemotron-v1 or nemotron or qwen3"):
        Teacher(base)
    assert Teacher(base, "qwen3").chat


GOOD = [
    {"text": "4", "finish_reason": "stop"},
    {"text": "<think>\n2+2\n</think>\n\n4", "finish_reason": "stop"},
]


@pytest.mark.parametrize(
    "name, mode, change",
    [
        ("cut", 0, {"finish_reason": "length"}),
        ("cut", 1, {"finish_reason": "length"}),
        ("think", 1, {"text": "4"}),
        ("think", 1, {"text": "<think>2+2"}),
        ("think", 1, {"text": "<think>a<think>b</think></think>4"}),
        ("think", 1, {"text": "so <think>a</think>4"}),
        ("think", 1, {"text": "<think>a</think>4<think>b</think>5"}),
        ("empty", 0, {"text": " \n"}),
        ("empty", 1, {"text": "<think>a</think>\n"}),
        ("leak", 0, {"text": "<think>a</think>4"}),
        ("leak", 0, {"text": "a</think>4"}),
        ("loop", 0, {"text": "and so on " * 400}),
        ("loop", 1, {"text": "<think>" + "x = 1, y = 2; " * 300 + "</think>4"}),
    ],
)
def test_each_filter_drops_what_it_names_and_nothing_else(name, mode, change):
    assert not any(is_wrong(*GOOD) for is_wrong in FILTERS.values())
    pair = list(GOOD)
    pair[mode] = {**pair[mode], **change}
    assert [n for n, is_wrong in FILTERS.items() if is_wrong(*pair)] == [name]


def test_long_but_varied_text_is_no_loop():
    rows = list(toy.rows(400))
    assert not loops("\n".join(row["reasoning"] for row in rows))
    assert not loops("\n".join(f"{i} x {i} = {i * i}" for i in range(3000)))
    assert loops("\n".join(row["prompt"] for row in rows) + "again and again, " * 300)
    rng = random.Random(0)
    for period in (20, 120, 400, 1000):  # a sentence or a paragraph over and over
        assert loops("".join(rng.choices("abcdefgh ijklm", k=period)) * (40_000 // period)), period
    assert loops("".join(rng.choices("abcdefgh", k=900)) + "x" * 2000)
    assert not loops("".join(rng.choices("abcdefgh ijklm", k=40_000)))


def test_what_passes_the_filters_trains_and_other_filters_sort_anew(undisturbed, tmp_path, run):
    arguments, out = undisturbed
    unread = {line for _, _, texts, line in check(sorted(out.glob("*.jsonl"))) if line}
    assert unread  # the teacher's nonsense is no reasoning
    before = (out / "answers/00000.jsonl").read_bytes()
    process = run(*arguments[:-1], "cut,think", "--out", out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert process.returncode == 0 and "answers from" not in process.out
    assert (out / "answers/00000.jsonl").read_bytes() == before
    assert manifest["counts"]["dropped"].keys() == {"cut", "think"}
    assert len(pairs_of(out)) == manifest["counts"]["pairs"] < 60
    run(*arguments, "--out", out)


# ---- prompts ----------------------------------------------------------------------------------


def test_strings_turns_and_named_columns_are_prompts(tmp_path):
    human = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    rows = [{"prompt": "p"}, {"conversations": human}, {"messages": turns, "id": 7}]
    prompts, bad = read_prompts(str(write(tmp_path / "a.jsonl", rows)))
    assert [p.id for p in prompts] == ["a.jsonl:1", "a.jsonl:2", "7"] and bad == 0
    assert [p.text for p in prompts] == ["p", "a", "System: s\n\nUser: u"]
    assert prompts[2].messages == turns
    rows = [{"task": "do", "uid": "x", "how": "briefly", "prompt": "no"}]
    file = str(write(tmp_path / "b.jsonl", rows))
    (prompt,), _ = read_prompts(file, "prompt=task,id=uid,system=how")
    assert prompt.id == "x" and [m["content"] for m in prompt.messages] == ["briefly", "do"]
    with pytest.raises(hub.UserError, match="--columns"):
        read_prompts(file, "question=task")
    assert len(read_prompts(str(write(tmp_path / "c.jsonl", [{"prompt": "p"}] * 9)), "", 4)[0]) == 4


def test_parquet_and_folders_are_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"input": [[{"role": "user", "content": f"u{i}"}] for i in range(3)]})
    parquet.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "b.jsonl", [{"question": "q"}])
    prompts, _ = read_prompts(str(tmp_path))
    assert [p.text for p in prompts] == ["u0", "u1", "u2", "q"]


def test_bad_prompts_are_named_all_at_once(tmp_path):
    rows = [
        {"id": 1, "prompt": "p"},
        {"id": 1, "prompt": "q"},
        {"id": 2, "prompt": " "},
        {"id": 3, "other": "p"},
        {"id": 4, "prompt": [{"role": "tool", "content": "x"}]},
        {"id": 5, "prompt": "\ud800"},
        {"id": 6, "messages": [{"role": "assistant", "content": "x"}]},
        {"id": "\ud800", "prompt": "p"},
        {"id": 8, "prompt": [{"role": ["user"], "content": "x"}]},
    ]
    file = write(tmp_path / "p.jsonl", rows)
    with open(file, "a") as more:
        more.write("{torn")
    with pytest.raises(hub.UserError) as told:
        read_prompts(str(file))
    whats = ("id '1' again, first in p.jsonl:1", "is empty", "--columns", "no message", "surrogate",
             "is empty", "its id has a lone surrogate", "no message", "JSON")  # fmt: skip
    lines = str(told.value).splitlines()[1:]
    for number, what, line in zip(range(2, 11), whats, lines, strict=False):
        assert f"p.jsonl:{number}: " in line and what in line
    prompts, bad = read_prompts(str(file), skip_bad=True)
    assert len(prompts) == 1 and bad == 9
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(hub.UserError, match="no prompt in it"):
        read_prompts(str(tmp_path / "empty.jsonl"))


# ---- mistakes ---------------------------------------------------------------------------------


def test_a_toggle_that_changes_nothing_is_refused(lively, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(lively, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = template()  # ours for students: it has no switch
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(hub.UserError, match="--toggle qwen3 changes nothing"):
        Teacher(folder, "qwen3")


def test_another_rendering_is_another_teacher(lively, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(lively, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ '<|im_start|>' }}" + settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Teacher(folder).rendering() != Teacher(lively).rendering()


def test_a_template_that_refuses_system_messages_still_renders_others(lively, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(lively, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    marks = "{% generation %}{% endgeneration %}{% if tools is not none %}TOOLS{% endif %}"
    settings["chat_template"] = refusal + marks + settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    user = [{"role": "user", "content": "u"}]
    assert Teacher(folder).prompt(user, True) == Teacher(lively).prompt(user, True)
    with pytest.raises(hub.UserError, match="refuses a conversation: no system"):
        Teacher(folder).prompt([{"role": "system", "content": "s"}, *user], True)


def test_mistakes_are_told_at_once_and_nothing_is_written(base, tmp_path, run):
    file = write(tmp_path / "p.jsonl", [{"prompt": "p"}, {"prompt": "long " * 5000}])
    out = tmp_path / "pairs"
    process = run("--teacher", base, "--prompts", file, "--out", out, "--engine", "vlm",
                           "--max-new", 0, "--filters", "cut,lop")  # fmt: skip
    assert process.returncode == 2 and not out.exists()
    for words in ("no switch for thinking", "--engine vlm", "did you mean vllm", "--max-new 0",
                  "did you mean loop"):  # fmt: skip
        assert words in process.err, process.err
    process = run("--teacher", base, "--toggle", "qwen3", "--prompts", file, "--out", out)
    assert process.returncode == 2 and not out.exists()
    assert "1 leave no room" in process.err and "p.jsonl:2" in process.err
    process = run("--engine", "server")
    assert process.returncode == 2 and "Traceback" not in process.err
    for words in ("--teacher: not given", "--prompts: not given", "--url"):
        assert words in process.err


def test_another_run_in_the_same_folder_is_refused_with_the_difference(undisturbed, run):
    arguments, out = undisturbed
    process = run(*arguments, "--out", out, "--seed", 5)
    assert process.returncode == 2 and "seed: 0 there, 5 here" in process.err
    process = run(*arguments, "--out", out.parent)
    assert process.returncode == 2 and "holds other files" in process.err


# ---- stopping ---------------------------------------------------------------------------------


def test_a_torn_line_is_cut_off_and_asked_again(undisturbed, run):
    arguments, out = undisturbed
    wanted = (out / "reasoning_ift_pairs-00000.jsonl").read_bytes()
    file = out / "answers/00000.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:50]) + lines[50][:20])
    assert Answers(out / "answers", 60).done.sum() == 50
    file.write_bytes(b"".join(lines[:50]) + b"\0" * 30)
    process = run(*arguments, "--out", out)
    assert process.returncode == 0 and "cut off" in process.out and "70 answers" in process.out
    assert (out / "reasoning_ift_pairs-00000.jsonl").read_bytes() == wanted


def test_a_server_that_fails_midway_leaves_what_was_written_to_go_on_from(
    lively, prompts, run, tmp_path, monkeypatch
):
    from test_server import Fake

    from engine import server

    monkeypatch.setattr(server, "PAUSE", 0.01)
    fake, out = Fake(), tmp_path / "pairs"
    arguments = ("--teacher", lively, "--prompts", prompts, "--filters", "", "--out", out,
                 "--engine", "server", "--url", fake.url, "--served-name", "t", "--retries", 1,
                 "--batch", 4)  # fmt: skip
    fake.faults = [None] * 50 + [500] * 1000
    failed = run(*arguments)
    assert failed.returncode == 2 and "no answer after 2 tries" in failed.err
    kept = (out / "answers/00000.jsonl").read_bytes()
    assert 40 <= kept.count(b"\n") <= 50 and kept.endswith(b"\n")
    assert not (out / "manifest.json").exists()
    fake.faults = [429, "garbage"]
    assert run(*arguments).returncode == 0
    assert (out / "answers/00000.jsonl").read_bytes().startswith(kept)
    assert [row["id"] for row in pairs_of(out)] == [f"q{i}" for i in range(60)]
    fake.shutdown()
    fake.server_close()  # down: nothing is left to ask, so that it does not matter
    assert run(*arguments).returncode == 0
    down = run(*arguments, "--out", tmp_path / "other")
    assert down.returncode == 2 and "Is the server up" in down.err


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_run_goes_on_from_there(undisturbed, tmp_path):
    import resource

    arguments, out = undisturbed
    wanted = (out / "reasoning_ift_pairs-00000.jsonl").read_bytes()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = finish(start(*arguments, "--out", tmp_path / "pairs", preexec_fn=limit))
    assert process.returncode == 1 and "resumes" in process.err and "Traceback" not in process.err
    kept = (tmp_path / "pairs/answers/00000.jsonl").read_bytes()
    assert kept.endswith(b"\n") and 4000 < len(kept) <= 5000
    process = finish(start(*arguments, "--out", tmp_path / "pairs"))
    assert process.returncode == 0, process.err
    assert (tmp_path / "pairs/reasoning_ift_pairs-00000.jsonl").read_bytes() == wanted


@pytest.mark.slow
def test_sigterm_ends_it_soon_and_a_second_process_is_refused(undisturbed, tmp_path):
    arguments, _ = undisturbed
    arguments = (*arguments, "--out", tmp_path / "pairs", "--batch", 1)
    process = start(*arguments)
    file = tmp_path / "pairs/answers/00000.jsonl"
    while not (file.exists() and file.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    second = finish(start(*arguments))
    assert second.returncode == 2 and "another process" in second.err
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143


@pytest.mark.slow
def test_kill_9_at_20_random_moments_gives_the_undisturbed_pairs(lively, tmp_path):
    rows = [{"id": i, "prompt": row["prompt"]} for i, row in enumerate(toy.rows(1200, seed=2))]
    file = write(tmp_path / "p.jsonl", rows)
    arguments = ("--teacher", lively, "--prompts", file, "--max-new", 60, "--filters", "")
    assert finish(start(*arguments, "--out", tmp_path / "whole")).returncode == 0
    out, moments = tmp_path / "killed", random.Random(0)
    answers, kills = out / "answers/00000.jsonl", 0
    while kills < 20:
        process = start(*arguments, "--out", out, "--batch", moments.choice((3, 16, 40)))
        size = answers.stat().st_size if answers.exists() else 0
        while not (answers.exists() and answers.stat().st_size > size):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.25))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        assert not (out / "manifest.json").exists()
    assert finish(start(*arguments, "--out", out)).returncode == 0
    for name in ("reasoning_ift_pairs-00000.jsonl", "manifest.json", "README.md"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len({(row["number"], row["mode"]) for row in rows}) == len(rows) == 2400
    assert [row["id"] for row in pairs_of(out)] == [str(i) for i in range(1200)]


@pytest.mark.slow
def test_a_toy_teacher_of_both_modes_makes_pairs_that_train_a_student(cache, tmp_path):
    """`make toy-teacher` in small: train, generate, train, export."""

    def train(*arguments):
        command = [sys.executable, "train.py", "--cache", cache, "--show", 0, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True, timeout=400, env=environment)

    train("--scale", "toy-s", "--format", "mixed", "--ratio", 0.5, "--toggle", "qwen3",
          "--samples", 9600, "--out", tmp_path / "teacher")  # fmt: skip
    file = write(tmp_path / "p.jsonl", toy.rows(200, seed=1))
    arguments = ("--teacher", tmp_path / "teacher/model", "--prompts", file, "--batch", 64)
    process = finish(start(*arguments, "--same-sampling", "--out", tmp_path / "pairs"))
    assert process.returncode == 0, process.err
    manifest = json.loads((tmp_path / "pairs/manifest.json").read_text())
    assert manifest["toggle"] == "qwen3" and manifest["counts"]["pairs"] >= 180
    assert manifest["sampling"]["ift"] == manifest["sampling"]["reasoning"]
    for row in pairs_of(tmp_path / "pairs"):  # each mode gives its format, from the toggle alone
        assert row["reasoning"].startswith("<think>") and "think>" not in row["ift"]
    train("--scale", "toy-xs", "--format", "reasoning", "--data", tmp_path / "pairs",
          "--val", 20, "--out", tmp_path / "student")  # fmt: skip
    summary = json.loads((tmp_path / "student/summary.json").read_text())
    assert summary["paired"] and summary["bad_rows"] == 0
    assert summary["pairs"] == manifest["counts"]["pairs"] - 20
    assert (tmp_path / "student/model/model.safetensors").is_file()
