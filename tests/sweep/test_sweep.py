"""Sweeps: verdicts as compare has them, chance, resuming, what is refused."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons.compare.changes import Side, Source
from langneurons.compare.comparison import compare
from langneurons.config import SweepConfig
from langneurons.errors import InputError, MismatchError
from langneurons.intervals import both
from langneurons.neurons.chance import permuted, split
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.sweep.grid import PAPER, Cell, cells
from langneurons.sweep.sweep import Sweep, sweep
from langneurons.sweep.units import Counted
from support.values import random_counts, with_questions

SMALL = SweepConfig(
    rates="0.1,0.2",
    tau_quantiles="0.7,0.8",
    lams="auto,0.1",
    leave_out="none",
    bootstrap=6,
    chance=4,
)


@pytest.fixture(scope="module")
def pair() -> tuple[Counts, Counts]:
    """A model before and after, in which some neurons moved."""
    before = random_counts(3, 4, blocks=5, widths=((60,),) * 6)
    moved = random_counts(4, 4, blocks=5, widths=((60,),) * 6)
    rng = np.random.default_rng(0)
    active = []
    for first, second in zip(before.active, moved.active, strict=True):
        mixed = np.where(rng.random(60) < 0.2, second, first)
        active.append(np.minimum(mixed, before.tokens[:, :, None]))
    return with_questions(before), with_questions(replace(before, active=tuple(active)))


@pytest.fixture(scope="module")
def swept(pair: tuple[Counts, Counts]) -> Sweep:
    return sweep(pair[0], SMALL, after=pair[1], trained=("fr",))


def of(found: Sweep, cell: int, claim: str, thresholds: str | None = None) -> Mapping[str, Any]:
    [row] = [
        row
        for row in found.rows
        if (row["cell"], row["claim"], row.get("thresholds")) == (cell, claim, thresholds)
    ]
    return row


def test_claims_are_those_of_compare(pair: tuple[Counts, Counts], swept: Sweep) -> None:
    every = cells(SMALL, pair[0].languages)
    for number in (0, 5, len(every) - 1):
        settings = every[number].config(SMALL)
        sides = [
            Side(n, identify(c, settings), Source(c, settings))
            for n, c in zip("ba", pair, strict=True)
        ]
        made = compare(sides[0], sides[1:], trained=("fr",), resamplings=6)
        expected = {claim.name: claim for claim in made.claims}
        english = of(swept, number, "english")
        assert english["verdict"] == expected["english"].verdict
        assert english["words"] == expected["english"].words
        neurons = sides[0].neurons
        assert neurons.agreement
        own = {"four-stages": neurons.contrasts, "stages-by-meaning": neurons.agreement.contrasts}
        for name, asked in own.items():  # a sweep leaves languages out in cells of their own
            row = of(swept, number, name)
            verdicts = [contrast._replace(without={}).verdict for contrast in asked]
            assert row["verdict"] == both(verdicts)
            starts = f"cut before layers {', '.join(map(str, row['starts'][1:]))}; "
            assert row["words"].startswith(starts)
            assert expected[name].words.startswith(starts)
            least = min(contrast.difference.value for contrast in asked)
            assert np.sign(row["effect"]) == np.sign(least)
            assert row["low"] <= row["effect"] <= row["high"]
        for name in ("specific-to-related", "untrained-alike", "general-rise", "stable-alignment"):
            row = of(swept, number, name, "own")
            assert row["verdict"] == expected[name].verdict
            own_words = expected[name].words.partition("; with the base's")[0]
            # a sweep resamples no model against itself
            assert row["words"] == re.sub(", texts drawn anew [0-9.]+%", "", own_words)
            other = of(swept, number, name, "base's")
            assert other["verdict"] == expected[name].numbers["verdict, base's thresholds"]
            assert row["low"] <= row["effect"] <= row["high"]


def test_rows_say_what_identify_says(pair: tuple[Counts, Counts], swept: Sweep) -> None:
    every = cells(SMALL, pair[0].languages)
    assert swept.cells == len(every) == 20
    for number, cell in enumerate(every):
        expected = identify(pair[0], replace(cell.config(SMALL), bootstrap=0))
        row = of(swept, number, "four-stages")
        assert row["tau"] == expected.rule.tau
        assert row["lam"] == (expected.rule.lam.value if expected.rule.lam else None)
        numbers = expected.numbers
        assert [
            row[k] for k in ("specific", "related", "general", "none")
        ] == numbers.kinds.tolist()
        assert [row[f"specific_{c}"] for c in expected.languages] == numbers.languages[0].tolist()
        assert expected.chance
        by_chance = expected.chance.permuted.get("specific")
        assert row.get("specific_by_chance") == (by_chance and by_chance.mean)
        halves = np.mean(list(expected.chance.halves.values()))
        assert row["specific_to_half"] == pytest.approx(halves)
        assert not row["paper"]
    assert swept.notes[0].startswith("the grid does not hold the paper's cell (rate 0.01")


def test_a_sweep_is_kept_as_it_is(swept: Sweep, tmp_path: Path) -> None:
    swept.save(tmp_path / "sweep")
    kept = Sweep.load(tmp_path / "sweep")
    for ours, theirs in zip(swept.rows, kept.rows, strict=True):
        assert {k: v for k, v in theirs.items() if v is not None} == {
            k: v for k, v in ours.items() if v is not None
        }
    assert kept.tables == swept.tables
    assert (kept.languages, kept.widths, kept.notes) == (swept.languages, swept.widths, swept.notes)
    for table in swept.tables:
        assert (tmp_path / "sweep" / f"{table.name}.csv").stat().st_size


class Killed(Exception):  # noqa: N818 - it is no error of anybody's
    pass


class Memory:
    """Keeps what is saved, and is killed after some savings."""

    def __init__(self, lives: int) -> None:
        self.kept: Any = None
        self.lives = lives

    def load(self) -> Any:
        return self.kept

    def save(self, tensors: Mapping[str, Any], done: int) -> None:
        self.kept = ({name: np.array(value) for name, value in tensors.items()}, done)
        self.lives -= 1
        if not self.lives:
            raise Killed


def test_a_killed_sweep_goes_on_to_the_same(pair: tuple[Counts, Counts], swept: Sweep) -> None:
    config = replace(SMALL, save_every=0.0)
    memory = Memory(lives=7)
    with pytest.raises(Killed):
        sweep(pair[0], config, after=pair[1], trained=("fr",), state=memory)
    assert memory.kept[1] == 7 < len(Counted(*pair, config).units)
    assert sweep(pair[0], config, after=pair[1], trained=("fr",), state=memory).rows == swept.rows


def test_the_grid() -> None:
    every = cells(SweepConfig(), ("en", "zh", "sw", "th"))
    assert len(every) == len(set(every)) == 20 * 6 + 4 * 20
    assert every.count(PAPER) == 1
    assert Cell(lam=0.0, prefilter=True) not in every  # it is LAPE
    assert len(cells(SweepConfig(leave_out="every"), ("en", "zh", "sw"))) == 20 * 6 * 4
    assert len(cells(SweepConfig(), ("en", "zh"))) == 20 * 6  # one language is no sweep
    assert Cell(lam=0.0, prefilter=True) in cells(SweepConfig(methods="ternary"), ("en", "zh"))


def test_labels_permuted_keep_each_block(pair: tuple[Counts, Counts]) -> None:
    counts = random_counts(0, 4, blocks=4, widths=((9,), (2, 3)))
    mixed = permuted(counts, 0, 0)
    assert np.array_equal(np.sort(mixed.tokens, axis=0), np.sort(counts.tokens, axis=0))
    places = [
        [int(np.flatnonzero(counts.tokens[:, g] == n)[0]) for g, n in enumerate(row)]
        for row in mixed.tokens
    ]
    for k, row in enumerate(places):  # each pseudo-language has one block of every language
        assert sorted(row) == [0, 1, 2, 3]
        for g, language in enumerate(row):
            assert np.array_equal(mixed.active[0][k, g], counts.active[0][language, g])
            routed, expected = mixed.routed[1], counts.routed[1]
            assert routed is not None
            assert expected is not None
            assert np.array_equal(routed[k, g], expected[language, g])
    assert not np.array_equal(mixed.tokens, permuted(counts, 0, 1).tokens)
    observed = counts.probability()
    halves = split(counts, "ru", observed, per="tokens", seed=0, number=0)
    assert np.array_equal(halves[2:], observed[[0, 2, 3]])
    low, high = halves[:2].min(axis=0), halves[:2].max(axis=0)
    assert ((low <= observed[1] + 1e-12) & (observed[1] <= high + 1e-12)).all()


def test_what_is_refused(pair: tuple[Counts, Counts]) -> None:
    before, after = pair
    with pytest.raises(InputError, match=r"rates '': give a value or more"):
        SweepConfig(rates="")
    with pytest.raises(InputError, match=r"rates '0.1,x': numbers with commas"):
        SweepConfig(rates="0.1,x")
    with pytest.raises(InputError, match=r"methods 'magic': choose among ternary, lape"):
        SweepConfig(methods="magic")
    with pytest.raises(InputError, match=r"lams 'auto,auto': give each value once"):
        SweepConfig(lams="auto,auto")
    with pytest.raises(InputError, match=r"rate 0.0001 of 360 neurons selects none; use 0.0028"):
        sweep(before, replace(SMALL, rates="0.0001,0.1"))
    with pytest.raises(MismatchError, match=r"two different models: layers 6 x 60 before, 2 x 9"):
        sweep(before, SMALL, after=random_counts(0, 4, widths=((9,), (9,))))
    with pytest.raises(MismatchError, match=r"the same languages: en,ru,es,fr before, en,ru,es af"):
        sweep(before, SMALL, after=after.spread(("en", "ru", "es")))
    with pytest.raises(InputError, match="these counts hold one language"):
        sweep(before.spread(("en",)), SMALL)


def test_one_block_has_no_chance_and_says_why() -> None:
    found = sweep(random_counts(3, 4, blocks=1, widths=((60,),) * 6), SMALL)
    assert any("hold one block, so that no labels can be permuted" in note for note in found.notes)
    assert "specific_by_chance" not in found.rows[0]
    assert all(row["low"] is None for row in found.rows if "effect" in row)


def test_a_cell_without_lambda_is_told(pair: tuple[Counts, Counts]) -> None:
    config = replace(SMALL, rates="0.1,0.9", tau_quantiles="0.4", bootstrap=0, chance=0)
    found = sweep(pair[0], config)
    without = [row for row in found.rows if row.get("problem")]
    assert without
    assert {row["verdict"] for row in without} == {"cannot tell"}
    assert "among the selected at lambda 0" in without[0]["words"]
    assert any("cells give nothing" in note for note in found.notes)


def test_on_the_command_line(
    pair: tuple[Counts, Counts], tmp_path: Path, langneurons: Callable
) -> None:
    for name, counts in zip(("before", "after"), pair, strict=True):
        counts.save(tmp_path / name)
    words = ("sweep", tmp_path / "before", "--after", tmp_path / "after", "--trained", "fr")
    words = (*words, "--rates", "0.1,0.2", "--tau-quantiles", "0.8", "--lams", "auto")
    words = (*words, "--leave-out", "none", "--bootstrap", 4, "--chance", 2)
    done = langneurons(*words, "--out", tmp_path / "sweep")
    assert done.status == 0, done.err
    assert done.out.splitlines()[0] == "6 cells; a share of cells is no p-value"
    assert "note: the grid does not hold the paper's cell" in done.out
    told = langneurons(*words, "--out", tmp_path / "sweep", "--json").json
    assert told["cells"] == 6
    assert {row["claim"] for row in told["claims"]} >= {"english", "general-rise"}
    for row in told["claims"]:
        assert row["cells"] == row["holds"] + row["does not hold"] + row["cannot tell"]
    refused = langneurons(*words, "--out", tmp_path / "other", "--rates", "2")
    assert refused.status == 2
    assert refused.err.count("\n") == 1
