"""Bytes that a kernel moves, over the least it could: everything read and written once.

Counted by hand from the kernels' loops; tests/test_kernels.py counts the same while they run. What
a second program reads again mostly comes from the L2 cache: this is not DRAM traffic.
"""

import torch

from kernels import launch
from kernels.triton_cross_entropy import BLOCK
from kernels.triton_rms_norm import PARTS, launch_options


def traffic(name: str, config, arch: str, lengths=(8192,), element: int = 2) -> float:
    """Of the kernel `name` of bench/static.py for documents of `lengths` tokens."""
    if name.startswith("attention"):
        moved, least = attention(name, config, arch, lengths, element)
    else:
        moved, least = one_pass(name, config, sum(lengths), element)
    return moved / least


def attention(name: str, config, arch: str, lengths, element: int) -> tuple[int, int]:
    """(bytes moved, least). A tile of r tokens moves its own rows once, and two matrices of what it
    loops over: K and V up to its end, or Q and Grad of each head of the group from its start on."""
    H, K, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    kernel = {"forward": "forward", "dQ": "backward_q", "dK dV": "backward_kv"}[name[10:]]
    dtype = torch.float32 if element == 4 else torch.bfloat16
    q, k, *_ = launch.ATTENTION["fp32" if dtype == torch.float32 else arch][kernel][
        64 if D <= 64 else 128
    ]
    row, moved = D * element, 0
    own = {"forward": 2 * row + 4, "backward_q": 4 * row + 8, "backward_kv": 4 * row}[kernel]
    for length in lengths:
        for first in range(0, length, k if kernel == "backward_kv" else q):
            if kernel == "backward_kv":
                moved += K * min(k, length - first) * own
                moved += H * (length - first) * (2 * row + 8)
            else:
                tile = min(q, length - first)
                moved += H * (tile * own + (first + tile) * 2 * row)
    tokens = sum(lengths)
    if kernel == "backward_kv":
        return moved, tokens * (K * own + H * (2 * row + 8))
    return moved, tokens * (H * own + K * 2 * row)


def one_pass(name: str, config, tokens: int, element: int) -> tuple[int, int]:
    """(bytes moved, least) of the kernels that see every value once, or a row of logits twice."""
    d, D, V = config.hidden_size, config.head_dim, config.vocab_size
    heads = config.num_attention_heads + config.num_key_value_heads
    if name == "cross-entropy":
        numbers = 8 + 4 + 4 + element  # target, weight, loss; the target's logit
        least = tokens * (2 * V * element + numbers)
        return least + (tokens * V * element if V > BLOCK else 0), least
    if name.startswith("rope"):
        size = tokens * (2 * heads * D * element + D * 4)  # half of each fp32 table
        return size, size
    if name.startswith("swiglu"):
        size = tokens * config.intermediate_size * element * (5 if "backward" in name else 3)
        return size, size
    matrices = 2 + ("add" in name) * (1 if "backward" in name else 2) + ("backward" in name)
    values = tokens * (matrices * d * element + 4)
    if "backward" in name:
        programs = min(PARTS, tokens)
        return values + programs * d * (element + 4), values + d * (element + 4)
    programs = -(-tokens // launch_options(d)["ROWS"])
    return values + programs * d * element, values + d * element
