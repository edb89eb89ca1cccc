"""Mediate: what an alignment did, followed through sets of neurons.

Base and aligned model read the same held-out tokens. What enters the down projections of a set of
neurons in one of them is put into the other, and what that does to the outcome is measured, both
ways (causal mediation by activation patching: Vig et al. 2020; cross-model patching: Prakash et al.
2024; for safety neurons: Chen et al. 2024). What no neuron carries goes from attention to later
attention and the head by itself; what attention gives is taken over likewise.

Letters: K language, S set, R text of a batch, T token, D neuron of a layer, M neuron of the model.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons import layout
from langneurons.config import MediateConfig
from langneurons.effects.mediation import Mediation, Moved
from langneurons.effects.passes import Unit, costs_of_rows, final_states, halves
from langneurons.effects.scaling import Positions
from langneurons.errors import InputError, MismatchError, SiteError
from langneurons.intervals import Floats
from langneurons.model.batches import Batch
from langneurons.model.entering import Change, Entering
from langneurons.model.mixers import Mixer, OnMixed, find_mixers, mixing
from langneurons.model.scored import Scored, prepared, shares
from langneurons.neurons.layer_stages import NAMES
from langneurons.neurons.matched import control
from langneurons.neurons.sets import layer_range, require_fit, select, to_masks
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, Saved, added_up, or_halves, processes, units_left
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


class Judged(NamedTuple):
    """A text and how its cost enters the outcome of its question.

    Attributes:
        text: the text.
        sign: 1 where a likelier text is a better outcome, -1 where it is a worse one.
        unit: number of the pair it belongs to; of a text by itself, a number of its own.
    """

    text: Response
    sign: int
    unit: int


class Mediated(NamedTuple):
    """What mediation gives.

    Attributes:
        mediation: outcomes.
        facts: what to know of them: texts left out, how random sets were matched.
    """

    mediation: Mediation
    facts: dict[str, Any]


def mediated(
    model: "Loaded",
    neurons: Neurons,
    judged: Sequence[Judged],
    config: MediateConfig,
    *,
    paired: bool,
    trained: Sequence[str] = (),
    rates: Mapping[str, NDArray[np.floating]] | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Mediated:
    """Outcomes of every question with each set of neurons taken over from the other model.

    Args:
        model: the aligned model as an adapter around its base.
        neurons: classified neurons of either.
        judged: the texts.
        config: settings.
        paired: whether outcomes are counted in pairs, or in scored tokens.
        trained: languages that were trained.
        rates: activation probability of every neuron, language -> [M], to match random sets by;
            None: by layer and by change only.
        state: where to keep what is done, every `config.save_every` seconds.
        on_step: told of the progress, in tokens computed.

    Raises:
        InputError: for texts in no language of the neurons, or an adapter that changes nothing.
        MismatchError: for neurons of a model of another shape, or a model without an adapter.
        SiteError: for a mixture of experts, where two models send a token to different ones.
    """
    if not hasattr(model.model, "disable_adapter"):
        raise MismatchError(
            f"{model.id} is no adapter: what alignment did is held against its base"
        )
    require_fit(neurons, model.widths)
    if any(len(width) > 1 for width in model.widths):
        raise SiteError(
            "a mixture of experts sends a token to different experts in the two models, so their "
            "neurons have no values to take over"
        )
    known = tuple(
        code for code in neurons.languages if any(one.text.lang == code for one in judged)
    )
    if not known:
        raise InputError(f"no text is in a language of the neurons, {', '.join(neurons.languages)}")
    mine = [one for one in judged if one.text.lang in known]
    run = _Run(model, mine, known, config)
    change = run.size_of_change()
    sets = _sets(neurons, model.widths, known, config, change, rates)
    if run.mixers:
        sets += _of_attention(neurons, model.widths, len(known))
    sums = run.outcomes(sets, state, on_step)
    if np.array_equal(sums[0, 0], sums[0, 1]):
        raise InputError(f"{model.id} changes nothing in these texts: there is nothing to mediate")
    questions, place = run.questions()
    units = np.zeros(len(questions), np.int64)
    for i, one in enumerate(run.judged):
        tokens = int(run.work.batches.rows[i].tokens.counted.sum())
        units[place[i]] += (one.sign > 0) if paired else tokens
    of_language = [known.index(code) for code, _ in questions]
    numbers = np.array([[len(of) for of in carrier.neurons] for carrier in sets], dtype=np.int64)
    squares = [
        [(change[code][of] ** 2).sum() for code, of in zip(known, carrier.neurons, strict=True)]
        for carrier in sets
    ]
    mediation = Mediation(
        questions=questions,
        trained=tuple(code for code in trained if code in known),
        sets=tuple(carrier.moved for carrier in sets),
        neurons=numbers[:, of_language],
        sizes=np.sqrt(np.array(squares))[:, of_language],
        base=sums[0, 0],
        aligned=sums[0, 1],
        moved=sums[1:],
        units=units,
        unit="pair" if paired else "token",
    )
    facts = run.facts | {"texts": len(run.judged), "questions": len(questions)}
    facts["empty sets"] = [name for name in config.kinds if name not in mediation.names]
    return Mediated(mediation, facts)


class _Carrier(NamedTuple):
    """What is taken over from the other model.

    Attributes:
        moved: what it is called.
        neurons: positions of the neurons, for texts of each language.
        layers: whose attention's outputs are taken over.
    """

    moved: Moved
    neurons: list[Positions]
    layers: range = range(0)


def _sets(
    neurons: Neurons,
    shapes: layout.Shapes,
    codes: tuple[str, ...],
    config: MediateConfig,
    change: Mapping[str, Floats],
    rates: Mapping[str, NDArray[np.floating]] | None,
) -> list[_Carrier]:
    """Every set with the neurons of each language: of kinds, their random sets, and the rest.

    Raises:
        InputError: when no set that was asked for has a neuron, or layers are not there.
    """
    whole = np.arange(int(layout.sizes(shapes).sum()))
    classes = select(neurons, shapes, ("specific", "related", "general"))
    sets = [
        _Carrier(Moved("all", None, 0), [whole] * len(codes)),
        _Carrier(Moved("in no class", None, 0), [np.setdiff1d(whole, classes)] * len(codes)),
    ]
    layers = None if config.layers is None else layer_range(config.layers, neurons)
    matchings: dict[str, Mapping[str, NDArray[np.floating]] | None] = {"layer": None}
    if rates is not None:
        matchings["rate"] = rates
    matchings["change"] = change
    for name, kinds in config.kinds.items():
        own = [select(neurons, shapes, kinds, (code,), layers) for code in codes]
        scopes = {name: own}
        if set(kinds) & {"specific", "related"}:
            any_of = select(neurons, shapes, kinds, layers=layers)
            scopes |= {f"{name} of any": [any_of] * len(codes)}
        for scope, chosen in scopes.items():
            if not any(map(len, chosen)):
                continue
            sets.append(_Carrier(Moved(scope, None, 0), chosen))
            for matched, levels in matchings.items():
                for draw in range(1, config.controls + 1):
                    seeds = [zlib.crc32(f"{scope}/{matched}/{code}".encode()) for code in codes]
                    drawn = [
                        control(
                            of,
                            classes,
                            shapes,
                            None if levels is None else levels[code],
                            np.random.default_rng([config.seed, draw, seed]),
                        )
                        for code, of, seed in zip(codes, chosen, seeds, strict=True)
                    ]
                    sets.append(_Carrier(Moved(scope, matched, draw), drawn))
    if len(sets) == 2:
        where = f" in layers {config.layers}" if layers else ""
        raise InputError(f"there is no neuron of {config.settings}{where} to follow")
    return sets


def _of_attention(neurons: Neurons, shapes: layout.Shapes, languages: int) -> list[_Carrier]:
    """What attention gives, alone and with all neurons; and either of each stage of layers.

    Args:
        neurons: whose stages the layers are cut into, where there are enough layers.
        shapes: layers of the model.
        languages: how many there are.
    """
    starts = layout.starts(shapes)
    none, whole = np.zeros(0, np.int64), np.arange(starts[-1])
    every = range(len(shapes))
    sets = [
        _Carrier(Moved("attention", None, 0), [none] * languages, every),
        _Carrier(Moved("all + attention", None, 0), [whole] * languages, every),
    ]
    if int(neurons.with_neurons.sum()) < len(NAMES):
        return sets
    for stage in NAMES:
        layers = layer_range(stage, neurons)
        inside = np.arange(starts[layers.start], starts[layers.stop])
        where = f"layers {layers.start}-{layers.stop - 1}"
        if len(layers) == 1:
            where = f"layer {layers.start}"
        sets += [
            _Carrier(Moved(f"neurons of {where}", None, 0), [inside] * languages),
            _Carrier(Moved(f"attention of {where}", None, 0), [none] * languages, layers),
        ]
    return sets


class _Taken(NamedTuple):
    """What one model has where the other's may be put.

    Attributes:
        entering: what enters the down projections, [N, D] of each site.
        mixed: what attention gives, [R, T, H] of each mixer.
    """

    entering: dict[int, Tensor]
    mixed: dict[int, Tensor]


class _Models(NamedTuple):
    """What both models make of a batch.

    Attributes:
        batch: the batch.
        base: what each text costs in the base, [R].
        of_base: what the base has.
        aligned: what each text costs in the aligned model, [R].
        of_aligned: what the aligned model has.
    """

    batch: Batch
    base: Floats
    of_base: _Taken
    aligned: Floats
    of_aligned: _Taken


class _Run:
    """Both models over the texts."""

    def __init__(
        self,
        model: "Loaded",
        judged: Sequence[Judged],
        codes: tuple[str, ...],
        config: MediateConfig,
    ) -> None:
        """Prepare the texts; of a pair whose one text does not fit, the other is left out too."""
        self.config, self.budget = config, model.budget(config.budget)
        self._last: _Models | None = None

        def ready(given: Sequence[Judged]) -> tuple[list[Response], Scored, dict[str, Any]]:
            return prepared(
                model,
                [one.text for one in given],
                codes,
                blocks=1,
                budget=self.budget,
                share_prompts=False,
            )

        fit, self.work, self.facts = ready(judged)
        self.mixers, self.facts["attention"] = _mixers(self.work)
        kept = {id(text) for text in fit}
        lost = {one.unit for one in judged if id(one.text) not in kept}
        self.judged = [one for one in judged if one.unit not in lost]
        if lost:
            _, self.work, _ = ready(self.judged)

    def questions(self) -> tuple[tuple[tuple[str, str], ...], list[int]]:
        """Every question in every language, and which of them each text answers."""
        keys = [(one.text.lang, one.text.question_id) for one in self.judged]
        unique = tuple(dict.fromkeys(keys))
        place = {key: i for i, key in enumerate(unique)}
        return unique, [place[key] for key in keys]

    @torch.no_grad()
    def run(
        self, batch: Batch, change: Change, mixed: OnMixed, *, base: bool, times: int = 1
    ) -> Floats:
        """What a batch costs in the base or in the aligned model, [times, R]."""
        model: Any = self.work.model
        with model.disable_adapter() if base else nullcontext(), mixing(self.mixers, mixed):
            hidden = final_states(self.work, batch, change, change, times)
            return costs_of_rows(self.work, batch, hidden, times=times)

    def values(self, batch: Batch, *, base: bool) -> tuple[Floats, _Taken]:
        """What each text costs, [R], and all that may be put into the other model."""
        taken = _Taken({}, {})

        def take(mine: Entering) -> Tensor:
            taken.entering[mine.site] = mine.values
            return mine.values

        def take_mixed(place: int, given: Tensor) -> Tensor:
            taken.mixed[place] = given
            return given

        [costs] = self.run(batch, take, take_mixed, base=base)
        return costs, taken

    def size_of_change(self) -> dict[str, Floats]:
        """Root mean square of each neuron's change in each language, [M].

        At the positions that predict. Of several processes each reads all texts, so that all draw
        the same random sets.
        """
        codes = self.work.batches.languages
        sums = [np.zeros((len(codes), site.shape[0])) for site in self.work.sites]
        tokens = np.zeros(len(codes))

        def add(batch: Batch) -> None:
            models = self.models(batch)
            ours, theirs = models.of_base, models.of_aligned
            where = self.work.positions(batch)
            language = np.array([self.work.batches.rows[i].key for i in batch.rows])[where.row]
            for site, total in enumerate(sums):
                a, b = ours.entering[site], theirs.entering[site]
                length = len(a) // len(batch.rows)
                place = torch.from_numpy(where.row * length + where.column).to(a.device)
                squares = (b[place].float() - a[place].float()).square().double().cpu().numpy()
                np.add.at(total, language, squares)
            np.add.at(tokens, language, 1)

        for batch in self.work.batches.batches:
            or_halves(lambda unit: add(unit.batch), Unit(batch, 0), halves)
        levels = np.sqrt(np.concatenate(sums, axis=1) / np.maximum(tokens, 1)[:, None])
        return dict(zip(codes, levels, strict=True))

    def outcomes(
        self,
        sets: Sequence[_Carrier],
        state: Saved | None,
        on_step: Progress | None,
    ) -> Floats:
        """Outcomes of every question: of base and aligned, then of each set both ways.

        [1 + S, 2, Q].
        """
        questions, place = self.questions()
        sums = {"outcomes": np.zeros((1 + len(sets), 2, len(questions)))}
        rank, world = processes()
        units = [
            unit
            for batch in self.work.batches.batches[rank::world]
            for unit in self._units(batch, len(sets))
        ]

        def add(costs: Floats, batch: Batch, where: slice) -> None:
            for row, i in enumerate(batch.rows):
                sums["outcomes"][where, :, place[i]] -= costs[..., row] * self.judged[i].sign

        def run(unit: Unit) -> None:
            models = self.models(unit.batch)
            part = self._moved(unit.batch, models, sets[unit.start : unit.end])
            if unit.start == 0:
                add(np.stack([models.base, models.aligned])[None], unit.batch, slice(0, 1))
            add(part, unit.batch, slice(1 + unit.start, 1 + unit.end))

        for number in units_left(
            [unit.cost for unit in units],
            load=lambda saved: sums.update(outcomes=saved["outcomes"].copy()),
            tensors=lambda: sums,
            state=state,
            save_every=self.config.save_every,
            on_step=on_step,
        ):
            or_halves(run, units[number], halves)
        return (added_up(sums) if world > 1 else sums)["outcomes"]

    def _units(self, batch: Batch, sets: int) -> list[Unit]:
        """As many sets at once as the budget allows; the models alone are run with the first."""
        tokens = self.work.batches.computed(batch)
        return [
            Unit(batch, 2 * tokens * (end - start + (start == 0)), start, end)
            for start, end in shares(sets, self.budget // tokens)
        ]

    def models(self, batch: Batch) -> _Models:
        """Both models over a batch; run anew only where it is not the last one."""
        if self._last is None or self._last.batch != batch:
            self._last = None  # both need not be in memory
            base, of_base = self.values(batch, base=True)
            aligned, of_aligned = self.values(batch, base=False)
            self._last = _Models(batch, base, of_base, aligned, of_aligned)
        return self._last

    def _moved(self, batch: Batch, models: _Models, sets: Sequence[_Carrier]) -> Floats:
        """What each text costs with each of some sets taken over, both ways, [sets, 2, R]."""
        shapes = [site.shape for site in self.work.sites]
        languages = [self.work.batches.rows[i].key for i in batch.rows]  # one block: key is K
        masks = to_masks([carrier.neurons[k] for carrier in sets for k in languages], shapes)
        rows = [carrier.layers for carrier in sets for _ in languages]
        layers = [torch.tensor([mixer.layer in of for of in rows]) for mixer in self.mixers]
        costs = np.empty((len(sets), 2, len(batch.rows)))
        for way, (base, taken) in enumerate(((True, models.of_aligned), (False, models.of_base))):
            put = _put(taken.entering, masks, len(sets))
            mixed = _put_mixed(taken.mixed, layers)
            costs[:, way] = self.run(batch, put, mixed, base=base, times=len(sets))
        return costs


def _mixers(work: Scored) -> tuple[tuple[Mixer, ...], str | None]:
    """What mixes tokens in a model, and why its outputs are not taken over where they cannot be."""
    try:
        return find_mixers(work.sites), None
    except SiteError as error:
        return (), f"what attention gives is not taken over: {error}"


def _put(values: Mapping[int, Tensor], masks: Sequence[Tensor | None], times: int) -> Change:
    """Puts values [N, D] of each site where the masks [times * R, D] say."""

    def change(mine: Entering) -> Tensor:
        mask = masks[mine.site]
        if mask is None:
            return mine.values
        own = mine.values
        rows = len(mask) // times
        chosen = mask.to(own.device).view(times, rows, 1, -1)
        there = values[mine.site].view(1, rows, -1, own.shape[-1])
        return torch.where(chosen, there, own.view(times, rows, -1, own.shape[-1])).view(own.shape)

    return change


def _put_mixed(values: Mapping[int, Tensor], rows: Sequence[Tensor]) -> OnMixed:
    """Puts values [R, T, H] of each mixer into the rows [times * R] that are to have them."""

    def change(place: int, own: Tensor) -> Tensor:
        if not rows[place].any():
            return own
        there = values[place]
        chosen = rows[place].to(own.device).view(-1, len(there), 1, 1)
        return torch.where(chosen, there, own.view(-1, *there.shape)).view(own.shape)

    return change
