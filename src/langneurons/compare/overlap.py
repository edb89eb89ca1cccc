"""Compare: how far two tables of neurons agree (Table 4 of the paper).

The paper gives "the overlap ratio" without its denominator; intersection over the size of the
fiducial (first) set is the reading its words suggest and is given here, with Jaccard's index and
the overlap two random sets of these sizes would have.
"""

import math
from typing import NamedTuple

import numpy as np

from langneurons.errors import InputError, MismatchError
from langneurons.layout import describe as describe_widths
from langneurons.neurons.table import Neurons

OVERLAP_KINDS = ("specific", "related", "general")


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
    """Agreement of two tables, per kind and language, with `before` as the fiducial. Languages both know.

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
            f"these neurons are of two different models: layers {describe_widths(before.widths)} in the first, "
            f"{describe_widths(after.widths)} in the second"
        )
    languages = [code for code in before.languages if code in after.languages]
    if not languages:
        raise MismatchError(
            f"these tables share no language: {','.join(before.languages)} in the first, "
            f"{','.join(after.languages)} in the second"
        )
    total = sum(math.prod(width) for width in widths)
    rows = []
    for kind in OVERLAP_KINDS:
        for language in ("all", *languages) if kind != "general" else ("all",):
            a, b = _keys(before, kind, language), _keys(after, kind, language)
            both = len(a & b)
            rows.append(
                Overlap(
                    kind,
                    language,
                    len(a),
                    len(b),
                    both,
                    both / len(a) if a else None,
                    both / len(a | b) if a or b else None,
                    len(b) / total,
                )
            )
    return rows


def _keys(neurons: Neurons, kind: str, language: str) -> set[tuple[int, ...]]:
    mask = neurons.kind == kind
    if language != "all":
        mask &= neurons.member[:, neurons.languages.index(language)]
    return set(map(tuple, np.asarray(neurons.keys[mask]).tolist()))
