"""FLOPs against the paper's arithmetic by hand, and against torch's counter to the last FLOP."""

import json
import random

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import flops
import model as m
from common import hub
from config import CORPORA, SCALES, TEACHER, Config, Mixture
from engine.reference import greedy

SMALL = dict(vocab_size=160, hidden_size=32, intermediate_size=72, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8)  # fmt: skip
CONFIGS = {
    "qwen2-tied": Config(**SMALL),
    "qwen2-untied": Config(**{**SMALL, "num_hidden_layers": 3, "tie_word_embeddings": False}),
    "qwen3-wide-heads": Config(**{**SMALL, "head_dim": 24, "model_type": "qwen3"}),
    "llama-mha": Config(**{**SMALL, "num_key_value_heads": 4, "model_type": "llama"}),
}


@pytest.mark.parametrize(
    "scale, parts",
    [
        # l = 1024: look-up 2lVd, attention L(8ld² + 4l²d + 3l²h), feed-forward 4ldfL, head 2ldV
        ("0.5b", (278_803_775_488, 249_091_325_952, 428_422_987_776, 278_803_775_488)),
        ("3b", (637_265_772_544, 1_548_000_165_888, 3_324_304_687_104, 637_265_772_544)),
        ("7b", (1_116_154_626_048, 3_369_720_610_816, 7_786_775_707_648, 1_116_154_626_048)),
    ],
)
def test_p15_the_papers_formula_by_hand(scale, parts):
    config = SCALES[scale].config
    l, d, f = 1024, config.hidden_size, config.intermediate_size  # noqa: E741
    h, L, V = config.num_attention_heads, config.num_hidden_layers, config.vocab_size
    attention = L * (8 * l * d**2 + 4 * l**2 * d + 3 * l**2 * h)
    assert parts == (2 * l * V * d, attention, 4 * l * d * f * L, 2 * l * d * V)
    assert flops.forward(config, 1024, method="paper") == sum(parts)
    assert flops.train(config, [1024, 1024], method="paper") == 2 * 3 * sum(parts)
    prefill = flops.forward(config, 1024, head=1, method="paper")
    assert prefill == sum(parts[:3]) + 2 * d * V


def test_p15_the_papers_biases_at_1024_tokens():
    """PAPER.md: paper / exact with attention unmasked is 1.12, 0.97, 0.93, 0.90, 0.96."""
    ratios = []
    for scale in ("0.5b", "1.5b", "3b", "7b", "14b"):
        config = SCALES[scale].config
        paper = flops.forward(config, 1024, method="paper")
        ratios.append(round(paper / flops.forward(config, 1024, causal=False), 2))
    assert ratios == [1.12, 0.97, 0.93, 0.90, 0.96]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lengths", [[100], [48, 48], [100, 30, 100, 1]])
def test_p15_exact_unmasked_equals_torchs_counter(name, lengths):
    config = CONFIGS[name]
    model = m.initialise(m.build(config), 0)
    ids = torch.randint(0, 160, (sum(lengths),))
    cu_seqlens = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        logits = model(ids, cu_seqlens)  # the head unfused, at every position
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
        F.cross_entropy(logits, ids, reduction="sum").backward()
    unmasked = sum(flops.forward(config, length, causal=False) for length in lengths)
    assert forward.get_total_flops() == unmasked
    assert backward.get_total_flops() == 2 * unmasked

    batched = sum(n for op, n in forward.get_flop_counts()["Global"].items() if "bmm" in str(op))
    H, D, L = config.num_attention_heads, config.head_dim, config.num_hidden_layers
    assert batched == sum(4 * L * H * D * n * n for n in lengths) > 0  # attention was counted
    masked = sum(n * (n - 1) // 2 for n in lengths)
    assert unmasked - flops.train(config, lengths) // 3 == 4 * L * H * D * masked


def test_p15_the_head_is_counted_where_it_is_computed():
    config, lengths, answers = CONFIGS["qwen2-tied"], [60, 60], [7, 20]
    model = m.initialise(m.build(config), 0)
    ids, targets = torch.randint(0, 160, (120,)), torch.full((120,), -100)
    targets[[*range(50, 57), *range(90, 110)]] = 3
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids, torch.tensor([0, 60, 120], dtype=torch.int32), targets).backward()
    masked = 2 * (60 * 59 // 2) * 4 * 2 * 4 * 8  # two documents; 4 L H D a pair
    assert counter.get_total_flops() - 3 * masked == flops.train(config, lengths, answers)


def papers_step(config, l):  # noqa: E741
    """One cached step at length l, term by term as the paper writes it (equation 5)."""
    V, d, f = config.vocab_size, config.hidden_size, config.intermediate_size
    h, L = config.num_attention_heads, config.num_hidden_layers
    attention = L * (6 * d**2 + 2 * l * d + 3 * l * h + 2 * l * d + 2 * d**2)
    return 2 * d * V + attention + 4 * d * f * L + 2 * d * V


def test_closed_form_inference_equals_the_papers_sum_in_integers():
    rng = random.Random(0)
    for _ in range(60):
        heads = rng.randint(1, 40)
        config = Config(rng.randint(100, 200_000), rng.randint(8, 9000), rng.randint(8, 30_000),
                        rng.randint(1, 90), heads, heads, rng.randint(8, 256))  # fmt: skip
        prompt, generated = rng.randint(1, 3000), rng.randint(0, 3000)
        prefill = flops.forward(config, prompt, head=1, method="paper")
        steps = sum(papers_step(config, prompt + i) for i in range(1, generated + 1))
        assert flops.inference(config, prompt, generated, "paper") == prefill + steps


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("prompt, generated", [(1, 1), (30, 9), (7, 40)])
def test_p15_exact_inference_equals_torchs_counter_over_prefill_and_cached_decode(
    name, prompt, generated
):
    config = CONFIGS[name]
    model = m.initialise(m.build(config), 0)
    ids = torch.randint(0, 160, (prompt,)).tolist()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        # the last id of an answer is chosen, not read: one more makes `generated` steps
        answer = greedy(model, [ids], generated + 1, (), 160)[0]
    assert len(answer) == generated + 1
    L, H, D = config.num_hidden_layers, config.num_attention_heads, config.head_dim
    masked = L * 4 * H * D * (prompt * (prompt - 1) // 2)  # counted in prefill, but masked
    assert counter.get_total_flops() - masked == flops.inference(config, prompt, generated)


def test_a_mixture_of_experts_counts_what_a_token_passes():
    assert flops.parameters(TEACHER) == 235_093_634_560
    assert flops.parameters(TEACHER, active=True) == 22_190_763_520
    dense = Config(160, 32, 48, 2, 4, 2, 8, model_type="qwen3")
    experts = dict(num_experts=16, num_experts_per_tok=4, moe_intermediate_size=12)
    mixture = Mixture(160, 32, 999, 2, 4, 2, 8, model_type="qwen3", **experts)
    router = 2 * 2 * 50 * 32 * 16  # two layers, 50 tokens, [32, 16]
    assert flops.forward(mixture, 50) == flops.forward(dense, 50) + router
    assert flops.forward(mixture, 50, method="paper") == flops.forward(dense, 50, method="paper")
    steps = 2 * 2 * 32 * 16 * 9
    assert flops.inference(mixture, 50, 9) == flops.inference(dense, 50, 9) + router + steps


def test_mixtures_are_read_for_counting_but_never_built(tmp_path):
    raw = {
        "model_type": "qwen3_moe", "vocab_size": 151_936, "hidden_size": 4096, "head_dim": 128,
        "intermediate_size": 12_288, "num_hidden_layers": 94, "num_attention_heads": 64,
        "num_key_value_heads": 4, "max_position_embeddings": 40_960, "rope_theta": 1e6,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536,
        "tie_word_embeddings": False, "decoder_sparse_step": 1, "mlp_only_layers": [],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert Config.from_pretrained(tmp_path, mixtures=True) == TEACHER
    with pytest.raises(hub.UserError, match="qwen3_moe"):
        Config.from_pretrained(tmp_path)


def test_the_ledger_is_generation_training_and_evaluation():
    config, answers = SCALES["0.5b"].config, {"ift": 100, "reasoning": 700}
    book = flops.ledger(config, 10, 50, answers, "reasoning", asked=3)
    assert book == {
        "generation": 10 * sum(flops.inference(TEACHER, 50, n) for n in (100, 700)),
        "training": flops.train(config, [750] * 10, [700] * 10),
        "evaluation": 3 * flops.inference(config, 50, 700),
    }
    existing = flops.ledger(config, 10, 50, {"ift": 100}, "ift", teacher=None, method="paper")
    assert existing["generation"] == 0
    assert existing["training"] == flops.train(config, [150] * 10, method="paper")


def test_the_command_line_prints_the_table_and_names_every_mistake(capsys):
    assert flops.main(["--scale", "3b", "--mfu", "0.5", "--gpu", "A100"]) == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    config = SCALES["3b"].config
    prompt, answer = CORPORA["general"].tokens("prompt"), CORPORA["general"].tokens("ift")
    total = 1_300_000 * flops.train(config, [prompt + answer], [answer])
    line = next(line for line in shown.splitlines() if line.startswith("training"))
    hours = total / (312e12 * 0.5) / 3600
    assert line.split()[-2:] == [f"{total:.3e}", f"{hours:,.1f}"]
    for part in ("look-up", "projections", "attention", "feed-forward", "head", "paper/exact"):
        assert part in shown
    assert flops.main(["--scale", "3c", "--mfu", "2", "--gpu", "abacus", "--samples", "0"]) == 2
    error = capsys.readouterr().err
    for text in ("did you mean 3b?", "--mfu 2", "--gpu abacus", "--samples 0"):
        assert text in error


def test_recomputation_adds_one_forward_of_the_blocks():
    config = CONFIGS["qwen3-wide-heads"]
    extra = flops.train(config, [50], [9], recompute=True) - flops.train(config, [50], [9])
    assert extra == flops.forward(config, 50, head=0)


def test_parameter_counts_are_the_published_ones():
    counts = [flops.parameters(SCALES[s].config) for s in ("0.5b", "1.5b", "3b", "7b", "14b")]
    assert counts == [494032768, 1543714304, 3085938688, 7615616512, 14770033664]
    for config in CONFIGS.values():
        with torch.device("meta"):
            made = m.Transformer(config)
        assert sum(p.numel() for p in made.parameters()) == flops.parameters(config)


def test_counts_are_ints_that_never_overflow():
    total = flops.train(SCALES["14b"].config, [16384] * 10**5)
    assert isinstance(total, int) and total > 2**63
    assert total == 10**5 * flops.train(SCALES["14b"].config, [16384])


def test_p16_an_unknown_gpu_has_no_peak():
    assert flops.peak("NVIDIA H100 80GB HBM3") == 989e12
    assert flops.peak("NVIDIA H100 PCIe") == 756e12
    assert flops.peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert flops.peak("Some Future GPU") is None
