"""A run of a study made up without a model: folders as commands leave them, effects that are known.

Counts are those of examples/made_up_counts.py, narrower. Aligned, a part of the specific neurons of
each language is active in a second one; silencing hurts the silenced language; more answers are
right. The rest are real commands.
"""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from langneurons import artifacts, run_folder
from langneurons.align.adapter import Adapter
from langneurons.align.pairs import AuditRow, Pair, Pairs
from langneurons.align.scores import Scores
from langneurons.compare import commands as compare
from langneurons.config import IdentifyConfig
from langneurons.neurons import commands as neurons_commands
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons
from langneurons.silencing.losses import Condition, Losses
from langneurons.texts.accuracy import Evaluation, accuracies
from langneurons.texts.questions import Questions
from langneurons.texts.responses import Question, Response
from langneurons.texts.rows import Responses

MODEL = "small"
SETTINGS = ("specific", "specific+related")
CONFIG = IdentifyConfig(rate=0.02, tau_quantile=0.9, bootstrap=8, chance=2)
ALIGNMENTS = {"sw-th": ("sw", "th"), "zh-de": ("zh", "de")}
STEPS = {30: 0.2, 60: 0.5}
"""Steps of an alignment that are studied, and the part of specific neurons that are shared after
each."""

ASKED = 40
"""Questions of a set."""


def narrow_counts(example: Any) -> Counts:
    """The counts of examples/made_up_counts.py in 24 layers of 120 neurons."""

    def planted(layer: int) -> tuple[int, int, int]:
        return (2, 2, 3) if layer < 4 or layer > 13 else (0, 1, 8)

    return example.make(width=120, blocks=4, tokens=400, planted=planted).counts


def write(
    run: Path,
    counts: Counts,
    *,
    model: str = "owner/model",
    domains: tuple[str, ...] = ("school", "market"),
    alignments: Mapping[str, Sequence[str]] = ALIGNMENTS,
    said: str = "6 + 7 = 13. #### 13",
    asked: str = "How many?",
) -> Path:
    """Write the run of a study of one model called `small`.

    Args:
        run: folder to write.
        counts: of the model before alignment, on the first questions.
        model: where the model comes from.
        domains: names of sets of questions.
        alignments: name -> languages.
        said: what every response says.
        asked: what every question asks.
    """
    rng = np.random.default_rng(0)
    for place, domain in enumerate(domains):
        asking = [
            Question(f"q{i}", code, asked, 13) for code in counts.languages for i in range(ASKED)
        ]
        artifacts.save(
            Questions(asking),
            run / run_folder.questions(domain),
            command="run",
            facts={"source": domain, "questions": ASKED},
        )
        base = run / run_folder.base(MODEL, domain)
        drawn = redrawn(counts, rng) if place else counts
        measure(base, drawn, 0.35, said, asked, silenced=not place)
        before = Neurons.load(base / "neurons")
        for name in alignments:
            for step, part in STEPS.items():
                after = redrawn(sharing(drawn, before, part), rng)
                folder = run / run_folder.step(MODEL, name, step, domain)
                measure(folder, after, 0.35 + part / 2, said, asked, silenced=False)
            other = domains[1 - place] if place else None
            hold_against(run, name, alignments[name], domain, other)
    for name, targets in alignments.items():
        align(run, name, targets, said, asked)
    settings = {
        "languages": counts.languages,
        "models": {MODEL: model},
        "domains": {domain: {"questions": domain} for domain in domains},
        "alignments": dict(alignments),
        "sample": {"n": 2},
        "align": {"steps": max(STEPS)},
    }
    content = {"format": 1, "study": run.name, "settings": settings, "steps": {}}
    artifacts.write_file(run / run_folder.LEDGER, json.dumps(content, ensure_ascii=False).encode())
    return run


def redrawn(counts: Counts, rng: np.random.Generator) -> Counts:
    """Other texts of the same model."""
    tokens = counts.tokens[:, :, None]
    return replace(
        counts, active=tuple(rng.binomial(tokens, np.clip(a / tokens, 0, 1)) for a in counts.active)
    )


def sharing(counts: Counts, neurons: Neurons, part: float) -> Counts:
    """The same with a part of the specific neurons active in a second language."""
    active = [layer.copy() for layer in counts.active]
    specific = np.flatnonzero(neurons.kind == "specific")
    for row in specific[: round(part * len(specific))]:
        own = int(neurons.member[row].argmax())
        second = (own + 1) % len(counts.languages)
        layer, neuron = active[neurons.layer[row]], neurons.neuron[row]
        probability = layer[own, :, neuron] / counts.tokens[own]
        layer[second, :, neuron] = (probability * counts.tokens[second]).astype(int)
    return replace(counts, active=tuple(active))


def measure(
    folder: Path, counts: Counts, share: float, said: str, asked: str, *, silenced: bool
) -> None:
    """Responses, accuracy, counts, neurons, and what silencing costs."""
    rng = np.random.default_rng(len(str(folder)))
    rows = [
        Response(f"q{i}", code, asked, said, 0, 13, bool(rng.random() < share))
        for code in counts.languages
        for i in range(ASKED)
    ]
    values = {"sample": Responses(rows), "evaluate": Evaluation(rows, accuracies(rows))}
    for command, value in values.items():
        artifacts.save(
            value,
            folder / value.KIND,
            command=command,
            config={"max_new_tokens": 200},
            inputs={"questions": "0" * 64},
            facts={"languages": [described(code) for code in counts.languages]},
        )
    artifacts.save(counts, folder / "counts", command="record", config={"blocks": counts.blocks})
    with redirect_stdout(io.StringIO()):
        neurons_commands.identify(folder / "counts", out=folder / "neurons", config=CONFIG)
    if silenced:
        source = artifacts.read(folder / "neurons")
        artifacts.save(
            costs(Neurons.load(source), counts.blocks),
            folder / "perplexity",
            command="perplexity",
            config={"controls": 3},
            inputs={"neurons": source.digest},
        )


def described(code: str) -> dict[str, Any]:
    """What `sample` says of the responses in a language."""
    return {
        "lang": code,
        "responses": 40,
        "correct": 15,
        "judged": 40,
        "cut": 1,
        "no_room": 0,
        "empty": 0,
        "wrong_script": 0,
        "other_language": 2,
        "spoken": {code: 38},
    }


def costs(neurons: Neurons, blocks: int) -> Losses:
    """A language costs a quarter more without its specific neurons, more without the related."""
    codes, rng = neurons.languages, np.random.default_rng(0)
    k = len(codes)
    specific, related = (
        neurons.member[neurons.kind == kind].sum(axis=0) for kind in ("specific", "related")
    )
    numbers = {"specific": specific, "specific+related": specific + related}
    own = {"specific": 0.25, "specific+related": 0.6}
    conditions, extra = [Condition(None, None, 0, 0)], [np.zeros(k)]
    for setting in SETTINGS:
        for draw in range(4):
            for i, code in enumerate(codes):
                number = int(numbers[setting][i])
                conditions.append(Condition(code, setting, draw, number))
                effect = own[setting] * (np.arange(k) == i) if not draw else np.zeros(k)
                noise = rng.normal(0.01, 0.006, k) if number else np.full(k, np.nan)
                extra.append(effect + noise)
    mean = (
        rng.normal(1.6, 0.2, (1, k, 1))
        + np.array(extra)[:, :, None]
        + rng.normal(0, 0.02, (1, 1, blocks))
    )
    tokens = np.full(mean.shape, 500)
    texts = np.full((k, blocks), 10)
    return Losses(
        languages=codes,
        conditions=tuple(conditions),
        nll=mean * tokens,
        tokens=tokens,
        means=mean * texts,
        texts=texts,
        bytes=texts * 250,
    )


def hold_against(
    run: Path, name: str, targets: Sequence[str], domain: str, other: str | None
) -> None:
    """Before against the last step, and against every step, as the study's commands do."""
    base = Path(run_folder.base(MODEL, domain))
    after = [Path(run_folder.step(MODEL, name, step, domain)) for step in STEPS]
    how: dict[str, Any] = {
        "trained": ",".join(targets),
        "domain": Path(run_folder.base(MODEL, other)) if other else None,
        "bootstrap": 8,
        "quiet": True,
    }
    with chdir(run), redirect_stdout(io.StringIO()):
        last, every = (
            Path(folder(MODEL, name, domain))
            for folder in (run_folder.comparison, run_folder.checkpoints)
        )
        compare.compare(base, after[-1], out=last, **how)
        compare.compare(base, *after, out=every, **how)


def align(run: Path, name: str, targets: Sequence[str], said: str, asked: str) -> None:
    """Scores, pairs, training."""
    scores = [
        {
            "lang": code,
            "responses": 240,
            "without_reference": 0,
            "score": -1.2,
            "score_right": -1.1,
            "score_wrong": -1.4,
            "right_above_wrong": 0.81,
        }
        for code in targets
    ]
    seeds = run / run_folder.seeds(MODEL) / "scored"
    if not seeds.exists():
        facts = {"languages": scores, "translator": {"id": "owner/translator"}}
        artifacts.save(Scores(()), seeds, command="reward", facts=facts)
    pairs = [
        Pair(f"q{i}", code, asked, said, f"{said} 5", -1.1, -1.9, i % 2 > 0)
        for code in targets
        for i in range(5)
    ]
    counted = (40, 2, 5, 240, 0, 0, 30, 600, 4, 200, 6, 390, 350, 40)
    audit = [AuditRow(code, *counted)._asdict() for code in targets]
    home = run / run_folder.alignment(MODEL, name)
    artifacts.save(
        Pairs(pairs), home / "pairs", command="pair", config={"margin": 0.0}, facts={"audit": audit}
    )
    artifacts.save(
        Adapter({}, logged()),
        home / "adapter",
        command="align",
        config={"steps": max(STEPS), "beta": 0.1, "learning_rate": 1e-6},
        facts={"pairs": dict.fromkeys(targets, 350)},
    )


def logged() -> list[dict[str, float]]:
    """What training logged: of the pairs trained on, and at steps 30 and 60 of those held out."""
    history = []
    for step in (1, 10, 20, 30, 40, 50, 60):
        for prefix in ("", "eval_") if step in STEPS else ("",):
            entry = {
                "step": step,
                f"{prefix}loss": 0.6931 - step * 0.004 + 0.02 * bool(prefix),
                f"{prefix}rewards/margins": step / 100,
                f"{prefix}rewards/accuracies": 0.5 + step / 200,
            }
            history.append(entry)
    return history
