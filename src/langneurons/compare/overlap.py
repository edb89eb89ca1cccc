"""Overlap: how far two tables of neurons agree (Table 4 of the paper).

The paper gives "the overlap ratio" without its denominator; intersection over the size of the
fiducial (first) set is the reading its words suggest and is given here, with Jaccard's index and
the overlap two random sets of these sizes would have.
"""

from typing import NamedTuple

import numpy as np

from langneurons import layout
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.table import Neurons


class Overlap(NamedTuple):
    """Agreement of two sets of neurons.

    Attributes:
        kind: specific, related or general.
        language: in which language they are highly active; `all` for the kind over all languages.
        before, after: sizes of the two sets.
        both: neurons in both.
        ratio: both / before (None when before is empty).
        jaccard: both / either (None when both are empty).
        chance: the ratio expected of random sets of these sizes, after / neurons of the model.
    """

    kind: str
    language: str
    before: int
    after: int
    both: int
    ratio: float | None
    jaccard: float | None
    chance: float


def overlap(before: Neurons, after: Neurons) -> list[Overlap]:
    """Agreement of two tables, per kind and language both know, with `before` as the fiducial.

    Raises:
        MismatchError: when the tables are of models of other layer widths, or share no language.
        InputError: when neither table knows the model's layer widths.
    """
    widths = before.widths or after.widths
    if widths is None:
        raise InputError(
            "neither table knows how wide the model's layers are; import one of them with --width"
        )
    if before.widths and after.widths and before.widths != after.widths:
        raise MismatchError(
            "these neurons are of two different models: layers "
            f"{layout.describe(before.widths)} in the first, "
            f"{layout.describe(after.widths)} in the second"
        )
    languages = [code for code in before.languages if code in after.languages]
    if not languages:
        raise MismatchError(
            f"these tables share no language: {','.join(before.languages)} in the first, "
            f"{','.join(after.languages)} in the second"
        )
    sets = [(kind, code) for kind in ("specific", "related") for code in ("all", *languages)]
    size = int(layout.sizes(widths).sum())
    return [_overlap(before, after, kind, code, size) for kind, code in (*sets, ("general", "all"))]


def _overlap(before: Neurons, after: Neurons, kind: str, language: str, size: int) -> Overlap:
    """Agreement on one kind and language, in a model of so many neurons."""
    first, second = _keys(before, kind, language), _keys(after, kind, language)
    both, either = len(first & second), len(first | second)
    return Overlap(
        kind=kind,
        language=language,
        before=len(first),
        after=len(second),
        both=both,
        ratio=both / len(first) if first else None,
        jaccard=both / either if either else None,
        chance=len(second) / size,
    )


def _keys(neurons: Neurons, kind: str, language: str) -> set[tuple[int, ...]]:
    """The neurons of a kind and language, each as (layer, expert, neuron)."""
    mask = neurons.kind == kind
    if language != "all":
        mask &= neurons.member[:, neurons.languages.index(language)]
    return set(map(tuple, np.asarray(neurons.keys[mask]).tolist()))
