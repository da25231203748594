"""Analytic FLOPs and memory of a decoder: the paper's formula and the exact count. No torch.

exact = model FLOPs: two per multiply-add of every matmul and of attention over the l(l+1)/2 causal
pairs, backward = 2 x forward, no recomputation, nothing for norms, softmax, RoPE or look-ups.
paper = equations 1-6 of arXiv 2509.22193, which count the look-up as a matmul, ignore grouped-query
attention, count two of SwiGLU's three matrices, and count unmasked attention.
`config` is anything with the fields of config.Config. Everything is a plain int: no overflow.
"""

# Dense bf16 tensor-core peak of one GPU in FLOP/s (vendors' data sheets, without sparsity), by a
# part of its device name; the first that matches counts, and an unknown GPU gets no MFU.
PEAK = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}


def peak(device_name: str) -> float | None:
    """Peak bf16 FLOP/s of the GPU called `device_name`, or None where it is not known."""
    return next((flops for name, flops in PEAK.items() if name in device_name), None)


def feed_forward(config) -> tuple[int, int]:
    """(f, multiply-adds a token): a layer's active feed-forward width, and its matmuls.

    Of a mixture of experts a token passes its chosen experts and the router's [d, experts] matmul.
    """
    d, experts = config.hidden_size, getattr(config, "num_experts", 0)
    if not experts:
        return config.intermediate_size, 3 * d * config.intermediate_size
    f = config.num_experts_per_tok * config.moe_intermediate_size
    return f, 3 * d * f + d * experts


def parameters(config, active: bool = False) -> int:
    """Number of parameters, a tied head counted once; active: only those that a token passes."""
    d, D = config.hidden_size, config.head_dim
    f, feed = feed_forward(config)
    experts = getattr(config, "num_experts", 0)
    if experts and not active:
        feed += 3 * d * (experts * config.moe_intermediate_size - f)
    H, K = config.num_attention_heads, config.num_key_value_heads
    bias = (H + 2 * K) * D if config.qkv_bias else 0
    norms = 2 * d + (2 * D if config.qk_norm else 0)
    layer = 2 * d * H * D + 2 * d * K * D + bias + feed + norms
    embeddings = config.vocab_size * d * (1 if config.tie_word_embeddings else 2)
    return embeddings + config.num_hidden_layers * layer + d


def forward(config, length: int, head: int | None = None, method: str = "exact",
            causal: bool = True) -> int:  # fmt: skip
    """FLOPs of one forward pass over one document.

    length: tokens l. head: positions where the head is computed (None: all). method: "exact" or
    "paper" (equations 1-4). causal=False counts all l x l pairs in "exact", as a profiler does.
    """
    V, d, (f, feed) = config.vocab_size, config.hidden_size, feed_forward(config)
    h, L, l = config.num_attention_heads, config.num_hidden_layers, length  # noqa: E741
    head = length if head is None else head
    if method == "paper":
        attention = 6 * l * d * d + 2 * l * l * d + 3 * l * l * h + 2 * l * l * d + 2 * l * d * d
        return 2 * l * V * d + L * attention + 4 * d * f * L * l + 2 * head * d * V
    assert method == "exact", f"{method=}"
    D, K = config.head_dim, config.num_key_value_heads
    linear = 2 * l * (2 * d * h * D + 2 * d * K * D + feed)
    pairs = l * (l + 1) // 2 if causal else l * l
    return L * (linear + 4 * h * D * pairs) + 2 * head * d * V


def train(config, lengths, answers=None, recompute: bool = False, method: str = "exact") -> int:
    """FLOPs of one forward and backward over documents packed or alone: 3 x forward, summed.

    lengths: tokens of each document, prompt included. answers: answer tokens of each, where the
    exact count has the head (None: all positions; the paper always counts all). recompute=True adds
    the second forward of activation checkpointing: hardware FLOPs, never used on the frontier.
    """
    if answers is None or method == "paper":
        answers = lengths
    total = 0
    for length, head in zip(lengths, answers, strict=True):
        total += 3 * forward(config, int(length), int(head), method)
        if recompute:
            total += forward(config, int(length), 0, method)
    return total


def inference(config, prompt: int, generated: int, method: str = "exact") -> int:
    """FLOPs of one answer with a KV cache: the prompt's prefill, then one step a generated token.

    The i-th step attends to prompt + i keys, itself among them (equations 5 and 6); the head is
    computed at the prompt's last token and at every generated one. Closed form: a step is linear in
    its number of keys, so g of them are g times the constant part plus the slope times their sum.
    """
    V, d, (f, feed) = config.vocab_size, config.hidden_size, feed_forward(config)
    h, L, g = config.num_attention_heads, config.num_hidden_layers, generated
    keys = g * prompt + g * (g + 1) // 2
    if method == "paper":
        steps = g * (4 * d * V + 8 * L * d * d + 4 * L * d * f) + keys * L * (4 * d + 3 * h)
    else:
        D, K = config.head_dim, config.num_key_value_heads
        linear = 2 * (2 * d * h * D + 2 * d * K * D + feed)
        steps = g * (L * linear + 2 * d * V) + keys * L * 4 * h * D
    return forward(config, prompt, head=1, method=method) + steps


def memory(config, row_tokens: int, ranks: int = 1, compute_bytes: int = 2,
           recompute: bool = False, logits: int = 2**26) -> dict:  # fmt: skip
    """Bytes on one device for training rows of `row_tokens` tokens, by part; an estimate.

    Weights, gradients and two Adam moments are fp32 and sharded over `ranks`. Activations are what
    autograd keeps of a block, at `compute_bytes` a value: per token 10 d-wide, 4 q-wide, 3 kv-wide
    and 4 f-wide values; with `recompute`, of one block, and d values of every other. The head holds
    one fp32 gradient of its weight and at most `logits` fp32 logits. Above one rank a block's
    gathered weights and gradients come on top: the embedding's are counted, as the largest.
    """
    d, f, L, V = (config.hidden_size, config.intermediate_size, config.num_hidden_layers,
                  config.vocab_size)  # fmt: skip
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    share = -(-parameters(config) // ranks)
    block = 10 * d + 4 * q + 3 * kv + 4 * f
    values = block + (L - 1) * d if recompute else L * block
    return {
        "weights": 4 * share,
        "gradients": 4 * share,
        "moments": 8 * share,
        "gathered": (compute_bytes + 4) * V * d if ranks > 1 else 0,
        "activations": row_tokens * values * compute_bytes,
        "head": 4 * V * d + 4 * min(logits, row_tokens * V),
    }
