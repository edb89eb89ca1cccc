"""Stages: what each reads, and what its command is called with.

A class for each stage, in the order in which they are carried out for a model; an object of it is
the stage on one thing: these questions, this model. Folders are those of the run, by names from it
(see `run_folder`); what is read elsewhere (models, questions, a template) goes by the name that the
study gives it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from langneurons import run_folder
from langneurons.config import Asking
from langneurons.study.spec import Domain, Study, Translator
from langneurons.texts.questions import Questions


class Call(NamedTuple):
    """How the command of a stage is called, besides the folder it writes, and what it reads.

    Attributes:
        given: what it is given without a name: folders of the run as paths, all else as text.
        options: what it is given by name.
        inputs: what it reads in the run: folders of results, or that hold them or lie in them.
        outside: what it reads elsewhere.
        model: MODEL that it runs, as the study names it; None where it runs none.
    """

    given: tuple[str | Path, ...]
    options: dict[str, Any]
    inputs: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    model: str | None = None


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

    def call(self, study: Study) -> Call:
        """How its command is called."""
        raise NotImplementedError


@dataclass(frozen=True)
class FetchQuestions(Stage):
    """Fetch questions, so that they stay with the run."""

    name = "questions"
    yields = "questions"

    asked: Domain
    languages: tuple[str, ...]

    def call(self, study: Study) -> Call:  # noqa: ARG002 - a study has no settings for it
        """`questions QUESTIONS`."""
        return Call(
            given=(self.asked.questions,),
            options={"languages": self.languages, "take": self.asked.take},
            outside=(self.asked.questions,),
        )


@dataclass(frozen=True)
class _AskModel(Stage):
    """Ask a model the questions of a domain."""

    model: StudyModel
    domain: str

    def _call(self, study: Study, config: Any, **options: Any) -> Call:
        folder = run_folder.questions(self.domain)
        template = (study.template,) if study.template else ()
        asking = Asking(template=study.template)
        if serve := study.serve:
            engine = serve.command or serve.url
            asking = replace(asking, engine=engine, server_seeds=serve.seeds)
        how = {"how": asking, "loading": study.loading}
        return Call(
            given=(self.model.given, f"{folder}/{Questions.FILE}"),
            options={"config": config, **options, **how},
            inputs=(*self.model.inputs, folder),
            outside=(*self.model.outside, *template),
            model=self.model.source,
        )


@dataclass(frozen=True)
class SampleResponses(_AskModel):
    """Have a model write responses."""

    name = "sample"
    yields = "responses"

    def call(self, study: Study) -> Call:
        """`sample MODEL QUESTIONS`."""
        seeds = self.domain == run_folder.SEEDS
        return self._call(study, study.sample_seeds if seeds else study.sample)


@dataclass(frozen=True)
class EvaluateModel(_AskModel):
    """Measure how many questions a model answers right."""

    name = "evaluate"
    yields = "accuracy"

    def call(self, study: Study) -> Call:
        """`evaluate MODEL QUESTIONS`; the base of an adapter has a step of its own."""
        return self._call(study, study.evaluate, base=False)


@dataclass(frozen=True)
class RecordCounts(Stage):
    """Record which neurons of a model are active in responses."""

    name = "record"
    yields = "counts"

    model: StudyModel
    domain: str
    responses: str | None

    def call(self, study: Study) -> Call:
        """`record MODEL RESPONSES`, or running text where there are none."""
        read = _read(study, self.domain, self.responses)
        return Call(
            given=(self.model.given, read.source),
            options={**_of_texts(study), **read.options, "config": study.record},
            inputs=(*self.model.inputs, *read.inputs),
            outside=(*self.model.outside, *read.outside),
            model=self.model.source,
        )


@dataclass(frozen=True)
class IdentifyNeurons(Stage):
    """Find the neurons of each language in counts."""

    name = "identify"
    yields = "neurons"

    counts: str

    def call(self, study: Study) -> Call:
        """`identify COUNTS`."""
        return Call(
            given=(Path(self.counts),),
            options={"config": study.identify},
            inputs=(self.counts,),
        )


@dataclass(frozen=True)
class MeasurePerplexity(Stage):
    """Measure what silencing each language's neurons costs."""

    name = "perplexity"
    yields = "perplexity"

    model: StudyModel
    domain: str
    neurons: str
    responses: str | None
    counts: str

    def call(self, study: Study) -> Call:
        """`perplexity MODEL NEURONS RESPONSES --counts COUNTS`, or running text."""
        read = _read(study, self.domain, self.responses, scored=True)
        options = {
            **_of_texts(study),
            **({"running": read.options["text"]} if read.options else {}),
            "config": study.perplexity,
            "counts": Path(self.counts),
        }
        return Call(
            given=(self.model.given, Path(self.neurons), read.source),
            options=options,
            inputs=(*self.model.inputs, self.neurons, *read.inputs, self.counts),
            outside=(*self.model.outside, *read.outside),
            model=self.model.source,
        )


@dataclass(frozen=True)
class AttributeEffects(Stage):
    """Find what silencing each neuron would cost each language, and what its sets cost."""

    name = "attribute"
    yields = "effects"

    model: StudyModel
    domain: str
    neurons: str
    responses: str | None

    def call(self, study: Study) -> Call:
        """`attribute MODEL RESPONSES --neurons NEURONS`, or running text."""
        read = _read(study, self.domain, self.responses, scored=True)
        options = {
            **_of_texts(study),
            **({"running": read.options["text"]} if read.options else {}),
            "config": study.attribute,
            "neurons": Path(self.neurons),
        }
        return Call(
            given=(self.model.given, read.source),
            options=options,
            inputs=(*self.model.inputs, self.neurons, *read.inputs),
            outside=(*self.model.outside, *read.outside),
            model=self.model.source,
        )


@dataclass(frozen=True)
class _ReadSentences(Stage):
    """Read the sentences of a domain, which are the same in every language."""

    model: StudyModel
    domain: str

    def _call(self, study: Study, config: Any) -> Call:
        source, _ = study.domains[self.domain].read()
        return Call(
            given=(self.model.given, Path(source)),
            options={**_of_texts(study), "config": config},
            inputs=self.model.inputs,
            outside=(*self.model.outside, source),
            model=self.model.source,
        )


@dataclass(frozen=True)
class MeasureMeaning(_ReadSentences):
    """Measure where a model's states are of what sentences mean."""

    name = "meaning"
    yields = "meaning"

    def call(self, study: Study) -> Call:
        """`meaning MODEL TEXTS`."""
        return self._call(study, study.meaning)


@dataclass(frozen=True)
class LookThroughLens(_ReadSentences):
    """Look what a model would say at each layer."""

    name = "lens"
    yields = "lens"

    def call(self, study: Study) -> Call:
        """`lens MODEL TEXTS`."""
        return self._call(study, study.lens)


@dataclass(frozen=True)
class ScoreResponses(Stage):
    """Score responses to align on, by a translation model."""

    name = "reward"
    yields = "scored"

    responses: str
    translator: Translator

    def call(self, study: Study) -> Call:
        """`reward RESPONSES --translator TRANSLATOR`."""
        options = {
            "config": study.reward,
            "codes": self.translator.codes,
            "loading": self.translator.loading,
            "translator": self.translator.model,
        }
        return Call(
            given=(Path(self.responses),),
            options=options,
            inputs=(self.responses,),
            outside=(self.translator.model,),
        )


@dataclass(frozen=True)
class PairResponses(Stage):
    """Make preference pairs, of languages that are to be aligned."""

    name = "pair"
    yields = "pairs"

    scored: str
    tokenizer: str
    languages: tuple[str, ...]

    def call(self, study: Study) -> Call:
        """`pair SCORED --tokenizer MODEL`."""
        options = {
            "config": study.pair,
            "languages": ",".join(self.languages),
            "tokenizer": self.tokenizer,
        }
        return Call(
            given=(Path(self.scored),),
            options=options,
            inputs=(self.scored,),
            outside=(self.tokenizer,),
        )


@dataclass(frozen=True)
class AlignModel(Stage):
    """Train an adapter on pairs."""

    name = "align"
    yields = "adapter"

    model: StudyModel
    pairs: str

    def call(self, study: Study) -> Call:
        """`align MODEL PAIRS`."""
        return Call(
            given=(self.model.given, Path(self.pairs)),
            options={"config": study.align, "loading": study.loading},
            inputs=(*self.model.inputs, self.pairs),
            outside=self.model.outside,
            model=self.model.source,
        )


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

    def call(self, study: Study) -> Call:
        """`compare BEFORE AFTER ... --domain OTHER`."""
        options: dict[str, Any] = {
            "bootstrap": study.identify.bootstrap,
            "seed": study.identify.seed,
            "trained": ",".join(self.trained),
        }
        inputs = (self.before, *self.after)
        if self.other:
            options["domain"] = Path(self.other)
            inputs = (*inputs, self.other)
        return Call(
            given=(Path(self.before), *map(Path, self.after)), options=options, inputs=inputs
        )


@dataclass(frozen=True)
class SweepClaims(Stage):
    """Judge the claims over a grid of settings.

    Attributes:
        counts: of a model.
        after: of the model after an alignment; None for the model alone.
        trained: languages that were aligned.
    """

    name = "sweep"
    yields = "sweep"

    counts: str
    after: str | None = None
    trained: tuple[str, ...] = ()

    def call(self, study: Study) -> Call:
        """`sweep COUNTS --after COUNTS --trained CODES`."""
        options: dict[str, Any] = {"config": study.sweep}
        inputs: tuple[str, ...] = (self.counts,)
        if self.after:
            options |= {"after": Path(self.after), "trained": ",".join(self.trained)}
            inputs = (*inputs, self.after)
        return Call(given=(Path(self.counts),), options=options, inputs=inputs)


@dataclass(frozen=True)
class MakeReport(Stage):
    """Make the page of the run."""

    name = "report"
    yields = "report"

    def call(self, study: Study) -> Call:  # noqa: ARG002 - a study has no settings for it
        """`report .`."""
        return Call(
            given=(Path(),),
            options={"out": Path(run_folder.PAGE)},
            inputs=(run_folder.QUESTIONS, run_folder.MODELS),
        )


STAGES: tuple[type[Stage], ...] = (
    FetchQuestions,
    SampleResponses,
    EvaluateModel,
    RecordCounts,
    IdentifyNeurons,
    MeasurePerplexity,
    AttributeEffects,
    MeasureMeaning,
    LookThroughLens,
    ScoreResponses,
    PairResponses,
    AlignModel,
    CompareModels,
    SweepClaims,
    MakeReport,
)
"""The stages, in the order they are carried out for a model."""


class _Read(NamedTuple):
    """What a stage reads with a model.

    Attributes:
        source: responses of the run, or running text.
        options: `text`, how running text is read; none of responses.
        inputs: what of it is in the run.
        outside: what of it is elsewhere.
    """

    source: Path
    options: dict[str, Any]
    inputs: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


def _read(study: Study, domain: str, responses: str | None, *, scored: bool = False) -> _Read:
    """Responses, or without them the texts of a domain; those that are scored where it has any."""
    if responses is not None:
        return _Read(Path(responses), {}, inputs=(responses,))
    source, take = study.domains[domain].read(scored=scored)
    return _Read(Path(source), {"text": replace(study.reading, take=take)}, outside=(source,))


def _of_texts(study: Study) -> dict[str, Any]:
    return {"languages": ",".join(study.languages), "loading": study.loading}
