"""Chapters: what a run found, as the chapters of its page, in the order of the flow.

Each part says what it is about (`report.Where`): a model, questions, an alignment; those that are
chosen are shown.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langneurons.align.pairs import Pair
from langneurons.compare.verdicts import Claim
from langneurons.neurons.summary import rules
from langneurons.neurons.table import Neurons
from langneurons.report.change_charts import change_figures
from langneurons.report.neuron_charts import Figure
from langneurons.report.parts import (
    Chapter,
    Note,
    Panel,
    Preview,
    Where,
    neuron_figures,
    silencing_figures,
)
from langneurons.report.run_charts import (
    accuracy_figure,
    audit_table,
    responses_table,
    scores_table,
    training_figure,
)
from langneurons.silencing.losses import Losses
from langneurons.tables import Table
from langneurons.texts.accuracy import Accuracy

Manifest = Mapping[str, Any]


class Results(NamedTuple):
    """What was found of a model on questions; what was not measured is None or empty.

    Attributes:
        neurons: its neurons.
        losses: what silencing them costs.
        accuracy: right answers per language, then their mean.
        manifests: kind of result -> manifest.
    """

    neurons: Neurons | None
    losses: Losses | None
    accuracy: tuple[Accuracy, ...]
    manifests: Mapping[str, Manifest]


class Compared(NamedTuple):
    """A model before against after an alignment, on some questions.

    Attributes:
        tables: name -> table, of the last step.
        checkpoints: the same of every step that is studied; empty with one.
        claims: the paper's claims, judged.
        manifest: that of the comparison.
    """

    tables: Mapping[str, Table]
    checkpoints: Mapping[str, Table]
    claims: tuple[Claim, ...]
    manifest: Manifest


class Aligned(NamedTuple):
    """An alignment of a model.

    Attributes:
        name: its name.
        languages: the languages aligned to English.
        pairs: some of the pairs that were trained on.
        history: what the training logged.
        after: questions -> results after the last step.
        compared: questions -> what changed.
        manifests: kind of result -> manifest: pairs, adapter.
    """

    name: str
    languages: tuple[str, ...]
    pairs: tuple[Pair, ...]
    history: tuple[Mapping[str, Any], ...]
    after: Mapping[str, Results]
    compared: Mapping[str, Compared]
    manifests: Mapping[str, Manifest]


class Model(NamedTuple):
    """A model of a study.

    Attributes:
        name: its name in the study.
        source: where it comes from: an id, a folder.
        base: questions -> results before any alignment.
        alignments: its alignments.
        scored: manifest of the scored responses to align on; None without.
    """

    name: str
    source: str
    base: Mapping[str, Results]
    alignments: tuple[Aligned, ...]
    scored: Manifest | None


def answers(models: Iterable[Model]) -> Chapter:
    """Responses, and accuracy before and after."""
    panels, notes = [], []
    for model in models:
        for questions, found in model.base.items():
            where = {"model": model.name, "questions": questions}
            after = {
                one.name: one.after[questions].accuracy
                for one in model.alignments
                if questions in one.after
            }
            shown = {
                name: rows for name, rows in {"before": found.accuracy, **after}.items() if rows
            }
            if shown:
                panels.append(Panel(accuracy_figure(shown), where))
            for one in model.alignments:
                compared = one.compared.get(questions)
                if compared and "accuracy-changes" in compared.tables:
                    table = {"accuracy-changes": compared.tables["accuracy-changes"]}
                    panels += [
                        Panel(f, where | {"alignment": one.name}) for f in change_figures(table)
                    ]
            facts = found.manifests.get("responses", {}).get("facts", {}).get("languages")
            if facts:
                panels.append(Panel(responses_table(facts), where))
            lines = (
                _said(found, "accuracy", "Accuracy: one greedy answer to each question; intervals are Wilson's, of the "
                      "mean by resampling questions."),
                _said(found, "responses", "Responses: drawn anew for each question and language."),
            )  # fmt: skip
            notes.append(Note(tuple(line for line in lines if line), where))
    text = "What the models answer: right or not, and in which language. The responses are what neurons are counted on."
    return Chapter("answers", "Responses and accuracy", text, tuple(panels), notes=tuple(notes))


def neurons(results: Iterable[tuple[Where, Results]]) -> Chapter:
    """The neurons of models, before any alignment."""
    panels, notes = [], []
    for where, found in results:
        if found.neurons:
            panels += [Panel(figure, where) for figure in neuron_figures(found.neurons)]
            counted = _said(
                found,
                "counts",
                "Counts: how often each neuron is above 0, over tokens of responses.",
            )
            notes.append(Note((*([counted] if counted else []), *rules(found.neurons)), where))
    text = "Neurons that are highly active in one language, in several, or in all, and where in the model they are."
    return Chapter("neurons", "Neurons", text, tuple(panels), notes=tuple(notes))


def silencing(results: Iterable[tuple[Where, Results]]) -> Chapter:
    """What silencing neurons costs, before and after alignment where it was measured."""
    panels, notes = [], []
    for where, found in results:
        if found.losses:
            made = silencing_figures(found.losses)
            if "alignment" in where:
                made = tuple(
                    f._replace(title=f"{f.title}, after alignment", name=f"{f.name}-after")
                    for f in made
                )
            panels += [Panel(figure, where) for figure in made]
            line = _said(
                found,
                "perplexity",
                "Perplexity of responses given their prompts, with neurons set to zero.",
            )
            notes.append(Note((line,) if line else (), where))
    text = "Each language's neurons are switched off, and every language is read again: who loses?"
    return Chapter("silencing", "Silencing", text, tuple(panels), notes=tuple(notes))


def aligning(models: Iterable[Model]) -> Chapter:
    """Scores, pairs and training of alignments."""
    panels, previews, notes = [], [], []
    for model in models:
        where = {"model": model.name}
        if model.scored:
            panels.append(Panel(scores_table(model.scored["facts"].get("languages", ())), where))
            translator = (
                model.scored["facts"].get("translator", {}).get("id", "a translation model")
            )
            line = (
                f"Scores: how probable the English responses are as translations, by {translator}. "
            )
            notes.append(Note((line + _settings(model.scored),), where))
        for one in model.alignments:
            here = where | {"alignment": one.name}
            made, lines = [], []
            if manifest := one.manifests.get("pairs"):
                made.append(audit_table(manifest["facts"].get("audit", ())))
                lines.append(
                    f"Pairs: the higher score is preferred, if its number is right. {_settings(manifest)}"
                )
            if manifest := one.manifests.get("adapter"):
                made.append(training_figure(one.history))
                lines.append(
                    f"Training: a LoRA adapter on {_pairs(manifest)}. {_settings(manifest)}"
                )
            panels += [Panel(figure, here) for figure in made if figure]
            if one.pairs:
                previews.append(Preview(one.pairs, here))
            notes.append(Note(tuple(lines), here))
    text = (
        "Of two responses to a question the one that agrees more with the English ones is preferred, if it is right; "
        "the model is trained to prefer it too."
    )
    return Chapter("alignment", "Alignment", text, tuple(panels), tuple(previews), tuple(notes))


def changes(models: Iterable[Model]) -> Chapter:
    """What alignments did to the neurons."""
    panels, notes = [], []
    for model in models:
        for one in model.alignments:
            for questions, compared in one.compared.items():
                where = {"model": model.name, "questions": questions, "alignment": one.name}
                panels += [Panel(figure, where) for figure in _changed(compared)]
                config = compared.manifest["config"]
                lines = [
                    f"Intervals: 95% of {config.get('bootstrap')} resamplings of the blocks of questions, the same "
                    "before and after.",
                    "Own thresholds: each model by its own τ and λ. Base's thresholds: both by those before, so that a "
                    "change is one of the activations alone.",
                    *compared.manifest["facts"].get("notes", ()),
                ]
                notes.append(Note(tuple(lines), where))
    text = "The neurons before against those after alignment, on the same questions."
    return Chapter("changes", "What alignment changed", text, tuple(panels), notes=tuple(notes))


_TITLES = {
    "kind-changes": "Neurons of each kind",
    "english-changes": "English and the others, before and after",
    "stability": "Who stays what they were, across alignment",
    "stability-domains": "Who stays what they were, across questions",
    "language-changes": "Neurons of each language",
    "thresholds": "Thresholds",
    "overlap": "Overlap",
}
_ORDER = (
    *(
        "kind-changes",
        "layer-changes",
        "checkpoints",
        "shared-changes",
        "group-changes",
        "english-changes",
    ),
    *("stability", "stability-domains", "transitions", "language-changes", "thresholds", "overlap"),
)


def _changed(compared: Compared) -> list[Figure]:
    """Figures and tables of a comparison, in order; accuracy is in its own chapter."""
    made = {figure.name: figure for figure in change_figures(compared.tables)}
    made |= {f.name: f for f in change_figures(compared.checkpoints) if f.name == "checkpoints"}
    for name, title in _TITLES.items():
        if name in compared.tables and compared.tables[name].rows:
            table = compared.tables[name]
            made[name] = Figure(name, title, table.caption, None, _lean(table))
    return [made[name] for name in _ORDER if name in made]


def _lean(table: Table) -> Table:
    """The table without the column that names what is after, where that is always the same."""
    at = table.columns.index("after")
    if len({row[at] for row in table.rows}) > 1:
        return table
    columns = table.columns[:at] + table.columns[at + 1 :]
    return table._replace(
        columns=columns, rows=tuple(row[:at] + row[at + 1 :] for row in table.rows)
    )


def _said(found: Results, kind: str, words: str) -> str | None:
    """How a result was made: words, then its settings; None where it is not there."""
    manifest = found.manifests.get(kind)
    return f"{words} {_settings(manifest)}" if manifest else None


def _settings(manifest: Manifest) -> str:
    said = [
        f"{key.replace('_', '-')} {_word(value)}"
        for key, value in manifest["config"].items()
        if value is not None
    ]
    return f"Settings: {', '.join(said)}."


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        " ".join(map(str, value)) or "none"
        if isinstance(value, list | dict)
        else repr(value).strip("'")
    )


def _pairs(manifest: Manifest) -> str:
    counts = manifest["facts"].get("pairs", {})
    return f"{sum(counts.values()):,} pairs ({', '.join(f'{code} {n:,}' for code, n in counts.items())})"
