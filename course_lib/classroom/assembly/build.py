"""Put the learner's parts into a model and an engine."""

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from ...engine import Engine, EngineConfig
from ...engine.cache_room import bytes_a_token, make_cache
from ...engine.separate_caches import SeparateCaches
from ...kernels.fusions import fits
from ...kernels.scales import narrow_scales
from ...llm import load
from ...llm.parts import mlx_linear
from ...llm.sampling import Sampler, sampling_logits
from ..exercise import get_exercise
from .choose import Part, choose_parts
from .slots import BLOCKS, CACHES, REQUESTS

DEFAULT = EngineConfig(max_num_seqs=8, max_num_batched_tokens=64)
BLOCK_SIZE = 16


class PartFailed(Exception):
    """A part of the learner's broke the engine's step. The message names it; the error itself is `__cause__`."""


@dataclass(frozen=True)
class Assembly:
    """Parts that were chosen and checked, and the model that has those of them that belong to a model.

    Attributes:
        parts: what stands in each place.
        cache: "blocks", "rows" or "requests".
        name: of the model.
        config: of its engines, unless they are given another.
    """

    parts: tuple[Part, ...]
    cache: str
    name: str
    config: EngineConfig
    model: Any
    tokenizer: Any

    def engine(self, config: EngineConfig | None = None, **options: Any) -> Engine:
        """A new engine of these parts.

        Args:
            **options: as for `Engine`, for example `clock`.
        """
        config = _for_cache(config or self.config, self.cache)
        return _MyEngine(self, config, {**_hooks(self.parts, self.cache), **options})

    @property
    def yours(self) -> list[Part]:
        """Those parts that are the learner's."""
        return [part for part in self.parts if part.is_yours]


def assemble(
    config: EngineConfig | None = None,
    *,
    cache: str = BLOCKS,
    model: str = "smollm2-135m",
    reference: Collection[str] = (),
    slow: bool = False,
) -> Assembly:
    """Choose the parts, check each again, and load the model with them.

    Args:
        config: the engine's limits; by default 8 requests at a time and 64 tokens a step.
        cache: "blocks" (notebook 08), "rows" (06), or "requests" (01 and 07): a cache for each request alone.
        model: as for `load`.
        reference: names of places where the reference is to stand in.
        slow: put in Python answers, too, where the native kernels are far faster.

    Raises:
        BrokenPart: an answer that is to be used is not right any more.
        ValueError: no such cache or place.
    """
    if cache not in CACHES:
        raise ValueError(f"cache={cache!r}; wanted one of {', '.join(map(repr, CACHES))}")
    parts = choose_parts(cache, reference, slow)
    mine = {part.slot.name: part.value for part in parts if part.is_yours}
    model_parts = {name: make(mine[name]) for name, make in _MODEL_PARTS.items() if name in mine}
    loaded, tokenizer = load(model, **model_parts)
    return Assembly(tuple(parts), cache, model, config or DEFAULT, loaded, tokenizer)


def my_engine(config: EngineConfig | None = None, *, measure: bool = True, **options: Any) -> Engine:
    """The learner's own engine: every kept answer that an engine can run on, checked again; then the scoreboard.

    Args:
        measure: run a small load on it, on the reference and on mlx-lm (half a minute); without it the
            scoreboard has the parts and their checks alone.
        config, **options: as for `assemble`.

    Raises:
        BrokenPart, ValueError: as `assemble`.
        PartFailed: a part broke a step of the load, or later one of the engine's.
    """
    from .race import show_scoreboard

    assembly = assemble(config, **options)
    show_scoreboard(assembly, measure=measure)
    return assembly.engine()


def _for_cache(config: EngineConfig, cache: str) -> EngineConfig:
    if cache == BLOCKS:
        return config if config.block_size else replace(config, block_size=BLOCK_SIZE)
    return replace(config, block_size=None)


# --- the model's parts -----------------------------------------------------------------------------------------


def _linear(kernel: Callable) -> Callable:
    """The `Linear` part from a kernel with the arguments of notebook 02."""
    known: dict[int, tuple] = {}

    def linear(x, weight):
        if not fits(weight) or x.dtype != mx.float32:
            return mlx_linear(x, weight)
        if id(weight) not in known:  # the model keeps its weights, so that an id stays one weight's
            known[id(weight)] = (weight.weight, *narrow_scales(weight.scales, weight.biases))
        out = kernel(x, *known[id(weight)], weight.group_size, weight.bits)
        return out if weight.bias is None else out + weight.bias

    return linear


_MODEL_PARTS = {"linear": _linear, "attention": lambda kernel: kernel, "rms_norm": lambda norm: norm}


# --- the engine's parts ----------------------------------------------------------------------------------------


def _hooks(parts: Collection[Part], cache: str) -> dict[str, Any]:
    """Arguments of `Engine`."""
    mine = {part.slot.name: part.value for part in parts if part.is_yours}
    hooks = {name: mine[name] for name in ("schedule", "make_room") if name in mine}
    if "stop_strings" in mine:
        hooks["make_stops"] = mine["stop_strings"]
    if "top_p" in mine:
        hooks["make_sampler"] = lambda params: _Nucleus(params, mine["top_p"])
    hooks["make_cache"] = lambda config, model: _MadeLater(lambda: _cache(mine, cache, config, model))
    return hooks


def _cache(mine: dict[str, Any], cache: str, config: EngineConfig, model: Any) -> Any:
    if cache == REQUESTS:
        names = {"make_layer": "request_cache", "lay_out": "lay_out", "ragged_layer": "ragged_layer"}
        own = {argument: mine[name] for argument, name in names.items() if name in mine}
        return SeparateCaches(len(model.blocks), bytes_a_token(model), **own)
    own = {"make_pool": mine["pool"]} if "pool" in mine else {}
    if "books" in mine:
        own["make_manager"] = _books(mine["books"])
    if "rows" in mine:
        own["make_layer"] = lambda: mine["rows"](config.max_num_seqs)
    return make_cache(config, model, **own)


class _MadeLater:
    """A cache that is made when it is first used: in the thread that runs the steps, which alone may evaluate arrays
    that the learner's parts make and do not evaluate."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._made = make, None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            if name == "nbytes_used":
                return 0
            self._made = self._make()
        return getattr(self._made, name)


def _books(make: Callable) -> Callable:
    """The learner's books have no switch for prefix caching: without it, nothing is remembered."""

    def books(num_blocks, block_size, prefix_caching):
        made = make(num_blocks, block_size)
        if not prefix_caching:
            made.remember = lambda table, tokens: None
        return made

    return books


class _Nucleus(Sampler):
    """A sampler whose top_p is the learner's filter of logits [V]."""

    def __init__(self, params, top_p_filter):
        super().__init__(replace(params, top_p=1))  # which draws from what the filter leaves
        self._top_p, self._filter = params.top_p, top_p_filter

    def __call__(self, logits: mx.array) -> mx.array:
        if self.params.temperature == 0 or self._top_p == 1:
            return super().__call__(logits)
        scaled = sampling_logits(logits, replace(self.params, min_p=0))
        rows = [self._filter(row, self._top_p) for row in scaled.reshape(-1, scaled.shape[-1])]
        nucleus = mx.stack(rows).reshape(scaled.shape)
        return super().__call__(mx.where(nucleus > -mx.inf, logits, -mx.inf))


class _MyEngine(Engine):
    """An engine that says whose part it was that broke a step."""

    def __init__(self, assembly: Assembly, config: EngineConfig, hooks: dict[str, Any]):
        super().__init__(assembly.model, assembly.tokenizer, config, **hooks)
        self._parts = assembly.parts

    def step(self):
        try:
            return super().step()
        except Exception as error:
            raise PartFailed(_blame(error, self._parts)) from error


def _blame(error: Exception, parts: Collection[Part]) -> str:
    """Which part an error came from: kept answers run from files with their exercise's name."""
    what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<kept "):
            id = frame.filename.removeprefix("<kept ").split()[0]
            name = next((p.slot.name for p in parts if p.is_yours and (p.id == id or id in p.slot.with_it)), None)
            place = f'\nOr let the reference stand in: my_engine(reference=["{name}"])' if name else ""
            return (
                f"Your {get_exercise(id).name} ({id}) broke a step of the engine. {what}\n"
                f"  line {frame.lineno} of its cell: {frame.line}\nMend it in notebook {id.split('.')[0]} and run its check.{place}"
            )
    if str(error).startswith("the schedule returned"):
        part = next(p for p in parts if p.slot.name == "schedule")
        if part.is_yours:
            return f'Your schedule ({part.id}) cannot be followed. {what}\nOr let the reference stand in: my_engine(reference=["schedule"])'
    names = ", ".join(p.slot.name for p in parts if p.is_yours)
    return (
        f"A step of the engine broke off outside of your parts' own code. {what}\nYours are: {names or 'none'}. "
        "Put the reference in for one after the other to find out which it is: my_engine(reference=[...])."
    )
