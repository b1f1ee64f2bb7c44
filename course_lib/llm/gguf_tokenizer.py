"""The tokenizer in a GGUF file's header, as the files that transformers reads.

A byte-level BPE, as GPT-2's: text is cut into words by a fixed pattern (the *pre-tokenizer*), each
word's bytes are written as printable characters, and pairs are merged in the order of the merge list.
The header holds vocabulary and merges; of the pre-tokenizer it holds only a name.
"""

import json
from pathlib import Path
from typing import Any

_CONTROL_TOKEN = 3  # GGUF's token type of <|im_start|> and the like
_ROLES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}


def write_tokenizer(metadata: dict[str, Any], folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json (with the chat template).

    Args:
        metadata: a GGUF header, its arrays as lists.
        folder: an existing folder, which must hold config.json when the tokenizer is loaded.

    Raises:
        ValueError: a tokenizer other than byte-level BPE with SmolLM's pre-tokenizer.
    """
    entries = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    if (entries["model"], entries["pre"]) != ("gpt2", "smollm"):
        raise ValueError(
            f"the file's tokenizer is {entries['model']!r} with pre-tokenizer {entries['pre']!r}; "
            "implemented is 'gpt2' with 'smollm'"
        )
    _tokenizer(entries).save(str(folder / "tokenizer.json"))
    tokens = entries["tokens"]
    config = {
        # The class that takes tokenizer.json as it is. GPT-2's own would put its own pre-tokenizer
        # in place of ours, and digits would no longer be split.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": metadata["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": metadata["tokenizer.chat_template"],
        **{role: tokens[entries[f"{key}_token_id"]] for role, key in _ROLES.items()},
    }
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _tokenizer(entries: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate(entries["tokens"])}
    merges = [tuple(merge.split(" ")) for merge in entries["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    # "smollm": every digit alone, then GPT-2's pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        t for t, kind in zip(entries["tokens"], entries["token_type"], strict=True) if kind == _CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return tokenizer
