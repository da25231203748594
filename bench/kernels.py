"""Times the kernels on a GPU beside torch and what else is installed; without one, says so.

    python bench/kernels.py                              # the five students, 2k, 8k, 32k tokens
    python bench/kernels.py --scales 3b --tokens 8192 --document 2048
    python bench/kernels.py --tune                       # a new row of kernels/launch.py ATTENTION
    make bench                                           # with liger-kernel and cut-cross-entropy

A row a kernel, student, length and implementation: milliseconds of the forward and of forward and
backward, TFLOP/s or GB/s, share of the roofline, peak memory; the last line is JSON. Nothing of it
is measured yet. On a CPU it runs bench/static.py instead.
"""

import itertools
import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import flops
import kernels
from bench.traffic import one_pass
from common import cli, hub
from config import SCALES
from kernels import launch, reference


@dataclass
class Options:
    scales: str = "0.5b,1.5b,3b,7b,14b"  # rows of config.SCALES
    tokens: str = "2048,8192,32768"  # of a row
    document: int = 0  # tokens of each document of the row (0: the row is one)
    tune: bool = False  # try tiles for attention and print the fastest


# Bytes/s of a GPU's memory (vendors' data sheets), by a part of its name; its FLOP/s: flops.PEAK.
BANDWIDTH = {"H100 PCIe": 2.0e12, "H100 NVL": 3.9e12, "H100": 3.35e12, "H200": 4.8e12,
             "B200": 8.0e12, "A100-SXM4-80GB": 2.04e12, "A100": 1.55e12, "L40S": 0.86e12,
             "RTX 4090": 1.01e12}  # fmt: skip
TILES = [(q, k, warps, stages) for q, k, warps, stages in itertools.product(
    (32, 64, 128), (32, 64, 128), (4, 8), (2, 3, 4))]  # fmt: skip


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


def cases(config, tokens: int, document: int, device: str, dtype=torch.bfloat16):
    """The five operators of a training step of `config` on a row of `tokens` tokens."""

    def make(*shape, wants_gradient=True):
        return torch.randn(shape, device=device, dtype=dtype).requires_grad_(wants_gradient)

    H, K, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    d, f, V, size = config.hidden_size, config.intermediate_size, config.vocab_size, 2
    document = document or tokens
    lengths = [document] * (tokens // document) + [tokens % document] * (tokens % document > 0)
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    documents = kernels.Documents(bounds, tokens)

    def ours_and_twin(name):
        function, twin = getattr(kernels, name), getattr(reference, name)
        return {"ours": forced("triton", function), "torch": twin, "compiled": torch.compile(twin)}

    def attention(q, k, v):
        return kernels.attention(q, k, v, documents)

    implementations = {
        "ours": forced("triton", attention),
        "torch": forced("reference", attention),
        "varlen_attn": forced("varlen", attention),
    }
    if find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func

        implementations["flash-attn"] = lambda q, k, v: flash_attn_varlen_func(
            q, k, v, bounds, bounds, document, document, causal=True)  # fmt: skip
    pairs = sum(length * (length + 1) // 2 for length in lengths)
    values = tokens * D * size * (H + K)
    yield Case("attention", [make(tokens, heads, D) for heads in (H, K, K)], implementations,
               4 * H * D * pairs, (2 * values, 6 * values))  # fmt: skip

    hidden, head = make(tokens, d), make(V, d)
    targets = torch.randint(0, V, (tokens,), device=device)
    implementations = {
        "ours": forced("triton", lambda h, w: kernels.linear_cross_entropy(h, w, targets)),
        "torch": forced("reference", lambda h, w: kernels.linear_cross_entropy(h, w, targets)),
        "unfused": lambda h, w: torch.nn.functional.cross_entropy(
            (h @ w.T).float(), targets, reduction="sum"),
    }  # fmt: skip
    if find_spec("liger_kernel"):
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        implementations["liger"] = lambda h, w: LigerFusedLinearCrossEntropyFunction.apply(
            h, w, targets, None, None, -100, 0.0, 0.0, "sum")[0]  # fmt: skip
    if find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy

        implementations["cut-cross-entropy"] = lambda h, w: linear_cross_entropy(
            h, w, targets, reduction="sum", filter_eps=None)  # fmt: skip
    least = size * (tokens + V) * d
    yield Case("linear_cross_entropy", [hidden, head], implementations, 2 * tokens * d * V,
               (least, 2 * least))  # fmt: skip

    def bytes_of(name):
        both = [one_pass(part, config, tokens, size)[1] for part in (name, f"{name} backward")]
        return both[0], sum(both)

    table = torch.randn(tokens, 1, D // 2, device=device).repeat(1, 1, 2)  # its halves are equal
    for name, inputs in {
        "rms_norm": [make(tokens, d), make(d), config.rms_norm_eps],
        "rope": [make(tokens, H, D), make(tokens, K, D), table, table],
        "swiglu": [make(tokens, f), make(tokens, f)],
    }.items():
        case = Case(name, inputs, ours_and_twin(name), 0, bytes_of(name))
        if find_spec("liger_kernel"):
            case.implementations["liger"] = liger(name)
        yield case


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
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = flops.peak(name)
    bandwidth = next((speed for part, speed in BANDWIDTH.items() if part in name), None)
    rows = []
    for implementation, function in case.implementations.items():
        row = {"kernel": case.name, "implementation": implementation}
        try:
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            backward(function, case.inputs)  # compiles, and finds what cannot run
            if torch.cuda.is_available():
                row["peak_memory"] = torch.cuda.max_memory_allocated()
            row["forward_ms"] = time(lambda function=function: function(*case.inputs))
            row["both_ms"] = time(lambda function=function: backward(function, case.inputs))
        except (RuntimeError, ValueError) as error:  # of a peer, or no memory: said, not hidden
            rows.append(row | {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"})
            continue
        seconds = row["both_ms"] / 1e3
        if case.flops:
            row["tflops"] = 3 * case.flops / seconds / 1e12
        else:
            row["gbytes"] = case.moved[1] / seconds / 1e9
        if peak and bandwidth:
            row["of_roofline"] = max(3 * case.flops / peak, case.moved[1] / bandwidth) / seconds
        rows.append(row)
    return rows


def tune(device: str, tokens: int = 8192, tiles=TILES, time=milliseconds) -> dict:
    """{kernel: {head width: fastest tiles}}, the other two kernels as they are in the table."""
    arch = launch.architecture(torch.device(device))
    found = {}
    for kernel, scale in itertools.product(launch.ATTENTION[arch], ("0.5b", "3b")):
        config, best = SCALES[scale].config, {}
        case = next(iter(cases(config, tokens, 0, device)))
        before = launch.ATTENTION[arch][kernel][config.head_dim]
        for tile in tiles:
            if kernel != "backward_kv" and tile[1] > tile[0]:
                continue  # keys before a query tile must be whole key tiles
            launch.ATTENTION[arch][kernel][config.head_dim] = tile
            try:
                best[tile] = time(lambda case=case: backward(case.implementations["ours"],
                                                             case.inputs))  # fmt: skip
            except RuntimeError:  # OutOfResources: these tiles do not fit
                continue
        launch.ATTENTION[arch][kernel][config.head_dim] = before
        found.setdefault(kernel, {})[config.head_dim] = min(best, key=best.get)
    return {arch: found}


def check(o: Options) -> list[str]:
    wrong = [cli.not_one_of("--scales", s, SCALES) for s in o.scales.split(",") if s not in SCALES]
    if not all(n.isdigit() and int(n) for n in o.tokens.split(",")):
        wrong.append(f"--tokens {o.tokens}: numbers above 0, like 2048,8192")
    if o.document < 0:
        wrong.append(f"--document {o.document}: a number of at least 0")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    if wrong := check(o):
        return cli.fail(hub.UserError("\n".join(wrong)))
    if not torch.cuda.is_available():
        print("no GPU here, so nothing is timed; the static report instead:\n", flush=True)
        from bench import static

        peers = find_spec("liger_kernel") and find_spec("cut_cross_entropy")
        return static.main(["--scales", o.scales, *["--peers"] * bool(peers)])
    if o.tune:
        print(found := tune("cuda"))
        print(json.dumps({arch: {k: list(v.values()) for k, v in row.items()}
                          for arch, row in found.items()}))  # fmt: skip
        return 0
    rows = []
    for scale, tokens in itertools.product(o.scales.split(","), map(int, o.tokens.split(","))):
        for case in cases(SCALES[scale].config, tokens, o.document, "cuda"):
            for row in measure(case):
                rows.append({"scale": scale, "tokens": tokens, **row})
                figures = (f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, int | float))
                print(f"{scale:5} {tokens:6} {row['kernel']:21} {row['implementation']:18}",
                      *(row["error"],) if "error" in row else figures, flush=True)  # fmt: skip
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
