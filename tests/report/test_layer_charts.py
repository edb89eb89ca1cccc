"""Layer charts: what is drawn of agreement is what the neurons know of it."""

import numpy as np
import pytest

from langneurons.neurons.identify import identify
from langneurons.neurons.summary import stages
from langneurons.neurons.table import Neurons
from langneurons.report.figures import neuron_figures
from langneurons.report.layer_charts import agreement_figure
from support.values import random_counts, with_questions

SETTINGS = {"rate": 0.1, "tau_quantile": 0.7, "lam": 0.1}


@pytest.fixture(scope="module")
def neurons() -> Neurons:
    counts = with_questions(random_counts(3, 4, blocks=6, widths=((60,),) * 6))
    return identify(counts, **SETTINGS, bootstrap=20)


def test_agreement_is_drawn_above_its_parts(neurons: Neurons) -> None:
    known = neurons.agreement
    assert known
    figure = agreement_figure(neurons, stages(neurons))
    assert figure
    assert figure.spec
    curve, shares, languages = figure.spec["vconcat"]
    drawn = curve["data"]["values"]
    assert [row["value"] for row in drawn] == known.agreement.value.tolist()
    assert all(row["low"] <= row["value"] <= row["high"] for row in drawn)
    [chance] = [layer for layer in curve["layer"] if layer["mark"].get("strokeDash")]
    assert [row["value"] for row in chance["data"]["values"]] == known.shuffled.tolist()
    both = shares["data"]["values"]
    assert [row["value"] for row in both if row["curve"] == "language"] == (
        known.language.value.tolist()
    )
    cells = languages["data"]["values"]
    assert len(cells) == 3 * neurons.layers
    assert {row["language"] for row in cells} == {"Russian", "Spanish", "French"}
    assert languages["encoding"]["x"]["axis"]["title"] == "layer"
    assert figure.table.columns[-3:] == ("en-ru", "en-es", "en-fr")
    assert figure.to_svg().startswith("<svg")


def test_without_resampling_there_are_no_bands() -> None:
    counts = with_questions(random_counts(3, 4, blocks=6, widths=((60,),) * 3))
    figure = agreement_figure(identify(counts, **SETTINGS, bootstrap=0), None)
    assert figure
    assert figure.spec
    assert "agreement low" not in figure.table.columns
    assert not [m for m in figure.spec["vconcat"][0]["layer"] if m["mark"]["type"] == "area"]


def test_what_is_not_known_is_not_drawn() -> None:
    unknown = identify(random_counts(3, 4, blocks=6, widths=((60,),) * 6), **SETTINGS, bootstrap=0)
    assert agreement_figure(unknown, None) is None
    assert "agreement" not in {figure.name for figure in neuron_figures(unknown)}
    assert np.isnan(unknown.keeps).all()
