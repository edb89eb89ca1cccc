"""A run of a study made up without a model: its folders as the commands leave them, with effects that are known.

Counts are those of examples/made_up_counts.py, narrower. Aligned, a part of the specific neurons of
each language is active in a second one; silencing hurts the silenced language; more answers are
right. The rest are real commands.
"""

import json
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from langneurons import artifacts
from langneurons.align.adapter import Adapter
from langneurons.align.pairs import AuditRow, Pair, Pairs
from langneurons.align.scores import Scores
from langneurons.compare import commands as contrast
from langneurons.config import IdentifyConfig
from langneurons.neurons import commands as analyse
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons
from langneurons.run_folder import LEDGER
from langneurons.silencing.losses import Condition, Losses
from langneurons.texts.accuracy import Evaluation, accuracies
from langneurons.texts.questions import Questions
from langneurons.texts.responses import Question, Response
from langneurons.texts.rows import Responses

SETTINGS = ("specific", "specific+related")
CONFIG = IdentifyConfig(rate=0.02, tau_quantile=0.9, bootstrap=8)


def write(
    run: Path,
    counts: Counts,
    *,
    model: str = "owner/model",
    domains: tuple[str, ...] = ("school", "market"),
    alignments: dict[str, tuple[str, ...]] | None = None,
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
    wanted = {"sw-th": ("sw", "th"), "zh-de": ("zh", "de")} if alignments is None else alignments
    codes, rng = counts.languages, np.random.default_rng(0)
    home = run / "models" / "small"
    for place, domain in enumerate(domains):
        rows = [Question(f"q{i}", code, asked, 13) for code in codes for i in range(40)]
        with artifacts.writing(run / "questions" / domain, "questions", "run", {}, {}) as draft:
            Questions(rows).write(draft)
            draft.facts |= {"source": domain, "questions": 40}
        drawn = counts if not place else redrawn(counts, rng)
        measured(home / "base" / domain, drawn, 0.35, said, asked, silenced=not place)
        for name, targets in wanted.items():
            for step, part in ((30, 0.2), (60, 0.5)):
                folder = home / name / f"step-{step}" / domain
                shared = sharing(
                    drawn, Neurons.load(artifacts.read(home / "base" / domain / "neurons")), part
                )
                measured(folder, redrawn(shared, rng), 0.35 + part / 2, said, asked, silenced=False)
            with chdir(run):
                base, steps = Path(f"models/small/base/{domain}"), Path(f"models/small/{name}")
                after = [steps / f"step-{step}" / domain for step in (30, 60)]
                other = Path(f"models/small/base/{domains[1 - place]}") if place else None
                how: dict[str, Any] = {
                    "trained": ",".join(targets),
                    "domain": other,
                    "bootstrap": 8,
                    "json": True,
                }
                contrast.compare(base, after[-1], out=steps / "comparison" / domain, **how)
                contrast.compare(base, *after, out=steps / "checkpoints" / domain, **how)
    for name, targets in wanted.items():
        aligned(home, name, targets, said, asked)
    settings = {
        "languages": codes,
        "models": {"small": model},
        "domains": {domain: {"questions": domain} for domain in domains},
        "alignments": wanted,
        "sample": {"n": 2},
        "align": {"steps": 60},
    }
    content = {"format": 1, "study": run.name, "settings": settings, "steps": {}}
    artifacts.write_file(run / LEDGER, json.dumps(content, ensure_ascii=False).encode())
    return run


def redrawn(counts: Counts, rng: np.random.Generator) -> Counts:
    """Other texts of the same model."""
    tokens = counts.tokens[:, :, None]
    return replace(
        counts, active=tuple(rng.binomial(tokens, np.clip(a / tokens, 0, 1)) for a in counts.active)
    )


def sharing(counts: Counts, neurons: Any, part: float) -> Counts:
    """The same with a part of the specific neurons active in a second language."""
    active = [a.copy() for a in counts.active]
    rows = np.flatnonzero(neurons.kind == "specific")
    for row in rows[: round(part * len(rows))]:
        k, place = int(neurons.member[row].argmax()), active[neurons.layer[row]]
        other = (k + 1) % len(counts.languages)
        place[other, :, neurons.neuron[row]] = (
            place[k, :, neurons.neuron[row]] / counts.tokens[k] * counts.tokens[other]
        ).astype(int)
    return replace(counts, active=tuple(active))


def measured(
    folder: Path, counts: Counts, share: float, said: str, asked: str, *, silenced: bool
) -> None:
    """Responses, accuracy, counts, neurons, and what silencing costs."""
    rng = np.random.default_rng(len(str(folder)))
    rows = [
        Response(f"q{i}", code, asked, said, 0, 13, bool(rng.random() < share))
        for code in counts.languages
        for i in range(40)
    ]
    facts = [
        {
            "lang": code,
            "responses": 40,
            "correct": 15,
            "judged": 40,
            "cut": 1,
            "no_room": 0,
            "empty": 0,
        }
        | {"wrong_script": 0, "other_language": 2, "spoken": {code: 38}}
        for code in counts.languages
    ]
    for command, value in (
        ("sample", Responses(rows)),
        ("evaluate", Evaluation(rows, accuracies(rows))),
    ):
        with artifacts.writing(
            folder / value.KIND,
            value.KIND,
            command,
            {"max_new_tokens": 200},
            {"questions": "0" * 64},
        ) as draft:
            value.write(draft)
            draft.facts["languages"] = facts
    with artifacts.writing(
        folder / "counts", "counts", "record", {"blocks": counts.blocks}, {}
    ) as draft:
        draft.tensors(Counts.FILE, *counts.to_tensors())
    analyse.identify(folder / "counts", out=folder / "neurons", config=CONFIG, json=True)
    if silenced:
        source = artifacts.read(folder / "neurons")
        with artifacts.writing(
            folder / "perplexity",
            "perplexity",
            "perplexity",
            {"controls": 3},
            {"neurons": source.digest},
        ) as draft:
            draft.table(Losses.FILE, costs(Neurons.load(source), counts.blocks).to_table())


def costs(neurons: Any, blocks: int) -> Losses:
    """A language costs a quarter more without its specific neurons, more still without the related ones."""
    codes, rng = neurons.languages, np.random.default_rng(0)
    k = len(codes)
    sizes = {
        kind: neurons.member[neurons.kind == kind].sum(axis=0) for kind in ("specific", "related")
    }
    conditions, extra = [Condition(None, None, 0, 0)], [np.zeros(k)]
    for place, setting in enumerate(SETTINGS):
        number = sizes["specific"] + place * sizes["related"]
        for draw in range(4):
            for i, code in enumerate(codes):
                conditions.append(Condition(code, setting, draw, int(number[i])))
                own = (0.25 + 0.35 * place) * (np.arange(k) == i) if not draw else np.zeros(k)
                extra.append(own + rng.normal(0.01, 0.006, k) if number[i] else np.full(k, np.nan))
    tokens = np.full((len(conditions), k, blocks), 500)
    mean = (
        rng.normal(1.6, 0.2, (1, k, 1))
        + np.array(extra)[:, :, None]
        + rng.normal(0, 0.02, (1, 1, blocks))
    )
    texts = np.full((k, blocks), 10)
    return Losses(codes, tuple(conditions), mean * tokens, tokens, mean * texts, texts, texts * 250)


def aligned(home: Path, name: str, targets: tuple[str, ...], said: str, asked: str) -> None:
    """Scores, pairs, training."""
    scores = [
        {"lang": code, "responses": 240, "without_reference": 0, "score": -1.2, "score_right": -1.1}
        | {"score_wrong": -1.4, "right_above_wrong": 0.81}
        for code in targets
    ]
    if not (home / "seeds" / "scored").exists():
        with artifacts.writing(home / "seeds" / "scored", "scored", "reward", {}, {}) as draft:
            Scores(()).write(draft)
            draft.facts |= {"languages": scores, "translator": {"id": "owner/translator"}}
    pairs = [
        Pair(f"q{i}", code, asked, said, f"{said} 5", -1.1, -1.9, i % 2 > 0)
        for code in targets
        for i in range(5)
    ]
    with artifacts.writing(home / name / "pairs", "pairs", "pair", {"margin": 0.0}, {}) as draft:
        Pairs(pairs).write(draft)
        counted = dict(
            zip(
                AuditRow._fields[1:],
                (40, 2, 5, 240, 0, 0, 30, 600, 4, 200, 6, 390, 350, 40),
                strict=True,
            )
        )
        draft.facts["audit"] = [{"lang": code, **counted} for code in targets]
    history = [
        {
            "step": step,
            f"{mark}loss": 0.6931 - step * 0.004 + 0.02 * bool(mark),
            f"{mark}rewards/margins": step / 100,
        }
        | {f"{mark}rewards/accuracies": 0.5 + step / 200}
        for step in (1, 10, 20, 30, 40, 50, 60)
        for mark in ("", "eval_")
        if not mark or step % 30 == 0
    ]
    config = {"steps": 60, "beta": 0.1, "learning_rate": 1e-6}
    with artifacts.writing(home / name / "adapter", "adapter", "align", config, {}) as draft:
        Adapter({}, history).write(draft)
        draft.facts["pairs"] = dict.fromkeys(targets, 350)
