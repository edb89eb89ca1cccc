"""Files of other tools, well-meant and hostile."""

import os
from pathlib import Path

import torch

MODEL = "Mistral-abc123"


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def activation(
    folder: Path, code: str, over_zero, tokens, *, prefix: bool = False, model: str = MODEL
) -> Path:
    path = folder / f"{'prefix.' if prefix else ''}activation.{code}.{model}.pt"
    torch.save({"over_zero": over_zero, "total_tokens": tokens}, path)
    return path


MASK = [
    [torch.tensor([0, 2]), torch.tensor([], dtype=torch.int64)],
    [torch.tensor([2]), torch.tensor([1])],
    [torch.tensor([2]), torch.tensor([1])],
]
