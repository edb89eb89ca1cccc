"""Neuron charts: what they draw is what the table holds."""

import numpy as np
import pytest

from langneurons.config import IdentifyConfig
from langneurons.neurons.identify import identify
from langneurons.neurons.layer_stages import NAMES
from langneurons.neurons.summary import stages
from langneurons.neurons.table import Neurons
from langneurons.report.figures import first_card, neuron_figures
from langneurons.report.layer_charts import layer_figure
from langneurons.report.neuron_charts import (
    card_figure,
    lambda_figure,
    language_figure,
    shared_figure,
    typical,
)
from langneurons.report.results import FolderResults
from support.values import neurons_at, random_counts


@pytest.fixture(scope="module")
def neurons(school: FolderResults) -> Neurons:
    assert school.results.neurons
    return school.results.neurons


def rows(spec: dict) -> list[dict]:
    return spec["data"]["values"]


def test_bars_are_neurons_of_each_kind_in_each_layer(neurons: Neurons) -> None:
    cut = stages(neurons)
    assert cut
    assert neurons.uncertainty
    figure = layer_figure(neurons, cut)
    assert figure.spec
    for panel, kind in zip(figure.spec["vconcat"], ("specific", "related", "general"), strict=True):
        assert [row["neurons"] for row in rows(panel)] == np.bincount(
            neurons.layer[neurons.kind == kind], minlength=24
        ).tolist()
        assert [row["layer"] for row in rows(panel)] == list(range(neurons.layers))
        assert all(row["low"] <= row["neurons"] <= row["high"] for row in rows(panel))
        bands = rows(panel["layer"][0])
        assert [band["name"] for band in bands] == list(NAMES)
        assert [band["start"] + 0.5 for band in bands] == list(cut.starts)
    spans = [
        f"{first}-{end - 1}" if end - 1 > first else f"{first}"
        for first, end in zip(cut.starts, cut.ends, strict=True)
    ]
    assert f"layers {', '.join(spans)};" in figure.text
    assert f"explains {cut.fit:.0%}" in figure.text
    axes = [panel["layer"][1]["encoding"]["x"]["axis"]["title"] for panel in figure.spec["vconcat"]]
    assert axes == [None, None, "layer"]


def test_bars_of_every_language_and_of_every_n(neurons: Neurons) -> None:
    figure = language_figure(neurons)
    assert figure.spec
    shown = {(row["language"], row["kind"]): row["neurons"] for row in rows(figure.spec)}
    for k, name in ((9, "Swahili"), (0, "English")):
        for kind in ("specific", "related"):
            expected = neurons.member[neurons.kind == kind, k].sum()
            assert shown[name, kind] == expected
    shared = shared_figure(neurons)
    assert shared.spec
    among, everywhere = shared.spec["vconcat"]
    numbers = np.bincount(neurons.n_languages[neurons.selected], minlength=11).tolist()
    assert [row["neurons"] for row in rows(among)] == numbers
    assert [row["N"] for row in rows(everywhere)] == list(range(1, 11))
    kinds = [row["kind"] for row in rows(among)]
    assert kinds == ["none", "specific", *["related"] * 8, "general"]


def test_the_curve_of_lambda(neurons: Neurons) -> None:
    figure = lambda_figure(neurons)
    assert figure
    assert figure.spec
    lam = neurons.rule.lam
    assert lam
    assert [row["general"] for row in rows(figure.spec)] == [n for _, n in lam.curve]
    (used,) = rows(figure.spec["layer"][2])
    assert used == {"lambda": lam.value, "label": f"λ = {lam.value:.5f}"}
    assert "dashed: the λ that is used" in figure.text
    assert figure.text.endswith("it does not bind.") is (not any(n for _, n in lam.curve))
    bound = identify(
        random_counts(1, 3, widths=((60,),)),
        IdentifyConfig(rate=0.1, tau_quantile=0.5, lam_limit=1.0),
    )
    assert bound.rule.lam
    assert bound.rule.lam.status == "bound"
    figure = lambda_figure(bound)
    assert figure
    assert figure.text.startswith("λ is the largest at which no neuron highly active in every")
    assert "does not bind" not in figure.text
    assert "λ* = " in str(figure.spec)


def test_a_card_is_one_neuron(neurons: Neurons) -> None:
    row = typical(neurons)
    assert row is not None
    related = np.flatnonzero(neurons.kind == "related")
    assert neurons.margin[row] == neurons.margin[related].max()
    figure = card_figure(neurons, row)
    layer, _, neuron = neurons.keys[row]
    assert figure.name == f"card-{layer}-{neuron}"
    assert f"neuron {layer}:{neuron} in each language" in figure.text
    assert figure.spec
    bars, tau = figure.spec["layer"]
    assert [row["probability"] for row in rows(bars)] == pytest.approx(
        neurons.probability[row], abs=1e-5
    )
    active = [row["active"] == "above tau" for row in rows(bars)]
    assert active == neurons.member[row].tolist()
    assert rows(tau) == [{"tau": neurons.rule.tau}]
    assert figure.table.columns == ("language", "probability", "active")
    assert bars["data"]["name"] == "card"  # by which the page's scripts find it


def test_a_mask_has_no_scores_and_no_cards() -> None:
    mask = neurons_at([(0, 1, "en"), (1, 3, "en zh"), (1, 2, "en zh sw")])
    names = [figure.name for figure in neuron_figures(mask)]
    assert names == ["layers", "shared-by", "per-language", "english"]
    assert first_card(mask) is None
    layers = layer_figure(mask, None)
    assert layers.spec
    assert all("low" not in row for panel in layers.spec["vconcat"] for row in rows(panel))
    shared = shared_figure(mask)
    assert shared.spec
    assert len(shared.spec["vconcat"]) == 1  # what is not selected is not known
    assert typical(mask.where(np.zeros(3, bool))) is None
