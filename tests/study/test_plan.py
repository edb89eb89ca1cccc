"""The plan: which steps a study has, what each needs, and how to do it by hand."""

import shlex
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from langneurons import cli, nano
from langneurons.study import plan
from langneurons.study.stages import STAGES, AttributeEffects, LookThroughLens, MeasureMeaning
from langneurons.study.toml import load, parse
from support.studies import STUDIES, TINY


@pytest.mark.parametrize("path", STUDIES)
def test_every_study_that_comes_with_langneurons(path: str) -> None:
    steps = plan.steps(load(path).study)
    outs = [step.out for step in steps]
    assert len(set(outs)) == len(outs)
    for place, step in enumerate(steps):
        assert all(outs.index(need) < place for need in step.needs), step
        assert step.needs or step.call.outside


def test_every_stage_is_in_the_plan_of_the_demo() -> None:
    stages = {type(step.stage) for step in plan.steps(load("nano").study)}
    other = {AttributeEffects, MeasureMeaning, LookThroughLens}  # minutes more; running text
    assert stages == set(STAGES) - other


def test_a_sweep_of_an_alignment_is_of_before_and_after() -> None:
    at = {step.out: step for step in plan.steps(load("nano").study)}
    sweep = at["models/nano/sw-th/sweep/nano"]
    before, after = "models/nano/base/nano/counts", "models/nano/sw-th/step-60/nano/counts"
    assert set(sweep.needs) == {before, after}
    command = sweep.command()
    assert command
    assert command.startswith(f"langneurons sweep {before} --out {sweep.out} --rates 0.01,0.05,0.1")
    assert command.endswith(f"--after {after} --trained sw,th")
    assert [out for out in at if "/sweep" in out] == [sweep.out]  # its domain nano-ood has none


def test_a_plan_by_hand() -> None:
    """One model, two domains, one alignment with a checkpoint: what each step needs."""
    steps = plan.steps(parse(TINY, "x"))
    at = {step.out: step for step in steps}
    base, last = "models/tiny/base/one", "models/tiny/sw/step-2/one"
    assert at[f"{base}/counts"].needs == (f"{base}/responses",)
    assert set(at[f"{base}/perplexity"].needs) == {
        f"{base}/{k}" for k in ("responses", "counts", "neurons")
    }
    assert at["models/tiny/sw/adapter"].needs == ("models/tiny/sw/pairs",)
    middle = at["models/tiny/sw/step-1/one/responses"]
    assert middle.call.given[0] == "models/tiny/sw/adapter/checkpoint-1"
    assert set(middle.needs) == {"models/tiny/sw/adapter", "questions/one"}
    assert middle.call.outside == ("plain",)
    assert at[f"{base}/responses"].call.outside == ("model", "plain")
    assert f"{last}/neurons" in at["models/tiny/sw/comparison/one"].needs
    assert "models/tiny/base/two/neurons" in at["models/tiny/sw/comparison/one"].needs
    assert not [out for out in at if "step-1" in out and out.endswith(("accuracy", "perplexity"))]
    assert "models/tiny/base/two/accuracy" in at
    assert "models/tiny/base/two/perplexity" not in at
    assert at[f"{base}/counts"].command() == (
        f"langneurons record model {base}/responses --out {base}/counts "
        "--languages en,zh,sw --blocks 2"
    )
    assert at["questions/one"].command() is None


def test_all_that_a_server_is_asked_of_a_model_comes_in_a_row() -> None:
    """So that it is started once for each model; what a step needs still comes before it."""
    alone = plan.steps(parse(TINY, "x"))
    command = '[serve]\ncommand = "serve {model} {name} {port}"\n\n[sample]'
    served = plan.steps(parse(TINY.replace("[sample]", command), "x"))
    assert sorted(step.out for step in served) == sorted(step.out for step in alone)
    outs = [step.out for step in served]
    for place, step in enumerate(served):
        assert all(outs.index(need) < place for need in step.needs), step

    def starts(steps: list[plan.Step]) -> list[str]:
        asked = [step.stage.name in ("sample", "evaluate") and step.call.given[0] for step in steps]
        return [str(model) for model, _ in groupby(asked) if model]

    adapter = "models/tiny/sw/adapter"
    assert starts(served) == ["model", adapter, f"{adapter}/checkpoint-1"]
    assert len(starts(alone)) == 7


def test_texts_of_the_base() -> None:
    study = replace(parse(TINY, "x"), texts="base")
    steps = plan.steps(study)
    assert not [step for step in steps if step.stage.name == "sample" and "/sw/" in step.out]
    counts = next(step for step in steps if step.out == "models/tiny/sw/step-2/one/counts")
    assert counts.call.given[1] == Path("models/tiny/base/one/responses")


def test_the_command_of_a_step_does_the_same_by_hand() -> None:
    """Also of nano beside another model: the study then has other defaults than nano's commands."""
    study = parse(TINY.replace('tiny = "model"', 'tiny = "model"\nnano = "nano"'), "x")
    assert study.align.beta != nano.ALIGN.beta
    told = {}
    for step in plan.steps(study):
        model = getattr(step.stage, "model", None)
        told[step.stage, model and model.source, "seeds" in step.out] = step
    kinds = {(type(stage), source, seeds): step for (stage, source, seeds), step in told.items()}
    for step in kinds.values():
        if command := step.command():
            words = shlex.split(command)[1:]
            _, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
            bound.apply_defaults()
            assert bound.args[: len(step.call.given)] == step.call.given
            options = {"out": Path(step.out), **step.call.options}
            assert {name: bound.arguments[name] for name in options} == options, command


READS = """
languages = ["en", "sw"]
models.tiny = "model"
domains.news = { texts = "news", take = 5, scored = "more", scored-take = 2 }
domains.stories = { texts = "nano-stories", analyses = [] }
reading.tokens = "even"
"""


def test_meaning_and_lens_are_of_running_text_alone() -> None:
    asked = 'domains.asked = { questions = "questions" }\n'
    wanted = 'analyses.base = ["meaning", "lens"]\nmeaning.take = 40\nlens.positions = 1\n'
    at = {step.out: step for step in plan.steps(parse(READS + asked + wanted, "x"))}
    looked = [out for out in at if out.endswith(("meaning", "lens"))]
    assert looked == ["models/tiny/base/news/meaning", "models/tiny/base/news/lens"]
    for out, own in zip(looked, ("--take 40", "--positions 1"), strict=True):
        assert at[out].needs == ()
        assert at[out].call.outside == ("model", "news")
        command = f"langneurons {at[out].stage.name} model news --out {out} --languages en,sw {own}"
        assert at[out].command() == command


def test_effects_are_of_what_perplexity_is_of() -> None:
    """Texts that are scored, and the sets of the model's neurons."""
    wanted = 'analyses.base = ["attribute"]\nattribute.exact = 3\n'
    at = {step.out: step for step in plan.steps(parse(READS + wanted, "x"))}
    base = "models/tiny/base/news"
    step = at[f"{base}/effects"]
    assert step.needs == (f"{base}/neurons",)
    assert "models/tiny/base/stories/effects" not in at
    assert step.command().startswith(f"langneurons attribute model more --out {base}/effects ")
    assert f"--neurons {base}/neurons" in step.command()
    assert "--exact 3" in step.command()


def test_running_text_is_read_without_being_sampled() -> None:
    steps = plan.steps(parse(READS, "x"))
    base = "models/tiny/base"
    assert [step.out for step in steps] == [
        f"{base}/news/counts",
        f"{base}/news/neurons",
        f"{base}/news/perplexity",
        f"{base}/stories/counts",
        f"{base}/stories/neurons",
        "report",
    ]
    at = {step.out: step for step in steps}
    assert at[f"{base}/news/counts"].call.outside == ("model", "news")
    assert at[f"{base}/news/counts"].command() == (
        f"langneurons record model news --out {base}/news/counts "
        "--languages en,sw --tokens even --take 5"
    )
    silencing = at[f"{base}/news/perplexity"]
    assert silencing.call.outside == ("model", "more")
    assert silencing.needs == (f"{base}/news/neurons", f"{base}/news/counts")
    assert silencing.command() == (
        f"langneurons perplexity model {base}/news/neurons more --out {base}/news/perplexity "
        f"--languages en,sw --tokens even --take 2 --counts {base}/news/counts"
    )
