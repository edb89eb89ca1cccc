"""Batches: how responses are cut into work for the model.

Results do not depend on it; time and memory do.

Rows are sorted by length, so that little is padded. Responses to the same prompt share its
computation where they begin alike; prompts run together where they are equally long, so that none
is padded.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.model.tokens import Tokens, shared_prefix
from langneurons.texts.responses import Response, block_of


class Row(NamedTuple):
    """One response, ready to run.

    Attributes:
        tokens: its tokens, and which of them count.
        key: language * G + block: the row of the counts it adds to.
        prompt: number of the prompt it answers; rows of one prompt have the same.
    """

    tokens: Tokens
    key: int
    prompt: int


class Batch(NamedTuple):
    """Rows that run together.

    Attributes:
        rows: positions among all rows.
        prefix: leading tokens that rows of the same prompt share and that are computed once; 0 for
            none. All prompts of a batch have the same.
    """

    rows: tuple[int, ...]
    prefix: int


@dataclass(frozen=True)
class Batches:
    """All the work of a recording, in the order in which it is done.

    Attributes:
        languages: the K codes.
        blocks: number of blocks, G.
        rows: every response.
        batches: how they run.
    """

    languages: tuple[str, ...]
    blocks: int
    rows: tuple[Row, ...]
    batches: tuple[Batch, ...]

    def counted(self) -> NDArray[np.int64]:
        """How many tokens count, by key, [K * G]."""
        sums = np.zeros(len(self.languages) * self.blocks, np.int64)
        for row in self.rows:
            sums[row.key] += int(row.tokens.counted.sum())
        return sums

    def computed(self, batch: Batch) -> int:
        """Tokens the model runs over in a batch, padding and prompts included: its cost."""
        longest = max(len(self.rows[i].tokens.ids) for i in batch.rows)
        prompts = len({self.rows[i].prompt for i in batch.rows}) if batch.prefix else 0
        return len(batch.rows) * (longest - batch.prefix) + prompts * batch.prefix

    def share(self, number: int, of: int) -> "Batches":
        """The `number`-th (from 0) of so many parts of nearly equal cost.

        Together they are the whole.
        """
        costs = [self.computed(batch) for batch in self.batches]
        load = [0] * of
        mine = []
        for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
            lightest = load.index(min(load))
            load[lightest] += costs[i]
            if lightest == number:
                mine.append(i)
        return replace(self, batches=tuple(self.batches[i] for i in sorted(mine)))


def batched(
    responses: Sequence[Response],
    tokens: Sequence[Tokens],
    languages: Sequence[str],
    *,
    blocks: int,
    budget: int,
    share_prompts: bool = True,
) -> Batches:
    """Cut the work into batches of at most `budget` tokens, padding included.

    A row that is longer runs alone.

    Args:
        responses: what to run.
        tokens: their tokens, in the same order.
        languages: the codes, in the order of the counts.
        blocks: number of blocks, G.
        budget: tokens of a batch.
        share_prompts: compute a prompt once for all its responses.

    Raises:
        InputError: for a response in a language not among `languages`.
    """
    rows = _rows(responses, tokens, languages, blocks)
    lengths = [len(row.tokens.ids) for row in rows]
    batches: list[Batch] = []
    for prefix, groups in sorted(_groups(rows, share_prompts=share_prompts).items()):
        batches += _pack(groups, lengths, prefix, budget)
    return Batches(tuple(languages), blocks, tuple(rows), tuple(batches))


def _rows(
    responses: Sequence[Response], tokens: Sequence[Tokens], languages: Sequence[str], blocks: int
) -> list[Row]:
    """Each response, ready to run."""
    place = {code: k for k, code in enumerate(languages)}
    prompts: dict[tuple[str, str], int] = {}
    rows = []
    for response, its_tokens in zip(responses, tokens, strict=True):
        if response.lang not in place:
            raise InputError(
                f"question {response.question_id} has a response in {response.lang}, "
                f"not among {languages}"
            )
        key = place[response.lang] * blocks + block_of(response.question_id, blocks)
        prompt = prompts.setdefault((response.lang, response.prompt), len(prompts))
        rows.append(Row(its_tokens, key, prompt))
    return rows


def _groups(rows: Sequence[Row], *, share_prompts: bool) -> dict[int, list[list[int]]]:
    """Rows that run together, by the length of the prefix that they share.

    A row that shares none is alone, under 0.
    """
    by_prompt: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_prompt[row.prompt].append(i)
    groups: dict[int, list[list[int]]] = defaultdict(list)
    for members in by_prompt.values():
        prefix = 0
        if share_prompts and len(members) > 1:
            prefix = shared_prefix([rows[i].tokens for i in members])
        if prefix > 1:  # a beginning token alone is not worth a pass of its own
            groups[prefix].append(members)
        else:
            groups[0] += [[i] for i in members]
    return groups


def _pack(groups: list[list[int]], lengths: list[int], prefix: int, budget: int) -> list[Batch]:
    """Groups of rows into batches; a group stays together.

    The longest come first, so that what does not fit shows at once.
    """
    batches: list[Batch] = []
    current: list[int] = []
    longest = prompts = 0
    for group in sorted(groups, key=lambda group: (-max(lengths[i] for i in group), group[0])):
        for part in _parts(group, lengths, prefix, budget):
            longest_of_part = max(lengths[i] for i in part)
            reach = max(longest, longest_of_part)
            cost = (len(current) + len(part)) * (reach - prefix) + (prompts + 1) * prefix
            if current and cost > budget:
                batches.append(Batch(tuple(current), prefix))
                current = []
                prompts = 0
                reach = longest_of_part
            current += part
            prompts += 1
            longest = reach
    if current:
        batches.append(Batch(tuple(current), prefix))
    return batches


def _parts(group: list[int], lengths: list[int], prefix: int, budget: int) -> list[list[int]]:
    """One prompt's rows, cut where they alone exceed the budget."""
    longest = max(lengths[i] for i in group) - prefix
    size = max(1, (budget - prefix) // max(1, longest))
    return [group[i : i + size] for i in range(0, len(group), size)]
