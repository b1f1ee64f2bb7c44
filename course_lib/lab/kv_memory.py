"""How many bytes a token's keys and values take in real models, and how many a whole text does.

The shapes are those of each model's config.json on the Hugging Face hub, at the address in `source`; Falcon's names
no context, which is from its model card.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from .style import BLUE, GREEN, GREY, ORANGE, ink_of, new_figure
from .units import axis_scale, bytes_text


@dataclass(frozen=True)
class KVShape:
    """What decides the size of a model's KV cache.

    Attributes:
        num_layers: each has a cache of its own.
        num_heads: query heads, H; they are not cached.
        num_kv_heads: key/value heads, H_kv.
        head_dim: D.
        context: the longest text the model was made for, in tokens.
        source: where the numbers are from.
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context: int
    source: str

    @property
    def kind(self) -> str:
        """How query heads share keys and values: "MHA" not at all, "GQA" in groups, "MQA" all together."""
        if self.num_kv_heads == self.num_heads:
            return "MHA"
        return "MQA" if self.num_kv_heads == 1 else "GQA"

    def bytes_per_token(self, bytes_per_value: float = 2) -> float:
        """Keys and values, all layers; `bytes_per_value` is 2 for float16, 0.5 for 4 bits."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_value

    def cache_bytes(self, tokens: int, batch: int = 1, bytes_per_value: float = 2) -> float:
        """`batch` texts of `tokens` tokens each."""
        return batch * tokens * self.bytes_per_token(bytes_per_value)


def _hub(name: str) -> str:
    return f"https://huggingface.co/{name}/blob/main/config.json"


KV_SHAPES: Mapping[str, KVShape] = {
    "SmolLM2-135M": KVShape(30, 9, 3, 64, 8192, _hub("HuggingFaceTB/SmolLM2-135M-Instruct")),
    "Qwen2.5-0.5B": KVShape(24, 14, 2, 64, 32768, _hub("Qwen/Qwen2.5-0.5B-Instruct")),
    "Qwen3-0.6B": KVShape(28, 16, 8, 128, 40960, _hub("Qwen/Qwen3-0.6B")),
    "Falcon-7B": KVShape(32, 71, 1, 64, 2048, _hub("tiiuae/falcon-7b")),
    "Llama-2-7B": KVShape(32, 32, 32, 128, 4096, _hub("meta-llama/Llama-2-7b-hf")),
    "Llama-3-8B": KVShape(32, 32, 8, 128, 8192, _hub("meta-llama/Meta-Llama-3-8B")),
    "Llama-3.1-8B": KVShape(32, 32, 8, 128, 131072, _hub("meta-llama/Llama-3.1-8B")),
    "Llama-3-70B": KVShape(80, 64, 8, 128, 8192, _hub("meta-llama/Meta-Llama-3-70B")),
}

COLOURS = {"MHA": ORANGE, "GQA": BLUE, "MQA": GREEN}


def cache_size_bars(
    tokens: int,
    batch: int = 1,
    bytes_per_value: float = 2,
    shapes: Mapping[str, KVShape] = KV_SHAPES,
    limit: float | None = None,
) -> Figure:
    """One bar a model: the bytes of `batch` texts of `tokens` tokens.

    Args:
        bytes_per_value: 4 for float32, 2 for float16, 1 for 8 bits, 0.5 for 4.
        limit: bytes of memory to compare with, drawn as a line where it lies inside the chart.

    A model whose context is shorter than `tokens` has a pale bar.
    """
    sizes = {name: shape.cache_bytes(tokens, batch, bytes_per_value) for name, shape in shapes.items()}
    largest = max(sizes.values())
    scale, unit = axis_scale(largest, "bytes")
    figure, axis = new_figure(0.42 * len(shapes) + 1.5)
    for row, (name, size) in enumerate(sizes.items()):
        shape = shapes[name]
        fits = tokens <= shape.context
        axis.barh(row, size / scale, height=0.62, color=COLOURS[shape.kind], alpha=1 if fits else 0.35)
        note = "" if fits else f"  (context {shape.context:,})"
        axis.annotate(
            bytes_text(size) + note, (size / scale, row), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=11, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # the limit's line passes behind
        )  # fmt: skip
    axis.set_yticks(range(len(shapes)), [f"{name}  {shapes[name].kind}" for name in shapes])
    for label, shape in zip(axis.get_yticklabels(), shapes.values(), strict=True):
        label.set_color(ink_of(COLOURS[shape.kind]))
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(shapes) - 0.5, -0.5)
    axis.set_xlim(0, 1.28 * largest / scale)  # room for the bars' values
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")
    texts = "one text" if batch == 1 else f"{batch} texts"
    axis.set_xlabel(f"keys and values ({unit})")
    axis.set_title(f"{texts.capitalize()} of {tokens:,} tokens, {_width(bytes_per_value)}")
    if limit is not None and limit < 1.28 * largest:
        axis.axvline(limit / scale, color=GREY, linestyle="--")
        axis.set_ylim(len(shapes) + 0.3, -0.5)  # a row of its own for the line's name
        on_the_right = limit < largest  # where there is room for it
        axis.annotate(
            f"this machine's memory: {bytes_text(limit)}", (limit / scale, len(shapes) - 0.1),
            xytext=(5 if on_the_right else -5, 0), textcoords="offset points", va="center",
            ha="left" if on_the_right else "right", fontsize=11, color=GREY,
        )  # fmt: skip
    return figure


def _width(bytes_per_value: float) -> str:
    names = {4: "float32", 2: "float16", 1: "8 bits a value", 0.5: "4 bits a value"}
    return names.get(bytes_per_value, f"{bytes_per_value:g} bytes a value")
