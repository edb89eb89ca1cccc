"""GRPO on real tiny models: rewards are alignment scores, the first step by hand, resuming, the whole command."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.align import grpo
from langneurons.align.grpo import Judge
from langneurons.align.reward import reward
from langneurons.align.training import Aligned, adapter_files
from langneurons.config import AlignConfig, GrpoConfig, RewardConfig
from langneurons.errors import InputError
from langneurons.model import loading as models
from langneurons.texts.responses import Response
from support import families
from support.command import killed
from support.translators import save_translator, tiny_tokenizer, tiny_translator

QUICK = AlignConfig(
    steps=4, batch=8, device_batch=4, learning_rate=3e-3, rank=4, alpha=8, save_every=2, warmup=0
)
SHORT = GrpoConfig(group=4, max_new_tokens=24)
ROWS = [
    Response(f"q{i}", lang, f"{lang} {i}? ", f"so {i} {n}", n)
    for i in range(6)
    for lang in ("en", "sw", "zh")
    for n in range(2)
]


def judge() -> Judge:
    return Judge(tiny_translator(), tiny_tokenizer(), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("llama"))


def trained(
    source: Path,
    work: Path,
    config: AlignConfig = QUICK,
    ours: GrpoConfig = SHORT,
    rows: list[Response] = ROWS,
    languages: tuple[str, ...] | None = ("sw",),
    **more: Any,
) -> Aligned:
    loaded = models.load(source)
    return grpo.grpo(
        loaded.model, loaded.tokenizer, judge(), rows, languages, config, ours, work, **more
    )


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    """A training that nothing disturbed."""
    return trained(folder, tmp_path_factory.mktemp("whole") / "w")


def test_rewards_are_the_scores_of_reward() -> None:
    """Of a whole file at once, whatever completions a step asks about, and in whatever order."""
    english = {
        f"q{i}": [row for row in ROWS if row.lang == "en" and row.question_id == f"q{i}"]
        for i in range(6)
    }
    expected = reward(tiny_translator(), tiny_tokenizer(), ROWS, RewardConfig()).scored
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
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter does nothing yet: no divergence, ratios are 1, so the loss is minus the mean advantage per token."""
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
    first = trained(folder, tmp_path / "w", config, longer).history[0]
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


def test_stopped_and_resumed_is_the_same(folder: Path, whole: Aligned, tmp_path: Path) -> None:
    def stop(step: int, _: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(folder, tmp_path / "w", on_step=stop)
    steps: list[int] = []
    resumed = trained(folder, tmp_path / "w", on_step=lambda step, _: steps.append(step))
    assert steps == [3, 4]
    assert resumed.history == whole.history
    for step in (2, 4):
        ours, theirs = (
            adapter_files(done.checkpoints[step], str(folder)) for done in (resumed, whole)
        )
        assert ours == theirs


def test_what_is_trained_on(folder: Path, tmp_path: Path) -> None:
    """Each prompt once; not those without a reference, nor those that leave no room."""
    rows = [
        *ROWS,
        Response("lonely", "zh", "zh lonely? ", "x"),
        Response("q0", "zh", "so long " * 40, "x", 5),
    ]
    once = replace(QUICK, steps=1, max_tokens=200)
    done = trained(folder, tmp_path / "w", once, rows=rows, languages=None)
    assert done.facts["prompts"] == {"sw": 6, "zh": 6}
    assert done.facts["no reference"] == {"zh": 1}
    assert done.facts["too long"] == {"zh": 1}
    assert done.facts["references"]["kept"] == 12


def test_what_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    def refused(
        match: str, config: AlignConfig = QUICK, ours: GrpoConfig = SHORT, **more: Any
    ) -> None:
        with pytest.raises(InputError, match=match):
            trained(folder, tmp_path / "w", config, ours, **more)

    refused("a batch of 8 responses holds no whole groups of 3", ours=replace(SHORT, group=3))
    refused(
        "no response is in th, so that no prompt is known; there are sw, zh. en is what",
        languages=("th",),
    )
    refused("no response is in en, so that", languages=("en",))
    refused("all responses are in en", rows=[row for row in ROWS if row.lang == "en"])
    lonely = [row for row in ROWS if row.lang != "en"]
    refused("no prompt is left of 6: 6 have no English response", rows=lonely)
    refused("with 6 a response of 24 tokens would be longer than 30", replace(QUICK, max_tokens=30))
    refused(
        "no language token .* for ru", rows=[*ROWS, Response("q0", "ru", "p", "r")], languages=None
    )
    refused("GRPOConfig has no field bete; beta is meant", replace(QUICK, set=("bete=1",)))
    for wrong in ({"group": 1}, {"temperature": 0.0}, {"max_new_tokens": 0}):
        with pytest.raises(InputError):
            GrpoConfig(**wrong)


# The whole command.


def test_killed_and_resumed_by_the_command(
    folder: Path, whole: Aligned, tmp_path: Path, langneurons: Any
) -> None:
    source = tmp_path / "responses.jsonl"
    source.write_text("".join(f"{json.dumps(row.to_row())}\n" for row in ROWS), "utf-8")
    translator = save_translator(tmp_path / "translator")
    words = [
        "align",
        folder,
        source,
        "--out",
        tmp_path / "d",
        "--objective",
        "grpo",
        "--languages",
        "sw",
    ]
    for name in (
        "steps",
        "batch",
        "device-batch",
        "learning-rate",
        "rank",
        "alpha",
        "save-every",
        "warmup",
    ):
        words += [f"--{name}", getattr(QUICK, name.replace("-", "_"))]
    words += ["--group", 4, "--max-new-tokens", 24]
    refused = langneurons(*words)
    assert refused.status == 2
    assert "give a translation model with --translator" in refused.err
    words += ["--translator", translator]
    killed(
        *words, when=lambda: list(tmp_path.glob(".d.*/checkpoint-2")), after=random.uniform(0, 0.3)
    )
    done = langneurons(*words)
    assert done.status == 0, done.err
    assert "  step" in done.out
    assert "prompts: sw 6; left out: none" in done.out
    held = artifacts.read(tmp_path / "d", "adapter")
    for name, content in adapter_files(whole.checkpoints[4], str(folder)).items():
        assert held.file(name).read_bytes() == content
    assert [
        json.loads(line) for line in held.file("history.jsonl").read_bytes().splitlines()
    ] == whole.history
    assert (tmp_path / "d" / "checkpoint-2" / "adapter_model.safetensors").is_file()
    assert "up to date" in langneurons(*words).err
    pairs = langneurons(
        "align", folder, source, "--out", tmp_path / "e", "--translator", translator
    )
    assert pairs.status == 2
    assert "--translator and the like go with grpo" in pairs.err
    assert models.load(tmp_path / "d").fingerprint != models.load(folder).fingerprint
