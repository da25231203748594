"""Which kernels run, and with which tiles: one switch, one table per architecture. No Triton."""

import os
from importlib.util import find_spec

import torch

SWITCH = "SCALE_OR_REASON_KERNELS"  # forces one of CHOICES; unset: triton on CUDA, else reference
CHOICES = ("triton", "reference", "varlen")  # varlen: torch's varlen_attn, and Triton for the rest
FORCED = os.environ.get(SWITCH, "")

# Tokens of a query tile, tokens of a key tile, warps, stages of the software pipeline, by head
# width; bench/static.py judges them, `python bench/kernels.py --tune` prints others. fp32 is for
# tests and small models on any architecture.
ATTENTION = {
    "sm_80": {"forward": {64: (128, 64, 4, 3), 128: (128, 64, 8, 3)},
              "backward_q": {64: (128, 64, 8, 2), 128: (64, 64, 4, 2)},
              "backward_kv": {64: (32, 128, 8, 2), 128: (64, 64, 8, 2)}},
    "sm_90": {"forward": {64: (128, 64, 8, 3), 128: (128, 64, 8, 3)},
              "backward_q": {64: (128, 64, 8, 2), 128: (128, 64, 8, 2)},
              "backward_kv": {64: (64, 128, 8, 2), 128: (32, 128, 8, 2)}},
    "sm_100": {"forward": {64: (128, 64, 8, 3), 128: (128, 64, 8, 3)},
               "backward_q": {64: (128, 64, 8, 2), 128: (64, 64, 8, 2)},
               "backward_kv": {64: (64, 128, 8, 2), 128: (32, 64, 8, 2)}},
    "fp32": {"forward": {64: (64, 32, 8, 1), 128: (64, 32, 8, 1)},
             "backward_q": {64: (64, 32, 8, 1), 128: (32, 32, 8, 1)},
             "backward_kv": {64: (32, 64, 8, 1), 128: (32, 32, 8, 1)}},
}  # fmt: skip


def backend(device: torch.device) -> str:
    """What computes tensors of `device`: one of CHOICES."""
    return FORCED or ("triton" if device.type == "cuda" else "reference")


def problems(device: str) -> list[str]:
    """What is wrong with the switch for a run on `device`, one line a mistake."""
    if FORCED and FORCED not in CHOICES:
        return [f"{SWITCH}={FORCED}: one of {', '.join(CHOICES)}"]
    if (FORCED or device == "cuda") and FORCED != "reference" and not find_spec("triton"):
        return [f"no Triton here: pip install triton, or set {SWITCH}=reference"]
    is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if FORCED == "varlen" and device != "cuda":
        return [f"{SWITCH}=varlen needs a GPU; unset it"]
    if FORCED == "triton" and device != "cuda" and not is_interpreted:
        return [f"{SWITCH}=triton needs a GPU, or TRITON_INTERPRET=1, which is slow; or unset it"]
    return []


def architecture(device: torch.device) -> str:
    """The row of ATTENTION for a GPU: its own, or sm_80's, whose tiles fit everything later."""
    if device.type != "cuda":
        return "sm_90"  # the interpreter runs what an H100 would
    name = f"sm_{torch.cuda.get_device_capability(device)[0]}0"
    return name if name in ATTENTION else "sm_80"


def attention_tiles(kernel: str, device: torch.device, dtype: torch.dtype, width: int) -> tuple:
    """(tokens of a query tile, of a key tile, warps, stages) of the attention kernel `kernel`."""
    row = "fp32" if dtype == torch.float32 else architecture(device)
    return ATTENTION[row][kernel][64 if width <= 64 else 128]


def precision() -> str:
    """How tl.dot multiplies fp32: as torch's own matmuls are allowed to."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
