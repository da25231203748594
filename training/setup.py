"""From options to a Setup: all that is known, checked and planned before any weights are read.

Mistakes are reported all at once, one line each, with what to type instead.
"""

import dataclasses
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import flops
import model as models
from common import cli, files, hub, parallel
from config import ANSWERS, SCALES, Config
from data import toy
from data.chat import Chat, load_tokenizer
from data.pairs import Pairs, describe_pairs, load_pairs
from data.rows import listing, scan_pairs
from kernels import launch
from training.plan import Plan, make_plan

# Options that may differ when a run resumes: they change no sample, order, weight or rate.
MACHINE_OPTIONS = set("device row_tokens checkpointing compile deterministic save_minutes".split())
MACHINE_OPTIONS |= {"cache", "show", "dry_run", "out"}
# Options of the recipe: runs that differ in one are never averaged as seeds of each other.
RECIPE = "init epochs max_len system batch batch_tokens lr warmup decay loss_mean restart".split()
RECIPE += "beta1 beta2 weight_decay clip flops_budget match".split()


@dataclass
class Setup:
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


def prepare(o, origin: dict) -> Setup:
    """Reads and checks everything but the weights; hub.UserError lists every mistake."""
    problems = check_options(o, origin)
    problems += files.other_contents(o.out, "a run", {"options": dataclasses.asdict(o)}, learned)
    config, chat, settings = read_base(o, problems)
    if not problems:
        pairs = problems.attempt(load_pairs, o.data, chat, o.cache)
        problems += check_pairs(o, pairs) if pairs else []
    elif o.data != "toy" and not hub.is_hub_id(o.data):
        problems.attempt(scan_pairs, o.data, o.skip_bad)  # reports its rows, tokenises nothing
    problems.raise_any()

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
    most, ranks = max(len(step.samples) for step in plan.steps), parallel.world_size()
    problems.add(
        ranks > most,
        f"{ranks} ranks for {most} samples a step: --nproc_per_node={most} is the most of use, or"
        " raise --batch",
    )
    problems += files.other_contents(o.out, "a run", record, learned)
    problems.raise_any()
    if o.init != "scratch":
        hub.fetch(o.init, files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))  # before ranks meet
    return Setup(o, config, chat, settings, pairs, plan, system, switch, record)


# ---- checks ---------------------------------------------------------------------------------


def check_options(o, origin: dict) -> cli.Problems:
    """What the types do not allow, and the rules between options."""
    problems = cli.Problems(cli.check(o))
    problems += launch.problems(o.device)
    problems.add(o.seed >= 2**63, f"--seed {o.seed}: below 2**63")
    problems.add(max(o.beta1, o.beta2) == 1, "--beta1 and --beta2: below 1")
    problems.add(any("\ud800" <= c <= "\udfff" for c in o.system), "--system: not valid UTF-8")
    is_short = o.row_tokens < o.max_len
    problems.add(is_short, f"--row-tokens {o.row_tokens}: at least --max-len {o.max_len}")

    given = {name for name, layer in origin.items() if layer == "command line"}
    is_idle = "ratio" in given and o.format in ANSWERS
    problems.add(is_idle, "--ratio goes with --format sequential or mixed")
    is_idle = o.restart and o.format != "sequential"
    problems.add(is_idle, "--restart goes with --format sequential")
    for pair in (("batch", "batch_tokens"), ("samples", "flops_budget"), ("match", "flops_budget")):
        flags = " and ".join(map(cli.flag, pair))
        problems.add(given.issuperset(pair), f"{flags}: give one of the two")
    no_gpu = o.device == "cuda" and not torch.cuda.is_available()
    problems.add(no_gpu, "--device cuda: torch sees no GPU here; leave --device out")
    return problems


def learned(record: dict) -> dict:
    """What a run's config.json says of what it learns: all that must be the same to resume it."""
    options = {k: v for k, v in record["options"].items() if k not in MACHINE_OPTIONS}
    return options | record.get("model", {}) | record.get("data", {})


def read_base(o, problems: cli.Problems) -> tuple[Config, Chat, dict]:
    """The student's shape, the renderer of its prompts, and its base's tokenizer_config.json."""
    config = chat = tokenizer = None
    settings, is_scratch = {"tokenizer_class": "PreTrainedTokenizerFast"}, o.init == "scratch"
    if o.scale in SCALES and is_scratch:
        config = SCALES[o.scale].config
    elif o.scale in SCALES:
        config = problems.attempt(Config.from_pretrained, o.init)
    if config and not is_scratch and not hub.is_hub_id(o.init):
        folder = Path(o.init).expanduser()
        problems.attempt(lambda: models.tensors_of(models.weight_files(folder)))
    source = o.tokenizer or (SCALES[o.scale].base if is_scratch and config else o.init)
    if source == "scratch":
        tokenizer = toy.tokenizer()
    elif o.tokenizer or config:
        flag = "--tokenizer" if o.tokenizer else "--init"
        tokenizer, settings = problems.attempt(load_tokenizer, source, flag) or (None, None)
    if tokenizer:
        chat = problems.attempt(Chat, tokenizer)
    if config and chat and config.vocab_size < chat.ids_in_use:
        problems.append(
            f"--init {o.init}: its vocabulary of {config.vocab_size} is smaller than the"
            f" tokenizer's {chat.ids_in_use}; pass the --tokenizer it was made with"
        )
    if config and config.max_position_embeddings < o.max_len:
        most = config.max_position_embeddings
        problems.append(f"--max-len {o.max_len}: the model reads {most} tokens; --max-len {most}")
    return config, chat, settings


def check_pairs(o, pairs: Pairs) -> list[str]:
    """What is wrong with the data for this format, one line a case."""
    problems = []
    if pairs.problems and not o.skip_bad:
        rows = listing(pairs.problems, f" (all in {pairs.folder}/meta.json)")
        problems.append(
            f"--data {o.data}: {rows}\n  mend them, or pass --skip-bad to leave them out"
        )
    is_needed = {"ift": o.ratio < 1, "reasoning": o.ratio > 0}
    for name in (n for n in is_needed if is_needed[n] and n not in pairs.formats):
        has = " and ".join(pairs.formats) or "none"
        problems.append(f"--data {o.data}: no {name} answers in it, for {o.format}; it has {has}")
    return problems


# ---- the plan in words ----------------------------------------------------------------------


def describe(setup: Setup) -> str:
    """The plan in 80 columns, as --dry-run prints it."""
    o, plan, chat = setup.options, setup.plan, setup.chat
    total = plan.totals(plan.steps)
    longest = max(max(step.lengths) for step in plan.steps)
    rank_tokens = -(-max(sum(step.lengths) for step in plan.steps) // parallel.world_size())
    row = min(o.row_tokens, max(longest, rank_tokens))  # the longest row of any rank, about
    width, recompute = (2 if o.dtype == "bf16" else 4), o.checkpointing == "full"
    logits = 2**28 if o.device == "cuda" else 2**26  # of a chunk in kernels/
    memory = flops.memory(setup.config, row, parallel.world_size(), width, recompute, logits)
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in memory.items())
    rates = [step.lr for step in plan.steps]
    bad = f", {len(setup.pairs.problems):,} bad rows left out" if setup.pairs.problems else ""
    stops = " ".join(f"{chat.tokenizer.id_to_token(i)} ({i})" for i in chat.stop_ids)
    return f"""\
student    {o.scale}: {setup.config.model_type}, {flops.parameters(setup.config):,} parameters
from       {o.init}
data       {o.data}: {describe_pairs(setup.pairs)}
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
