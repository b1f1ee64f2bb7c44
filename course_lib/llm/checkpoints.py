"""From a model's name to the folder that holds it.

A name is, in this order: the embedded model's, a folder, a model in the course's cache, a model on
the Hugging Face hub (`organisation/name`), already downloaded or to be fetched.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.llm import smollm2
from course_lib.llm.config import ModelConfig
from course_lib.llm.errors import ModelUnavailable
from course_lib.paths import cache_dir

_HUB_SECONDS = 5.0  # to find out whether the hub answers at all


def find_checkpoint(name_or_path: str | os.PathLike) -> Path:
    """The folder of an MLX checkpoint, fetched first if need be.

    Raises:
        ModelUnavailable: no such model, or it is on the hub and the hub cannot be reached. Lists
            what is available offline.
        ValueError: the folder or hub model is no checkpoint of a supported family.
    """
    name = os.fspath(name_or_path)
    if name == smollm2.NAME:
        return smollm2.ensure_model()
    for folder in (Path(name).expanduser(), cache_dir() / "models" / name):
        if name and folder.is_dir():
            if not (folder / "config.json").is_file():
                raise ValueError(f"{folder} has no config.json; it is not a model folder")
            return folder
    if _could_be_on_the_hub(name):
        return _from_hub(name)
    raise ModelUnavailable(f"There is no model or folder {name!r}.\n{_what_there_is()}")


def _could_be_on_the_hub(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from mlx_lm.utils import DEFAULT_ALLOW_PATTERNS, hf_repo_to_path

    try:
        folder = hf_repo_to_path(name)
    except FileNotFoundError:  # of the hub's client: not downloaded, or only in part
        folder = None
    if folder is not None and _has_all_weights(folder):
        return folder
    with _hub_errors_explained(name):
        # Asked first, with a time limit: a download goes on trying for minutes.
        HfApi().model_info(name, timeout=_HUB_SECONDS)
        # The config comes alone: better refused now than after gigabytes.
        config = Path(hf_hub_download(name, "config.json"))
    ModelConfig.from_dict(json.loads(config.read_text(encoding="utf-8")))
    with _hub_errors_explained(name):
        return Path(snapshot_download(name, allow_patterns=DEFAULT_ALLOW_PATTERNS))


def _has_all_weights(folder: Path) -> bool:
    """A download that broke off may have left config.json, or some of several weight files."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / name).is_file() for name in files)
    return any(folder.glob("model*.safetensors"))


@contextmanager
def _hub_errors_explained(name: str) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError

    try:
        yield
    except RemoteEntryNotFoundError as error:
        raise ValueError(f"the hub's {name} has no config.json; it is not a model in MLX format") from error
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"The hub's {name} asks you to accept its terms first: open https://huggingface.co/{name}, "
            f"then log in with `hf auth login`.\n{_what_there_is()}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(f"The hub has no model {name!r}.\n{_what_there_is()}") from error
    except Exception as error:  # the hub's client passes on whatever its transport raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelUnavailable(
            f"{name} is not on this machine, and the Hugging Face hub cannot be reached "
            f"({reason}). Check the network, or use what is here.\n{_what_there_is()}"
        ) from error


def available_offline() -> list[str]:
    """Names that `load` accepts without a network: the embedded model, folders in the course's
    cache, models downloaded from the hub."""
    from huggingface_hub.constants import HF_HUB_CACHE

    names = [smollm2.NAME] if smollm2.find_model() else []
    folders = sorted((cache_dir() / "models").glob("*/config.json"))
    own = {folder.name for folder in smollm2.model_folders()}
    names += [path.parent.name for path in folders if path.parent.name not in own]
    for repository in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
        if _holds_supported_model(repository):
            names.append(repository.name.removeprefix("models--").replace("--", "/", 1))
    return names


def _holds_supported_model(repository: Path) -> bool:
    for config in repository.glob("snapshots/*/config.json"):
        try:
            ModelConfig.from_dict(json.loads(config.read_text(encoding="utf-8")))
        except (ValueError, OSError):
            continue
        if _has_all_weights(config.parent):
            return True
    return False


def _what_there_is() -> str:
    names = available_offline()
    listed = "Available offline: " + ", ".join(names) if names else "Nothing is available offline yet"
    missing = "" if smollm2.NAME in names else f"; load({smollm2.NAME!r}) fetches the course's model"
    return f"{listed}{missing}. Any folder with a Llama, Qwen2 or Qwen3 MLX checkpoint works too."
