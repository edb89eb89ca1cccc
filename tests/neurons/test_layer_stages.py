import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.neurons.layer_stages import layer_stages, null, segment


def error(curves: np.ndarray, cuts: tuple[int, ...]) -> float:
    """Squared distance of standardised curves from the mean of each run."""
    z = curves - curves.mean(axis=1, keepdims=True)
    spread = z.std(axis=1, keepdims=True)
    z = np.divide(z, spread, out=np.zeros_like(z), where=spread > 1e-12)
    edges = (0, *cuts, curves.shape[1])
    return sum(
        ((z[:, a:b] - z[:, a:b].mean(axis=1, keepdims=True)) ** 2).sum()
        for a, b in itertools.pairwise(edges)
    )


def test_steps_are_found_exactly() -> None:
    cut = segment(np.array([[1, 1, 5, 5, 5, 2.0]]), 3)
    assert (cut.starts, cut.ends) == ((0, 2, 5), (2, 5, 6))
    assert cut.fit == pytest.approx(1)


def test_one_stage_explains_nothing() -> None:
    assert segment(np.array([[1.0, 2, 3]]), 1) == ((0,), (3,), pytest.approx(0, abs=1e-12))


def test_flat_curves_are_explained() -> None:
    assert segment(np.full((2, 5), 3.0), 2).fit == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(3, 9), st.integers(1, 4))
def test_no_division_is_better(seed: int, curves: int, layers: int, stages: int) -> None:
    stages = min(stages, layers)
    drawn = np.random.default_rng(seed).normal(size=(curves, layers))
    cut = segment(drawn, stages)
    best = min(error(drawn, cuts) for cuts in itertools.combinations(range(1, layers), stages - 1))
    assert error(drawn, cut.starts[1:]) == pytest.approx(best, abs=1e-9)
    assert cut.fit == pytest.approx(1 - best / error(drawn, ()), abs=1e-9)


def test_scale_of_a_curve_does_not_matter() -> None:
    drawn = np.random.default_rng(0).normal(size=(2, 12))
    scaled = drawn * [[1000.0], [0.01]] + [[7.0], [-3.0]]
    assert segment(drawn, 4).starts == segment(scaled, 4).starts


def test_too_few_layers() -> None:
    with pytest.raises(InputError, match="3 layers cannot be cut into 4 stages"):
        layer_stages(np.array([1, 2, 3]), np.array([3, 2, 1]))


def test_p_is_the_share_of_orders() -> None:
    """Against every order of six layers, each cut by the exact program of `stages`."""
    curves = np.array([[5.0, 5, 1, 0, 3, 4], [1, 2, 6, 7, 0, 8]])
    best = segment(curves, 3).fit
    share = np.mean(
        [
            segment(curves[:, list(order)], 3).fit >= best - 1e-9
            for order in itertools.permutations(range(6))
        ]
    )
    assert null(curves, 3).orders == pytest.approx(share, abs=0.04)
    assert null(np.ones((2, 6)), 3) == (1, 1)
    assert null(curves, 6) == (1, 1)


def test_p_is_the_share_of_walks() -> None:
    """Against every walk of four steps: each order of them, with each choice of signs."""
    curves = np.array([[5.0, 5, 1, 2, 4], [1, 2, 6, 7, 3]])
    best = segment(curves, 2).fit
    steps = np.diff(curves, axis=1)
    fits = [
        segment(np.concatenate([np.zeros((2, 1)), (steps[:, order] * signs).cumsum(1)], 1), 2).fit
        for order in map(list, itertools.permutations(range(4)))
        for signs in itertools.product((-1, 1), repeat=4)
    ]
    assert null(curves, 2).walks == pytest.approx(np.mean(np.array(fits) >= best - 1e-9), abs=0.04)


def test_orders_find_runs_and_no_others() -> None:
    """Runs are found; layers without order pass as ordered about as often as promised."""
    runs = np.repeat([4.0, 0, 6, 1], 4)
    noise = np.random.default_rng(0).standard_normal((30, 2, 16))
    assert null(np.stack([runs, -runs]) + noise[0], 4).orders < 0.01
    assert sum(null(one, 4).orders <= 0.05 for one in noise) <= 5
