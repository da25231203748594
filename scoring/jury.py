"""Asks one or three judges about every answer, and says how far they differ.

A judge is a model as evaluate.py takes them, or NAME@URL of a server. What it wrote is kept in
judges/NAME/BENCHMARK.jsonl of the run, one line an answer, and asked once only.
"""

import hashlib
import itertools
import json
import re
import sys

from tqdm import tqdm

import engine
from common import hub
from data import benchmarks
from data.chat import Chat, load_tokenizer
from data.teacher import compiled
from engine.request import Request, Sampling
from scoring import judge as jury
from scoring import stated


def judge(plan, answers: dict, scores: dict) -> str:
    """Puts the jury's verdict in the place of every row's value; returns how far judges differ.

    The rules' value stays beside it as "rules", the single verdicts as "votes".
    """
    names = plan.options.judge.split(",")
    every = [verdicts(plan, name, answers, scores) for name in names]
    for benchmark, rows in scores.items():
        for row in rows:
            key = (benchmark, row["id"], row.get("sample", 0))
            row["votes"] = [found[key] for found in every]
            row["rules"], row["value"] = row["value"], float(jury.majority(row["votes"]))
    return differences(names, scores)


def verdicts(plan, spec: str, answers: dict, scores: dict) -> dict:
    """One judge's verdict by (benchmark, id, sample); an answer with no text is not asked about."""
    name, _, url = spec.partition("@")
    folder = plan.folder / "judges" / re.sub(r"[^\w.-]+", "-", spec)
    folder.mkdir(parents=True, exist_ok=True)
    found, requests, asked = {}, [], {}
    render, stop_ids = reader(name)
    weights = "" if url else hub.fingerprint(hub.fetch(name, flag="--judge"))
    for benchmark, rows in scores.items():
        file = folder / f"{benchmark}.jsonl"
        cached = {row["prompt"]: row for row in read(file)}
        items = {item.id: item for item in plan.items[benchmark]}
        for row in rows:
            key = (benchmark, row["id"], row.get("sample", 0))
            text = stated.after_thinking(answers[benchmark][key[1:]]["output"]).strip()
            if not text:
                found[key] = False
                continue
            item = items[row["id"]].row
            reference = benchmarks.reference(benchmark, item)
            question = item["prompt"] if reference is None else benchmarks.body(benchmark, item)
            prompt = jury.prompt(question, text, reference)
            asked_for = f"{plan.options.judge_max_new} {weights} {prompt}"
            digest = hashlib.sha256(asked_for.encode(errors="replace")).hexdigest()
            if digest in cached:
                found[key] = cached[digest]["verdict"]
                continue
            number = "/".join(map(str, key))
            sampling = Sampling(plan.options.judge_max_new, stop_ids=tuple(stop_ids))
            requests.append(Request(number, render(prompt), sampling))
            asked[number] = (key, file, digest)
    if not requests:
        return found
    machine = ("device", "dtype", "tensor_parallel", "data_parallel")
    settings = {"url": url} if url else {key: getattr(plan.options, key) for key in machine}
    kind = "server" if url else ("auto" if plan.options.engine == "server" else plan.options.engine)
    with engine.load(kind, name, **settings) as e:
        long = [request for request in requests if len(request.prompt) >= e.context]
        found |= {asked[request.id][0]: None for request in long}  # no verdict, and counted so
        requests = [request for request in requests if len(request.prompt) < e.context]
        pause = 0.1 if sys.stderr.isatty() else 30
        done = tqdm(e.complete(requests), name, len(requests), mininterval=pause)
        for completion in done:
            key, file, digest = asked[completion.id]
            found[key] = jury.verdict(completion.text)
            row = {"id": key[1], "prompt": digest, "verdict": found[key], "by": e.name}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row | {"output": completion.text}) + "\n")
    return found


def reader(name: str):
    """(how a judge's prompt becomes ids, what ends its answers): Chat, or its own chat template."""
    tokenizer, settings = load_tokenizer(name, "--judge")
    try:
        chat = Chat(tokenizer)
        return chat.prompt, chat.stop_ids
    except hub.UserError:
        if not isinstance(settings.get("chat_template"), str):
            raise hub.UserError(f"--judge {name}: no ChatML tokens, and no chat template") from None
    render = compiled(settings["chat_template"], settings)
    file = hub.fetch(name, files=hub.TOKENIZER_FILES, flag="--judge") / "generation_config.json"
    ends = json.loads(file.read_text(encoding="utf-8"))["eos_token_id"] if file.is_file() else []

    def ids(text: str) -> list[int]:
        made = render(messages=[{"role": "user", "content": text}])
        return tokenizer.encode(made, add_special_tokens=False).ids

    return ids, ends if isinstance(ends, list) else [ends]


def read(file) -> list[dict]:
    """The rows of a file; a line torn by a kill is cut off."""
    if not file.is_file():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        file.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def differences(names: list[str], scores: dict) -> str:
    """Accuracy by each judge and by the rules, and how often two of them disagree, in per cent."""
    rows = [row for part in scores.values() for row in part]
    sides = {name: [row["votes"][i] is True for row in rows] for i, name in enumerate(names)}
    sides["the rules"] = [row["correct"] for row in rows]
    lines = ["judges over all answers, yes in per cent:"]
    lines += [f"  {name} {100 * sum(said) / len(said):.1f}" for name, said in sides.items()]
    for a, b in itertools.combinations(sides, 2):
        apart = sum(x != y for x, y in zip(sides[a], sides[b], strict=True)) / len(rows)
        lines.append(f"  {a} and {b} disagree on {100 * apart:.1f}")
    mute = sum(vote is None for row in rows for vote in row["votes"])
    return "\n".join([*lines, f"  without a verdict: {mute} of {len(names) * len(rows)}"])
