"""The Hub path for real: huggingface-hub against a server on loopback with its layout."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from conftest import ROOT, metrics

import model as models
from data import toy

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve(repositories):
    """A server of {("models" or "datasets", id): folder}; asked holds the files it has sent."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def find(self):
            """(status, headers, body) for a path of the Hub's API or of a repository's files."""
            path = self.path.split("?")[0].strip("/")
            for (kind, name), folder in repositories.items():
                files = {str(f.relative_to(folder)): f for f in folder.rglob("*") if f.is_file()}
                if path.startswith(f"api/{kind}/{name}/tree/"):
                    listing = [
                        {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                        for name, file in files.items()
                    ]
                    return 200, {}, json.dumps(listing).encode()
                if path.startswith(f"api/{kind}/{name}"):
                    siblings = [{"rfilename": file} for file in files]
                    info = {"id": name, "sha": COMMIT, "siblings": siblings, "private": False,
                            "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
                    return 200, {}, json.dumps(info).encode()
                prefix = f"{name}/resolve/" if kind == "models" else f"{kind}/{name}/resolve/"
                if path.startswith(prefix):
                    file = files.get(path.removeprefix(prefix).partition("/")[2])
                    if file:
                        body = file.read_bytes()
                        etag = hashlib.sha256(body).hexdigest()
                        if self.command == "GET":
                            asked.append(str(file.relative_to(folder)))
                        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, body
                    return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

        def do_GET(self):
            status, headers, body = self.find()
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


@pytest.fixture
def hub_server(base, tmp_path):
    """Qwen/Qwen2.5-3B, tiny and sharded, and the general corpus in its published layout."""
    model = tmp_path / "model"
    shutil.copytree(base, model)
    (model / "model.safetensors").unlink()
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 32768}
    models.save(models.load(base), model, shard_bytes=30_000)
    (model / "config.json").write_text(json.dumps(config))
    (model / "LICENSE").write_text("not needed")
    corpus = tmp_path / "corpus"
    (corpus / "data").mkdir(parents=True)
    rows = [{k: row[k] for k in ("prompt", "reasoning", "ift")} for row in toy.rows(400)]
    for i in range(2):
        name = f"data/reasoning_ift_pairs-0000{i}-of-00002.parquet"
        pa.parquet.write_table(pa.Table.from_pylist(rows[i::2]), corpus / name)
    for split in ("reasoning", "ift"):
        table = pa.Table.from_pylist(rows).select(["prompt", split])
        pa.parquet.write_table(table, corpus / f"data/{split}-00000-of-00001.parquet")
    server, asked = serve(
        {
            ("models", "Qwen/Qwen2.5-3B"): model,
            ("datasets", "Scale-or-Reason/general-reasoning-ift-pairs"): corpus,
        }
    )
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def command(hub_url, tmp_path, *extra):
    """The README's line, typed as it is there; the environment points the Hub at loopback."""
    line = "torchrun --nproc_per_node=1 train.py --scale 3b --format ift".split()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "SCALE_OR_REASON_CACHE": str(tmp_path / "pairs"),
        "OMP_NUM_THREADS": "1",
    }
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        environment.pop(name, None)
    return subprocess.run(
        [*torchrun, *line[2:], *extra], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_the_torchrun_line_trains_from_the_hub(hub_server, tmp_path):
    url, asked = hub_server
    out = tmp_path / "runs/3b-ift-s0"
    result = command(url, tmp_path, "--out", out, "--samples", "96")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(metrics(out)) == 3
    record = json.loads((out / "config.json").read_text())["options"]
    assert record["init"] == "Qwen/Qwen2.5-3B" and record["dtype"] == "fp32"
    assert record["data"] == "Scale-or-Reason/general-reasoning-ift-pairs"
    assert json.loads((out / "summary.json").read_text())["paired"]
    assert sum(name.endswith(".safetensors") for name in asked) > 1  # it was sharded
    assert not any(name.startswith(("data/ift", "data/reasoning-")) for name in asked)
    assert "LICENSE" not in asked and len(asked) == len(set(asked))
    model = models.load(out / "model")
    logits = model(torch.tensor([1, 2]), torch.tensor([0, 2], dtype=torch.int32))
    assert torch.isfinite(logits).all()

    again = command(url, tmp_path, "--out", tmp_path / "runs/again", "--samples", "96")
    assert again.returncode == 0 and len(asked) == len(set(asked))  # all cached now
    assert metrics(tmp_path / "runs/again") == metrics(out)


def test_an_unknown_id_is_told(hub_server, tmp_path):
    extra = ["--init", "Qwen/Qwen9-3B", "--out", tmp_path / "run"]
    result = command(hub_server[0], tmp_path, *extra)
    assert result.returncode != 0 and "the Hub has no model of that name" in result.stderr
    assert not (tmp_path / "run").exists()
