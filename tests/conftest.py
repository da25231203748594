"""Shared pieces: a cache for tokenised pairs, a small base, and how to run train.py."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for a network; the Hub test starts its own
if not torch.cuda.is_available():  # before anything imports the kernels; `make race` says 0
    os.environ.setdefault("TRITON_INTERPRET", "1")
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SMALL = dict(
    vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
)  # fmt: skip


def pytest_addoption(parser):
    parser.addoption("--every-row", action="store_true", help="test_dress.py: not a sample")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(cache):
    """Runs train.py as a process, or under torchrun with `ranks`; returns it when it has ended."""
    started = []

    def start(*arguments, ranks=None, wait=True, threads=1, largest_file=None, **environment):
        def limit():
            if largest_file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", ranks]
        command = [sys.executable, *(torchrun if ranks else []), "train.py", "--cache", cache]
        process = subprocess.Popen(
            list(map(str, [*command, *arguments])), cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=limit,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        )  # fmt: skip
        started.append(process)
        if wait:
            process.out, process.err = process.communicate(timeout=120)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A random Qwen2 base with the toy tokenizer, as a Hugging Face folder."""
    import transformers

    from data import toy

    folder = tmp_path_factory.mktemp("base") / "tiny"
    torch.manual_seed(11)
    config = transformers.Qwen2Config(**SMALL, tie_word_embeddings=True, eos_token_id=370)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    toy.tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def lively(base, tmp_path_factory):
    """The small base with larger weights, whose answers are neither repetitive nor tied.

    Its chat template has Qwen3's toggle.
    """
    import model as models
    from data.chat import template

    folder = tmp_path_factory.mktemp("lively") / "model"
    shutil.copytree(base, folder)
    model = models.load(base)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=noise) * 0.3
    models.save(model, folder)
    settings = {"eos_token": "<|im_end|>", "chat_template": template(is_teacher=True)}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def metrics(folder, everything=False):
    """The lines of metrics.jsonl, without what differs from machine to machine."""
    from training.checkpoint import MACHINE_METRICS

    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if everything or k not in MACHINE_METRICS} for line in lines
    ]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(Path(folder) / "model/model.safetensors")


def close_weights(a, b, relative):
    """The difference of two models, as a vector, is at most `relative` of their length.

    Not element by element: where a gradient all but cancels (every key bias, in the softmax), Adam
    turns what the order of fp32 additions leaves of it into a step of full size.
    """
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    distance = sum((a[key] - b[key]).double().square().sum() for key in a) ** 0.5
    length = sum(tensor.double().square().sum() for tensor in b.values()) ** 0.5
    assert distance / length <= relative, f"{distance / length:.1e}"
