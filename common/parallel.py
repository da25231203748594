"""The ranks of a run: torchrun's processes, or this one alone.

FSDP2 shards every parameter by its first dimension: with n rows on W ranks, rank r holds the rows
from r * ceil(n / W). One process in fp32 is not sharded at all; everything below takes both.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from common.cli import local_rank, rank, world_size


def start(device: str) -> torch.device:
    """Joins the process group, NCCL or gloo; returns this rank's device."""
    if device == "cuda":
        torch.cuda.set_device(local_rank())
    backend = "nccl" if device == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:  # started without torchrun
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return torch.device(device, local_rank() if device == "cuda" else None)


def stop():
    """Ends the group of a process started without torchrun, which may yet train another run."""
    if dist.is_initialized() and "RANK" not in os.environ:
        dist.destroy_process_group()


def leave(code: int):
    """Ends this process, under torchrun without winding down the interpreter.

    A thread of gloo's may still hold a tensor; one that lets go of it while Python winds down
    aborts the process, and torchrun then ends the others (LOG.md has how often).
    """
    if "RANK" not in os.environ:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def shard(model, dtype: str):
    """Shards each block and then the rest. Masters and reductions fp32, matmuls in `dtype`.

    Gradients are summed: the loss is already divided by what all ranks hold. Inputs are not cast,
    or the RoPE tables would become bf16.
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


def total(*values: float, device="cpu") -> list[float]:
    """Each value summed over the ranks, in fp64; the same on every rank."""
    if not dist.is_initialized():
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def together(work, device="cpu"):
    """Runs `work` on every rank; where it fails on one, raises OSError on all of them."""
    result, error = None, None
    try:
        result = work()
    except OSError as raised:
        error = raised
    failed = total(float(error is not None), device=device)[0]
    if failed:
        raise error or OSError(f"another rank failed ({failed:.0f} in all)")
    return result


def span(parameter) -> tuple[int, int]:
    """The rows [start, stop) of a parameter that this rank holds."""
    rows = parameter.shape[0]
    if not isinstance(parameter, DTensor):
        return 0, rows
    return rows_of_rank(rows, rank(), world_size())


def rows_of_rank(rows: int, rank: int, world: int) -> tuple[int, int]:
    size = -(-rows // world)
    return min(rank * size, rows), min((rank + 1) * size, rows)


def local(parameter) -> torch.Tensor:
    """This rank's rows of a parameter, moment or gradient, as a view."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def whole(tensor) -> torch.Tensor:
    """All rows, gathered on every rank: every rank must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
