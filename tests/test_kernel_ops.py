"""The kernels as operators: in torch.compile, in the FLOP counter, in train.py, in the compiler.

Under Triton's interpreter, on the CPU; tests/test_kernels.py has the values.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, close_weights, metrics
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import flops
import kernels
import model as m
import train
from bench import traffic
from config import Config
from kernels import Documents, launch

interpreter = pytest.importorskip("interpreter")  # needs Triton
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="run with CUDA_VISIBLE_DEVICES=")
interpreter.repair()
TINY = Config(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
              num_attention_heads=2, num_key_value_heads=1, head_dim=32)  # fmt: skip


@pytest.fixture
def forced(monkeypatch):
    return lambda choice: monkeypatch.setattr(launch, "FORCED", choice)


def row_of(*lengths):
    ids = torch.randint(0, 160, (sum(lengths),))
    targets = ids.roll(-1)
    targets[: lengths[0]] = -100
    return ids, F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int(), targets


def test_the_interpreter_is_mended():
    """It rounds as torch does; and without the repair it multiplies the bits of bf16."""
    values = torch.cat([torch.randn(5000) * 10**e for e in (-3.0, 0.0, 4.0)])
    values = torch.cat([values, torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -0.0, torch.inf])])  # ties
    bits = values.bfloat16().view(torch.int16).numpy().view("uint16")
    assert (interpreter.narrow(values.numpy()) == bits).all()
    assert (interpreter.widen(bits) == values.bfloat16().float().numpy()).all()
    program = """if True:
        import sys, torch
        sys.path[:0] = ["tests", "."]
        import interpreter, kernels
        from kernels import launch
        launch.FORCED = "triton"
        q, k, v = (torch.ones(16, 1, 16, dtype=torch.bfloat16) for _ in "qkv")
        documents = kernels.Documents(torch.tensor([0, 16], dtype=torch.int32))
        for step in (print, interpreter.repair):
            step()
            print((kernels.attention(q, k, v, documents) == 1).all().item())
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, timeout=100, text=True,
        capture_output=True, env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_every_operator_is_what_torch_expects_of_one():
    """Schema, fake implementation, autograd, and AOT dispatch with dynamic shapes."""
    x, weight = torch.randn(5, 32, requires_grad=True), torch.randn(32, requires_grad=True)
    q, k = (torch.randn(5, heads, 16, requires_grad=True) for heads in (2, 1))
    table, targets = torch.randn(5, 1, 16), torch.arange(5)
    schedule = Documents(torch.tensor([0, 5], dtype=torch.int32)).schedule[:1]
    ops = torch.ops.scale_or_reason
    for op, arguments in {
        ops.attention: (q, k, k.detach().clone().requires_grad_(), schedule),
        ops.rms_norm: (x, weight, 1e-6),
        ops.add_rms_norm: (x, x.detach().clone().requires_grad_(), weight, 1e-6),
        ops.rope: (q, k, table, table, False),
        ops.swiglu: (x, x.detach().clone().requires_grad_()),
        ops.linear_cross_entropy: (x.detach(), torch.randn(9, 32), targets, torch.ones(5), 2,
                                   False, True),
    }.items():  # fmt: skip
        torch.library.opcheck(op.default, arguments)


def test_the_heads_gradients_pass_through_compile_and_checkpointing(forced):
    """They are made in the forward and scaled in place, which opcheck would not compile."""
    from torch.utils.checkpoint import checkpoint

    forced("triton")
    hidden, head, targets = torch.randn(9, 64), torch.randn(100, 64), torch.arange(9)

    def loss(hidden, head):
        return kernels.linear_cross_entropy(hidden * 2, head, targets, None, 4) * 0.5

    found = []
    for function in (
        loss,
        torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager"),
        partial(checkpoint, loss, use_reentrant=False),
    ):
        leaves = [x.detach().requires_grad_() for x in (hidden, head)]
        function(*leaves).backward()
        found.append([x.grad for x in leaves])
    assert all(torch.equal(a, b) for other in found for a, b in zip(found[0], other, strict=True))
    assert all(x.any() for x in found[0])


def test_p15_the_operators_count_the_flops_of_flops_py(forced):
    """To the last one: causal pairs of each document, the head where it is computed."""
    forced("triton")
    config = replace(TINY, num_hidden_layers=1)
    model, lengths = m.initialise(m.build(config), 0), [150, 20]
    with FlopCounterMode(display=False) as counter:
        model(*row_of(*lengths)).backward()
    assert counter.get_total_flops() == flops.train(config, lengths, [0, 20])


def test_bytes_moved_are_those_of_bench_traffic(forced):
    """The formulas behind the table, against what the interpreter counts."""
    forced("triton")
    config = Config(vocab_size=5000, hidden_size=96, intermediate_size=64, num_hidden_layers=1,
                    num_attention_heads=2, num_key_value_heads=1, head_dim=32)  # fmt: skip
    lengths = (1, 140, 70)
    T = sum(lengths)
    documents = Documents(F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int())
    counted = {}

    def count(name, call, programs=0):
        interpreter.moved.clear()
        result = call()
        counted[name] = interpreter.moved["bytes"] - 12 * programs  # which read the schedule
        return result

    def per(kernel):
        return (
            len(documents.schedule)
            * 128
            // launch.ATTENTION["fp32"][kernel][64][kernel == "backward_kv"]
        )

    q, x = torch.randn(T, 2, 32), torch.randn(T, 96)
    k, v, gate = torch.randn(T, 1, 32), torch.randn(T, 1, 32), torch.randn(T, 64)
    out = count("attention forward", lambda: kernels.attention(q, k, v, documents),
                2 * per("forward"))  # fmt: skip
    both = partial(run_backward, lambda *t: kernels.attention(*t, documents), (q, k, v))
    programs = 2 * per("forward") + 2 * per("backward_q") + per("backward_kv")
    count("all three of attention", both, programs)
    assert out.shape == q.shape
    table, weight = torch.randn(T, 1, 32), torch.randn(96)
    count("rope", lambda: kernels.rope(q, k, table, table))
    count("swiglu", lambda: kernels.swiglu(gate, gate))
    count("swiglu both", partial(run_backward, kernels.swiglu, (gate, gate)))
    count("rms_norm", lambda: kernels.rms_norm(x, weight, 1e-6))
    count("rms_norm both", partial(run_backward, lambda *t: kernels.rms_norm(*t, 1e-6),
                                   (x, weight)))  # fmt: skip
    count("add + rms_norm", lambda: kernels.add_rms_norm(x, x, weight, 1e-6))
    head, one = torch.randn(5000, 96), torch.ones(T)
    count("cross-entropy", partial(run_backward, lambda h, w: kernels.linear_cross_entropy(
        h, w, one.long(), one), (x, head)))  # fmt: skip

    formula = partial(traffic.attention, config=config, arch="sm_90", lengths=lengths, element=4)
    dq, dkv = formula("attention dQ")[0], formula("attention dK dV")[0]
    expected = {name: traffic.one_pass(name, config, T, 4)[0] for name in (
        "rope", "swiglu", "rms_norm", "add + rms_norm", "cross-entropy")}  # fmt: skip
    expected["attention forward"] = formula("attention forward")[0]
    expected["all three of attention"] = expected["attention forward"] + dq + dkv
    for name in ("swiglu", "rms_norm"):
        backward = traffic.one_pass(f"{name} backward", config, T, 4)[0]
        expected[f"{name} both"] = expected[name] + backward
    assert counted == expected


def run_backward(function, inputs):
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    function(*leaves).sum().backward()


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("recompute", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_p21_a_compiled_block_is_one_graph_for_rows_of_any_documents(forced, recompute):
    """fullgraph: no break. Rows of other lengths and other numbers of documents: no new graph, and
    the two blocks share the one."""
    from torch._dynamo.utils import counters

    model, rows = m.initialise(m.build(TINY), 0), [row_of(37, 20), row_of(50, 1, 30, 9)]
    eager = []
    forced("reference")
    for row in rows:
        loss = model(*row)
        loss.backward()
        eager.append((loss.detach(), gradients_of(model)))
        model.zero_grad()
    forced("triton")
    torch._dynamo.reset()
    counters.clear()
    for block in model.model.layers:
        block.recompute = recompute
        block.compute = torch.compile(block.compute, dynamic=True, fullgraph=True)
    for row, (loss, gradients) in zip(rows, eager, strict=True):
        compiled = model(*row)
        compiled.backward()
        assert compiled.item() == pytest.approx(loss.item(), rel=1e-6)
        for name, gradient in gradients_of(model).items():
            worst = (gradient - gradients[name]).abs().max()
            assert worst <= 1e-5 * gradients[name].abs().max(), name
        model.zero_grad()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_a_block_keeps_for_its_backward_what_the_docs_say(forced):
    """A token: 4 d-wide, 2 q-wide, 2 kv-wide and 3 f-wide values; 2 + H numbers of the norms and
    of attention. docs/kernels.md's memory table is made of this."""
    forced("triton")
    model, T = m.initialise(m.build(TINY), 0), 100
    block, row = model.model.layers[0], m.PackedRow(torch.tensor([0, T], dtype=torch.int32))
    tables = m.rope_tables(TINY, row.positions)
    of_others = {x.data_ptr() for x in (*model.parameters(), *tables)}
    kept = {}

    def keep(x):
        if x.is_floating_point() and x.untyped_storage().data_ptr() not in of_others:
            kept[x.untyped_storage().data_ptr()] = x  # held, or its place is used again
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        block(torch.randn(T, TINY.hidden_size, requires_grad=True), tables, row)
    d, f, heads = TINY.hidden_size, TINY.intermediate_size, TINY.num_attention_heads
    q, kv = heads * TINY.head_dim, TINY.num_key_value_heads * TINY.head_dim
    values = sum(x.untyped_storage().nbytes() // 4 for x in kept.values())
    assert values == T * (4 * d + 2 * q + 2 * kv + 3 * f + 2 + heads)


def test_two_steps_of_train_py_are_those_of_the_reference(forced, cache, tmp_path, monkeypatch):
    gradients, backward = {"reference": [], "triton": []}, train.backward

    def watched(run, model, step, device):
        result = backward(run, model, step, device)
        gradients[launch.FORCED].append(gradients_of(model))
        return result

    monkeypatch.setattr(train, "backward", watched)
    for choice in gradients:
        forced(choice)
        arguments = ["--scale", "toy-xs", "--format", "mixed", "--ratio", "0.5", "--samples", "4",
                     "--batch", "2", "--val", "0", "--show", "0", "--cache",
                     str(cache)]  # fmt: skip
        assert train.main([*arguments, "--out", str(tmp_path / choice)]) == 0
    ours, theirs = metrics(tmp_path / "triton"), metrics(tmp_path / "reference")
    for name in ("loss", "grad_norm"):
        assert [x[name] for x in ours] == pytest.approx([x[name] for x in theirs], rel=1e-5)
    for ours, theirs in zip(gradients["triton"], gradients["reference"], strict=True):
        for name, expected in theirs.items():
            assert (ours[name] - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-7, name
    assert len(gradients["reference"]) == 2
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)  # not the same code
    close_weights(tmp_path / "reference", tmp_path / "triton", 1e-5)


@pytest.mark.parametrize(
    "choice, device, words",
    [
        ("tritn", "cpu", "one of triton, reference, varlen"),
        ("varlen", "cpu", "needs a GPU"),
        ("triton", "cpu", "TRITON_INTERPRET=1"),
        ("", "cpu", None),
        ("reference", "cuda", None),
    ],
)
def test_a_switch_that_cannot_work_is_refused(forced, monkeypatch, choice, device, words):
    forced(choice)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    found = launch.problems(device)
    assert (not found) if words is None else words in found[0]
    assert launch.backend(torch.device(device)) == (choice or "reference")


def test_a_wrong_switch_is_a_users_mistake(forced, capsys, tmp_path):
    forced("tritn")
    folder = tmp_path / "run"
    assert train.main(["--scale", "toy-xs", "--format", "ift", "--out", str(folder)]) == 2
    assert "SCALE_OR_REASON_KERNELS=tritn: one of" in capsys.readouterr().err
    assert not folder.exists()


def test_head_widths_that_no_kernel_takes_are_refused(forced):
    forced("triton")
    x = torch.randn(4, 1, 24)
    with pytest.raises(ValueError, match="head width 24.*SCALE_OR_REASON_KERNELS=reference"):
        kernels.attention(x, x, x, Documents(torch.tensor([0, 4], dtype=torch.int32)))


# ---- the static gate ------------------------------------------------------------------------


def static(*arguments):
    done = subprocess.run(
        [sys.executable, "bench/static.py", *arguments], cwd=ROOT, text=True, capture_output=True,
        timeout=900,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_gate_on_one_student_and_gpu():
    code, out, err = static("--scales", "3b", "--archs", "sm_90")
    assert code == 0, out + err
    assert json.loads(out.splitlines()[-1]) == {"kernels": 12, "failures": []}


@pytest.mark.slow
def test_the_gate_on_every_student_and_gpu():
    code, out, err = static()
    assert code == 0, out + err
    assert json.loads(out.splitlines()[-1]) == {"kernels": 5 * 3 * 12, "failures": []}


def test_what_is_judged_is_what_rows_of_other_lengths_launch():
    """No number of tokens is compiled into a kernel: one for all rows, and it is the gate's."""
    program = """if True:
        import sys
        sys.path.insert(0, ".")
        from bench import static
        for scale in ("0.5b", "3b"):
            config = static.SCALES[scale].config
            judged = static.ours(config, "sm_90")
            for tokens in (1, 128, 4099):
                other = static.ours(config, "sm_90", tokens)
                print([name for name in judged if judged[name] != other[name]])
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=100, text=True,
                          capture_output=True)  # fmt: skip
    assert done.stdout == "[]\n" * 6, done.stdout + done.stderr


@pytest.mark.slow
def test_the_gate_stops_what_it_should():
    """Tiles known to spill and to overflow, and a vocabulary that is no multiple of 8, whose logits
    are 16 bits a load; in a process of their own."""
    program = """if True:
        import sys
        from dataclasses import replace
        sys.path.insert(0, ".")
        from bench import static
        from kernels import launch
        tiles = launch.ATTENTION["sm_90"]
        tiles["forward"][128], tiles["backward_q"][128] = (128, 128, 4, 2), (128, 128, 8, 4)
        scale = static.SCALES["3b"]
        config = replace(scale.config, vocab_size=scale.config.vocab_size + 1)
        static.SCALES["3b"] = replace(scale, config=config)
        sys.exit(static.main(["--scales", "3b", "--archs", "sm_90"]))
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, timeout=300,
                          capture_output=True)  # fmt: skip
    failures = json.loads(done.stdout.splitlines()[-1])["failures"]
    assert done.returncode == 1
    assert {line.split(",")[0] for line in failures} == {
        "3b attention forward", "3b attention dQ", "3b cross-entropy"}  # fmt: skip
    assert any("forward, sm_90: spill" in line for line in failures)
    assert any("dQ, sm_90: shared" in line for line in failures)
    assert any("cross-entropy, sm_90: narrow" in line for line in failures)


@pytest.mark.slow
def test_the_gate_names_mistakes():
    code, _, err = static("--scales", "4b", "--archs", "sm_91")
    assert code == 2 and "--scales 4b" in err and "did you mean sm_90?" in err


# ---- the benchmark --------------------------------------------------------------------------


def test_what_the_benchmark_times_is_right_and_runs():
    """Its cases on a few tokens, with a clock of our own: every implementation gives the same."""
    from bench import kernels as bench

    seen = {}
    for case in bench.cases(TINY, 24, 10, "cpu", torch.float32):
        for name in ("varlen_attn", "compiled"):  # need a GPU; a compiler, and time
            case.implementations.pop(name, None)
        outputs = [function(*case.inputs) for function in case.implementations.values()]
        for other in outputs[1:]:
            torch.testing.assert_close(outputs[0], other, rtol=1e-5, atol=1e-5)
        rows = bench.measure(case, time=lambda call: (call(), 2.0)[1])
        seen[case.name] = [row["implementation"] for row in rows]
        assert all(row.get("both_ms") == 2.0 for row in rows), rows
    assert {name: "ours" in found and "torch" in found for name, found in seen.items()} == (
        dict.fromkeys(["attention", "linear_cross_entropy", "rms_norm", "rope", "swiglu"], True)
    )


@pytest.mark.slow
def test_tuning_gives_the_fastest_tiles_and_leaves_the_table_alone(monkeypatch):
    from bench import kernels as bench

    small = {scale: SimpleNamespace(config=replace(TINY, num_attention_heads=1, head_dim=width))
             for scale, width in (("0.5b", 64), ("3b", 128))}  # fmt: skip
    monkeypatch.setattr(bench, "SCALES", small)
    before = repr(launch.ATTENTION)
    clock = iter([3.0, 1.0] * 6)
    found = bench.tune("cpu", 20, [(64, 32, 4, 2), (64, 64, 4, 2)],
                       lambda call: call() or next(clock))  # fmt: skip
    best = {64: (64, 64, 4, 2), 128: (64, 64, 4, 2)}
    assert found == {"sm_90": {k: best for k in ("forward", "backward_q", "backward_kv")}}
    assert repr(launch.ATTENTION) == before


def test_the_benchmark_names_all_mistakes(capsys):
    from bench import kernels as bench

    assert bench.main(["--scales", "3b,x", "--tokens", "a", "--document", "-1"]) == 2
    err = capsys.readouterr().err
    assert "--scales x" in err and "--tokens a" in err and "--document -1" in err


@pytest.mark.slow
def test_without_a_gpu_the_benchmark_says_so_and_judges_the_kernels():
    done = subprocess.run([sys.executable, "bench/kernels.py", "--scales", "0.5b"], cwd=ROOT,
                          text=True, capture_output=True, timeout=900)  # fmt: skip
    assert done.returncode == 0 and "no GPU here, so nothing is timed" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["failures"] == []
