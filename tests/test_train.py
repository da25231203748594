"""train.py as a user meets it: a step's arithmetic, what it writes, resuming, mistakes."""

import dataclasses
import json
import os
import shutil
import signal
import time

import pytest
import torch
from conftest import SHARED, metrics, weights
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import model as models
import train
from common import cli, hub
from data import toy
from engine.reference import greedy
from training import checkpoint, setup

TOY = ("--scale", "toy-xs", "--format", "reasoning", "--val", "16", "--show", "0",
       "--batch", "32")  # fmt: skip


def prepared(*arguments):
    return setup.prepare(*train.parse([str(a) for a in arguments]))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def near(a, b, relative):
    assert a.keys() == b.keys()
    for key in a:
        scale = b[key].abs().max().clamp_min(1e-12)
        assert (a[key] - b[key]).abs().max() / scale <= relative, key


# ---- the arithmetic of a step ---------------------------------------------------------------


@pytest.mark.parametrize("loss_mean", ["token", "sample"])
@pytest.mark.parametrize("format", ["mixed", "sequential"])
def test_p3_accumulation_1_2_4_gives_the_same_gradients(loss_mean, format, cache, tmp_path):
    found = []
    for row_tokens in (2048, 900, 430):
        arguments = ("--scale", "toy-s", "--format", format, "--ratio", 0.5, "--max-len", 128,
                     "--row-tokens", row_tokens, "--loss-mean", loss_mean, "--samples", 96,
                     "--batch", 32, "--cache", cache, "--out", tmp_path / "run",
                     "--clip", 1e9)  # fmt: skip
        run = prepared(*arguments)
        model = models.initialise(models.build(run.config), 0)
        step = run.plan.steps[1]
        rows = list(train.rows_of(run, step, [1.0] * 32, "cpu"))
        loss, _ = train.backward(run, model, step, "cpu")
        found.append((len(rows), loss.item(), {k: p.grad for k, p in model.named_parameters()}))
    assert [rows for rows, _, _ in found] == [1, 2, 4]
    for _, loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][1], rel=1e-6)
        near(gradients, found[0][2], 1e-6)


def test_p3_the_two_loss_means_are_what_they_say(cache, tmp_path):
    for loss_mean in ("token", "sample"):
        run = prepared("--scale", "toy-xs", "--format", "mixed", "--ratio", 0.5, "--loss-mean",
                       loss_mean, "--batch", 32, "--cache", cache,
                       "--out", tmp_path / "run")  # fmt: skip
        model, step = models.initialise(models.build(run.config), 0), run.plan.steps[0]
        sums, counts = [], []
        for i, format in zip(step.samples, step.formats, strict=True):  # one sample at a time
            prompt, answer = run.pairs.prompt(i).tolist(), run.pairs.answer(i, format).tolist()
            ids = torch.tensor(prompt + answer)
            logits = model(ids, torch.tensor([0, len(ids)], dtype=torch.int32))
            predicted = logits[len(prompt) - 1 : -1]
            sums.append(F.cross_entropy(predicted, ids[len(prompt) :], reduction="sum").item())
            counts.append(len(answer))
        by_sample = sum(s / n for s, n in zip(sums, counts, strict=True)) / 32
        expected = {"token": sum(sums) / sum(counts), "sample": by_sample}[loss_mean]
        loss, _ = train.backward(run, model, step, "cpu")
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def plain_loop(folder, run, epochs_of_steps):
    """The same training with transformers' model and a plain optimiser: one sample at a time."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for step in epochs_of_steps:
        tokens = sum(len(run.pairs.answer(i, f)) for i, f in zip(step.samples, step.formats))  # noqa: B905
        total = 0.0
        for i, format in zip(step.samples, step.formats, strict=True):
            prompt, answer = run.pairs.prompt(i).tolist(), run.pairs.answer(i, format).tolist()
            ids = torch.tensor([prompt + answer])
            labels = torch.tensor([[-100] * len(prompt) + answer])
            logits = model(ids).logits[:, :-1].flatten(0, 1)
            loss = F.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = step.lr
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses


def test_losses_equal_a_plain_transformers_loop(base, cache, tmp_path):
    arguments = ("--scale", "0.5b", "--format", "mixed", "--ratio", 0.25, "--init", base, "--data",
                 "toy", "--samples", 160, "--batch", 16, "--lr", 1e-3, "--max-len", 512, "--cache",
                 cache, "--out", tmp_path / "run", "--warmup", 2)  # fmt: skip
    run = prepared(*arguments)
    assert train.main([str(a) for a in arguments]) == 0
    ours = [line["loss"] for line in metrics(tmp_path / "run")]
    theirs = plain_loop(base, run, run.plan.steps)
    assert len(ours) == 10 and ours == pytest.approx(theirs, rel=1e-4)
    assert ours[-1] < ours[0] - 0.3


REAL = [
    ("marco_o1_demo.jsonl", "ift", None),
    ("marco_o1_demo.jsonl", "reasoning", None),
    ("paired_deepseek-r1-distill-qwen-32b.jsonl", "sequential", 0.25),
]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "pairs").is_dir(), reason="real pairs are not beside the project")
@pytest.mark.parametrize("file, format, ratio", REAL)
def test_real_pairs_and_tokenizer_equal_a_plain_transformers_loop(
    file, format, ratio, cache, tmp_path, capsys
):
    import transformers

    folder = tmp_path / "base"
    torch.manual_seed(5)
    config = transformers.Qwen2Config(
        vocab_size=151_936, hidden_size=128, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    theirs = transformers.AutoModelForCausalLM.from_config(config)
    assert 19e6 < theirs.num_parameters() < 21e6
    theirs.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHARED / "qwen/qwen2.5" / name, folder)
    arguments = ["--scale", "0.5b", "--format", format, "--init", folder, "--data",
                 SHARED / "pairs" / file, "--skip-bad", "--val", 8, "--batch", 2, "--samples", 40,
                 "--lr", 1e-4, "--max-len", 4096, "--cache", cache,
                 "--out", tmp_path / "run"]  # fmt: skip
    arguments += ["--ratio", ratio] if ratio else []
    run = prepared(*arguments)
    assert len(run.pairs.problems) == (27 if "r1" in file else 0)
    assert train.main([str(a) for a in arguments]) == 0
    ours = [line["loss"] for line in metrics(tmp_path / "run")]
    theirs = plain_loop(folder, run, run.plan.steps)
    assert len(ours) == 20 and ours == pytest.approx(theirs, rel=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run/model")
    messages = [{"role": "user", "content": "What is 2+2?\n\nBe brief."}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert rendered["input_ids"] == run.chat.prompt(messages)
    assert tokenizer.eos_token_id == 151645
    assert weights(tmp_path / "run").keys() == load_file(folder / "model.safetensors").keys()


# ---- what a run writes ----------------------------------------------------------------------


def test_a_run_writes_all_it_promises(cache, tmp_path, capsys):
    arguments = [*TOY, "--samples", "640", "--cache", str(cache), "--out", str(tmp_path / "run")]
    assert train.main(arguments + ["--val-every", "10"]) == 0
    lines = metrics(tmp_path / "run", everything=True)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert lines[-1]["loss"] < lines[0]["loss"] - 1
    for line in lines:
        assert line["samples"] == 32 and line["reasoning_weight"] == 1.0 and line["mfu"] is None
        assert line["answer_tokens"] < line["tokens"] and line["padding"] == 0
        assert line["tokens_per_second"] > 0 and line["peak_memory"] > 0
    assert set(lines[9]["val_loss"]) == {"ift", "reasoning"} and "val_loss" not in lines[8]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["samples"] == 640 and summary["paired"] and summary["dropped_pairs"] == 0
    assert summary["train_flops"]["exact"] == sum(line["flops_exact"] for line in lines)
    assert summary["train_flops"]["paper"] == lines[-1]["total_flops_paper"]
    assert summary["val_loss"] == lines[-1]["val_loss"]
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["origin"]["init"] == "scale" and record["origin"]["ratio"] == "format"
    assert record["origin"]["samples"] == "command line" and "warmup" not in record["origin"]
    out = capsys.readouterr().out
    assert max(map(len, (line for line in out.splitlines() if line.startswith("step ")))) <= 80
    assert "weights, gradients and moments fp32" in out

    assert train.main(arguments + ["--val-every", "10"]) == 0  # the same command again
    assert "is finished" in capsys.readouterr().out


def test_mixed_runs_report_reasonings_shares(cache, tmp_path):
    shares = {}
    for loss_mean in ("token", "sample"):
        out = tmp_path / loss_mean
        assert train.main(["--scale", "toy-xs", "--format", "mixed", "--ratio", "0.25", "--samples",
                           "640", "--batch", "32", "--loss-mean", loss_mean, "--out", str(out),
                           "--show", "0", "--cache", str(cache)]) == 0  # fmt: skip
        lines = metrics(out)
        assert sum(line["reasoning_samples"] for line in lines) / 20 == pytest.approx(0.25)
        shares[loss_mean] = sum(line["reasoning_weight"] for line in lines) / 20
        assert all(line["reasoning_answer_tokens"] > line["reasoning_samples"] for line in lines)
    assert shares["token"] > 0.45 and shares["sample"] == pytest.approx(0.25)


def test_p11_p12_the_export_stops_and_renders_in_transformers(base, cache, tmp_path):
    import transformers

    arguments = ["--scale", "0.5b", "--format", "ift", "--init", base, "--data", "toy", "--samples",
                 3200, "--lr", 1e-2, "--max-len", 512, "--cache", cache, "--out", tmp_path / "run",
                 "--system", "Answer."]  # fmt: skip
    assert train.main([str(a) for a in arguments]) == 0
    folder = tmp_path / "run/model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    run = prepared(*arguments)
    chat = run.chat
    assert tokenizer.eos_token == "<|im_end|>"
    assert theirs.config.eos_token_id == theirs.generation_config.eos_token_id == chat.stop_ids
    written = json.loads((folder / "generation_config.json").read_text())
    assert not {"temperature", "top_p", "top_k", "do_sample", "repetition_penalty"} & set(written)
    ours = models.load(folder)
    i = run.plan.val[0]
    prompt = [*run.system.tolist(), *run.pairs.prompt(i).tolist()]
    text = next(r for n, r in enumerate(toy.rows()) if n == run.pairs.where[i][1] - 1)["prompt"]
    messages = [{"role": "user", "content": text}]
    assert (
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        == prompt
    )
    logits = ours(torch.tensor(prompt), torch.tensor([0, len(prompt)], dtype=torch.int32))
    assert torch.allclose(theirs(torch.tensor([prompt])).logits[0], logits, atol=1e-5)
    answer = theirs.generate(torch.tensor([prompt]), max_new_tokens=60, do_sample=False)
    answer = answer[0, len(prompt) :].tolist()
    assert answer[-1] == chat.end and len(answer) < 60  # it stops
    assert greedy(ours, [prompt], 60, chat.stop_ids, chat.ids_in_use)[0] == answer
    assert json.loads((tmp_path / "run/config.json").read_text())["think_ids"]["<think>"] == [350]


def test_p17_p18_masters_moments_and_rope_are_fp32_under_bf16(cache, tmp_path, monkeypatch):
    rotate, seen = models.rotate, set()

    def watched(q, k, cos, sin):
        seen.update({(q.dtype, cos.dtype, sin.dtype), (k.dtype, cos.dtype, sin.dtype)})
        return rotate(q, k, cos, sin)

    monkeypatch.setattr(models, "rotate", watched)
    arguments = ["--scale", "toy-s", "--format", "ift", "--samples", "640", "--cache", str(cache),
                 "--show", "0"]  # fmt: skip
    for dtype in ("bf16", "fp32"):
        assert train.main([*arguments, "--dtype", dtype, "--out", str(tmp_path / dtype)]) == 0
    fp32 = torch.float32  # sharding casts weights to bf16, but must not cast the tables
    assert seen == {(torch.bfloat16, fp32, fp32), (fp32, fp32, fp32)}
    state = next((tmp_path / "bf16/checkpoints").glob("*/rank-0.safetensors"))
    assert {tensor.dtype for tensor in load_file(state).values()} == {torch.float32}
    assert {t.dtype for t in weights(tmp_path / "bf16").values()} == {torch.bfloat16}
    a, b = ([line["loss"] for line in metrics(tmp_path / d)] for d in ("bf16", "fp32"))
    assert a != b and a == pytest.approx(b, rel=0.02)


# ---- stopping and resuming ------------------------------------------------------------------

RUN = (*TOY, "--samples", "640", "--save-minutes", "0")


def wait_for_step(folder, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / f"checkpoints/step-{step:08}").is_dir():
            return
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint {step} in {folder}")


def test_p22_kill_9_and_resume_is_bitwise_the_undisturbed_run(run, tmp_path):
    assert run(*RUN, "--out", tmp_path / "whole").returncode == 0
    killed_at = []
    for attempt in range(3):
        process = run(*RUN, "--out", tmp_path / "killed", wait=False)
        wait_for_step(tmp_path / "killed", 5 * (attempt + 1))
        process.kill()
        process.communicate()
        killed_at.append(len(metrics(tmp_path / "killed")))
    assert killed_at[-1] < 20, "it finished before it was killed"
    ended = run(*RUN, "--out", tmp_path / "killed")
    assert ended.returncode == 0 and "resuming after step" in ended.out
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    name = "checkpoints/step-00000020/rank-0.safetensors"
    assert same(load_file(tmp_path / "killed" / name), load_file(tmp_path / "whole" / name))
    a, b = (json.loads((tmp_path / d / "summary.json").read_text()) for d in ("killed", "whole"))
    assert a == b
    assert len(list((tmp_path / "killed/checkpoints").glob("step-*"))) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(number, run, tmp_path):
    arguments = (*TOY, "--samples", "6400", "--out", tmp_path / "run")
    process = run(*arguments, wait=False)
    while process.poll() is None and not process.stdout.readline().startswith("step   5"):
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number and f"{number.name}: saved after step" in out, err
    saved = len(metrics(tmp_path / "run"))
    assert (tmp_path / f"run/checkpoints/step-{saved:08}").is_dir() and saved < 200
    assert f"resuming after step {saved} " in run(*arguments).out


def test_a_truncated_checkpoint_falls_back_to_the_one_before(run, tmp_path):
    assert run(*RUN, "--out", tmp_path / "run").returncode == 0
    whole = metrics(tmp_path / "run"), weights(tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    state = tmp_path / "run/checkpoints/step-00000020/rank-0.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    ended = run(*RUN, "--out", tmp_path / "run")
    assert ended.returncode == 0 and "step-00000020 is not whole" in ended.err
    assert "resuming after step 19 of 20" in ended.out
    assert metrics(tmp_path / "run") == whole[0] and same(weights(tmp_path / "run"), whole[1])


def test_p23_a_changed_option_is_refused_with_the_difference(cache, tmp_path, capsys):
    arguments = [*TOY, "--samples", "64", "--cache", str(cache), "--out", str(tmp_path / "run")]
    assert train.main(arguments) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    capsys.readouterr()
    assert train.main([*arguments, "--seed", "3", "--batch", "16", "--scale", "toy-x"]) == 2
    err = capsys.readouterr().err
    assert "seed: 0 there, 3 here" in err and "batch: 32 there, 16 here" in err
    assert "--scale toy-x" in err  # and every other mistake with it
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert train.main([*arguments, "--row-tokens", "4096"]) == 0  # the machine's business


def test_p23_changed_data_is_refused(base, cache, tmp_path, capsys):
    file = tmp_path / "pairs.jsonl"
    rows = [json.dumps(row) + "\n" for row in toy.rows(80)]
    arguments = ["--scale", "0.5b", "--format", "ift", "--init", str(base), "--data", str(file),
                 "--val", "8", "--max-len", "512", "--cache", str(cache), "--out",
                 str(tmp_path / "run")]  # fmt: skip
    file.write_text("".join(rows))
    assert train.main(arguments) == 0
    file.write_text("".join(rows[::-1]))
    capsys.readouterr()
    assert train.main(arguments) == 2 and "content:" in capsys.readouterr().err


# ---- the user's mistakes --------------------------------------------------------------------


def mistakes(arguments, capsys):
    """The messages of a command that must fail at once, without a file written."""
    assert train.main([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def test_many_mistakes_are_told_at_once(base, cache, tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text(json.dumps({"prompt": "a", "ift": "", "reasoning": "b"}))
    (tmp_path / "file").write_text("")
    err = mistakes(
        ["--scale", "3B", "--format", "reason", "--ratio", "1.5", "--data", tmp_path / "bad.jsonl",
         "--out", tmp_path / "file/run", "--batch", 0, "--lr", "nan", "--row-tokens", 5],
        capsys,
    )  # fmt: skip
    for word in ("--scale 3B", "did you mean 3b?", "--format reason", "did you mean reasoning?",
                 "--ratio 1.5", "--batch 0", "--lr nan", "--row-tokens 5: at least --max-len",
                 "cannot write in", "bad.jsonl:1: ift is empty"):  # fmt: skip
        assert word in err, (word, err)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.jsonl", "file"]


BAD_DATA = {
    "missing file": (None, "no such file or folder"),
    "wrong columns": ('{"text": "a"}', "has the columns text; expected prompt"),
    "an empty answer": ('{"prompt": "a", "ift": "", "reasoning": "<think>a</think>b"}', "is empty"),
    "no </think>": ('{"prompt": "a", "ift": "b", "reasoning": "<think>a"}', "has no </think>"),
    "invalid UTF-8": (b'{"prompt": "\xff\xfe"}', "invalid UTF-8"),
    "invalid JSON": ('{"prompt": "a"', "invalid JSON"),
    "the other format only": ('{"prompt": "a", "ift": "b"}', "no reasoning answers in it"),
    "all too long": (json.dumps({"prompt": "a", "ift": "b" * 300}), "none is left"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_told_before_any_weights_are_read(
    case, base, cache, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(train, "load_weights", None)  # calling it would be an error
    content, message = BAD_DATA[case]
    format = "ift" if case == "all too long" else "reasoning"
    file = tmp_path / "pairs.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ["--scale", "0.5b", "--format", format, "--init", base, "--data", file, "--val", 0,
                 "--max-len", 256, "--cache", cache, "--out", tmp_path / "run"]  # fmt: skip
    err = mistakes(arguments, capsys)
    assert message in err and str(file) in err and not (tmp_path / "run").exists()


def test_skip_bad_goes_on_and_counts(base, cache, tmp_path, capsys):
    rows = [json.dumps(row) for row in toy.rows(40)]
    rows[7] = '{"prompt": "a"'
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    arguments = ["--scale", "0.5b", "--format", "ift", "--init", base, "--data",
                 tmp_path / "pairs.jsonl", "--val", 7, "--max-len", 256, "--cache", cache, "--out",
                 tmp_path / "run"]  # fmt: skip
    assert "pairs.jsonl:8: invalid JSON" in mistakes(arguments, capsys)
    assert train.main([str(a) for a in [*arguments, "--skip-bad"]]) == 0
    assert "1 bad rows left out" in capsys.readouterr().out
    assert json.loads((tmp_path / "run/summary.json").read_text())["samples"] == 32


def test_an_unpaired_file_trains_and_says_so(base, cache, tmp_path):
    rows = [{k: row[k] for k in ("prompt", "ift")} for row in toy.rows(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert train.main(["--scale", "0.5b", "--format", "ift", "--init", str(base), "--data",
                       str(tmp_path / "pairs.jsonl"), "--val", "8", "--max-len", "256", "--cache",
                       str(cache), "--out", str(tmp_path / "run")]) == 0  # fmt: skip
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["paired"] is False and set(summary["val_loss"]) == {"ift"}


def test_bad_bases_are_told(base, cache, tmp_path, capsys):
    common = ["--scale", "0.5b", "--format", "ift", "--data", "toy", "--cache", cache, "--max-len",
              256, "--out", tmp_path / "run", "--init"]  # fmt: skip
    assert "no such file or folder" in mistakes([*common, tmp_path / "gone"], capsys)
    (tmp_path / "empty").mkdir()
    assert "no config.json" in mistakes([*common, tmp_path / "empty"], capsys)
    err = mistakes([*common, "Qwen/Qwen2.5-0.5B"], capsys)
    assert "cannot download this model" in err and "--init /path/to/Qwen2.5-0.5B" in err

    small = tmp_path / "small"
    shutil.copytree(base, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    assert "vocabulary of 300 is smaller than the tokenizer's 352" in mistakes(
        [*common, small], capsys
    )
    (small / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100}))
    assert "the model reads 100 tokens" in mistakes([*common, small], capsys)
    (small / "config.json").write_text(json.dumps(config))
    (small / "model.safetensors").unlink()
    assert "no model.safetensors" in mistakes([*common, small], capsys)
    (small / "tokenizer.json").write_text("{")
    assert "its tokenizer cannot be read" in mistakes([*common, small], capsys)
    assert not (tmp_path / "run").exists()


def test_a_data_id_without_a_network_says_how_to_pass_a_folder(base, cache, tmp_path, capsys):
    err = mistakes(["--scale", "0.5b", "--format", "ift", "--init", base, "--cache", cache,
                    "--max-len", 256, "--out", tmp_path / "run"], capsys)  # fmt: skip
    assert "--data Scale-or-Reason/general-reasoning-ift-pairs: no such path" in err
    assert "--data /path/to/general-reasoning-ift-pairs" in err


def test_a_folder_with_other_files_is_not_taken_for_a_run(cache, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("my only copy")
    err = mistakes([*TOY, "--cache", cache, "--out", tmp_path], capsys)
    assert "holds other files" in err


def test_nan_stops_the_run_names_the_sample_and_keeps_the_checkpoint(base, cache, tmp_path, capsys):
    broken = tmp_path / "broken"  # an untied base in which one token, in one prompt, is NaN
    shutil.copytree(base, broken)
    config = json.loads((broken / "config.json").read_text()) | {"tie_word_embeddings": False}
    (broken / "config.json").write_text(json.dumps(config))
    tensors = load_file(broken / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.clone()
    embedding[toy.tokenizer().encode("~", add_special_tokens=False).ids] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    arguments = ["--scale", "0.5b", "--format", "ift", "--init", broken, "--data",
                 tmp_path / "pairs.jsonl", "--val", 0, "--batch", 4, "--max-len", 256,
                 "--save-minutes", 0, "--cache", cache, "--out", tmp_path / "run"]  # fmt: skip
    rows = list(toy.rows(128))
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    poisoned = int(prepared(*arguments).plan.steps[9].samples[2])
    rows[poisoned]["prompt"] += "~"
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code = train.main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert code == 1 and "step 10: loss nan" in err
    assert f"from the samples pairs.jsonl:{poisoned + 1}. " in err
    assert "Kept: step-00000008, step-00000009" in err and len(metrics(tmp_path / "run")) == 9
    assert (tmp_path / "run/checkpoints/step-00000009").is_dir()
    assert not (tmp_path / "run/summary.json").exists()


# ---- options --------------------------------------------------------------------------------


def test_dry_run_prints_the_plan_and_writes_nothing(cache, tmp_path, capsys):
    arguments = [*TOY, "--cache", str(cache), "--out", str(tmp_path / "run"), "--dry-run"]
    assert train.main([*arguments, "--flops-budget", "1e10"]) == 0
    out = capsys.readouterr().out
    for word in (
        "student",
        "pairs",
        "steps",
        "tokens",
        "FLOPs",
        "memory",
        "lr",
        "stops at",
        "kept",
    ):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80
    assert not (tmp_path / "run").exists()
    spent = float(out.split("FLOPs")[1].split()[0])
    assert 0.95e10 < spent <= 1e10


def test_more_samples_than_there_are_is_refused(cache, tmp_path, capsys):
    arguments = [*TOY, "--samples", 10**6, "--cache", cache, "--out", tmp_path / "run"]
    assert "there are 19984 to train on" in mistakes(arguments, capsys)


ODD = {
    "seed": (["--seed", 10**20], "below 2**63"),
    "row tokens": (["--row-tokens", 0], "--row-tokens 0"),
    "system": (["--system", "\udcff"], "not valid UTF-8"),
    "cache": (["--cache", "README.md"], "--cache README.md: cannot write"),
    "long name": (["--out", "x" * 300], "cannot write in"),
    "no id": (["--data", "my/own--pairs"], "no such path here"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_options_are_one_line_not_a_traceback(case, cache, tmp_path, capsys):
    extra, message = ODD[case]
    err = mistakes([*TOY, "--cache", cache, "--out", tmp_path / "run", *extra], capsys)
    assert message in err


def test_a_model_folder_or_broken_weights_are_told(base, cache, tmp_path, capsys):
    err = mistakes([*TOY, "--cache", cache, "--out", base], capsys)
    assert "its config.json is not of a run" in err
    pointer = tmp_path / "pointer"
    shutil.copytree(base, pointer)
    (pointer / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    err = mistakes(["--scale", "0.5b", "--format", "ift", "--data", "toy", "--cache", cache,
                    "--init", pointer, "--max-len", 256,
                    "--out", tmp_path / "run"], capsys)  # fmt: skip
    assert "git lfs pull" in err and not (tmp_path / "run").exists()


def test_two_processes_on_one_run_folder_are_refused(run, tmp_path):
    first = run(*TOY, "--samples", "19000", "--out", tmp_path / "run", wait=False)
    while first.poll() is None and not first.stdout.readline().startswith("step   2"):
        pass
    second = run(*TOY, "--samples", "19000", "--out", tmp_path / "run")
    first.kill()
    assert second.returncode == 2 and "another process is at work there" in second.err
    first.communicate()


def test_two_unreadable_checkpoints_do_not_stop_a_run_from_saving(run, tmp_path):
    assert run(*RUN, "--out", tmp_path / "run").returncode == 0
    whole = metrics(tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    for state in (tmp_path / "run/checkpoints").glob("*/rank-0.safetensors"):
        state.write_bytes(state.read_bytes()[:-50])
    process = run(*RUN, "--out", tmp_path / "run", wait=False)
    wait_for_step(tmp_path / "run", 7)
    process.kill()
    process.communicate()
    ended = run(*RUN, "--out", tmp_path / "run")
    assert ended.returncode == 0 and "resuming after step" in ended.out
    assert metrics(tmp_path / "run") == whole


def test_moments_are_restored_to_the_device_of_their_parameter(cache, tmp_path):
    """AdamW's fused kernels want `step` there as well; the meta device stands for a GPU."""
    arguments = [*TOY, "--samples", "64", "--cache", str(cache), "--out", str(tmp_path / "run")]
    assert train.main(arguments) == 0
    model = models.build(prepared(*arguments).config, "meta")
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    assert checkpoint.load(tmp_path / "run/checkpoints", parameters, optimizer) == 2
    devices = {v.device.type for state in optimizer.state.values() for v in state.values()}
    assert devices == {"meta"} and len(optimizer.state) == len(parameters)


def test_restart_forgets_the_moments(cache, tmp_path):
    for name, extra in (("plain", []), ("restart", ["--restart"])):
        assert train.main(["--scale", "toy-xs", "--format", "sequential", "--ratio", "0.5",
                           "--samples", "320", "--batch", "32", "--out", str(tmp_path / name),
                           "--show", "0",
                           "--warmup", "0", "--decay", "0", "--cache", str(cache),
                           *extra]) == 0  # fmt: skip
    counts = []
    for name in ("plain", "restart"):
        position = tmp_path / name / "checkpoints/step-00000010/position.json"
        counts.append(json.loads(position.read_text())["adam_step"])
    assert counts == [10, 5]
    a, b = metrics(tmp_path / "plain"), metrics(tmp_path / "restart")
    assert a[:6] == b[:6] and a[6:] != b[6:]  # the sixth loss is of the weights before it


def test_compile_gives_the_same_run(cache, tmp_path):
    for name, extra in (("eager", []), ("compiled", ["--compile"])):
        assert train.main([*TOY, "--samples", "160", "--out", str(tmp_path / name), "--cache",
                           str(cache), *extra]) == 0  # fmt: skip
    a, b = (metrics(tmp_path / name, everything=True) for name in ("eager", "compiled"))
    assert [x["loss"] for x in a] == pytest.approx([x["loss"] for x in b], rel=1e-6)
    assert all(0 < line["padding"] < 0.1 for line in b)
    near(weights(tmp_path / "eager"), weights(tmp_path / "compiled"), 1e-4)


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_p21_rows_of_many_lengths_compile_two_graphs_a_block_and_none_later(
    checkpointing, cache, tmp_path, monkeypatch
):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    graphs = []  # compiled so far, at the end of each step
    line = train.log_line
    monkeypatch.setattr(
        train, "log_line", lambda *a: graphs.append(counters["stats"]["unique_graphs"]) or line(*a)
    )
    arguments = ["--scale", "toy-l", "--format", "mixed", "--ratio", "0.5", "--samples", "320",
                 "--row-tokens", "700", "--max-len", "512", "--compile", "--show", "0", "--val",
                 "0", "--checkpointing", checkpointing, "--cache", str(cache)]  # fmt: skip
    assert train.main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert len({entry["tokens"] for entry in metrics(tmp_path / "run")}) > 5
    assert 0 < graphs[0] and graphs[2] == graphs[-1] <= 2 * 3, graphs
    assert torch._dynamo.config.fail_on_recompile_limit_hit


def test_help_names_every_option_with_its_comment(capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--help"])
    out = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    assert ended.value.code == 0 and "rho: share of the samples" in out
    for field in dataclasses.fields(train.Options):  # each has a comment, and so a help text
        flag = f"--no-{cli.flag(field.name)[2:]}" if field.type is bool else cli.flag(field.name)
        after = out.partition(f"{flag} ")[2].split(" --")[0]
        is_plain = field.name in ("epochs", "beta1", "beta2", "weight_decay")
        assert len(after.split()) > 2 or is_plain, (field.name, after)


def test_scripts_know_a_path_from_a_hub_id(tmp_path):
    assert hub.is_hub_id("Qwen/Qwen2.5-3B") and hub.is_hub_id("a/b")
    for path in ("./a/b", "/a/b", "a/b.jsonl", "a/b/c", "a", "~/a", str(tmp_path)):
        assert not hub.is_hub_id(path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
