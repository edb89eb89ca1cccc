"""Every claim on evidence in which it was planted, on evidence in which it was not, and on none."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from langneurons.compare.changes import Changes, Resampled
from langneurons.compare.claims import (
    Evidence,
    accuracy_rises,
    claims,
    general_rise,
    specific_to_related,
    stable,
    untrained_alike,
)
from langneurons.compare.model_claims import (
    diagonal_dominance,
    english_differs,
    four_stages,
    four_stages_in,
    related_add,
    stages_by_meaning,
)
from langneurons.compare.verdicts import Claim
from langneurons.config import IdentifyConfig
from langneurons.neurons.agreement import agreement
from langneurons.neurons.contrasts import of_neurons
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.layer_stages import layer_stages, null
from langneurons.neurons.numbers import Numbers
from langneurons.neurons.other_tools import import_njunlp
from langneurons.neurons.table import Neurons
from langneurons.silencing.matrix import matrices
from langneurons.texts.responses import Response
from support.values import losses, neurons_at, random_counts, with_questions

CODES = ("en", "zh", "sw")


def numbers(specific: object, related: object, general: object, layers: int = 3) -> Numbers:
    """Numbers with so many neurons of each kind in every layer, and a tenth of it in each language;
    [R] or single."""
    kinds = np.stack(
        np.broadcast_arrays(
            *np.asarray([specific, related, general, 0 * np.asarray(general)], float)
        ),
        -1,
    )
    each = np.repeat(kinds[..., None], layers, -1)
    languages = np.repeat(kinds[..., :2, None] / 10, len(CODES), -1)
    nothing = np.zeros((*kinds.shape[:-1], len(CODES) + 1))
    return Numbers(kinds[..., 0] * 0, kinds[..., 0] * 0, each, languages, nothing, nothing)


def changes(
    specific: tuple[float, float],
    related: tuple[float, float],
    general: tuple[float, float],
    *,
    stay: float = 0.9,
    resampled: bool = True,
    layers: int = 3,
) -> Changes:
    """Changes whose value is the mean of (low, high), and whose resamplings lie evenly between; of
    100 neurons each."""
    spread = np.linspace(0, 1, 41)
    ends = [np.array(pair) for pair in (specific, related, general)]
    before = numbers(100, 100, 100, layers)
    after = numbers(*(100 + pair.mean() for pair in ends), layers)
    moved = np.diag([round(100 * stay), round(100 * stay), 100, 0, 1000])
    moved[0, 4] = moved[1, 4] = 100 - round(100 * stay)
    drawn = None
    if resampled:
        then = numbers(*(100 + pair[0] + spread * (pair[1] - pair[0]) for pair in ends), layers)
        again = np.repeat(moved[None], len(spread), 0)
        first = numbers(*np.full((3, len(spread)), 100), layers)
        nobody = np.zeros((len(spread), 3, len(CODES)), int)
        drawn = Resampled(first, then, again, again, nobody, nobody, 0, True)
    shared = np.zeros((3, len(CODES)), int)
    return Changes("after", "own", CODES, before, after, moved, shared, drawn)


@pytest.mark.parametrize(
    ("specific", "related", "verdict"),
    [
        ((-9, -2), (3, 8), "holds"),
        ((-9, -2), (-3, 8), "cannot tell"),
        ((2, 9), (3, 8), "does not hold"),
        ((0, 0), (0, 0), "does not hold"),
    ],
)
def test_specific_to_related(specific: tuple, related: tuple, verdict: str) -> None:
    one = changes(specific, related, (0, 0))
    for found in (specific_to_related((one,)), untrained_alike((one,), ("zh",))):
        assert found.verdict == verdict
        low, high = found.numbers["specific"]["interval"]
        assert low <= found.numbers["specific"]["value"] <= high
    assert found.numbers["languages"] == ["en", "sw"]
    assert found.numbers["specific"]["value"] == pytest.approx(sum(specific) / 2 / 10)


def test_general_rise_and_the_other_thresholds() -> None:
    up, down = (
        changes((0, 0), (0, 0), (4, 9)),
        changes((0, 0), (0, 0), (-9, -4))._replace(thresholds="base's"),
    )
    assert general_rise((up,)).verdict == "holds"
    assert general_rise((up,)).words == "general +19.5 [+12.4, +26.6]"  # three layers
    found = general_rise((up, down))
    assert found.verdict == "holds"
    assert found.words.endswith("with the base's thresholds: does not hold")
    assert found.numbers["verdict, base's thresholds"] == "does not hold"


def test_without_resampling_one_cannot_tell() -> None:
    one = changes((-9, -2), (3, 8), (4, 9), resampled=False)
    assert {f((one,)).verdict for f in (specific_to_related, general_rise)} == {"cannot tell"}
    assert "(no interval)" in general_rise((one,)).words
    assert stable((one,), "domains").verdict == "cannot tell"


@pytest.mark.parametrize(("stay", "verdict"), [(0.9, "holds"), (0.2, "does not hold")])
def test_most_stay(stay: float, verdict: str) -> None:
    found = stable((changes((0, 0), (0, 0), (0, 0), stay=stay),), "alignment")
    assert found.verdict == verdict
    assert found.numbers["specific"]["value"] == stay
    assert found.numbers["specific"]["chance"] == pytest.approx(100 * stay / 1300)
    anew = found.numbers["specific"]["before against its resamplings"]
    assert f", by chance {stay / 13:.1%}, texts drawn anew {anew:.1%}; related " in found.words
    empty = changes((0, 0), (0, 0), (0, 0))._replace(transitions=np.zeros((5, 5), int))
    assert stable((empty,), "alignment").words == "needs specific and related neurons before"


def staged(per_layer: list[tuple[int, int]]) -> Neurons:
    """Neurons with so many specific ones (of en, zh, sw in turn) and general ones in each layer."""
    rows = []
    for layer, (specific, general) in enumerate(per_layer):
        rows += [(layer, i, CODES[i % 3]) for i in range(specific)]
        rows += [(layer, specific + i, "en zh sw") for i in range(general)]
    return neurons_at(rows, ((200,),) * len(per_layer))


STAGED = [(40, 10)] * 4 + [(0, 60)] * 6 + [(50, 5)] * 5 + [(20, 90)] * 2


def in_draws(per_layer: NDArray[np.number], draws: int = 20) -> Numbers:
    """Numbers of resamplings, with so many specific and general neurons in each layer, [R, L, 2]
    or the same [L, 2] in each."""
    layers = np.broadcast_to(per_layer, (draws, *per_layer.shape[-2:]))
    kinds = np.zeros((draws, 4, layers.shape[1]))
    kinds[:, 0], kinds[:, 2] = layers[..., 0], layers[..., 1]
    empty = np.zeros((draws, 1))
    return Numbers(empty, empty, kinds, empty, empty, empty)


def resampled(per_layer: list[tuple[int, int]], drawn: Numbers | None = None) -> Neurons:
    """The neurons of `staged`, with contrasts over resamplings that are all alike, or these."""
    neurons = staged(per_layer)
    drawn = drawn or in_draws(np.array(per_layer))
    numbers, held = neurons.numbers, neurons.with_neurons
    cut = layer_stages(numbers.language_neurons, numbers.by_layer("general").value)
    without = dict.fromkeys(CODES, numbers)
    return replace(neurons, contrasts=of_neurons(numbers, cut.starts, held, drawn, without))


def test_four_stages() -> None:
    found = four_stages(resampled(STAGED))
    assert (found.verdict, found.numbers["starts"], found.numbers["fit"]) == (
        "holds",
        [0, 4, 10, 15],
        1,
    )
    assert found.numbers["language neurons 3 > 2"] == {
        "value": 50,
        "interval": [50, 50],
        "least without a language": 50,
        "that language": "en",
    }
    assert found.numbers["fits"]["4"]["orders"] < 0.01
    assert list(found.numbers["fits"]) == ["2", "3", "4", "5", "6"]
    backwards = four_stages(resampled(STAGED[::-1]))
    assert backwards.verdict == "does not hold"
    assert "not as claimed: " in backwards.words
    assert "needs more layers than 3" in four_stages(staged(STAGED[:3])).words


def test_four_stages_of_one_block_stay_open() -> None:
    found = four_stages(staged(STAGED))
    assert found.verdict == "cannot tell"
    assert "no intervals, as with one block of questions; the pattern is there" in found.words
    drawn = random_counts(1, widths=((20,),) * 6)
    old = replace(identify(drawn, rate=0.2, tau_quantile=0.7, lam=0.1, bootstrap=5), contrasts=())
    assert "no intervals: identify the neurons anew for them" in four_stages(old).words


def test_four_stages_must_last_in_resamplings() -> None:
    turned = np.array(STAGED[::-1])
    drawn = np.where(np.arange(20)[:, None, None] < 5, turned, np.array(STAGED))
    found = four_stages(resampled(STAGED, in_draws(drawn)))
    assert found.verdict == "cannot tell"
    assert "cannot be told: language neurons 3 > 2 (+50 [-9, +50])" in found.words


def test_four_stages_must_last_without_any_language() -> None:
    neurons = resampled(STAGED)
    first, *others = neurons.contrasts
    for left_out in (0.0, np.nan):  # not above 0; no lambda without it
        shaken = first._replace(without={**first.without, "zh": left_out})
        found = four_stages(replace(neurons, contrasts=(shaken, *others)))
        assert found.verdict == "cannot tell"


def curves(logs: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Specific and general neurons in each layer, of curves of log(1 + neurons), [2, L]."""
    shifted = logs - logs.min(axis=1, keepdims=True)
    counts = np.expm1(4.5 * shifted / shifted.max()).round().astype(int)
    return [(int(language), int(general)) for language, general in counts.T]


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_a_straight_line_has_no_four_stages(signs: tuple[int, int]) -> None:
    """Any smooth curve is cut better than its layers in random orders; no contrast is fooled."""
    line = np.linspace(0, 1, 18)
    found = four_stages(resampled(curves(np.array(signs)[:, None] * line)))
    assert found.verdict == "does not hold"
    assert found.numbers["fits"]["4"]["orders"] < 0.01


def test_random_walks_seldom_have_four_stages() -> None:
    """However steady the counts, walks look like the paper's stages in few cases."""
    rng = np.random.default_rng(0)
    held = ordered = 0
    of = np.ones(20, dtype=bool)
    for _ in range(200):
        logs = rng.standard_normal((2, 20)).cumsum(axis=1)
        per_layer = np.array(curves(logs))
        cut = layer_stages(*per_layer.T)
        numbers = in_draws(per_layer)
        observed = Numbers(*(part[0] for part in numbers[:6]))
        asked = of_neurons(observed, cut.starts, of, numbers)
        held += four_stages_in(asked, cut).verdict == "holds"
    for _ in range(20):
        walk = rng.standard_normal((2, 20)).cumsum(axis=1)
        ordered += null(walk, 4).orders <= 0.05
    assert held <= 10  # 5%
    assert ordered >= 15  # of 20: the null that was held against before


def meant(per_stage: list[tuple[float, float]], blocks: int = 6) -> Counts:
    """Counts of three languages in which the layers of each stage have these variances of language
    and of meaning, and 1 of the rest; two layers a stage."""
    rng = np.random.default_rng(0)
    tokens = np.full((3, blocks), 10**6)
    active = []
    for language, meaning in np.repeat(np.array(per_stage), 2, axis=0):
        rate = (
            np.sqrt(language) * rng.standard_normal((3, 1, 300))
            + np.sqrt(meaning) * rng.standard_normal((1, blocks, 300))
            + rng.standard_normal((3, blocks, 300))
        )
        active.append((10**6 * (0.5 + 0.05 * rate)).astype(np.int64).clip(0, 10**6))
    counts = Counts(CODES, tuple(active), tokens)
    return with_questions(counts, blocks)


THERE = [(4.0, 0.5), (0.5, 3.0), (3.0, 2.0), (5.0, 1.0)]


def told_of(per_stage: list[tuple[float, float]]) -> Claim:
    known = agreement(meant(per_stage), (0, 2, 4, 6), resamplings=40)
    return stages_by_meaning(replace(staged(STAGED), agreement=known))


def test_stages_by_meaning() -> None:
    found = told_of(THERE)
    assert (found.verdict, found.numbers["starts"]) == ("holds", [0, 2, 4, 6])
    second_less_first = found.numbers["agreement 2 > 1"]
    assert second_less_first["value"] == pytest.approx(3 / 4 - 0.5 / 1.5, abs=0.06)
    assert second_less_first["least without a language"] > 0
    flat = told_of([(1.0, 1.0)] * 4)
    assert flat.verdict != "holds"
    turned = told_of(THERE[::-1])
    assert turned.verdict == "does not hold"
    assert "not as claimed: agreement 2 > 1 (" not in turned.words  # 2 : 1 against 1 : 1
    assert "needs counts of the same questions" in stages_by_meaning(staged(STAGED)).words
    two = neurons_at([(0, 0, "en")], languages="en zh")
    assert stages_by_meaning(two).verdict == "cannot tell"


@pytest.mark.parametrize(
    ("english", "verdict"),
    [((1, 3), "holds"), ((12, 30), "cannot tell"), ((50, 90), "does not hold")],
)
def test_english(english: tuple[int, int], verdict: str) -> None:
    codes = "en ru es fr de zh"
    sizes = {
        "ru": (10, 30),
        "es": (12, 33),
        "fr": (14, 28),
        "de": (11, 35),
        "zh": (15, 31),
        "en": english,
    }
    rows: list[tuple[int, int, str]] = []
    for code, (specific, _) in sizes.items():
        rows += [(0, len(rows) + i, code) for i in range(specific)]
    for code in list(sizes)[:-1]:
        rows += [
            (0, len(rows) + i, f"{code} zh") for i in range(sizes[code][1] if code != "zh" else 0)
        ]
    rows += [(0, len(rows) + i, "en zh") for i in range(english[1])]
    found = english_differs(neurons_at(rows, ((2000,),), codes))
    assert found.numbers["specific"]["English"] == english[0]
    assert found.verdict == verdict
    assert found.words.startswith(
        f"specific: English {english[0]}, others at least 10 (ru), on average 12.4, "
    )
    assert found.words.endswith(
        "; one language held against 5 by a one-sided t test of log(1 + neurons); no interval"
    )
    assert english_differs(neurons_at([], languages="ru es fr de")).verdict == "cannot tell"


@pytest.mark.parametrize(("low", "high", "verdict"), [(1, 1, "holds"), (11, 13, "cannot tell")])
def test_english_in_resamplings(low: int, high: int, verdict: str) -> None:
    """English 1, the others 10 to 13; in resamplings English has from `low` to `high`."""
    rows, codes = [], ("en", "ru", "es", "fr", "de")
    for code, n in zip(codes, (1, 10, 11, 12, 13), strict=True):
        rows += [(0, len(rows) + i, code) for i in range(n)]
        rows += [
            (0, len(rows) + i, f"{code} {codes[(codes.index(code) % 4) + 1]}") for i in range(n)
        ]
    neurons = neurons_at(rows, ((500,),), " ".join(codes))
    held = [neurons.member[neurons.kind == kind].sum(axis=0) for kind in ("specific", "related")]
    drawn = np.repeat(np.stack(held)[None], 21, 0).astype(float)
    drawn[:, :, 0] = np.linspace(low, high, 21)[:, None] if low != high else 1
    empty = np.zeros((21, 1))
    found = english_differs(neurons, Numbers(empty, empty, empty, drawn, empty, empty))
    assert found.verdict == verdict
    assert found.numbers["specific"]["interval"] is not None


def test_english_by_the_intervals_that_neurons_have_themselves() -> None:
    """Without resamplings at hand: the others at their lowest less English at its highest, and
    turned; without intervals either, there is none."""
    counts = random_counts(3, 4, blocks=5, widths=((60,),) * 6)
    neurons = identify(counts, rate=0.2, tau_quantile=0.7, lam=0.1, bootstrap=12)
    found = english_differs(neurons)
    english = neurons.languages.index("en")
    for kind in ("specific", "related"):
        own = neurons.numbers.by_language(kind)
        low = np.delete(own.low, english).mean() - own.high[english]
        high = np.delete(own.high, english).mean() - own.low[english]
        assert found.numbers[kind]["interval"] == pytest.approx([low, high])
        assert low < found.numbers[kind]["value"] < high
    alone = english_differs(identify(counts, rate=0.2, tau_quantile=0.7, lam=0.1, bootstrap=0))
    assert alone.numbers["specific"]["interval"] is None
    assert alone.numbers["specific"]["value"] == found.numbers["specific"]["value"]


OWN = (np.eye(4) * 0.5 + 0.01).tolist()
MORE = (np.eye(4) * 0.9 + 0.02).tolist()


def test_the_diagonal() -> None:
    far = losses({"specific": OWN, "specific+related": MORE}, [1.0] * 4, blocks=6, noise=0.3)
    found = diagonal_dominance(matrices(far))
    assert found.verdict == "holds"
    assert found.numbers["specific"]["p"] == pytest.approx(1 / 24)
    flat = losses(
        {"specific": OWN, "specific+related": np.ones((4, 4)).tolist()}, [1.0] * 4, blocks=6
    )
    assert diagonal_dominance(matrices(flat)).verdict == "does not hold"


def test_related_add() -> None:
    """By hand: 0.92 - 0.51 = 0.41 more; random sets change as much in both settings, so 0.41 beyond
    them too."""
    settings = {"specific": OWN, "specific+related": MORE}
    found = related_add(losses(settings, [1.0] * 4, blocks=6, controls=3))
    assert found.verdict == "holds"
    assert found.numbers["net"]["value"] == pytest.approx(0.41)
    assert found.numbers["languages"] == found.numbers["more in"] == list("abcd")
    assert (
        related_add(
            losses({"specific": MORE, "specific+related": OWN}, [1.0] * 4, blocks=6)
        ).verdict
        == "does not hold"
    )
    assert related_add(losses(settings, [1.0] * 4)).verdict == "cannot tell"
    assert "needs what silencing costs" in related_add(losses({"specific": OWN}, [1.0] * 4)).words
    partly = {"specific": [None, *OWN[1:]], "specific+related": MORE}
    assert related_add(losses(partly, [1.0] * 4, blocks=3)).numbers["languages"] == list("bcd")
    none = {"specific": [None] * 4, "specific+related": MORE}
    assert related_add(losses(none, [1.0] * 4)).verdict == "cannot tell"


def test_related_must_add_more_than_random_neurons() -> None:
    """Costs twice as much with both, and so do random sets of that size."""
    one = losses({"specific": OWN, "specific+related": MORE}, [1.0] * 4, blocks=6, controls=2)
    nll = one.nll.copy()
    for draw in (1, 2):
        for own, rows in (
            (0.0, one.find("specific", draw)),
            (0.5, one.find("specific+related", draw)),
        ):
            nll[rows] = nll[0] + own * one.tokens[0]
    found = related_add(replace(one, nll=nll))
    assert found.numbers["raw"]["value"] > 0 > found.numbers["net"]["value"]
    assert found.verdict == "does not hold"


def answers(shares: dict[str, float]) -> list[Response]:
    return [
        Response(f"q{i}", code, "", "", 0, 1, i * 37 % 100 < 100 * share)
        for code, share in shares.items()
        for i in range(100)
    ]


def test_accuracy() -> None:
    before, after = (
        answers({"en": 0.5, "zh": 0.5, "sw": 0.5}),
        answers({"en": 0.5, "zh": 0.9, "sw": 0.2}),
    )
    up = accuracy_rises((before, after), ("zh",), "trained")
    assert (up.verdict, up.numbers["change"]) == ("holds", pytest.approx(0.4))
    assert up.words.startswith("50.0% to 90.0%, +40.0 points [+")
    assert up.words.endswith(
        "] in the mean of languages, p < 0.001; up in 1 of 1 languages, surely in 1 (McNemar's "
        "test, corrected)"
    )
    down = accuracy_rises((before, after), ("zh",), "untrained")
    assert (down.verdict, down.numbers["languages"]) == (
        "does not hold",
        {"en": 0.0, "sw": pytest.approx(-0.3)},
    )
    slight = accuracy_rises(
        (before, answers({"zh": 0.51, "en": 0.5, "sw": 0.5})), ("zh",), "trained"
    )
    assert slight.verdict == "cannot tell"
    assert (
        accuracy_rises((before, after), (), "trained").words == "needs which languages were trained"
    )
    assert accuracy_rises((before, after), CODES, "untrained").words.startswith(
        "needs marked answers in untrained"
    )


def test_interval_and_p_of_accuracy_must_agree() -> None:
    """4 of 12 questions are lost: the interval lies below 0, yet signs fall so in 2 of 16 ways."""
    before, after = (
        [Response(f"q{i}", "sw", "", "", 0, 1, i >= lost) for i in range(12)] for lost in (0, 4)
    )
    found = accuracy_rises((before, after), ("sw",), "trained")
    assert found.numbers["interval"][1] < 0
    assert found.numbers["p"] > 0.05
    assert found.verdict == "cannot tell"
    nothing = accuracy_rises((before, before), ("sw",), "trained")
    assert nothing.verdict == "does not hold"


def test_without_evidence_nothing_can_be_told() -> None:
    found = claims(Evidence())
    assert len({claim.name for claim in found}) == len(found) == 12
    assert {claim.verdict for claim in found} == {"cannot tell"}
    assert all(claim.words.startswith("needs ") and not claim.numbers for claim in found)


def test_all_claims_on_all_evidence() -> None:
    one = changes((-9, -2), (3, 8), (4, 9), layers=len(STAGED))
    evidence = Evidence(
        resampled(STAGED),
        (one,),
        (one,),
        matrices(
            losses({"specific": OWN, "specific+related": MORE}, [1.0] * 4, blocks=4, controls=1)
        ),
        (answers({"en": 0.2, "zh": 0.2}), answers({"en": 0.8, "zh": 0.8})),
        ("zh",),
    )
    found = {claim.name: claim for claim in claims(evidence)}
    assert found.pop("english").verdict == "cannot tell"  # two other languages are too few
    assert found.pop("stages-by-meaning").verdict == "cannot tell"  # nothing is known of agreement
    assert {claim.verdict for claim in found.values()} == {"holds"}
    again = json.loads(json.dumps([claim._asdict() for claim in found.values()], allow_nan=False))
    assert [Claim(**held) for held in again] == list(found.values())


def test_released_counts(released) -> None:
    """One block: what tests over layers and over languages can tell of the base model, and nothing
    of alignment."""
    neurons = identify(import_njunlp(released)[0], IdentifyConfig(lam=0.109375))
    found = {claim.name: claim for claim in claims(Evidence(neurons))}
    assert found["four-stages"].words.startswith(
        "cut before layers 5, 18, 30; no intervals, as with one block of questions; the pattern is "
        "there; fit 0.76"
    )
    assert found["four-stages"].numbers["fits"]["4"]["walks"] > 0.5
    assert "in at least 3 blocks" in found["stages-by-meaning"].words
    assert found["english"].verdict == "holds"
    assert found["english"].numbers["specific"]["English"] == 12
    assert {claim.verdict for name, claim in found.items() if name != "english"} == {"cannot tell"}
