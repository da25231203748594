"""Every kernel, forward and every gradient, against plain torch in fp64.

On a CPU under Triton's interpreter (repaired: tests/interpreter.py), under ttsem (make race), or on
a GPU. Outputs are poisoned: torch fills what torch.empty gives with NaN.
"""

import os
import sys

import pytest
import torch
from torch.nn import functional as F

import kernels
import model as m
from config import SCALES, Config
from kernels import Documents, launch, reference

triton = pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if IS_INTERPRETED:
    import interpreter

    interpreter.repair()


@pytest.fixture(autouse=True)
def triton_and_poison(monkeypatch):
    monkeypatch.setattr(launch, "FORCED", "triton")
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills empty tensors with NaN
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, device=DEVICE).to(dtype)


def run(function, inputs, gradients):
    """[outputs.., gradient of every input that has one..]"""
    leaves = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = sum((y * g.to(y.dtype)).sum() for y, g in zip(outputs, gradients, strict=True))
    loss.backward()
    return [*(y.detach() for y in outputs), *(x.grad for x in leaves if x.grad is not None)]


def off_by(ours, exact):
    """Largest difference of each, relative to the largest value (or to 1 where all are 0)."""
    return [
        ((a.double() - b).abs().max() / (b.abs().max() if b.any() else 1.0)).item()
        for a, b in zip(ours, exact, strict=True)
    ]


def judge(ours, plain, inputs, gradients, dtype, exact=None):
    """`ours` against the formula in fp64: 1e-5 in fp32; else twice the reference's own error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "FORCED", "reference")
        wide = [x.double() if x.is_floating_point() else x for x in inputs]
        exact = run(exact or plain, wide, [g.double() for g in gradients])
        allowed = off_by(run(plain, inputs, gradients), exact)
    found = off_by(run(ours, inputs, gradients), exact)
    limits = (
        [1e-5] * len(found)
        if dtype == torch.float32
        else [max(2 * error, 1e-6) for error in allowed]
    )
    assert all(a <= b for a, b in zip(found, limits, strict=True)), f"{found=} {limits=}"


# ---- attention ------------------------------------------------------------------------------


def documents_of(lengths, empty=0):
    bounds = F.pad(torch.tensor(lengths).cumsum(0), (1, empty), value=sum(lengths))
    bounds[0] = 0
    return Documents(bounds.int().to(DEVICE), sum(lengths))


def plain_attention(q, k, v, lengths):
    """Softmax of masked scores, a document at a time."""
    parts = []
    for q1, k1, v1 in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        k1, v1 = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k1, v1))
        scores = torch.einsum("qhd,khd->hqk", q1, k1) * q.shape[2] ** -0.5
        unseen = torch.ones(len(q1), len(q1), device=q.device).triu(1).bool()
        weights = scores.masked_fill(unseen, float("-inf")).softmax(-1)
        parts.append(torch.einsum("hqk,khd->qhd", weights, v1))
    return torch.cat(parts)


def check_attention(heads, kv_heads, width, lengths, dtype, empty=0, apart=False):
    documents, T = documents_of(lengths, empty), sum(lengths)
    q, k, v = (random(T, n, width, dtype=dtype) for n in (heads, kv_heads, kv_heads))
    if apart:  # one projection, sliced: no head is followed by the next token's
        q, k, v = torch.cat((q, k, v), 1).split((heads, kv_heads, kv_heads), 1)
        assert not q.is_contiguous()
    judge(
        lambda *x: kernels.attention(*x, documents),
        lambda *x: reference.attention(*x, documents),
        (q, k, v), (random(T, heads, width, dtype=dtype),), dtype,
        exact=lambda *x: plain_attention(*x, lengths),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_on_documents_of_1_37_190_tokens(dtype):
    check_attention(2, 1, 64, [1, 37, 190], dtype, empty=3)


def test_attention_heads_of_128_and_a_row_of_one_document():
    check_attention(2, 2, 128, [150], torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_attention_apart_in_memory_with_padding_at_the_end(dtype):
    check_attention(2, 1, 64, [1, 37, 190, 300, 20], dtype, empty=40, apart=True)


GROUPS = {"0.5b": (7, 1, 64), "1.5b": (6, 1, 128), "3b": (8, 1, 128), "14b": (10, 2, 128)}


@pytest.mark.slow
@pytest.mark.parametrize("scale", GROUPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_of_every_student(scale, dtype):
    """Their group sizes (7b has 0.5b's) and head widths."""
    heads, kv_heads, width = GROUPS[scale]
    config = SCALES[scale].config
    assert heads // kv_heads == config.num_attention_heads // config.num_key_value_heads
    check_attention(heads, kv_heads, width, [1, 130, 37], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[300], [2] * 64, [128, 256, 127, 129], [1]], ids=str)
@pytest.mark.parametrize("width", [16, 64])
def test_attention_on_rows_of_other_shapes(lengths, width):
    check_attention(2, 1, width, lengths, torch.bfloat16)


@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter multiplies fp32 exactly")
def test_attention_in_tf32_where_torch_may():
    documents = documents_of([1, 60])
    q, k, v, gradient = (random(61, n, 64) for n in (2, 1, 1, 2))
    wide = [x.double() for x in (q, k, v)]
    exact = run(lambda *x: plain_attention(*x, [1, 60]), wide, (gradient.double(),))
    torch.set_float32_matmul_precision("high")
    try:
        found = run(lambda *x: kernels.attention(*x, documents), (q, k, v), (gradient,))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert all(1e-5 < error < 1e-2 for error in off_by(found, exact))  # 10 bits, not 23


@pytest.mark.skipif("ttsem" not in sys.modules, reason="what `make race` is for")
@pytest.mark.parametrize(
    "schedule, fault",
    [([[0, 8, 0], [4, 8, 4]], "write-write"), ([[0, 12, 0]], "past the end")],
)
def test_planted_faults_are_found(schedule, fault):
    """Two programs that write other values to one place; a document longer than the row."""
    q, k, v = (random(8, 1, 16) for _ in "qkv")
    op = torch.ops.scale_or_reason.attention
    with pytest.raises(Exception, match=fault):
        op(q, k, v, torch.tensor(schedule, dtype=torch.int32, device=DEVICE))


def test_attention_does_not_see_a_neighbour():
    lengths, gradient = [50, 80, 3], random(133, 1, 16)
    documents = documents_of(lengths)
    q, k, v = (random(133, 1, 16) for _ in "qkv")
    before = run(lambda *x: kernels.attention(*x, documents), (q, k, v), (gradient,))
    for x in (q, k, v):
        x[:50] += 1
    after = run(lambda *x: kernels.attention(*x, documents), (q, k, v), (gradient,))
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[50:], b[50:]) and not torch.equal(a[:50], b[:50])


def test_the_schedule_covers_every_document_once_longest_first():
    lengths = [1, 300, 0, 128, 129]
    documents = documents_of(lengths, empty=2)
    rows = [row for row in documents.schedule.tolist() if row[2] < 558]
    bounds = {(a, b) for a, b in zip([0, 1, 301, 429], [1, 301, 429, 558], strict=True)}
    assert {(start, end) for start, end, _ in rows} == bounds
    assert [end - start for start, end, _ in rows] == [300, 300, 300, 129, 129, 128, 1]
    covered = [t for _, end, first in rows for t in range(first, min(first + 128, end))]
    assert sorted(covered) == list(range(558))
    assert [first for _, _, first in rows[:3]] == [257, 129, 1]
    assert len(documents.schedule) == len(documents_of([558]).schedule)  # P21: one shape


@pytest.mark.parametrize("bounds", [[0, 5, 4, 9], [1, 9], [0, 8], [0, 10]], ids=str)
def test_bounds_that_are_no_documents_are_refused(bounds):
    with pytest.raises(RuntimeError, match="does not ascend from 0 to 9"):
        Documents(torch.tensor(bounds, dtype=torch.int32), 9)


# ---- the head and its loss ------------------------------------------------------------------


def check_cross_entropy(tokens, vocabulary, dtype, chunk=16):
    hidden, head = random(tokens, 64, dtype=dtype), random(vocabulary, 64, dtype=dtype)
    targets = torch.randint(0, vocabulary, (tokens,), device=DEVICE)
    weights = torch.rand(tokens, device=DEVICE)

    def plain(hidden, head):
        losses = F.cross_entropy(hidden @ head.T, targets, reduction="none")
        return losses @ weights.to(losses.dtype)

    judge(
        lambda h, w: kernels.linear_cross_entropy(h, w, targets, weights, chunk),
        lambda h, w: reference.linear_cross_entropy(h, w, targets, weights, chunk),
        (hidden, head), (torch.rand(()) + 0.5,), dtype, exact=plain,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_cross_entropy(dtype):
    check_cross_entropy(37, 4101, dtype)  # one tile and a piece


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("vocabulary", [2000, 4096, 9001])
def test_cross_entropy_of_other_vocabularies(vocabulary, dtype):
    check_cross_entropy(20, vocabulary, dtype, chunk=7)


def test_cross_entropy_without_an_answer_token():
    hidden = random(0, 64).requires_grad_()
    head = random(2000, 64).requires_grad_()
    loss = kernels.linear_cross_entropy(hidden, head, torch.zeros(0, device=DEVICE).long())
    loss.backward()
    assert loss.item() == 0 and not head.grad.any() and hidden.grad.shape == (0, 64)


def test_inputs_that_are_not_contiguous_are_read_where_they_are():
    """Every second target, norm and row; a weight that is one number, repeated."""
    hidden, head, x = random(9, 64), random(100, 64), random(10, 64)
    targets, weights = torch.arange(10, 28, device=DEVICE)[::2], random(1).expand(9)
    found = kernels.linear_cross_entropy(hidden, head, targets, weights)
    losses = F.cross_entropy(hidden @ head.T, targets, reduction="none")
    torch.testing.assert_close(found, losses.sum() * weights[0])
    for norm in (kernels.rms_norm, lambda *t: kernels.add_rms_norm(t[0], *t)[0]):
        inputs = [x[::2].detach().requires_grad_(), random(128)[::2].requires_grad_()]
        leaves = [t.detach().contiguous().requires_grad_() for t in inputs]
        outputs = norm(*inputs, 1e-6), norm(*leaves, 1e-6)
        for y in outputs:
            y.square().sum().backward()
        for a, b in zip((outputs[0], *(t.grad for t in inputs)),
                        (outputs[1], *(t.grad for t in leaves)), strict=True):  # fmt: skip
            assert torch.equal(a, b)


def test_cross_entropy_makes_only_the_gradients_that_are_wanted():
    hidden, head, targets = random(5, 64), random(100, 64), torch.arange(5, device=DEVICE)
    alone = kernels.linear_cross_entropy(hidden, head, targets)
    kernels.linear_cross_entropy(hidden, head.requires_grad_(), targets).backward()
    with torch.no_grad():
        assert torch.equal(alone, kernels.linear_cross_entropy(hidden, head, targets))
    assert not alone.requires_grad and head.grad.isfinite().all() and hidden.grad is None


# ---- the others -----------------------------------------------------------------------------

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@DTYPES
@pytest.mark.parametrize("shape", [(37, 96), (300, 24), (3, 5, 128), (2, 5120)], ids=str)
def test_rms_norm(shape, dtype):
    x, weight, gradient = random(*shape), random(shape[-1]), random(*shape)
    inputs = [t.to(dtype) for t in (x, weight)]
    judge(lambda *t: kernels.rms_norm(*t, 1e-6), lambda *t: reference.rms_norm(*t, 1e-6), inputs,
          (gradient.to(dtype),), dtype, exact=plain_norm)  # fmt: skip


@DTYPES
def test_add_rms_norm(dtype):
    x, added, weight = (random(*shape, dtype=dtype) for shape in ((37, 96), (37, 96), (96,)))
    gradients = [random(37, 96, dtype=dtype) for _ in range(2)]

    def plain(x, added, weight):
        return reference.rms_norm(x + added, weight, 1e-6), x + added

    def exact(x, added, weight):
        return plain_norm(x + added, weight), x + added

    judge(lambda *t: kernels.add_rms_norm(*t, 1e-6), plain, (x, added, weight), gradients, dtype,
          exact=exact)  # fmt: skip


def plain_norm(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


@DTYPES
@pytest.mark.parametrize("width", [16, 64, 128])
def test_rope(width, dtype):
    q, k = random(37, 7, width, dtype=dtype), random(37, 2, width, dtype=dtype)
    q, k = torch.cat((q, k), 1).split((5, 4), 1)
    config = Config(1, 1, 1, 1, 1, 1, width)
    cos, sin = m.rope_tables(config, torch.arange(37, device=DEVICE))

    def turned(x):
        a, b = x.chunk(2, -1)
        c, s = cos[..., : width // 2], sin[..., : width // 2]
        return torch.cat((a * c - b * s, b * c + a * s), -1)

    judge(lambda *x: kernels.rope(*x, cos, sin), lambda *x: reference.rope(*x, cos, sin), (q, k),
          (torch.randn_like(q), torch.randn_like(k)), dtype,
          exact=lambda q, k: (turned(q), turned(k)))  # fmt: skip


@DTYPES
@pytest.mark.parametrize("shape", [(37, 96), (3, 2048), (1,)], ids=str)
def test_swiglu(shape, dtype):
    gate, up, gradient = (random(*shape, dtype=dtype) for _ in range(3))
    judge(kernels.swiglu, reference.swiglu, (gate, up), (gradient,), dtype)
