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

from common import cli, hub
from config import CORPORA, SCALES, TEACHER, Config

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
# Bytes of memory of each, from the same sheets; of the A100 the larger one.
MEMORY = {
    "H100 PCIe": 80e9,
    "H100 NVL": 94e9,
    "H100": 80e9,
    "H200": 141e9,
    "B200": 180e9,
    "A100": 80e9,
    "L40S": 48e9,
    "RTX 4090": 24e9,
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


def parts(config, length: int, head: int | None = None, method: str = "exact",
          causal: bool = True) -> dict[str, int]:  # fmt: skip
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


def forward(config, length: int, head: int | None = None, method: str = "exact",
            causal: bool = True) -> int:  # fmt: skip
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


def ledger(config, samples: int, prompt: int, answers: dict, format: str, asked: int = 0,
           teacher=TEACHER, method: str = "exact") -> dict[str, int]:  # fmt: skip
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


def memory(config, row_tokens: int, ranks: int = 1, compute_bytes: int = 2,
           recompute: bool = False, logits: int = 2**28) -> dict:  # fmt: skip
    """Bytes on one device for training rows of `row_tokens` tokens, by part; an estimate.

    Weights, gradients and two Adam moments are fp32 and sharded over `ranks`. Activations are what
    autograd keeps of a block, at `compute_bytes` a value: per token 10 d-wide, 4 q-wide, 3 kv-wide
    and 4 f-wide values; with `recompute`, of one block, and d values of every other. The head holds
    one fp32 gradient of its weight and at most `logits` fp32 logits, 1 GiB on a GPU. Above one rank
    a block's gathered weights and gradients come on top: the embedding's are counted, as the
    largest.
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


# ---- python flops.py ------------------------------------------------------------------------


@dataclass
class Options:
    scale: str = ""  # a student: 0.5b 1.5b 3b 7b 14b toy-xs toy-s toy-m toy-l toy-xl
    model: str = ""  # instead: path or Hub id of any model whose config.json we read
    corpus: str = "general"  # mean lengths and samples of the paper's corpus: general or math
    format: str = "ift"  # what the student is trained on: ift or reasoning
    samples: int | None = None  # default: as many as the paper's corpus has
    prompt: int | None = None  # mean tokens (default: the corpus's)
    answer: int | None = None  # mean tokens (default: the corpus's, by format)
    asked: int = 22_000  # answers of the student in evaluation; the 18 benchmarks ask about as many
    gpu: str = "H100"  # a row of flops.PEAK
    mfu: float = 0.4  # model FLOPs utilisation, assumed
    ranks: int = 8
    row_tokens: int = 16_384  # tokens of one forward
    recompute: bool = False  # activation checkpointing


def check(o: Options, given) -> list[str]:
    """What is wrong with the options, one line a case."""
    problems = []
    if bool(o.scale) == bool(o.model):
        problems.append("--scale or --model: give one of the two")
    if o.scale and o.scale not in SCALES:
        problems.append(cli.not_one_of("--scale", o.scale, list(SCALES)))
    for name, known in (("corpus", list(CORPORA)), ("format", ["ift", "reasoning"])):
        if getattr(o, name) not in known:
            problems.append(cli.not_one_of(cli.flag(name), getattr(o, name), known))
    if not peak(o.gpu):
        problems.append(f"--gpu {o.gpu}: its peak is not known; one of {', '.join(PEAK)}")
    if not 0 < o.mfu <= 1:
        problems.append(f"--mfu {o.mfu}: a share, above 0 and at most 1")
    for name in ("samples", "prompt", "answer", "ranks", "row_tokens", "asked"):
        least = 0 if name == "asked" else 1
        if name in given and not least <= getattr(o, name) <= 10**12:
            problems.append(f"{cli.flag(name)} {getattr(o, name)}: from {least} to 10**12")
    return problems


def main(arguments: list[str] | None = None) -> int:
    o, origin = cli.parse(Options, arguments, __doc__)
    try:
        if problems := check(o, origin):
            raise hub.UserError("\n".join(problems))
        config = (
            SCALES[o.scale].config if o.scale else Config.from_pretrained(o.model, True, "--model")
        )
    except hub.UserError as error:
        return cli.fail(error)
    corpus = CORPORA[o.corpus]
    answers = {name: corpus.tokens(name) for name in ("ift", "reasoning")}
    answers[o.format] = answers[o.format] if o.answer is None else o.answer
    prompt = corpus.tokens("prompt") if o.prompt is None else o.prompt
    samples = corpus.pairs if o.samples is None else o.samples
    answer, methods = answers[o.format], ("paper", "exact")

    total, active = parameters(config), parameters(config, active=True)
    print(
        f"{o.scale or o.model}: {total:,} parameters{f', {active:,} active' * (active < total)};"
        f" {config.num_hidden_layers} layers,\n d {config.hidden_size:,},"
        f" {config.num_attention_heads} query and {config.num_key_value_heads} key/value heads"
        f" of {config.head_dim}, f {feed_forward(config)[0]:,}, V {config.vocab_size:,}"
    )

    print(f"\nMFLOP a token, one forward over {prompt:,} prompt + {answer:,} answer tokens")
    length = prompt + answer
    table = {m: parts(config, length, answer if m == "exact" else None, m) for m in methods}
    columns = {m: {**row, "sum": sum(row.values())} for m, row in table.items()}
    print(f"{'':30}{'paper':>14}{'exact':>14}{'paper/exact':>14}")
    for part in columns["paper"]:
        paper, exact = (columns[m][part] for m in methods)
        ratio = f"{paper / exact:.2f}" if exact else "-"
        print(f"{part:30}{paper / length / 1e6:14,.3f}{exact / length / 1e6:14,.3f}{ratio:>14}")

    print(f"\nFLOPs of {samples:,} samples, {o.format}")
    seconds = peak(o.gpu) * o.mfu
    books = {m: ledger(config, samples, prompt, answers, o.format, o.asked, method=m)
             for m in methods}  # fmt: skip
    rows = {
        "generation": "generation, both formats",
        "training": "training, 3 x forward",
        "evaluation": f"evaluation, {o.asked:,} answers",
    }
    print(f"{'':30}{'paper':>14}{'exact':>14}{'GPU-hours':>14}")
    for stage, label in rows.items():
        paper, exact = (books[m][stage] for m in methods)
        print(f"{label:30}{paper:14.3e}{exact:14.3e}{exact / seconds / 3600:14,.1f}")
    paper, exact = (sum(books[m].values()) for m in methods)
    print(f"{'total':30}{paper:14.3e}{exact:14.3e}{exact / seconds / 3600:14,.1f}")
    print(
        f"generation by Qwen3-235B-A22B; GPU-hours: exact FLOPs on {o.gpu}"
        f" ({peak(o.gpu) / 1e12:,.0f} TFLOP/s)\nat an assumed MFU of {o.mfu:.0%}, not measured"
    )

    print(
        f"\nGB a GPU: {o.ranks} ranks, rows of {o.row_tokens:,} tokens"
        f"{', recomputing' * o.recompute}; an estimate"
    )
    part = memory(config, o.row_tokens, o.ranks, recompute=o.recompute)
    for name, size in {**part, "sum": sum(part.values())}.items():
        print(f"{name:30}{size / 1e9:14.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
