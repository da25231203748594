"""Files and folders that appear whole or not at all; folders that one process holds at a time."""

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.hub import UserError

ROOT = Path(__file__).resolve().parents[1]  # of this code
LOCK = "lock.tmp"  # in a run folder

# ---- whole or not at all: written elsewhere, fsynced, renamed ----------------------------------


def write_atomic(path: Path, text: str):
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    sync(unfinished)
    unfinished.replace(path)


def sync(path: Path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(unfinished: Path, folder: Path):
    """Puts the finished folder `unfinished` in the place of `folder`."""
    for file in unfinished.iterdir():
        sync(file)
    sync(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    sync(folder.parent)


def other_contents(out: str, kind: str, record: dict, facts=dict) -> list[str]:
    """Why the folder --out cannot take what config.json `record` describes, `kind` ("a run"): it
    cannot be written, holds other files, or has a config.json of other facts(record)."""
    folder = existing = Path(out)
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=existing, suffix=".tmp"):
            names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        config = folder / "config.json"
        text = config.read_bytes() if config.name in names else b""
    except OSError as error:
        return [f"--out {out}: cannot write in {existing} ({error.strerror}); choose another"]
    if not text:
        is_foreign = any(not name.endswith(".tmp") for name in names)
        return [f"--out {out}: holds other files; choose a new folder"] if is_foreign else []
    here = facts(json.loads(json.dumps(record)))
    try:
        there = facts(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return [f"--out {out}: its config.json is not of {kind}; choose a new folder"]
    changed = [name for name in sorted(here) if there.get(name) != here[name]]
    lines = [f"  {name}: {there.get(name)} there, {here[name]} here" for name in changed]
    head = f"--out {out}: holds {kind} with other options; pass those, or another --out"
    return ["\n".join([head, *lines])] if changed else []


# ---- one process at a time ---------------------------------------------------------------------


@contextmanager
def lock(file: Path, wait: bool = False):
    """Holds `file` for this process; a killed one lets go.

    wait: until another process lets go. Otherwise BlockingIOError where one holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path):
    """Holds a run folder for this process alone. UserError where another process holds it.

    A folder in which nothing was written is removed again.
    """
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(folder / LOCK))
            except BlockingIOError as error:
                raise UserError(f"--out {folder}: another process is at work there") from error
            yield
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether a process holds this run folder."""
    try:
        with open(folder / LOCK) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
