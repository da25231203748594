"""Prompts for a teacher, from files or the Hub: conversations up to the turn to be answered.

    prompts, bad = read_prompts("BAAI/Infinity-Instruct", limit=1000)
    prompts, bad = read_prompts("q.jsonl", "prompt=question,id=uid", skip_bad=True)

A row's prompt is a string, or a list of turns ({role, content} or {from, value}) whose last answers
are left out. To add a source whose columns have other names, add a row to SOURCES.
"""

import json
from dataclasses import dataclass

from common import cli, hub
from data.rows import SUFFIXES, find, listing, read, short_names

SOURCES = {  # Hub ids: the files to take, the columns of prompt and id; the paper names no subset
    "BAAI/Infinity-Instruct": ("Gen/*", {"prompt": "conversations", "id": "id"}),
    "nvidia/Llama-Nemotron-Post-Training-Dataset": ("SFT/math/*", {"prompt": "input"}),
}
USUAL = ("prompt", "messages", "conversations", "input", "question", "problem", "instruction")
ROLES = {"human": "user", "gpt": "assistant"}  # in some sets


@dataclass(frozen=True)
class Prompt:
    id: str  # the row's, or its file and line
    messages: list[dict]  # {role, content}, the last of the user

    @property
    def text(self) -> str:
        """What a student reads: the user's words, or all turns under their roles."""
        if len(self.messages) == 1:
            return self.messages[0]["content"]
        return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in self.messages)


def read_prompts(source: str, columns: str | None = None, limit: int | None = None, skip_bad=False):
    """(prompts, how many bad rows were left out) of a path or Hub id.

    columns: "prompt=NAME,id=NAME,system=NAME", what differs from the usual. Raises hub.UserError
    for every bad row and repeated id, unless skip_bad leaves them out.
    """
    glob, names = SOURCES.get(source, ("*", {}))
    names = {**names, **parse_columns(columns or "")}
    _, files = find(source, "--prompts", [glob])
    if not files:
        raise hub.UserError(f"--prompts {source}: no {', '.join(SUFFIXES)} there")
    prompts, problems, places = [], [], {}  # places: file:line by id
    for file, short in zip(files, short_names(files), strict=True):
        for number, row in read(file):
            if limit and len(prompts) >= limit:
                break
            place = f"{short}:{number}"
            try:
                prompt = to_prompt(row, names, place)
                if prompt.id in places:
                    raise ValueError(f"id {prompt.id!r} again, first in {places[prompt.id]}")
            except ValueError as error:
                problems.append(f"{place}: {error}")
                continue
            places[prompt.id] = place
            prompts.append(prompt)
    if problems and not skip_bad:
        hint = "mend them, or pass --skip-bad to leave them out"
        raise hub.UserError(f"--prompts {source}: {listing(problems)}\n  {hint}")
    if not prompts:
        raise hub.UserError(f"--prompts {source}: no prompt in it")
    return prompts, len(problems)


def parse_columns(columns: str) -> dict:
    names = dict(word.partition("=")[::2] for word in cli.words(columns))
    if not names.keys() <= {"prompt", "id", "system"} or not all(names.values()):
        raise hub.UserError(f"--columns {columns}: like prompt=question,id=uid,system=instruction")
    return names


def to_prompt(row: dict | str, names: dict, place: str) -> Prompt:
    """A row as a Prompt; ValueError says what is wrong with it.

    names: its columns of prompt, id and system; a missing id is its `place`.
    """
    if isinstance(row, str):
        raise ValueError(row)
    column = names.get("prompt") or next((name for name in USUAL if name in row), None)
    if row.get(column) is None:
        wanted = column or f"any of {', '.join(USUAL)}"
        raise ValueError(f"no {wanted} among its columns {', '.join(row)}; name it with --columns")
    messages = to_messages(row[column], column)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    system = row.get(names.get("system"))
    if system and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": str(system)})
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise ValueError(f"{column} is empty, or does not end with the user's turn")
    name = row.get(names.get("id", "id"))
    prompt = Prompt(place if name is None else str(name), messages)
    try:
        json.dumps([prompt.id, messages], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{column} or its id has a lone surrogate, which is not text") from None
    return prompt


def to_messages(turns, column: str) -> list[dict]:
    """A string or a list of turns as {role, content}; ValueError for anything else."""
    if isinstance(turns, str):
        return [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError(f"{column} is neither a string nor a list of turns")
    messages = []
    for turn in turns:
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        role = ROLES.get(role, role) if isinstance(role, str) else None
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise ValueError(f"{column} has a turn that is no message: {str(turn)[:80]}")
        messages.append({"role": role, "content": content})
    return messages
