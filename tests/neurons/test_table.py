"""The table of neurons: rows chosen, there and back through files, as it shows itself."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.config import IdentifyConfig
from langneurons.errors import InputError, MissingExtraError
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.table import Neurons, Rule
from support.values import neurons_at, random_counts


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["ternary", "lape"]))
def test_table_round_trip(seed: int, method) -> None:
    counts = random_counts(seed, 3, widths=((9,), (2, 4)))
    config = IdentifyConfig(method, rate=0.3, tau_quantile=0.6, lam=0.1, bootstrap=3, chance=2)
    neurons = identify(counts, config)
    again = Neurons.from_table(neurons.to_table())
    assert neurons.uncertainty is not None
    assert again.uncertainty is not None
    for ours, theirs in zip(
        neurons.uncertainty.intervals, again.uncertainty.intervals, strict=True
    ):
        assert np.array_equal(ours, theirs, equal_nan=True)
    for field in dataclasses.fields(Neurons):
        ours, theirs = getattr(neurons, field.name), getattr(again, field.name)
        if isinstance(ours, np.ndarray):
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), field.name
        elif field.name != "uncertainty":
            assert ours == theirs, field.name


def test_other_tools_read_the_table() -> None:
    neurons = identify(random_counts(0, 3), IdentifyConfig(rate=0.2, tau_quantile=0.6, lam=0.1))
    table = neurons.to_table()
    expected = "layer neuron kind n_languages languages selected score margin keeps p_en p_ru p_es"
    assert table.column_names == expected.split()
    row = table.to_pylist()[0]
    assert row["languages"] == [c for c in ("en", "ru", "es") if row[f"p_{c}"] > neurons.rule.tau]


def table(**rule) -> Neurons:
    """Two layers of four; one neuron of each language, one of both, one general, one of none."""
    rows = [(0, 0, "en"), (0, 1, "en zh"), (0, 3, ""), (1, 0, "sw"), (1, 2, "en zh sw")]
    neurons = neurons_at(rows)
    return dataclasses.replace(neurons, rule=Rule("ternary", **rule)) if rule else neurons


def places(neurons: Neurons) -> list[tuple[int, int]]:
    return list(zip(neurons.layer.tolist(), neurons.neuron.tolist(), strict=True))


def test_the_neurons_of_languages() -> None:
    neurons = table()
    assert places(neurons.of("en")) == [(0, 0), (0, 1)]
    assert places(neurons.of("zh", "sw")) == [(0, 1), (1, 0)]
    assert places(neurons.of("zh", kinds=("specific",))) == []
    assert places(neurons.of("zh", kinds=("general",))) == [(1, 2)]
    assert places(neurons.of()) == [(0, 0), (0, 1), (1, 0)]
    assert places(neurons.of(kinds=("none",))) == [(0, 3)]
    with pytest.raises(InputError, match="know nothing of fr; their languages are en, zh, sw"):
        neurons.of("en", "fr")
    with pytest.raises(InputError, match="'odd' is no kind of neuron"):
        neurons.of("en", kinds=("odd",))


def test_a_part_has_its_own_numbers_and_no_intervals() -> None:
    config = IdentifyConfig(rate=0.3, tau_quantile=0.6, lam=0.1, bootstrap=3, chance=2)
    neurons = identify(random_counts(1, 3), config)
    assert neurons.numbers.intervals is not None
    specific = neurons.of(kinds=("specific",))
    assert specific.numbers.intervals is None
    assert specific.numbers.kinds.tolist() == [len(specific), 0, 0, 0]
    assert len(specific) == neurons.numbers.of_kind("specific").value > 0
    assert specific.rule == neurons.rule


def test_in_a_line_and_in_a_notebook() -> None:
    assert repr(table()) == (
        "Neurons(2 specific, 1 related, 1 general, 1 none of 2 x 4; en, zh, sw)"
    )
    shown = table()._repr_html_()
    assert shown.startswith("<table><caption>")
    assert "1 general" in shown
    assert "<tr><th>language</th><th>specific</th><th>related</th></tr>" in shown
    assert "<tr><td>en</td><td>1</td><td>1</td></tr>" in shown
    assert "<tr><td>sw</td><td>1</td><td>0</td></tr>" in shown


def test_as_a_data_frame() -> None:
    pytest.importorskip("pandas")
    frame = table().to_pandas()
    assert frame["kind"].tolist() == ["specific", "related", "none", "specific", "general"]
    assert frame["languages"].map(list).tolist()[1] == ["en", "zh"]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="needs pandas"):
        table().to_pandas()


def test_saved_and_loaded(tmp_path: Path) -> None:
    config = IdentifyConfig(rate=0.3, tau_quantile=0.6, lam=0.1, bootstrap=3, chance=2)
    neurons = identify(random_counts(1, 3), config)
    neurons.save(tmp_path / "neurons")
    again = Neurons.load(tmp_path / "neurons")
    assert again.to_table().equals(neurons.to_table(), check_metadata=True)
    with pytest.raises(InputError, match="holds neurons; counts are needed here"):
        Counts.load(tmp_path / "neurons")
