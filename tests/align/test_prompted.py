"""A causal model as the translator: its scores are those of the plainest loop, one translation at a
time, under the prompt as it stands here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons import artifacts
from langneurons.align import grpo
from langneurons.align.prompted import Prompting
from langneurons.align.reward import reward, rewarded
from langneurons.align.scores import Scores
from langneurons.align.translator import Text
from langneurons.config import PromptedConfig, RewardConfig
from langneurons.errors import InputError, ModelError
from langneurons.model import loading as models
from langneurons.model.loading import Loaded
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document
from support import families
from support.translators import save_translator

EXAMPLES = tuple(
    Document(str(i), code, f"{word} {i}")
    for i in range(3)
    for code, word in (("en", "boats"), ("sw", "mashua"), ("zh", "船"))
)
SHOWN = Prompting(PromptedConfig(shots=2), EXAMPLES)
RESPONSES = [
    Response("q1", "en", "", "She has 9. #### 9"),
    Response("q1", "en", "", "9 of them.", 1),
    Response("q1", "sw", "", "Ana 9.", correct=True),
    Response("q1", "sw", "", "Ana 7.", 1, correct=False),
    Response("q1", "sw", "", "", 2),
    Response("q2", "en", "", "Two."),
    Response("q2", "zh", "", "她有<<1+1=2>>两个"),
]
PROMPT = "Swahili: mashua 0\nEnglish: boats 0\n\nSwahili: mashua 1\nEnglish: boats 1\n\nSwahili: "
CHAT = "{% for m in messages %}[{{ m.content }}]{% endfor %}>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("causal") / "llama")


@pytest.fixture(scope="module")
def causal(folder: Path) -> Loaded:
    return models.load(folder)


def plainly(model: Loaded, prompt: str, target: str) -> float:
    """Mean log-probability of the tokens of `target` after the prompt: one forward, all logits."""
    start = len(model.tokenizer(prompt).input_ids)
    ids = torch.tensor([model.tokenizer(prompt + target).input_ids])
    logits = model.model(ids).logits[0, start - 1 : -1].double().log_softmax(dim=-1)
    return float(logits.gather(1, ids[0, start:, None]).mean())


def test_the_prompt_to_the_letter(causal: Loaded) -> None:
    made = SHOWN.prompt(Text("sw", "Ana 9."), "en", causal.tokenizer)
    assert made == f"{PROMPT}Ana 9.\nEnglish:"
    back = SHOWN.prompt(Text("eng_Latn", "She has 9."), "zho_Hans", causal.tokenizer)
    assert back.splitlines()[:2] == ["English: boats 0", "Chinese: 船 0"]
    assert back.endswith("English: She has 9.\nChinese:")
    bare = Prompting().prompt(Text("sw", "Ana 9."), "en", causal.tokenizer)
    assert bare == "Swahili: Ana 9.\nEnglish:"


def test_the_prompt_of_a_chat_model(causal: Loaded, folder: Path) -> None:
    asked = Prompting(PromptedConfig(translator_prompt="chat", shots=1), EXAMPLES)
    tokenizer = models.load_tokenizer(folder)
    tokenizer.chat_template = CHAT
    assert asked.prompt(Text("sw", "Ana 9."), "en", tokenizer) == (
        "[Translate from Swahili into English. Write the translation of the last text alone.\n\n"
        "Swahili: mashua 0\nEnglish: boats 0\n\nSwahili: Ana 9.\nEnglish:]>"
    )
    with pytest.raises(InputError, match="the tokenizer has no chat template"):
        asked.prompt(Text("sw", "Ana 9."), "en", causal.tokenizer)


@pytest.mark.parametrize("budget", [0, 150, 700])
def test_scores_are_those_of_the_plain_loop(causal: Loaded, budget: int) -> None:
    scored, facts = rewarded(causal, RESPONSES, RewardConfig(budget=budget), prompting=SHOWN)
    references = {"q1": ("She has 9.", "9 of them."), "q2": ("Two.",)}
    for one in scored.scored:
        text = {"她有<<1+1=2>>两个": "她有两个"}.get(one.response.response, one.response.response)
        prompt = SHOWN.prompt(Text(one.response.lang, text), "en", causal.tokenizer)
        expected = [
            plainly(causal, prompt, f" {reference}")
            for reference in references[one.response.question_id]
        ]
        assert one.score == pytest.approx(np.mean(expected), abs=2e-6)
        assert one.score_max == pytest.approx(max(expected), abs=2e-6)
        assert one.references == len(expected)
    assert facts["examples shown"] == 2
    assert facts["translations judged"] == 7
    assert "language tokens" not in facts


def test_from_english(causal: Loaded) -> None:
    """A response without a token has no probability, and no score."""
    config = RewardConfig(direction="from-english", references=1)
    scored = rewarded(causal, RESPONSES, config, prompting=SHOWN).scores.scored
    prompt = SHOWN.prompt(Text("en", "She has 9."), "sw", causal.tokenizer)
    assert prompt.endswith("English: She has 9.\nSwahili:")
    assert scored[0].score == pytest.approx(plainly(causal, prompt, " Ana 9."), abs=2e-6)
    assert scored[2].score == pytest.approx(plainly(causal, prompt, " "), abs=2e-6)


def test_a_chat_prompt_is_scored(folder: Path) -> None:
    loaded = models.load(folder)
    loaded.tokenizer.chat_template = CHAT
    asked = Prompting(PromptedConfig(translator_prompt="chat", shots=1), EXAMPLES)
    scored = reward(loaded, RESPONSES[:3], prompting=asked, references=1).scored
    prompt = asked.prompt(Text("sw", "Ana 9."), "en", loaded.tokenizer)
    assert scored[0].score == pytest.approx(plainly(loaded, prompt, "She has 9."), abs=2e-6)


def test_long_texts_are_cut_by_their_own_tokens(causal: Loaded) -> None:
    config = RewardConfig(references=1, max_tokens=4)
    scored, facts = rewarded(causal, RESPONSES[:3], config, prompting=SHOWN)
    assert facts["texts cut"] == 2
    prompt = SHOWN.prompt(Text("sw", "Ana "), "en", causal.tokenizer)
    assert scored.scored[0].score == pytest.approx(plainly(causal, prompt, " She "), abs=2e-6)


def test_the_reward_of_grpo(causal: Loaded) -> None:
    english = {"q1": RESPONSES[:2], "q2": RESPONSES[5:6]}
    judge = grpo.Judge(causal, {}, SHOWN)
    judge.require(["sw", "zh"])
    given = grpo.alignment(judge, english)(["Ana 9.", "Ana 7."], ["q1", "q1"], ["sw", "sw"])
    scored = reward(causal, RESPONSES, prompting=SHOWN).scored
    assert given == [scored[0].score, scored[1].score]
    with pytest.raises(InputError, match="0 examples are there in th and in en"):
        judge.require(["th"])


def test_refuses_what_it_cannot_be_asked(causal: Loaded) -> None:
    with pytest.raises(InputError, match=r"3 examples are there in sw and in en \(by id\), 4 are"):
        reward(causal, RESPONSES, prompting=Prompting(PromptedConfig(shots=4), EXAMPLES))
    with pytest.raises(InputError, match="'xx' is no code of a language"):
        reward(causal, [*RESPONSES, Response("q1", "xx", "", "ha")])
    with pytest.raises(InputError, match="--arithmetic mapo counts the language token"):
        reward(causal, RESPONSES, arithmetic="mapo")
    with pytest.raises(InputError, match="--codes spells the language token"):
        reward(causal, RESPONSES, spelled={"sw": "swh_Latn"})
    with pytest.raises(InputError, match="1 of 6 translations are longer with their prompts than"):
        long = Response("q2", "sw", "", "a" * 3000)
        reward(causal, [*RESPONSES[:4], RESPONSES[5], long, RESPONSES[6]], max_tokens=4000)
    for wrong in ({"shots": 0}, {"translator_prompt": "loud"}):
        with pytest.raises(InputError, match=r"shots 0|translator-prompt 'loud'"):
            PromptedConfig(**wrong)  # ty: ignore[invalid-argument-type]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Responses and examples in files."""
    for name, documents in (
        (
            "responses",
            [
                (
                    r.lang,
                    {
                        "id": r.question_id,
                        "question": "?",
                        "sample": r.sample,
                        "prompt": "",
                        "response": r.response,
                    },
                )
                for r in RESPONSES
            ],
        ),
        ("examples", [(d.lang, {"id": d.id, "text": d.text}) for d in EXAMPLES]),
    ):
        for lang, row in documents:
            (tmp_path / name).mkdir(exist_ok=True)
            with (tmp_path / name / f"{lang}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"lang": lang}) + "\n")
    return tmp_path


def test_the_command(rows: Path, folder: Path, causal: Loaded, langneurons: Any) -> None:
    def run(*words: object) -> Any:
        return langneurons("reward", rows / "responses", "--translator", folder, *words, "--quiet")

    examples = ["--examples", rows / "examples"]
    done = run("--out", rows / "a", *examples, "--shots", 2)
    assert (done.status, done.err) == (0, "")
    scores = [one.score for one in Scores.load(rows / "a").scored]
    assert scores == [one.score for one in reward(causal, RESPONSES, prompting=SHOWN).scored]
    assert "asked by a prompt with 2 examples" in done.out
    manifest = artifacts.read(rows / "a").manifest
    assert manifest["config"]["shots"] == 2
    assert {name for name in manifest["inputs"] if name.startswith("examples")} == {
        f"examples {code}.jsonl" for code in ("en", "sw", "zh")
    }
    other = run("--out", rows / "a", *examples, "--shots", 3)
    assert other.status == 2
    assert "shots 2 there, 3 now" in other.err
    bare = run("--out", rows / "b")
    assert (bare.status, bare.err) == (0, "")
    assert [one.score for one in Scores.load(rows / "b").scored] != scores


def test_a_translation_model_takes_no_prompt(rows: Path, langneurons: Any) -> None:
    translator = save_translator(rows / "t")
    words = ["reward", rows / "responses", "--translator", translator, "--out", rows / "c"]
    done = langneurons(*words, "--examples", rows / "examples")
    assert done.status == 2
    assert "is a translation model and takes no prompt; leave --examples" in done.err
    with pytest.raises(ModelError, match="a causal language model is needed"):
        models.load(translator)
    assert models.load(translator, seq2seq=None).model.config.is_encoder_decoder
