"""A decoder for Qwen2/2.5, Qwen3 and Llama-style checkpoints, over packed rows.

    model = load("Qwen/Qwen2.5-0.5B")                        # or a local folder; save(model, path)
    logits = model(ids, cu_seqlens)                          # ids [T], cu_seqlens [N+1] -> [T, V]
    loss = model(ids, cu_seqlens, targets)                   # summed; -100 = no loss

Parameter names are Hugging Face's, so weights go in and out unchanged.
T tokens, N documents, H query heads, K key/value heads, D head width, d model width, V vocabulary.
"""

import itertools
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from common import hub, parallel
from config import Config
from kernels import Documents, add_rms_norm, attention, linear_cross_entropy, rms_norm, swiglu
from kernels import rope as rotate

# ---- the transformer ------------------------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor, added: Tensor | None = None):
        """The normalised x; or, of x + added, the pair (normalised, as it is)."""
        if added is None:
            return rms_norm(x, self.weight, self.eps)
        return add_rms_norm(x, added, self.weight, self.eps)


def rope_tables(config: Config, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin [T, 1, D] for positions [T]; always fp32: bf16 cannot tell 32,767 from 32,700."""
    exponents = torch.arange(0, config.head_dim, 2, device=positions.device).float()
    frequencies = 1.0 / config.rope_theta ** (exponents / config.head_dim)
    angles = torch.outer(positions.float(), frequencies).repeat(1, 2)[:, None]
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        d, D = config.hidden_size, config.head_dim
        H, K = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = D
        self.q_proj = nn.Linear(d, H * D, bias=config.qkv_bias)
        self.k_proj = nn.Linear(d, K * D, bias=config.qkv_bias)
        self.v_proj = nn.Linear(d, K * D, bias=config.qkv_bias)
        self.o_proj = nn.Linear(H * D, d, bias=False)
        self.q_norm = RMSNorm(D, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(D, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], context) -> Tensor:
        q = self.q_norm(self.q_proj(x).unflatten(-1, (-1, self.head_dim)))  # [T, H, D]
        k = self.k_norm(self.k_proj(x).unflatten(-1, (-1, self.head_dim)))  # [T, K, D]
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        q, k = (x.to(v.dtype) for x in rotate(q, k, *rope))
        return self.o_proj(context.attend(q, k, v).flatten(-2))


class MLP(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


class PackedRow(Documents):
    """The context of a packed row's tokens: each sees its own document, up to itself."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, self)


class Block(nn.Module):
    recompute = False  # activation checkpointing: the backward pass runs the block again

    def __init__(self, config: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], context) -> Tensor:
        """x [T, d] -> [T, d]. context.attend(q, k, v) says what a token sees: PackedRow, or a part
        of engine/cache.py's Cache."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.compute, x, rope, context, use_reentrant=False)
        return self.compute(x, rope, context)

    def compute(self, x: Tensor, rope: tuple[Tensor, Tensor], context) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x), rope, context)
        normalised, x = self.post_attention_layernorm(x, attended)
        return x + self.mlp(normalised)


class Transformer(nn.Module):
    """A decoder of the shape `config`. Its weights are unset: load() or initialise() sets them."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict()
        self.model["embed_tokens"] = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model["layers"] = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.model["norm"] = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head_in_file = not config.tie_word_embeddings  # some tied files repeat the head
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def head(self) -> Tensor:
        """[V, d], the embedding itself where the two are tied."""
        tied = self.config.tie_word_embeddings
        return (self.model.embed_tokens if tied else self.lm_head).weight

    def hidden(self, ids: Tensor, positions: Tensor, contexts) -> Tensor:
        """The head's input [T, d] for tokens ids [T] at positions [T] of their documents.

        contexts: an iterable of what each block's tokens see; see Block.forward.
        """
        x = self.model.embed_tokens(ids)
        rope = rope_tables(self.config, positions)
        for block, context in zip(self.model.layers, contexts, strict=False):
            x = block(x, rope, context)
        return self.model.norm(x)

    def forward(self, ids: Tensor, cu_seqlens: Tensor, targets=None, weights=None) -> Tensor:
        """One packed row: logits [T, V], or with targets the sum of its tokens' losses (fp32).

        ids [T] int64; cu_seqlens [N+1] int32, the documents' bounds from 0 to T; targets [T] int64,
        the token to predict at each place or -100 for no loss; weights [T] fp32 multiply losses.
        A row without targets gives exactly 0.
        """
        row = PackedRow(cu_seqlens, len(ids))
        x = self.hidden(ids, row.positions, itertools.repeat(row))
        if targets is None:
            return F.linear(x, self.head)
        answer_positions = (targets != -100).nonzero()[:, 0]
        weights = None if weights is None else weights[answer_positions]
        return linear_cross_entropy(
            x[answer_positions], self.head, targets[answer_positions], weights
        )


def initialise(model: Transformer, seed: int) -> Transformer:
    """Random weights for training from scratch: normal of std d^-0.5, biases 0, norms 1.

    The same on any number of ranks: each takes its rows of the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        local_rows = parallel.local_shard(parameter).detach()
        if name.endswith("norm.weight"):
            local_rows.fill_(1)
        elif name.endswith("bias"):
            local_rows.zero_()
        else:
            noise = torch.randn(parameter.shape, generator=generator)
            start, stop = parallel.shard_bounds(parameter)
            local_rows.copy_(noise[start:stop] * model.config.hidden_size**-0.5)
    return model


# ---- weights in and out ---------------------------------------------------------------------


def build(config: Config, device="cpu", dtype=torch.float32) -> Transformer:
    """A Transformer with uninitialised weights, which are not computed twice: meta device first."""
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    return model.to_empty(device=device)


def load(path: str | Path, device="cpu", dtype=torch.float32) -> Transformer:
    """The model of a Hugging Face folder or Hub id. Raises as load_weights does."""
    folder = hub.fetch(str(path), files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))
    model = build(Config.from_pretrained(folder), device, dtype)
    load_weights(model, folder)
    return model


def load_weights(model: Transformer, path: str | Path):
    """Fills the parameters from safetensors, in one file or several; each rank reads its own rows.

    path: a Hugging Face folder or Hub id. Raises hub.UserError for missing files, and for tensors
    that are missing, unknown or misshapen.
    """
    folder = hub.fetch(str(path), files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))
    parameters, loaded, problems = dict(model.named_parameters()), set(), []
    for file, name in tensors_of(weight_files(folder)):
        if name.endswith("rotary_emb.inv_freq"):
            continue  # a table that old checkpoints carry; rope_tables computes it
        is_tied_head = name == "lm_head.weight" and model.config.tie_word_embeddings
        model.head_in_file |= is_tied_head
        key = "model.embed_tokens.weight" if is_tied_head else name
        if key not in parameters:
            problems.append(f"{name}: not a parameter of this architecture")
            continue
        parameter = parameters[key]
        loaded.add(key)
        with safe_open(
            file, framework="pt"
        ) as tensors:  # opened again: its pages are freed with it
            rows = tensors.get_slice(name)
            if tuple(rows.get_shape()) == tuple(parameter.shape):
                start, stop = parallel.shard_bounds(parameter)
                parallel.local_shard(parameter).detach().copy_(rows[start:stop])
            else:
                shape = list(parameter.shape)
                problems.append(f"{name}: {rows.get_shape()}, config.json says {shape}")
    problems += [f"{name}: missing" for name in parameters if name not in loaded]
    if problems:
        raise hub.UserError("\n  ".join([f"{folder}: these weights do not fit", *problems[:20]]))


def tensors_of(files: list[Path]) -> list[tuple[Path, str]]:
    """(file, name) of every tensor; UserError for a file that is no safetensors."""
    names = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                names += [(file, name) for name in tensors.keys()]
        except SafetensorError as error:
            hint = (
                "; if it is a git-lfs pointer, git lfs pull" if file.stat().st_size < 1000 else ""
            )
            raise hub.UserError(f"{file}: no safetensors file ({error}){hint}") from error
    return names


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; UserError names the ones that are missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError) as error:
            raise hub.UserError(f"{index}: cannot be read: {error!r}") from error
        names = sorted(set(weight_map.values()))
    else:
        names = ["model.safetensors"]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise hub.UserError(f"{folder}: no {', '.join(missing)} (weights must be safetensors)")
    return [folder / name for name in names]


def save(model: Transformer, path: str | Path, dtype=None, eos=None, shard_bytes=5 * 10**9):
    """Writes config.json and safetensors to the folder `path`, in shards over `shard_bytes`.

    The key set is that of the file the model came from. dtype: of the weights (None: as they are).
    eos: ids that end an answer, for config.json. Every rank of a sharded model must call it; the
    first one writes, holding one shard of the file at a time.
    """
    folder, is_first = Path(path), parallel.rank() == 0
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    if model.config.tie_word_embeddings and model.head_in_file:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    dtype = dtype or tensors["model.norm.weight"].dtype
    width = torch.empty((), dtype=dtype).element_size()
    files = names_by_file({name: x.numel() * width for name, x in tensors.items()}, shard_bytes)
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
    for file, names in files.items():
        gathered = {}
        for name in names:
            tensor = parallel.gather(tensors[name])
            if is_first:  # cloned: two names of one tensor are two tensors in a file
                tensor = tensor.to("cpu", dtype).clone(memory_format=torch.contiguous_format)
                gathered[name] = tensor
        if is_first:
            save_file(gathered, folder / file, metadata={"format": "pt"})
    if not is_first:
        return
    if len(files) > 1:
        total = sum(tensor.numel() * width for tensor in tensors.values())
        weight_map = {name: file for file, names in files.items() for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    fields = model.config.to_dict(str(dtype).removeprefix("torch."), eos)
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")


def names_by_file(sizes: dict[str, int], most: int) -> dict[str, list[str]]:
    """{file: names of its tensors}, in order, each of at most `most` bytes or a single tensor."""
    shards, size = [[]], 0
    for name, bytes_of_it in sizes.items():
        if shards[-1] and size + bytes_of_it > most:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += bytes_of_it
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    count = len(shards)
    return {f"model-{i:05}-of-{count:05}.safetensors": s for i, s in enumerate(shards, 1)}
