"""A run on disk: checkpoints to resume from, metrics, and the exported model.

Everything appears whole or not at all: it is written under another name, fsynced, and renamed.
Tensors are safetensors, positions are JSON: nothing here is a pickle.
"""

import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import model as models
from common import parallel
from common.files import replace_folder, sync, write_atomic
from data.chat import Chat

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's names
# The parts of a metrics line that differ from machine to machine; all others are reproducible.
MACHINE_METRICS = ("padding", "seconds", "tokens_per_second", "peak_memory", "mfu")


@contextmanager
def signals():
    """Collects SIGTERM and SIGINT in a list; a repeated signal terminates as usual."""
    caught, handlers = [], {}

    def collect(number, _):
        caught.append(signal.Signals(number))
        signal.signal(number, handlers[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        handlers[number] = signal.signal(number, collect)
    try:
        yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def metrics_file(folder: Path, done: int):
    """metrics.jsonl with the lines of the first `done` steps, open for more; of rank 0 alone."""
    file = Path(os.devnull)
    if parallel.rank() == 0:
        file = folder / "metrics.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        write_atomic(file, "".join(lines[:done]))
    with open(file, "a", encoding="utf-8") as metrics:
        yield metrics


# ---- checkpoints ----------------------------------------------------------------------------


def layout(parameters: dict, optimizer) -> dict:
    """{name: tensor} of this rank's file: its rows of every parameter and of its moments."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"parameter/{name}"] = parallel.local_shard(parameter).detach().contiguous()
        if state := optimizer.state.get(parameter):
            for moment in MOMENTS:
                tensors[f"{moment}/{name}"] = parallel.local_shard(state[moment]).contiguous()
    return tensors


def save(folder: Path, parameters: dict, optimizer, step: int):
    """Parameters, AdamW's moments and the number of steps done, as folder/step-N; keeps two.

    Every rank writes its own rows; the first one names the folder when all have. Where one cannot
    (a full disk), OSError is raised on every rank and the previous checkpoint stays.
    """
    unfinished, is_first = folder / "next.tmp", parallel.rank() == 0
    device = next(iter(parameters.values())).device
    adam_step = max((int(state["step"]) for state in optimizer.state.values()), default=0)

    def make_folder():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def write():
        file = unfinished / f"rank-{parallel.rank()}.safetensors"
        try:
            save_file(layout(parameters, optimizer), file)
        except SafetensorError as error:
            raise OSError(f"cannot write {file}: {error}") from error
        sync(file)

    def finish():
        position = {"step": step, "adam_step": adam_step, "ranks": parallel.world_size()}
        (unfinished / "position.json").write_text(json.dumps(position))
        replace_folder(unfinished, folder / f"step-{step:08}")
        for old in sorted(folder.glob("step-*"))[:-2]:
            shutil.rmtree(old)

    try:
        parallel.on_all_ranks(make_folder if is_first else lambda: None, device)
        parallel.on_all_ranks(write, device)
        parallel.on_all_ranks(finish if is_first else lambda: None, device)
    except OSError:
        if is_first:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


@torch.no_grad()
def load(folder: Path, parameters: dict, optimizer) -> int:
    """Restores the newest whole checkpoint of `folder`; returns the steps done, 0 without one.

    It may come from another number of ranks: each rank reads the rows it holds from the files that
    have them. A checkpoint that cannot be read is reported and renamed, and the previous one taken.
    """
    device = next(iter(parameters.values())).device
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return parallel.on_all_ranks(lambda p=path: restore(p, parameters, optimizer), device)
        except OSError as error:
            optimizer.state.clear()
            if parallel.rank() == 0:
                path.rename(path.with_name(f"unreadable-{path.name}"))
                message = f"{path} is not whole ({error}): resuming from the one before"
                print(message, file=sys.stderr)
    return 0


def restore(path: Path, parameters: dict, optimizer) -> int:
    """Reads one checkpoint; returns its steps. OSError where it cannot be read."""
    try:
        position = json.loads((path / "position.json").read_text())
        files = [path / f"rank-{rank}.safetensors" for rank in range(position["ranks"])]
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
            for name, parameter in parameters.items():
                read_rows(opened, f"parameter/{name}", parameter, parameter)
                if not position["adam_step"]:
                    continue
                state = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
                for moment, rows in state.items():
                    read_rows(opened, f"{moment}/{name}", parameter, rows)
                step = torch.tensor(float(position["adam_step"]), device=parameter.device)
                optimizer.state[parameter] = {"step": step, **state}
        return position["step"]
    except (ValueError, KeyError, SafetensorError) as error:
        raise OSError(str(error)) from error


def read_rows(opened: list, key: str, parameter, out):
    """Fills this rank's rows of `out`, shaped as `parameter`, from the files of the ranks then."""
    rows, (start, stop) = parallel.local_shard(out), parallel.shard_bounds(parameter)
    for rank, tensors in enumerate(opened):
        first, last = parallel.bounds_of_rank(parameter.shape[0], rank, len(opened))
        low, high = max(first, start), min(last, stop)
        if low < high:
            rows[low - start : high - start] = tensors.get_slice(key)[low - first : high - first]


# ---- the model to keep ----------------------------------------------------------------------


def export(folder: Path, model, dtype, chat: Chat, template: str, settings: dict, facts: dict):
    """Writes a Hugging Face folder that stops where training stopped. Every rank must call it.

    dtype: of the weights. template: the tokenizer's chat template. settings: the base's
    tokenizer_config.json. facts: the rows of the model card.
    """
    unfinished = folder.with_name(folder.name + ".tmp")
    if parallel.rank() == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
    models.save(model, unfinished, dtype, eos=chat.stop_ids)
    if parallel.rank() > 0:
        return
    (unfinished / "tokenizer.json").write_text(chat.source, encoding="utf-8")
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    settings = {**settings, **ends, "chat_template": template}
    generation = {"eos_token_id": chat.stop_ids, "pad_token_id": chat.endoftext}  # no sampling
    for name, fields in (("tokenizer_config", settings), ("generation_config", generation)):
        text = json.dumps(fields, indent=2, ensure_ascii=False)
        (unfinished / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    table = "".join(f"| {name} | {fact} |\n" for name, fact in facts.items())
    title = f"# {folder.parent.name}\n\nA student trained with scale-or-reason.\n\n"
    (unfinished / "README.md").write_text(f"{title}| | |\n|---|---|\n{table}", encoding="utf-8")
    replace_folder(unfinished, folder)
