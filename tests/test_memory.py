"""Peak memory of whole processes. LOG.md has the same at full size."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, metrics

from data import toy


def long_rows(count, bundle):
    """Toy pairs bundled so that an answer has some hundred tokens."""
    rows = list(toy.rows(count * bundle))
    for i in range(0, len(rows), bundle):
        part = rows[i : i + bundle]
        trace = "\n".join(row["reasoning"] for row in part)
        yield {
            "prompt": "\n".join(row["prompt"] for row in part),
            "ift": "\n".join(row["ift"] for row in part),
            "reasoning": f"<think>{trace}</think>{part[-1]['ift']}",
        }


@pytest.mark.slow
def test_20m_parameters_at_2048_token_rows_peak_under_1500_mb(base, cache, tmp_path):
    import transformers

    folder, file = tmp_path / "base", tmp_path / "pairs.jsonl"
    config = transformers.Qwen2Config(
        vocab_size=151_936, hidden_size=128, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder)
    file.write_text("\n".join(map(json.dumps, long_rows(60, 20))))
    command = ["train.py", "--scale", "0.5b", "--format", "reasoning", "--init", folder, "--data",
               file, "--val", 8, "--batch", 4, "--samples", 20, "--max-len", 2048, "--cache", cache,
               "--out", tmp_path / "run"]  # fmt: skip
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, capture_output=True)
    lines = metrics(tmp_path / "run", everything=True)
    assert max(line["tokens"] for line in lines) > 2048  # more than one row of 2,048
    assert max(line["peak_memory"] for line in lines) < 1.5e9


@pytest.mark.slow
def test_pairs_are_prepared_in_less_than_500_mb_above_the_tokenizer(base, tmp_path):
    rows = [json.dumps(row) + "\n" for row in long_rows(500, 20)]
    peaks = []
    for megabytes in (0, 64):
        file = tmp_path / f"{megabytes}.jsonl"
        with open(file, "w") as out:
            while out.tell() <= megabytes * 2**20:
                out.writelines(rows if megabytes else rows[:1])
        command = [
            sys.executable,
            "-m",
            "data.pairs",
            file,
            "--tokenizer",
            base,
            "--cache",
            tmp_path / "c",
        ]
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        peaks.append(usage.ru_maxrss * 1024)
    assert peaks[1] - peaks[0] < 500e6
