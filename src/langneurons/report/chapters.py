"""Chapters: what a run found, as the chapters of its page, in the order of the flow.

Each part says what it is about (`parts.Where`): a model, questions, an alignment; those that are
chosen are shown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langneurons import run_folder
from langneurons.compare.claims import Evidence, claims
from langneurons.compare.tables import OWN
from langneurons.compare.verdicts import Claim
from langneurons.effects.mediation import Mediation
from langneurons.neurons.summary import rules
from langneurons.neurons.table import Neurons
from langneurons.report.beside_charts import (
    layers_beside,
    silencing_beside,
    what_differs,
    what_silencing_differs,
)
from langneurons.report.change_charts import change_figures
from langneurons.report.charts import Figure, table_figure
from langneurons.report.effect_charts import effect_figures
from langneurons.report.figures import neuron_figures, silencing_figures
from langneurons.report.findings import (
    of_accuracy_changes,
    of_alignment,
    of_answers,
    of_changes,
    of_neurons,
    of_silencing,
    of_sweep,
)
from langneurons.report.meaning_charts import meaning_figures, not_drawn
from langneurons.report.mediation_charts import mediation_figure
from langneurons.report.parts import Chapter, Note, Panel, Preview, Where
from langneurons.report.results import Alignment, Compared, Manifest, Model, Results, Sides
from langneurons.report.run_charts import (
    accuracy_figure,
    audit_table,
    responses_table,
    scores_table,
    training_figure,
)
from langneurons.report.sweep_charts import sweep_figures
from langneurons.sweep.sweep import Sweep
from langneurons.tables import Table
from langneurons.texts.accuracy import Accuracy

Found = Iterable[tuple[Where, Results]]
"""Results, and what they are about."""

_HOW = {
    "responses": "Responses: drawn anew for each question and language.",
    "accuracy": "Accuracy: one greedy answer to each question; intervals are Wilson's, of the "
    "mean by resampling questions.",
    "counts": "Counts: how often each neuron is above 0, over tokens of {texts}.",
    "effects": "Effects of single neurons to first order: minus activation times gradient at the "
    "input of the down projection, summed over tokens; never over neurons, which stand in for each "
    "other.",
    "perplexity": "Perplexity of {texts}, with neurons set to zero.",
    "meaning": "Meaning: one vector for each sentence, the mean over its tokens, later ones "
    "weighted more; intervals resample sentences.",
    "lens": "Lens: the final norm and head on every state; tokens are told by language from texts "
    "that are not measured; intervals resample sentences.",
}
"""How each kind of result is made."""

_BESIDE = (
    "Each side is classified by its own τ and λ.",
    "Changes with an interval, and the shares that stay, are those of compare where it was run; "
    "other intervals are each side's own.",
)
"""How what stands side by side was computed."""

_ACCURACY = "accuracy-changes"
"""The table of a comparison that is in the chapter of answers."""

_TABLES = {
    "kind-changes": "Neurons of each kind",
    "english-changes": "English and the others, before and after",
    "stability": "Which neurons keep their kind, across alignment",
    "stability-domains": "Which neurons keep their kind, across questions",
    "language-changes": "Neurons of each language",
    "thresholds": "Thresholds",
    "overlap": "Overlap",
}
"""Titles of what is shown of a comparison as a table alone."""

_ORDER = (
    "kind-changes",
    "layer-changes",
    "checkpoints",
    "agreement-changes",
    "shared-changes",
    "group-changes",
    "english-changes",
    "stability",
    "stability-domains",
    "transitions",
    "language-changes",
    "thresholds",
    "overlap",
)
"""What is shown of a comparison, in this order."""


def before_alignment(models: Iterable[Model]) -> Iterator[tuple[Where, Results]]:
    """Results of every model on every set of questions, before any alignment."""
    for model in models:
        for questions, results in model.base.items():
            yield {"model": model.name, "questions": questions}, results


def after_alignment(models: Iterable[Model]) -> Iterator[tuple[Where, Results]]:
    """The same after each alignment."""
    for model in models:
        for alignment in model.alignments:
            for questions, results in alignment.after.items():
                yield _of(model, questions, alignment), results


def answers(models: Iterable[Model]) -> Chapter:
    """Responses, and accuracy before and after."""
    panels, findings, notes = [], [], []
    for model in models:
        for questions, results in model.base.items():
            where = {"model": model.name, "questions": questions}
            shares = _shares(model, questions, results)
            findings.append(Note(tuple(of_answers(shares)), where))
            findings += _changed_most(model, questions)
            panels += _accuracies(model, questions, shares)
            languages = results.manifests.get("responses", {}).get("facts", {}).get("languages")
            if languages:
                panels.append(Panel(responses_table(languages), where))
            notes.append(Note(_how(results, "accuracy", "responses"), where))
    return Chapter(
        name="answers",
        title="Responses and accuracy",
        text="What the models answer: right or not, and in which language. The responses are "
        "what neurons are counted on.",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _changed_most(model: Model, questions: str) -> Iterator[Note]:
    """The language whose answers each alignment changed most."""
    for alignment in model.alignments:
        compared = alignment.compared.get(questions)
        if compared and (table := compared.tables.get(_ACCURACY)):
            lines = tuple(of_accuracy_changes(alignment.name, table))
            yield Note(lines, _of(model, questions, alignment))


def _shares(model: Model, questions: str, before: Results) -> dict[str, tuple[Accuracy, ...]]:
    """Right answers before and after every alignment, of those that were judged."""
    shares = {"before": before.accuracy}
    for alignment in model.alignments:
        if questions in alignment.after:
            shares[alignment.name] = alignment.after[questions].accuracy
    return {name: tuple(accuracy) for name, accuracy in shares.items() if accuracy}


def _accuracies(
    model: Model, questions: str, shares: Mapping[str, tuple[Accuracy, ...]]
) -> Iterator[Panel]:
    """Right answers before and after every alignment, then what each of them changed."""
    if shares:
        yield Panel(accuracy_figure(shares), {"model": model.name, "questions": questions})
    for alignment in model.alignments:
        compared = alignment.compared.get(questions)
        if compared and _ACCURACY in compared.tables:
            for figure in change_figures({_ACCURACY: compared.tables[_ACCURACY]}):
                yield Panel(figure, _of(model, questions, alignment))


def neurons(found: Found) -> Chapter:
    """The neurons of models, before any alignment."""
    panels, findings, notes = [], [], []
    for where, results in found:
        if results.neurons:
            findings.append(Note(tuple(of_neurons(results.neurons)), where))
            panels += [Panel(figure, where) for figure in neuron_figures(results.neurons)]
            notes.append(Note((*_how(results, "counts"), *rules(results.neurons)), where))
    return Chapter(
        name="neurons",
        title="Neurons",
        text="Neurons that are highly active in one language, in several, or in all, and where "
        "in the model they are.",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def meanings(found: Found) -> Chapter:
    """Where a model's states are of what texts mean, where of their language."""
    panels, notes = [], []
    for where, results in found:
        if not (results.meaning or results.lens):
            continue
        panels += [Panel(figure, where) for figure in meaning_figures(results)]
        notes.append(Note((*_how(results, "meaning", "lens"), *not_drawn(results)), where))
    return Chapter(
        name="meaning",
        title="Meaning and language",
        text="The same sentences in every language: where in the model do languages meet, and "
        "where does the language of the answer come in?",
        panels=tuple(panels),
        notes=tuple(notes),
    )


def silencing(found: Found) -> Chapter:
    """What silencing neurons costs, before and after alignment where it was measured."""
    panels, findings, notes = [], [], []
    for where, results in found:
        if results.matrices:
            if "alignment" not in where:
                findings.append(Note(tuple(of_silencing(results.matrices)), where))
            for figure in silencing_figures(results.matrices):
                panels.append(Panel(_after(figure) if "alignment" in where else figure, where))
            notes.append(Note(_how(results, "perplexity"), where))
    return Chapter(
        name="silencing",
        title="Silencing",
        text="Each language's neurons are switched off, and every language is read again: who "
        "loses?",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def sides(models: Sequence[Model]) -> Iterator[tuple[Where, Sides]]:
    """What stands beside the results of a model before alignment.

    The same after each alignment, on the other questions, and of the other models.
    """
    for model in models:
        for questions, results in model.base.items():
            where: Where = {"model": model.name, "questions": questions}
            for alignment in model.alignments:
                after = alignment.after.get(questions, Results())
                compared = alignment.compared.get(questions)
                both = {"before": results, f"after {alignment.name}": after}
                tables = compared.tables if compared else {}
                yield _of(model, questions, alignment), Sides(both, tables)
            for other, theirs in model.base.items():
                if other != questions:
                    both = {f"on {questions}": results, f"on {other}": theirs}
                    yield where, Sides(both, _of_texts(model, questions, other))
            for another in models:
                if another.name != model.name and questions in another.base:
                    theirs = another.base[questions]
                    both = {f"in {model.name}": results, f"in {another.name}": theirs}
                    yield where, Sides(both, {})


def _of_texts(model: Model, questions: str, other: str) -> dict[str, Table]:
    """What a comparison says of who stays what they were on other questions, where one was made."""
    name = run_folder.base(model.name, other)
    for alignment in model.alignments:
        compared = alignment.compared.get(questions)
        table = compared.tables.get("stability-domains") if compared else None
        if table and any(row["after"] == name for row in table.records()):
            return {"stability": table}
    return {}


def beside(found: Iterable[tuple[Where, Sides]]) -> Chapter:
    """Two of them side by side: before and after alignment, two texts, two models."""
    panels, findings, of_models = [], [], []
    shown: Counter[tuple[str, ...]] = Counter()
    for where, (both, tables) in found:
        neurons = {name: of.neurons for name, of in both.items() if of.neurons}
        matrices = {name: of.matrices for name, of in both.items() if of.matrices}
        if len(neurons) < 2:
            continue
        figures, lines = [layers_beside(neurons)], [*what_differs(neurons, tables)]
        if len(matrices) == 2 and (costs := silencing_beside(matrices)):
            figures.append(costs)
            lines += what_silencing_differs(matrices)
        of_models.append(where.get("model"))
        here = tuple(where.values())
        shown[here] += 1
        panels += [Panel(_of_two(figure, [*both], shown[here]), where) for figure in figures]
        findings.append(Note(tuple(lines), where))
    return Chapter(
        name="beside",
        title="Side by side",
        text="Two models, one model on two texts, or neurons found in two ways: what differs, "
        "and how sure that is.",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(
            Note(_BESIDE, {"model": name} if name else {}) for name in dict.fromkeys(of_models)
        ),
    )


def _of_two(figure: Figure, names: Sequence[str], number: int) -> Figure:
    """The figure under a name that no other choice of two has, and a title that says which."""
    return figure._replace(
        name=f"{figure.name}-{number}", title=f"{figure.title}, {' and '.join(names)}"
    )


def effects(found: Found) -> Chapter:
    """What silencing single neurons would cost, and how far those are the ones found by rate."""
    panels, notes = [], []
    for where, results in found:
        if results.effects:
            made = effect_figures(results.effects, results.matched)
            panels += [Panel(figure, where) for figure in made]
            notes.append(Note(_how(results, "effects"), where))
    return Chapter(
        name="effects",
        title="Effects",
        text="What each neuron is worth to each language: what silencing it would cost, rather "
        "than how often it fires. Each neuron's own numbers are on its card below.",
        panels=tuple(panels),
        notes=tuple(notes),
    )


def _after(figure: Figure) -> Figure:
    """The figure under a name that says what it is of."""
    return figure._replace(name=f"{figure.name}-after", title=f"{figure.title}, after alignment")


def aligning(models: Iterable[Model]) -> Chapter:
    """Scores, pairs and training of alignments."""
    panels, previews, findings, notes = [], [], [], []
    for model in models:
        where = {"model": model.name}
        if model.scored:
            panels.append(Panel(scores_table(model.scored["facts"].get("languages", ())), where))
            notes.append(Note((_scoring(model.scored),), where))
        for alignment in model.alignments:
            here = {**where, "alignment": alignment.name}
            lines = []
            if made := alignment.manifests.get("pairs"):
                panels.append(Panel(audit_table(made["facts"].get("audit", ())), here))
                lines.append(
                    "Pairs: the higher score is preferred, if its number is right. "
                    f"{_settings(made)}"
                )
            if made := alignment.manifests.get("adapter"):
                if training := training_figure(alignment.history, made["config"].get("sft", 0)):
                    panels.append(Panel(training, here))
                lines.append(f"Training: a LoRA adapter on {_pairs(made)}. {_settings(made)}")
            if alignment.pairs:
                previews.append(Preview(alignment.pairs, here))
            findings.append(Note(tuple(of_alignment(alignment)), here))
            notes.append(Note(tuple(lines), here))
    return Chapter(
        name="alignment",
        title="Alignment",
        text="Of two responses to a question the one that agrees more with the English ones is "
        "preferred, if it is right; the model is trained to prefer it too.",
        panels=tuple(panels),
        previews=tuple(previews),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _scoring(scored: Manifest) -> str:
    translator = scored["facts"].get("translator", {}).get("id", "a translation model")
    return (
        f"Scores: how probable the English responses are as translations, by {translator}. "
        f"{_settings(scored)}"
    )


def _pairs(adapter: Manifest) -> str:
    counts = adapter["facts"].get("pairs", {})
    languages = ", ".join(f"{code} {number:,}" for code, number in counts.items())
    return f"{sum(counts.values()):,} pairs ({languages})"


def changes(models: Iterable[Model]) -> Chapter:
    """What alignments did to the neurons."""
    panels, findings, notes = [], [], []
    for model in models:
        for alignment in model.alignments:
            for questions, compared in alignment.compared.items():
                where = _of(model, questions, alignment)
                findings.append(Note(tuple(of_changes(compared.claims)), where))
                panels += [Panel(figure, where) for figure in _changed(compared)]
                notes.append(Note(_comparing(compared.manifest), where))
    return Chapter(
        name="changes",
        title="What alignment changed",
        text="The neurons before against those after alignment, on the same questions.",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(notes),
    )


class Swept(NamedTuple):
    """A sweep, and the neurons and claims of the page that it stands beside."""

    sweep: Sweep | None
    neurons: Neurons | None
    claims: tuple[Claim, ...]


def swept(models: Iterable[Model]) -> Iterator[tuple[Where, Swept]]:
    """Sweeps: of alignments; where a model was not aligned on some questions, its own."""
    for model in models:
        for questions, results in model.base.items():
            aligned = [one for one in model.alignments if questions in one.sweeps]
            for alignment in aligned:
                compared = alignment.compared.get(questions)
                judged = compared.claims if compared else ()
                sweep = alignment.sweeps[questions]
                yield _of(model, questions, alignment), Swept(sweep, results.neurons, judged)
            if not aligned:
                where = {"model": model.name, "questions": questions}
                yield where, Swept(results.sweep, results.neurons, claims_of(results))


def claims_of(results: Results) -> tuple[Claim, ...]:
    """The claims that results of one model can tell about."""
    evidence = Evidence(
        neurons=results.neurons, matrices=results.matrices, mediation=results.mediation
    )
    return tuple(claim for claim in claims(evidence) if claim.numbers)


def sweeps(found: Iterable[tuple[Where, Swept]]) -> Chapter:
    """The claims over a grid of settings, beside what chance gives."""
    panels, findings, notes = [], [], []
    for where, (sweep, shown, judged) in found:
        if sweep:
            findings.append(Note(tuple(of_sweep(sweep, shown, judged)), where))
            panels += [Panel(figure, where) for figure in sweep_figures(sweep, shown)]
            notes.append(Note(tuple(sweep.notes), where))
    return Chapter(
        name="sweep",
        title="Sweep",
        text="Do the claims hang on settings? The paper sets its thresholds by hand. Here every "
        "claim that counts can answer is judged again over a grid of settings, and beside the "
        "numbers stands what chance gives.",
        panels=tuple(panels),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def followed(models: Iterable[Model]) -> Iterator[tuple[Where, Mediation | None]]:
    """What each alignment did, followed through neurons."""
    for model in models:
        for alignment in model.alignments:
            yield {"model": model.name, "alignment": alignment.name}, alignment.mediation


def mediated(found: Iterable[tuple[Where, Mediation | None]]) -> Chapter:
    """Which neurons carry what an alignment did."""
    panels = [Panel(mediation_figure(mediation), where) for where, mediation in found if mediation]
    return Chapter(
        name="mediation",
        title="Through which neurons",
        text="Does alignment act through language neurons? What the aligned model has in a set of "
        "them is put into the model before, and the other way round.",
        panels=tuple(panels),
        notes=(),
    )


def _comparing(manifest: Manifest) -> tuple[str, ...]:
    return (
        f"Intervals: 95% of {manifest['config'].get('bootstrap')} resamplings of the blocks of "
        "questions, the same before and after.",
        "Own thresholds: each model by its own τ and λ. Base's thresholds: both by those before, "
        "so that a change is one of the activations alone.",
        *manifest["facts"].get("notes", ()),
    )


def _changed(compared: Compared) -> list[Figure]:
    """Figures and tables of a comparison, in order; accuracy is in its own chapter."""
    figures = {figure.name: figure for figure in change_figures(compared.tables)}
    for figure in change_figures(compared.checkpoints):
        if figure.name == "checkpoints":
            figures[figure.name] = figure
    for name, title in _TABLES.items():
        table = compared.tables.get(name)
        if table and table.rows:
            figures[name] = table_figure(title, _lean(table), name=name)
    return [figures[name] for name in _ORDER if name in figures]


def _lean(table: Table) -> Table:
    """The table without the column that names what is after, where that is always the same.

    Whose thresholds are meant is said once, in the notes of the chapter.
    """
    table = table._replace(caption=table.caption.removesuffix(f" {OWN}"))
    after = table.columns.index("after")
    if len({row[after] for row in table.rows}) > 1:
        return table
    return table._replace(
        columns=table.columns[:after] + table.columns[after + 1 :],
        rows=tuple(row[:after] + row[after + 1 :] for row in table.rows),
    )


def _of(model: Model, questions: str, alignment: Alignment) -> Where:
    return {"model": model.name, "questions": questions, "alignment": alignment.name}


def _how(results: Results, *kinds: str) -> tuple[str, ...]:
    """How results of these kinds were made, and with which settings, of those that are there."""
    manifests = {kind: results.manifests[kind] for kind in kinds if kind in results.manifests}
    made = [
        f"{_HOW[kind].format(texts=_texts(kind, manifest))} {_settings(manifest)}"
        for kind, manifest in manifests.items()
    ]
    notes = [note for manifest in manifests.values() for note in manifest["facts"].get("notes", ())]
    return (*made, *_imported(manifests.get("counts")), *notes)


def _imported(counts: Manifest | None) -> Iterator[str]:
    """What is impossible in counts that were imported, and what became of it."""
    faults = counts["facts"].get("import", ()) if counts else ()
    negative, above = (
        sum(of.get(name) or 0 for of in faults) for name in ("negative", "above_one")
    )
    if negative or above:
        yield (
            f"Imported: {negative:,} counts were negative and are set to 0; {above:,} are above "
            "the number of tokens and stay as they are."
        )


def _texts(kind: str, manifest: Manifest) -> str:
    """What was read: running text, which is cut in chunks, or responses."""
    if "chunk" in manifest["config"]:
        return "running text"
    return "responses" if kind == "counts" else "responses given their prompts"


def _settings(manifest: Manifest) -> str:
    words = [
        f"{name.replace('_', '-')} {_word(value)}"
        for name, value in manifest["config"].items()
        if value is not None
    ]
    return f"Settings: {', '.join(words)}."


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | Mapping):
        return " ".join(map(str, value)) or "none"
    return repr(value).strip("'")
