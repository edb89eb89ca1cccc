"""Attribute: what each neuron costs each language.

Three kinds of work, one list of units: all neurons to first order, batch by batch; some neurons
silenced one by one on part of the texts; and, where classified neurons are given, each batch led
along the path on which its languages' sets fall silent. Under `torchrun` each process takes a share
of every kind, and the sums are added at the end.

Letters: K language, G block, C neurons of the sets of a setting together.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import config as configs
from langneurons.config import AttributeConfig
from langneurons.effects.first_order import BEGINNING, TEXT, FirstOrder
from langneurons.effects.passes import Part, halves
from langneurons.effects.paths import Paths
from langneurons.effects.scaling import Positions
from langneurons.effects.tries import Trying, sample, tries
from langneurons.errors import InputError, RecordError
from langneurons.intervals import few_blocks
from langneurons.model.scored import prepared, scored_texts
from langneurons.neurons.effects import Effects, Split
from langneurons.neurons.sets import require_fit, select
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, Saved, added_up, or_halves, processes, units_left
from langneurons.texts import question_ids
from langneurons.texts.responses import Response, block_rule

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


class Attributed(NamedTuple):
    """What attribution gives.

    Attributes:
        effects: the effects; with several processes, of all of them.
        facts: what to know of them: tokens per language, texts left out and why, sets and how many
            points their paths took.
    """

    effects: Effects
    facts: dict[str, Any]


def attribute(
    model: "Loaded",
    responses: Sequence[Response],
    config: AttributeConfig | None = None,
    *,
    neurons: Neurons | None = None,
    languages: Sequence[str] | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> Effects:
    """What silencing each neuron would cost each language, and what silencing sets does.

    Args:
        model: a loaded causal language model.
        responses: the texts.
        config: settings; or give them by name, as in `blocks=5`.
        neurons: classified neurons of this model, whose sets are silenced and split.
        languages: order of the languages; default the order in which they first appear.
        state: where to keep what is done, every `save_every` seconds.
        on_step: told of the progress, in tokens computed.
        **settings: fields of `AttributeConfig`.

    Raises:
        InputError: for a language without a text that fits, or sets that are all empty.
        MismatchError: for neurons of a model of another shape.
        RecordError: for costs that are not numbers, or a text that exceeds memory.
    """
    config = configs.of(AttributeConfig, config, settings)
    return attributed(
        model,
        responses,
        config,
        neurons=neurons,
        languages=languages,
        state=state,
        on_step=on_step,
    ).effects


def attributed(
    model: "Loaded",
    responses: Sequence[Response],
    config: AttributeConfig,
    *,
    neurons: Neurons | None = None,
    languages: Sequence[str] | None = None,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Attributed:
    """What `attribute` gives, with what there is to say of it."""
    codes = tuple(languages or dict.fromkeys(response.lang for response in responses))
    sets = {} if neurons is None else _sets(model, neurons, codes, config)
    budget = model.budget(config.budget)
    texts, work, facts = prepared(
        model,
        scored_texts(responses, codes, config.text),
        codes,
        blocks=config.blocks,
        budget=budget,
        share_prompts=config.share_prompts,
        backward=True,
    )
    first = FirstOrder(work)
    trying = None
    if config.exact:
        some = sample(work, texts, config.exact_tokens, budget)
        trying = Trying(some, tries(some, neurons, config), budget)
    paths = [Paths(work, setting, of, config) for setting, of in sets.items()]
    _run([first, *([trying] if trying else []), *paths], config, state, on_step)
    splits = tuple(split for path in paths for split in path.splits())
    effects = _effects(first, trying, splits)
    facts["tokens"] = dict(zip(codes, effects.tokens.sum(axis=1).tolist(), strict=True))
    facts["points of a path"] = {path.name: path.passes() for path in paths}
    empty = [setting for setting in config.kinds if neurons is not None and setting not in sets]
    facts["notes"] = [
        *question_ids.notes(
            question_ids.ids_of(texts),
            "their blocks are not paired and intervals of differences between languages are too "
            "wide",
        ),
        *few_blocks(effects.tokens),
        *(f"no {setting} neuron of {', '.join(codes)}: no path was measured" for setting in empty),
    ]
    return Attributed(effects, facts)


def _run(
    parts: Sequence[Part], config: AttributeConfig, state: Saved | None, on_step: Progress | None
) -> None:
    """Run the units of all parts that are this process's, and add up what all processes summed."""
    rank, world = processes()
    units = [(part, unit) for part in parts for unit in part.units(rank, world)]

    def tensors() -> dict[str, NDArray]:
        return {
            f"{i}.{name}": array
            for i, part in enumerate(parts)
            for name, array in part.tensors().items()
        }

    def load(saved: Mapping[str, NDArray]) -> None:
        for i, part in enumerate(parts):
            mine = f"{i}."
            part.load(
                {k.removeprefix(mine): sums for k, sums in saved.items() if k.startswith(mine)}
            )

    for number in units_left(
        [unit.cost for _, unit in units],
        load=load,
        tensors=tensors,
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    ):
        part, unit = units[number]
        or_halves(part.run, unit, halves)
    if world > 1:
        load(added_up(tensors()))


def _effects(first: FirstOrder, trying: Trying | None, splits: tuple[Split, ...]) -> Effects:
    """What was summed up, as effects.

    Raises:
        RecordError: when a cost or an effect is no number.
    """
    batches, layers = first.work.batches, first.layers()
    shape = (len(batches.languages), batches.blocks)
    if not all(np.isfinite(sums).all() for sums in (first.nll, *layers)):
        raise RecordError(
            "some costs or gradients are not numbers; try another --dtype (float32, bfloat16)"
        )

    def over(part: int) -> tuple[NDArray[np.float32], ...]:
        return tuple(
            sums[part].reshape(*shape, *sums.shape[2:]).astype(np.float32) for sums in layers
        )

    return Effects(
        languages=batches.languages,
        text=over(TEXT),
        beginning=over(BEGINNING),
        nll=first.nll.reshape(shape),
        tokens=first.tokens.reshape(shape),
        tried=trying.tried() if trying else None,
        splits=splits,
        block_rule=block_rule(batches.blocks),
    )


def _sets(
    model: "Loaded", neurons: Neurons, codes: tuple[str, ...], config: AttributeConfig
) -> dict[str, list[Positions]]:
    """Setting -> the neurons of each language, none for a language that the neurons do not know.

    A setting without a neuron in any of the languages is left out.

    Raises:
        MismatchError: when they cannot be of this model.
        InputError: when all settings are.
    """
    require_fit(neurons, model.widths)
    sets = {}
    for setting, kinds in config.kinds.items():
        of_each = [
            select(neurons, model.widths, kinds, (code,))
            if code in neurons.languages
            else np.zeros(0, np.int64)
            for code in codes
        ]
        if any(map(len, of_each)):
            sets[setting] = of_each
    if not sets:
        raise InputError(
            f"there is no {' or '.join(config.kinds)} neuron of {', '.join(codes)} among these "
            f"({', '.join(neurons.languages)}); choose other --settings, or give no --neurons"
        )
    return sets
