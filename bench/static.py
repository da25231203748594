"""What the compiler makes of every kernel at the shapes of the five students; needs no GPU.

    python bench/static.py                                # the gate: every student, three GPUs
    python bench/static.py --scales 3b --archs sm_90      # a part of it
    python bench/static.py --peers --markdown             # with liger-kernel and cut-cross-entropy

Each operator runs on a few tokens with Triton's launcher replaced by a recorder, so that what is
judged is what would be launched; recorded launches are compiled ahead of time and disassembled.
Prints a table, the broken thresholds, and one line of JSON; exits with 1 where a kernel of ours
breaks one. Static figures do not rank kernels by speed, which is not measured yet: they catch
spilled registers, missing tensor cores, serialised wgmma, missing asynchronous copies, and tiles
that do not fit. --peers needs both packages on PYTHONPATH, as in `make bench`.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated
from unittest import mock

os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend, get_ptxas
from triton.compiler import ASTSource
from triton.runtime.errors import OutOfResources, PTXASError
from triton.runtime.jit import JITFunction, create_function_from_signature

import kernels
from bench.traffic import traffic
from common import cli
from config import SCALES
from kernels import launch, triton_cross_entropy

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
# Of a multiprocessor: registers, bytes of shared memory, warps; bytes that one block may use.
MULTIPROCESSOR = {
    "sm_80": (65536, 167_936, 64, 166_912),
    "sm_90": (65536, 233_472, 64, 232_448),
    "sm_100": (65536, 233_472, 64, 232_448),
}
MMA = {"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": r"UTC\w*MMA"}  # tensor-core instructions
MATMULS = ("attention forward", "attention dQ", "attention dK dV")  # kernels that must use them


@dataclass
class Options:
    scales: Annotated[str, cli.OneOf(SCALES, True)] = "0.5b,1.5b,3b,7b,14b"  # config.SCALES
    archs: Annotated[str, cli.OneOf(MMA, True)] = "sm_80,sm_90,sm_100"  # A100, H100, B200
    peers: bool = False  # compile liger-kernel and cut-cross-entropy as well
    markdown: bool = False  # print the table as docs/kernels.md has it


# ---- the gate: (figure, at most or at least, limit, of which kernels) ----------------------

LIMITS = [
    ("spill", "at most", 0, None),
    ("shared", "at most", {arch: row[3] for arch, row in MULTIPROCESSOR.items()}, None),
    ("serialised", "at most", 0, None),
    ("atomics", "at most", 0, None),
    ("narrow", "at most", 1, None),  # the target's logit
    ("mma", "at least", 1, MATMULS),
    ("async", "at least", 1, MATMULS),
    ("occupancy", "at least", 0.125, None),
    ("traffic", "at most", 1.5, ("cross-entropy",)),  # its rows are read twice
]


def violations(name: str, arch: str, report: dict) -> list[str]:
    """The thresholds that a kernel's report breaks, a line for each."""
    if "error" in report:
        return [f"{name}, {arch}: {report['error']}"]
    lines = []
    for figure, side, limit, names in LIMITS:
        if names and name not in names:
            continue
        limit = limit[arch] if isinstance(limit, dict) else limit
        value = report[figure]
        if value > limit if side == "at most" else value < limit:
            lines.append(f"{name}, {arch}: {figure} {value}, {side} {limit}")
    return lines


# ---- what would be launched -----------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    kernel: JITFunction
    signature: tuple  # (argument, type) in order; "constexpr" for what is compiled in
    constants: tuple  # (path of an argument, value)
    divisible: tuple  # paths of arguments that are multiples of 16
    options: tuple  # warps and stages


def describe(kernel, arguments, keywords) -> Launch:
    """What Triton's launcher would compile in for these arguments, by its own rule."""
    backend = CUDABackend(GPUTarget("cuda", 90, 32))
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound = bind(*arguments, **keywords)
    _, signature, constants, attributes = kernel._pack_args(backend, keywords, *bound)
    divisible = tuple(path for path, attribute in attributes.items() if attribute)
    options = tuple((k, v) for k, v in keywords.items() if k in ("num_warps", "num_stages"))
    return Launch(kernel, (*signature.items(),), (*constants.items(),), divisible, options)


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.bfloat16).requires_grad_()


def launches(calls: dict) -> dict[str, Launch]:
    """What the forward of each call launches, by its name, and what its backward does, if any.

    Triton's launcher is replaced: nothing runs.
    """
    by_name = {}
    for name, call in calls.items():
        recorded = []

        def record(kernel, *arguments, grid, warmup, to=recorded, **keywords):
            to.append(describe(kernel, arguments, keywords))

        with mock.patch.object(JITFunction, "run", record):
            outputs = call()
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            sums = [y.sum() for y in outputs if getattr(y, "requires_grad", False)]
            if sums:
                sum(sums).backward()
        names = MATMULS if name == "attention" else (name, f"{name} backward")
        by_name |= dict(zip(names[: None if sums else 1], recorded, strict=True))
    return by_name


def ours(config, arch: str, tokens: int = 32) -> dict[str, Launch]:
    """Every kernel of a training step of `config`, by name; the same for any number of tokens."""
    D = config.head_dim
    q = zeros(tokens, config.num_attention_heads, D)
    k, v = (zeros(tokens, config.num_key_value_heads, D) for _ in "kv")
    x, weight = zeros(tokens, config.hidden_size), zeros(config.hidden_size)
    gate = zeros(tokens, config.intermediate_size)
    documents = kernels.Documents(torch.tensor([0, tokens], dtype=torch.int32))
    table, one = torch.zeros(tokens, 1, D), torch.ones(1)
    logits = zeros(1, config.vocab_size).detach()
    launch.FORCED, launch.architecture = "triton", lambda device: arch
    calls = {
        "attention": lambda: kernels.attention(q, k, v, documents),
        "cross-entropy": lambda: triton_cross_entropy.softmax_step(logits, one.long(), one, 1),
        "rms_norm": lambda: kernels.rms_norm(x, weight, 1e-6),
        "add + rms_norm": lambda: kernels.add_rms_norm(x, x, weight, 1e-6),
        "rope": lambda: kernels.rope(q, k, table, table),
        "swiglu": lambda: kernels.swiglu(gate, gate),
    }
    return launches(calls)


def theirs(config, arch: str) -> dict[str, Launch]:
    """The same of liger-kernel, and the tile-recomputing cross-entropy of cut-cross-entropy."""
    from cut_cross_entropy.cce_backward import cce_backward_kernel
    from cut_cross_entropy.cce_lse_forward import cce_lse_forward_kernel
    from liger_kernel.ops.cross_entropy import cross_entropy_forward
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.rope import LigerRopeFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    tokens, d, D = 32, config.hidden_size, config.head_dim
    H, K = config.num_attention_heads, config.num_key_value_heads
    x, y, weight = zeros(tokens, d), zeros(tokens, d), zeros(d)
    gate, up = (zeros(1, tokens, config.intermediate_size) for _ in "gu")
    q, k = zeros(1, H, tokens, D), zeros(1, K, tokens, D)
    table, target = torch.zeros(1, tokens, D), torch.zeros(tokens, dtype=torch.long)
    head = zeros(config.vocab_size, d).detach()  # memory that nothing touches
    lse, logits = torch.zeros(tokens), zeros(1, config.vocab_size).detach()
    loss = (logits, target[:1], None, -100, 0.0, 0.0, "sum", None, False)
    upstream = (torch.ones(()), x.detach(), head, lse, None, None, None, target)
    calls = {
        "cross-entropy": lambda: cross_entropy_forward(*loss),
        "tile-recompute forward": lambda: cce_lse_forward_kernel(x.detach(), head),
        "tile-recompute backward": lambda: cce_backward_kernel(*upstream),
        "rms_norm": lambda: LigerRMSNormFunction.apply(x, weight, 1e-6),
        "add + rms_norm": lambda: LigerFusedAddRMSNormFunction.apply(x, y, weight, 1e-6),
        "rope": lambda: LigerRopeFunction.apply(q, k, table, table),
        "swiglu": lambda: LigerSiLUMulFunction.apply(gate, up),
    }
    return launches(calls)


# ---- what the compiler makes of it ----------------------------------------------------------


@cache
def judge(it: Launch, arch: str) -> dict:
    """Registers, spills, shared memory, instructions and occupancy of one launch on `arch`.

    narrow: instructions that load or store 16 bits a thread, where up to 128 fit into one.
    """
    attributes = {path: [["tt.divisibility", 16]] for path in it.divisible}
    source = ASTSource(it.kernel, dict(it.signature), dict(it.constants), attributes)
    target = GPUTarget("cuda", int(arch[3:]), 32)
    try:
        compiled = triton.compile(source, target=target, options=dict(it.options))
    except (OutOfResources, PTXASError) as error:
        return {"error": str(error).splitlines()[0]}
    with tempfile.TemporaryDirectory() as folder:
        cubin, ptx = Path(folder) / "kernel.cubin", Path(folder) / "kernel.ptx"
        cubin.write_bytes(compiled.asm["cubin"])
        ptx.write_text(compiled.asm["ptx"])
        sass = output_of(TOOLS / "nvdisasm", "-c", cubin)
        usage = output_of(TOOLS / "cuobjdump", "--dump-resource-usage", cubin)
        gpu = re.search(r"\.target\s+(\w+)", compiled.asm["ptx"])[1]
        ptxas = get_ptxas(int(arch[3:])).path
        notes = output_of(ptxas, "-v", f"--gpu-name={gpu}", ptx, "-o", os.devnull)
    count = Counter(re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(\w+)", sass, re.M))
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", notes)
    registers, shared = int(re.search(r"REG:(\d+)", usage)[1]), compiled.metadata.shared
    return {
        "registers": registers,
        "spill": int(spills[1]) + int(spills[2]),
        "shared": shared,
        "mma": sum(n for name, n in count.items() if re.match(MMA[arch], name)),
        "async": sum(count[name] for name in ("LDGSTS", "UTMALDG", "UBLKCP")),
        "atomics": sum(count[name] for name in ("ATOM", "ATOMG", "RED", "REDG")),
        "narrow": len(re.findall(r"\b(?:LDG|STG)\.[\w.]*U16\b", sass)),
        "serialised": int("wgmma" in notes and "serializ" in notes),
        "occupancy": occupancy(arch, registers, shared, compiled.metadata.num_warps),
    }


def output_of(*command) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def occupancy(arch: str, registers: int, shared: int, warps: int) -> float:
    """Warps resident on a multiprocessor over the most it can hold, by registers (given out by
    256 a warp) and shared memory (1 KiB a block is the system's)."""
    file, memory, most, largest = MULTIPROCESSOR[arch]
    if shared > largest:
        return 0.0
    by_registers = file // (-(-registers * 32 // 256) * 256) // warps
    return min(by_registers, memory // (shared + 1024), most // warps, 32) * warps / most


# ---- the table ------------------------------------------------------------------------------

COLUMNS = "registers spill shared mma async atomics serialised occupancy traffic".split()


def table(rows: list[tuple], markdown: bool) -> str:
    """rows: (kernel, whose, student, report), GPU after GPU. A figure is given for every GPU, in
    order, where they differ; students with the same figures share a line."""
    reports, students = {}, {}
    for *place, report in rows:
        reports.setdefault(tuple(place), []).append(report)
    for (name, whose, student), by_gpu in reports.items():
        figures = []
        for column in COLUMNS:
            values = [report.get(column, report.get("error", "-")) for report in by_gpu]
            texts = [f"{x:.3g}" if isinstance(x, float) else f"{x}" for x in values]
            figures.append("/".join(texts) if len(set(texts)) > 1 else texts[0])
        students.setdefault((name, whose, *figures), []).append(student)
    lines = [["kernel", "whose", "students", *COLUMNS]]
    for (name, whose, *figures), names in students.items():
        lines.append([name, whose, " ".join(names), *figures])
    if not markdown:
        return "\n".join(cli.table(lines))
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    cli.Problems(cli.check(o)).raise_any()
    rows, failures = [], []
    for scale, arch in itertools.product(cli.words(o.scales), cli.words(o.archs)):
        config = SCALES[scale].config
        for name, recorded in ours(config, arch).items():
            report = judge(recorded, arch) | {"traffic": traffic(name, config, arch)}
            rows.append((name, "ours", scale, report))
            failures += [f"{scale} {line}" for line in violations(name, arch, report)]
        for name, recorded in (theirs(config, arch) if o.peers else {}).items():
            rows.append((name, "peer", scale, judge(recorded, arch)))
    rows.sort(key=lambda row: row[:2])
    print(table(rows, o.markdown))
    print("\n".join(failures) or f"{len(rows)} kernels within every threshold")
    print(json.dumps({"kernels": len(rows), "failures": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
