"""Files and folders that appear whole or not at all; folders that one process holds at a time."""

import fcntl
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.hub import UserError

ROOT = Path(__file__).resolve().parents[1]  # of this code
LOCK = "lock.tmp"  # in a run folder

# ---- whole or not at all: written beside, fsynced, renamed -------------------------------------


def write_atomic(path: Path, text: str):
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    beside.replace(path)


def sync(path: Path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(beside: Path, folder: Path):
    """Puts the finished folder `beside` in the place of `folder`."""
    for file in beside.iterdir():
        sync(file)
    sync(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    sync(folder.parent)


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
