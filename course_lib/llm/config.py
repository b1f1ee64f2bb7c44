"""A model's shape: the numbers of a checkpoint's config.json that decide what is computed."""

from dataclasses import dataclass, fields
from typing import Any

from course_lib.llm.rope import scaling_kind

FAMILIES = ("llama", "qwen2", "qwen3")

# What the families' reference code assumes where config.json is silent.
_ROPE_THETA = {"llama": 10_000.0, "qwen2": 1_000_000.0, "qwen3": 1_000_000.0}
_CONTEXT = {"llama": 2048, "qwen2": 32768, "qwen3": 32768}


@dataclass(frozen=True)
class ModelConfig:
    """Shape and constants of a Llama, Qwen2 or Qwen3 model, named as in config.json.

    Attributes:
        model_type: "llama", "qwen2" (biases on q, k, v) or "qwen3" (RMSNorm on each q and k head).
        head_dim: None for hidden_size / num_attention_heads.
        max_position_embeddings: the context: most tokens a sequence may have.
        rope_scaling: kind and parameters of RoPE's scaling, or None.
        attention_bias, mlp_bias: Llama only: biases on q, k, v, o, and on gate, up, down.
    """

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: dict[str, Any] | None = None
    rope_traditional: bool = False
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        if self.model_type not in FAMILIES:
            raise ValueError(f"this is a {self.model_type!r} model; implemented are {', '.join(FAMILIES)}")
        if self.head_dim is None:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < 1:
                raise ValueError(f"{field.name} is {value}; it must be at least 1")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"{self.num_attention_heads} query heads cannot share {self.num_key_value_heads} "
                "key/value heads evenly"
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; RoPE turns pairs, so it must be even")
        scaling_kind(self.rope_scaling)

    @property
    def qk_norm(self) -> bool:
        """Whether each head's query and key are normalised before RoPE."""
        return self.model_type == "qwen3"

    @property
    def qkv_bias(self) -> bool:
        return self.model_type == "qwen2" or self.o_bias

    @property
    def o_bias(self) -> bool:
        return self.model_type == "llama" and self.attention_bias

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> "ModelConfig":
        """From the contents of a config.json.

        Raises:
            ValueError: another family, a technique that is not implemented (by name), or a missing
                entry.
        """
        family = config.get("model_type")
        if family not in FAMILIES:
            raise ValueError(f"this is a {family!r} model; implemented are {', '.join(FAMILIES)}")
        kinds = set(config.get("layer_types") or ["full_attention"])
        if kinds != {"full_attention"} or config.get("use_sliding_window"):
            raise ValueError(
                "this checkpoint uses sliding-window attention, which is not implemented; "
                "choose one whose layers all use full attention"
            )
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in config.items() if name in known and value is not None}
        # Newer checkpoints nest RoPE's entries in `rope_parameters`.
        nested = config.get("rope_parameters") or {}
        given.setdefault("rope_theta", nested.get("rope_theta", _ROPE_THETA[family]))
        if nested:
            given.setdefault("rope_scaling", nested)
        given.setdefault("max_position_embeddings", _CONTEXT[family])
        given.setdefault("num_key_value_heads", config.get("num_attention_heads"))
        required = (
            "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "vocab_size", "rms_norm_eps",
        )  # fmt: skip
        if missing := [name for name in required if name not in given]:
            raise ValueError(f"config.json has no {', '.join(missing)}; is it an MLX checkpoint?")
        return cls(**given)


# The shapes of real models, from the config.json of each on the Hugging Face hub.
CONFIGS = {
    "smollm2-135m": ModelConfig(
        model_type="llama",
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49152,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=100_000.0,
    ),
    "llama-3.2-1b": ModelConfig(
        model_type="llama",
        hidden_size=2048,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=8192,
        vocab_size=128256,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500_000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ),
    "qwen2.5-0.5b": ModelConfig(
        model_type="qwen2",
        hidden_size=896,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        vocab_size=151936,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_theta=1_000_000.0,
    ),
    "qwen3-0.6b": ModelConfig(
        model_type="qwen3",
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        vocab_size=151936,
        max_position_embeddings=40960,
        rms_norm_eps=1e-6,
        rope_theta=1_000_000.0,
    ),
}
