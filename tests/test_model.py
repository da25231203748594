"""The decoder against transformers, and packed rows against documents alone."""

import json
import os

import pytest
import torch
from torch.nn import functional as F

import model as m
from common import hub
from config import Config
from engine.reference import greedy
from kernels import Documents, linear_cross_entropy

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

SHAPE = dict(
    vocab_size=96, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-6,
)  # fmt: skip
FAMILIES = {
    "qwen2-tied": (transformers.Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen2-untied": (transformers.Qwen2Config, dict(tie_word_embeddings=False)),
    "qwen3": (transformers.Qwen3Config, dict(head_dim=16, tie_word_embeddings=True)),
    "llama": (transformers.LlamaConfig, dict(tie_word_embeddings=True)),
}


def reference(name, tmp_path, **changes):
    """A transformers model whose every parameter is random (biases, norms too), and its folder."""
    make, options = FAMILIES[name]
    torch.manual_seed(7)
    theirs = transformers.AutoModelForCausalLM.from_config(make(**{**SHAPE, **options, **changes}))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.dim() == 1) * 0.7)
    theirs.save_pretrained(tmp_path / name)
    return theirs.eval(), tmp_path / name


def pack(*lengths):
    ids = torch.randint(0, SHAPE["vocab_size"], (sum(lengths),))
    cu_seqlens = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int()
    targets = ids.roll(-1)
    targets[cu_seqlens[1:].long() - 1] = -100  # no document predicts the first token of the next
    return ids, cu_seqlens, targets


def documents_of(ids, cu_seqlens):
    bounds = cu_seqlens.tolist()
    return [ids[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if b > a]


def close(a, b, relative):
    """Largest difference, relative to the largest value."""
    worst = ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()
    assert worst <= relative, f"{worst=:.2e} {relative=}"


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_loss_and_every_gradient_equal_transformers(name, tmp_path):
    theirs, folder = reference(name, tmp_path)
    ours = m.load(folder)
    ids, cu_seqlens, targets = pack(37, 1, 90, 64)
    logits = ours(ids, cu_seqlens)
    their_loss, at = 0.0, 0
    for document in documents_of(ids, cu_seqlens):
        one = theirs(document[None]).logits[0]
        assert (logits[at : at + len(document)] - one).abs().max() < 1e-5
        goal = targets[at : at + len(document)]
        if (goal != -100).any():
            their_loss = their_loss + F.cross_entropy(one, goal, ignore_index=-100, reduction="sum")
        at += len(document)
    our_loss = ours(ids, cu_seqlens, targets)
    close(our_loss, their_loss, 1e-6)
    our_loss.backward()
    their_loss.backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    assert gradients.keys() == {key for key, _ in ours.named_parameters()}
    for key, parameter in ours.named_parameters():
        close(parameter.grad, gradients[key], 1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shard_bytes", [5 * 10**9, 12_000], ids=["single", "sharded"])
def test_p13_load_then_save_gives_the_same_tensors_and_keys(name, shard_bytes, tmp_path):
    from safetensors.torch import load_file

    theirs, folder = reference(name, tmp_path)
    m.save(m.load(folder), tmp_path / "saved", eos=[3, 4], shard_bytes=shard_bytes)
    files = sorted((tmp_path / "saved").glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes < 10**9)
    before = load_file(folder / "model.safetensors")
    after = {k: v for file in files for k, v in load_file(file).items()}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)

    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = torch.randint(0, 96, (1, 50))
    assert torch.equal(again(ids).logits, theirs(ids).logits)
    assert again.config.eos_token_id == [3, 4]
    reread = m.load(tmp_path / "saved")  # our own sharded files, and our own config
    assert reread.config == Config.from_pretrained(folder)
    assert all(torch.equal(p, before[key]) for key, p in reread.named_parameters())


def test_p13_a_tied_file_that_repeats_the_head_keeps_its_key_set(tmp_path):
    from safetensors.torch import load_file, save_file

    _, folder = reference("qwen2-tied", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    m.save(m.load(folder), tmp_path / "saved")
    assert load_file(tmp_path / "saved/model.safetensors").keys() == tensors.keys()


def test_p14_old_and_new_config_keys_mean_the_same(tmp_path):
    new = json.loads((reference("qwen2-tied", tmp_path)[1] / "config.json").read_text())
    assert "rope_parameters" in new and "dtype" in new
    old = {k: v for k, v in new.items() if k not in ("rope_parameters", "dtype")}
    new["rope_parameters"]["rope_theta"] = old["rope_theta"] = 123456.0
    old |= {"torch_dtype": "float32", "rope_scaling": None}
    assert Config.from_dict(old) == Config.from_dict(new)
    assert Config.from_dict(new).rope_theta == 123456.0
    assert Config.from_dict(Config.from_dict(new).to_dict()) == Config.from_dict(new)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"use_sliding_window": True}, "sliding"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"model_type": "gemma3"}, "gemma3"),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused(change, word, tmp_path):
    raw = {**SHAPE, "model_type": "qwen2", **change}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(hub.UserError, match=word):
        Config.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    _, folder = reference("llama", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(5)
    tensors["model.extra"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(hub.UserError) as error:
        m.load(folder)
    for word in ("model.norm.weight: [5]", "model.extra: not", "0.mlp.up_proj.weight: missing"):
        assert word in str(error.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_p1_a_packed_row_equals_its_documents_alone(name, tmp_path):
    model = m.load(reference(name, tmp_path)[1])
    ids, cu_seqlens, targets = pack(37, 1, 190, 64, 30, 2)
    model(ids, cu_seqlens, targets).backward()
    packed = {k: p.grad.clone() for k, p in model.named_parameters()}
    logits = model(ids, cu_seqlens)
    model.zero_grad()
    at = 0
    for document in documents_of(ids, cu_seqlens):
        part = slice(at, at + len(document))
        alone = torch.tensor([0, len(document)], dtype=torch.int32)
        close(logits[part], model(document, alone), 2e-6)
        model(document, alone, targets[part]).backward()
        at += len(document)
    for key, parameter in model.named_parameters():
        close(packed[key], parameter.grad, 5e-6)


def test_p1_changing_a_document_leaves_its_neighbour_bitwise_unchanged(tmp_path):
    model = m.load(reference("qwen3", tmp_path)[1])
    ids, cu_seqlens, _ = pack(50, 47, 100)
    changed = ids.clone()
    changed[:50] = (changed[:50] + 1) % SHAPE["vocab_size"]
    a, b = model(ids, cu_seqlens), model(changed, cu_seqlens)
    assert torch.equal(a[50:], b[50:]) and not torch.equal(a[:50], b[:50])


def test_p2_positions_start_anew_in_every_document():
    documents = Documents(torch.tensor([0, 3, 4, 4, 6], dtype=torch.int32))
    assert documents.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert documents.length == 6


def test_a_padding_document_changes_nothing(tmp_path):
    model = m.load(reference("qwen2-tied", tmp_path)[1])
    ids, cu_seqlens, targets = pack(37, 20)
    padded = (
        F.pad(ids, (0, 71)),
        F.pad(cu_seqlens, (0, 3), value=128),
        F.pad(targets, (0, 71), value=-100),
    )
    close(model(*padded), model(ids, cu_seqlens, targets), 1e-6)


def test_p4_a_row_without_targets_gives_exactly_zero(tmp_path):
    model = m.load(reference("qwen2-untied", tmp_path)[1])
    ids, cu_seqlens, targets = pack(20)
    loss = model(ids, cu_seqlens, torch.full_like(targets, -100))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_p18_rope_tables_are_fp32_and_right_at_position_32k(tmp_path):
    config = Config.from_dict({**SHAPE, "model_type": "qwen2", "head_dim": 128, "rope_theta": 1e6})
    model = m.build(config, dtype=torch.bfloat16)  # a cast of the whole model leaves them alone
    positions = torch.tensor([0, 1, 32_767])
    cos, sin = m.rope_tables(model.config, positions)
    assert cos.dtype == sin.dtype == torch.float32
    frequencies = 1e6 ** -(torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    angles = torch.outer(positions.double(), frequencies).repeat(1, 2)
    error = max((cos[:, 0] - angles.cos()).abs().max(), (sin[:, 0] - angles.sin()).abs().max())
    assert error < 5e-3  # fp32 spacing at 32,767 rad is 2e-3; a bf16 table errs by 2
    in_bf16 = torch.outer(positions.bfloat16(), frequencies.bfloat16()).repeat(1, 2).cos()
    assert (in_bf16 - angles.cos()).abs().max() > 0.5


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("chunk", [0, 7])
def test_p19_linear_cross_entropy_equals_plain_torch(dtype, tolerance, chunk):
    torch.manual_seed(3)
    hidden = torch.randn(50, 24).to(dtype).requires_grad_()
    head = torch.randn(301, 24).to(dtype).requires_grad_()
    targets, weights = torch.randint(0, 301, (50,)), torch.rand(50)
    loss = linear_cross_entropy(hidden, head, targets, weights, chunk) * 0.3
    loss.backward()
    ours = loss.detach(), hidden.grad, head.grad
    wide = [x.detach().double().requires_grad_() for x in (hidden, head)]
    plain = F.cross_entropy(wide[0] @ wide[1].T, targets, reduction="none") @ weights.double() * 0.3
    plain.backward()
    assert ours[1].dtype == ours[2].dtype == dtype and ours[0].dtype == torch.float32
    for a, b in zip(ours, (plain.detach(), wide[0].grad, wide[1].grad), strict=True):
        close(a.double(), b, tolerance)


def test_linear_cross_entropy_without_tokens_is_zero_with_zero_gradients():
    hidden = torch.zeros(0, 8, requires_grad=True)
    head = torch.randn(20, 8, requires_grad=True)
    loss = linear_cross_entropy(hidden, head, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and not head.grad.any() and hidden.grad.shape == (0, 8)


@pytest.mark.parametrize("name", FAMILIES)
def test_decoding_with_a_cache_equals_reading_the_whole_text_again(name, tmp_path):
    model = m.load(reference(name, tmp_path)[1])
    prompts = [torch.randint(0, 96, (n,)).tolist() for n in (1, 9, 30)]
    stop = {5, 6, 7}
    answers = greedy(model, prompts, 20, stop, ids_in_use=90)
    for prompt, answer in zip(prompts, answers, strict=True):
        text = list(prompt)
        for token in answer:
            logits = model(torch.tensor(text), torch.tensor([0, len(text)], dtype=torch.int32))
            assert logits[-1, :90].argmax() == token
            text.append(token)
        assert len(answer) == 20 or answer[-1] in stop
        assert not stop & set(answer[:-1])


def test_p13_phantom_ids_are_never_taken(tmp_path):
    model = m.load(reference("qwen2-untied", tmp_path)[1])
    free = greedy(model, [[1, 2, 3]], 30, set(), ids_in_use=96)[0]
    kept = greedy(model, [[1, 2, 3]], 30, set(), ids_in_use=max(free))[0]
    assert max(free) > max(kept)


def test_compiled_blocks_give_the_same_loss_and_gradients(tmp_path):
    model = m.load(reference("qwen2-tied", tmp_path)[1])
    row = pack(37, 20, 61)
    model(*row).backward()
    eager = {k: p.grad.clone() for k, p in model.named_parameters()}
    loss = model(*row).detach()
    model.zero_grad()
    for block in model.model.layers:
        block.compute = torch.compile(block.compute, dynamic=True)
    compiled = model(*row)
    compiled.backward()
    close(compiled.detach(), loss, 1e-6)
    for key, parameter in model.named_parameters():
        close(parameter.grad, eager[key], 5e-6)
