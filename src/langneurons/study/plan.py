"""Plan: the steps of a study, in order: which stage, on what, with which settings, into which folder of the run.

```
questions/DOMAIN, questions/seeds                 what is asked
models/MODEL/base/DOMAIN/responses, accuracy, counts, neurons, perplexity
models/MODEL/seeds/responses, scored
models/MODEL/ALIGNMENT/pairs, adapter
models/MODEL/ALIGNMENT/step-N/DOMAIN/...          as under base
models/MODEL/ALIGNMENT/comparison/DOMAIN          the model before against the last step
models/MODEL/ALIGNMENT/checkpoints/DOMAIN         and against every step that is studied
report                                            figures and tables; the page is beside it, report.html
```
"""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from langneurons.config import Asking
from langneurons.study.spec import Domain, Measure, Study
from langneurons.texts.languages import ENGLISH
from langneurons.texts.questions import Questions


class Step(NamedTuple):
    """One stage on one thing.

    Attributes:
        stage: name of the stage, which is its command.
        out: folder it writes, from that of the run.
        inputs: what it reads in the run: folders of other steps, or that hold them or lie in them.
        outside: what it reads elsewhere: models, questions, a template.
        options: what its command is given by name, besides the folder.
        given: what its command is given without a name.
        needs: folders of the steps that are, hold or lie in what it reads.
    """

    stage: str
    out: str
    inputs: tuple[str, ...]
    outside: tuple[str, ...]
    options: dict[str, Any]
    given: tuple[str | Path, ...]
    needs: tuple[str, ...] = ()

    def command(self) -> str | None:
        """How to do the same from the folder of the run by hand; None for what has no command."""
        if self.stage == "questions":
            return None
        words = ["langneurons", self.stage, *map(str, self.given)]
        for name, value in {"out": self.out, **self.options}.items():
            words += _words(name, value)
        return shlex.join(words)


class Stage(NamedTuple):
    """A kind of step.

    Attributes:
        name: its name; its command's, except for `questions`, which has none.
        needs: what it reads: what other stages yield, or a model, or the translator.
        yields: what it writes: kind of the artifact and name of its folder.
        options: its settings in a study.
    """

    name: str
    needs: tuple[str, ...]
    yields: str
    options: Callable[[Study], dict[str, Any]] = lambda _: {}


STAGES = (
    Stage("questions", ("source",), "questions"),
    Stage(
        "sample",
        ("model", "questions"),
        "responses",
        lambda s: {"config": s.sample, "how": _asking(s), "loading": s.loading},
    ),
    Stage(
        "evaluate",
        ("model", "questions"),
        "accuracy",
        lambda s: {"config": s.evaluate, "base": False, "how": _asking(s), "loading": s.loading},
    ),
    Stage(
        "record", ("model", "responses"), "counts", lambda s: _of_texts(s) | {"config": s.record}
    ),
    Stage("identify", ("counts",), "neurons", lambda s: {"config": s.identify}),
    Stage(
        "perplexity",
        ("model", "neurons", "responses", "counts"),
        "perplexity",
        lambda s: _of_texts(s) | {"config": s.perplexity},
    ),
    Stage("reward", ("responses", "translator"), "scored", lambda s: {"config": s.reward}),
    Stage("pair", ("scored", "tokenizer"), "pairs", lambda s: {"config": s.pair}),
    Stage(
        "align", ("model", "pairs"), "adapter", lambda s: {"config": s.align, "loading": s.loading}
    ),
    Stage(
        "compare",
        ("before", "after"),
        "comparison",
        lambda s: {"bootstrap": s.identify.bootstrap, "seed": s.identify.seed},
    ),
    Stage("report", ("run",), "report"),
)
"""The stages, in the order they are carried out for a model."""

_BY_NAME = {stage.name: stage for stage in STAGES}


def steps(study: Study) -> list[Step]:
    """Every step of a study; a step comes after those it needs."""
    found = [_questions(name, domain, study.languages) for name, domain in study.domains.items()]
    if study.seeds and study.alignments:
        targets = {code for codes in study.alignments.values() for code in codes}
        asked = tuple(code for code in study.languages if code in targets or code == ENGLISH)
        found.append(_questions("seeds", study.seeds, asked))
    for name, model in study.models.items():
        for domain in study.domains:
            found += _measured(study, model, f"models/{name}/base", domain, study.analyses.base)
        if study.alignments:
            found += _scored(study, name, model)
        for alignment in study.alignments:
            found += _aligned(study, name, model, alignment)
    found.append(
        Step(
            "report", "report", ("questions", "models"), (), {"out": Path("report.html")}, (Path(),)
        )
    )
    inside: dict[str, list[str]] = {}
    for step in found:
        for folder in _upwards(step.out):
            inside.setdefault(folder, []).append(step.out)
    outs = {step.out for step in found}
    return [step._replace(needs=tuple(_needs(step, inside, outs))) for step in found]


def _needs(step: Step, inside: Mapping[str, list[str]], outs: Collection[str]) -> Iterator[str]:
    for one in step.inputs:
        yield from inside.get(one, [])
        yield from (folder for folder in _upwards(one)[1:] if folder in outs)


def _upwards(path: str) -> list[str]:
    """A path and the folders above it, upwards."""
    return [path, *(str(one) for one in PurePosixPath(path).parents[:-1])]


def _questions(name: str, domain: Domain, languages: tuple[str, ...]) -> Step:
    options = {"languages": languages, "take": domain.take}
    return Step(
        "questions", f"questions/{name}", (), (domain.questions,), options, (domain.questions,)
    )


def _measured(
    study: Study,
    model: str,
    at: str,
    domain: str,
    more: tuple[Measure, ...],
    texts: str | None = None,
) -> list[Step]:
    """The neurons of a model on questions, and what else is measured; on responses of its own unless given."""
    folder = f"{at}/{domain}"
    more = tuple(one for one in more if one in study.domains[domain].analyses)
    here = {
        "model": model,
        "questions": f"questions/{domain}",
        "responses": texts or f"{folder}/responses",
    }
    here |= {kind: f"{folder}/{kind}" for kind in ("counts", "neurons")}
    asked = ("evaluate",) if "evaluate" in more else ()
    wanted = (
        *asked,
        *(() if texts else ("sample",)),
        "record",
        "identify",
        *(m for m in more if m not in asked),
    )
    ordered = [stage.name for stage in STAGES if stage.name in wanted]
    return [_step(study, name, f"{folder}/{_BY_NAME[name].yields}", here) for name in ordered]


def _scored(study: Study, name: str, model: str) -> list[Step]:
    """Responses to align on, and their scores."""
    assert study.translator  # noqa: S101 - a study with alignments has one
    folder = f"models/{name}/seeds"
    here = {"model": model, "questions": "questions/seeds", "responses": f"{folder}/responses"}
    here["translator"] = study.translator.model
    how = {"codes": study.translator.codes, "loading": study.translator.loading}
    return [
        _step(study, "sample", f"{folder}/responses", here, config=study.sample_seeds),
        _step(study, "reward", f"{folder}/scored", here, **how),
    ]


def _aligned(study: Study, name: str, model: str, alignment: str) -> list[Step]:
    """An alignment of a model, its checkpoints measured, and what changed."""
    folder, targets = f"models/{name}/{alignment}", ",".join(study.alignments[alignment])
    here = {
        "model": model,
        "tokenizer": model,
        "scored": f"models/{name}/seeds/scored",
        "pairs": f"{folder}/pairs",
    }
    found = [
        _step(study, "pair", f"{folder}/pairs", here, languages=targets),
        _step(study, "align", f"{folder}/adapter", here),
    ]
    *before, last = study.steps()
    for at in (last, *before):
        trained = f"{folder}/adapter" + ("" if at == last else f"/checkpoint-{at}")
        more = study.analyses.aligned if at == last else study.analyses.checkpoints
        for domain in study.domains:
            texts = f"models/{name}/base/{domain}/responses" if study.texts == "base" else None
            found += _measured(study, trained, f"{folder}/step-{at}", domain, more, texts)
    domains = list(study.domains)
    for place, domain in enumerate(domains):
        held: dict[str, Any] = {"trained": targets}
        inputs = {"before": f"models/{name}/base/{domain}"}
        if len(domains) > 1:
            other = domains[(place + 1) % len(domains)]
            held["domain"] = Path(f"models/{name}/base/{other}")
            inputs["domain"] = f"models/{name}/base/{other}"
        for kind, chosen in (("comparison", [last]), ("checkpoints", [*before, last])):
            if kind == "comparison" or before:
                after = {f"after {at}": f"{folder}/step-{at}/{domain}" for at in chosen}
                found.append(
                    _step(study, "compare", f"{folder}/{kind}/{domain}", inputs | after, **held)
                )
    return found


def _step(study: Study, name: str, folder: str, here: Mapping[str, str], **more: Any) -> Step:
    """A step of a stage, its inputs found in `here`."""
    stage = _BY_NAME[name]
    inputs = dict(here) if name == "compare" else {need: here[need] for need in stage.needs}
    given: list[str | Path] = []
    options = stage.options(study) | more
    for need, value in inputs.items():
        if need in ("translator", "tokenizer"):
            options[need] = value
        elif need == "counts" and name == "perplexity":
            options[need] = Path(value)
        elif need == "questions":
            given.append(f"{value}/{Questions.FILE}")
        elif need != "domain":
            given.append(value if need == "model" else Path(value))
    outside = {*study.models.values(), study.translator and study.translator.model}
    within = tuple(value for value in inputs.values() if value not in outside)
    beyond = [value for value in inputs.values() if value in outside]
    if "how" in options and study.template:
        beyond.append(study.template)
    return Step(name, folder, within, tuple(beyond), options, tuple(given))


def _of_texts(study: Study) -> dict[str, Any]:
    return {"languages": ",".join(study.languages), "loading": study.loading}


def _asking(study: Study) -> Asking:
    return Asking(template=study.template)


def _words(name: str, value: Any) -> list[str]:
    """An option as the command line takes it; nothing for a default."""
    if is_dataclass(value):
        default = type(value)()
        changed = {one.name: getattr(value, one.name) for one in fields(value)}
        return [
            w for key, v in changed.items() if v != getattr(default, key) for w in _words(key, v)
        ]
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if value is None:
        return []
    if isinstance(value, tuple):
        return [word for one in value for word in (flag, str(one))]
    return [flag, str(value)]
