"""Steer: let a model go on from prompts while it is steered towards other languages.

From each source to each target: by the target's neurons, by a state, by random neurons matched to
those by layer and activation rate, whose differences of means are brought to the same length in
every layer. Everything is written greedily and judged by the model as it is, not steered.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.ask.engine import Request
from langneurons.config import SampleConfig, SteerConfig
from langneurons.errors import InputError
from langneurons.layout import Shapes
from langneurons.neurons.means import Floats, Means
from langneurons.neurons.sets import require_fit, select
from langneurons.neurons.steering import Steering, require_means, steered, steering
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.silencing.controls import control
from langneurons.steering.continuations import (
    NOTHING,
    STATE,
    Continuation,
    Continuations,
    from_bytes,
    to_bytes,
)
from langneurons.steering.prompts import Prompt, Texts, prompts
from langneurons.texts.answers import is_correct
from langneurons.texts.language_id import Identifier
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.ask.local import InProcess
    from langneurons.model.loading import Loaded


class _Unit(NamedTuple):
    """One thing that is done to all prompts of a source.

    Attributes:
        source: see `Continuation`.
        target: see `Continuation`.
        what: see `Continuation`.
        draw: see `Continuation`.
        variant: see `Continuation`.
        steering: what steers; None for nothing.
    """

    source: str
    target: str | None
    what: str
    draw: int
    variant: str
    steering: Steering | None


def steer(
    model: "Loaded",
    neurons: Neurons,
    means: Means,
    texts: Texts,
    config: SteerConfig,
    *,
    rates: Mapping[str, NDArray[np.floating]] | None = None,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    template: str | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Continuations:
    """What a model writes while it is steered from each source to each target.

    Args:
        model: a loaded causal language model.
        neurons: its classified neurons.
        means: of its neurons and states.
        texts: what it goes on from, and from which languages are told apart.
        config: settings.
        rates: activation probability of every neuron, [M], by language, by which random neurons are
            matched; None: per layer only.
        sources: languages of the prompts; default: all that texts and means have in common.
        targets: languages steered to; default: likewise, of those that the neurons know.
        template: makes prompts of questions.
        state: where to keep what is done, every `save_every` seconds.
        on_step: told of the continuations done and of all.

    Raises:
        InputError: for a language that is not everywhere it is needed, a target without neurons, a
            state that is not there, too few prompts, or languages that cannot be told apart.
        MismatchError: for neurons or means of another model.
    """
    from langneurons.ask.local import InProcess

    require_fit(neurons, model.widths)
    require_means(means, model.widths)
    sources, targets = languages(texts, neurons, means, sources, targets)
    identifier, identified = texts.identifier
    asked = {
        code: prompts(
            texts,
            code,
            config.take,
            beginning=config.beginning,
            template=template,
            tokenizer=model.tokenizer,
        )
        for code in sources
    }
    units = list(_units(model, neurons, means, config, rates, sources, targets))
    work = _Work(model, InProcess(model), identifier, asked, config)
    for number in units_left(
        [len(asked[unit.source]) for unit in units],
        load=work.load,
        tensors=work.tensors,
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    ):
        work.run(units[number])
    return Continuations(tuple(work.rows), config.bootstrap, config.seed, identified)


def languages(
    texts: Texts,
    neurons: Neurons,
    means: Means,
    sources: Sequence[str] | None,
    targets: Sequence[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Languages of the prompts, and those steered to: those wanted, or all that there are.

    Raises:
        InputError: for one that is wanted and is not everywhere it is needed, or none.
    """
    known = [code for code in texts.texts if code in means.languages]
    both = [code for code in known if code in neurons.languages]
    for code in sources or ():
        _require(code, texts, means, None)
    for code in targets or ():
        _require(code, texts, means, neurons)
    chosen = tuple(sources or known), tuple(targets or both)
    if not any(source != target for source in chosen[0] for target in chosen[1]):
        raise InputError(
            f"texts, means and neurons leave no pair of languages: texts in "
            f"{', '.join(texts.texts)}, means of {', '.join(means.languages)}, neurons of "
            f"{', '.join(neurons.languages)}"
        )
    return chosen


def _require(code: str, texts: Texts, means: Means, neurons: Neurons | None) -> None:
    for what, there in (
        ("texts", tuple(texts.texts)),
        ("means", means.languages),
        ("neurons", neurons.languages if neurons else (code,)),
    ):
        if code not in there:
            raise InputError(f"the {what} hold no {code}, only {', '.join(there)}")


def _units(
    model: "Loaded",
    neurons: Neurons,
    means: Means,
    config: SteerConfig,
    rates: Mapping[str, NDArray[np.floating]] | None,
    sources: Sequence[str],
    targets: Sequence[str],
) -> "list[_Unit]":
    """Everything that is done, in order: of each source nothing first."""
    shapes = model.widths
    sets = {code: _sets(neurons, shapes, code, config, rates) for code in targets}
    units = []
    for source in sources:
        units.append(_Unit(source, None, NOTHING, 0, "0", None))
        for target in targets:
            if target == source:
                continue
            make = partial(steering, means, to=target, source=source)
            for (setting, draw), chosen in sets[target].items():
                what = make(neurons=chosen, by=config.by)
                if draw and config.by == "diffmean":
                    own = make(neurons=sets[target][setting, 0])
                    what = replace(what, values=as_long(what, own, shapes))
                for strength in config.tried:
                    at = replace(what, strength=strength)
                    units.append(_Unit(source, target, setting, draw, f"{strength:g}", at))
            for strength in config.tried:
                for number in config.numbered(len(shapes)):
                    what = make(state=number, strength=strength)
                    variant = f"state {number}, {strength:g}"
                    units.append(_Unit(source, target, STATE, 0, variant, what))
    return units


def _sets(
    neurons: Neurons,
    shapes: Shapes,
    target: str,
    config: SteerConfig,
    rates: Mapping[str, NDArray[np.floating]] | None,
) -> dict[tuple[str, int], NDArray[np.int64]]:
    """The neurons of each setting, draw 0, and random ones matched to them.

    Raises:
        InputError: for a setting in which the target has no neuron.
    """
    avoid = select(neurons, shapes, ("specific", "related"), (target,))
    found = {}
    for setting, kinds in config.kinds.items():
        chosen = select(neurons, shapes, kinds, (target,))
        if not len(chosen):
            raise InputError(
                f"{target} has no {' or '.join(kinds)} neuron to steer; leave it out with "
                "--targets, or choose other --settings"
            )
        found[setting, 0] = chosen
        place = zlib.crc32(f"{setting}/{target}".encode())
        for draw in range(1, config.controls + 1):
            rng = np.random.default_rng([config.seed, draw, place])
            rate = None if rates is None else rates[target]
            found[setting, draw] = control(chosen, avoid, shapes, rate, rng)
    return found


def as_long(what: Steering, own: Steering, shapes: Shapes) -> Floats:
    """Values of neurons, in each layer as long as those of other neurons there.

    Where they are all zero they stay so.
    """
    assert what.neurons is not None  # noqa: S101 - both steer neurons
    assert own.neurons is not None  # noqa: S101
    values = what.values.copy()
    for start, end in pairwise(layout.starts(shapes)):
        here = (what.neurons >= start) & (what.neurons < end)
        there = (own.neurons >= start) & (own.neurons < end)
        length = float(np.linalg.norm(values[here]))
        if length:
            values[here] *= float(np.linalg.norm(own.values[there])) / length
    return values


@dataclass
class _Work:
    """Continuations in the making."""

    model: "Loaded"
    engine: "InProcess"
    identifier: Identifier
    asked: Mapping[str, Sequence[Prompt]]
    config: SteerConfig

    def __post_init__(self) -> None:
        self.rows: list[Continuation] = []

    def tensors(self) -> Tensors:
        """All that was written so far."""
        return {"rows": np.frombuffer(to_bytes(self.rows), dtype=np.uint8)}

    def load(self, tensors: Tensors) -> None:
        """Go on from what `tensors` gave."""
        self.rows = from_bytes(tensors["rows"].tobytes())

    def run(self, unit: _Unit) -> None:
        """Write and judge the continuations of one unit."""
        asked = self.asked[unit.source]
        config = SampleConfig(
            n=1,
            temperature=0,
            max_new_tokens=self.config.max_new_tokens,
            rows=self.config.rows,
        )
        within: Callable = nullcontext
        if unit.steering is not None:
            within = partial(steered, self.model, unit.steering)
        self.engine.within = within
        completions = sorted(
            self.engine.complete([Request(prompt.text, 0) for prompt in asked], config)
        )
        texts = [completion.text for completion in completions]
        costs = costs_of(self.model, [prompt.text for prompt in asked], texts)
        for number, (prompt, text) in enumerate(zip(asked, texts, strict=True)):
            lang = unit.target or unit.source
            self.rows.append(
                Continuation(
                    source=unit.source,
                    target=unit.target,
                    what=unit.what,
                    draw=unit.draw,
                    variant=unit.variant,
                    prompt=number,
                    text=text,
                    language=self.identifier.language(text),
                    distinct=distinct_pairs(self._ids(text)),
                    cost=costs[number],
                    correct=is_correct(text, prompt.answer, lang),
                )
            )

    def _ids(self, text: str) -> list[int]:
        return self.model.tokenizer(text, add_special_tokens=False)["input_ids"]


def distinct_pairs(ids: Sequence[int]) -> float:
    """Share of the pairs of neighbouring tokens that are distinct; NaN where there is none."""
    pairs = list(pairwise(ids))
    return len(set(pairs)) / len(pairs) if pairs else math.nan


def costs_of(model: "Loaded", asked: Sequence[str], texts: Sequence[str]) -> list[float]:
    """What the tokens of each text cost the model after its prompt, mean in nats; NaN without any.

    A text that does not fit into the context after its prompt has none either.
    """
    import torch

    from langneurons.model.scored import prepared
    from langneurons.model.tokens import tokenise

    costs = np.full(len(texts), math.nan)
    responses = [
        Response(str(number), "any", prompt, text)
        for number, (prompt, text) in enumerate(zip(asked, texts, strict=True))
    ]
    rows = tokenise(model.tokenizer, responses)
    limit = model.context or math.inf
    scored = [
        response
        for response, row in zip(responses, rows, strict=True)
        if row.counted.any() and len(row.ids) <= limit
    ]
    if not scored:
        return costs.tolist()
    fit, work, _ = prepared(
        model, scored, ("any",), blocks=1, budget=model.budget(), share_prompts=False
    )
    for batch in work.batches.batches:
        with torch.inference_mode():
            where, nll = work.each(batch)
        for row, i in enumerate(batch.rows):
            own = nll[where.row == row]
            if len(own):
                costs[int(fit[i].question_id)] = float(own.mean())
    return costs.tolist()
