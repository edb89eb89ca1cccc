"""Tables: the macroscopic picture of one set of neurons, as plain rows (Fig. 3 and 10, Table 3 of the paper).

Where the counts could be resampled, every count is followed by its interval.
"""

import numpy as np
from numpy.typing import NDArray

from langneurons.neurons.layer_stages import NAMES, Segmentation
from langneurons.neurons.table import KINDS, Neurons
from langneurons.tables import Cell, Table
from langneurons.texts.languages import ENGLISH, language


def per_language(neurons: Neurons) -> Table:
    """Specific and related neurons of every language; a related neuron stands once with each of its languages."""
    kinds = neurons.kind
    rows = []
    for k, code in enumerate(neurons.languages):
        member = neurons.member[:, k]
        cells: list[Cell] = [code, language(code).name]
        for kind in ("specific", "related"):
            cells += _with_interval(
                neurons, f"{kind}/{code}", int((member & (kinds == kind)).sum())
            )
        rows.append(tuple(cells))
    columns = ("language", "name", *_heads(neurons, "specific"), *_heads(neurons, "related"))
    return Table(
        "per-language",
        "Language-specific and language-related neurons of each language.",
        columns,
        tuple(rows),
    )


def english(neurons: Neurons) -> Table | None:
    """English against the mean of the other languages (Table 3 of the paper); None without English."""
    if ENGLISH not in neurons.languages or len(neurons.languages) < 2:
        return None
    kinds, is_en = neurons.kind, np.array(neurons.languages) == ENGLISH
    rows = []
    for name, columns in (("English", is_en), ("mean of the others", ~is_en)):
        cells: list[Cell] = [name]
        for kind in ("specific", "related"):
            held = neurons.member[kinds == kind][:, columns].sum()
            cells.append(round(float(held) / int(columns.sum()), 1))
        rows.append(tuple(cells))
    return Table(
        "english",
        "English against the other languages.",
        ("languages", "specific", "related"),
        tuple(rows),
    )


def shared_by(neurons: Neurons) -> Table:
    """How many neurons are highly active in N = 0..K languages, among the selected and over all (Fig. 10)."""
    among = np.bincount(neurons.n_languages[neurons.selected], minlength=len(neurons.languages) + 1)
    everywhere = neurons.rule.histogram or (None,) * len(among)
    rows: list[tuple[Cell, ...]] = [
        (n, int(count), whole)
        for n, (count, whole) in enumerate(zip(among, everywhere, strict=True))
    ]
    caption = "Neurons highly active in N languages, among the selected and over all neurons of the model."
    return Table("shared-by", caption, ("N", "selected", "all"), tuple(rows))


def by_layer(neurons: Neurons) -> dict[str, NDArray[np.int64]]:
    """Neurons of each kind per layer, kind -> [L]; general over all neurons, the other kinds among the selected."""
    kinds = neurons.kind
    return {
        kind: np.bincount(neurons.layer[kinds == kind], minlength=neurons.layers) for kind in KINDS
    }


def layers(neurons: Neurons) -> Table:
    """Neurons of each kind in each layer (Fig. 3)."""
    counts = by_layer(neurons)
    rows = []
    for layer in range(neurons.layers):
        cells: list[Cell] = [layer]
        for kind in KINDS:
            cells += _with_interval(neurons, f"{kind}@{layer}", int(counts[kind][layer]))
        rows.append(tuple(cells))
    columns = ("layer", *(head for kind in KINDS for head in _heads(neurons, kind)))
    caption = "Neurons of each kind per layer; none: selected, yet highly active in no language."
    return Table("layers", caption, columns, tuple(rows))


def stage_table(segmentations: dict[int, Segmentation]) -> Table:
    """Stages of the layers for each number of stages, with the share of variance they explain."""
    rows = []
    for count, cut in segmentations.items():
        for i, (start, end) in enumerate(zip(cut.starts, cut.ends, strict=True)):
            name = NAMES[i] if count == len(NAMES) else None
            rows.append((count, i + 1, name, start, end - 1, round(cut.fit, 4)))
    caption = (
        "Best division of the layers into stages (least squares on standardised log(1 + specific + related) and "
        "log(1 + general)); fit: share of variance explained. The names are the paper's."
    )
    return Table(
        "stages",
        caption,
        ("stages", "stage", "name", "first layer", "last layer", "fit"),
        tuple(rows),
    )


def _heads(neurons: Neurons, name: str) -> tuple[str, ...]:
    return (name,) if neurons.uncertainty is None else (name, f"{name} low", f"{name} high")


def _with_interval(neurons: Neurons, name: str, value: int) -> list[Cell]:
    if neurons.uncertainty is None:
        return [value]
    low, high = neurons.uncertainty.intervals[name]
    return [value, round(low, 2), round(high, 2)]
