"""Plan: the steps of a study, in order, each into a folder of the run (`run_folder` names them)."""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from langneurons import config, nano, run_folder
from langneurons.study.spec import Measure, Study
from langneurons.study.stages import (
    AlignModel,
    AttributeEffects,
    Call,
    CompareModels,
    EvaluateModel,
    FetchQuestions,
    IdentifyNeurons,
    LookThroughLens,
    MakeReport,
    MeasureMeaning,
    MeasurePerplexity,
    PairResponses,
    RecordCounts,
    SampleResponses,
    ScoreResponses,
    Stage,
    StudyModel,
    SweepClaims,
)


class Step(NamedTuple):
    """One stage on one thing.

    Attributes:
        stage: the stage, and on what.
        out: folder it writes, from that of the run.
        call: how its command is called, and what it reads.
        needs: folders of the steps that are, hold or lie in what it reads.
    """

    stage: Stage
    out: str
    call: Call
    needs: tuple[str, ...] = ()

    def command(self) -> str | None:
        """How to do the same from the folder of the run by hand; None for what has no command."""
        if isinstance(self.stage, FetchQuestions):
            return None
        words = ["langneurons", self.stage.name, *map(str, self.call.given)]
        for name, value in {"out": self.out, **self.call.options}.items():
            if is_dataclass(value):
                for setting in self._told(value):
                    words += _words(setting, getattr(value, setting))
            else:
                words += _words(name, value)
        return shlex.join(words)

    def _told(self, settings: Any) -> Iterator[str]:
        """Names of the settings that the command must be told: what it would not take by itself."""
        told = config.changed(settings)
        if self.call.model and nano.suits(self.call.model):
            for suited in nano.DEFAULTS.get(self.stage.name, ()):
                if type(suited) is type(settings):
                    told |= config.changed(suited)
        yield from (name for name in vars(settings) if name in told)


def steps(study: Study) -> list[Step]:
    """Every step of a study; a step comes after those it needs."""
    planned = [
        _step(study, FetchQuestions(domain, study.languages), run_folder.questions(name))
        for name, domain in study.domains.items()
        if domain.questions
    ]
    if study.seeds and study.alignments:
        fetched = FetchQuestions(study.seeds, study.seed_languages())
        planned.append(_step(study, fetched, run_folder.questions(run_folder.SEEDS)))
    for name, source in study.models.items():
        for domain in study.domains:
            folder = run_folder.base(name, domain)
            planned += _measured(study, StudyModel(source), folder, domain, study.analyses.base)
        if study.alignments:
            planned += _scored(study, name)
        for alignment in study.alignments:
            planned += _aligned(study, name, alignment)
            planned += _compared(study, name, alignment)
    planned.append(_step(study, MakeReport(), run_folder.REPORT))
    return _with_needs(_in_a_row(planned) if study.serve else planned)


def _in_a_row(planned: Sequence[Step]) -> list[Step]:
    """The steps, those that ask a model all where the first of them stands.

    A server, which takes minutes to start, is then started once for each model. What they need is
    there: the questions come before all else, an adapter before the first that asks it.
    """
    asking: dict[StudyModel, list[Step]] = {}
    for step in planned:
        if isinstance(step.stage, SampleResponses | EvaluateModel):
            asking.setdefault(step.stage.model, []).append(step)
    ordered = []
    for step in planned:
        if not isinstance(step.stage, SampleResponses | EvaluateModel):
            ordered.append(step)
        elif step is asking[step.stage.model][0]:
            ordered += asking[step.stage.model]
    return ordered


def _step(study: Study, stage: Stage, out: str) -> Step:
    """A step, what it needs left out."""
    return Step(stage, out, stage.call(study))


def _measured(
    study: Study,
    model: StudyModel,
    folder: str,
    domain: str,
    measures: Collection[Measure],
    responses: str | None = None,
) -> list[Step]:
    """The neurons of a model on questions, and what else is measured.

    Args:
        study: the study.
        model: the model.
        folder: where its results go.
        domain: the questions.
        measures: what else is measured, where it is of the domain too.
        responses: what it is recorded on; None: responses of its own, or the domain's texts.
    """
    reads = bool(study.domains[domain].texts)
    own = responses is None and not reads
    responses = None if reads else responses or f"{folder}/{SampleResponses.yields}"
    counts = f"{folder}/{RecordCounts.yields}"
    neurons = f"{folder}/{IdentifyNeurons.yields}"
    wanted = set(measures) & set(study.domains[domain].analyses)
    wanted -= {"evaluate"} if reads else {"meaning", "lens"}
    stages: list[Stage] = []
    if own:
        stages.append(SampleResponses(model, domain))
    if "evaluate" in wanted:
        stages.append(EvaluateModel(model, domain))
    stages.append(RecordCounts(model, domain, responses))
    stages.append(IdentifyNeurons(counts))
    if "sweep" in wanted:
        stages.append(SweepClaims(counts))
    if "perplexity" in wanted:
        stages.append(
            MeasurePerplexity(
                model=model, domain=domain, neurons=neurons, responses=responses, counts=counts
            )
        )
    if "attribute" in wanted:
        stages.append(AttributeEffects(model, domain, neurons, responses))
    if "meaning" in wanted:
        stages.append(MeasureMeaning(model, domain))
    if "lens" in wanted:
        stages.append(LookThroughLens(model, domain))
    return [_step(study, stage, f"{folder}/{stage.yields}") for stage in stages]


def _scored(study: Study, name: str) -> list[Step]:
    """Responses of a model to align on, and their scores."""
    assert study.translator  # noqa: S101 - a study with alignments has one
    folder = run_folder.seeds(name)
    sample = SampleResponses(StudyModel(study.models[name]), run_folder.SEEDS)
    responses = f"{folder}/{sample.yields}"
    score = ScoreResponses(responses, study.translator)
    return [_step(study, sample, responses), _step(study, score, f"{folder}/{score.yields}")]


def _aligned(study: Study, name: str, alignment: str) -> list[Step]:
    """An alignment of a model, and what is measured of its steps: the last first."""
    folder, source = run_folder.alignment(name, alignment), study.models[name]
    pair = PairResponses(
        scored=f"{run_folder.seeds(name)}/{ScoreResponses.yields}",
        tokenizer=source,
        languages=study.alignments[alignment],
    )
    pairs, adapter = f"{folder}/{pair.yields}", f"{folder}/{AlignModel.yields}"
    planned = [
        _step(study, pair, pairs),
        _step(study, AlignModel(StudyModel(source), pairs), adapter),
    ]
    *earlier, last = study.steps()
    for number in (last, *earlier):
        if number == last:
            model = StudyModel(source, adapter)
            measures = tuple(set(study.analyses.aligned) - {"sweep"})  # of before and after
        else:
            model = StudyModel(source, f"{adapter}/checkpoint-{number}")
            measures = study.analyses.checkpoints
        for domain in study.domains:
            before = f"{run_folder.base(name, domain)}/{SampleResponses.yields}"
            planned += _measured(
                study,
                model,
                run_folder.step(name, alignment, number, domain),
                domain,
                measures,
                responses=before if study.texts == "base" else None,
            )
    return planned


def _compared(study: Study, name: str, alignment: str) -> list[Step]:
    """What an alignment changed: by its last step, and step by step where several are studied."""
    *earlier, last = study.steps()
    domains = list(study.domains)
    planned = []
    for place, domain in enumerate(domains):
        following = domains[(place + 1) % len(domains)]
        comparisons = {run_folder.comparison(name, alignment, domain): (last,)}
        if earlier:
            comparisons[run_folder.checkpoints(name, alignment, domain)] = (*earlier, last)
        for folder, numbers in comparisons.items():
            stage = CompareModels(
                before=run_folder.base(name, domain),
                after=tuple(run_folder.step(name, alignment, n, domain) for n in numbers),
                other=run_folder.base(name, following) if following != domain else None,
                trained=study.alignments[alignment],
            )
            planned.append(_step(study, stage, folder))
        if "sweep" in set(study.analyses.aligned) & set(study.domains[domain].analyses):
            sweep = SweepClaims(
                counts=f"{run_folder.base(name, domain)}/{RecordCounts.yields}",
                after=f"{run_folder.step(name, alignment, last, domain)}/{RecordCounts.yields}",
                trained=study.alignments[alignment],
            )
            planned.append(_step(study, sweep, run_folder.sweep(name, alignment, domain)))
    return planned


def _with_needs(planned: Sequence[Step]) -> list[Step]:
    """The steps, each with those it needs."""
    inside: dict[str, list[str]] = {}
    for step in planned:
        for folder in _upwards(step.out):
            inside.setdefault(folder, []).append(step.out)
    outs = {step.out for step in planned}
    return [step._replace(needs=tuple(_needs(step, inside, outs))) for step in planned]


def _needs(step: Step, inside: Mapping[str, list[str]], outs: Collection[str]) -> Iterator[str]:
    """Steps whose folder is, lies in or holds what a step reads."""
    for folder in step.call.inputs:
        yield from inside.get(folder, [])
        yield from (above for above in _upwards(folder)[1:] if above in outs)


def _upwards(path: str) -> list[str]:
    """A path and the folders above it, upwards."""
    return [path, *(str(above) for above in PurePosixPath(path).parents[:-1])]


def _words(name: str, value: Any) -> list[str]:
    """An option as the command line takes it; nothing for None."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if value is None:
        return []
    if isinstance(value, tuple):
        return [word for each in value for word in (flag, str(each))]
    return [flag, str(value)]
