"""Tiny models on disk, with random weights and a tokenizer of bytes."""

import copy
import json
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_map_with_path
from tokenizers import pre_tokenizers

from course_lib.llm.gguf_tokenizer import write_tokenizer

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ a", "Ġ Ġ", "1 2"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = CONTROL + sorted(pre_tokenizers.ByteLevel.alphabet()) + [m.replace(" ", "") for m in MERGES]


def tokenizer_metadata(context: int = 128) -> dict:
    """The tokenizer part of a GGUF header: every byte, six merges, three control tokens."""
    return {
        "llama.context_length": context,
        "tokenizer.chat_template": CHAT_TEMPLATE,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def tiny_config(model_type: str = "llama", **changes) -> dict:
    config = {
        "model_type": model_type,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "vocab_size": len(TOKENS),
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    }
    return config | changes


def write_checkpoint(
    folder: Path,
    config: dict,
    bits: int | None = None,
    group_size: int = 32,
    dtype=mx.float32,
    predicate=None,
) -> Path:
    """A checkpoint with random weights, made and saved by mlx-lm itself."""
    from mlx_lm.models import llama, qwen2, qwen3
    from mlx_lm.utils import quantize_model, save_config, save_model

    family = {"llama": llama, "qwen2": qwen2, "qwen3": qwen3}[config["model_type"]]
    model = family.Model(family.ModelArgs.from_dict(config))
    mx.random.seed(7)

    def draw(path: str, array: mx.array) -> mx.array:
        center = 1.0 if "norm" in path else 0.0
        return (center + mx.random.normal(array.shape) * 0.2).astype(dtype)

    model.update(tree_map_with_path(draw, model.parameters()))
    config = copy.deepcopy(config)
    if bits:
        model, config = quantize_model(model, config, group_size, bits, quant_predicate=predicate)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    write_tokenizer(tokenizer_metadata(config["max_position_embeddings"]), folder)
    return folder


def write_gguf(path: Path, source: Path) -> Path:
    """The tiny Llama checkpoint in a folder as a GGUF file, rows in llama.cpp's order."""
    config = json.loads((source / "config.json").read_text())
    weights = mx.load(str(source / "model.safetensors"))
    names = {
        "embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }  # fmt: skip
    tensors = {}
    for name, array in weights.items():
        short = next(gguf for ours, gguf in names.items() if ours in name)
        if short in ("attn_q", "attn_k"):
            array = interleaved_rows(array, config["head_dim"])
        prefix = f"blk.{name.split('.')[2]}." if ".layers." in name else ""
        tensors[f"{prefix}{short}.weight"] = array
    metadata = tokenizer_metadata() | {
        "general.architecture": "llama",
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.block_count": 2,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": len(TOKENS),
    }
    mx.save_gguf(str(path), tensors, {key: _gguf_value(value) for key, value in metadata.items()})
    return path


def interleaved_rows(array: mx.array, head_dim: int) -> mx.array:
    """llama.cpp's order, said the slow way: row 2i of a head is its row i, row 2i + 1 its row i + D/2."""
    order = []
    for head in range(array.shape[0] // head_dim):
        for i in range(head_dim // 2):
            order += [head * head_dim + i, head * head_dim + i + head_dim // 2]
    return array[mx.array(order)]


def _gguf_value(value):
    if isinstance(value, float):
        return mx.array(value, dtype=mx.float32)
    if isinstance(value, int):
        return mx.array(value, dtype=mx.uint32)
    if isinstance(value, list) and isinstance(value[0], int):
        return mx.array(value, dtype=mx.int32)
    return value
