"""Steering: what moves a model towards a language, from means of its neurons or of one state.

Letters: M neuron of the whole model, n steered neurons, H width of a state.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.config import listed
from langneurons.errors import InputError, MismatchError
from langneurons.layout import Shapes
from langneurons.neurons.counts import Counts
from langneurons.neurons.means import Floats, Means
from langneurons.neurons.sets import counts_behind, notes_on_weights, require_fit, select
from langneurons.neurons.table import Neurons

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded
    from langneurons.model.steering import Steered

By = Literal["diffmean", "mean"]
"""`diffmean`: the target's mean less the source's is added; `mean`: neurons go to the target's."""


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What is done to neurons, or to one state, at every token.

    Attributes:
        values: what is added, or moved towards: of each neuron [n], or of the state [H].
        neurons: positions among all M of the neurons, ascending, [n]; None for a state.
        state: number of the state; None for neurons.
        by: how.
        strength: how often the values are added, or what share of the way neurons are moved.
    """

    values: Floats
    neurons: NDArray[np.int64] | None = None
    state: int | None = None
    by: By = "diffmean"
    strength: float = 1.0


def steering(
    means: Means,
    *,
    to: str,
    source: str | None = None,
    neurons: NDArray[np.int64] | None = None,
    state: int | None = None,
    by: By = "diffmean",
    strength: float = 1.0,
) -> Steering:
    """What steers neurons, or one state, towards a language.

    Args:
        means: of the model.
        to: the target.
        source: the language that is steered from; None: all others of the means, each alike.
        neurons: positions among all M, ascending.
        state: number of a state, in place of neurons.
        by: how.
        strength: 0 leaves the model as it is, to the bit.

    Raises:
        InputError: for a language or a state that the means do not hold, no neuron, a strength that
            is no number, or a state that is to be held at a mean.
    """
    if not isfinite(strength):
        raise InputError(f"strength {strength} is not a number; 1 adds the whole difference")
    if by not in ("diffmean", "mean"):
        raise InputError(f"by {by!r}: choose diffmean or mean")
    if source == to:
        raise InputError(f"{to} is to be steered to from itself; name another source")
    if (neurons is None) == (state is None):
        raise InputError("either neurons are steered or a state")
    if state is not None and by == "mean":
        raise InputError(
            f"state {state} held at a mean would be the same after every text; use --by diffmean"
        )
    if neurons is not None and not len(neurons):
        raise InputError(f"there is no neuron to steer towards {to}")
    others = [source] if source else [code for code in means.languages if code != to]
    if not others:
        raise InputError(f"the means hold {to} alone; a difference needs another language")

    def of(language: str) -> Floats:
        if state is not None:
            return means.of_state(language, state)
        return means.of_neurons(language)[neurons]

    target = of(to)
    values = target if by == "mean" else target - np.mean([of(code) for code in others], axis=0)
    return Steering(values=values, neurons=neurons, state=state, by=by, strength=strength)


def state_named(name: str) -> int | None:
    """The number in `state:5`; None where that is not what the name says.

    Raises:
        InputError: for a name that begins so and has no number.
    """
    word, colon, number = name.partition(":")
    if word != "state" or not colon:
        return None
    if not number.isdigit():
        raise InputError(f"{name!r}: give a state by its number, as state:5")
    return int(number)


@dataclass(frozen=True, kw_only=True)
class ByName:
    """What steers a model, from folders, and what a result that depends on it keeps.

    Attributes:
        steering: what steers.
        means: those that it was made of.
        settings: by which it was chosen.
        inputs: digests of the folders, by name.
        weights: fingerprint of the weights that each folder is of, by what it holds; None where it
            is not known.
        told: what it is, in words.
    """

    steering: Steering
    means: Means
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    weights: Mapping[str, str | None]
    told: str

    def fit(self, model: "Loaded", *, force: bool) -> list[str]:
        """What to note of how it fits this model.

        Raises:
            MismatchError: when it is of other layers, or of other weights, unless `force`.
        """
        require_means(self.means, model.widths)
        notes = []
        for what, weights in self.weights.items():
            notes += notes_on_weights(weights, model.fingerprint, force=force, what=what)
        return notes


def by_name(
    what: str,
    counts: Path | None,
    kinds: str,
    *,
    to: str,
    source: str | None,
    by: By,
    strength: float,
) -> ByName:
    """What steers a model, by the names that the command line gives.

    Args:
        what: folder of neurons, or a state as `state:5`.
        counts: folder of counts with means; None: those that the neurons come from.
        kinds: kinds of neurons, with commas.
        to: see `steering`.
        source: see `steering`.
        by: see `steering`.
        strength: see `steering`.

    Raises:
        InputError: see `steering`; for what is not in these folders.
        MismatchError: when neurons and means are of different models.
    """
    state = state_named(what)
    folder = None if state is not None else artifacts.read(Path(what), Neurons.KIND)
    behind = artifacts.read(counts, Counts.KIND) if counts else None
    if folder:
        behind = counts_behind(folder, counts)
    if behind is None:
        raise InputError(f"{what}: give counts recorded with --means, as --means FOLDER")
    means = Means.of_counts(behind)
    settings = {"to": to, "source": source, "by": by, "strength": strength}
    inputs = {"means": behind.digest}
    weights = {"means": behind.manifest["inputs"].get("model")}
    positions = None
    if folder:
        neurons = Neurons.load(folder)
        require_fit(neurons, means.widths)
        wanted = listed(kinds)
        positions = select(neurons, means.widths, wanted, (to,))
        settings["kinds"] = list(wanted)
        inputs["steered neurons"] = folder.digest
        weights["neurons"] = folder.manifest["facts"].get("model")
        if not len(positions):
            raise InputError(f"{what} has no {', '.join(wanted)} neuron of {to} to steer")
    else:
        settings["state"] = state
    which = f"state {state}" if positions is None else f"{len(positions):,} neurons"
    return ByName(
        steering=steering(
            means,
            to=to,
            source=source,
            neurons=positions,
            state=state,
            by=by,
            strength=strength,
        ),
        means=means,
        settings=settings,
        inputs=inputs,
        weights=weights,
        told=f"{which} from {source or 'all others'} to {to} by {by}, strength {strength:g}",
    )


@contextmanager
def steered(model: "Loaded", steering: Steering) -> Generator[None]:
    """Inside this block the model is steered in every forward, generation included.

    Raises:
        SiteError: for a state that is not there, or neurons that cannot be steered one by one.
    """
    if not steering.strength:
        yield
        return
    from langneurons.model import steering as hooks

    sites, strength = model.sites, steering.strength
    if steering.state is not None:
        import torch

        vector = torch.from_numpy(strength * steering.values)
        with hooks.add_to_state(sites, steering.state, vector):
            yield
    elif steering.by == "mean":
        with hooks.move_neurons(sites, _by_layer(steering, model.widths, 1.0), strength):
            yield
    else:
        with hooks.add_to_neurons(sites, _by_layer(steering, model.widths, strength)):
            yield


@contextmanager
def steer(
    model: "Loaded",
    counts: Counts | Means,
    neurons: Neurons | None = None,
    *,
    to: str,
    source: str | None = None,
    state: int | None = None,
    by: By = "diffmean",
    strength: float = 1.0,
) -> Generator[None]:
    """Inside this block a model is steered towards a language, generation included.

    Args:
        model: a loaded model.
        counts: counts recorded with means, or means.
        neurons: what is steered, such as `neurons.of("sw")`; or give a `state`.
        to: the language.
        source: that which is steered from; default: all others of the means, each alike.
        state: number of a residual state: 0 the embedding, l what layer l, from 1, leaves.
        by: `diffmean`: the difference of means is added; `mean`: neurons go to the target's mean.
        strength: how often, or what share of the way; 0 leaves the model as it is.

    Raises:
        InputError: see `steering`; for counts without means.
        MismatchError: when neurons or means cannot be of this model.
    """
    means = counts.means if isinstance(counts, Counts) else counts
    if means is None:
        raise InputError("these counts were recorded without means; record with means=True")
    require_means(means, model.widths)
    positions = None
    if neurons is not None:
        require_fit(neurons, model.widths)
        positions = np.unique(layout.positions(model.widths, neurons.keys))
    what = steering(
        means, to=to, source=source, neurons=positions, state=state, by=by, strength=strength
    )
    with steered(model, what):
        yield


def require_means(means: Means, shapes: Shapes) -> None:
    """Stop when means cannot be of a model with these layers.

    Raises:
        MismatchError: saying what both look like.
    """
    ours = tuple(map(tuple, shapes))
    if means.widths != ours:
        raise MismatchError(
            "the means are of another model: its layers are "
            f"{layout.describe(means.widths)}, those of this one {layout.describe(ours)}"
        )


def _by_layer(steering: Steering, shapes: Shapes, times: float) -> "list[Steered]":
    """The steered neurons of each layer that has some, their values so many times."""
    import torch

    from langneurons.model.steering import Steered

    assert steering.neurons is not None  # noqa: S101 - called for neurons
    parts = []
    for layer, (start, end) in enumerate(pairwise(layout.starts(shapes))):
        first, last = np.searchsorted(steering.neurons, (start, end))
        if first < last:
            own = torch.from_numpy(steering.neurons[first:last] - start)
            values = torch.from_numpy(times * steering.values[first:last])
            parts.append(Steered(layer, own, values))
    return parts
