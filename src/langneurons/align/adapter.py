"""Adapter: what training leaves: LoRA adapters at some of its steps, and its log."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from langneurons import artifacts
from langneurons.errors import FormatError
from langneurons.texts.rows import from_lines, to_lines

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Files of an adapter, as PEFT calls them."""


@dataclass(frozen=True)
class Adapter:
    """Adapters of one training, step by step; the last is the result.

    They are not held in memory: `checkpoints` says where their files are.

    Attributes:
        checkpoints: step -> folder that holds the adapter of that step, steps rising.
        history: what was logged, in order: `step`, `loss`, `rewards/margins`, ... and `eval_...` of
            the dev pairs.
        base: the model that is adapted, as the adapter's config is to name it; None: as it does
            already.
    """

    KIND: ClassVar[str] = "adapter"
    HISTORY: ClassVar[str] = "history.jsonl"

    checkpoints: Mapping[int, Path]
    history: Sequence[Mapping[str, Any]]
    base: str | None = None

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written; all but the last get folders of their own."""
        for step, place in _places(list(self.checkpoints)).items():
            for name, content in adapter_files(self.checkpoints[step], self.base).items():
                draft.bytes((place / name).as_posix(), content)
        draft.bytes(self.HISTORY, to_lines(self.history))
        draft.facts["checkpoints"] = list(self.checkpoints)

    def save(self, folder: Path | str) -> None:
        """Write it into a folder of its own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Adapter":
        """The one in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its log is damaged, or it does not say which checkpoints it has.
        """
        artifact = artifacts.opened(source, cls.KIND)
        steps = artifact.manifest["facts"].get("checkpoints")
        if steps is None:
            raise FormatError(
                f"{artifact.folder} does not say which checkpoints it has; make it anew"
            )
        history = from_lines(artifact.file(cls.HISTORY).read_bytes())
        return cls(dict.fromkeys(steps, artifact.folder), history).at(artifact.folder)

    def at(self, folder: Path) -> "Adapter":
        """The same where `write` has put it."""
        places = _places(list(self.checkpoints))
        return replace(self, checkpoints={step: folder / place for step, place in places.items()})


def _places(steps: Sequence[int]) -> dict[int, Path]:
    """Where in its folder the adapter of each step is; that of the last is the folder's own."""
    places = {step: Path(f"checkpoint-{step}") for step in steps}
    return places | {step: Path() for step in steps[-1:]}


def adapter_files(folder: Path, base: str | None = None) -> dict[str, bytes]:
    """Name and content of an adapter's files in a folder, the same for the same adapter.

    Args:
        folder: where they are.
        base: the model that is adapted, as its config is to name it; None: as it does already.
    """
    settings = json.loads((folder / CONFIG).read_text("utf-8"))
    if base is not None:
        settings["base_model_name_or_path"] = base
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()  # PEFT writes a set, in any order
    return {
        WEIGHTS: (folder / WEIGHTS).read_bytes(),
        CONFIG: json.dumps(settings, indent=2, sort_keys=True).encode(),
    }
