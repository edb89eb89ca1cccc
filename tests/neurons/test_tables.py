import csv
import io

import numpy as np

from langneurons.config import IdentifyConfig
from langneurons.neurons.identify import identify
from langneurons.neurons.layer_stages import segment
from langneurons.neurons.tables import (
    english,
    layers,
    per_language,
    shared_by,
    stage_table,
)
from langneurons.tables import Table
from support.values import random_counts, tiny

CONFIG = IdentifyConfig(rate=0.5, tau_quantile=0.5, lam=0.1, bootstrap=10)


def small():
    # Two layers; three languages of 10 tokens; tau = 0.5, the 9th smallest of 18.
    first = [[9, 9, 0], [0, 8, 0], [0, 0, 8]]
    second = [[6, 6, 5], [7, 1, 5], [9, 1, 5]]
    config = IdentifyConfig(rate=0.99, tau_quantile=0.5, lam=0.1)
    return identify(tiny([first, second], 10, "en zh sw"), config)


def test_by_hand() -> None:
    neurons = small()
    assert neurons.rule.tau == 0.5
    assert neurons.kind.tolist() == [
        "specific",
        "related",
        "specific",
        "general",
        "specific",
        "none",
    ]
    # en: neurons 0 and 4 alone, 1 with zh. sw: neuron 2 alone.
    assert [row[2:] for row in per_language(neurons).rows] == [(2, 1), (0, 1), (1, 0)]
    assert english(neurons) is not None
    assert english(neurons).rows == (("English", 2.0, 1.0), ("mean of the others", 0.5, 0.5))  # ty: ignore
    assert layers(neurons).rows == ((0, 2, 1, 0, 0), (1, 1, 0, 1, 1))
    assert shared_by(neurons).rows == ((0, 1, 1), (1, 3, 3), (2, 1, 1), (3, 1, 1))


def test_histogram_and_layers_account_for_every_neuron() -> None:
    neurons = identify(random_counts(3, 4, widths=((30,), (20,))), CONFIG)
    shared = shared_by(neurons)
    assert sum(row[1] for row in shared.rows) == neurons.selected.sum()  # ty: ignore
    assert sum(row[2] for row in shared.rows) == 50  # ty: ignore
    assert neurons.numbers.kinds.sum() == len(neurons)
    per = per_language(neurons).records()
    assert sum(row["related"] for row in per) == neurons.member[neurons.kind == "related"].sum()


def test_without_english() -> None:
    assert english(identify(tiny([[[9, 1], [1, 9]]], 10, "zh sw"), CONFIG)) is None


def test_intervals_follow_their_counts() -> None:
    counts = random_counts(1, 3)
    neurons = identify(counts, CONFIG)
    intervals = neurons.numbers.intervals
    assert intervals is not None
    ends = intervals.named(neurons.languages)
    for row in per_language(neurons).records():
        low, high = ends[f"specific/{row['language']}"]
        assert (row["specific low"], row["specific high"]) == (round(low, 2), round(high, 2))
    assert layers(neurons).columns[:5] == (
        "layer",
        "specific",
        "specific low",
        "specific high",
        "related",
    )


def test_stage_table() -> None:
    table = stage_table(
        {4: segment(np.array([[0, 5, 1, 7.0]]), 4), 2: segment(np.array([[0, 0, 1, 1.0]]), 2)}
    )
    assert table.rows[0][:5] == (4, 1, "understanding", 0, 0)
    assert table.rows[4] == (2, 1, None, 0, 1, 1.0)


def test_csv_and_latex() -> None:
    table = Table("t", "50% of a_b", ("name, given", "n"), (("x & y", 1), (None, 2.5)))
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [
        ["name, given", "n"],
        ["x & y", "1"],
        ["", "2.5"],
    ]
    assert table.to_latex().splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \caption{50\% of a\_b}",
        r"  \label{tab:t}",
        r"  \begin{tabular}{lr}",
        r"    \toprule",
        r"    name, given & n \\",
        r"    \midrule",
        r"    x \& y & 1 \\",
        r"     & 2.5 \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
