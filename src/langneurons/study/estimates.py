"""Estimates: what a step would take, by formulae that docs/study.md states. Nothing is computed.

A prompt is taken to have 150 tokens, a response as many as it may have; so tokens and times are
above rather than below. Texts that are here are taken by their bytes.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from langneurons import artifacts, run_folder
from langneurons.config import ModelConfig
from langneurons.study.ledger import Ledger
from langneurons.study.plan import Step
from langneurons.study.sizes import Size, bytes_of_weight, gpus, size
from langneurons.study.spec import Domain, Study
from langneurons.study.stages import (
    AlignModel,
    AttributeEffects,
    EvaluateModel,
    FetchQuestions,
    LookThroughLens,
    MeasureMeaning,
    MeasurePerplexity,
    RecordCounts,
    SampleResponses,
    ScoreResponses,
)
from langneurons.texts import world

PROMPT = 150
"""Tokens a prompt is taken to have."""

STATES = 32
"""States that a lens is taken to look at."""

GPU = 1e14
"""Operations a second a GPU is taken to do where tokens are read; a tenth where they are written
one by one. Of a CPU they are measured, see `here`."""

KNOWN = {"mgsm": 250, "msvamp": 1000} | dict.fromkeys(world.QUESTIONS, world.NUMBER)
"""Questions of a language in what is known by name."""

RunsModel = (
    SampleResponses
    | EvaluateModel
    | RecordCounts
    | MeasurePerplexity
    | AttributeEffects
    | MeasureMeaning
    | LookThroughLens
    | ScoreResponses
    | AlignModel
)
"""The stages that run a model."""

_Reader = RecordCounts | MeasurePerplexity | AttributeEffects

POINTS = 9
"""Points that a path of `attribute` is taken to have."""


class Cost(NamedTuple):
    """What a step would take; None where it cannot be known.

    Attributes:
        tokens: tokens that go through a model.
        operations: of these, multiplications and additions.
        memory: bytes on the device for weights, and for what the largest batch keeps of its tokens.
    """

    tokens: float | None
    operations: float | None
    memory: float | None


class _Work(NamedTuple):
    """Tokens that go through a model, and operations for each of its weights."""

    tokens: float
    operations: float


class Estimates:
    """What the steps of a study would take in a run."""

    def __init__(self, study: Study, ledger: Ledger, *, ask_hub: bool = False) -> None:
        """Of a study in the run that a ledger knows; the Hub is asked for sizes only if told to."""
        self.study = study
        self.ledger = ledger
        self.ask_hub = ask_hub
        self._numbers: dict[str, int | None] = {}

    def cost(self, step: Step) -> Cost:
        """What a step would take by its formula; nothing for those that run no model."""
        stage = step.stage
        if not isinstance(stage, RunsModel):
            return Cost(tokens=0, operations=0, memory=0)
        source, loading = self._model(stage)
        known = size(source, ask_hub=self.ask_hub)
        work = self._work(stage)
        tokens = work.tokens if work else None
        if known is None:
            return Cost(tokens=tokens, operations=None, memory=None)
        width = bytes_of_weight(loading)
        if work is None:
            return Cost(tokens=None, operations=None, memory=known.weights * width)
        return Cost(
            tokens=tokens,
            operations=work.operations * known.weights,
            memory=(known.weights + self._kept(stage, known)) * width,
        )

    def seconds(self, step: Step, cost: Cost) -> float | None:
        """Time of a step: as fast as those of its stage were in this run, else at assumed speeds.

        None if it cannot be known.
        """
        if cost.operations is None:
            return None
        if cost.operations == 0:
            return 1.0
        return cost.operations * self.pace(step.stage.name)

    def pace(self, stage: str) -> float:
        """Seconds that an operation of a stage takes here."""
        known = self.ledger.pace(stage)
        return seconds_at(here(), stage, 1.0) if known is None else known

    def forget_questions(self) -> None:
        """Count questions anew: some were fetched."""
        self._numbers.clear()

    def _model(self, stage: RunsModel) -> tuple[str, ModelConfig]:
        """Which model a stage runs, adapters left out, and how it is loaded."""
        if isinstance(stage, ScoreResponses):
            return stage.translator.model, stage.translator.loading
        return stage.model.source, self.study.loading

    def _work(self, stage: RunsModel) -> _Work | None:
        """What goes through a model; None where it is not known how many questions there are.

        Reading a token takes 2 operations for each weight.
        """
        study = self.study
        if isinstance(stage, AlignModel):
            # forward, again for the backward, backward to the adapters, forward of the base
            response = study.sample_seeds.max_new_tokens
            longest = min(study.align.max_tokens, PROMPT + response)
            tokens = study.align.steps * study.align.batch * 2 * longest
            return _Work(tokens, 8 * tokens)
        if isinstance(stage, MeasureMeaning | LookThroughLens):
            return self._sentences(stage)
        domain = run_folder.SEEDS if isinstance(stage, ScoreResponses) else stage.domain
        if isinstance(stage, _Reader) and stage.responses is None:
            return self._reads(stage)
        questions = self._number(domain)
        if questions is None:
            return None
        seeds = domain == run_folder.SEEDS
        sample = study.sample_seeds if seeds else study.sample
        languages = len(study.seed_languages() if seeds else study.languages)
        if isinstance(stage, ScoreResponses):
            # half the weights read each response, half each pair of response and reference
            responses = questions * (languages - 1) * sample.n
            tokens = responses * (1 + sample.n) * sample.max_new_tokens
            return _Work(tokens, tokens)
        if isinstance(stage, EvaluateModel):
            tokens = questions * languages * (PROMPT + study.evaluate.max_new_tokens)
            return _Work(tokens, 2 * tokens)
        tokens = questions * languages * (PROMPT + sample.n * sample.max_new_tokens)
        return self._again(stage, tokens, languages)

    def _again(self, stage: RunsModel, tokens: float, languages: int) -> _Work:
        """What goes through a model that reads so many tokens, each text as often as a stage does.

        `attribute` goes forward and backward at every point of its sets' paths.
        """
        if isinstance(stage, AttributeEffects):
            tokens *= 1 + len(self.study.attribute.kinds) * POINTS
            return _Work(tokens, 6 * tokens)
        if isinstance(stage, MeasurePerplexity):
            perplexity = self.study.perplexity
            tokens *= 1 + len(perplexity.kinds) * languages * (1 + perplexity.controls)
        return _Work(tokens, 2 * tokens)

    def _reads(self, stage: RecordCounts | MeasurePerplexity | AttributeEffects) -> _Work | None:
        """The same of running text; None when it is not here."""
        languages, scored = len(self.study.languages), not isinstance(stage, RecordCounts)
        source, take = self.study.domains[stage.domain].read(scored=scored)
        documents, size = _documents(source)
        each = self.study.reading.tokens
        if isinstance(each, int):
            tokens: float = each * languages
        elif take or documents:
            number = min(take, documents) if take and documents else take or documents
            of_one = size / documents / 4 if size else PROMPT
            whole = size and not take and source not in world.TEXTS  # of all languages together
            tokens = number * of_one * (1 if whole else languages)
        else:
            return None
        return self._again(stage, tokens, languages)

    def _sentences(self, stage: MeasureMeaning | LookThroughLens) -> _Work | None:
        """The same of sentences, each of which is taken for half a prompt.

        A lens makes all logits at every state: of a position as much as of a token per state.
        """
        study, languages = self.study, len(self.study.languages)
        meaning = isinstance(stage, MeasureMeaning)
        take = study.meaning.take if meaning else study.lens.take
        documents, _ = _documents(study.domains[stage.domain].read()[0])
        number = min(take, documents) if take and documents else take or documents
        if not number:
            return None
        tokens = number * languages * PROMPT / 2
        if meaning:
            return _Work(tokens, 2 * tokens)
        states = number * languages * study.lens.positions * STATES
        return _Work(tokens, 2 * (tokens + states))

    def _kept(self, stage: RunsModel, known: Size) -> float:
        """Numbers the largest batch keeps: of tokens while writing, of logits while training."""
        if isinstance(stage, SampleResponses | EvaluateModel) and known.cache:
            asks = isinstance(stage, EvaluateModel)
            config = self.study.evaluate if asks else self.study.sample
            return config.rows * (PROMPT + config.max_new_tokens) * known.cache
        if isinstance(stage, AlignModel) and known.vocabulary:
            align = self.study.align
            return 4.0 * align.device_batch * align.max_tokens * known.vocabulary
        return 0

    def _number(self, domain: str) -> int | None:
        """Questions of each language in a domain; None when not known."""
        if domain not in self._numbers:
            self._numbers[domain] = self._counted(domain)
        return self._numbers[domain]

    def _counted(self, domain: str) -> int | None:
        """Those fetched, those known by name, or lines of files."""
        study = self.study
        asked = study.seeds if domain == run_folder.SEEDS else study.domains[domain]
        if asked is None:
            return None
        folder = run_folder.questions(domain)
        if self.ledger.digest(folder):
            return artifacts.read(self.ledger.run / folder).manifest["facts"]["questions"]
        there = _lines(asked, len(study.languages))
        if there is None:
            there = KNOWN.get(asked.questions)
        if not there:
            return asked.take or None
        return min(there, asked.take) if asked.take else there


def _lines(asked: Domain, languages: int) -> int | None:
    """Questions of each language in files here; None when there are no such files."""
    path = Path(asked.questions)
    if asked.questions in world.QUESTIONS or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    lines = [sum(1 for line in file.read_bytes().splitlines() if line.strip()) for file in files]
    return max(lines, default=0) if path.is_dir() else lines[0] // languages


def _documents(source: str) -> tuple[int, int]:
    """Documents of running text here, and their bytes; 0 where not known.

    Of files those of all languages, as if each line were one; of `world.TEXTS` those of one, by
    the first text of each language.
    """
    if source in world.TEXTS:
        some = [text for lang in world.LANGUAGES for text in world.running_text(source, lang, 1)]
        return world.NUMBER, sum(len(text.encode()) for text in some) * world.NUMBER // len(some)
    path = Path(source)
    if not path.exists():
        return 0, 0
    files = [path] if path.is_file() else [*path.rglob("*.txt"), *path.glob("*.jsonl")]
    contents = [file.read_bytes() for file in files]
    lines = sum(bool(line.strip()) for content in contents for line in content.splitlines())
    return lines, sum(map(len, contents))


@cache
def here() -> float:
    """Operations a second that this machine does: of a GPU taken, of a CPU those of a product of
    matrices of a model's size, in a core's own time, so whatever else runs now, times its cores.
    """
    if gpus():
        return GPU
    import numpy as np

    rows, depth, width = 256, 1024, 4096
    tokens = np.ones((rows, depth), dtype=np.float32)
    weights = np.ones((depth, width), dtype=np.float32)
    best = float("inf")
    for _ in range(4):
        began = time.process_time()
        tokens @ weights
        best = min(best, time.process_time() - began)
    return 2 * rows * depth * width / best * (os.cpu_count() or 1)


def seconds_at(speed: float, stage: str, operations: float) -> float:
    """Seconds that a stage takes at a speed of reading."""
    writes = stage in (SampleResponses.name, EvaluateModel.name)
    return operations / (speed / 10 if writes else speed)


class Remaining:
    """How long the steps that are not known to be done would take, kept up as a run passes them."""

    def __init__(self, estimates: Estimates, steps: Iterable[Step]) -> None:
        """Add up the steps that are not in the ledger."""
        self._estimates = estimates
        self._steps = {step.out: step for step in steps if step.out not in estimates.ledger.steps}
        self._add_up()

    def _add_up(self) -> None:
        costs = {out: self._estimates.cost(step) for out, step in self._steps.items()}
        self._operations = {out: cost.operations for out, cost in costs.items()}
        self._unknown = sum(operations is None for operations in self._operations.values())
        self._light = sum(operations == 0 for operations in self._operations.values())
        self._by_stage: dict[str, float] = defaultdict(float)
        for out, operations in self._operations.items():
            self._by_stage[self._steps[out].stage.name] += operations or 0

    def passed(self, step: Step) -> None:
        """Leave out a step that is done, was there, or failed."""
        if step.out not in self._steps:
            return
        del self._steps[step.out]
        if isinstance(step.stage, FetchQuestions):  # costs of others rest on how many there are
            self._estimates.forget_questions()
            self._add_up()
            return
        operations = self._operations.pop(step.out)
        self._unknown -= operations is None
        self._light -= operations == 0
        self._by_stage[step.stage.name] -= operations or 0

    def seconds(self) -> float | None:
        """Their time; None when it is not known of all of them, or there are none."""
        if self._unknown or not self._steps:
            return None
        heavy = {stage: work for stage, work in self._by_stage.items() if work > 0}
        return self._light + sum(
            work * self._estimates.pace(stage) for stage, work in heavy.items()
        )
