"""What a request would say alone: the oracle of the engine's tests, which uses no cache and no batch."""

import mlx.core as mx

MARGIN = 1e-3  # of logits in float32


def assert_greedy(model, prompt, generated) -> None:
    """Each token is the most probable one after what precedes it, or within MARGIN of it.

    Whole recompute: where a model's kernels round differently for one row and for many, a batch
    may rightly choose another of two tokens whose logits are all but equal.
    """
    if not generated:
        return
    logits = model(mx.array([[*prompt, *generated]]))[0, len(prompt) - 1 : -1]
    chosen = mx.take_along_axis(logits, mx.array(generated)[:, None], axis=-1)[:, 0]
    short = (logits.max(axis=-1) - chosen).tolist()
    assert max(short) <= MARGIN, f"token {short.index(max(short))} is {max(short)} below the best"


def lone_tokens(model, prompt, count) -> list[int]:
    """The greedy tokens, everything computed again for each."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(mx.argmax(model(mx.array([tokens]))[0, -1]).item())
    return tokens[len(prompt) :]
