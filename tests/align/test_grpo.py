"""GRPO on real tiny models: rewards are alignment scores, the first step by hand, resuming."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons.align import grpo
from langneurons.align.adapter import adapter_files
from langneurons.align.grpo import Judge
from langneurons.align.reward import reward
from langneurons.align.training import Trained
from langneurons.config import AlignConfig, GrpoConfig
from langneurons.errors import InputError
from langneurons.model import loading as models
from langneurons.texts.responses import Response
from support.sampled import QUICK, ROWS, SHORT
from support.translators import tiny_judge


def judge() -> Judge:
    return Judge(tiny_judge(), {})


def trained(
    source: Path,
    work: Path,
    config: AlignConfig = QUICK,
    ours: GrpoConfig = SHORT,
    rows: list[Response] = ROWS,
    languages: tuple[str, ...] | None = ("sw",),
    **more: Any,
) -> Trained:
    model = models.load(source)
    return grpo.grpo(model, judge(), rows, work, config, ours, languages=languages, **more)


@pytest.fixture(scope="module")
def whole(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training that nothing disturbed."""
    return trained(llama, tmp_path_factory.mktemp("whole") / "w")


def test_rewards_are_the_scores_of_reward() -> None:
    """Of a whole file at once, whatever completions a step asks about, and in whatever order."""
    english = {
        f"q{i}": [row for row in ROWS if row.lang == "en" and row.question_id == f"q{i}"]
        for i in range(6)
    }
    expected = reward(tiny_judge(), ROWS).scored
    some = random.Random(0).sample(expected, 7)
    given = grpo.alignment(judge(), english)(
        prompts=[one.response.prompt for one in some],
        completions=[one.response.response for one in some],
        question_id=[one.response.question_id for one in some],
        lang=[one.response.lang for one in some],
    )
    assert given == pytest.approx([one.score for one in some], abs=2e-6)
    assert len(set(given)) > 4


def test_the_first_step_by_hand(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter does nothing yet: no divergence, the loss is minus the mean advantage."""
    seen: dict[str, list] = {}

    def listening(scorer: Judge, english: Any) -> Any:
        inner = alignment(scorer, english)

        def listened(**given: Any) -> Any:
            scores = inner(**given)
            for name, values in {
                "lengths": map(len, given["completion_ids"]),
                "scores": scores,
            }.items():
                seen.setdefault(name, []).extend(values)
            seen.setdefault("of", []).extend(given["question_id"])
            return scores

        return listened

    alignment = grpo.alignment
    monkeypatch.setattr(grpo, "alignment", listening)
    config, longer = replace(QUICK, steps=1, seed=2), replace(SHORT, max_new_tokens=60)
    first = trained(llama, tmp_path / "w", config, longer).adapter.history[0]
    groups = np.array(seen["scores"]).reshape(2, 4)
    assert len(set(seen["of"][:4])) == len(set(seen["of"][4:])) == 1
    lengths = np.array(seen["lengths"])
    assert len(set(lengths)) > 1
    advantages = (groups - groups.mean(1, keepdims=True)) / (
        groups.std(1, ddof=1, keepdims=True) + 1e-4
    )
    assert first["loss"] == pytest.approx(
        -(advantages.ravel() * lengths).sum() / lengths.sum(), abs=2e-3
    )
    assert first["kl"] == 0
    assert first["reward"] == pytest.approx(groups.mean(), abs=1e-5)
    assert first["completions/mean_length"] == pytest.approx(lengths.mean())


def test_stopped_and_resumed_is_the_same(llama: Path, whole: Trained, tmp_path: Path) -> None:
    def stop(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(llama, tmp_path / "w", on_step=stop)
    steps: list[int] = []
    resumed = trained(llama, tmp_path / "w", on_step=lambda step, _: steps.append(step))
    assert steps == [3, 4]
    assert resumed.adapter.history == whole.adapter.history
    for step in (2, 4):
        ours, theirs = (adapter_files(done.adapter.checkpoints[step]) for done in (resumed, whole))
        assert ours == theirs


def test_what_is_trained_on(llama: Path, tmp_path: Path) -> None:
    """Each prompt once; not those without a reference, nor those that leave no room."""
    rows = [
        *ROWS,
        Response("lonely", "zh", "zh lonely? ", "x"),
        Response("q0", "zh", "so long " * 40, "x", 5),
    ]
    once = replace(QUICK, steps=1, max_tokens=200)
    done = trained(llama, tmp_path / "w", once, rows=rows, languages=None)
    assert done.facts["prompts"] == {"sw": 6, "zh": 6}
    assert done.facts["no reference"] == {"zh": 1}
    assert done.facts["too long"] == {"zh": 1}
    assert done.facts["references"]["kept"] == 12


def test_what_cannot_be_trained(llama: Path, tmp_path: Path) -> None:
    def refused(
        match: str, config: AlignConfig = QUICK, ours: GrpoConfig = SHORT, **more: Any
    ) -> None:
        with pytest.raises(InputError, match=match):
            trained(llama, tmp_path / "w", config, ours, **more)

    refused("a batch of 8 responses holds no whole groups of 3", ours=replace(SHORT, group=3))
    refused(
        "no response is in th, so that no prompt is known; there are sw, zh. en is what",
        languages=("th",),
    )
    refused("no response is in en, so that", languages=("en",))
    refused("all responses are in en", rows=[row for row in ROWS if row.lang == "en"])
    lonely = [row for row in ROWS if row.lang != "en"]
    refused("no prompt is left of 6: 6 have no English response", rows=lonely)
    without_zh = [row for row in ROWS if row.lang != "zh"]
    refused(
        "no prompt is left in zh of 1: 0 have .*; with 1 a response of 24 tokens would be longer",
        rows=[*without_zh, Response("q0", "zh", "so long " * 400, "x")],
        languages=None,
    )
    refused(
        "no question is there in en and in zh, .* with the language left off its id, 1 of 6 quest",
        rows=[*without_zh, Response("zh-q0", "zh", "p", "r")],
        languages=None,
    )
    refused("with 6 a response of 24 tokens would be longer than 30", replace(QUICK, max_tokens=30))
    refused(
        "no language token .* for ru", rows=[*ROWS, Response("q0", "ru", "p", "r")], languages=None
    )
    refused("GRPOConfig has no field bete; beta is meant", replace(QUICK, set=("bete=1",)))
