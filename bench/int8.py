"""What activations of 8 bits cost: the perplexity of a text, and where greedy text changes. Nothing is timed.

Prints; the suite `cpu` says what they gain.
"""

import sys
from collections.abc import Iterator

import mlx.core as mx

from bench.result import Result
from course_lib.lab.passage import PASSAGE
from course_lib.lab.perplexity import perplexity
from course_lib.lab.wonderland import WONDERLAND
from course_lib.llm import load

NAME = "smollm2-135m"
TOKENS = 64  # generated after each prompt
PROMPTS = 12


def run(rounds: int) -> Iterator[Result]:
    """Yields nothing."""
    model, tokenizer = load(NAME)
    int8, _ = load(NAME, int8_activations=True)
    for name, text in (("the opening of Alice in Wonderland", WONDERLAND), ("the course's passage", PASSAGE)):
        ids = tokenizer.encode(text)
        exact, rounded = (perplexity(lambda x, m=m: m(x), ids) for m in (model, int8))
        print(f"perplexity of {name}, {len(ids)} tokens: {exact:.3f} with f32 activations, {rounded:.3f} with int8, "
              f"{100 * (rounded / exact - 1):+.2f} %")  # fmt: skip
    changed = []
    for words in prompts(PASSAGE + WONDERLAND):
        texts = [greedy(m, tokenizer.encode(words)) for m in (model, int8)]
        same = next((i for i, (a, b) in enumerate(zip(*texts, strict=True)) if a != b), TOKENS)
        changed.append(same)
    print(f"greedy text after {PROMPTS} prompts, tokens until the first that differs (of {TOKENS}): "
          + " ".join(map(str, sorted(changed))))  # fmt: skip
    sys.stdout.flush()
    yield from ()


def prompts(text: str) -> list[str]:
    """Beginnings of paragraphs."""
    paragraphs = [p for p in text.split("\n\n") if len(p.split()) > 12]
    return [" ".join(p.split()[:12]) for p in (paragraphs * PROMPTS)[:PROMPTS]]


def greedy(model, ids: list[int]) -> list[int]:
    cache, tokens, out = model.make_cache(), mx.array([ids]), []
    for _ in range(TOKENS):
        tokens = mx.argmax(model(tokens, cache, positions=-1), axis=-1)
        out.append(tokens.item())
    return out
