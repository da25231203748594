"""Trains one student on one format: pairs -> checkpoints, metrics, FLOPs ledger, model.

    python train.py --scale toy-m --format reasoning                  # a laptop, half a minute
    torchrun --nproc_per_node=8 train.py --scale 3b --format ift      # data and base from the Hub
    python train.py --scale 0.5b --format mixed --ratio 0.25 --data pairs.jsonl --init ./Qwen-0.5B
    python train.py --scale 0.5b --format ift --data pairs.jsonl --dry-run      # plan and cost only

Writes the run folder --out: config.json (every option and where it came from), metrics.jsonl (one
line a step), checkpoints/ (the last two), model/ (Hugging Face layout) and summary.json. The same
command goes on where a run was stopped; SIGTERM and Ctrl-C save first.
"""

import dataclasses
import json
import math
import os
import resource
import signal as signals
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import checkpoint
import cli
import flops
import hub
import model as models
import ranks
from config import SCALES, Config
from data import toy
from data.chat import Chat, load_tokenizer
from data.pack import collate, pack
from data.pairs import CACHE, Pairs, describe_pairs, listing, load_pairs, scan_pairs
from data.plan import Plan, Step, make_plan

FORMATS = ("ift", "reasoning", "sequential", "mixed")


@dataclass
class Options:
    # the student and what it reads
    scale: str = ""  # a row of config.SCALES: 0.5b 1.5b 3b 7b 14b toy-xs toy-s toy-m toy-l toy-xl
    format: str = ""  # ift, reasoning, sequential (ift, then reasoning) or mixed
    ratio: float = 0.25  # rho: share of the samples that answer with reasoning (sequential, mixed)
    data: str = "Scale-or-Reason/general-reasoning-ift-pairs"  # path, Hub id or toy
    init: str = ""  # path, Hub id or scratch (default: the scale's base)
    tokenizer: str = ""  # path or Hub id (default: that of --init)
    system: str = ""  # system prompt of every sample
    skip_bad: bool = False  # leave bad rows out instead of stopping
    out: str = ""  # run folder (default: runs/SCALE-FORMAT[-RATIO]-sSEED)
    seed: int = 0  # of the order, of who reasons, and of weights from scratch
    # how much
    samples: int | None = None  # the first N of the seeded order (default: all)
    epochs: int = 1
    flops_budget: float | None = None  # as many samples as this many exact train FLOPs pay for
    max_len: int = 16384  # tokens of the longest sample kept; longer pairs leave both arms
    val: int = 256  # pairs held out, from the end of the seeded order
    val_every: int = 0  # steps between validations (0: only at the end)
    # the recipe
    batch: int = 32  # samples a step
    batch_tokens: int | None = None  # instead: as many samples as fit this many tokens
    lr: float | None = None  # peak learning rate (default: by scale and format, config.SCALES)
    warmup: int | None = None  # steps (default: min(150, steps // 20))
    decay: int | None = None  # steps (default: min(300, steps // 10))
    loss_mean: str = (
        "token"  # a step's loss is the mean over answer tokens, or over samples: sample
    )
    restart: bool = False  # sequential: fresh schedule and moments for the reasoning part
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip: float = 1.0  # largest gradient norm
    # the machine: none of these changes what is learned
    device: str = ""  # cpu, cuda (default: cuda where there is one)
    dtype: str = ""  # of matmuls and of the export: bf16 or fp32 (default: bf16 on cuda)
    row_tokens: int | None = None  # tokens of one forward (default: --max-len)
    checkpointing: str = "none"  # of activations: none, or full (default from 1.5b on)
    compile: bool = False  # torch.compile every block
    deterministic: bool = False  # bitwise repeatable on GPU too, slower
    save_minutes: float = 15.0  # between checkpoints
    cache: str = CACHE  # tokenised pairs
    show: int | None = None  # answers to print at the end (default: 1 for toy scales)
    dry_run: bool = False  # print the plan and stop


MACHINE = {"device", "row_tokens", "checkpointing", "compile", "deterministic", "save_minutes",
           "cache", "show", "dry_run", "out"}  # fmt: skip


def parse(arguments: list[str] | None) -> tuple[Options, dict]:
    """Options, and where each non-default came from: defaults < scale < format < command line."""

    def layers(given):
        by_scale, by_format = {}, {}
        if given.get("scale") in SCALES:
            by_scale["init"] = SCALES[given["scale"]].base
            if SCALES[given["scale"]].config.hidden_size > 1000:
                by_scale["checkpointing"] = "full"  # a row of 16k tokens would not fit 80 GB
        if given.get("scale", "").startswith("toy"):
            by_scale |= {"data": "toy", "max_len": 2048, "show": 1}
        if given.get("format") in ("ift", "reasoning"):
            by_format["ratio"] = float(given["format"] == "reasoning")
        return {"scale": by_scale, "format": by_format}

    o, origin = cli.parse(Options, arguments, __doc__, layers)
    share = f"-{o.ratio:g}" if o.format in ("sequential", "mixed") else ""
    o.out = o.out or f"runs/{o.scale}-{o.format}{share}-s{o.seed}"
    o.device = o.device or ("cuda" if torch.cuda.is_available() else "cpu")
    o.dtype = o.dtype or ("bf16" if o.device == "cuda" else "fp32")
    o.row_tokens = o.row_tokens or o.max_len
    return o, origin


# ---- what is checked before anything expensive ----------------------------------------------


@dataclass
class Run:
    """All that is known before the weights are read."""

    options: Options
    config: Config
    chat: Chat
    settings: dict  # the base's tokenizer_config.json
    pairs: Pairs
    plan: Plan
    system: np.ndarray  # ids before every prompt
    record: dict  # config.json of the run folder


def prepare(o: Options, origin: dict) -> Run:
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
        attempt(models.weight_files, Path(o.init))
    source = o.tokenizer or (SCALES[o.scale].base if is_scratch and config else o.init)
    tokenizer, settings = None, {"tokenizer_class": "PreTrainedTokenizerFast"}
    if source == "scratch":
        tokenizer = toy.tokenizer()
    elif o.tokenizer or config:
        tokenizer, settings = attempt(load_tokenizer, source) or (None, None)
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
    plan = make_plan(o, config, pairs, len(system))
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
    if ranks.world() > most:
        problems.append(
            f"{ranks.world()} ranks for {most} samples a step: --nproc_per_node={most} is the most"
            " of use, or raise --batch"
        )
    if problems := problems + check_folder(o, record):
        raise hub.UserError("\n".join(problems))
    if not is_scratch:
        hub.fetch(o.init, files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))  # before ranks meet
    return Run(o, config, chat, settings, pairs, plan, system, record)


def check_options(o: Options, origin: dict) -> list[str]:
    """What is wrong with the options by themselves, one line a case."""
    choices = {
        "scale": list(SCALES),
        "format": FORMATS,
        "loss_mean": ("token", "sample"),
        "device": ("cpu", "cuda"),
        "dtype": ("bf16", "fp32"),
        "checkpointing": ("none", "full"),
    }
    problems = [
        cli.not_one_of(name, getattr(o, name), known)
        for name, known in choices.items()
        if getattr(o, name) not in known
    ]
    numbers = {name: value for name, value in vars(o).items() if isinstance(value, int | float)}
    zero_is_fine = {"seed", "val", "val_every", "warmup", "decay", "save_minutes", "show", "ratio",
                    "beta1", "beta2", "weight_decay"}  # fmt: skip
    for name, value in numbers.items():
        least = "at least 0" if name in zero_is_fine else "more than 0"
        if not isinstance(value, bool) and not (
            math.isfinite(value) and (value > 0 or value == 0 and name in zero_is_fine)
        ):
            problems.append(f"{cli.flag(name)} {value}: a number of {least}")
        elif name in ("ratio", "beta1", "beta2") and not value <= (
            1 if name == "ratio" else 0.9999
        ):
            problems.append(f"{cli.flag(name)} {value}: a share, as {getattr(Options, name)}")
    given = {name for name, layer in origin.items() if layer == "command line"}
    both = ", give one of the two"
    folder = Path(o.out)
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=above, suffix=".tmp"):
            why_not = ""
    except OSError as error:
        why_not = error.strerror
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    is_foreign = any(not name.endswith(".tmp") for name in names) and "config.json" not in names
    cases = {
        f"--ratio goes with --format sequential or mixed, not {o.format}": "ratio" in given
        and o.format in ("ift", "reasoning"),
        "--restart goes with --format sequential": o.restart and o.format != "sequential",
        f"--batch and --batch-tokens{both}": {"batch", "batch_tokens"} <= given,
        f"--samples and --flops-budget{both}": {"samples", "flops_budget"} <= given,
        f"--row-tokens {o.row_tokens}: at least --max-len {o.max_len}": o.row_tokens < o.max_len,
        "--device cuda: torch sees no GPU here; leave --device out": o.device == "cuda"
        and not torch.cuda.is_available(),
        f"--out {o.out}: cannot write in {above} ({why_not}); choose another": why_not,
        f"--out {o.out}: holds files that are no run; choose a new folder": is_foreign,
    }
    return problems + [message for message, is_so in cases.items() if is_so]


def check_folder(o: Options, record: dict) -> list[str]:
    """How the run in --out, if there is one, differs from this one in what it learns."""
    file = Path(o.out) / "config.json"
    if not file.is_file():
        return []
    before, here = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(record))
    changed = [
        f"  {name}: {before[part].get(name)} there, {here[part].get(name)} here"
        for part in ("options", "model", "data")
        for name in sorted({*before[part], *here.get(part, {})} - MACHINE)
        if part in here and before[part].get(name) != here[part].get(name)
    ]
    head = f"--out {o.out}: holds another run; pass its options, or another --out"
    return ["\n".join([head, *changed])] if changed else []


def check_pairs(o: Options, pairs: Pairs) -> list[str]:
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
    share = -(-max(book["tokens"] for book in books) // ranks.world())
    row = min(o.row_tokens, max(longest, share))  # the longest row of any rank, about
    width, recompute = (2 if o.dtype == "bf16" else 4), o.checkpointing == "full"
    memory = flops.memory(run.config, row, ranks.world(), width, recompute)
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
memory     {sum(memory.values()) / 1e9:.2f} GB for rows of {row:,} tokens, an estimate, of which
           {", ".join(f"{name} {size / 1e9:.1f}" for name, size in memory.items())}
precision  weights, gradients and moments fp32, matmuls {o.dtype}
on         {o.device}, {ranks.world()} rank(s), rows of at most {o.row_tokens:,} tokens
stops at   {stops}"""


# ---- rows, forward and backward -------------------------------------------------------------


def rows_of(run: Run, samples, formats, token_weights, device):
    """This rank's packed rows of some samples: (ids, cu_seqlens, targets, weights) on its device.

    token_weights: what one answer token of each sample weighs in the loss. Every rank finds the
    same plan by itself, and gets equally many rows.
    """
    o, pairs = run.options, run.pairs
    lengths, answers = run.plan.lengths(samples, formats)
    costs = [flops.train(run.config, [n], [a]) for n, a in zip(lengths, answers, strict=True)]
    for row in pack(lengths, costs, ranks.world(), o.row_tokens)[ranks.rank()]:
        documents = []
        for i in row:
            prompt = np.concatenate([run.system, pairs.prompt(samples[i])])
            documents.append((prompt, pairs.answer(samples[i], formats[i]), token_weights[i]))
        packed = collate(documents, 128 if o.compile else 1)
        tensors = (packed.ids, packed.cu_seqlens, packed.targets, packed.weights)
        yield tuple(torch.from_numpy(x).to(device) for x in tensors)


def backward(run: Run, model, step: Step, device) -> tuple[torch.Tensor, int]:
    """Adds a step's gradients. Returns this rank's share of the loss and the tokens it computed."""
    answers = run.plan.lengths(step.samples, step.formats)[1]
    if run.options.loss_mean == "token":
        token_weights = [1 / sum(answers)] * len(answers)
    else:
        token_weights = [1 / (len(answers) * count) for count in answers]
    loss, tokens = torch.zeros((), device=device), 0
    for row in rows_of(run, step.samples, step.formats, token_weights, device):
        row_loss = model(*row)
        row_loss.backward()
        loss += row_loss.detach()
        tokens += len(row[0])
    return loss, tokens


@torch.no_grad()
def validate(run: Run, model, device) -> dict:
    """Loss per answer token on the held-out pairs, in every format the data has."""
    losses, val = {}, run.plan.val
    for format in run.pairs.formats if len(val) else []:
        share = 0.0
        for start in range(0, len(val), 32):
            part = val[start : start + 32]
            for row in rows_of(run, part, [format] * len(part), [1.0] * len(part), device):
                share += model(*row).item()
        tokens = int(run.pairs.answer_lengths[format][val].sum())
        losses[format] = ranks.total(share, device=device)[0] / tokens
    if ranks.is_sharded(model):
        model.reshard()  # a forward without a backward leaves the root gathered
    return losses


@torch.no_grad()
def blame(run: Run, model, step: Step, device) -> str:
    """The samples of a step whose loss alone is not finite, or else all of them."""
    found = []
    for i, format in zip(step.samples, step.formats, strict=True):
        share = sum(
            model(*row).item() for row in rows_of(run, np.array([i]), [format], [1.0], device)
        )
        if not math.isfinite(ranks.total(share, device=device)[0]):
            found.append(run.pairs.name(i))
    return ", ".join(found or [run.pairs.name(i) for i in step.samples])


# ---- the run --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options, origin = parse(arguments)
    try:
        run = prepare(options, origin)
        if options.dry_run:
            print(describe(run))
            return 0
        return train(run)
    except hub.UserError as error:
        return cli.fail(error) if ranks.local_rank() == 0 else 2
    except OSError as error:  # a full disk, say: what was whole before is whole still
        if ranks.local_rank() == 0:
            print(f"error: {error}; the same command goes on from what is saved", file=sys.stderr)
        return 1
    finally:
        ranks.stop()


def train(run: Run) -> int:
    o, plan, folder = run.options, run.plan, Path(run.options.out)
    is_first = ranks.rank() == 0
    say = print if is_first else lambda *_: None
    if (folder / "summary.json").is_file():
        say(f"{folder} is finished: see {folder}/summary.json. Another --out trains anew.")
        return 0
    say(describe(run))

    # ---- student and optimiser, in this order: checkpointing, compile, shard, memory, weights
    is_sharded = ranks.world() > 1 or o.dtype == "bf16"
    device = ranks.start(o.device) if is_sharded else torch.device(o.device)
    if o.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    def wrap(model):
        torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it goes on slowly, in eager
        for block in model.model.layers:
            block.recompute = o.checkpointing == "full"
            if o.compile:
                block.compute = torch.compile(block.compute, dynamic=True)
        if is_sharded:
            ranks.shard(model, o.dtype)

    if o.init == "scratch":
        model = models.initialise(models.build(run.config, device, before_memory=wrap), o.seed)
    else:
        model = models.load(o.init, device, before_memory=wrap)
    parameters = dict(model.named_parameters())
    assert all(p.dtype == torch.float32 for p in parameters.values())  # bf16 rounds lr 1e-5 away
    optimizer = torch.optim.AdamW(
        parameters.values(), betas=(o.beta1, o.beta2), weight_decay=o.weight_decay, fused=True
    )

    # ---- the run folder: made now, or resumed from its last whole checkpoint
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "config.json").is_file():
            checkpoint.write_whole(folder / "config.json", json.dumps(run.record, indent=2))
        if len(plan.dropped):
            longest = run.pairs.longest()
            lines = [f"{run.pairs.name(i)}: {longest[i]} tokens\n" for i in plan.dropped]
            checkpoint.write_whole(folder / "dropped.txt", "".join(lines))
    done = checkpoint.load(folder / "checkpoints", parameters, optimizer)
    metrics_file = folder / "metrics.jsonl" if is_first else Path(os.devnull)
    if is_first:
        lines = metrics_file.read_text().splitlines(keepends=True) if metrics_file.exists() else []
        checkpoint.write_whole(metrics_file, "".join(lines[:done]))
    totals = dict.fromkeys(("samples", "tokens", "answer_tokens", "flops_paper", "flops_exact"), 0)
    for step in plan.steps[:done]:
        book = plan.ledger(step)
        totals = {key: value + book[key] for key, value in totals.items()}
    if done:
        say(f"resuming after step {done} of {len(plan.steps)}")

    # ---- steps
    peak = flops.peak(torch.cuda.get_device_name()) if device.type == "cuda" else None
    saved_at = time.monotonic()
    is_quiet = not is_first or not sys.stderr.isatty()
    bar = tqdm(total=len(plan.steps), initial=done, disable=is_quiet, leave=False)
    with checkpoint.signals() as stopped, open(metrics_file, "a", encoding="utf-8") as metrics:
        for number, step in enumerate(plan.steps[done:], done + 1):
            started = time.monotonic()
            if step.fresh:
                optimizer.state.clear()
            share, computed = backward(run, model, step, device)
            norm = ranks.whole(torch.nn.utils.clip_grad_norm_(parameters.values(), o.clip)).item()
            is_due = is_first and started - saved_at >= 60 * o.save_minutes
            signal = max(stopped, default=0)  # what a rank caught stops all of them at this step
            loss, computed, is_due, *caught = ranks.total(
                share.item(), computed, is_due, signal > 0, signal, device=device
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                kept = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
                bad = blame(run, model, step, device)
                if is_first:
                    print(
                        f"error: step {number}: loss {loss}, gradient norm {norm}, from the samples"
                        f" {bad}. Kept: {', '.join(kept) or 'no checkpoint yet'}."
                        " Look at these samples, or lower --lr.",
                        file=sys.stderr,
                    )
                return 1
            for group in optimizer.param_groups:
                group["lr"] = step.lr
            optimizer.step()
            optimizer.zero_grad()

            seconds, book = time.monotonic() - started, plan.ledger(step)
            totals = {key: value + book[key] for key, value in totals.items()}
            line = {"step": number, "loss": loss, "lr": step.lr, "grad_norm": norm, **book}
            line |= {f"total_{key}": value for key, value in totals.items()}
            if o.val_every and number % o.val_every == 0:
                line["val_loss"] = validate(run, model, device)
            line |= {  # from here on what differs between machines: checkpoint.OF_THE_MACHINE
                "padding": 1 - book["tokens"] / computed,
                "seconds": seconds,
                "tokens_per_second": book["tokens"] / seconds,
                "peak_memory": peak_memory(device),
                "mfu": peak and book["flops_exact"] / seconds / peak / ranks.world(),
            }
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if is_first:
                bar.update()
                tqdm.write(log_line(line, len(plan.steps)))
            if is_due or caught[0] or number == len(plan.steps):
                if is_first:
                    os.fsync(metrics.fileno())
                checkpoint.save(folder / "checkpoints", parameters, optimizer, number)
                saved_at = time.monotonic()
            if caught[0]:
                code = round(caught[1] / caught[0])
                name = signals.Signals(code).name
                say(f"{name}: saved after step {number}; the same command goes on")
                return 128 + code
    bar.close()

    # ---- model/ and summary.json
    facts = {
        "base": o.init,
        "data": f"{o.data}, {len(plan.train):,} pairs, {o.epochs} epoch(s)",
        "format": f"{o.format}, reasoning share {o.ratio:g}",
        "seed": o.seed,
        "system prompt": o.system or "none",
    }
    dtype = torch.bfloat16 if o.dtype == "bf16" else torch.float32
    checkpoint.export(folder / "model", model, dtype, run.chat, o.system, run.settings, facts)
    summary = {
        "scale": o.scale,
        "format": o.format,
        "ratio": o.ratio,
        "seed": o.seed,
        "paired": run.pairs.paired,
        "parameters": flops.parameters(run.config),
        "pairs": len(plan.train),
        "dropped_pairs": len(plan.dropped),
        "bad_rows": len(run.pairs.problems),
        "steps": len(plan.steps),
        **{key: totals[key] for key in ("samples", "tokens", "answer_tokens")},
        "train_flops": {"paper": totals["flops_paper"], "exact": totals["flops_exact"]},
        "val_loss": validate(run, model, device),
    }
    if not is_first:
        return 0
    for sample in plan.val[: o.show or 0]:
        show(run, models.load(folder / "model"), sample)
    checkpoint.write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    losses = ", ".join(f"{name} {value:.4f}" for name, value in summary["val_loss"].items())
    print(f"held-out loss per answer token: {losses or 'nothing held out'}")
    print(f"wrote {folder}/model and {folder}/summary.json")
    return 0


def show(run: Run, model, sample: int):
    """Prints the student's greedy answer to a held-out prompt."""
    chat, prompt = run.chat, [*run.system.tolist(), *run.pairs.prompt(sample).tolist()]
    room = min(512, run.config.max_position_embeddings - len(prompt))
    answer = models.greedy(model, [prompt], room, chat.stop_ids, chat.ids_in_use)[0]
    print(f"\na held-out prompt ({run.pairs.name(sample)}):\n{chat.decode(prompt)}")
    print(f"the student's answer:\n{chat.decode(answer)}\n")


def log_line(line: dict, steps: int) -> str:
    """One step in 80 columns."""
    mfu = f"  mfu {line['mfu']:.1%}" if line["mfu"] else ""
    return (
        f"step {line['step']:>{len(str(steps))}}/{steps}  loss {line['loss']:.4f}"
        f"  lr {line['lr']:.2e}  norm {line['grad_norm']:.2f}"
        f"  {line['tokens_per_second']:,.0f} tok/s{mfu}"
    )


def peak_memory(device: torch.device) -> int:
    """Bytes at most in use so far: by torch on a GPU, by the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main())
