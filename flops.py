"""Analytic FLOPs and memory of a decoder: the paper's formula and the exact count. No torch.

    python flops.py --scale 3b                                # the paper's IFT run on its corpus
    python flops.py --scale 7b --format reasoning --corpus math --samples 150000
    python flops.py --model ./Qwen2.5-3B --prompt 200 --answer 900 --gpu A100 --mfu 0.35

Prints FLOPs a token by part, the ledger of generation, training and evaluation, and memory a GPU.

exact = model FLOPs: two per multiply-add of every matmul and of attention over the l(l+1)/2 causal
pairs, backward = 2 x forward, no recomputation, nothing for norms, softmax, RoPE or look-ups.
paper = equations 1-6 of arXiv 2509.22193, which count the look-up as a matmul, ignore grouped-query
attention, count two of SwiGLU's three matrices, and count unmasked attention.
`config` is anything with the fields of config.Config. Everything is a plain int: no overflow.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from common import cli
from config import ANSWERS, CORPORA, SCALES, TEACHER, Answer, Config

# Of one GPU, from the vendors' data sheets: dense bf16 tensor-core FLOP/s (without sparsity), bytes
# of memory, bytes/s of memory; of the A100 the larger one. The name is a part of the device's name;
# the first that matches counts, and an unknown GPU gets no MFU.
GPUS = {
    "H100 PCIe": (756e12, 80e9, 2.0e12),
    "H100 NVL": (835e12, 94e9, 3.9e12),
    "H100": (989e12, 80e9, 3.35e12),
    "H200": (989e12, 141e9, 4.8e12),
    "B200": (2250e12, 180e9, 8.0e12),
    "A100": (312e12, 80e9, 2.04e12),
    "L40S": (362e12, 48e9, 0.86e12),
    "RTX 4090": (165e12, 24e9, 1.01e12),
}
PEAK = {name: row[0] for name, row in GPUS.items()}
MEMORY = {name: row[1] for name, row in GPUS.items()}


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


def parts(config, length: int, head: int | None = None, method="exact", causal=True) -> dict:
    """FLOPs of one forward pass over one document, by part; forward() is their sum.

    length: tokens l. head: positions where the head is computed (None: all). method: "exact" or
    "paper" (equations 1-4). causal=False counts all l x l pairs in "exact", as a profiler does.
    """
    V, d, (f, feed) = config.vocab_size, config.hidden_size, feed_forward(config)
    h, L, l = config.num_attention_heads, config.num_hidden_layers, length  # noqa: E741
    head = length if head is None else head
    if method == "paper":
        return {
            "look-up": 2 * l * V * d,
            "projections": L * (6 * l * d * d + 2 * l * d * d),
            "attention": L * (2 * l * l * d + 3 * l * l * h + 2 * l * l * d),
            "feed-forward": 4 * l * d * f * L,
            "head": 2 * head * d * V,
        }
    assert method == "exact", f"{method=}"
    D, K = config.head_dim, config.num_key_value_heads
    pairs = l * (l + 1) // 2 if causal else l * l
    return {
        "look-up": 0,
        "projections": 2 * l * L * (2 * d * h * D + 2 * d * K * D),
        "attention": 4 * L * h * D * pairs,
        "feed-forward": 2 * l * L * feed,
        "head": 2 * head * d * V,
    }


def forward(config, length: int, head: int | None = None, method="exact", causal=True) -> int:
    """FLOPs of one forward pass over one document; the arguments are those of parts()."""
    return sum(parts(config, length, head, method, causal).values())


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


def ledger(
    config, samples, prompt, answers: dict, format, asked=0, teacher=TEACHER, method="exact"
) -> dict[str, int]:
    """FLOPs of a whole arm by stage, for samples that all have the mean lengths.

    answers: tokens of an answer by format, all of which the `teacher` generates (None: the pairs
    exist); `format` is trained on, with the head at its answer tokens; the student then answers
    `asked` questions of such lengths. Attention is convex in length, so that the true sum over
    documents is a few per cent higher; train() and inference() give it.
    """
    generated = [inference(teacher, prompt, n, method) for n in answers.values()] if teacher else []
    answer = answers[format]
    return {
        "generation": samples * sum(generated),
        "training": samples * train(config, [prompt + answer], [answer], method=method),
        "evaluation": asked * inference(config, prompt, answer, method),
    }


def memory(
    config, row_tokens: int, ranks=1, compute_bytes=2, recompute=False, logits=2**28
) -> dict[str, int]:
    """Bytes on one device for training rows of `row_tokens` tokens, by part; an estimate.

    Weights, gradients and two Adam moments are fp32 and sharded over `ranks`. Activations are what
    autograd keeps of a block, at `compute_bytes` a value: per token 10 d-wide, 4 q-wide, 3 kv-wide
    and 4 f-wide values; with `recompute`, of one block, and d values of every other. The head holds
    one fp32 gradient of its weight and at most `logits` fp32 logits, 1 GiB on a GPU. Above one rank
    a block's gathered weights and gradients come on top: the embedding's are counted, as the
    largest.
    """
    d, f = config.hidden_size, config.intermediate_size
    L, V = config.num_hidden_layers, config.vocab_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    shard = -(-parameters(config) // ranks)
    block = 10 * d + 4 * q + 3 * kv + 4 * f
    values = block + (L - 1) * d if recompute else L * block
    return {
        "weights": 4 * shard,
        "gradients": 4 * shard,
        "moments": 8 * shard,
        "gathered": (compute_bytes + 4) * V * d if ranks > 1 else 0,
        "activations": row_tokens * values * compute_bytes,
        "head": 4 * V * d + 4 * min(logits, row_tokens * V),
    }


# ---- python flops.py ------------------------------------------------------------------------

Count = Annotated[int, cli.Range(1, 10**12)]


@dataclass
class Options:
    # the model
    scale: Annotated[str, cli.OneOf(tuple(SCALES))] | None = None  # a row of config.SCALES
    model: str | None = None  # instead: path or Hub id of a model with a supported config.json
    # the samples
    corpus: Annotated[str, cli.OneOf(CORPORA)] = "general"  # gives what the next options do not
    format: Answer = "ift"  # what the student is trained on
    samples: Count | None = None  # pairs of answers (default: as many as the corpus has)
    prompt: Count | None = None  # mean tokens (default: the corpus's)
    answer: Count | None = None  # mean tokens (default: the corpus's, by format)
    asked: Annotated[int, cli.Range(0, 10**12)] = 22_000  # answers in evaluation, of the student
    # the machine
    gpu: Annotated[str, cli.OneOf(PEAK)] = "H100"  # a row of flops.GPUS
    mfu: Annotated[float, cli.Range(0, 1, is_open=True)] = 0.4  # model FLOPs utilisation, assumed
    ranks: Count = 8  # GPUs that share the weights
    row_tokens: Count = 16_384  # tokens of one forward
    recompute: bool = False  # activation checkpointing


@cli.run
def main(arguments: list[str] | None = None) -> int:
    o, _ = cli.parse(Options, arguments, __doc__)
    problems = cli.Problems(cli.check(o))
    problems.add((o.scale is None) == (o.model is None), "--scale or --model: give one of the two")
    config = SCALES[o.scale].config if o.scale in SCALES else None
    if o.model is not None:
        config = problems.attempt(Config.from_pretrained, o.model, True, "--model")
    problems.raise_any()

    total, active = parameters(config), parameters(config, active=True)
    print(
        f"{o.scale or o.model}: {total:,} parameters{f', {active:,} active' * (active < total)};"
        f" {config.num_hidden_layers} layers,\n d {config.hidden_size:,},"
        f" {config.num_attention_heads} query and {config.num_key_value_heads} key/value heads"
        f" of {config.head_dim}, f {feed_forward(config)[0]:,}, V {config.vocab_size:,}"
    )
    corpus = CORPORA[o.corpus]
    prompt, answers = o.prompt or corpus.tokens("prompt"), {a: corpus.tokens(a) for a in ANSWERS}
    answers[o.format] = o.answer or answers[o.format]
    print_forward(config, prompt, answers[o.format])
    print_ledger(o, config, o.samples or corpus.pairs, prompt, answers)
    sizes = memory(config, o.row_tokens, o.ranks, recompute=o.recompute)
    title = f"GB a GPU: {o.ranks} ranks, rows of {o.row_tokens:,} tokens"
    rows = [(name, f"{size / 1e9:.2f}") for name, size in with_sum(sizes, "sum").items()]
    print_table(f"{title}{', recomputing' * o.recompute}; an estimate", rows)
    return 0


def print_forward(config, prompt: int, answer: int):
    length, rows = prompt + answer, [("", "paper", "exact", "paper/exact")]
    papers = with_sum(parts(config, length, method="paper"), "sum")
    for name, exact in with_sum(parts(config, length, answer), "sum").items():
        costs = (f"{cost / length / 1e6:,.3f}" for cost in (papers[name], exact))
        rows.append((name, *costs, f"{papers[name] / exact:.2f}" if exact else "-"))
    title = f"one forward over {prompt:,} prompt + {answer:,} answer tokens"
    print_table(f"MFLOP a token, {title}", rows)


def print_ledger(o: Options, config, samples: int, prompt: int, answers: dict):
    paper, exact = (
        with_sum(ledger(config, samples, prompt, answers, o.format, o.asked, method=m), "total")
        for m in ("paper", "exact")
    )
    labels = {
        "generation": "generation, both formats",
        "training": "training, 3 x forward",
        "evaluation": f"evaluation, {o.asked:,} answers",
    }
    rows, peak = [("", "paper", "exact", "GPU-hours")], PEAK[o.gpu]
    for stage, cost in exact.items():
        hours = f"{cost / (peak * o.mfu) / 3600:,.1f}"
        rows.append((labels.get(stage, stage), f"{paper[stage]:.3e}", f"{cost:.3e}", hours))
    print_table(f"FLOPs of {samples:,} samples, {o.format}", rows)
    print(
        f"generation by Qwen3-235B-A22B; GPU-hours: exact FLOPs on {o.gpu}"
        f" ({peak / 1e12:,.0f} TFLOP/s)\nat an assumed MFU of {o.mfu:.0%}, not measured"
    )


def with_sum(costs: dict, name: str) -> dict:
    return costs | {name: sum(costs.values())}


def print_table(title: str, rows: list[tuple]):
    print(f"\n{title}")
    for label, *cells in rows:
        print(f"{label:30}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
