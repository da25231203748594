"""Shared pieces: a cache for tokenised pairs, a small base, and how to run train.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for a network; the Hub test starts its own
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SMALL = dict(
    vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
)  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(cache):
    """Runs train.py as a process; returns it when it has ended."""

    def start(*arguments, wait=True, threads=1, **environment):
        command = [sys.executable, "train.py", "--cache", cache, *arguments]
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        )  # fmt: skip
        if wait:
            process.out, process.err = process.communicate(timeout=300)
        return process

    return start


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


def metrics(folder, times=False):
    """The lines of metrics.jsonl, without what differs from machine to machine."""
    from checkpoint import TIMES

    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if times or k not in TIMES} for line in lines]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(Path(folder) / "model/model.safetensors")
