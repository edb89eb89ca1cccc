"""A real vLLM, started and stopped by ourselves: `make test-vllm`.

LANGNEURONS_VLLM is the command, as `--engine` takes it, with {model}, {name} and {port}. It must
run in float32, so that the likeliest token is the same.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import peft
import pytest
import torch

from langneurons import nano
from langneurons.ask import serving
from langneurons.ask.engine import Request
from langneurons.ask.sample import sample
from langneurons.config import SampleConfig
from langneurons.model.loading import Loaded, load
from langneurons.neurons.identify import identify
from langneurons.neurons.record import record
from langneurons.texts.questions import chosen
from langneurons.texts.responses import Question, Response
from support import adapters

COMMAND = os.environ.get("LANGNEURONS_VLLM", "")
ROUNDS = 3
GREEDY = SampleConfig(n=1, temperature=0, max_new_tokens=200)

pytestmark = pytest.mark.skipif(
    not COMMAND, reason="LANGNEURONS_VLLM does not say how vLLM is started; see make test-vllm"
)


@pytest.fixture(scope="module")
def model() -> Loaded:
    return load("nano", dtype="float32")


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return list(chosen("nano", ("en", "sw", "th"), 20))


@pytest.fixture(scope="module", autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    serving.stop()


def engine_for(name: str | Path) -> serving.Serving:
    return serving.serving(COMMAND, serving.served(str(name)), seeds=False)


def texts(responses: list[Response]) -> list[str]:
    return [response.response for response in responses]


def timed(work: Callable[[], list[Response]], model: Loaded) -> tuple[list[str], float]:
    """What was written, and tokens of it a second."""
    began = time.monotonic()
    written = texts(work())
    seconds = time.monotonic() - began
    return written, sum(map(len, model.tokenizer(written)["input_ids"])) / seconds


def in_words(speeds: Sequence[float]) -> str:
    return f"{median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})"


def test_greedy_answers_are_equal_to_the_letter(
    model: Loaded, questions: list[Question], record_property: Callable[[str, object], None]
) -> None:
    """By turns, as what else a machine does takes now from the one, now from the other."""
    engine = engine_for("nano")
    sample(engine, questions[:1], GREEDY, tokenizer=model.tokenizer)  # it is started now
    here = partial(sample, model, questions, GREEDY)
    there = partial(sample, engine, questions, GREEDY, tokenizer=model.tokenizer)
    rounds = [(*timed(here, model), *timed(there, model)) for _ in range(ROUNDS)]
    ours, our_speeds, theirs, their_speeds = zip(*rounds, strict=True)
    pairs = zip(ours[0], theirs[0], strict=True)
    told = (
        f"{sum(one == other for one, other in pairs)} of {len(ours[0])} greedy answers equal; "
        f"tokens a second in {ROUNDS} rounds: in process {in_words(our_speeds)}, by vLLM "
        f"{in_words(their_speeds)}"
    )
    print(told)
    record_property("kills", told)
    assert theirs == ours


def test_several_texts_without_seeds(model: Loaded, questions: list[Question]) -> None:
    engine = engine_for("nano")
    written = sample(
        engine, questions[:5], SampleConfig(n=3, max_new_tokens=60), tokenizer=model.tokenizer
    )
    assert len(written) == 15
    assert len(set(texts(written))) > 5
    assert engine.facts["server"]["left out of the requests"] == ["seed"]


def test_a_server_that_is_killed_in_the_middle(model: Loaded, questions: list[Question]) -> None:
    """It is started anew, and the answers are those of one that was not killed."""
    engine = engine_for("nano")
    starts = engine.facts["server"]["started"]
    requests = [Request(question.question, 0) for question in questions]
    whole = {one.place: one.text for one in engine.complete(requests, GREEDY)}
    found: dict[int, str] = {}
    few = SampleConfig(n=1, temperature=0, max_new_tokens=200, concurrency=2)
    for one in engine.complete(requests, few):
        found[one.place] = one.text
        if len(found) == 5:
            assert engine._process
            os.killpg(engine._process.pid, signal.SIGKILL)
    assert found == whole
    assert engine.facts["server"]["started"] == starts + 1


def test_a_silenced_checkpoint(
    model: Loaded, questions: list[Question], tmp_path: Path, langneurons: Callable[..., Any]
) -> None:
    """What is exported with neurons silenced answers by vLLM as the silenced model in process."""
    responses = sample(model, questions, GREEDY)
    neurons = identify(record(model, responses), rate=0.2)
    neurons.save(tmp_path / "neurons")
    words = ("export", "checkpoint", "nano", tmp_path / "neurons", "--languages", "sw,th")
    done = langneurons(*words, "--out", tmp_path / "silenced", "--dtype", "float32")
    assert done.status == 0, done.err
    silenced = load(str(tmp_path / "silenced"), dtype="float32")
    ours = texts(sample(silenced, questions, GREEDY))
    assert ours != texts(responses)
    theirs = sample(
        engine_for(tmp_path / "silenced"), questions, GREEDY, tokenizer=silenced.tokenizer
    )
    assert texts(theirs) == ours


def test_an_adapter(model: Loaded, questions: list[Question], tmp_path: Path) -> None:
    """Served beside its base, by `--lora-modules`.

    It is always the same one: of bytes that make no character, which some random adapters write,
    vLLM leaves out what is U+FFFD here, though the tokens are equal.
    """
    torch.manual_seed(0)  # PEFT draws what it begins with
    folder = nano.folder("nano")
    assert folder
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapter = adapters.save(config, folder, tmp_path / "adapter")
    adapted = load(str(adapter), dtype="float32")
    ours = texts(sample(adapted, questions, GREEDY))
    assert ours != texts(sample(model, questions, GREEDY))
    theirs = sample(engine_for(adapter), questions, GREEDY, tokenizer=adapted.tokenizer)
    equal = sum(one == other for one, other in zip(ours, texts(theirs), strict=True))
    print(f"{equal} of {len(ours)} answers of an adapter equal")
    assert texts(theirs) == ours
