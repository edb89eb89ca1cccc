"""Checkpoint: a model with neurons silenced for good, as an ordinary checkpoint for any engine.

A silenced neuron is a zero at the input of the down projection, and so is a column of zeros in that
projection: the product adds the same zeros in the same places, and logits are equal to the last
bit. That holds only where nothing stands between activation and projection: a norm is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.errors import InputError, ModelError, SiteError
from langneurons.neurons.sets import to_masks

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.model.loading import Loaded
    from langneurons.model.sites import Site


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder: weights, config, tokenizer, and a card.

    Attributes:
        card: what it says of itself, Markdown.
        model: the model with its tokenizer; None for one that is only read.
    """

    KIND: ClassVar[str] = "checkpoint"
    CARD: ClassVar[str] = "README.md"

    card: str
    model: "Loaded | None" = None

    def write(self, draft: artifacts.Draft) -> None:
        """Add it to a folder that is being written.

        Raises:
            InputError: for one without its model.
            ModelError: when transformers cannot save the model.
        """
        if self.model is None:
            raise InputError("a checkpoint that was read holds no weights; copy its folder")
        try:
            self.model.model.save_pretrained(draft.folder)
            self.model.tokenizer.save_pretrained(draft.folder)
        except (ValueError, NotImplementedError, RuntimeError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(f"{self.model.id} cannot be saved by transformers: {why}") from error
        draft.bytes(self.CARD, self.card.encode())

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Checkpoint":
        """The card of the one in a finished folder; the model is loaded as any other.

        Raises:
            InputError: when there is none, or it holds something else.
        """
        return cls(artifacts.opened(source, cls.KIND).file(cls.CARD).read_text("utf-8"))


def silenced_for_good(model: "Loaded", positions: NDArray[np.int64]) -> "Loaded":
    """The same model with zeros in the columns of its down projections; its weights are changed.

    An adapter is merged into its base first, which rounds.

    Args:
        model: a loaded model, not to be used as it was afterwards.
        positions: neurons to silence, among all M, ascending.

    Raises:
        ModelError: for weights that are quantised.
        SiteError: where no checkpoint answers as the silenced model does.
    """
    from langneurons.model.loading import around

    whole: Any = model.model
    if hasattr(whole, "merge_and_unload"):
        whole = whole.merge_and_unload()
    merged = around(whole, model.tokenizer, name=model.id)
    masks = to_masks([positions], merged.widths)
    for site, mask in zip(merged.sites, masks, strict=True):
        if mask is not None:
            _zero(site, mask[0])
    return merged


def _zero(site: "Site", mask: "Tensor") -> None:
    """Put zeros into the columns of one layer's neurons, [*shape].

    Raises:
        SiteError: where a column of zeros does not silence one neuron, and that alone.
        ModelError: for weights that are quantised.
    """
    from langneurons.model.experts import Common
    from langneurons.model.parts import Dense, Normed

    flat = mask.flatten()
    for part, start in zip(site.parts, site.starts, strict=True):
        chosen = flat[start : start + math.prod(part.shape)]
        if not chosen.any():
            continue
        why = None
        if isinstance(part, Normed):
            why = "has a norm between its activation and its down projection"
        elif isinstance(part, Dense) and part.within is not None:
            why = "is shared by several layers, all of which would lose the neuron"
        elif not isinstance(part, (Dense, Common)):
            why = "has experts that are not of transformers' common form"
        if why:
            raise SiteError(
                f"layer {site.layer}: {part.path} {why}, so no checkpoint answers as the silenced "
                "model does; silence it while it runs"
            )
        if isinstance(part, Dense):
            down: Any = part.down
            weight = _plain(down.weight, part.path)
            takes_rows = hasattr(down, "nx")  # GPT-2's Conv1D keeps [in, out]
            columns = weight if takes_rows else weight.T
            columns[chosen.to(weight.device)] = 0
        elif isinstance(part, Common):
            weight = _plain(part.module.down_proj, part.path)
            stacked = weight if part.module.is_transposed else weight.transpose(1, 2)
            stacked[chosen.view(part.shape).to(weight.device)] = 0  # [E, I, hidden]


def _plain(weight: Any, path: str) -> Any:
    """The weight itself, to be written into.

    Raises:
        ModelError: when it is quantised.
    """
    if not weight.dtype.is_floating_point or hasattr(weight, "quant_state"):
        raise ModelError(
            f"the down projection of {path} is quantised ({weight.dtype}); export from the model's "
            "plain weights"
        )
    return weight.data


def card(
    model: str,
    positions: NDArray[np.int64],
    widths: layout.Shapes,
    *,
    kinds: Sequence[str],
    languages: Sequence[str],
    merged: bool,
) -> str:
    """What a checkpoint says of itself.

    Args:
        model: what it was made from.
        positions: the neurons silenced.
        widths: shape of every layer.
        kinds: their kinds.
        languages: their languages.
        merged: whether an adapter was merged.
    """
    per_layer = layout.per_layer(widths, positions)
    rows = "\n".join(f"| {layer} | {n:,} |" for layer, n in enumerate(per_layer) if n)
    base = f"{model} (its adapter merged into its base)" if merged else model
    return (
        f"# {Path(model).name} with {len(positions):,} neurons silenced\n\n"
        f"Made by langneurons from {base}: the {', '.join(kinds)} neurons of "
        f"{', '.join(languages)} are silenced for good. Their columns of the down projections are "
        "zero; every other weight is as it was. Which they are stands in the folder of neurons "
        "whose digest `manifest.json` names.\n\n"
        f"| layer | neurons silenced, of {layout.describe(widths)} |\n|---|---|\n{rows}\n\n"
        "The licence and terms of the model it was made from apply.\n"
    )
