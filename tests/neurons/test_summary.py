"""What is told first of a set of neurons: the same facts as tiles, rules, values and lines."""

import json

from langneurons.config import IdentifyConfig
from langneurons.neurons import summary
from langneurons.neurons.identify import identify
from support.values import neurons_at, random_counts, tiny

CONFIG = IdentifyConfig(rate=0.3, tau_quantile=0.6, lam=0.1, bootstrap=5)


def test_by_hand() -> None:
    # Two layers; three languages of 10 tokens; tau = 0.5, the 9th smallest of 18.
    first = [[9, 9, 0], [0, 8, 0], [0, 0, 8]]
    second = [[6, 6, 5], [7, 1, 5], [9, 1, 5]]
    config = IdentifyConfig(rate=0.99, tau_quantile=0.5, lam=0.1)
    neurons = identify(tiny([first, second], 10, "en zh sw"), config)
    assert summary.lines(neurons) == [
        "lambda = 0.10000 (0.17977 in the units of Eq. 5), as given",
        "tau = 0.500000, quantile 0.5 of all probabilities",
        "selected 6: 3 specific, 1 related, 1 in no language (N = 0)",
        "general  1 of all neurons, 1 selected",
        "English  2 specific, 1 related; the others on average 0.5 and 0.5",
        "intervals unavailable: the counts hold one block, or --bootstrap is 0",
    ]
    values = summary.values(neurons)
    assert values["classes"] == {"specific": 3, "related": 1, "general": 1, "none": 1}
    assert values["per_language"]["en"] == {"specific": 2, "related": 1}
    assert values["shared_by"] == values["shared_by_all"] == [1, 3, 1, 1]
    assert values["stages"] is values["intervals"] is None
    assert [(tile.key, tile.value) for tile in summary.tiles(neurons)] == [
        ("specific", "3"),
        ("related", "1"),
        ("general", "1"),
        ("lambda", "0.10000"),
        ("tau", "0.50000"),
    ]
    assert "The lowest 0.99 of 6 neurons by score are selected: 6." in summary.rules(neurons)


def test_every_view_has_the_same_interval() -> None:
    neurons = identify(random_counts(1, 3), CONFIG)
    low, high = summary.values(neurons)["intervals"]["specific"]
    tile = next(tile for tile in summary.tiles(neurons) if tile.key == "specific")
    assert tile.interval == f"95% interval {low:,.0f} to {high:,.0f}"
    assert f"[{low:,.0f}, {high:,.0f}] specific" in "\n".join(summary.lines(neurons))
    assert any("5 resamplings of the 3 blocks" in rule for rule in summary.rules(neurons))
    json.dumps(summary.values(neurons), allow_nan=False)


def test_how_many_are_found_again() -> None:
    neurons = identify(random_counts(1, 3, blocks=4), CONFIG)
    told = [line for line in summary.lines(neurons) if " tokens): " in line]
    assert told[0].startswith("again    from 1 of 4 blocks (")
    assert told[-1].startswith("         from 2, those of 2 others (")
    middle, low, high = neurons.again[0].shares["specific"]
    assert f": {middle:.0%} [{low:.0%}, {high:.0%}] specific, " in told[0]
    assert summary.values(neurons)["again"][0]["blocks"] == 1


def test_of_an_import() -> None:
    neurons = neurons_at([(0, 0, "en"), (0, 1, "en zh sw")])
    assert summary.rules(neurons) == (
        "These memberships were imported from a mask; it holds no scores and no probabilities.",
    )
    assert [tile.key for tile in summary.tiles(neurons)] == ["specific", "related", "general"]
    assert summary.values(neurons)["tau"] is None
    assert "intervals" not in " ".join(summary.lines(neurons))
