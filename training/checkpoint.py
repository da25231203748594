"""A run on disk: checkpoints to resume from and the model to keep, each whole or not there at all.

Everything is written beside its place, fsynced, and renamed. Tensors are safetensors, positions are
JSON: nothing here is a pickle.
"""

import json
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
from common.files import replace_folder, sync
from data.chat import Chat

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's names


# The parts of a metrics line that differ from machine to machine; all others are reproducible.
OF_THE_MACHINE = ("padding", "seconds", "tokens_per_second", "peak_memory", "mfu")


@contextmanager
def signals():
    """A list that SIGTERM and SIGINT are put on; a second one of a kind acts as it always does."""
    caught, before = [], {}

    def catch(number, _):
        caught.append(signal.Signals(number))
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def layout(parameters: dict, optimizer) -> dict:
    """What this rank's file holds: its rows of every parameter and of its moments, by name."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"parameter/{name}"] = parallel.local(parameter).detach().contiguous()
        if state := optimizer.state.get(parameter):
            for moment in MOMENTS:
                tensors[f"{moment}/{name}"] = parallel.local(state[moment]).contiguous()
    return tensors


def save(folder: Path, parameters: dict, optimizer, step: int):
    """Parameters, AdamW's moments and the number of steps done, as folder/step-N; keeps two.

    Every rank writes its own rows, and the first one names the folder when all have. If one cannot
    (a full disk), OSError is raised on all of them and the checkpoint before stays.
    """
    beside, is_first = folder / "next.tmp", parallel.rank() == 0
    device = next(iter(parameters.values())).device
    adam_step = max((int(state["step"]) for state in optimizer.state.values()), default=0)

    def make_room():
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)

    def write():
        file = beside / f"rank-{parallel.rank()}.safetensors"
        try:
            save_file(layout(parameters, optimizer), file)
        except SafetensorError as error:
            raise OSError(f"cannot write {file}: {error}") from error
        sync(file)

    def finish():
        position = {"step": step, "adam_step": adam_step, "ranks": parallel.world_size()}
        (beside / "position.json").write_text(json.dumps(position))
        replace_folder(beside, folder / f"step-{step:08}")
        for old in sorted(folder.glob("step-*"))[:-2]:
            shutil.rmtree(old)

    try:
        parallel.together(make_room if is_first else lambda: None, device)
        parallel.together(write, device)
        parallel.together(finish if is_first else lambda: None, device)
    except OSError:
        if is_first:
            shutil.rmtree(beside, ignore_errors=True)
        raise


@torch.no_grad()
def load(folder: Path, parameters: dict, optimizer) -> int:
    """Restores the newest whole checkpoint of `folder`; returns the steps done, 0 if there is none.

    It may be of another number of ranks: each rank reads the rows it now holds from the files that
    have them. A checkpoint that cannot be read is named and set aside, and the one before is taken.
    """
    device = next(iter(parameters.values())).device

    def restore():
        try:
            position = json.loads((path / "position.json").read_text())
            files = [path / f"rank-{rank}.safetensors" for rank in range(position["ranks"])]
            with ExitStack() as stack:
                opened = [stack.enter_context(safe_open(f, framework="pt")) for f in files]
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

    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return parallel.together(restore, device)
        except OSError as error:
            optimizer.state.clear()
            if parallel.rank() == 0:
                path.rename(path.with_name(f"unreadable-{path.name}"))
                message = f"{path} is not whole ({error}): going back to the one before"
                print(message, file=sys.stderr)
    return 0


def read_rows(opened: list, key: str, parameter, out):
    """Fills this rank's rows of `out`, shaped as `parameter`, from the files of all ranks then."""
    mine, (start, stop) = parallel.local(out), parallel.span(parameter)
    for rank, tensors in enumerate(opened):
        first, last = parallel.rows_of_rank(parameter.shape[0], rank, len(opened))
        low, high = max(first, start), min(last, stop)
        if low < high:
            mine[low - start : high - start] = tensors.get_slice(key)[low - first : high - first]


def export(folder: Path, model, dtype, chat: Chat, template: str, settings: dict, facts: dict):
    """Writes a Hugging Face folder that stops where training stopped. Every rank must call it.

    Weights in `dtype`; the tokenizer with the chat template `template`; settings: the
    base's tokenizer_config.json; facts: the rows of the model card.
    """
    beside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    models.save(model, beside, dtype, eos=chat.stop_ids)
    if parallel.rank() > 0:
        return
    (beside / "tokenizer.json").write_text(chat.source, encoding="utf-8")
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    settings = {**settings, **ends, "chat_template": template}
    generation = {"eos_token_id": chat.stop_ids, "pad_token_id": chat.endoftext}  # no sampling
    for name, fields in (("tokenizer_config", settings), ("generation_config", generation)):
        text = json.dumps(fields, indent=2, ensure_ascii=False)
        (beside / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    table = "".join(f"| {name} | {fact} |\n" for name, fact in facts.items())
    title = f"# {folder.parent.name}\n\nA student trained with scale-or-reason.\n\n"
    (beside / "README.md").write_text(f"{title}| | |\n|---|---|\n{table}", encoding="utf-8")
    replace_folder(beside, folder)
