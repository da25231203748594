"""The ranks of a run: torchrun's processes, or this one alone.

FSDP2 shards every parameter by its first dimension: with n rows on W ranks, rank r holds the rows
from r * ceil(n / W). A single process in fp32 is not sharded; every function here takes both.
"""

import os
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from common.cli import local_rank, rank, world_size

# ---- the process group ----------------------------------------------------------------------


def start(device: str) -> torch.device:
    """Joins the process group, NCCL on GPUs and gloo on CPUs; returns this rank's device."""
    if device == "cuda":
        torch.cuda.set_device(local_rank())
    backend = "nccl" if device == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:  # started without torchrun
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return torch.device(device, local_rank() if device == "cuda" else None)


def stop():
    """Leaves the group of a process started without torchrun, which may train another run."""
    if dist.is_initialized() and "RANK" not in os.environ:
        dist.destroy_process_group()


def leave(code: int):
    """Exits with `code`, under torchrun without winding down the interpreter.

    A gloo thread may still hold a tensor. One that is released while Python winds down aborts the
    process, and torchrun then ends the other ranks (LOG.md has how often).
    """
    if "RANK" not in os.environ:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# ---- collectives: every rank must call them -------------------------------------------------


def all_reduce_sum(*values: float, device="cpu") -> list[float]:
    """Each value summed over the ranks, in fp64; the same on every rank."""
    return _all_reduce(values, dist.ReduceOp.SUM, device)


def agree(sums: dict, maxima: dict, device="cpu") -> dict[str, float]:
    """{name: value}, the same on every rank: `sums` summed over the ranks, of `maxima` the largest.

    Values are numbers or bools. Two collectives.
    """
    totals = _all_reduce(list(sums.values()), dist.ReduceOp.SUM, device)
    largest = _all_reduce(list(maxima.values()), dist.ReduceOp.MAX, device)
    return dict(zip([*sums, *maxima], [*totals, *largest], strict=True))


def _all_reduce(values, operation, device) -> list[float]:
    if not dist.is_initialized():
        return list(values)
    reduced = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(reduced, operation)
    return reduced.tolist()


def on_all_ranks(work: Callable, device="cpu"):
    """work() on every rank; where it fails on one, raises OSError on all of them."""
    result, error = None, None
    try:
        result = work()
    except OSError as raised:
        error = raised
    failed = all_reduce_sum(float(error is not None), device=device)[0]
    if failed:
        raise error or OSError(f"another rank failed ({failed:.0f} in all)")
    return result


# ---- sharded parameters ---------------------------------------------------------------------


def shard(model, dtype: str):
    """Shards each block and then the rest. Masters and reductions fp32, matmuls in `dtype`.

    Gradients are summed over ranks: the loss is already divided by what all ranks hold. Inputs are
    not cast, or the RoPE tables would become bf16.
    """
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if dtype == "bf16":
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for module in (*model.model.layers, model):
        fully_shard(module, mp_policy=policy)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no pre-multiplied sum


def is_sharded(model) -> bool:
    return isinstance(model, FSDPModule)


def shard_bounds(parameter) -> tuple[int, int]:
    """The rows [start, stop) of a parameter that this rank holds."""
    rows = parameter.shape[0]
    if not isinstance(parameter, DTensor):
        return 0, rows
    return bounds_of_rank(rows, rank(), world_size())


def bounds_of_rank(rows: int, rank: int, ranks: int) -> tuple[int, int]:
    size = -(-rows // ranks)
    return min(rank * size, rows), min((rank + 1) * size, rows)


def local_shard(parameter) -> torch.Tensor:
    """This rank's rows of a parameter, moment or gradient, as a view."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def gather(tensor) -> torch.Tensor:
    """All rows on every rank. Every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
