"""The shape of a model, and the students of the study as literals. Imports no torch.

To add a student of a known family, add a row to SCALES; to add a family, a row to FAMILIES (and
what it computes differently to model.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from common import hub

Answer = Literal["ift", "reasoning"]  # what one sample is trained on
Format = Literal["ift", "reasoning", "sequential", "mixed"]  # what a student is trained on
ANSWERS, FORMATS = get_args(Answer), get_args(Format)

# What tells the decoders apart: bias on q, k and v; RMSNorm of every query and key head.
FAMILIES = {
    "qwen2": {"architecture": "Qwen2ForCausalLM", "qkv_bias": True, "qk_norm": False},
    "qwen3": {"architecture": "Qwen3ForCausalLM", "qkv_bias": False, "qk_norm": True},
    "llama": {"architecture": "LlamaForCausalLM", "qkv_bias": False, "qk_norm": False},
}
MIXTURES = {"qwen3_moe": "qwen3"}  # counted by flops.py, served by vLLM; model.py builds none


@dataclass(frozen=True)
class Config:
    """The shape of a decoder, in Hugging Face's names. Widths in elements, lengths in tokens."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    max_position_embeddings: int = 32768
    tie_word_embeddings: bool = True
    model_type: str = "qwen2"  # a row of FAMILIES

    @property
    def qkv_bias(self) -> bool:
        return FAMILIES[self.model_type]["qkv_bias"]

    @property
    def qk_norm(self) -> bool:
        return FAMILIES[self.model_type]["qk_norm"]

    @classmethod
    def from_pretrained(cls, path: str | Path, mixtures=False, flag="--init") -> "Config":
        """Reads config.json of a local folder or Hub id; mixtures: a Mixture will do as well;
        flag: the option to name in errors.

        Raises hub.UserError for a missing file, an unknown family, or an option that this decoder
        does not compute (sliding windows, scaled RoPE, another activation, other biases).
        """
        file = hub.fetch(str(path), files=("config.json",), flag=flag) / "config.json"
        if not file.is_file():
            raise hub.UserError(f"{path}: no config.json there; pass a Hugging Face model folder")
        try:
            return cls.from_dict(json.loads(file.read_text(encoding="utf-8")), mixtures)
        except (ValueError, KeyError, TypeError) as error:
            missing = f"no {error}" if isinstance(error, KeyError) else error
            raise hub.UserError(f"{file}: {missing}") from error

    @classmethod
    def from_dict(cls, raw: dict, mixtures: bool = False) -> "Config":
        """From the fields of a Hugging Face config.json; ValueError for what is not supported.

        Old files have rope_theta and rope_scaling, files of transformers 5 rope_parameters.
        """
        family = raw.get("model_type")
        experts = {}
        if mixtures and family in MIXTURES:
            if raw.get("mlp_only_layers") or raw.get("decoder_sparse_step", 1) != 1:
                raise ValueError("mlp_only_layers, decoder_sparse_step: every layer must be sparse")
            family = MIXTURES[family]
            names = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
            cls, experts = Mixture, {name: raw[name] for name in names}
        if family not in FAMILIES:
            raise ValueError(f"model_type {family!r} is not one of {', '.join(FAMILIES)}")
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        unsupported = {
            f"RoPE of type {rope_type!r}": rope_type != "default",
            f"hidden_act {raw.get('hidden_act')!r}": raw.get("hidden_act", "silu") != "silu",
            "sliding-window attention": bool(raw.get("use_sliding_window")),
            "attention_bias": bool(raw.get("attention_bias")),
            "mlp_bias": bool(raw.get("mlp_bias")),
        }
        if used := [name for name, is_used in unsupported.items() if is_used]:
            raise ValueError(f"{', '.join(used)}: not supported by this decoder")
        heads = raw["num_attention_heads"]
        return cls(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            intermediate_size=raw["intermediate_size"],
            num_hidden_layers=raw["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=raw.get("num_key_value_heads") or heads,
            head_dim=raw.get("head_dim")
            or (128 if family == "qwen3" else raw["hidden_size"] // heads),
            rms_norm_eps=raw.get("rms_norm_eps", 1e-6),
            rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta") or 1e4),
            max_position_embeddings=raw.get("max_position_embeddings", 32768),
            tie_word_embeddings=raw.get("tie_word_embeddings", False),
            model_type=family,
            **experts,
        )

    def to_dict(self, dtype: str = "float32", eos: list[int] | None = None) -> dict:
        """The fields of a config.json, in old and new names; the tests read it with transformers 5.

        dtype: of the saved weights, "float32" or "bfloat16". eos: ids that end an answer.
        """
        shape = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            "architectures": [FAMILIES[self.model_type]["architecture"]],
            **shape,
            "hidden_act": "silu",
            "attention_bias": False,  # transformers' name for bias on all four; Qwen2 ignores it
            "attention_dropout": 0.0,
            "use_sliding_window": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "dtype": dtype,
            "torch_dtype": dtype,
            "transformers_version": "4.43.1",  # as in the bases; without it theirs warns of regexes
            "bos_token_id": None,
            "eos_token_id": eos,
        }


@dataclass(frozen=True)
class Mixture(Config):
    """The shape of a mixture of experts: every token passes num_experts_per_tok feed-forwards."""

    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0


@dataclass(frozen=True)
class Scale:
    """A student: the base it starts from, its peak learning rates, its shape."""

    base: str  # a Hub id, or "scratch" for random weights
    lr: dict  # peak learning rate by format
    config: Config


def _qwen(base, lr, d, f, layers, heads, kv_heads, vocab=151_936, tied=True, **more):
    width = 128 if d > 896 else 64
    shape = Config(vocab, d, f, layers, heads, kv_heads, width, tie_word_embeddings=tied, **more)
    return Scale(f"Qwen/{base}", dict(zip(ANSWERS, lr, strict=True)), shape)


def _toy(lr, d, f, layers, heads, kv_heads):
    # 384 rows: the toy tokenizer's ids, fewer, and ids that are never sampled, as in real students
    more = {"rope_theta": 1e4, "max_position_embeddings": 2048}
    shape = Config(384, d, f, layers, heads, kv_heads, d // heads, **more)
    return Scale("scratch", dict(zip(ANSWERS, lr, strict=True)), shape)


@dataclass(frozen=True)
class Corpus:
    """Prompts that the paper's teacher answered twice; mean lengths in bytes, as published."""

    data: str  # Hub id
    pairs: int  # that the paper trained on
    bytes: dict  # of "prompt" and of the answer in each format
    bytes_per_token: float  # Qwen2.5's tokenizer on text of this kind: LOG.md

    def tokens(self, part: str) -> int:
        return round(self.bytes[part] / self.bytes_per_token)


CORPORA = {
    "general": Corpus("Scale-or-Reason/general-reasoning-ift-pairs", 1_300_000,
                      {"prompt": 558, "ift": 1739, "reasoning": 10_365}, 4.0),
    "math": Corpus("Scale-or-Reason/math-reasoning-ift-pairs", 300_000,
                   {"prompt": 293, "ift": 3522, "reasoning": 27_581}, 2.5),
}  # fmt: skip

# The paper's teacher, 235B parameters of which 22B see a token.
TEACHER = Mixture(151_936, 4096, 12_288, 94, 64, 4, 128, max_position_embeddings=40_960,
                  tie_word_embeddings=False, model_type="qwen3", num_experts=128,
                  num_experts_per_tok=8, moe_intermediate_size=1536)  # fmt: skip

LONG = 131_072
SCALES = {
    #                base           lr ift, reasoning   d     f    L   H  K
    "0.5b": _qwen("Qwen2.5-0.5B", (1e-5, 2e-5), 896, 4864, 24, 14, 2),
    "1.5b": _qwen("Qwen2.5-1.5B", (7e-6, 1e-5), 1536, 8960, 28, 12, 2,
                  max_position_embeddings=LONG),
    "3b": _qwen("Qwen2.5-3B", (5e-6, 7e-6), 2048, 11008, 36, 16, 2),
    "7b": _qwen("Qwen2.5-7B", (3e-6, 5e-6), 3584, 18944, 28, 28, 4, 152_064, tied=False,
                max_position_embeddings=LONG),
    "14b": _qwen("Qwen2.5-14B", (1e-6, 3e-6), 5120, 13824, 48, 40, 8, 152_064, tied=False,
                 rms_norm_eps=1e-5, max_position_embeddings=LONG),
    #         lr ift, reasoning  d   f   L  H  K
    "toy-xs": _toy((5e-3, 5e-3), 16, 48, 2, 1, 1),
    "toy-s": _toy((2e-3, 4e-3), 32, 96, 2, 2, 1),
    "toy-m": _toy((1e-3, 2e-3), 64, 160, 2, 2, 1),
    "toy-l": _toy((7e-4, 1.5e-3), 96, 256, 3, 3, 1),
    "toy-xl": _toy((5e-4, 1e-3), 128, 288, 3, 4, 2),
}  # fmt: skip
