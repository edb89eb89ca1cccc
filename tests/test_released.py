"""The counts that the paper's authors released: every number of theirs that our rules must give.

Computed independently of this code and written down before it. Skipped where the data is absent;
test_identify.py holds the same rules to counts made by hand.
"""

import numpy as np
import pytest
import torch

from langneurons.config import IdentifyConfig, SweepConfig
from langneurons.neurons.identify import identify
from langneurons.neurons.layer_stages import layer_stages
from langneurons.neurons.other_tools import export_mask, import_mask, import_njunlp
from langneurons.neurons.selection import general_selected, score
from langneurons.neurons.table import Neurons
from langneurons.neurons.tables import english
from langneurons.sweep.sweep import sweep
from support.places import data

PAPER = IdentifyConfig(lam=0.109375)

SPECIFIC = "17 2 63 42 31 2 1 1 1 0 0 0 0 1 2 2 0 0 60 65 59 59 45 59 90 74 73 211 379 331 145 51"
GENERAL = (
    "181 106 103 114 192 194 253 253 270 307 334 431 417 443 555 445 "
    "348 423 316 261 151 92 66 48 50 51 54 66 108 136 284 745"
)


@pytest.fixture(scope="module")
def counts(released):
    return import_njunlp(released)


@pytest.fixture(scope="module")
def at_paper(counts) -> Neurons:
    """The neurons at the released code's lambda."""
    return identify(counts[0], PAPER)


@pytest.fixture(scope="module")
def exact(counts) -> Neurons:
    return identify(counts[0])


def test_import(counts) -> None:
    held, report = counts
    assert held.languages == ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
    assert held.widths == ((14336,),) * 32
    assert {row.language: row.tokens for row in report}["en"] == 319_931
    assert {row.language: row.tokens for row in report}["bn"] == 701_467
    assert [row.negative for row in report] == [5, 5, 10, 7, 11, 8, 7, 5, 4, 9]
    assert held.probability().max() == pytest.approx(1.001, abs=5e-4)


def test_tau_and_number_selected(at_paper) -> None:
    assert round(at_paper.rule.tau, 6) == 0.564436
    assert at_paper.selected.sum() == 4588


def test_shared_by_among_the_selected(at_paper) -> None:
    among = np.bincount(at_paper.n_languages[at_paper.selected], minlength=11)
    assert among.tolist() == [1369, 1866, 617, 310, 153, 127, 59, 40, 27, 20, 0]


def test_shared_by_over_all(at_paper) -> None:
    expected = (397496, 23235, 9802, 5617, 3693, 2680, 2126, 1982, 2002, 2322, 7797)
    assert at_paper.rule.histogram == expected


def test_english_and_the_others(at_paper) -> None:
    table = english(at_paper)
    assert table is not None
    (_, *en), (_, *others) = table.rows
    assert en == [12, 130]
    assert [round(x) for x in others] == [206, 480] or [int(x) for x in others] == [206, 479]


def test_layers(at_paper) -> None:
    specific, _, general, _ = at_paper.numbers.layers.astype(int).tolist()
    assert " ".join(map(str, specific)) == SPECIFIC
    assert " ".join(map(str, general)) == GENERAL


def test_exact_lambda(exact) -> None:
    lam = exact.rule.lam
    assert lam.status == "bound"
    assert round(lam.value, 5) == 0.10948
    assert round(lam.value * lam.factor, 5) == 0.86068
    assert round(lam.factor, 3) == 7.861
    assert lam.binding == (31, 13530)
    assert len(lam.feasible) == 1
    bound = exact.where((exact.layer == 31) & (exact.neuron == 13530))
    assert bound.kind.tolist() == ["general"]
    assert (round(bound.probability.min(), 3), round(bound.probability.max(), 3)) == (0.569, 0.998)


def test_the_cliff(counts) -> None:
    scores = score(counts[0].probability(), IdentifyConfig())
    found = [general_selected(scores, lam) for lam in (0.1094, 0.11, 0.12, 0.15, 0.20)]
    assert found == [0, 1, 42, 829, 1412]


def test_general_share_of_the_top(at_paper) -> None:
    assert round(7797 * 10 / (0.05 * 4_587_520), 2) == 0.34
    assert (at_paper.kind == "general").sum() == 7797


def test_with_the_filter_of_lape(counts) -> None:
    neurons = identify(counts[0], IdentifyConfig(prefilter=True))
    assert round(neurons.rule.lam.value, 3) == 0.082
    (_, *en), (_, *others) = english(neurons).rows
    assert en == [15, 150]
    assert [round(x) for x in others] == [299, 644]


def test_stages(at_paper) -> None:
    numbers = at_paper.numbers
    cut = layer_stages(numbers.language_neurons, numbers.by_layer("general").value)
    assert cut.starts == (0, 5, 18, 30)


def test_lape_and_ternary_share_a_third(counts, at_paper) -> None:
    lape = identify(counts[0], IdentifyConfig("lape"))
    ours, theirs = ({tuple(key) for key in n.keys[n.selected].tolist()} for n in (at_paper, lape))
    assert round(len(ours & theirs) / len(ours | theirs), 2) == 0.36


def test_mask_has_as_many_memberships_as_the_released_one(at_paper, tmp_path) -> None:
    mask, beside = export_mask(at_paper)
    (tmp_path / "mask.pt").write_bytes(mask)
    (tmp_path / "mask.pt.json").write_bytes(beside)
    lists = torch.load(tmp_path / "mask.pt", weights_only=True)
    assert sum(len(indices) for layers in lists for indices in layers) == 6307
    again, _ = import_mask(tmp_path / "mask.pt")
    assert again.keys.tolist() == at_paper.of_kinds(("specific", "related")).keys.tolist()


def test_over_a_grid_stages_stay_and_lambda_moves(counts) -> None:
    """The twelve cells that were looked at by hand."""
    config = SweepConfig(
        tau_quantiles="0.9,0.95,0.98",
        lams="auto",
        prefilters="off",
        methods="ternary",
        leave_out="none",
    )
    found = sweep(counts[0], config)
    stages = [row for row in found.rows if row["claim"] == "four-stages"]
    assert len(stages) == 12
    others = {row["verdict"] for row in found.rows if row["claim"] != "four-stages"}
    assert others == {"holds"}
    assert {row["verdict"] for row in stages} == {"cannot tell"}  # one block has no intervals
    assert min(row["effect"] for row in stages) > 0  # and the pattern is there
    cuts = np.array([row["starts"] for row in stages])
    assert [sorted(set(column)) for column in cuts.T.tolist()] == [[0], [5], [18, 19, 20], [29, 30]]
    assert (cuts[:, 3] == 29).sum() == 1
    ends = [(min(values), max(values)) for values in zip(*_moving(stages), strict=True)]
    assert ends == [(0.033, 0.177), (80, 502)]


def _moving(rows) -> list[tuple[float, int]]:
    """Lambda, and English's related neurons."""
    return [(round(row["lam"], 3), row["related_en"]) for row in rows]


@pytest.mark.parametrize(
    ("name", "languages", "sizes"),
    [
        ("LLaMA-2-7B", None, [95, 583, 1022, 838, 836, 1068, 582]),
        ("Mistral-7B", ("en", "zh", "fr", "es", "vi", "id"), [76, 1190, 919, 838, 1554, 1445]),
    ],
)
def test_masks_of_lape(name, languages, sizes) -> None:
    neurons, assumed = import_mask(data("lape_release", f"{name}.neuron.pth"), languages)
    assert neurons.member.sum(axis=0).tolist() == sizes
    assert neurons.layers == 32
    assert bool(assumed) == (languages is None)
