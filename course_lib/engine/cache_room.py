"""How much of a cache a number of bytes is, and the cache made of them."""

from collections.abc import Callable
from dataclasses import replace

from course_lib.engine.config import EngineConfig
from course_lib.engine.paged_cache import PagedCache
from course_lib.engine.row_cache import RowCache
from course_lib.llm.model import Model
from course_lib.llm.room import RoomBatchedKVCache
from course_lib.techniques.paged_kv import BlockManager, PagedKVCache

DEFAULT_POOL = 2**29


def bytes_a_token(model: Model) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = model.config
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return values * model.dtype.size


def fitted(config: EngineConfig, model: Model) -> EngineConfig:
    """The config with limits that the model's context and the cache's bytes allow.

    `max_model_len` becomes a number; `max_num_seqs` no more than there are rows.

    Raises:
        ValueError: the bytes are too few for a single request.
    """
    context = model.config.max_position_embeddings
    longest = min(config.max_model_len or context, context)
    budget = config.kv_cache_memory_bytes
    if config.block_size is not None:
        blocks = num_blocks(config, model)
        longest = min(longest, blocks * config.block_size)
        if longest < 2:
            raise ValueError(
                f"kv_cache_memory_bytes={budget} is {blocks} blocks of {config.block_size} tokens, "
                f"{bytes_a_token(model)} bytes each; a request needs at least 2 tokens"
            )
        return replace(config, max_model_len=longest)
    if budget is None:
        return replace(config, max_model_len=longest)
    rows = budget // (bytes_a_token(model) * longest)
    if rows < 1:
        raise ValueError(
            f"kv_cache_memory_bytes={budget}; one row of max_model_len={longest} tokens is "
            f"{bytes_a_token(model) * longest} bytes. Give more bytes, a smaller max_model_len, or a block_size"
        )
    return replace(config, max_model_len=longest, max_num_seqs=min(rows, config.max_num_seqs))


def num_blocks(config: EngineConfig, model: Model) -> int:
    """Blocks in the pool."""
    return (config.kv_cache_memory_bytes or DEFAULT_POOL) // (bytes_a_token(model) * config.block_size)


def make_cache(
    config: EngineConfig,
    model: Model,
    make_layer: Callable | None = None,
    make_manager: Callable = BlockManager,
    make_pool: Callable = PagedKVCache,
) -> RowCache | PagedCache:
    """The cache that a fitted config asks for.

    Args:
        make_layer: makes one layer of the contiguous cache; None for `BatchedKVCache`.
        make_manager, make_pool: make the paged cache's books and one layer's pool.
    """
    shape = model.config
    if config.block_size is None:
        # With a budget a row's room is reserved whole; without one it grows as it must.
        step = config.max_model_len if config.kv_cache_memory_bytes else 256
        make_layer = make_layer or (lambda: RoomBatchedKVCache(config.max_num_seqs, step))
        return RowCache(make_layer, shape.num_hidden_layers)
    blocks, size = num_blocks(config, model), config.block_size
    layers = [
        make_pool(blocks, size, shape.num_key_value_heads, shape.head_dim, model.dtype)
        for _ in range(shape.num_hidden_layers)
    ]
    return PagedCache(layers, make_manager(blocks, size, config.enable_prefix_caching), size)
