"""A run on disk: checkpoints to resume from and the model to keep, each whole or not there at all.

Everything is written beside its place, fsynced, and renamed. Tensors are safetensors, positions are
JSON: nothing here is a pickle.
"""

import json
import os
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import model as models
from data.chat import Chat, template

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's names


# The parts of a metrics line that differ from machine to machine; all others are reproducible.
TIMES = ("seconds", "tokens_per_second", "peak_memory", "mfu")


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


def write_whole(path: Path, text: str):
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


def save(folder: Path, model, optimizer, step: int):
    """Parameters, AdamW's moments and the number of steps done, as folder/step-N; keeps two."""
    tensors, adam_step = {}, 0
    for name, parameter in model.named_parameters():
        tensors[f"parameter/{name}"] = parameter.detach().contiguous()
        if state := optimizer.state.get(parameter):
            adam_step = int(state["step"])
            tensors |= {f"{moment}/{name}": state[moment].contiguous() for moment in MOMENTS}
    beside = folder / "next.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file(tensors, beside / "state.safetensors")
    (beside / "position.json").write_text(json.dumps({"step": step, "adam_step": adam_step}))
    replace_folder(beside, folder / f"step-{step:08}")
    for old in sorted(folder.glob("step-*"))[:-2]:
        shutil.rmtree(old)


@torch.no_grad()
def load(folder: Path, model, optimizer) -> int:
    """Restores the newest whole checkpoint of `folder`; returns the steps done, 0 if there is none.

    One that cannot be read is named, and the one before it is taken.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            position = json.loads((path / "position.json").read_text())
            with safe_open(path / "state.safetensors", framework="pt") as tensors:
                saved = set(tensors.keys())
                for name, parameter in model.named_parameters():
                    parameter.copy_(tensors.get_tensor(f"parameter/{name}"))
                    if f"exp_avg/{name}" in saved:
                        moments = {m: tensors.get_tensor(f"{m}/{name}") for m in MOMENTS}
                        state = {m: value.to(parameter.device) for m, value in moments.items()}
                        state["step"] = torch.tensor(float(position["adam_step"]))
                        optimizer.state[parameter] = state
            return position["step"]
        except (OSError, ValueError, SafetensorError) as error:
            print(f"{path} is not whole ({error}): going back to the one before", file=sys.stderr)
            optimizer.state.clear()
    return 0


def export(folder: Path, model, dtype, chat: Chat, system: str, settings: dict, facts: dict):
    """Writes a Hugging Face folder that stops where training stopped.

    Weights in `dtype`; the tokenizer with our ChatML template and `system` prompt; settings: the
    base's tokenizer_config.json; facts: the rows of the model card.
    """
    beside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    models.save(model, beside, dtype, eos=chat.stop_ids)
    (beside / "tokenizer.json").write_text(chat.source, encoding="utf-8")
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    settings = {**settings, **ends, "chat_template": template(system)}
    generation = {"eos_token_id": chat.stop_ids, "pad_token_id": chat.endoftext}  # no sampling
    for name, fields in (("tokenizer_config", settings), ("generation_config", generation)):
        text = json.dumps(fields, indent=2, ensure_ascii=False)
        (beside / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    table = "".join(f"| {name} | {fact} |\n" for name, fact in facts.items())
    card = (
        f"# {folder.parent.name}\n\nA student trained with scale-or-reason.\n\n| | |\n|---|---|\n"
    )
    (beside / "README.md").write_text(card + table, encoding="utf-8")
    replace_folder(beside, folder)
