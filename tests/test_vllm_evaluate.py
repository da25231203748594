"""evaluate.py through vLLM: the answers and scores of the built-in decoder. `make test-vllm`."""

import importlib.util
import json
import os

import made
import pytest
import torch
from conftest import ROOT

if not importlib.util.find_spec("vllm"):
    pytest.skip("vLLM is not in this environment: make test-vllm", allow_module_level=True)

import evaluate
import model as models
from config import Config
from data import toy
from data.benchmarks import STUDY, TOY
from data.chat import Chat

os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GB
os.environ["PYTHONPATH"] = str(ROOT)  # for vLLM's own processes, which load engine/unused_ids.py


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A random Qwen2 with larger weights, so that its answers neither repeat nor are tied."""
    folder = tmp_path_factory.mktemp("student") / "model"
    config = Config(512, 64, 128, 2, 2, 1, 32, max_position_embeddings=2048)
    model = models.initialise(models.build(config), seed=5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter *= 1 if "norm" in name else 2
    chat = Chat(toy.tokenizer())
    models.save(model, folder, eos=chat.stop_ids)
    (folder / "tokenizer.json").write_text(chat.source)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_vllm_gives_the_answers_and_scores_of_the_built_in_decoder(student, tmp_path):
    rows = made.write_rows(tmp_path / "rows")
    for kind in ("torch", "vllm"):
        arguments = (student, "--engine", kind, "--dtype", "fp32", "--batch", 8, "--data-dir", rows,
                     "--benchmarks", "all,toy", "--limit", 3, "--max-new", 24, "--out",
                     tmp_path / kind)  # fmt: skip
        assert evaluate.main([str(a) for a in arguments]) == 0
    ours, theirs = (tmp_path / kind for kind in ("torch", "vllm"))
    for name in (*STUDY, *TOY):
        for part in (f"answers/{name}.jsonl", f"scores/{name}.jsonl"):
            assert (ours / part).read_text() == (theirs / part).read_text(), part
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (ours, theirs)]
    assert summaries[0] == summaries[1]
    settings = json.loads((theirs / "answers/settings.json").read_text())
    assert settings["engine"].startswith("vllm 0.")
    outputs = {json.loads(line)["output"] for path in (ours / "answers").glob("*.jsonl")
               for line in path.read_text().splitlines()}  # fmt: skip
    assert len(outputs) > 20  # answers that differ
