"""A comparison made of values, and the folder that keeps it."""

from dataclasses import replace
from pathlib import Path

import pytest

from langneurons import artifacts
from langneurons.compare.changes import Side, Source
from langneurons.compare.comparison import Comparison, compare
from langneurons.config import IdentifyConfig
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.silencing.matrix import matrices
from langneurons.texts.responses import Response
from support.values import losses, random_counts, with_questions

CONFIG = IdentifyConfig(rate=0.2, tau_quantile=0.7, lam=0.1, bootstrap=0)
COSTS = [[0.5, 0.1, 0, 0], [0.1, 0.6, 0, 0], [0, 0.1, 0.7, 0], [0.1, 0, 0, 0.4]]


def side(name: str, counts: Counts) -> Side:
    return Side(name, identify(counts, CONFIG), Source(counts, CONFIG))


def answers(share: float) -> list[Response]:
    return [
        Response(f"q{i}", code, "", "", 0, 1, i < 40 * share)
        for code in ("en", "fr")
        for i in range(40)
    ]


@pytest.fixture(scope="module")
def made() -> Comparison:
    """Everything a comparison can be made of; what comes after knows a language less, then all."""
    counts = with_questions(random_counts(3, 4, blocks=4, widths=((40,),) * 6))
    fewer = counts.spread(counts.languages[:3])
    moved = replace(counts, active=tuple(layer // 2 for layer in counts.active))
    return compare(
        side("before", counts),
        [side("fewer", fewer), side("after", moved)],
        domain=side("elsewhere", moved),
        matrices=matrices(losses({"specific": COSTS}, [1.0] * 4, blocks=3)),
        accuracy=[answers(0.2), answers(0.4), answers(0.8)],
        trained=("fr",),
        resamplings=4,
    )


def test_every_table_is_there(made: Comparison) -> None:
    assert list(made.tables) == [
        "overlap",
        "kind-changes",
        "group-changes",
        "language-changes",
        "english-changes",
        "shared-changes",
        "layer-changes",
        "transitions",
        "stability",
        "survival",
        "thresholds",
        "agreement-changes",
        "stability-domains",
        "accuracy-changes",
    ]
    for name, known in (("overlap", {"fewer", "after"}), ("kind-changes", {"after"})):
        assert {row["after"] for row in made.tables[name].records()} == known
    assert made.notes == ["fewer has other languages: only its overlap is shown"]


def test_claims_are_judged_by_the_last_and_by_all_that_is_given(made: Comparison) -> None:
    claims = {claim.name: claim for claim in made.claims}
    assert claims["diagonal"].numbers["specific"]["own greatest"] == list("abcd")
    assert claims["accuracy-trained"].numbers["after"] == 0.8
    assert claims["accuracy-trained"].numbers["before"] == 0.2
    for name in ("specific-to-related", "stable-alignment", "stable-domains"):
        assert claims[name].numbers


def test_claims_about_change_need_the_last_to_know_the_same_languages() -> None:
    counts = random_counts(3, 4, blocks=2, widths=((40,),) * 6)
    fewer = side("fewer", counts.spread(counts.languages[:3]))
    found = compare(side("before", counts), [side("same", counts), fewer], resamplings=0)
    claims = {claim.name: claim for claim in found.claims}
    assert claims["general-rise"].words == "needs the neurons after alignment"
    assert {row["after"] for row in found.tables["kind-changes"].records()} == {"same"}


def test_a_folder_gives_back_what_was_saved(made: Comparison, tmp_path: Path) -> None:
    made.save(tmp_path / "c")
    again = Comparison.load(tmp_path / "c")
    assert again.tables == made.tables
    assert again.claims == made.claims
    assert again.notes == made.notes
    names = set(artifacts.read(tmp_path / "c").manifest["files"])
    kept = {f"{name}.{end}" for name in made.tables for end in ("json", "csv", "tex")}
    assert names == kept | {"claims.json", "claims.csv", "claims.tex"}
