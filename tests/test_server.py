"""The server engine against a loopback server that is down, slow, busy, broken or wrong."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import engine
from common import hub
from engine import server as engine_server
from engine.request import Request, Sampling

SAMPLING = Sampling(9, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, stop_ids=(5,), stop=("x",))


class Fake(ThreadingHTTPServer):
    """Answers a prompt [a, b, ...] with the text "a b ..."; `faults` are given out first.

    A fault is a status, "garbage", "no count", "half a letter", "hang up" or "sleep".
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.faults, self.bodies, self.busy, self.most_busy = [], [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status: int, body: bytes, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, json.dumps({"data": [{"id": "t", "max_model_len": 100}]}).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
            self.server.bodies.append(body)
            fault = self.server.faults.pop(0) if self.server.faults else None
        time.sleep(2 if fault == "sleep" else 0.01)
        if isinstance(fault, int):
            self.reply(fault, b'{"error": "no"}', Retry_After="0")
        elif fault == "garbage":
            self.reply(200, b"<html>not JSON")
        elif fault == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault != "sleep":
            choice = {"text": " ".join(map(str, body["prompt"])), "finish_reason": "stop"}
            choice["text"] += "\ud800" if fault == "half a letter" else ""
            count = None if fault == "no count" else 3
            answer = {"choices": [choice], "usage": {"completion_tokens": count}}
            self.reply(200, json.dumps(answer).encode())
        with self.server.lock:
            self.server.busy -= 1


@pytest.fixture
def server():
    fake = Fake()
    yield fake
    fake.shutdown()
    fake.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses before a retry a hundredth as long."""

    monkeypatch.setattr(engine_server, "PAUSE", 0.01)


def requests(count):
    return [Request(f"r{i}", [i + 1, 2], SAMPLING, seed=i) for i in range(count)]


def test_every_request_is_answered_once_by_bounded_threads_and_explicit_fields(server):
    with engine.load("server", "t", url=server.url, batch=4) as e:
        found = {c.id: c for c in e.complete(iter(requests(40)))}
    assert {c.text for c in found.values()} == {f"{i + 1} 2" for i in range(40)}
    assert found["r3"].finish_reason == "stop" and found["r3"].generated_tokens == 3
    assert 1 < server.most_busy <= 4
    body = next(body for body in server.bodies if body["prompt"] == [4, 2])
    wanted = dict(model="t", seed=3, max_tokens=9, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1,
                  stop=["x"], stop_token_ids=[5], repetition_penalty=1.0)  # fmt: skip
    assert wanted.items() <= body.items()


@pytest.mark.parametrize("fault", [429, 500, 503, "garbage", "no count", "half a letter",
                                   "hang up", "sleep"])  # fmt: skip
def test_what_passes_is_tried_again(fault, server):
    server.faults = [fault] * 3
    with engine.load("server", "t", url=server.url, batch=2, timeout=0.5) as e:
        assert len({c.id for c in e.complete(requests(6))}) == 6
    assert len(server.bodies) == 9


@pytest.mark.parametrize("fault", [429, 500, "garbage", "hang up", "sleep"])
def test_what_does_not_pass_is_told(fault, server):
    server.faults = [fault] * 100
    with engine.load("server", "t", url=server.url, batch=1, timeout=0.2, retries=2) as e:
        with pytest.raises(hub.UserError, match="no answer after 3 tries"):
            list(e.complete(requests(3)))


def test_a_refusal_is_not_tried_again(server):
    server.faults = [400]
    with engine.load("server", "t", url=server.url, batch=1) as e:
        with pytest.raises(hub.UserError, match="400"):
            list(e.complete(requests(1)))
    assert len(server.bodies) == 1


def test_a_server_that_is_down_a_wrong_name_and_no_url_are_told(server):
    with pytest.raises(hub.UserError, match="no model u there; it has t"):
        with engine.load("server", "u", url=server.url):
            pass
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(hub.UserError, match="Is the server up"):
            with engine.load("server", "t", url=url, retries=1):
                pass
    with pytest.raises(hub.UserError, match="not given"):
        with engine.load("server", "t"):
            pass


def test_a_prompt_longer_than_the_server_reads_is_told(server):
    with engine.load("server", "t", url=server.url) as e:
        with pytest.raises(hub.UserError, match="long: a prompt of 100 tokens"):
            list(e.complete([Request("long", [1] * 100, SAMPLING)]))
