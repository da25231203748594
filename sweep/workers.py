"""Runs jobs in parallel, each in a process with its own cores or GPUs; a failure stops no other.

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

import torch

from common.files import ROOT

SCRIPTS = ("generate", "train", "evaluate")
PATIENCE = 120  # seconds that a terminated job has to save its state


@dataclass(eq=False)
class Job:
    name: str
    commands: tuple[tuple[str, ...], ...]  # (script, argument, ...) one after the other
    devices: int  # cores or GPUs
    log: Path
    # of a job that has ended
    problem: str = ""  # "" if every command succeeded
    seconds: float = 0.0


def run(jobs: list[Job], cores=0, gpus=0, begin=lambda job: "") -> Iterator[Job]:
    """Runs the jobs in order of the list, as many at once as there are devices for.

    begin(job): called right before a job starts; returns why it must not start, or "".
    Yields the jobs as they end. Ctrl-C and SIGTERM are passed on to the jobs, which save their
    state; if this process is killed, the jobs end at once.
    """
    path = filter(None, (str(ROOT), os.getenv("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(path)  # the server ignores a preload that fails
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not outlive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(SCRIPTS))
    idle, waiting, running = list(range(gpus or cores)), list(jobs), {}
    try:
        while waiting or running:
            for job in list(waiting):
                if job.devices > len(idle):
                    continue
                waiting.remove(job)
                job.problem = begin(job)
                if job.problem:
                    yield job
                    continue
                devices, idle = idle[: job.devices], idle[job.devices :]
                process = context.Process(target=work, args=(job, devices if gpus else None))
                process.start()
                running[process.sentinel] = (process, job, devices, time.monotonic())
            for sentinel in connection.wait(list(running)) if running else ():
                process, job, devices, started = running.pop(sentinel)
                process.join()
                idle = sorted([*idle, *devices])
                job.problem = why(job, process.exitcode) if process.exitcode else ""
                job.seconds = time.monotonic() - started
                yield job
    finally:
        for process, *_ in running.values():
            process.terminate()
        for process, *_ in running.values():
            process.join(PATIENCE)
            process.kill()


def why(job: Job, code: int) -> str:
    """The last error in a job's log, or how it ended."""
    try:
        log = job.log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"{job.log}: {error.strerror}"
    lines = [line for line in log[log.rfind("\n$ ") + 1 :].splitlines() if line.strip()]
    if errors := [line for line in lines if line.startswith("error: ")]:
        return errors[-1].removeprefix("error: ")
    if code < 0:
        hint = ", out of memory?" * (-code == signal.SIGKILL)
        return f"ended by {signal.Signals(-code).name}{hint}"
    return lines[-1] if lines else f"exit code {code}"


def typed(command, gpus: int = 0, python=("python",), torchrun=("torchrun",), folder=""):
    """A command as one would type it: on several GPUs under torchrun, or with an engine on each."""
    script, *arguments = command
    if script == "train" and gpus > 1:
        python = [*torchrun, "--standalone", f"--nproc_per_node={gpus}"]
    if script == "evaluate" and gpus > 1:
        arguments += ["--data-parallel", str(gpus)]
    return [*python, f"{folder}{script}.py", *arguments]


def executable(command, gpus: int) -> list[str]:
    """The same with this interpreter and the script's path."""
    python = [sys.executable]
    return typed(command, gpus, python, [*python, "-m", "torch.distributed.run"], f"{ROOT}/")


# ---- in the job's process ---------------------------------------------------------------------


def work(job: Job, gpus: list[int] | None):
    """Runs a job's commands with its output in its log; leaves with the first bad exit code."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    children, stopped = [], []

    def stop(*_):
        stopped.append(True)
        for child in children:
            child.terminate()

    if gpus is not None:  # on the CPU the scripts handle SIGTERM themselves
        signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=follow, args=(children,), daemon=True).start()
    for command in job.commands:
        print("$", shlex.join(typed(command, len(gpus or ()))), flush=True)
        if gpus is None:
            torch.set_num_threads(job.devices)
            code = importlib.import_module(command[0]).main(list(command[1:]))
        else:
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
            children.append(subprocess.Popen(executable(command, len(gpus)), env=environment))
            code = children[-1].wait()
        sys.stdout.flush()
        if code or stopped:
            sys.exit(code or 128 + signal.SIGTERM)


def follow(children: list):
    """Ends this process when the one that started it has ended, however it did."""
    connection.wait([multiprocessing.parent_process().sentinel])
    with contextlib.suppress(subprocess.TimeoutExpired):
        for child in children:  # all but the last have ended
            child.terminate()
            child.wait(PATIENCE)
    os._exit(1)
