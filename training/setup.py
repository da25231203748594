"""From options to a Run: all that is known, checked and planned before any weights are read.

What is wrong is reported all at once, one line a case, with what to type instead.
"""

import dataclasses
import json
import math
import os
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import flops
import model as models
from common import cli, hub, parallel
from config import FORMATS, SCALES, Config
from data import toy
from data.chat import Chat, load_tokenizer
from data.pairs import Pairs, describe_pairs, load_pairs
from data.rows import listing, scan_pairs
from kernels import launch
from training.plan import Plan, make_plan

# Options that may differ when a run goes on: they change no sample, order, weight or rate.
OF_THE_MACHINE = {"device", "row_tokens", "checkpointing", "compile", "deterministic",
                  "save_minutes", "cache", "show", "dry_run", "out"}  # fmt: skip
# Options of the recipe: runs that differ in one are never averaged as seeds of each other.
RECIPE = ("init", "epochs", "max_len", "system", "batch", "batch_tokens", "lr", "warmup", "decay",
          "loss_mean", "restart", "beta1", "beta2", "weight_decay", "clip", "flops_budget",
          "match")  # fmt: skip


@dataclass
class Run:
    """All that is known before the weights are read."""

    options: object  # train.Options
    config: Config
    chat: Chat
    settings: dict  # the base's tokenizer_config.json
    pairs: Pairs
    plan: Plan
    system: np.ndarray  # ids before every prompt
    switch: np.ndarray  # ids between prompt and ift answer, of a teacher's toggle
    record: dict  # config.json of the run folder

    @property
    def variant(self) -> str:
        """The recipe's options that the command line changed, as typed; "" for the paper's."""
        o, origin = self.options, self.record["origin"]
        changed = [name for name in RECIPE if origin.get(name) == "command line"]
        return " ".join(f"{cli.flag(name)} {getattr(o, name)}" for name in changed)


def prepare(o, origin: dict) -> Run:
    """Reads and checks everything but the weights; hub.UserError lists all that is wrong."""
    problems = [*check_options(o, origin), *check_folder(o, {"options": dataclasses.asdict(o)})]

    def attempt(work, *arguments):
        try:
            return work(*arguments)
        except hub.UserError as error:
            problems.append(str(error))

    config = chat = pairs = None
    is_scratch = o.init == "scratch"
    if o.scale in SCALES:
        config = SCALES[o.scale].config if is_scratch else attempt(Config.from_pretrained, o.init)
    if config and not is_scratch and not hub.is_hub_id(o.init):
        folder = Path(o.init).expanduser()
        attempt(lambda: models.tensors_of(models.weight_files(folder)))
    source = o.tokenizer or (SCALES[o.scale].base if is_scratch and config else o.init)
    tokenizer, settings = None, {"tokenizer_class": "PreTrainedTokenizerFast"}
    if source == "scratch":
        tokenizer = toy.tokenizer()
    elif o.tokenizer or config:
        flag = "--tokenizer" if o.tokenizer else "--init"
        tokenizer, settings = attempt(load_tokenizer, source, flag) or (None, None)
    if tokenizer:
        chat = attempt(Chat, tokenizer)
    if config and chat and config.vocab_size < chat.ids_in_use:
        problems.append(
            f"--init {o.init}: its vocabulary of {config.vocab_size} is smaller than the"
            f" tokenizer's {chat.ids_in_use}; pass the --tokenizer it was made with"
        )
    if config and config.max_position_embeddings < o.max_len:
        most = config.max_position_embeddings
        problems.append(f"--max-len {o.max_len}: the model reads {most} tokens; --max-len {most}")
    if not problems:
        pairs = attempt(load_pairs, o.data, chat, o.cache)
    elif o.data != "toy" and not hub.is_hub_id(o.data):
        attempt(scan_pairs, o.data, o.skip_bad)  # name its problems too, but tokenise nothing
    if pairs:
        problems += check_pairs(o, pairs)
    if problems:
        raise hub.UserError("\n".join(problems))

    system = np.array(chat.system(o.system), dtype=np.int64)
    student, teacher = chat.prompt(""), chat.prompt("", thinking=False)
    assert teacher[: len(student)] == student
    switch = np.array(teacher[len(student) :] if o.toggle else [], dtype=np.int64)
    plan = make_plan(o, config, pairs, len(system), len(switch))
    record = {
        "options": dataclasses.asdict(o),
        "origin": origin,
        "model": dataclasses.asdict(config),
        "data": {"content": pairs.content, "paired": pairs.paired},
        "plan": {"steps": len(plan.steps), "peak_lr": max(step.lr for step in plan.steps)},
        "think_ids": {tag: chat.encode(tag) for tag in ("<think>", "</think>")},
        "commit": cli.git_commit(),
        "torch": torch.__version__,
    }
    most = max(len(step.samples) for step in plan.steps)
    if parallel.world_size() > most:
        problems.append(
            f"{parallel.world_size()} ranks for {most} samples a step: at most"
            f" --nproc_per_node={most} is of use; or raise --batch"
        )
    if problems := problems + check_folder(o, record):
        raise hub.UserError("\n".join(problems))
    if not is_scratch:
        hub.fetch(o.init, files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))  # before ranks meet
    return Run(o, config, chat, settings, pairs, plan, system, switch, record)


def check_options(o, origin: dict) -> list[str]:
    """What is wrong with the options by themselves, one line a case."""
    problems = []

    def report(is_wrong, message):
        if is_wrong:
            problems.append(message)

    choices = {
        "scale": list(SCALES),
        "format": FORMATS,
        "loss_mean": ("token", "sample"),
        "device": ("cpu", "cuda"),
        "dtype": ("bf16", "fp32"),
        "checkpointing": ("none", "full"),
        "toggle": ("", "qwen3"),
        "match": ("", "flops", "tokens"),
    }
    for name, known in choices.items():
        value = getattr(o, name)
        report(value not in known, cli.not_one_of(cli.flag(name), value, [k for k in known if k]))
    may_be_zero = {"seed", "val", "val_every", "warmup", "decay", "save_minutes", "show", "ratio",
                   "beta1", "beta2", "weight_decay"}  # fmt: skip
    for name, value in vars(o).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            is_fine = math.isfinite(value) and (value > 0 or value == 0 and name in may_be_zero)
            least = "at least 0" if name in may_be_zero else "more than 0"
            report(not is_fine, f"{cli.flag(name)} {value}: a number of {least}")
    problems += launch.problems(o.device)
    report(o.ratio > 1, f"--ratio {o.ratio}: a share, at most 1")
    report(max(o.beta1, o.beta2) >= 1, "--beta1 and --beta2: below 1")
    report(o.seed >= 2**63, f"--seed {o.seed}: below 2**63")
    report(any("\ud800" <= c <= "\udfff" for c in o.system), "--system: not valid UTF-8")
    report(o.row_tokens < o.max_len, f"--row-tokens {o.row_tokens}: at least --max-len {o.max_len}")

    given = {name for name, layer in origin.items() if layer == "command line"}
    one_format = o.format in ("ift", "reasoning")
    report("ratio" in given and one_format, "--ratio goes with --format sequential or mixed")
    report(o.restart and o.format != "sequential", "--restart goes with --format sequential")
    for pair in (("batch", "batch_tokens"), ("samples", "flops_budget"), ("match", "flops_budget")):
        flags = " and ".join(map(cli.flag, pair))
        report(given.issuperset(pair), f"{flags}: give one of the two")
    no_gpu = o.device == "cuda" and not torch.cuda.is_available()
    report(no_gpu, "--device cuda: torch sees no GPU here; leave --device out")

    above = folder = Path(o.out)
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=above, suffix=".tmp"):
            names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        is_foreign = any(not n.endswith(".tmp") for n in names) and "config.json" not in names
        report(is_foreign, f"--out {o.out}: holds files that are no run; choose a new folder")
    except OSError as error:
        why = f"cannot write in {above} ({error.strerror})"
        report(True, f"--out {o.out}: {why}; choose another")
    return problems


def check_folder(o, record: dict) -> list[str]:
    """How the run in --out, if there is one, differs from this one in what it learns."""
    file = Path(o.out) / "config.json"
    if not os.path.isfile(file):  # False, too, for a name that cannot be a file's
        return []
    here = json.loads(json.dumps(record))
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        before = {part: before[part] for part in ("options", "model", "data")}
    except (ValueError, KeyError):
        return [f"--out {o.out}: its config.json is not of a run; choose a new folder"]
    changed = [
        f"  {name}: {before[part].get(name)} there, {here[part].get(name)} here"
        for part in ("options", "model", "data")
        for name in sorted({*before[part], *here.get(part, {})} - OF_THE_MACHINE)
        if part in here and before[part].get(name) != here[part].get(name)
    ]
    head = f"--out {o.out}: holds another run; pass its options, or another --out"
    return ["\n".join([head, *changed])] if changed else []


def check_pairs(o, pairs: Pairs) -> list[str]:
    """What is wrong with the data for this format, one line a case."""
    problems = []
    if pairs.problems and not o.skip_bad:
        rows = listing(pairs.problems, f" (all in {pairs.folder}/meta.json)")
        problems.append(
            f"--data {o.data}: {rows}\n  mend them, or pass --skip-bad to leave them out"
        )
    needed = {"ift": o.ratio < 1, "reasoning": o.ratio > 0}
    for name in (name for name in needed if needed[name] and name not in pairs.formats):
        has = " and ".join(pairs.formats) or "none"
        problems.append(f"--data {o.data}: no {name} answers in it, for {o.format}; it has {has}")
    return problems


def describe(run: Run) -> str:
    """The plan in 80 columns, as --dry-run prints it."""
    o, plan, chat = run.options, run.plan, run.chat
    books = [plan.ledger(step) for step in plan.steps]
    total = {key: sum(book[key] for book in books) for key in books[0]}
    longest = max(max(plan.lengths(step.samples, step.formats)[0]) for step in plan.steps)
    share = -(-max(book["tokens"] for book in books) // parallel.world_size())
    row = min(o.row_tokens, max(longest, share))  # the longest row of any rank, about
    width, recompute = (2 if o.dtype == "bf16" else 4), o.checkpointing == "full"
    logits = 2**28 if o.device == "cuda" else 2**26  # of a chunk in kernels/
    memory = flops.memory(run.config, row, parallel.world_size(), width, recompute, logits)
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in memory.items())
    rates = [step.lr for step in plan.steps]
    bad = f", {len(run.pairs.problems):,} bad rows left out" if run.pairs.problems else ""
    stops = " ".join(f"{chat.tokenizer.id_to_token(i)} ({i})" for i in chat.stop_ids)
    return f"""\
student    {o.scale}: {run.config.model_type}, {flops.parameters(run.config):,} parameters
from       {o.init}
data       {o.data}: {describe_pairs(run.pairs)}
used       {len(plan.train):,} to train on, {len(plan.val):,} held out{bad}
dropped    {len(plan.dropped):,} of over {o.max_len:,} tokens, from both arms
format     {o.format}, rho {o.ratio:g}, {o.loss_mean} mean of the loss on answers
steps      {len(plan.steps):,} of {total["samples"] / len(plan.steps):.1f} samples
tokens     {total["tokens"]:,}, of which answers {total["answer_tokens"]:,}
lr         {rates[0]:.3g} first, {max(rates):.3g} peak, {rates[-1]:.3g} last
FLOPs      {total["flops_exact"]:.4g} exact, {total["flops_paper"]:.4g} by the paper's formula
memory     {sum(memory.values()) / 1e9:.2f} GB for rows of {row:,} tokens, an estimate:
{textwrap.indent(textwrap.fill(parts, 69), " " * 11)}
precision  weights, gradients and moments fp32, matmuls {o.dtype}
on         {o.device}, {parallel.world_size()} rank(s), rows of at most {o.row_tokens:,} tokens
stops at   {stops}"""
