"""A decoder for Qwen2/2.5, Qwen3 and Llama-style checkpoints, over packed rows.

    model = load("Qwen/Qwen2.5-0.5B")                        # or a local folder; save(model, path)
    logits = model(ids, cu_seqlens)                          # ids [T], cu_seqlens [N+1] -> [T, V]
    loss = model(ids, cu_seqlens, targets)                   # summed; -100 = no loss
    answers = greedy(model, [prompt_ids], 100, stop_ids, ids_in_use)  # one by one

Parameter names are Hugging Face's, so weights go in and out unchanged.
T tokens, N documents, n sequences decoded, H query heads, K key/value heads, D head width,
d model width, V vocabulary.
"""

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

    def forward(self, x: Tensor, rope, documents: Documents | None, cache=None) -> Tensor:
        q = self.q_norm(self.q_proj(x).unflatten(-1, (-1, self.head_dim)))  # [T, H, D]
        k = self.k_norm(self.k_proj(x).unflatten(-1, (-1, self.head_dim)))  # [T, K, D]
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        q, k = (x.to(v.dtype) for x in rotate(q, k, *rope))
        if cache is not None:
            cache.write(k, v)
        mixed = attention(q, k, v, documents) if documents is not None else cache.attend(q)
        return self.o_proj(mixed.flatten(-2))


class MLP(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


class Block(nn.Module):
    recompute = False  # activation checkpointing: the backward pass runs the block again

    def __init__(self, config: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope, documents: Documents | None, cache=None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.compute, x, rope, documents, use_reentrant=False)
        return self.compute(x, rope, documents, cache)

    def compute(self, x: Tensor, rope, documents: Documents | None, cache=None) -> Tensor:
        mixed = self.self_attn(self.input_layernorm(x), rope, documents, cache)
        normal, x = self.post_attention_layernorm(x, mixed)
        return x + self.mlp(normal)


class Transformer(nn.Module):
    """A decoder of the shape `config`. Its weights are unset: load() or initialise() sets them."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(config.vocab_size, config.hidden_size),
                "layers": nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers)),
                "norm": RMSNorm(config.hidden_size, config.rms_norm_eps),
            }
        )
        self.head_in_file = not config.tie_word_embeddings  # some tied files repeat the head
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def head(self) -> Tensor:
        """[V, d], the embedding itself where the two are tied."""
        tied = self.config.tie_word_embeddings
        return (self.model.embed_tokens if tied else self.lm_head).weight

    def hidden(self, ids: Tensor, positions: Tensor, documents=None, caches=None) -> Tensor:
        """The head's input [T, d] for tokens ids [T] at positions [T] of their documents."""
        x = self.model.embed_tokens(ids)
        rope = rope_tables(self.config, positions)
        for i, block in enumerate(self.model.layers):
            x = block(x, rope, documents, caches[i] if caches else None)
        return self.model.norm(x)

    def forward(
        self,
        ids: Tensor,
        cu_seqlens: Tensor,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """One packed row: logits [T, V], or with targets the sum of its tokens' losses (fp32).

        ids [T] int64; cu_seqlens [N+1] int32, the documents' bounds from 0 to T; targets [T] int64,
        the token to predict at each place or -100 for no loss; weights [T] fp32 multiply losses.
        A row without targets gives exactly 0.
        """
        documents = Documents(cu_seqlens, len(ids))
        x = self.hidden(ids, documents.positions, documents)
        if targets is None:
            return F.linear(x, self.head)
        answer = (targets != -100).nonzero()[:, 0]
        weights = None if weights is None else weights[answer]
        return linear_cross_entropy(x[answer], self.head, targets[answer], weights)


def initialise(model: Transformer, seed: int) -> Transformer:
    """Random weights for training from scratch: normal of std d^-0.5, biases 0, norms 1.

    The same on any number of ranks: each takes its rows of the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        mine = parallel.local(parameter).detach()
        if name.endswith("norm.weight"):
            mine.fill_(1)
        elif name.endswith("bias"):
            mine.zero_()
        else:
            noise = torch.randn(parameter.shape, generator=generator)
            mine.copy_(noise[slice(*parallel.span(parameter))] * model.config.hidden_size**-0.5)
    return model


# ---- weights in and out ---------------------------------------------------------------------


def build(config: Config, device="cpu", dtype=torch.float32, before_memory=None) -> Transformer:
    """A Transformer with uninitialised weights: made on the meta device, then given memory.

    before_memory(model): called in between, where sharding makes the memory this rank's share.
    """
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    if before_memory:
        before_memory(model)
    return model.to_empty(device=device)


def load(path: str | Path, device="cpu", dtype=torch.float32, before_memory=None) -> Transformer:
    """The model of a Hugging Face folder or Hub id: safetensors, in one file or sharded.

    Of a sharded model (before_memory) each rank reads only its own rows. Raises hub.UserError for
    missing files, and for tensors that are missing, unknown or misshapen.
    """
    folder = hub.fetch(str(path), files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))
    model = build(Config.from_pretrained(folder), device, dtype, before_memory)
    wanted = dict(model.named_parameters())
    problems, seen = [], set()
    for file, name in tensors_of(weight_files(folder)):
        if name.endswith("rotary_emb.inv_freq"):
            continue  # a table that old checkpoints carry; rope_tables computes it
        is_tied_head = name == "lm_head.weight" and model.config.tie_word_embeddings
        model.head_in_file |= is_tied_head
        key = "model.embed_tokens.weight" if is_tied_head else name
        if key not in wanted:
            problems.append(f"{name}: not a parameter of this architecture")
            continue
        parameter = wanted[key]
        with safe_open(file, framework="pt") as tensors:  # opened anew: its pages are freed with it
            rows = tensors.get_slice(name)
            if tuple(rows.get_shape()) == tuple(parameter.shape):
                start, stop = parallel.span(parameter)
                parallel.local(parameter).detach().copy_(rows[start:stop])
                seen.add(key)
            else:
                shape = list(parameter.shape)
                problems.append(f"{name}: {rows.get_shape()}, config.json says {shape}")
                seen.add(key)
    problems += [f"{name}: missing" for name in wanted if name not in seen]
    if problems:
        raise hub.UserError("\n  ".join([f"{folder}: these weights do not fit", *problems[:20]]))
    return model


def tensors_of(files: list[Path]) -> list[tuple[Path, str]]:
    """(file, name) of every tensor; UserError for a file that is no safetensors."""
    found = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                found += [(file, name) for name in tensors.keys()]
        except SafetensorError as error:
            hint = (
                "; if it is a git-lfs pointer, git lfs pull" if file.stat().st_size < 1000 else ""
            )
            raise hub.UserError(f"{file}: no safetensors file ({error}){hint}") from error
    return found


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
    shards, size = [[]], 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.numel() * width > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.numel() * width
    weight_map = {}
    for i, names in enumerate(shards):
        file = "model.safetensors"
        if len(shards) > 1:
            file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        part = {}
        for name in names:
            tensor = parallel.whole(tensors[name])
            if is_first:  # cloned: two names of one tensor are two tensors in a file
                part[name] = tensor.to("cpu", dtype).clone(memory_format=torch.contiguous_format)
        if is_first:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if not is_first:
        return
    if len(shards) > 1:
        total = sum(tensor.numel() * width for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    fields = model.config.to_dict(str(dtype).removeprefix("torch."), eos)
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
