"""Units: the work of a sweep in pieces, and the numbers of neurons that come of each.

A piece is all cells of one set of languages, in the counts as observed, in one resampling of their
blocks, or in one draw of chance. What comes of a piece are numbers alone, in arrays with a row for
each cell; so a killed sweep goes on from what was saved. Letters: K language, L layer, C cell, W
numbers of a cell.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import layout
from langneurons.config import SweepConfig
from langneurons.errors import InputError, MismatchError
from langneurons.intervals import Floats, block_draws
from langneurons.neurons.chance import permuted, specific_to_halves, split, splits
from langneurons.neurons.classes import CLASSES, Thresholds, moves
from langneurons.neurons.counts import Counts
from langneurons.neurons.numbers import KINDS, LANGUAGE_KINDS, Numbers
from langneurons.neurons.selection import require_some
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.sweep.grid import Cell, cells
from langneurons.sweep.shared import Outcome, Shared

What = Literal["observed", "resampled", "permuted", "split"]

Who = Literal["before", "own", "base's"]
"""Whose numbers: of what comes before, and of what comes after by its own thresholds or by those
before."""

MOVES = len(CLASSES) ** 2
"""Numbers of neurons of each class before and after."""


class Unit(NamedTuple):
    """A piece of the work.

    Attributes:
        what: of what counts.
        draw: which resampling, permutation or split, from 0.
        left_out: the language that takes no part; of a split the language split.
    """

    what: What
    draw: int
    left_out: str | None


class Found(NamedTuple):
    """How one cell's lambda was found, besides its numbers.

    Attributes:
        status: as in `table.Lambda`; None for LAPE, and where there is none.
        binding: the general neuron that binds it.
        problem: why the cell gives nothing; None where it does.
    """

    status: str | None = None
    binding: tuple[int, ...] | None = None
    problem: str | None = None


class Counted:
    """What was counted in every cell: the result of a sweep before it is judged."""

    def __init__(self, before: Counts, after: Counts | None, config: SweepConfig) -> None:
        """Nothing counted yet, of these counts.

        Raises:
            InputError: when a rate selects no neuron, or there are fewer than two languages.
            MismatchError: when the two are of other widths or languages.
        """
        self.config = config
        self.before, self.after = before, _alike(before, after)
        self.languages = before.languages
        if len(self.languages) < 2:
            raise InputError(
                "these counts hold one language; what is specific to a language shows against at "
                "least 2"
            )
        for counts in (before, self.after):
            if counts:
                counts.require_tokens(counts.tokens.sum(axis=1))
        neurons = int(layout.sizes(before.widths).sum())
        for rate in config.numbers("rates"):
            require_some(rate, neurons)
        self.cells = cells(config, self.languages)
        self.units = _units(before, config, self.cells)
        # tau, lambda, layers, languages, among: see `_packed`
        of_languages = len(LANGUAGE_KINDS) * len(self.languages) + len(self.languages) + 1
        self._width = 2 + len(KINDS) * len(before.widths) + of_languages
        numbers = self._width * (1 if after is None else 3) + (0 if after is None else 2 * MOVES)
        draws = {
            what: max((u.draw for u in self.units if u.what == what), default=-1) + 1
            for what in _SHARED
        }
        self.arrays = {
            what: np.full(
                (number, len(self.cells), numbers if what != "permuted" else self._width), np.nan
            )
            for what, number in draws.items()
        }
        splits_planned = sum(unit.what == "split" for unit in self.units)
        self.halves = np.full((splits_planned, len(self.cells)), np.nan)
        self.found = [Found() for _ in self.cells]
        self.found_after = [Found() for _ in self.cells]
        self._draws = self._block_draws()
        self._memory: tuple[Any, Floats, Floats | None] | None = None

    def _block_draws(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draws of the blocks before and after: the same where blocks mean the same."""
        config, before, after = self.config, self.before, self.after or self.before
        first = block_draws(before.blocks, config.bootstrap, config.seed)
        if (before.blocks, before.block_rule) == (after.blocks, after.block_rule):
            return first, first
        return first, block_draws(after.blocks, config.bootstrap, config.seed + 1)

    def count(self, state: Saved | None, on_step: Progress | None) -> None:
        """Do every piece that is left."""
        costs = [
            sum(cell.left_out == u.left_out or u.what == "split" for cell in self.cells)
            for u in self.units
        ]
        left = units_left(
            costs,
            load=self._load,
            tensors=self._tensors,
            state=state,
            save_every=self.config.save_every,
            on_step=on_step,
        )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for number in left:
                unit = self.units[number]
                if unit.what == "split":
                    self._count_split(unit, pool)
                else:
                    self._count_cells(unit, pool)
        self._memory = None

    def _count_cells(self, unit: Unit, pool: ThreadPoolExecutor) -> None:
        """All cells of one set of languages."""
        before, after = self._shared(unit)
        if before is None:
            return
        places = [i for i, cell in enumerate(self.cells) if cell.left_out == unit.left_out]
        rows = [k for k, code in enumerate(self.languages) if code != unit.left_out]

        def work(place: int) -> None:
            config = self.cells[place].config(self.config)
            try:
                base = before.own(config)
            except InputError as error:
                if unit.what == "observed":
                    self.found[place] = Found(problem=str(error))
                return
            row = self.arrays[unit.what][unit.draw, place]
            row[: self._width] = self._packed(base.numbers, rows)
            if unit.what == "observed":
                self.found[place] = _found(base)
            if after is None or unit.what == "permuted":
                return
            lam = float(base.numbers.lam)
            given = Thresholds(config, float(base.numbers.tau), None if math.isnan(lam) else lam)
            outcomes: list[Outcome | None] = [None, after.by(given)]
            try:
                outcomes[0] = after.own(config)
            except InputError as error:
                if unit.what == "observed":
                    self.found_after[place] = Found(problem=str(error))
            kind = base.kind
            for which, outcome in enumerate(outcomes):
                if outcome:
                    start = self._width * (1 + which)
                    row[start : start + self._width] = self._packed(outcome.numbers, rows)
                    start = 3 * self._width + MOVES * which
                    row[start : start + MOVES] = moves(kind, outcome.kind).ravel()
                    if unit.what == "observed" and not which:
                        self.found_after[place] = _found(outcome)

        list(pool.map(work, places))

    def _count_split(self, unit: Unit, pool: ThreadPoolExecutor) -> None:
        """All cells of all languages, with one language split in two."""
        assert unit.left_out  # noqa: S101 - a split names its language
        config, languages = self.config, len(self.languages)
        observed, _ = self._probability(Unit("observed", 0, None))
        try:
            probability = split(
                self.before,
                unit.left_out,
                observed,
                per=config.per,
                seed=config.seed,
                number=unit.draw // languages,
            )
        except InputError:
            return
        shared = self._of(probability)

        def work(place: int) -> None:
            if self.cells[place].left_out is None:
                try:
                    numbers = shared.own(self.cells[place].config(config)).numbers
                except InputError:
                    return
                self.halves[unit.draw, place] = specific_to_halves(numbers.languages)

        list(pool.map(work, range(len(self.cells))))

    def _shared(self, unit: Unit) -> tuple[Shared | None, Shared | None]:
        """What the cells of a piece have in common, before and after; None without tokens."""
        try:
            before, after = self._probability(unit)
        except InputError:
            return None, None
        rows = [k for k, code in enumerate(self.languages) if code != unit.left_out]
        if unit.what == "permuted":  # of the languages left; no row is to be taken away
            return self._of(before), None
        return self._of(before[rows]), None if after is None else self._of(after[rows])

    def _of(self, probability: Floats) -> Shared:
        config = self.config
        given = [lam for lam in config.lambdas if lam != "auto"]
        return Shared(
            probability,
            self.before.widths,
            config.numbers("tau_quantiles"),
            general=config.general,
            limit=max(config.lam_limit, *given) if given else config.lam_limit,
        )

    def _probability(self, unit: Unit) -> tuple[Floats, Floats | None]:
        """Probabilities before and after; those of the last piece are kept for the next."""
        per, key = self.config.per, (unit.what, unit.draw)
        if unit.what == "permuted":
            some = tuple(code for code in self.languages if code != unit.left_out)
            mixed = permuted(self.before.spread(some), self.config.seed, unit.draw)
            return mixed.probability(per=per), None
        if self._memory is None or self._memory[0] != key:
            self._memory = None
            weights = [None if unit.what == "observed" else d[unit.draw] for d in self._draws]
            before = self.before.probability(weights[0], per=per)
            after = self.after.probability(weights[1], per=per) if self.after else None
            self._memory = (key, before, after)
        return self._memory[1], self._memory[2]

    def _packed(self, numbers: Numbers, rows: Sequence[int]) -> Floats:
        """Numbers as one row; languages that take no part are NaN."""
        languages = np.full((len(LANGUAGE_KINDS), len(self.languages)), np.nan)
        languages[:, rows] = numbers.languages
        among = np.full(len(self.languages) + 1, np.nan)
        among[: len(numbers.among)] = numbers.among
        parts = (numbers.tau, numbers.lam, numbers.layers, languages, among)
        return np.concatenate([np.ravel(part) for part in parts])

    def numbers(
        self, what: What, place: int, who: Who, draws: NDArray[np.intp] | None = None
    ) -> Numbers:
        """The numbers of a cell: of the observed, or of these draws, every array [R, ...]."""
        start = self._start(who)
        rows = self.arrays[what][:, place, start : start + self._width]
        rows = rows[0] if what == "observed" else rows if draws is None else rows[draws]
        layers, languages = len(self.before.widths), len(self.languages)
        ends = np.cumsum([1, 1, len(KINDS) * layers, len(LANGUAGE_KINDS) * languages])
        tau, lam, per_layer, per_language, among = np.split(rows, ends, axis=-1)
        left_out = self.cells[place].left_out
        kept = [k for k, code in enumerate(self.languages) if code != left_out]
        shape = rows.shape[:-1]
        return Numbers(
            tau=tau[..., 0],
            lam=lam[..., 0],
            layers=per_layer.reshape(*shape, len(KINDS), layers),
            languages=per_language.reshape(*shape, len(LANGUAGE_KINDS), languages)[..., kept],
            among=among[..., : len(kept) + 1],
            everywhere=np.full((*shape, len(kept) + 1), np.nan),
        )

    def _start(self, who: Who) -> int:
        """Where the numbers of one of them begin in a row; both moves stand behind all three."""
        return self._width * ("before", "own", "base's").index(who)

    def moves(self, what: What, place: int, who: Who) -> NDArray[np.int64]:
        """Neurons of each class before and after in a cell, [R, 5, 5], [5, 5] of the observed."""
        start = 3 * self._width + MOVES * ("own", "base's").index(who)
        rows = np.nan_to_num(self.arrays[what][:, place, start : start + MOVES]).astype(np.int64)
        moves = rows.reshape(-1, len(CLASSES), len(CLASSES))
        return moves[0] if what == "observed" else moves

    def known(self, what: What, place: int, who: Who) -> NDArray[np.intp]:
        """The draws in which a cell gives something, before and after."""
        start = self._start(who)
        rows = self.arrays[what][:, place]
        return np.flatnonzero(~np.isnan(rows[:, 0]) & ~np.isnan(rows[:, start]))

    def _tensors(self) -> Mapping[str, NDArray]:
        found = [[tuple(f) for f in every] for every in (self.found, self.found_after)]
        words = np.frombuffer(json.dumps(found).encode(), dtype=np.uint8)
        return {**self.arrays, "halves": self.halves, "found": words}

    def _load(self, tensors: Tensors) -> None:
        for what in self.arrays:
            self.arrays[what][...] = tensors[what]
        self.halves[...] = tensors["halves"]
        lists = json.loads(bytes(tensors["found"].tobytes()))
        self.found, self.found_after = (
            [
                Found(status, None if binding is None else tuple(binding), problem)
                for status, binding, problem in every
            ]
            for every in lists
        )


_SHARED: tuple[What, ...] = ("observed", "resampled", "permuted")


def _units(counts: Counts, config: SweepConfig, every: Sequence[Cell]) -> list[Unit]:
    """All pieces of the work, in order."""
    left_out = tuple(dict.fromkeys(cell.left_out for cell in every))
    units = [Unit("observed", 0, code) for code in left_out]
    if counts.blocks < 2:
        return units
    for what, draws in (("resampled", config.bootstrap), ("permuted", config.chance)):
        units += [Unit(what, draw, code) for draw in range(draws) for code in left_out]
    if config.chance:
        halved = splits(counts, config.chance)
        units += [Unit("split", draw, code) for draw, (_, code) in enumerate(halved)]
    return units


def _alike(before: Counts, after: Counts | None) -> Counts | None:
    """The counts after with their languages in the order of those before."""
    if after is None:
        return None
    if before.widths != after.widths:
        raise MismatchError(
            f"these counts are of two different models: layers {layout.describe(before.widths)} "
            f"before, {layout.describe(after.widths)} after"
        )
    if set(before.languages) != set(after.languages):
        raise MismatchError(
            f"a sweep needs the same languages: {','.join(before.languages)} before, "
            f"{','.join(after.languages)} after"
        )
    return after.spread(before.languages)


def _found(outcome: Outcome) -> Found:
    lam = outcome.lam
    return Found(lam.status, lam.binding) if lam else Found()
