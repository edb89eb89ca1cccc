"""Silenced: a task done with nothing silenced, with each language's neurons, and with random sets.

A task is given as a function that answers all its questions while some neurons are silenced. The
sets are those of `perplexity`, draw for draw.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from langneurons.ask.marks import Marks, Measure, on_grid
from langneurons.config import PerplexityConfig
from langneurons.neurons.sets import require_fit, to_masks
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress, Saved, units_left
from langneurons.silencing.controls import Sets, conditions
from langneurons.silencing.losses import Condition
from langneurons.texts.language_id import Identifier
from langneurons.texts.languages import same
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.model.loading import Loaded


class Answers(NamedTuple):
    """What a model answered to the questions of a task, one to each in each language.

    Attributes:
        responses: the answers.
        worth: what each is worth, from 0 to 1; NaN where it is not known.
        strays: 1 where it is in another language than it should be, else 0; NaN where it is not
            known.
    """

    responses: list[Response]
    worth: list[float]
    strays: list[float]


class Answering(Protocol):
    """A task's questions, to be answered."""

    def __call__(
        self,
        masks: "Sequence[Tensor | None] | None",
        state: Saved | None = None,
        on_step: Progress | None = None,
    ) -> Answers:
        """Answers while the neurons of these masks are silenced.

        Args:
            masks: as `hooks.silence` takes them; None: nothing is silenced.
            state: where to keep what is done.
            on_step: told of the progress.
        """


NOTHING: Sets = [(Condition(None, None, 0, 0), np.zeros(0, np.int64))]
"""The sets where nothing is to be silenced: the empty one alone."""


def sets_of(
    model: "Loaded",
    neurons: Neurons,
    codes: Sequence[str],
    *,
    kinds: Sequence[str],
    controls: int,
    rates: Mapping[str, NDArray[np.floating]] | None,
) -> Sets:
    """What is silenced in turn: nothing, each language's neurons of these kinds, its random sets.

    Raises:
        MismatchError: for neurons of a model of another shape.
        InputError: as `controls.conditions`.
    """
    require_fit(neurons, model.widths)
    config = PerplexityConfig(settings="+".join(kinds), controls=controls)
    return conditions(neurons, model.widths, codes, config, rates)


def marked(
    model: "Loaded",
    answer: Answering,
    sets: Sets,
    codes: tuple[str, ...],
    *,
    measure: Measure,
    state: Saved | None = None,
    on_step: Progress | None = None,
    save_every: float = 60.0,
) -> Marks:
    """What answers are worth under every set; an empty set of neurons is not run.

    Args:
        model: the model that answers.
        answer: how it does.
        sets: what is silenced; the first is nothing.
        codes: languages of the questions.
        measure: what an answer is worth.
        state: where to keep what is done, after each set; with nothing to silence, after each
            batch.
        on_step: told how many sets are done, or answers.
        save_every: seconds between savings.
    """
    run = [i for i, (condition, chosen) in enumerate(sets) if not condition.silenced or len(chosen)]
    ids: list[str] = []
    responses: list[Response] = []
    grids: dict[str, list[NDArray[np.float32]]] = {"worth": [], "strays": []}

    def load(saved: Mapping[str, NDArray]) -> None:
        rows = json.loads(saved["responses"].tobytes())
        responses.extend(Response.from_row(row) for row in rows)
        ids.extend(dict.fromkeys(response.question_id for response in responses))
        for name, grid in grids.items():
            grid.extend(saved[name])

    def tensors() -> dict[str, NDArray]:
        rows = json.dumps([response.to_row() for response in responses]).encode()
        kept = {name: np.stack(grid) for name, grid in grids.items()}
        return {"responses": np.frombuffer(rows, dtype=np.uint8), **kept}

    def add(answers: Answers) -> None:
        if not responses:
            responses.extend(answers.responses)
            ids.extend(dict.fromkeys(response.question_id for response in responses))
        for name, values in (("worth", answers.worth), ("strays", answers.strays)):
            grids[name].append(on_grid(values, answers.responses, codes, ids))

    alone = len(run) == 1  # then what is kept is the answers, not the sets
    if alone:
        add(answer(None, state, on_step))
    for number in units_left(
        [1] * (0 if alone else len(run)),
        load=load,
        tensors=tensors,
        state=state,
        save_every=save_every,
        on_step=on_step,
    ):
        chosen = sets[run[number]][1]
        add(answer(to_masks([chosen], model.widths) if len(chosen) else None))
    shape = (len(sets), len(codes), len(ids))
    whole = {name: np.full(shape, np.nan, dtype=np.float32) for name in grids}
    for name, values in whole.items():
        values[run] = grids[name]
    return Marks(
        measure=measure,
        languages=codes,
        questions=tuple(ids),
        conditions=tuple(condition for condition, _ in sets),
        worth=whole["worth"],
        strays=whole["strays"],
        responses=responses,
    )


def strays(responses: Sequence[Response], identifier: Identifier | None) -> list[float]:
    """1 where a response is in another language than its own, else 0; NaN where one cannot tell."""
    told = []
    for response in responses:
        code = identifier.language(response.response) if identifier else None
        told.append(math.nan if code is None else float(not same(code, response.lang)))
    return told


def silenced_facts(marks: Marks, rates: Mapping[str, Any] | None) -> dict[str, Any]:
    """What to say of the sets: how many neurons each has, and how random sets were matched."""
    own = [one for one in marks.conditions if one.silenced and not one.draw]
    return {
        "silenced": {one.silenced: one.neurons for one in own},
        "controls matched": "per layer and by activation rate" if rates else "per layer only",
    }
