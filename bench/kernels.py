"""Times the kernels on a GPU against torch and peers; without a GPU, runs bench/static.py.

    python bench/kernels.py                              # the five students, 2k, 8k, 32k tokens
    python bench/kernels.py --scales 3b --tokens 8192 --document 2048
    python bench/kernels.py --tune                       # a new row of kernels/launch.py ATTENTION
    make bench                                           # with liger-kernel and cut-cross-entropy

Prints a row for every kernel, student, length and implementation: milliseconds of the forward and
of forward and backward, TFLOP/s or GB/s, fraction of the roofline, peak memory; the last line is
JSON. Nothing of it is measured yet.
"""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import flops
import kernels
from bench.traffic import one_pass
from common import cli
from config import SCALES
from kernels import launch, reference


@dataclass
class Options:
    scales: Annotated[str, cli.OneOf(SCALES, True)] = "0.5b,1.5b,3b,7b,14b"  # rows of config.SCALES
    tokens: str = "2048,8192,32768"  # of a row
    document: cli.NonNegative = 0  # tokens of each document of the row (0: the row is one)
    tune: bool = False  # try tiles for attention and print the fastest


# (tokens of a query tile, of a key tile, warps, stages) that --tune tries
TILES = list(itertools.product((32, 64, 128), (32, 64, 128), (4, 8), (2, 3, 4)))


# ---- what is timed --------------------------------------------------------------------------


@dataclass
class Case:
    """One kernel at one shape: implementations of one function of `inputs`, by name."""

    name: str
    inputs: list
    implementations: dict
    flops: int  # of the forward; the backward has twice as many
    moved: tuple[int, int]  # least bytes of the forward, and of forward and backward


def forced(choice: str, function):
    """`function` with the kernels' switch set to `choice` while it runs."""

    def call(*inputs):
        before, launch.FORCED = launch.FORCED, choice
        try:
            return function(*inputs)
        finally:
            launch.FORCED = before

    return call


class Shapes:
    """Random inputs of `config`'s shapes for a row of `tokens` tokens of documents."""

    def __init__(self, config, tokens: int, document: int, device: str, dtype):
        self.config, self.tokens, self.device, self.dtype = config, tokens, device, dtype
        document = document or tokens
        rest = tokens % document
        self.lengths = [document] * (tokens // document) + [rest] * (rest > 0)
        bounds = [0, *itertools.accumulate(self.lengths)]
        self.bounds = torch.tensor(bounds, dtype=torch.int32, device=device)

    def random(self, *shape):
        return torch.randn(shape, device=self.device, dtype=self.dtype).requires_grad_()


def cases(config, tokens: int, document: int, device: str, dtype=torch.bfloat16):
    """The five operators of a training step of `config` on a row of `tokens` tokens."""
    shapes = Shapes(config, tokens, document, device, dtype)
    yield attention_case(shapes)
    yield loss_case(shapes)
    yield from elementwise_cases(shapes)


def attention_case(s: Shapes) -> Case:
    H, K, D = s.config.num_attention_heads, s.config.num_key_value_heads, s.config.head_dim
    documents, longest = kernels.Documents(s.bounds, s.tokens), s.lengths[0]

    def attention(q, k, v):
        return kernels.attention(q, k, v, documents)

    choices = {"ours": "triton", "torch": "reference", "varlen_attn": "varlen"}
    implementations = {name: forced(choice, attention) for name, choice in choices.items()}
    if find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func as flash

        bounds = (s.bounds, s.bounds, longest, longest)
        implementations["flash-attn"] = lambda *qkv: flash(*qkv, *bounds, causal=True)
    inputs = [s.random(s.tokens, heads, D) for heads in (H, K, K)]
    pairs = sum(length * (length + 1) // 2 for length in s.lengths)
    values = s.tokens * D * 2 * (H + K)
    return Case("attention", inputs, implementations, 4 * H * D * pairs, (2 * values, 6 * values))


def loss_case(s: Shapes) -> Case:
    d, V = s.config.hidden_size, s.config.vocab_size
    targets = torch.randint(0, V, (s.tokens,), device=s.device)
    cross_entropy = torch.nn.functional.cross_entropy

    def fused(hidden, head):
        return kernels.linear_cross_entropy(hidden, head, targets)

    implementations = {
        "ours": forced("triton", fused),
        "torch": forced("reference", fused),
        "unfused": lambda h, w: cross_entropy((h @ w.T).float(), targets, reduction="sum"),
    }
    if find_spec("liger_kernel"):
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        options = (targets, None, None, -100, 0.0, 0.0, "sum")
        function = LigerFusedLinearCrossEntropyFunction.apply
        implementations["liger"] = lambda h, w: function(h, w, *options)[0]
    if find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy

        exact = partial(linear_cross_entropy, reduction="sum", filter_eps=None)
        implementations["cut-cross-entropy"] = lambda h, w: exact(h, w, targets)
    least = 2 * (s.tokens + V) * d
    inputs, count = [s.random(s.tokens, d), s.random(V, d)], 2 * s.tokens * d * V
    return Case("linear_cross_entropy", inputs, implementations, count, (least, 2 * least))


def elementwise_cases(s: Shapes):
    """RMSNorm, RoPE and SwiGLU, which are bound by memory."""
    T, c, random = s.tokens, s.config, s.random
    table = torch.randn(T, 1, c.head_dim // 2, device=s.device).repeat(1, 1, 2)  # equal halves
    heads = (c.num_attention_heads, c.num_key_value_heads)
    for name, inputs in {
        "rms_norm": [random(T, c.hidden_size), random(c.hidden_size), c.rms_norm_eps],
        "rope": [*(random(T, n, c.head_dim) for n in heads), table, table],
        "swiglu": [random(T, c.intermediate_size), random(T, c.intermediate_size)],
    }.items():
        function, plain = getattr(kernels, name), getattr(reference, name)
        implementations = {"ours": forced("triton", function), "torch": plain}
        implementations["compiled"] = torch.compile(plain)
        if find_spec("liger_kernel"):
            implementations["liger"] = liger(name)
        moved = [one_pass(kernel, c, T, 2)[1] for kernel in (name, f"{name} backward")]
        yield Case(name, inputs, implementations, 0, (moved[0], sum(moved)))


def liger(name: str):
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.rope import LigerRopeFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return {
        "rms_norm": LigerRMSNormFunction.apply,
        "rope": lambda q, k, cos, sin: LigerRopeFunction.apply(
            *(x.transpose(0, 1)[None] for x in (q, k)), *(x[None, :, 0] for x in (cos, sin))
        ),
        "swiglu": LigerSiLUMulFunction.apply,
    }[name]


def backward(function, inputs):
    """Forward and backward from gradients of ones."""
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
    for x in inputs:
        if isinstance(x, torch.Tensor):
            x.grad = None


# ---- timing ---------------------------------------------------------------------------------


def milliseconds(call) -> float:
    from triton.testing import do_bench

    return do_bench(call, warmup=50, rep=200, return_mode="median")


def measure(case: Case, time=milliseconds) -> list[dict]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    gpu = next((row for name, row in flops.GPUS.items() if name in device), None)
    rows = []
    for implementation, function in case.implementations.items():
        row = {"kernel": case.name, "implementation": implementation}
        both = partial(backward, function, case.inputs)
        try:
            if device:
                torch.cuda.reset_peak_memory_stats()
            both()  # compiles, and fails where it cannot run
            if device:
                row["peak_memory"] = torch.cuda.max_memory_allocated()
            row["forward_ms"] = time(partial(function, *case.inputs))
            row["both_ms"] = time(both)
        except (RuntimeError, ValueError) as error:  # a peer's, or out of memory
            rows.append(row | {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"})
            continue
        seconds = row["both_ms"] / 1e3
        if case.flops:
            row["tflops"] = 3 * case.flops / seconds / 1e12
        else:
            row["gbytes"] = case.moved[1] / seconds / 1e9
        if gpu:
            peak, _, bandwidth = gpu
            row["of_roofline"] = max(3 * case.flops / peak, case.moved[1] / bandwidth) / seconds
        rows.append(row)
    return rows


def tune(device: str, tokens: int = 8192, tiles=TILES, time=milliseconds) -> dict:
    """{kernel: {head width: fastest tiles}}, the other two kernels as they are in the table."""
    arch = launch.architecture(torch.device(device))
    fastest = {}
    for kernel, scale in itertools.product(launch.ATTENTION[arch], ("0.5b", "3b")):
        config, times = SCALES[scale].config, {}
        case = next(iter(cases(config, tokens, 0, device)))
        table, width = launch.ATTENTION[arch][kernel], config.head_dim
        before = table[width]
        for tile in tiles:
            if kernel != "backward_kv" and tile[1] > tile[0]:
                continue  # keys before a query tile must be whole key tiles
            table[width] = tile
            try:
                times[tile] = time(partial(backward, case.implementations["ours"], case.inputs))
            except RuntimeError:  # OutOfResources: these tiles do not fit
                continue
        table[width] = before
        fastest.setdefault(kernel, {})[width] = min(times, key=times.get)
    return {arch: fastest}


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    problems = cli.Problems(cli.check(o))
    is_wrong = not all(n.isdigit() and int(n) for n in o.tokens.split(","))
    problems.add(is_wrong, f"--tokens {o.tokens}: numbers above 0, like 2048,8192")
    problems.raise_any()
    if not torch.cuda.is_available():
        print("no GPU here, so nothing is timed; the static report instead:\n", flush=True)
        peers = find_spec("liger_kernel") and find_spec("cut_cross_entropy")
        script = Path(__file__).with_name("static.py")
        command = [sys.executable, script, "--scales", o.scales, *["--peers"] * bool(peers)]
        return subprocess.run(command).returncode
    if o.tune:
        print(fastest := tune("cuda"))
        [(arch, kernels_of)] = fastest.items()
        print(json.dumps({arch: {k: list(v.values()) for k, v in kernels_of.items()}}))
        return 0
    rows = []
    for scale, tokens in itertools.product(o.scales.split(","), map(int, o.tokens.split(","))):
        for case in cases(SCALES[scale].config, tokens, o.document, "cuda"):
            for row in measure(case):
                rows.append({"scale": scale, "tokens": tokens, **row})
                figures = (f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, int | float))
                name = f"{scale:5} {tokens:6} {row['kernel']:21} {row['implementation']:18}"
                print(name, row.get("error") or " ".join(figures), flush=True)
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
