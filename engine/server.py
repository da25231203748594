"""The engine behind a URL: any server of OpenAI's completions interface that takes token ids."""

import json
import os
import queue
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException

from common import hub
from engine.request import Completion, Request, Settings, sampling_fields

PAUSE = 1.0  # seconds before the first retry of a request


class Server:
    """Any server of OpenAI's completions interface that takes token ids as the prompt.

    ids of its completions are empty where it does not give them (vLLM does); generated_tokens are
    then as it counts them. top_k, min_p and stop_token_ids are fields that vLLM, SGLang and others
    add to the interface.
    """

    def __init__(self, model: str, settings: Settings):
        self.model, self.url = model, (settings.url or "").rstrip("/")
        self.timeout, self.retries = settings.timeout, settings.retries
        self.batch, self.closing = settings.batch or 64, threading.Event()
        if not self.url.startswith(("http://", "https://")):
            raise hub.UserError(f"--url {self.url or '(not given)'}: like http://localhost:8000/v1")
        listed = self.call("/models", lambda answer: {m["id"]: m for m in answer["data"]})
        if model not in listed:
            names = ", ".join(listed) or "none"
            raise hub.UserError(f"--url {self.url}: no model {model} there; it has {names}")
        self.context = listed[model].get("max_model_len") or 2**31
        self.name = f"server {listed[model].get('owned_by', 'unknown')}"

    def close(self):
        self.closing.set()  # threads that wait for a retry give up

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        source, todo, done, busy = iter(requests), queue.SimpleQueue(), queue.SimpleQueue(), 0

        def work():
            while (request := todo.get()) is not None:
                try:
                    done.put(self.ask(request))
                except Exception as error:  # raised by the one who waits for it
                    done.put(error)

        for _ in range(self.batch):
            threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                while busy < self.batch and (request := next(source, None)) is not None:
                    todo.put(request)
                    busy += 1
                if not busy:
                    return
                completion = done.get()
                busy -= 1
                if isinstance(completion, Exception):
                    raise completion
                yield completion
        finally:
            for _ in range(self.batch):
                todo.put(None)

    def ask(self, request: Request) -> Completion:
        fields = sampling_fields(request, self.context) | {"top_k": request.sampling.top_k or -1}
        body = {"model": self.model, "prompt": request.prompt, "stream": False, **fields}
        body["return_token_ids"] = True

        def read(answer) -> Completion:
            choice = answer["choices"][0]
            text, reason, ids = choice["text"], choice["finish_reason"], choice.get("token_ids")
            count = answer["usage"]["completion_tokens"]
            size = len(ids or []) or count
            if (
                not isinstance(text, str)
                or reason not in ("stop", "length")
                or type(size) is not int
            ):
                raise ValueError(f"an answer that ended with {reason!r}, of {size!r} tokens")
            text.encode()  # a lone surrogate is a ValueError: asked again
            return Completion(request.id, text, ids or [], reason, len(request.prompt), size)

        return self.call("/completions", read, body)

    def call(self, path: str, read, body: dict | None = None):
        """What read() makes of the server's JSON; tried again until `retries` are used up."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        data = body and json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            pause = min(60, PAUSE * 2**attempt) * random.uniform(0.5, 1)  # apart from other threads
            try:
                ask = urllib.request.Request(self.url + path, data, headers)
                with urllib.request.urlopen(ask, timeout=self.timeout) as answer:
                    return read(json.load(answer))
            except urllib.error.HTTPError as error:
                body = b""
                with suppress(OSError, HTTPException):  # it may hang, too
                    body = error.read(500)
                problem = f"{error} {body.decode(errors='replace')}".strip()
                if error.code < 500 and error.code not in (408, 425, 429):
                    raise hub.UserError(f"--url {self.url}{path}: {problem}") from error
                after = error.headers.get("Retry-After", "")
                pause = max(pause, float(after) if after.isdigit() else 0)
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt == self.retries or self.closing.wait(pause):
                break
        raise hub.UserError(
            f"--url {self.url}{path}: no answer after {attempt + 1} tries; the last: {problem}."
            " Is the server up? The same command resumes from what is saved."
        )
