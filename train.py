"""Trains one student on one format: pairs -> checkpoints, metrics, FLOPs ledger, model.

    python train.py --scale toy-m --format reasoning                  # a laptop, half a minute
    torchrun --nproc_per_node=8 train.py --scale 3b --format ift      # data and base from the Hub
    python train.py --scale 0.5b --format mixed --ratio 0.25 --data pairs.jsonl --init ./Qwen-0.5B
    python train.py --scale 0.5b --format ift --data pairs.jsonl --dry-run      # plan and cost only

Writes the run folder --out: config.json (every option and where it came from), metrics.jsonl (one
line a step), checkpoints/ (the last two), model/ (Hugging Face layout) and summary.json. The same
command goes on where a run was stopped; SIGTERM and Ctrl-C save first.
"""

import json
import math
import os
import resource
import signal as signals
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import flops
import model as models
from common import cli, files, hub, parallel
from config import SCALES
from data.chat import template
from data.pairs import CACHE
from engine.cache import greedy
from training import checkpoint
from training.pack import collate, pack
from training.plan import Step
from training.setup import Run, describe, prepare


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
    toggle: str = ""  # qwen3: train a teacher, whose plain answers follow the empty think block
    skip_bad: bool = False  # leave bad rows out instead of stopping
    out: str = ""  # run folder (default: runs/SCALE-FORMAT[-RATIO]-sSEED)
    seed: int = 0  # of the order, of who reasons, and of weights from scratch
    # how much
    samples: int | None = None  # the first N of the seeded order (default: all)
    epochs: int = 1
    flops_budget: float | None = None  # as many samples as this many exact train FLOPs pay for
    match: str = ""  # flops or tokens: as many samples as cost what all would with ift answers
    max_len: int = 16384  # tokens of the longest sample kept; longer pairs leave both arms
    val: int = 256  # pairs held out, from the end of the seeded order
    val_every: int = 0  # steps between validations (0: only at the end)
    # the recipe
    batch: int = 32  # samples a step (toy scales: 16)
    batch_tokens: int | None = None  # instead: as many samples as fit this many tokens
    lr: float | None = None  # peak learning rate (default: by scale and format, config.SCALES)
    warmup: int | None = None  # steps (default: min(150, steps // 20))
    decay: int | None = None  # steps (default: min(300, steps // 10))
    loss_mean: str = "token"  # mean over the step's answer tokens, or over its samples: sample
    restart: bool = False  # sequential: fresh schedule and moments for the reasoning part
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip: float = 1.0  # largest gradient norm
    # the machine: but for dtype, none changes what is learned (prepare.OF_THE_MACHINE)
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


def parse(arguments: list[str] | None) -> tuple[Options, dict]:
    """Options, and where each non-default came from: defaults < scale < format < command line."""

    def layers(given):
        by_scale, by_format = {}, {}
        if given.get("scale") in SCALES:
            by_scale["init"] = SCALES[given["scale"]].base
            if SCALES[given["scale"]].config.hidden_size > 1000:
                by_scale["checkpointing"] = "full"  # a row of 16k tokens would not fit 80 GB
        if given.get("scale", "").startswith("toy"):
            by_scale |= {"data": "toy", "max_len": 2048, "batch": 16, "show": 1}
        if given.get("format") in ("ift", "reasoning"):
            by_format["ratio"] = float(given["format"] == "reasoning")
        return {"scale": by_scale, "format": by_format}

    o, origin = cli.parse(Options, arguments, __doc__, layers)
    share = f"-{o.ratio:g}" if o.format in ("sequential", "mixed") else ""
    o.out = o.out or f"runs/{o.scale}-{o.format}{share}-s{o.seed}"
    o.device = o.device or ("cuda" if torch.cuda.is_available() else "cpu")
    o.dtype = o.dtype or ("bf16" if o.device == "cuda" else "fp32")
    o.row_tokens = o.max_len if o.row_tokens is None else o.row_tokens
    o.out = str(Path(o.out).expanduser())
    return o, origin


# ---- rows, forward and backward -------------------------------------------------------------


def rows_of(run: Run, samples, formats, token_weights, device):
    """This rank's packed rows of some samples: (ids, cu_seqlens, targets, weights) on its device.

    token_weights: what one answer token of each sample weighs in the loss. Every rank finds the
    same plan by itself, and gets equally many rows.
    """
    o, pairs = run.options, run.pairs
    lengths, answers = run.plan.lengths(samples, formats)
    costs = [flops.train(run.config, [n], [a]) for n, a in zip(lengths, answers, strict=True)]
    for row in pack(lengths, costs, parallel.world_size(), o.row_tokens)[parallel.rank()]:
        documents = []
        for i in row:
            switch = run.switch if formats[i] == "ift" else run.switch[:0]
            prompt = np.concatenate([run.system, pairs.prompt(samples[i]), switch])
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
        losses[format] = parallel.total(share, device=device)[0] / tokens
    if parallel.is_sharded(model):
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
        if not math.isfinite(parallel.total(share, device=device)[0]):
            found.append(run.pairs.name(i))
    return ", ".join(found or [run.pairs.name(i) for i in step.samples])


# ---- the run --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options, origin = parse(arguments)
    try:
        run = prepare(options, origin)
        if options.dry_run:
            if parallel.rank() == 0:
                print(describe(run))
            return 0
        if parallel.rank() > 0:
            return train(run)
        with files.exclusive(Path(options.out)):
            return train(run)
    except hub.UserError as error:
        if parallel.local_rank() > 0:
            time.sleep(30)  # torchrun ends this rank, once the first has told its message
            return 2
        return cli.fail(error)
    except KeyboardInterrupt:  # before or after the steps, which catch it themselves
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, say: what was whole before is whole still
        if parallel.local_rank() == 0:
            print(f"error: {error}; the same command goes on from what is saved", file=sys.stderr)
        return 1
    finally:
        parallel.stop()


def train(run: Run) -> int:
    o, plan, folder = run.options, run.plan, Path(run.options.out)
    is_first = parallel.rank() == 0
    say = print if is_first else lambda *_: None
    if (folder / "summary.json").is_file():
        say(f"{folder} is finished: see {folder}/summary.json. Another --out trains anew.")
        return 0
    say(describe(run))

    # ---- student and optimiser, in this order: checkpointing, compile, shard, memory, weights
    is_sharded = parallel.world_size() > 1 or o.dtype == "bf16"
    device = parallel.start(o.device) if is_sharded else torch.device(o.device)
    if o.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    def wrap(model):
        if o.compile:
            torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it goes on, in eager
        for block in model.model.layers:
            block.recompute = o.checkpointing == "full"
            if o.compile:
                block.compute = torch.compile(block.compute, dynamic=True)
        if is_sharded:
            parallel.shard(model, o.dtype)

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
            files.write_atomic(folder / "config.json", json.dumps(run.record, indent=2))
        if len(plan.dropped):
            longest = run.pairs.longest()
            lines = [f"{run.pairs.name(i)}: {longest[i]} tokens\n" for i in plan.dropped]
            files.write_atomic(folder / "dropped.txt", "".join(lines))
    done = checkpoint.load(folder / "checkpoints", parameters, optimizer)
    metrics_file = folder / "metrics.jsonl" if is_first else Path(os.devnull)
    if is_first:
        lines = metrics_file.read_text().splitlines(keepends=True) if metrics_file.exists() else []
        files.write_atomic(metrics_file, "".join(lines[:done]))
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
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), o.clip)
            norm = parallel.whole(norm).item()
            is_due = is_first and started - saved_at >= 60 * o.save_minutes
            signal = max(stopped, default=0)  # what a rank caught stops all of them at this step
            loss, computed, is_due, *caught = parallel.total(
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
                "mfu": peak and book["flops_exact"] / seconds / peak / parallel.world_size(),
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
    made_for = template(o.system, is_teacher=bool(o.toggle))
    checkpoint.export(folder / "model", model, dtype, run.chat, made_for, run.settings, facts)
    summary = {
        "scale": o.scale,
        "format": o.format,
        "ratio": o.ratio,
        "seed": o.seed,
        "data": o.data,
        "content": run.pairs.content,  # a hash: only runs on the same pairs are compared
        "paired": run.pairs.paired,
        "variant": run.variant,
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
    files.write_atomic(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    losses = ", ".join(f"{name} {value:.4f}" for name, value in summary["val_loss"].items())
    print(f"held-out loss per answer token: {losses or 'nothing held out'}")
    print(f"wrote {folder}/model and {folder}/summary.json")
    return 0


def show(run: Run, model, sample: int):
    """Prints the student's greedy answer to a held-out prompt."""
    chat, prompt = run.chat, [*run.system.tolist(), *run.pairs.prompt(sample).tolist()]
    room = min(512, run.config.max_position_embeddings - len(prompt))
    answer = greedy(model, [prompt], room, chat.stop_ids, chat.ids_in_use)[0]
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
    parallel.leave(main())
