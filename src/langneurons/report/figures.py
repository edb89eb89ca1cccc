"""Figures: every figure and table of one result, by name.

`figures` is for people; a page takes `neuron_figures` and `silencing_figures`.
"""

from langneurons.neurons.summary import stages
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import contrast_table, english, stage_table
from langneurons.report.charts import Figure, table_figure
from langneurons.report.layer_charts import agreement_figure, layer_figure
from langneurons.report.neuron_charts import (
    card_figure,
    lambda_figure,
    language_figure,
    shared_figure,
    typical,
)
from langneurons.report.silencing_charts import change_figure, dominance_table, random_figure
from langneurons.silencing.losses import Losses
from langneurons.silencing.matrix import Matrices, matrices

STAGES = (3, 4, 5)
"""Numbers of stages that are reported; 4 is the paper's and is drawn."""


def figures(result: Neurons | Losses) -> dict[str, Figure]:
    """Every figure and table of a set of neurons, or of what silencing it costs: name -> figure.

    A notebook shows each as the chart or the table that it is; `figure.spec` is its Vega-Lite
    specification, `figure.table` its numbers. What the data cannot support (scores of an import) is
    left out.
    """
    if isinstance(result, Losses):
        made = silencing_figures(matrices(result))
    else:
        card = first_card(result)
        made = (*neuron_figures(result), *([card] if card else []))
    return {figure.name: figure for figure in made}


def neuron_figures(neurons: Neurons) -> tuple[Figure, ...]:
    """Every figure and table of one set of neurons, but for cards of single ones."""
    cuts = {number: cut for number in STAGES if (cut := stages(neurons, number))}
    contrast, differences = english(neurons), contrast_table(neurons)
    made = (
        layer_figure(neurons, cuts.get(4)),
        agreement_figure(neurons, cuts.get(4)),
        shared_figure(neurons),
        language_figure(neurons),
        lambda_figure(neurons),
        table_figure("Stages of the layers", stage_table(cuts)) if cuts else None,
        table_figure("What stages differ in", differences) if differences else None,
        table_figure("English and the others", contrast) if contrast else None,
    )
    return tuple(figure for figure in made if figure)


def silencing_figures(matrices: Matrices) -> tuple[Figure, ...]:
    """The matrix of changes by silencing, own ones beside random sets, the test of the diagonal."""
    made = (
        change_figure(matrices),
        random_figure(matrices),
        table_figure("Is the diagonal hurt most?", dominance_table(matrices)),
    )
    return tuple(figure for figure in made if figure)


def first_card(neurons: Neurons) -> Figure | None:
    """The card of the neuron that is shown first; None where there are no probabilities to show."""
    row = typical(neurons) if neurons.rule.tau is not None else None
    return None if row is None else card_figure(neurons, row)
