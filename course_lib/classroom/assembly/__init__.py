"""The learner's own engine: every kept answer that an engine can run on, put where it belongs.

    engine = my_engine()
    print(engine.generate(["Once upon a time"], max_tokens=20))

`slots` says what can stand where; `choose` takes the kept answers and checks them again; `build` puts them into
model and engine; `race` measures the result beside the reference and mlx-lm.
"""

from .build import Assembly, PartFailed, assemble, my_engine
from .choose import BrokenPart, Part

__all__ = ["Assembly", "BrokenPart", "Part", "PartFailed", "assemble", "my_engine"]
