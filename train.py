"""Trains one student on one format: pairs -> checkpoints, metrics, FLOPs ledger, model.

    python train.py --scale toy-m --format reasoning                  # a laptop, half a minute
    torchrun --nproc_per_node=8 train.py --scale 3b --format ift      # data and base from the Hub
    python train.py --scale 0.5b --format mixed --ratio 0.25 --data pairs.jsonl --init ./Qwen-0.5B
    python train.py --scale 0.5b --format ift --data pairs.jsonl --dry-run      # plan and cost only

Writes the run folder --out: config.json (every option and where it came from), metrics.jsonl (one
line a step), checkpoints/ (the last two), model/ (Hugging Face layout) and summary.json. The same
command resumes a run that was stopped; SIGTERM and Ctrl-C save first.
"""

import contextlib
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Annotated, Literal

import numpy as np
import torch
from tqdm import tqdm

import flops
from common import cli, files, parallel
from common.cli import Above0, AtLeast0, NonNegative, OneOf, Positive, Share
from config import SCALES, Format
from data.chat import template
from data.pairs import CACHE
from engine.reference import greedy
from model import Transformer, initialise, load, load_weights
from training import checkpoint
from training.pack import collate, pack
from training.plan import Step
from training.setup import Setup, describe, prepare


@dataclass
class Options:
    # the student and what it reads
    scale: Annotated[str, OneOf(SCALES)] = ""  # a row of config.SCALES
    format: Format = ""  # ift, reasoning, sequential (ift, then reasoning) or mixed
    ratio: Share = 0.25  # rho: share of the samples that answer with reasoning (sequential, mixed)
    data: str = "Scale-or-Reason/general-reasoning-ift-pairs"  # pairs: path, Hub id or toy
    init: str = ""  # weights: path, Hub id or scratch (default: the scale's base, config.SCALES)
    tokenizer: str = ""  # of the student: path or Hub id (default: that of --init)
    system: str = ""  # system prompt of every sample (default: none)
    toggle: Literal["qwen3"] | None = None  # train a teacher: empty think block before ift
    skip_bad: bool = False  # leave bad rows out instead of stopping
    out: str = ""  # run folder (default: runs/SCALE-FORMAT[-RATIO]-sSEED)
    seed: NonNegative = 0  # seed of the order, of who reasons, and of weights from scratch
    # how much
    samples: Positive | None = None  # the first N of the seeded order (default: all)
    epochs: Positive = 1  # times that the samples are seen, each in another order
    flops_budget: Above0 | None = None  # exact train FLOPs to spend on samples (default: no limit)
    match: Literal["flops", "tokens"] | None = (
        None  # samples worth all of ift in FLOPs or answer tokens
    )
    max_len: Positive = 16384  # tokens of the longest sample kept (default: 16384, toy 2048)
    val: NonNegative = 256  # pairs held out, from the end of the seeded order
    val_every: NonNegative = 0  # steps between validations (default: 0, at the end only)
    # the recipe
    batch: Positive = 32  # samples a step (default: 32, toy 16)
    batch_tokens: Positive | None = None  # instead of --batch: samples of at most N tokens
    lr: Above0 | None = None  # peak learning rate (default: by scale and format, config.SCALES)
    warmup: NonNegative | None = None  # steps of linear warm-up (default: min(150, steps // 20))
    decay: NonNegative | None = (
        None  # last steps, to 10 % of the peak (default: min(300, steps // 10))
    )
    loss_mean: Literal["token", "sample"] = "token"  # mean over a step's answer tokens, or samples
    restart: bool = False  # sequential: new schedule and moments for the reasoning part
    beta1: Share = 0.9  # AdamW's decay of the first moment
    beta2: Share = 0.95  # AdamW's decay of the second moment
    weight_decay: AtLeast0 = 0.0  # AdamW's, decoupled: a step shrinks weights by lr times this
    clip: Above0 = 1.0  # largest gradient norm; larger gradients are scaled down to it
    # the machine: except for dtype, nothing changes what is learned (setup.MACHINE_OPTIONS)
    device: Literal["cpu", "cuda"] | None = None  # to train on (default: cuda if any)
    dtype: Literal["bf16", "fp32"] | None = None  # matmuls, export (default: bf16 on cuda)
    row_tokens: Positive | None = None  # tokens of a packed row, one forward (default: --max-len)
    checkpointing: Literal["none", "full"] = "none"  # full: recompute (default: full from 1.5b)
    compile: bool = False  # torch.compile every block
    deterministic: bool = False  # bitwise repeatable on a GPU too, slower
    save_minutes: AtLeast0 = 15.0  # minutes between checkpoints
    cache: str = CACHE  # folder of tokenised pairs
    show: NonNegative | None = None  # held-out prompts answered at the end (default: 0, toy 1)
    dry_run: bool = False  # print the plan and stop


def parse(arguments: list[str] | None) -> tuple[Options, dict]:
    """Options, and where each non-default came from: defaults < scale < format < command line."""

    def layers(given):
        by_scale, by_format = {}, {}
        if given.get("scale") in SCALES:
            by_scale["init"] = SCALES[given["scale"]].base
            if SCALES[given["scale"]].config.hidden_size > 1000:  # from 1.5b on
                by_scale["checkpointing"] = "full"  # or a row of 16k tokens would not fit 80 GB
        if given.get("scale", "").startswith("toy"):
            by_scale |= {"data": "toy", "max_len": 2048, "batch": 16, "show": 1}
        if given.get("format") in ("ift", "reasoning"):
            by_format["ratio"] = float(given["format"] == "reasoning")
        return {"scale": by_scale, "format": by_format}

    o, origin = cli.parse(Options, arguments, __doc__, layers)
    rho = f"-{o.ratio:g}" if o.format in ("sequential", "mixed") else ""
    o.out = o.out or f"runs/{o.scale}-{o.format}{rho}-s{o.seed}"
    o.device = o.device or ("cuda" if torch.cuda.is_available() else "cpu")
    o.dtype = o.dtype or ("bf16" if o.device == "cuda" else "fp32")
    o.row_tokens = o.max_len if o.row_tokens is None else o.row_tokens
    o.out = str(Path(o.out).expanduser())
    return o, origin


# ---- rows, forward and backward -------------------------------------------------------------


def rows_of(setup: Setup, step: Step, token_weights: list[float], device):
    """This rank's packed rows of a step: (ids, cu_seqlens, targets, weights) on its device.

    token_weights: what one answer token of each sample weighs in the loss. Every rank derives the
    same plan, and gets equally many rows.
    """
    o, pairs, formats = setup.options, setup.pairs, step.formats
    sizes = zip(step.lengths, step.answer_lengths, strict=True)
    costs = [flops.train(setup.config, [length], [answer]) for length, answer in sizes]
    rows = pack(step.lengths, costs, parallel.world_size(), o.row_tokens)[parallel.rank()]
    for row in rows:
        documents = []
        for i in row:
            sample, answer_format = step.samples[i], formats[i]
            switch = setup.switch if answer_format == "ift" else setup.switch[:0]
            prompt = np.concatenate([setup.system, pairs.prompt(sample), switch])
            documents.append((prompt, pairs.answer(sample, answer_format), token_weights[i]))
        packed = collate(documents, 128 if o.compile else 1)
        tensors = (packed.ids, packed.cu_seqlens, packed.targets, packed.weights)
        yield tuple(torch.from_numpy(x).to(device) for x in tensors)


def backward(setup: Setup, model: Transformer, step: Step, device) -> tuple[torch.Tensor, int]:
    """Adds the gradients of a step. Returns this rank's part of the loss, and tokens computed.

    The loss is the mean over the step's N answer tokens, which every rank knows from the plan: each
    token weighs 1/N, or with --loss-mean sample 1/(samples x its answer's tokens). Gradients are
    summed over rows (by torch) and over ranks (by FSDP2, at every row); only --clip rescales them.
    """
    answers = step.answer_lengths
    if setup.options.loss_mean == "token":
        token_weights = [1 / sum(answers)] * len(answers)
    else:
        token_weights = [1 / (len(answers) * count) for count in answers]
    local_loss, computed = torch.zeros((), device=device), 0
    for ids, cu_seqlens, targets, weights in rows_of(setup, step, token_weights, device):
        loss = model(ids, cu_seqlens, targets, weights)
        loss.backward()
        local_loss += loss.detach()
        computed += len(ids)
    return local_loss, computed


@torch.no_grad()
def validate(setup: Setup, model: Transformer, device) -> dict[str, float]:
    """Loss per answer token on the held-out pairs, in every format the data has."""
    losses, val = {}, setup.plan.val
    for answer_format in setup.pairs.formats if len(val) else []:
        local_loss = 0.0
        for start in range(0, len(val), 32):
            samples = val[start : start + 32]
            is_reasoning = np.full(len(samples), answer_format == "reasoning")
            step = setup.plan.step(samples, is_reasoning)
            for row in rows_of(setup, step, [1.0] * len(samples), device):
                local_loss += model(*row).item()
        tokens = int(setup.pairs.answer_lengths[answer_format][val].sum())
        loss = parallel.all_reduce_sum(local_loss, device=device)[0]
        losses[answer_format] = loss / tokens
    if parallel.is_sharded(model):
        model.reshard()  # a forward without a backward leaves the root gathered
    return losses


@torch.no_grad()
def report_not_finite(setup: Setup, model: Transformer, number: int, device, loss, grad_norm):
    """Prints which samples of a step have a loss that is not finite alone, or else all of them."""
    step, names = setup.plan.steps[number - 1], []
    for i in range(len(step.samples)):
        sample = setup.plan.step(step.samples[i : i + 1], step.is_reasoning[i : i + 1])
        local_loss = sum(model(*row).item() for row in rows_of(setup, sample, [1.0], device))
        if not math.isfinite(parallel.all_reduce_sum(local_loss, device=device)[0]):
            names.append(setup.pairs.name(step.samples[i]))
    names = names or [setup.pairs.name(i) for i in step.samples]
    kept = sorted(path.name for path in Path(setup.options.out).glob("checkpoints/step-*"))
    if parallel.rank() == 0:
        print(
            f"error: step {number}: loss {loss}, gradient norm {grad_norm}, from the samples"
            f" {', '.join(names)}. Kept: {', '.join(kept) or 'no checkpoint yet'}."
            " Look at these samples, or lower --lr.",
            file=sys.stderr,
        )


# ---- the run --------------------------------------------------------------------------------


@cli.run
def main(arguments: list[str] | None = None) -> int:
    setup = prepare(*parse(arguments))
    folder, is_first = Path(setup.options.out), parallel.rank() == 0
    if setup.options.dry_run or (folder / "summary.json").is_file():
        text = f"{folder} is finished: see {folder}/summary.json. Another --out trains again."
        if is_first:
            print(describe(setup) if setup.options.dry_run else text)
        return 0
    if setup.options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        with files.exclusive(folder) if is_first else contextlib.nullcontext():
            return train(setup)
    finally:
        parallel.stop()


def parallelize(model: Transformer, o: Options):
    """Activation checkpointing and torch.compile of every block, then FSDP2 around it.

    A block that is recomputed runs its compiled forward again.
    """
    if o.compile:
        torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it continues in eager mode
    for block in model.model.layers:
        block.recompute = o.checkpointing == "full"
        if o.compile:
            block.compute = torch.compile(block.compute, dynamic=True)
    if needs_sharding(o):
        parallel.shard(model, o.dtype)


def needs_sharding(o: Options) -> bool:
    return parallel.world_size() > 1 or o.dtype == "bf16"


def train(setup: Setup) -> int:
    o, plan, folder = setup.options, setup.plan, Path(setup.options.out)
    is_first = parallel.rank() == 0
    log = print if is_first else lambda *_: None
    log(describe(setup))

    # ---- student and optimiser
    device = parallel.start(o.device) if needs_sharding(o) else torch.device(o.device)
    with torch.device("meta"):
        model = Transformer(setup.config)
    parallelize(model, o)
    model.to_empty(device=device)  # of a sharded model this rank's rows alone
    if o.init == "scratch":
        initialise(model, o.seed)
    else:
        load_weights(model, o.init)
    parameters = dict(model.named_parameters())
    assert all(p.dtype == torch.float32 for p in parameters.values())  # bf16 rounds lr 1e-5 away
    optimizer = torch.optim.AdamW(
        parameters.values(), betas=(o.beta1, o.beta2), weight_decay=o.weight_decay, fused=True
    )

    # ---- the run folder: new, or resumed from its last whole checkpoint
    if is_first:
        write_record(setup, folder)
    done = checkpoint.load(folder / "checkpoints", parameters, optimizer)
    if done:
        log(f"resuming after step {done} of {len(plan.steps)}")
    totals = plan.totals(plan.steps[:done])

    # ---- steps
    saved_at, is_quiet = time.monotonic(), not is_first or not sys.stderr.isatty()
    bar = tqdm(total=len(plan.steps), initial=done, disable=is_quiet, leave=False)
    with checkpoint.signals() as signals, checkpoint.metrics_file(folder, done) as metrics:
        for number, step in enumerate(plan.steps[done:], done + 1):
            started = time.monotonic()
            if step.reset_optimizer:
                optimizer.state.clear()
            local_loss, computed = backward(setup, model, step, device)
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), o.clip)
            grad_norm = parallel.gather(norm).item()
            is_due = is_first and started - saved_at >= 60 * o.save_minutes  # rank 0's clock
            agreed = parallel.agree(
                sums={"loss": local_loss.item(), "computed": computed},
                maxima={"save": is_due, "signal": max(signals, default=0)},
                device=device,
            )
            if not (math.isfinite(agreed["loss"]) and math.isfinite(grad_norm)):
                report_not_finite(setup, model, number, device, agreed["loss"], grad_norm)
                return 1
            for group in optimizer.param_groups:
                group["lr"] = step.lr
            optimizer.step()
            optimizer.zero_grad()

            line = {"step": number, "loss": agreed["loss"], "lr": step.lr, "grad_norm": grad_norm}
            line |= with_totals(plan.ledger(step), totals)
            seconds = time.monotonic() - started
            if o.val_every and number % o.val_every == 0:
                line["val_loss"] = validate(setup, model, device)
            line |= machine_metrics(line, agreed["computed"], seconds, device)
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if is_first:
                bar.update()
                tqdm.write(log_line(line, len(plan.steps)))
            if agreed["save"] or agreed["signal"] or number == len(plan.steps):
                if is_first:
                    os.fsync(metrics.fileno())
                checkpoint.save(folder / "checkpoints", parameters, optimizer, number)
                saved_at = time.monotonic()
            if agreed["signal"]:
                name = Signals(int(agreed["signal"])).name
                log(f"{name}: saved after step {number}; the same command resumes")
                return 128 + int(agreed["signal"])
    bar.close()
    finish(setup, model, totals, device)
    return 0


# ---- what a run leaves ----------------------------------------------------------------------


def write_record(setup: Setup, folder: Path):
    """config.json of a new run, and dropped.txt: the pairs that are longer than --max-len."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").is_file():
        files.write_atomic(folder / "config.json", json.dumps(setup.record, indent=2))
    if len(setup.plan.dropped):
        name, lengths = setup.pairs.name, setup.pairs.longest()
        lines = [f"{name(i)}: {lengths[i]} tokens\n" for i in setup.plan.dropped]
        files.write_atomic(folder / "dropped.txt", "".join(lines))


def with_totals(ledger: dict, totals: dict) -> dict:
    """The ledger of a step, and the sums over all steps so far, to which it is added."""
    for key in totals:
        totals[key] += ledger[key]
    return ledger | {f"total_{key}": value for key, value in totals.items()}


def machine_metrics(line: dict, computed: float, seconds: float, device) -> dict:
    """The fields of a line that differ between machines: checkpoint.MACHINE_METRICS."""
    peak = flops.peak(torch.cuda.get_device_name()) if device.type == "cuda" else None
    return {
        "padding": 1 - line["tokens"] / computed,
        "seconds": seconds,
        "tokens_per_second": line["tokens"] / seconds,
        "peak_memory": peak_memory(device),
        "mfu": peak and line["flops_exact"] / seconds / peak / parallel.world_size(),
    }


def peak_memory(device: torch.device) -> int:
    """Bytes at most in use so far: by torch on a GPU, by the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def log_line(line: dict, steps: int) -> str:
    """One step in 80 columns."""
    mfu = f"  mfu {line['mfu']:.1%}" if line["mfu"] else ""
    return (
        f"step {line['step']:>{len(str(steps))}}/{steps}  loss {line['loss']:.4f}"
        f"  lr {line['lr']:.2e}  norm {line['grad_norm']:.2f}"
        f"  {line['tokens_per_second']:,.0f} tok/s{mfu}"
    )


def finish(setup: Setup, model: Transformer, totals: dict, device):
    """Writes model/ and summary.json, the last of all. Every rank must call it."""
    o, plan, folder = setup.options, setup.plan, Path(setup.options.out)
    facts = {
        "base": o.init,
        "data": f"{o.data}, {len(plan.train):,} pairs, {o.epochs} epoch(s)",
        "format": f"{o.format}, reasoning share {o.ratio:g}",
        "seed": o.seed,
        "system prompt": o.system or "none",
    }
    dtype = torch.bfloat16 if o.dtype == "bf16" else torch.float32
    chat_template = template(o.system, is_teacher=bool(o.toggle))
    checkpoint.export(
        folder / "model", model, dtype, setup.chat, chat_template, setup.settings, facts
    )
    summary = {
        "scale": o.scale,
        "format": o.format,
        "ratio": o.ratio,
        "seed": o.seed,
        "data": o.data,
        "content": setup.pairs.content,  # a hash: only runs on the same pairs are compared
        "paired": setup.pairs.paired,
        "variant": setup.variant,
        "parameters": flops.parameters(setup.config),
        "pairs": len(plan.train),
        "dropped_pairs": len(plan.dropped),
        "bad_rows": len(setup.pairs.problems),
        "steps": len(plan.steps),
        **{key: totals[key] for key in ("samples", "tokens", "answer_tokens")},
        "train_flops": {"paper": totals["flops_paper"], "exact": totals["flops_exact"]},
        "val_loss": validate(setup, model, device),
    }
    if parallel.rank() > 0:
        return
    for sample in plan.val[: o.show or 0]:
        show(setup, load(folder / "model"), sample)
    files.write_atomic(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    losses = ", ".join(f"{name} {value:.4f}" for name, value in summary["val_loss"].items())
    print(f"held-out loss per answer token: {losses or 'nothing held out'}")
    print(f"wrote {folder}/model and {folder}/summary.json")


def show(setup: Setup, model: Transformer, sample: int):
    """Prints the student's greedy answer to a held-out prompt."""
    chat, prompt = setup.chat, [*setup.system.tolist(), *setup.pairs.prompt(sample).tolist()]
    room = min(512, setup.config.max_position_embeddings - len(prompt))
    answer = greedy(model, [prompt], room, chat.stop_ids, chat.ids_in_use)[0]
    print(f"\na held-out prompt ({setup.pairs.name(sample)}):\n{chat.decode(prompt)}")
    print(f"the student's answer:\n{chat.decode(answer)}\n")


if __name__ == "__main__":
    parallel.leave(main())
