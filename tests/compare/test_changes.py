"""What changed: planted changes by hand, invariants, pairing, and the tables made of it."""

from dataclasses import replace

import numpy as np
import pytest

from langneurons.compare import tables as changetables
from langneurons.compare.changes import Changes, Side, Source, contrast, mean_of, total
from langneurons.config import IdentifyConfig
from langneurons.errors import InputError, MismatchError
from langneurons.neurons.classes import CLASSES, SETS, Thresholds, classify, listed
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.other_tools import import_njunlp
from langneurons.neurons.table import KINDS
from langneurons.tables import Table
from langneurons.texts.accuracy import compare_accuracy
from langneurons.texts.responses import Response
from support.values import neurons_at, random_counts, tiny

CONFIG = IdentifyConfig(rate=0.2, tau_quantile=0.7, lam=0.1, chance=0)


def side(name: str, counts: Counts, config: IdentifyConfig = CONFIG) -> Side:
    return Side(name, identify(counts, config), Source(counts, config))


def turned(counts: Counts, order: list[int]) -> Counts:
    """The same counts with their languages in another order."""
    return replace(
        counts,
        languages=tuple(counts.languages[i] for i in order),
        active=tuple(a[order] for a in counts.active),
        tokens=counts.tokens[order],
        routed=tuple(None if r is None else r[order] for r in counts.routed),
    )


# Two layers of three neurons; tau = 0, and selected are the four of lowest entropy.
BEFORE = [[[9, 0, 9], [0, 9, 9], [0, 0, 9]], [[9, 9, 0], [0, 9, 0], [0, 0, 0]]]
AFTER = [[[9, 0, 9], [9, 9, 9], [0, 0, 9]], [[9, 9, 0], [0, 9, 0], [0, 9, 9]]]
HAND = IdentifyConfig(rate=0.67, tau_quantile=0.35, lam=0.0)


def hand() -> tuple[Changes, ...]:
    """Neuron (0, 0), of en, is of zh too after; (1, 1), of en and zh, of all three; (1, 2), of
    none, of sw."""
    (found,) = contrast(
        *[side("a", tiny(BEFORE, 10, "en zh sw"), HAND)],
        [side("b", tiny(AFTER, 10, "en zh sw"), HAND)],
    )
    return found


def test_by_hand() -> None:
    own, base = hand()
    assert (own.thresholds, base.thresholds) == ("own", "base's")
    for one in (own, base):
        assert one.of(total("specific")).value == 0
        assert one.of(total("related")).value == 0
        assert one.of(total("general")).value == 1
        assert np.isnan(one.of(total("general")).low)
        stay = dict(zip(CLASSES, one.transitions, strict=True))
        assert stay["specific"].tolist() == [2, 1, 0, 0, 0]
        assert stay["related"].tolist() == [0, 0, 1, 0, 0]
        assert stay["general"].tolist() == [0, 0, 1, 0, 0]
        assert stay["not listed"].tolist() == [1, 0, 0, 0, 0]
        assert one.ratio("specific").value == pytest.approx(2 / 3)
        assert one.of(mean_of("specific", one.languages, ["en"])).value == -1
        assert one.of(mean_of("related", one.languages, ["en", "zh"])).value == 0
        assert one.of(lambda numbers: numbers.everywhere).value.tolist() == [-1, 0, 0, 1]


def test_survival_by_hand() -> None:
    own, _ = hand()
    specific, related, either = own.shared.tolist()
    assert specific == [1, 1, 0]
    assert related == [0, 0, 0]
    assert either == [2, 1, 0]
    survival = own.survival()
    np.testing.assert_array_equal(survival.value[0], [1 / 2, 1, np.nan])
    np.testing.assert_array_equal(survival.value[2], [2 / 3, 1 / 2, np.nan])
    assert np.isnan(survival.low).all()
    assert np.isnan(own.survival_by_chance()).all()
    (table,) = [t for t in changetables.tables([hand()]) if t.name == "survival"]
    row = next(r for r in table.records() if (r["language"], r["kind"]) == ("en", "specific"))
    numbers = [row[name] for name in ("before", "now", "both", "ratio", "chance", "resampled")]
    assert numbers == [2, 1, 1, 0.5, pytest.approx(1 / 6, abs=1e-6), None]


@pytest.fixture(scope="module")
def pair() -> tuple[Side, Side]:
    """Two related recordings of a dense layer and a mixture of experts, five blocks."""
    first = random_counts(3, 4, blocks=5, widths=((40,), (3, 20)))
    noise = np.random.default_rng(1)
    moved = tuple(a - noise.binomial(a, 0.3 * noise.random(a.shape[2:])) for a in first.active)
    return side("a", first), side("b", replace(first, active=moved))


def test_tables_and_counts_give_the_same_classes(pair: tuple[Side, Side]) -> None:
    for one in pair:
        source = one.source
        assert source
        (whole,), table = classify(*source), listed(one.neurons, source.counts.widths)
        assert (whole.kind == table.kind).all()
        for name in ("tau", "lam", "layers", "languages", "among", "everywhere"):
            ours, theirs = getattr(whole.numbers, name), getattr(table.numbers, name)
            assert np.array_equal(ours, theirs), name
        for i, kind in enumerate(KINDS):
            layers = one.neurons.layer[one.neurons.kind == kind]
            expected = np.bincount(layers, minlength=one.neurons.layers)
            assert whole.numbers.layers[i].tolist() == expected.tolist()


def test_own_thresholds_given_back_change_nothing(pair: tuple[Side, Side]) -> None:
    for config in (
        CONFIG,
        replace(CONFIG, prefilter=True),
        replace(CONFIG, method="lape"),
        replace(CONFIG, per="routed"),
    ):
        (one,) = classify(pair[0].source.counts, config)
        lam = None if config.method == "lape" else float(one.numbers.lam)
        base = Thresholds(config, float(one.numbers.tau), lam)
        own, given = classify(pair[0].source.counts, CONFIG, None, base)
        assert (given.kind == one.kind).all()
        assert (own.kind == classify(pair[0].source.counts, CONFIG)[0].kind).all()


def test_with_itself_nothing_changes(pair: tuple[Side, Side]) -> None:
    (found,) = contrast(pair[0], [pair[0]._replace(name="same")], resamplings=12)
    for one in found:
        assert one.resampled
        assert one.resampled.paired
        assert (one.transitions == np.diag(np.diag(one.transitions))).all()
        assert (one.resampled.transitions == one.resampled.transitions * np.eye(5, dtype=int)).all()
        for what in (
            *map(total, KINDS),
            lambda n: n.layers,
            lambda n: n.languages,
            lambda n: n.among,
            lambda n: n.tau,
        ):
            change = one.of(what)
            assert not np.any([change.value, change.low, change.high])
        for kind in ("specific", "related"):
            ratio = one.ratio(kind)
            assert ratio.value == ratio.low == ratio.high == 1
            assert 0 < one.ratio_by_chance(kind) <= 1
        assert one.ratio_by_chance("related") < 1


def test_survival_is_that_of_sets_of_addresses(pair: tuple[Side, Side]) -> None:
    """As the tables of neurons have it, in the plainest way; intervals hold it."""
    first = pair[0].source.counts.active
    kept = np.random.default_rng(2).random((4, 1, 1)) < 0.5
    mixed = tuple(np.where(kept, a, a[..., ::-1]) if a.ndim == 3 else a for a in first)
    pair = (pair[0], side("c", replace(pair[0].source.counts, active=mixed)))
    (found,) = contrast(pair[0], [pair[1]], resamplings=12)
    own, survival = found[0], found[0].survival()
    for k, code in enumerate(own.languages):
        for i, kinds in enumerate(SETS):
            first, second = (
                set(map(tuple, one.neurons.of(code, kinds=kinds).keys.tolist())) for one in pair
            )
            assert own.shared[i, k] == len(first & second)
            known = len(first & second) / len(first) if first else np.nan
            np.testing.assert_equal(survival.value[i, k], known)
    known = ~np.isnan(survival.value)
    assert (survival.low <= survival.value)[known].all()
    assert (survival.value <= survival.high)[known].all()
    assert (survival.value[known] < 1).any()
    ceiling = own.survival_by_chance()[known]
    assert ((ceiling > 0) & (ceiling <= 1)).all()
    same = contrast(pair[0], [pair[0]._replace(name="same")], resamplings=12)[0][0].survival()
    for numbers in (same.value, same.low, same.high):
        assert (numbers[~np.isnan(same.value)] == 1).all()


def test_swapping_flips_every_sign(pair: tuple[Side, Side]) -> None:
    """Own thresholds: a change back is the change with its sign turned, interval and all;
    transitions transpose."""
    (there, _), (back, _) = (contrast(a, [b], resamplings=12)[0] for a, b in (pair, pair[::-1]))
    assert (there.transitions == back.transitions.T).all()
    assert np.any(there.of(lambda n: n.layers).value)
    for what in (
        *map(total, KINDS),
        lambda n: n.layers,
        lambda n: n.languages,
        lambda n: n.everywhere,
    ):
        a, b = there.of(what), back.of(what)
        assert np.array_equal(a.value, -b.value)
        assert np.allclose(a.low, -b.high)
        assert np.allclose(a.high, -b.low)


def test_order_of_languages_does_not_matter(pair: tuple[Side, Side]) -> None:
    a, b = pair
    (expected,) = contrast(a, [b], resamplings=8)
    (found,) = contrast(a, [side("b", turned(b.source.counts, [2, 0, 3, 1]))], resamplings=8)
    for one, two in zip(expected, found, strict=True):
        assert (one.transitions == two.transitions).all()
        assert (one.resampled.transitions == two.resampled.transitions).all()
        assert np.array_equal(one.after.languages, two.after.languages)
        assert np.array_equal(one.of(lambda n: n.languages).low, two.of(lambda n: n.languages).low)


def test_a_resampling_is_identification_of_the_blocks_drawn(pair: tuple[Side, Side]) -> None:
    """Replicates from blocks put together and identified from the start, the same blocks on both
    sides."""
    (own, base) = contrast(*[pair[0]], [pair[1]], resamplings=6, seed=4)[0]
    draws = np.random.default_rng(4).multinomial(5, np.full(5, 0.2), 6)
    for r, draw in enumerate(draws):
        blocks, sides = np.repeat(np.arange(5), draw), []
        for one in pair:
            c = one.source.counts
            taken = tuple(a[:, blocks] for a in c.active)
            routed = tuple(None if x is None else x[:, blocks] for x in c.routed)
            sides.append(side("", Counts(c.languages, taken, c.tokens[:, blocks], routed, "x")))
        again = contrast(sides[0], [sides[1]], resamplings=0)[0]
        for expected, found in zip(again, (own, base), strict=True):
            assert np.array_equal(found.resampled.before.layers[r], expected.before.layers)
            assert np.array_equal(found.resampled.after.languages[r], expected.after.languages)
            assert np.array_equal(found.resampled.transitions[r], expected.transitions)


def test_pairing_takes_out_what_blocks_share() -> None:
    """Blocks differ a lot, before and after alike: paired intervals of a change are far
    narrower."""
    rng = np.random.default_rng(0)
    p = rng.beta(1, 2, (3, 300))
    shift = rng.normal(1, 0.5, (3, 8, 1)).clip(0, 1.5)
    counts = Counts(
        ("en", "zh", "sw"),
        (np.round(400 * np.clip(p[:, None] * shift, 0, 1)).astype(int),),
        np.full((3, 8), 400),
    )
    a, b = (
        side("a", counts),
        side("b", replace(counts, active=(np.minimum(counts.active[0] + 2, 400),))),
    )
    widths = []
    for paired in (True, False):
        (one, _) = contrast(a, [b], resamplings=40, paired=paired)[0]
        assert one.resampled.paired is paired
        change = one.of(lambda n: n.tau)
        widths.append(float(change.high - change.low))
    assert widths[0] < widths[1] / 10


def test_other_blocks_draw_their_own(pair: tuple[Side, Side]) -> None:
    other = side("b", replace(pair[1].source.counts, block_rule="another"))
    assert contrast(pair[0], [other], resamplings=4)[0][0].resampled.paired is False


def test_without_counts_or_blocks_there_is_no_interval(pair: tuple[Side, Side]) -> None:
    a, b = pair
    (alone,) = contrast(a, [b._replace(source=None)], resamplings=4)
    assert len(alone) == 1
    assert alone[0].resampled is None
    one = random_counts(3, 3, blocks=1)
    (found,) = contrast(side("a", one), [side("b", one)], resamplings=4)
    assert [x.resampled for x in found] == [None, None]


def test_steps_are_told(pair: tuple[Side, Side]) -> None:
    seen = []
    contrast(
        pair[0], [pair[1], pair[0]], resamplings=3, on_step=lambda done, of: seen.append((done, of))
    )
    assert seen == [(i + 1, 9) for i in range(9)]


def test_what_does_not_belong_together_is_refused(pair: tuple[Side, Side]) -> None:
    with pytest.raises(MismatchError, match="two different models: layers"):
        contrast(pair[0], [side("b", random_counts(0, 4))])
    with pytest.raises(MismatchError, match="the same languages: en,zh in a, en,sw in b"):
        contrast(
            Side("a", neurons_at([], languages="en zh")),
            [Side("b", neurons_at([], languages="en sw"))],
        )
    with pytest.raises(InputError, match="neither table knows"):
        contrast(Side("a", neurons_at([], None)), [Side("b", neurons_at([], None))])


def test_replicates_without_tokens_are_left_out(pair: tuple[Side, Side]) -> None:
    counts = random_counts(3, 3, blocks=3)
    tokens, active = counts.tokens.copy(), tuple(a.copy() for a in counts.active)
    tokens[0, 1:] = 0
    for a in active:
        a[0, 1:] = 0
    lonely = side("b", Counts(counts.languages, active, tokens, block_rule=counts.block_rule))
    (found,) = contrast(side("a", counts), [lonely], resamplings=30)
    draws = np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), 30)
    assert found[0].resampled.failed == (draws[:, 0] == 0).sum() > 0


@pytest.fixture(scope="module")
def made(pair: tuple[Side, Side]) -> dict[str, Table]:
    found = contrast(
        pair[0], [pair[1]._replace(name="100"), pair[1]._replace(name="200")], resamplings=8
    )
    rng = np.random.default_rng(0)
    marked = [
        [
            Response(f"q{i}", code, "", "", 0, 1, bool(rng.random() < p))
            for code in ("en", "zh")
            for i in range(40)
        ]
        for p in (0.3, 0.8)
    ]
    tables = (
        *changetables.tables(found, ("ru",)),
        changetables.accuracy_table({"200": compare_accuracy(*marked)}, ()),
    )
    return {table.name: table for table in tables}


def test_tables_agree_with_each_other(made: dict[str, Table], pair: tuple[Side, Side]) -> None:
    kinds = {(r["after"], r["thresholds"], r["kind"]): r for r in made["kind-changes"].records()}
    for name, choice, kind in kinds:
        rows = [
            r
            for r in made["layer-changes"].records()
            if (r["after"], r["thresholds"], r["kind"]) == (name, choice, kind)
        ]
        for column in ("before", "now", "change"):
            assert sum(r[column] for r in rows) == kinds[name, choice, kind][column]
        moved = [
            r
            for r in made["transitions"].records()
            if (r["after"], r["thresholds"]) == (name, choice)
        ]
        assert (
            sum(r["neurons"] for r in moved if r["before"] == kind)
            == kinds[name, choice, kind]["before"]
        )
        assert (
            sum(r["neurons"] for r in moved if r["now"] == kind) == kinds[name, choice, kind]["now"]
        )
    each = [
        r
        for r in made["language-changes"].records()
        if r["after"] == "100" and r["thresholds"] == "own"
    ]
    groups = [
        r
        for r in made["group-changes"].records()
        if r["after"] == "100" and r["thresholds"] == "own"
    ]
    for row in groups:
        chosen = [
            r["change"]
            for r in each
            if r["kind"] == row["kind"]
            and (r["trained"] == "yes") == (row["languages"] == "trained")
        ]
        assert row["how many"] == len(chosen)
        assert row["change"] == pytest.approx(np.mean(chosen), rel=1e-5)
    for row in (
        r
        for table in made.values()
        for r in table.records()
        if r.get("low") is not None and "change" in r
    ):
        assert row["low"] <= row["change"] <= row["high"]
    whole = sum(r["now"] for r in made["shared-changes"].records()[:10] if r["neurons of"] == "all")
    assert whole <= 40 + 60
    assert {r["languages"] for r in made["english-changes"].records()} == {
        "English",
        "mean of the others",
    }
    assert changetables.groups(("en", "zh"), ()) == {"all": ("en", "zh")}


def test_tables_survive_json(made: dict[str, Table]) -> None:
    for table in made.values():
        assert Table.from_json(table.to_json()) == table


def test_released_counts_against_lape(released) -> None:
    """LAPE's selection against the paper's: as `overlap` counts it; by the base's rule they are the
    same."""
    counts, _ = import_njunlp(released)
    sides = [side(method, counts, IdentifyConfig(method)) for method in ("ternary", "lape")]
    own, base = contrast(sides[0], sides[1:])[0]
    assert own.transitions[:3, :3].diagonal().tolist() == [1664, 743, 7797]
    assert own.before.layers.sum(axis=1).tolist() == [1867, 1354, 7797, 1367]
    assert own.after.layers.sum(axis=1)[:3].tolist() == [3406, 1182, 7797]
    assert (base.transitions == np.diag(np.diag(base.transitions))).all()
    assert own.resampled is None
