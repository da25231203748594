"""Jobs side by side, each in a process with cores or GPUs of its own; a failure stops no other.

    for outcome in workers.run(jobs, cores=2): ...

On cores a job runs in a fork of one server that imported torch once, with as many threads as it has
cores. On GPUs it is what one would type: python or torchrun with CUDA_VISIBLE_DEVICES.
"""

import contextlib
import importlib
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

from common import files

SCRIPTS = ("generate", "train", "evaluate")
TORCHRUN = "torch.distributed.run"
PATIENCE = 120  # seconds for a job that is told to end to save what it has


@dataclass(frozen=True)
class Job:
    name: str
    commands: tuple[tuple[str, ...], ...]  # (script, argument, ...) one after the other
    devices: int  # cores or GPUs
    log: Path


@dataclass(frozen=True)
class Outcome:
    job: Job
    problem: str  # "" if every command ended well
    seconds: float


def run(jobs: list[Job], cores=0, gpus=0, begin=lambda job: "") -> Iterator[Outcome]:
    """Runs the jobs in order of the list, as many at once as there are devices for.

    begin(job): called right before it starts; what it returns, if anything, is why it must not.
    Yields how each ended, as they do. Ctrl-C and SIGTERM are passed on to the jobs, which save what
    they have; if this process is killed they end at once, as if killed too.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(files.ROOT), os.getenv("PYTHONPATH")))
    )
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not outlive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(SCRIPTS))
    free, waiting, running = list(range(gpus or cores)), list(jobs), {}
    try:
        while waiting or running:
            for job in list(waiting):
                if job.devices > len(free):
                    continue
                if problem := begin(job):
                    waiting.remove(job)
                    yield Outcome(job, problem, 0.0)
                    continue
                mine = [free.pop(0) for _ in range(job.devices)]
                process = context.Process(target=work, args=(job, mine if gpus else None))
                process.start()
                waiting.remove(job)
                running[process.sentinel] = (process, job, mine, time.monotonic())
            for sentinel in connection.wait(list(running)) if running else ():
                process, job, mine, started = running.pop(sentinel)
                process.join()
                free = sorted([*free, *mine])
                problem = why(job, process.exitcode) if process.exitcode else ""
                yield Outcome(job, problem, time.monotonic() - started)
    finally:
        for process, *_ in running.values():
            process.terminate()
        for process, *_ in running.values():
            process.join(PATIENCE)
            process.kill()


def why(job: Job, code: int) -> str:
    """The last error in a job's log, or how it ended."""
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return f"{job.log}: {error.strerror}"
    begun = max([i for i, line in enumerate(lines) if line.startswith("$ ")], default=0)
    errors = [line for line in lines[begun:] if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if code < 0:
        hint = ", out of memory?" if -code == signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{hint}"
    return next((line for line in reversed(lines[begun:]) if line.strip()), f"exit code {code}")


def typed(script: str, arguments, gpus: int = 0) -> list[str]:
    """A command as one would type it; with more than one GPU, training is torchrun's."""
    if script == "train" and gpus > 1:
        return ["torchrun", "--standalone", f"--nproc_per_node={gpus}", "train.py", *arguments]
    return ["python", f"{script}.py", *arguments]


# ---- in the job's process ---------------------------------------------------------------------


def work(job: Job, gpus: list[int] | None):
    """Runs a job's commands with its output in its log; leaves with the first bad exit code."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    children, stopped = [], []
    if gpus is not None:  # on the CPU the scripts see to it themselves

        def stop(*_):
            stopped.append(True)
            for child in children:
                child.terminate()

        signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=follow, args=(children,), daemon=True).start()
    for script, *arguments in job.commands:
        print("$", shlex.join(typed(script, arguments, len(gpus or ()))), flush=True)
        if gpus is None:
            code = call(script, arguments, job.devices)
        else:
            code = spawn(script, arguments, gpus, children)
        sys.stdout.flush()
        if code or stopped:
            sys.exit(code or 128 + signal.SIGTERM)


def follow(children: list):
    """Ends this process when the one that started it has ended, however it did."""
    connection.wait([multiprocessing.parent_process().sentinel])
    for child in children:
        child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        for child in children:
            child.wait(PATIENCE)
    os._exit(1)


def call(script: str, arguments: list[str], threads: int) -> int:
    import torch

    torch.set_num_threads(threads)
    return importlib.import_module(script).main(arguments)


def spawn(script: str, arguments: list[str], gpus: list[int], children: list) -> int:
    programs = {"python": [sys.executable], "torchrun": [sys.executable, "-m", TORCHRUN]}
    paths = {f"{script}.py": str(files.ROOT / f"{script}.py")}
    program, *rest = typed(script, arguments, len(gpus))
    command = [*programs[program], *(paths.get(word, word) for word in rest)]
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    child = subprocess.Popen(command, env={**os.environ, **seen})
    children.append(child)
    return child.wait()
