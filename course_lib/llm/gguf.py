"""From a GGUF file (llama.cpp's format) of a Llama model to a folder that mlx-lm opens.

MLX reads GGUF's 4-bit and 8-bit blocks as its own packed weights with float16 scales, so nothing is
quantized again and no value changes. Three things differ and are mended here: the tensors' names, the
order of the query and key rows, and the tokenizer, which is data in the header.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from course_lib.llm.gguf_tokenizer import write_tokenizer

_GROUP_SIZE = 32  # of every block format that MLX reads
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert_gguf(gguf: Path, folder: Path, dtype: mx.Dtype) -> None:
    """Write config.json, model.safetensors and the tokenizer's files into an existing folder.

    Args:
        gguf: a Llama-architecture file.
        dtype: of scales, biases and norms: float16 as in the file, or float32, which holds the same
            values exactly.

    Raises:
        ValueError: another architecture.
    """
    tensors, metadata = mx.load(str(gguf), return_metadata=True)
    metadata = {key: _plain(value) for key, value in metadata.items()}
    if metadata.get("general.architecture") != "llama":
        raise ValueError(
            f"{gguf.name} holds a {metadata.get('general.architecture')!r} model; wanted 'llama'"
        )
    weights = _rename(tensors, metadata)
    config = _config(weights, metadata, dtype)
    weights = {
        name: array if array.dtype == mx.uint32 else array.astype(dtype) for name, array in weights.items()
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    _write_json(folder / "config.json", config)
    token_ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / "generation_config.json", token_ids)
    write_tokenizer(metadata, folder)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, mx.array) else value


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _rename(tensors: dict[str, mx.array], metadata: dict[str, Any]) -> dict[str, mx.array]:
    heads = {
        "attn_q": metadata["llama.attention.head_count"],
        "attn_k": metadata["llama.attention.head_count_kv"],
    }
    weights = {}
    for name, array in tensors.items():
        if name.startswith("blk."):
            _, layer, short, kind = name.split(".")
            if short in heads:
                array = _half_split_rows(array, heads[short])
            weights[f"model.layers.{layer}.{_NAMES[short]}.{kind}"] = array
        else:
            short, kind = name.rsplit(".", 1)
            weights[f"{_OUTER_NAMES[short]}.{kind}"] = array
    return weights


def _half_split_rows(array: mx.array, num_heads: int) -> mx.array:
    """Rows [H * D, ...] from RoPE's interleaved order back to the half-split order of checkpoints.

    GGUF pairs row 2i of a head with row 2i + 1, checkpoints row i with row i + D/2. Only whole rows
    move, so packed weights and their scales move alike.
    """
    rows, rest = array.shape[0], array.shape[1:]
    pairs = array.reshape(num_heads, rows // num_heads // 2, 2, *rest)
    return pairs.swapaxes(1, 2).reshape(rows, *rest)


def _config(weights: dict[str, mx.array], metadata: dict[str, Any], dtype: mx.Dtype) -> dict[str, Any]:
    llama = {key.removeprefix("llama."): value for key, value in metadata.items() if key.startswith("llama.")}
    ids = {
        name: metadata[f"tokenizer.ggml.{key}_token_id"]
        for name, key in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding"))
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": llama["embedding_length"],
        "intermediate_size": llama["feed_forward_length"],
        "num_hidden_layers": llama["block_count"],
        "num_attention_heads": llama["attention.head_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "head_dim": llama["rope.dimension_count"],
        "max_position_embeddings": llama["context_length"],
        "rms_norm_eps": round(llama["attention.layer_norm_rms_epsilon"], 12),  # 1e-5, not its float32
        "rope_theta": float(llama["rope.freq_base"]),
        "rope_scaling": None,
        "vocab_size": llama["vocab_size"],
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "torch_dtype": str(dtype).removeprefix("mlx.core."),
        **_quantization(weights),
        **ids,
    }


def _quantization(weights: dict[str, mx.array]) -> dict[str, Any]:
    """mlx-lm's entry, if anything is quantized: the common case, and by name what differs from it."""
    bits = {
        name.removesuffix(".scales"): _bits(weights[name.replace(".scales", ".weight")], scales)
        for name, scales in weights.items()
        if name.endswith(".scales")
    }
    if not bits:
        return {}
    common = min(bits.values())
    others = {name: {"group_size": _GROUP_SIZE, "bits": n} for name, n in bits.items() if n != common}
    return {"quantization": {"group_size": _GROUP_SIZE, "bits": common, **others}}


def _bits(packed: mx.array, scales: mx.array) -> int:
    return packed.shape[1] * 32 // (scales.shape[1] * _GROUP_SIZE)
