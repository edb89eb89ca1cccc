"""Scored: which tokens of which texts cost the model something, and how the texts run.

Letters: R row (text) of a batch, n scored position of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.intervals import Floats
from langneurons.model.batches import Batch, Batches, batched
from langneurons.model.beginnings import Beginning
from langneurons.model.forward import (
    cache_name,
    device_of,
    fitting,
    model_inputs,
    new_cache,
    of_attention_alone,
    spread_prompts,
)
from langneurons.model.head import Head
from langneurons.model.hooks import probe, run_to_last_site
from langneurons.model.sharing import (
    TIMES,
    Trial,
    cut_as_it_holds,
    most,
    trial_of,
    tried,
    why_not,
)
from langneurons.model.sites import Site
from langneurons.model.tokens import Tokens, predicting, tokenise
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


_ROUNDING = {torch.bfloat16: 2e-2, torch.float16: 1e-2}
"""By how many nats a token's cost may differ by rounding alone; of a type that is not named,
1e-4."""


class Positions(NamedTuple):
    """The scored positions of a batch, after the prefix that its rows share.

    Attributes:
        row: row of the batch of each, [n].
        column: its place in the row, [n].
        targets: the token that follows it, [n].
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Texts whose tokens cost something, ready to run.

    Attributes:
        model: the model.
        sites: its sites.
        head: its head.
        batches: the texts and how they run together; counted are the positions that predict a
            scored token.
        targets: the token that follows each position, one array for each row of the batches.
    """

    model: Any
    sites: Sequence[Site]
    head: Head
    batches: Batches
    targets: Sequence[NDArray[np.int32]]

    def positions(self, batch: Batch) -> Positions:
        """Where a batch is scored."""
        rows = [self.batches.rows[i].tokens.counted[batch.prefix :] for i in batch.rows]
        following = [self.targets[i][self.batches.rows[i].tokens.counted] for i in batch.rows]
        return Positions(
            row=np.repeat(np.arange(len(rows)), [int(counted.sum()) for counted in rows]),
            column=np.concatenate([np.flatnonzero(counted) for counted in rows]),
            targets=np.concatenate(following).astype(np.int64),
        )

    def keep_prompts(self, batch: Batch, prompts: dict[str, Any], times: int = 1) -> None:
        """Run the prompts of a batch, so often side by side, into their cache, one for each row.

        They run to the head where more than attention keeps something: the attention of a layer
        comes before its feed-forward, so that its cache is complete with that of the last layer;
        states of other kinds may lie behind it.
        """
        self._keep(tiled(prompts, times))
        spread_prompts(self.batches, batch, prompts[cache_name(self.model)], times)

    def _keep(self, inputs: dict[str, Any]) -> None:
        """Run inputs into their cache."""
        if of_attention_alone(inputs[cache_name(self.model)]) and self.sites[-1].parts:
            run_to_last_site(self.model, self.sites, **inputs)
        else:
            self.head.hidden(**inputs)

    @torch.inference_mode()
    def begun(self, ids: NDArray[np.int32]) -> Beginning:
        """A beginning of prompts, run."""
        row = torch.from_numpy(ids[None]).long().to(device_of(self.model))
        inputs = {"input_ids": row, "attention_mask": torch.ones_like(row), "use_cache": True}
        inputs |= new_cache(self.model)
        self._keep(inputs)
        return Beginning(len(ids), inputs[cache_name(self.model)])

    def each(self, batch: Batch, beginning: Beginning | None = None) -> tuple[Positions, Floats]:
        """Where a batch is scored, and what each of these tokens costs in nats, [n].

        Args:
            batch: the batch.
            beginning: what its prompts begin with, if they are to go on from it.
        """
        prompts, inputs = model_inputs(self.model, self.batches, batch)
        if prompts:
            if beginning:
                beginning.before(prompts, inputs, cache_name(self.model))
            self.keep_prompts(batch, prompts)
        hidden = self.head.hidden(**inputs)
        where = self.positions(batch)
        targets = torch.from_numpy(where.targets).to(hidden.device)
        costs = self.head.costs(hidden[where.row, where.column], targets).nll
        return where, costs.double().cpu().numpy()

    @torch.inference_mode()
    def log_probabilities(self, batch: Batch, beginning: Beginning | None = None) -> Floats:
        """Summed log-probability of the scored tokens of each row of a batch, in nats, [R]."""
        where, costs = self.each(batch, beginning)
        return np.bincount(where.row, weights=-costs, minlength=len(batch.rows)).astype(np.float64)


def scored_texts(
    responses: Sequence[Response], codes: Sequence[str], text: Literal["response", "prompt"]
) -> list[Response]:
    """What is scored: the responses, or each of their prompts once, as a response to nothing."""
    chosen = [response for response in responses if response.lang in codes]
    if text == "response":
        return chosen
    prompts = {(r.question_id, r.lang, r.prompt): None for r in chosen}
    return [Response(question, code, "", prompt) for question, code, prompt in prompts]


def prepared(
    model: "Loaded",
    texts: Sequence[Response],
    codes: tuple[str, ...],
    *,
    blocks: int,
    budget: int,
    share_prompts: bool | None,
    backward: bool = False,
) -> tuple[list[Response], Scored, dict[str, Any]]:
    """The texts that fit into the model, how they run, and what to know of the others.

    Args:
        model: the model.
        texts: what is scored.
        codes: languages.
        blocks: blocks of questions.
        budget: tokens of a batch.
        share_prompts: whether prompts are shared; None: where it holds.
        backward: whether gradients are to go back through a prompt's cache.

    Raises:
        InputError: for a language of which no text fits, or prompts that are to be shared and
            cannot be.
    """
    whole = tokenise(model.tokenizer, texts)
    model.require_rows(row.ids for row in whole)
    rows = [Tokens(row.ids[:-1], predicting(row).counted[:-1]) for row in whole]
    kept, facts = fitting(model.model, texts, rows, codes)
    fit = [texts[i] for i in kept]
    cut = partial(batched, fit, [rows[i] for i in kept], codes, blocks=blocks, budget=budget)
    sites = model.sites
    first = torch.from_numpy(whole[kept[0]].ids[:8][None]).long().to(model.device)
    probe(model.model, sites, first)
    made = partial(
        Scored,
        model=model.model,
        sites=sites,
        head=Head(model.model),
        targets=[whole[i].ids[1:] for i in kept],
    )
    batches = cut_as_it_holds(
        cut,
        share_prompts,
        lambda work: _why_not(made(batches=work), backward=backward),
        facts,
    )
    return fit, made(batches=batches), facts


def _why_not(work: Scored, *, backward: bool) -> str | None:
    """Why prompts cannot be shared in this work; None where they can."""
    [cache] = new_cache(work.model).values()
    if backward and not of_attention_alone(cache):
        return "the model keeps states of a prompt, which it overwrites, so that gradients are lost"
    return why_not(_tried(work), "nats for each token")


def _tried(work: Scored) -> Trial:
    """Try whether tokens cost the same from a prompt's cache."""
    longest = max(len(row.tokens.ids) for row in work.batches.rows)

    @torch.inference_mode()
    def run(batch: Batch) -> Floats:
        where, nll = work.each(batch)
        costs = np.full((len(batch.rows), longest), np.nan)
        costs[where.row, where.column + batch.prefix] = nll
        return costs

    def difference(ours: Floats, theirs: Floats) -> float:
        return most(np.abs(ours - theirs)[~np.isnan(theirs)])

    return tried(work.batches, run, difference, _ROUNDING.get(work.model.dtype, 1e-4))


@torch.inference_mode()
def why_not_from(work: Scored, ids: NDArray[np.int32], batch: Batch) -> str | None:
    """Why a batch's prompts cannot go on from their beginning; None where they can."""
    whole = work.each(batch)[1]
    alone = work.each(Batch(batch.rows[:1], 0))[1]
    rounding = TIMES * most(np.abs(alone - whole[: len(alone)]))
    trial = trial_of(
        lambda: most(np.abs(work.each(batch, work.begun(ids))[1] - whole)),
        max(_ROUNDING.get(work.model.dtype, 1e-4), rounding),
    )
    return why_not(trial, "nats for each token")


def tiled(inputs: dict[str, Any], times: int) -> dict[str, Any]:
    """Inputs of a batch several times over, all of it once, then all of it again."""
    repeated = {name: inputs[name].repeat(times, 1) for name in ("input_ids", "attention_mask")}
    return inputs | repeated


def shares(sets: int, at_once: int) -> list[tuple[int, int]]:
    """All sets cut into runs of nearly equal size, of at most so many (at least one)."""
    runs = ceil(sets / max(1, at_once))
    ends = [sets * i // runs for i in range(runs + 1)]
    return list(pairwise(ends))
