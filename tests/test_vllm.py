"""vLLM on a tiny random Qwen3 teacher, and serving. `make test-vllm` runs this in its own venv."""

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest
import torch
from conftest import ROOT

if not importlib.util.find_spec("vllm"):
    pytest.skip("vLLM is not in this environment: make test-vllm", allow_module_level=True)

import engine
import model as models
from config import SCALES, Config
from data import toy
from data.chat import Chat, template
from data.teacher import Teacher
from engine.request import Request, Sampling

os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GB
SETTINGS = dict(dtype="fp32", batch=8)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A random Qwen3 of 2 layers with the toy tokenizer and Qwen3's toggle."""
    folder = tmp_path_factory.mktemp("teacher")
    config = Config(512, 64, 128, 2, 2, 1, 32, max_position_embeddings=1024, model_type="qwen3")
    model = models.initialise(models.build(config), seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter *= 1 if "norm" in name else 2
    chat = Chat(toy.tokenizer())
    models.save(model, folder, eos=chat.stop_ids)
    (folder / "tokenizer.json").write_text(chat.source)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    settings["chat_template"] = template(is_teacher=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    # what a model recommends must not reach an answer: every field is sent
    recommended = {"temperature": 5.0, "top_k": 2, "repetition_penalty": 9.0}
    (folder / "generation_config.json").write_text(json.dumps(recommended))
    return str(folder)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    file.write_text("".join(json.dumps({"id": i, **row}) + "\n" for i, row in enumerate(ROWS)))
    return file


ROWS = [{"prompt": row["prompt"]} for row in toy.rows(16, seed=1)]


def requests(teacher, sampling, count=16):
    render = Teacher(teacher)
    return [
        Request(f"{i} {thinking}", render.prompt([{"role": "user", "content": row["prompt"]}],
                thinking), sampling, seed=i)
        for i, row in enumerate(ROWS[:count]) for thinking in (False, True)
    ]  # fmt: skip


def by_id(completions):
    return {c.id: c for c in completions}


def check_engine(e, teacher):
    """What every engine promises, and what this one shares with the built-in decoder."""
    stop_ids = tuple(range(0, 375, 25))
    greedy = requests(teacher, Sampling(40, stop_ids=stop_ids))
    found = by_id(e.complete(greedy))
    with engine.load("torch", teacher) as ours:
        wanted = by_id(ours.complete(greedy))
    for i, completion in wanted.items():
        c = found[i]
        assert (c.ids, c.finish_reason, c.prompt_tokens, c.generated_tokens) == (
            completion.ids, completion.finish_reason, completion.prompt_tokens,
            completion.generated_tokens)  # fmt: skip
        assert max(c.ids) < ours.ids_in_use
    assert {c.finish_reason for c in found.values()} == {"stop", "length"}

    sampled = requests(teacher, Sampling(30, temperature=0.8, top_p=0.9, top_k=20, min_p=0.01))
    once, again = by_id(e.complete(sampled)), by_id(e.complete(reversed(sampled)))
    assert {i: c.ids for i, c in once.items()} == {i: c.ids for i, c in again.items()}
    other = [dataclasses.replace(request, seed=request.seed + 1000) for request in sampled]
    assert sum(c.ids != once[c.id].ids for c in e.complete(other)) > len(other) / 2
    assert max(token for c in once.values() for token in c.ids) < ours.ids_in_use

    i, c, stop = next(
        (i, c, c.text[k : k + 2])
        for i, c in wanted.items()
        for k in range(3, len(c.text) - 4)
        if c.text[k : k + 2].isascii() and c.text.index(c.text[k : k + 2]) == k
    )
    request = next(request for request in greedy if request.id == i)
    sampling = dataclasses.replace(request.sampling, stop=("never", stop))
    (short,) = e.complete([dataclasses.replace(request, sampling=sampling)])
    assert short.finish_reason == "stop" and short.text == c.text[: c.text.index(stop)]
    assert short.generated_tokens < c.generated_tokens


def test_vllm_gives_what_the_built_in_decoder_gives(teacher):
    with engine.load("vllm", teacher, **SETTINGS) as e:
        assert e.name.startswith("vllm 0.") and e.context == 1024
        check_engine(e, teacher)


def generate(*arguments):
    return subprocess.Popen(
        [sys.executable, "generate.py", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def test_generate_by_two_vllm_processes_resumes_after_kill_9(teacher, prompts, tmp_path):
    out = tmp_path / "pairs"
    arguments = ("--teacher", teacher, "--prompts", prompts, "--engine", "vllm", "--dtype", "fp32",
                 "--batch", 1, "--max-new", 200, "--filters", "", "--out", out)  # fmt: skip
    process, file = generate(*arguments, "--data-parallel", 2), out / "answers/00000.jsonl"
    while not (file.exists() and file.stat().st_size):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)  # its pipe is closed: vLLM's processes have ended, too
    kept = file.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 0 < kept.count(b"\n") < 32
    process = generate(*arguments)  # one process now: the machine's business
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    assert file.read_bytes().startswith(kept)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({(row["number"], row["mode"]) for row in rows}) == len(rows) == 32
    pairs = (out / "reasoning_ift_pairs-00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in pairs] == [str(i) for i in range(16)]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["engines"] == [f"vllm {engine_version()}"]
    assert manifest["counts"]["pairs"] == manifest["counts"]["prompts"] == 16


def engine_version():
    from importlib.metadata import version

    try:
        return version("vllm")
    except ImportError:
        return version("vllm-cpu")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student that train.py exported, at the scale whose heads are wide enough for vLLM."""
    folder = tmp_path_factory.mktemp("student")
    command = ["train.py", "--scale", "toy-m", "--format", "ift", "--samples", 3200, "--show", 0,
               "--cache", folder / "cache", "--out", folder / "run"]  # fmt: skip
    assert SCALES["toy-m"].config.head_dim >= 32
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, command)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, env=environment)
    return str(folder / "run/model")


@pytest.fixture(scope="module")
def served(student):
    """`vllm serve` of the student on loopback; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what `vllm serve` runs; the command itself looks for a package called vllm, not vllm-cpu
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", student,
               "--host", "127.0.0.1", "--port", port, "--dtype", "float32", "--enforce-eager",
               "--served-model-name", "student", "--max-num-seqs", 8]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            assert process.poll() is None
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(1)
        yield f"{url}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left behind


def test_an_exported_student_is_served_and_stops_at_its_end_token(student, served):
    chat = Chat(toy.tokenizer())
    asked = [Request(str(i), chat.prompt(row["prompt"]), Sampling(100), i)
             for i, row in enumerate(ROWS)]  # fmt: skip
    with engine.load("server", "student", url=served, batch=4) as e:
        found = by_id(e.complete(asked))
        # no stop id is sent: the served model stops by what is written in it
        assert {c.finish_reason for c in found.values()} == {"stop"}
        assert all(c.ids[-1] == chat.end and chat.end not in c.ids[:-1] for c in found.values())
        assert all(c.generated_tokens == len(c.ids) for c in found.values())
        stops = dataclasses.replace(asked[0].sampling, stop=("boxed",))
        (short,) = e.complete([dataclasses.replace(asked[0], sampling=stops)])
        assert short.finish_reason == "stop" and short.text == "\\"
        sampling = Sampling(20, temperature=1.5, top_p=0.99, top_k=50)
        drawn = [dataclasses.replace(request, sampling=sampling) for request in asked]
        once, again = by_id(e.complete(drawn)), by_id(e.complete(reversed(drawn)))
        assert {i: c.ids for i, c in once.items()} == {i: c.ids for i, c in again.items()}
    with engine.load("torch", student) as ours:
        sampling = Sampling(100, stop_ids=tuple(chat.stop_ids))
        wanted = [dataclasses.replace(request, sampling=sampling) for request in asked]
        assert {c.id: c.ids for c in ours.complete(wanted)} == {i: c.ids for i, c in found.items()}


def test_generate_asks_a_server(teacher, prompts, served, tmp_path):
    """The teacher renders its prompts, the served student answers them: they share a tokenizer."""
    process = generate(
        "--teacher", teacher, "--prompts", prompts, "--engine", "server",
        "--url", served, "--served-name", "student", "--max-new", 60, "--filters", "",
        "--out", tmp_path / "pairs")  # fmt: skip
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    manifest = json.loads((tmp_path / "pairs/manifest.json").read_text())
    assert manifest["engines"] == ["server vllm"] and manifest["counts"]["pairs"] == 16
