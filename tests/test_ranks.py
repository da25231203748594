"""Many ranks, any interruption: the same run. Real torchrun processes over gloo."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, close_weights, metrics, weights
from safetensors.torch import load_file

import train
from data import toy
from training import setup
from training.pack import pack
from training.plan import permutation

# 5 steps of mixed formats, the last one smaller
FEW = ("--scale", "toy-s", "--format", "mixed", "--ratio", 0.5, "--lr", 1e-4, "--max-len", 200,
       "--samples", 150, "--val", 16, "--batch", 32, "--show", 0)  # fmt: skip


@pytest.fixture(scope="module")
def alone(cache, tmp_path_factory):
    """The run of one process, which all others must equal."""
    out = tmp_path_factory.mktemp("alone") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert train.main([*map(str, FEW), "--cache", str(cache), "--out", str(out)]) == 0
    torch.set_num_threads(threads)
    return out


def assert_same_run(out, alone, relative=1e-6):
    a, b = metrics(out), metrics(alone)
    assert len(a) == len(b)
    for mine, theirs in zip(a, b, strict=True):
        for key in mine:
            assert mine[key] == pytest.approx(theirs[key], rel=relative), (mine["step"], key)
    close_weights(out, alone, relative)
    mine, theirs = (json.loads((Path(d) / "summary.json").read_text()) for d in (out, alone))
    for losses in (mine.pop("val_loss"), theirs.pop("val_loss")):
        assert set(losses) == {"ift", "reasoning"}
    assert mine == theirs


EAGER = [(n, rows, ac, False) for n in (1, 2, 4) for rows in (1, 2) for ac in ("none", "full")]
COMPILED = [(1, 1, "none", True), (2, 2, "full", True), (2, 1, "none", True), (4, 1, "full", True)]


@pytest.mark.slow
@pytest.mark.parametrize("ranks, accumulation, checkpointing, compiled", EAGER + COMPILED)
def test_p3_p20_any_ranks_rows_and_options_are_the_same_run(
    ranks, accumulation, checkpointing, compiled, run, alone, cache, tmp_path
):
    row_tokens = {(1, 1): 4096, (1, 2): 1100, (2, 1): 4096, (2, 2): 640, (4, 1): 4096, (4, 2): 260}
    options = ["--row-tokens", row_tokens[ranks, accumulation], "--checkpointing", checkpointing]
    options += ["--compile"] * compiled
    plan = setup.prepare(*train.parse([*map(str, FEW), "--cache", str(cache)])).plan
    for step in plan.steps[:-1]:
        lengths, _ = plan.lengths(step.samples, step.formats)
        shares = pack(lengths, lengths, ranks, row_tokens[ranks, accumulation])
        assert {len(share) for share in shares} == {accumulation}
    ended = run(*FEW, *options, "--out", tmp_path / "run", ranks=ranks)
    assert ended.returncode == 0, ended.err[-3000:]
    assert_same_run(tmp_path / "run", alone)


def test_two_ranks_are_the_same_run(run, alone, tmp_path):
    ended = run(*FEW, "--out", tmp_path / "run", ranks=2)
    assert ended.returncode == 0, ended.err[-3000:]
    assert_same_run(tmp_path / "run", alone)
    assert ended.out.count("step 5/5") == 1  # the first rank speaks
    state = sorted((tmp_path / "run/checkpoints/step-00000005").glob("rank-*.safetensors"))
    assert len(state) == 2
    a, b = (load_file(file) for file in state)
    for key, whole in weights(tmp_path / "run").items():  # each rank holds its rows and no more
        assert torch.equal(torch.cat([a[f"parameter/{key}"], b[f"parameter/{key}"]]), whole)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_torchrun_line_of_a_toy_student(dtype, run, tmp_path):
    """torchrun --nproc_per_node=2 train.py --scale toy-m --format reasoning"""
    ended = run("--scale", "toy-m", "--format", "reasoning", "--samples", 6400, "--batch", 32,
                "--dtype", dtype,
                "--out", tmp_path / "run", ranks=2)  # fmt: skip
    assert ended.returncode == 0, ended.err[-3000:]
    lines = metrics(tmp_path / "run")
    assert len(lines) == 200 and lines[-1]["loss"] < 1.0 and "the student's answer" in ended.out
    assert {str(t.dtype) for t in weights(tmp_path / "run").values()} == {
        {"bf16": "torch.bfloat16", "fp32": "torch.float32"}[dtype]
    }


# ---- odd steps ------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_long_sample_and_fewer_samples_than_ranks(base, run, tmp_path):
    rows = list(toy.rows(39))
    long = " ".join(row["prompt"] for row in toy.rows(80))
    rows[permutation(39, 0, 0)[10]]["prompt"] = long  # of a row that is trained on
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ("--scale", "0.5b", "--format", "ift", "--init", base, "--val", 2, "--data",
               tmp_path / "pairs.jsonl", "--max-len", 4096, "--batch", 4, "--lr", 1e-3)  # fmt: skip
    for ranks in (1, 3, 4):
        ended = run(*options, "--out", tmp_path / f"{ranks}", ranks=ranks)
        assert ended.returncode == 0, ended.err[-3000:]
    assert [line["samples"] for line in metrics(tmp_path / "4")][-1] == 1  # 37 = 9 x 4 + 1
    assert max(line["tokens"] for line in metrics(tmp_path / "4")) > 1500
    for ranks in (3, 4):
        assert_same_run(tmp_path / f"{ranks}", tmp_path / "1")


def test_more_ranks_than_samples_are_refused_once(run, tmp_path):
    ended = run(*FEW, "--batch", 2, "--out", tmp_path / "run", ranks=3)
    assert ended.returncode != 0 and not (tmp_path / "run").exists()
    message = "error: 3 ranks for 2 samples a step: --nproc_per_node=2 is the most of use"
    assert ended.err.count(message) == 1


# ---- interruptions --------------------------------------------------------------------------

LONG = ("--scale", "toy-xs", "--format", "reasoning", "--val", 16, "--show", 0,
        "--samples", 1600, "--batch", 32,
        "--save-minutes", 0, "--max-len", 512)  # fmt: skip


def children(pid):
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def wait_for_steps(folder, count, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "metrics.jsonl").exists() and len(metrics_lines(folder)) >= count:
            return
        time.sleep(0.01)


def metrics_lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


@pytest.mark.slow
def test_p22_kill_9_ten_times_is_bitwise_the_undisturbed_run(run, tmp_path):
    options = (*LONG, "--samples", 6400)  # 200 steps, a checkpoint each
    assert run(*options, "--out", tmp_path / "whole", ranks=2).returncode == 0
    rng, killed, seen = random.Random(4), 0, 0
    out = tmp_path / "killed"
    for attempt in range(10):
        process = run(*options, "--out", out, ranks=2, wait=False)
        wait_for_steps(out, seen + 2, process)
        time.sleep(rng.random() * 0.2)
        victims = children(process.pid)
        if attempt % 2:
            os.killpg(process.pid, signal.SIGKILL)  # all at once, torchrun too
            for victim in victims:
                kill(victim)
        elif victims:
            kill(rng.choice(victims))  # one rank; torchrun ends the others
        process.communicate(timeout=60)
        killed += process.returncode != 0
        seen = max(seen, len(metrics_lines(out)))
    assert killed == 10 and seen < 200, (killed, seen)
    ended = run(*options, "--out", out, ranks=2)
    assert ended.returncode == 0 and "resuming after step" in ended.out, ended.err[-3000:]
    assert metrics(out) == metrics(tmp_path / "whole")
    a, b = weights(out), weights(tmp_path / "whole")
    assert all(torch.equal(a[key], b[key]) for key in b)
    assert not list((out / "checkpoints").glob("*.tmp"))


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.mark.slow
def test_p22_four_ranks_resume_on_two_and_on_one(run, alone, tmp_path):
    out = tmp_path / "four"
    process = run(*FEW, "--save-minutes", 0, "--out", out, ranks=4, wait=False)
    while not (out / "checkpoints/step-00000002").is_dir() and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    for victim in children(process.pid):
        kill(victim)
    process.communicate()
    (out / "summary.json").unlink(missing_ok=True)
    for name in sorted(p.name for p in (out / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(out / "checkpoints" / name)  # so that some steps are left to do
    for ranks in (2, 1, None):
        shutil.copytree(out, tmp_path / f"on-{ranks}")
        ended = run(*FEW, "--save-minutes", 0, "--out", tmp_path / f"on-{ranks}", ranks=ranks)
        assert ended.returncode == 0 and "resuming after step" in ended.out, ended.err[-3000:]
        assert_same_run(tmp_path / f"on-{ranks}", alone)


def test_sigterm_saves_on_all_ranks_within_30_seconds(run, tmp_path):
    process = run(*LONG, "--samples", 19000, "--out", tmp_path / "run", ranks=2, wait=False)
    wait_for_steps(tmp_path / "run", 5, process)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)  # torchrun hands it on
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    saved = int(re.search(r"SIGTERM: saved after step (\d+)", out)[1])
    assert len(metrics(tmp_path / "run")) == saved
    assert (tmp_path / f"run/checkpoints/step-{saved:08}/position.json").is_file()


def test_a_file_that_one_rank_cannot_read_sends_all_back(run, alone, tmp_path):
    options = (*FEW, "--save-minutes", 0, "--out", tmp_path / "run")
    assert run(*options, ranks=2).returncode == 0
    (tmp_path / "run/summary.json").unlink()
    state = tmp_path / "run/checkpoints/step-00000005/rank-1.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    ended = run(*options, ranks=2)
    assert ended.returncode == 0 and "resuming after step 4 of 5" in ended.out, ended.err[-3000:]
    assert ended.err.count("step-00000005 is not whole") == 1
    assert (tmp_path / "run/checkpoints/unreadable-step-00000005").is_dir()
    assert_same_run(tmp_path / "run", alone)


def stop_after_some_steps(run, options, folder):
    process = run(*options, ranks=2, wait=False)
    wait_for_steps(folder, 4, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def test_a_checkpoint_that_cannot_be_written_keeps_the_one_before(run, tmp_path):
    options = (*LONG, "--out", tmp_path / "run")
    before = stop_after_some_steps(run, options, tmp_path / "run")
    ended = run(*options, ranks=2, largest_file=50_000)  # a rank's file has 57 kB
    assert ended.returncode != 0 and ended.err.count("error: cannot write") == 1, ended.err[-2000:]
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == before
    assert run(*options, ranks=2).returncode == 0 and len(metrics(tmp_path / "run")) == 50


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_before(run, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        options = (*LONG, "--out", disk / "run")
        before = stop_after_some_steps(run, options, disk / "run")  # two checkpoints of 160 kB
        filler = disk / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 60_000))
        ended = run(*options, ranks=2)
        assert ended.returncode != 0 and "No space left on device" in ended.err, ended.err[-2000:]
        assert sorted(p.name for p in (disk / "run/checkpoints").iterdir()) == before
        filler.unlink()
        ended = run(*options, ranks=2)
        assert "resuming after step" in ended.out and len(metrics(disk / "run")) > 5
    finally:
        subprocess.run(["umount", disk], check=True)


# ---- the five students, without their weights -----------------------------------------------

META = """
import sys, torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
import os
import flops, model as models
from common import parallel
from training import checkpoint
from config import SCALES

os.environ.update(RANK="3", WORLD_SIZE="8")
dist.init_process_group("fake", store=FakeStore(), rank=3, world_size=8)
for scale in ("0.5b", "1.5b", "3b", "7b", "14b"):
    config = SCALES[scale].config
    with torch.device("meta"):
        model = models.Transformer(config)
    parallel.shard(model, "fp32")
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), fused=False, foreach=False)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    tensors = checkpoint.layout(parameters, optimizer)
    mine = sum(t.numel() for key, t in tensors.items() if key.startswith("parameter/"))
    assert all(t.device.type == "meta" for t in tensors.values())
    assert sum(t.numel() for t in tensors.values()) == 3 * mine
    print(scale, len(tensors), mine / flops.parameters(config))
"""


def test_the_five_students_shard_on_8_ranks_without_weights():
    before = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", META], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    shares = [float(line.split()[2]) for line in ended.stdout.splitlines()]
    assert len(shares) == 5 and shares == pytest.approx([1 / 8] * 5, rel=1e-3)
    assert time.monotonic() - before < 120


LOAD = """
import os, sys, torch, resource
import model as models
from common import parallel
from config import Config

parallel.start("cpu")
mine = [0]

def wrap(model):
    parallel.shard(model, "fp32")
    mine[0] = sum(parallel.local_shard(p).numel() * 4 for p in model.parameters())

def anonymous():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

before = anonymous()
with torch.device("meta"):
    model = models.Transformer(Config.from_pretrained(sys.argv[1]))
wrap(model)
models.load_weights(model.to_empty(device="cpu"), sys.argv[1])
if parallel.rank() == 0:
    print((anonymous() - before) / mine[0], mine[0])
parallel.leave(0)
"""


@pytest.mark.slow
def test_loading_1_gb_on_two_ranks_peaks_under_twice_a_ranks_share(tmp_path):
    import model as models
    from config import Config

    config = Config(8192, 1024, 4096, 15, 16, 16, 64, tie_word_embeddings=False)
    made = models.initialise(models.build(config), 0)
    models.save(made, tmp_path / "model", shard_bytes=2 * 10**8)
    size = sum(p.numel() * 4 for p in made.parameters())
    assert size > 1e9
    del made
    (tmp_path / "load.py").write_text(LOAD)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
               str(tmp_path / "load.py"), str(tmp_path / "model")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr[-3000:]
    ratio, share = map(float, ended.stdout.split())
    assert share == pytest.approx(size / 2, rel=0.01) and ratio < 2


AGREE = """
from common import parallel

parallel.start("cpu")
rank = parallel.rank()
maxima = {"signal": [15, 2][rank], "save": rank == 0}
print(parallel.agree(sums={"loss": rank + 0.25}, maxima=maxima), flush=True)
parallel.leave(0)
"""


def test_ranks_with_different_signals_agree_on_one_of_them(tmp_path):
    (tmp_path / "agree.py").write_text(AGREE)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [sys.executable, *command, str(tmp_path / "agree.py")],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    agreed = "{'loss': 1.5, 'signal': 15.0, 'save': 1.0}"
    assert ended.returncode == 0 and ended.stdout.count(agreed) == 2, ended.stderr
