"""Stages: what each reads, and what its command is called with.

A class for each stage, in the order in which they are carried out for a model; an object of it is
the stage on one thing: these questions, this model. Folders are those of the run, by names from it
(see `run_folder`); what is read elsewhere (models, questions, a template) goes by the name that the
study gives it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from langneurons import run_folder
from langneurons.config import Asking
from langneurons.study.spec import Domain, Study

QUESTIONS = "questions.jsonl"
"""Name of the file in a folder of questions."""


class Arguments(NamedTuple):
    """What the command of a stage is called with, besides the folder it writes.

    Attributes:
        given: without a name: folders of the run as paths, all else as text.
        options: by name.
    """

    given: tuple[str | Path, ...]
    options: dict[str, Any]


class StudyModel(NamedTuple):
    """A model in a study: as the study names it, or with an adapter that the run has trained.

    Attributes:
        source: MODEL, as the study names it.
        adapter: folder of the adapter; None for the model as it is.
    """

    source: str
    adapter: str | None = None

    @property
    def given(self) -> str:
        """MODEL, as commands take it."""
        return self.adapter or self.source

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is read of it in the run."""
        return (self.adapter,) if self.adapter else ()

    @property
    def outside(self) -> tuple[str, ...]:
        """What is read of it elsewhere."""
        return () if self.adapter else (self.source,)


class Stage:
    """A stage on one thing.

    Attributes:
        name: of the stage, which is its command; only `questions` has no command.
        yields: kind of its result, and name of its folder among the results of a model.
    """

    name: ClassVar[str]
    yields: ClassVar[str]

    def inputs(self) -> tuple[str, ...]:
        """What it reads in the run: folders of results, or that hold them or lie in them."""
        raise NotImplementedError

    def outside(self, study: Study) -> tuple[str, ...]:
        """What it reads elsewhere."""
        return ()

    def arguments(self, study: Study) -> Arguments:
        """What its command is called with."""
        raise NotImplementedError


@dataclass(frozen=True)
class FetchQuestions(Stage):
    """Fetch questions, so that they stay with the run."""

    name = "questions"
    yields = "questions"

    asked: Domain
    languages: tuple[str, ...]

    def inputs(self) -> tuple[str, ...]:
        return ()

    def outside(self, study: Study) -> tuple[str, ...]:
        return (self.asked.questions,)

    def arguments(self, study: Study) -> Arguments:
        options = {"languages": self.languages, "take": self.asked.take}
        return Arguments((self.asked.questions,), options)


@dataclass(frozen=True)
class _AskModel(Stage):
    """Ask a model the questions of a domain."""

    model: StudyModel
    domain: str

    def inputs(self) -> tuple[str, ...]:
        return (*self.model.inputs, run_folder.questions(self.domain))

    def outside(self, study: Study) -> tuple[str, ...]:
        return (*self.model.outside, *((study.template,) if study.template else ()))

    def _given(self) -> tuple[str, str]:
        return self.model.given, f"{run_folder.questions(self.domain)}/{QUESTIONS}"

    def _how(self, study: Study) -> dict[str, Any]:
        return {"how": Asking(template=study.template), "loading": study.loading}


@dataclass(frozen=True)
class SampleResponses(_AskModel):
    """Have a model write responses."""

    name = "sample"
    yields = "responses"

    def arguments(self, study: Study) -> Arguments:
        config = study.sample_seeds if self.domain == run_folder.SEEDS else study.sample
        return Arguments(self._given(), {"config": config, **self._how(study)})


@dataclass(frozen=True)
class EvaluateModel(_AskModel):
    """Measure how many questions a model answers right."""

    name = "evaluate"
    yields = "accuracy"

    def arguments(self, study: Study) -> Arguments:
        options = {"config": study.evaluate, "base": False, **self._how(study)}
        return Arguments(self._given(), options)


@dataclass(frozen=True)
class RecordCounts(Stage):
    """Record which neurons of a model are active in responses."""

    name = "record"
    yields = "counts"

    model: StudyModel
    domain: str
    responses: str

    def inputs(self) -> tuple[str, ...]:
        return (*self.model.inputs, self.responses)

    def outside(self, study: Study) -> tuple[str, ...]:
        return self.model.outside

    def arguments(self, study: Study) -> Arguments:
        options = {**_of_texts(study), "config": study.record}
        return Arguments((self.model.given, Path(self.responses)), options)


@dataclass(frozen=True)
class IdentifyNeurons(Stage):
    """Find the neurons of each language in counts."""

    name = "identify"
    yields = "neurons"

    counts: str

    def inputs(self) -> tuple[str, ...]:
        return (self.counts,)

    def arguments(self, study: Study) -> Arguments:
        return Arguments((Path(self.counts),), {"config": study.identify})


@dataclass(frozen=True)
class MeasurePerplexity(Stage):
    """Measure what silencing each language's neurons costs."""

    name = "perplexity"
    yields = "perplexity"

    model: StudyModel
    domain: str
    neurons: str
    responses: str
    counts: str

    def inputs(self) -> tuple[str, ...]:
        return (*self.model.inputs, self.neurons, self.responses, self.counts)

    def outside(self, study: Study) -> tuple[str, ...]:
        return self.model.outside

    def arguments(self, study: Study) -> Arguments:
        options = {**_of_texts(study), "config": study.perplexity, "counts": Path(self.counts)}
        return Arguments((self.model.given, Path(self.neurons), Path(self.responses)), options)


@dataclass(frozen=True)
class ScoreResponses(Stage):
    """Score responses to align on, by a translation model."""

    name = "reward"
    yields = "scored"

    responses: str
    translator: str

    def inputs(self) -> tuple[str, ...]:
        return (self.responses,)

    def outside(self, study: Study) -> tuple[str, ...]:
        return (self.translator,)

    def arguments(self, study: Study) -> Arguments:
        assert study.translator  # noqa: S101 - a study with alignments has one
        options = {
            "config": study.reward,
            "codes": study.translator.codes,
            "loading": study.translator.loading,
            "translator": self.translator,
        }
        return Arguments((Path(self.responses),), options)


@dataclass(frozen=True)
class PairResponses(Stage):
    """Make preference pairs, of languages that are to be aligned."""

    name = "pair"
    yields = "pairs"

    scored: str
    tokenizer: str
    languages: tuple[str, ...]

    def inputs(self) -> tuple[str, ...]:
        return (self.scored,)

    def outside(self, study: Study) -> tuple[str, ...]:
        return (self.tokenizer,)

    def arguments(self, study: Study) -> Arguments:
        options = {
            "config": study.pair,
            "languages": ",".join(self.languages),
            "tokenizer": self.tokenizer,
        }
        return Arguments((Path(self.scored),), options)


@dataclass(frozen=True)
class AlignModel(Stage):
    """Train an adapter on pairs."""

    name = "align"
    yields = "adapter"

    model: StudyModel
    pairs: str

    def inputs(self) -> tuple[str, ...]:
        return (*self.model.inputs, self.pairs)

    def outside(self, study: Study) -> tuple[str, ...]:
        return self.model.outside

    def arguments(self, study: Study) -> Arguments:
        options = {"config": study.align, "loading": study.loading}
        return Arguments((self.model.given, Path(self.pairs)), options)


@dataclass(frozen=True)
class CompareModels(Stage):
    """Hold the results of a model before an alignment against those after.

    Attributes:
        before: folder of results.
        after: folders of results, the last step last.
        other: folder of the results before on other questions; None where there are none.
        trained: languages that were aligned.
    """

    name = "compare"
    yields = "comparison"

    before: str
    after: tuple[str, ...]
    other: str | None
    trained: tuple[str, ...]

    def inputs(self) -> tuple[str, ...]:
        return (self.before, *((self.other,) if self.other else ()), *self.after)

    def arguments(self, study: Study) -> Arguments:
        options: dict[str, Any] = {
            "bootstrap": study.identify.bootstrap,
            "seed": study.identify.seed,
            "trained": ",".join(self.trained),
        }
        if self.other:
            options["domain"] = Path(self.other)
        return Arguments((Path(self.before), *map(Path, self.after)), options)


@dataclass(frozen=True)
class MakeReport(Stage):
    """Make the page of the run."""

    name = "report"
    yields = "report"

    def inputs(self) -> tuple[str, ...]:
        return (run_folder.QUESTIONS, run_folder.MODELS)

    def arguments(self, study: Study) -> Arguments:
        return Arguments((Path(),), {"out": Path(run_folder.PAGE)})


STAGES: tuple[type[Stage], ...] = (
    FetchQuestions,
    SampleResponses,
    EvaluateModel,
    RecordCounts,
    IdentifyNeurons,
    MeasurePerplexity,
    ScoreResponses,
    PairResponses,
    AlignModel,
    CompareModels,
    MakeReport,
)
"""The stages, in the order they are carried out for a model."""


def _of_texts(study: Study) -> dict[str, Any]:
    return {"languages": ",".join(study.languages), "loading": study.loading}
