"""What an engine is told once, when it is made."""

from dataclasses import dataclass

from course_lib.techniques.scheduling import Limits


@dataclass(frozen=True)
class EngineConfig(Limits):
    """The limits of a step, and of a request.

    Fields that vLLM has, too, are named as there
    (https://docs.vllm.ai/en/latest/configuration/engine_args/).

    Attributes:
        max_model_len: most tokens of a request, prompt and answer together; None for the model's context.
        step_history: how many of its latest steps the engine remembers, for plots.

    Raises:
        ValueError: as `Limits`; or one of these below 1.
    """

    max_model_len: int | None = None
    step_history: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_model_len is not None and (type(self.max_model_len) is not int or self.max_model_len < 2):
            raise ValueError(f"max_model_len={self.max_model_len!r}; wanted an integer, at least 2, or None")
        if type(self.step_history) is not int or self.step_history < 1:
            raise ValueError(f"step_history={self.step_history!r}; wanted an integer, at least 1")
