"""Tables: the macroscopic picture of one set of neurons, as plain rows.

Fig. 3 and 10 and Table 3 of the paper. Where the counts could be resampled, every count is followed
by its interval.
"""

import numpy as np

from langneurons.errors import InputError
from langneurons.intervals import Estimate, Floats
from langneurons.neurons.layer_stages import NAMES, Segmentation
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS, Numbers
from langneurons.neurons.table import Neurons
from langneurons.tables import Cell, Table
from langneurons.texts.languages import is_english, told_apart


def per_language(neurons: Neurons) -> Table:
    """Specific and related neurons of every language; a related one stands with each of its own."""
    numbers = neurons.numbers
    found = {kind: numbers.by_language(kind) for kind in LANGUAGE_KINDS}
    rows = []
    for k, (code, name) in enumerate(told_apart(neurons.languages).items()):
        cells: list[Cell] = [code, name]
        for kind in LANGUAGE_KINDS:
            cells += _cells(found[kind], k)
        rows.append(tuple(cells))
    heads = [head for kind in LANGUAGE_KINDS for head in _heads(numbers, kind)]
    return Table(
        "per-language",
        "Language-specific and language-related neurons of each language.",
        ("language", "name", *heads),
        tuple(rows),
    )


def english(neurons: Neurons) -> Table | None:
    """English against the mean of the others (Table 3 of the paper); None without English."""
    numbers, own = neurons.numbers, np.array([is_english(code) for code in neurons.languages])
    if not own.any() or own.all():
        return None
    rows = []
    for name, chosen in (("English", own), ("mean of the others", ~own)):
        means = numbers.languages[:, chosen].mean(axis=1)
        rows.append((name, *(round(float(mean), 1) for mean in means)))
    return Table(
        "english",
        "English against the other languages.",
        ("languages", *LANGUAGE_KINDS),
        tuple(rows),
    )


def shared_by(neurons: Neurons) -> Table:
    """Neurons highly active in N = 0..K languages, among the selected and over all (Fig. 10)."""
    numbers = neurons.numbers
    rows: list[tuple[Cell, ...]] = [
        (n, int(selected), None if np.isnan(whole) else int(whole))
        for n, (selected, whole) in enumerate(zip(numbers.among, numbers.everywhere, strict=True))
    ]
    caption = (
        "Neurons highly active in N languages, "
        "among the selected and over all neurons of the model."
    )
    return Table("shared-by", caption, ("N", "selected", "all"), tuple(rows))


def layers(neurons: Neurons) -> Table:
    """Neurons of each kind in each layer (Fig. 3)."""
    numbers = neurons.numbers
    found = {kind: numbers.by_layer(kind) for kind in KINDS}
    rows = []
    for layer in np.flatnonzero(neurons.with_neurons).tolist():
        cells: list[Cell] = [layer]
        for kind in KINDS:
            cells += _cells(found[kind], layer)
        rows.append(tuple(cells))
    heads = [head for kind in KINDS for head in _heads(numbers, kind)]
    caption = "Neurons of each kind per layer; none: selected, yet highly active in no language."
    return Table("layers", caption, ("layer", *heads), tuple(rows))


def agreement_table(neurons: Neurons) -> Table:
    """Agreement of languages in each layer, its parts, and English with each other language.

    Raises:
        InputError: when it is not known.
    """
    known = neurons.agreement
    if known is None:
        raise InputError("these neurons do not know how far languages agree")
    columns: dict[str, Floats] = {}
    for name, part in zip(
        ("language", "meaning", "agreement"),
        (known.language, known.meaning, known.agreement),
        strict=True,
    ):
        columns[name] = part.value
        if not np.isnan(part.low).all():
            columns |= {f"{name} low": part.low, f"{name} high": part.high}
    columns["shuffled"] = known.shuffled
    columns |= {f"en-{code}": part.value for code, part in known.english.items()}
    rows = [
        (layer, *(None if np.isnan(cell) else round(float(cell), 4) for cell in cells))
        for layer, cells in enumerate(zip(*columns.values(), strict=True))
    ]
    caption = (
        "Shares of language and meaning in the variance of rates of activation, and agreement, "
        "meaning / (meaning + rest), per layer; shuffled: the highest with questions shuffled; "
        "en-*: agreement of English with one language."
    )
    return Table("agreement", caption, ("layer", *columns), tuple(rows))


def contrast_table(neurons: Neurons) -> Table | None:
    """What the four stages differ in, as the paper has it; None where there are no four."""
    known = neurons.agreement
    asked = (*neurons.contrasts, *(known.contrasts if known else ()))
    if not asked:
        return None
    rows = []
    for contrast in asked:
        value, low, high = (
            None if np.isnan(end) else round(float(end), 4) for end in contrast.difference[:3]
        )
        left_out = {code: value for code, value in contrast.without.items() if np.isfinite(value)}
        least = min(left_out, key=lambda code, of=left_out: of[code], default=None)
        without = None if least is None else round(left_out[least], 4)
        stages = (contrast.what, contrast.more, contrast.less)
        rows.append((*stages, value, low, high, without, least, contrast.verdict))
    ends = any(row[4] is not None for row in rows)
    intervals = (
        " With 95% intervals over blocks, and the least difference without one language, and which."
        if ends
        else ""
    )
    caption = (
        "Differences between two of the four stages found here, first minus second, in the "
        "direction of the paper: language neurons (specific and related) and general ones a "
        f"layer{'; agreement and the share of language in the variance' if known else ''}."
        f"{intervals}"
    )
    heads = ("of", "more in stage", "less in stage", "difference", "low", "high", "least")
    made = Table("contrasts", caption, (*heads, "without", "verdict"), tuple(rows))
    return made.without_empty()


def stage_table(segmentations: dict[int, Segmentation]) -> Table:
    """Stages of the layers for each number of stages, with the share of variance they explain."""
    rows = []
    for count, cut in segmentations.items():
        for i, (start, end) in enumerate(zip(cut.starts, cut.ends, strict=True)):
            name = NAMES[i] if count == len(NAMES) else None
            rows.append((count, i + 1, name, start, end - 1, round(cut.fit, 4)))
    caption = (
        "Best division of the layers into stages (least squares on standardised "
        "log(1 + specific + related) and log(1 + general)); fit: share of variance explained. "
        "The names are the paper's."
    )
    return Table(
        "stages",
        caption,
        ("stages", "stage", "name", "first layer", "last layer", "fit"),
        tuple(rows),
    )


def _heads(numbers: Numbers, name: str) -> tuple[str, ...]:
    return (name,) if numbers.intervals is None else (name, f"{name} low", f"{name} high")


def _cells(found: Estimate, place: int) -> list[Cell]:
    """One of several counts, and its interval where there is one."""
    value, low, high = (float(array[place]) for array in found[:3])
    ends = [] if np.isnan(low) else [round(low, 2), round(high, 2)]
    return [int(value), *ends]
