"""The paper's jury: one or three models judge every answer, and the majority decides.

    jury.majority([jury.verdict(text) for text in what_the_judges_wrote])

A judge reads the question, the ending of an answer and the reference, extracts both final results,
compares their meaning and ends in \\boxed{yes} or \\boxed{no}. For IFEval it reads the instruction
and no reference. docs/benchmarks.md says what the prompts share with the paper's.

A judge is a model as evaluate.py takes them, or NAME@URL of a server. Its verdicts are kept in
judges/NAME/BENCHMARK.jsonl of the run folder, one line an answer, and asked for once only.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

from common import hub
from data import benchmarks
from data.chat import Chat, load_tokenizer
from data.teacher import compiled
from scoring import stated
from scoring.scoreboard import append_line, key_of, read_lines

ENDING = 2_000  # characters of an answer that a judge reads
MAX_NEW = 4096  # tokens of a judge's answer at most
COMPARE = """\
Decide whether an answer to a question is correct. You see the question, the reference answer and \
the ending of the answer.

Question:
{question}

Reference answer:
{reference}

Ending of the answer:
{ending}

Do not answer the question yourself. \
First extract the final result of the answer, then that of the reference. Compare what they mean, \
not how they are written. An answer without a final result is not correct. End with \\boxed{{yes}} \
if the two mean the same, otherwise with \\boxed{{no}}."""

INSTRUCTION = """\
Decide whether a response follows an instruction.

Instruction:
{question}

Response:
{ending}

First list every explicit requirement of the instruction on the form of the response: length, \
words, punctuation, language, layout. Then check them one by one; how good the response is \
otherwise does not matter. End with \\boxed{{yes}} if all of them hold, otherwise with \
\\boxed{{no}}."""

# ---- one verdict ---------------------------------------------------------------------------------


def prompt(question: str, answer: str, reference: str | None) -> str:
    """What a judge is asked. answer: the text that the rules judge. No reference: IFEval."""
    if reference is None:
        return INSTRUCTION.format(question=question, ending=answer)
    return COMPARE.format(question=question, ending=answer[-ENDING:], reference=reference)


def verdict(text: str) -> bool | None:
    """Whether the last box after the judge's own thinking says yes; None if it says neither."""
    boxed = stated.extract_boxed(text) or ""
    word = re.sub(r"[\W_]+", " ", stated.unwrapped(boxed)).strip().lower()
    return word == "yes" if word in ("yes", "no") else None


def majority(votes: list[bool | None]) -> bool:
    """Whether more than half say yes; a judge without a verdict says no."""
    return 2 * sum(vote is True for vote in votes) > len(votes)


# ---- all verdicts --------------------------------------------------------------------------------


def judge(judges: list[str], folder: Path, items, texts, scores, ask: Callable) -> str:
    """Replaces the value of every row in `scores` by the jury's verdict; returns the differences.

    The value by the rules is kept as "rules", the single verdicts as "votes". items and scores are
    by benchmark, as evaluate.py has them; texts: what the rules judged, by benchmark and key.
    ask(judge, {key: prompt ids}, stop_ids) yields (key, text, engine's name) as the judge answers;
    it may leave out prompts that are too long for the judge.
    """
    prompts = {}
    for name, rows in scores.items():
        item_rows = {item.id: item.row for item in items[name]}
        for row in rows:
            text = texts[name, *key_of(row)]
            item = item_rows[row["id"]]
            reference = benchmarks.reference(name, item)
            question = item["prompt"] if reference is None else benchmarks.body(name, item)
            prompts[name, *key_of(row)] = prompt(question, text, reference) if text else None
    verdicts = [verdicts_of(spec, folder, prompts, ask) for spec in judges]
    for name, rows in scores.items():
        for row in rows:
            row["votes"] = [by_key.get((name, *key_of(row))) for by_key in verdicts]
            row["rules"], row["value"] = row["value"], float(majority(row["votes"]))
    return differences(judges, [row for rows in scores.values() for row in rows])


def verdicts_of(spec: str, folder: Path, prompts: dict, ask: Callable) -> dict:
    """One judge's verdicts by (benchmark, id, sample); answers without a text (None) are wrong."""
    name, _, url = spec.partition("@")
    folder = folder / "judges" / re.sub(r"[^\w.-]+", "-", spec)
    folder.mkdir(parents=True, exist_ok=True)
    render, stop_ids = reader(name)
    weights = "" if url else hub.fingerprint(hub.fetch(name, flag="--judge"))
    wanted = {"prompt": str, "verdict": bool | None}
    rows = [row for file in folder.glob("*.jsonl") for row in read_lines(file, wanted)]
    cached = {row["prompt"]: row["verdict"] for row in rows}
    verdicts, digests = {}, {}
    for key, text in prompts.items():
        digest = hashlib.sha256(f"{MAX_NEW} {weights} {text}".encode(errors="replace")).hexdigest()
        if text is None or digest in cached:
            verdicts[key] = text is not None and cached[digest]
        else:
            digests[key] = digest
    new = ask(spec, {key: render(prompts[key]) for key in digests}, stop_ids) if digests else ()
    for key, text, engine in new:
        verdicts[key] = verdict(text)
        row = {"id": key[1], "prompt": digests[key], "verdict": verdicts[key], "by": engine}
        append_line(folder / f"{key[0]}.jsonl", row | {"output": text})
    return verdicts


def reader(name: str) -> tuple[Callable[[str], list[int]], list[int]]:
    """(a judge's prompt to ids, what ends its answers): by Chat, or by its own chat template.

    Raises hub.UserError for a judge that has neither.
    """
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
        rendered = render(messages=[{"role": "user", "content": text}])
        return tokenizer.encode(rendered, add_special_tokens=False).ids

    return ids, ends if isinstance(ends, list) else [ends]


def differences(judges: list[str], rows: list[dict]) -> str:
    """Accuracy by each judge and by the rules, and how often two of them disagree, in per cent."""
    sides = {name: [row["votes"][i] is True for row in rows] for i, name in enumerate(judges)}
    sides["the rules"] = [row["correct"] for row in rows]
    lines = ["judges over all answers, yes in per cent:"]
    lines += [f"  {name} {100 * sum(votes) / len(rows):.1f}" for name, votes in sides.items()]
    for a, b in itertools.combinations(sides, 2):
        unlike = sum(x != y for x, y in zip(sides[a], sides[b], strict=True)) / len(rows)
        lines.append(f"  {a} and {b} disagree on {100 * unlike:.1f}")
    mute = sum(vote is None for row in rows for vote in row["votes"])
    return "\n".join([*lines, f"  without a verdict: {mute} of {len(judges) * len(rows)}"])
