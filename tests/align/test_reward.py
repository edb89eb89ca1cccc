"""Alignment scores against plain computations, on a real tiny translation model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons import resume
from langneurons.align.reward import Rewarded, clean, references, reward, rewarded
from langneurons.align.translator import Text, encode, language_tokens
from langneurons.config import RewardConfig
from langneurons.errors import InputError
from langneurons.texts.responses import Response
from support.translators import plainly, tiny_judge, tiny_tokenizer, tiny_translator


def said(lang: str, text: str, question: str = "q", sample: int = 0, **more: Any) -> Response:
    return Response(question, lang, "prompt ", text, sample, **more)


RESPONSES = [
    said("en", "She has 9.", sample=0),
    said("zh", "她有9。", correct=True, answer=9),
    said("en", "She has <<4+5=9>>9.\n#### 9", sample=1),  # the first one again, once cleaned
    said("en", "Nine boats are hers.", sample=2),
    said("zh", "她有8。", sample=1, correct=False, answer=9),
    said("sw", "Ana 9.", correct=True, answer=9),
    said("sw", "Ana 9.", "other"),
    said(
        "sw", "Ana 9. #### 9", sample=1, correct=True, answer=9
    ),  # the first one again, once cleaned
]
REFERENCES = ["She has 9.", "Nine boats are hers."]


def scored(responses: list[Response], state: Any = None, **settings: Any) -> Rewarded:
    return rewarded(tiny_judge(), responses, RewardConfig(**settings), state=state)


def ids(lang: str, text: str) -> np.ndarray:
    tokens = language_tokens(tiny_tokenizer(), ["en", "zh", "sw"])
    return encode(tiny_tokenizer(), [Text(lang, text)], tokens, 512)[0][0]


def test_score_is_the_mean_over_references_of_the_mean_over_tokens() -> None:
    rows = scored(RESPONSES).scores.scored
    assert [(row.response.lang, row.response.sample) for row in rows] == [
        ("zh", 0), ("zh", 1), ("sw", 0), ("sw", 0), ("sw", 1),
    ]  # fmt: skip
    for row in (rows[0], rows[1], rows[2]):
        each = []
        for text in REFERENCES:
            target = ids("en", text)
            each.append(
                plainly(ids(row.response.lang, row.response.response), target)[0]
                / (len(target) - 1)
            )
        assert row.score == pytest.approx(np.mean(each), abs=1e-5)
        assert row.score_max == pytest.approx(max(each), abs=1e-5)
        assert row.references == 2
    assert (rows[3].score, rows[3].score_max, rows[3].references) == (None, None, 0)
    assert rows[4].score == rows[2].score


def test_the_other_direction() -> None:
    row = scored(RESPONSES, direction="from-english").scores.scored[1]
    target = ids("zh", "她有8。")
    each = [plainly(ids("en", text), target)[0] / (len(target) - 1) for text in REFERENCES]
    assert row.score == pytest.approx(np.mean(each), abs=1e-5)


def test_the_arithmetic_of_mapo() -> None:
    """All references in one padded batch; padding and language token count in the mean loss."""
    row = scored(RESPONSES, arithmetic="mapo").scores.scored[0]
    targets = [ids("en", text) for text in REFERENCES]
    longest = max(map(len, targets))
    labels = torch.full((2, longest), -100)
    for i, target in enumerate(targets):
        labels[i, : len(target)] = torch.from_numpy(target)
    source = torch.from_numpy(ids("zh", "她有9。"))[None].long().repeat(2, 1)
    logits = tiny_translator()(input_ids=source, labels=labels).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    each = 1 / losses.mean(dim=1)
    assert row.score == pytest.approx(float(each.mean()), rel=1e-4)
    assert row.score_max == pytest.approx(float(each.max()), rel=1e-4)


def test_mapo_pads_twenty_references_together() -> None:
    """The 21st reference, the longest of all, does not change how the first twenty are padded."""
    english = [said("en", f"{n} boats", sample=n) for n in range(20)]
    longer = [*english, said("en", "so she has twenty-one boats in all", sample=20)]
    one = said("zh", "她有9。")
    few, many = (
        scored([one, *rows], arithmetic="mapo").scores.scored[0] for rows in (english, longer)
    )
    assert few.score is not None
    assert many.score is not None
    alone = scored([one, longer[-1]], arithmetic="mapo").scores.scored[0].score
    assert alone is not None
    assert many.score == pytest.approx((20 * few.score + alone) / 21, rel=1e-4)


def test_scores_do_not_depend_on_the_batch() -> None:
    whole = scored(RESPONSES).scores.scored
    for budget in (1, 30, 100):
        cut = scored(RESPONSES, budget=budget).scores.scored
        for a, b in zip(whole, cut, strict=True):
            assert (a.score is None and b.score is None) or a.score == pytest.approx(
                b.score, abs=5e-6
            )


def test_settings_as_a_whole_or_by_name() -> None:
    by_name = reward(tiny_judge(), RESPONSES, references=1)
    assert by_name == reward(tiny_judge(), RESPONSES, RewardConfig(references=1))
    assert by_name == scored(RESPONSES, references=1).scores


def test_a_translation_is_judged_once() -> None:
    """4 texts of responses (one in two languages is two), 2 references, one question without."""
    facts = scored([*RESPONSES, said("zh", "Ana 9.", sample=2)]).facts
    assert facts["translations judged"] == 8
    assert facts["references"] == {"kept": 2, "empty": 0, "repeated": 1, "looping": 0, "beyond": 0}
    by = {row["lang"]: row for row in facts["languages"]}
    assert (by["sw"]["responses"], by["sw"]["without_reference"]) == (3, 1)
    assert by["zh"]["right_above_wrong"] in (0, 1)
    assert facts["language tokens"] == {"en": "__en__", "zh": "__zh__", "sw": "__sw__"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4+5=<<4+5=9>>9 and <<1+1=2>>2", "4+5=9 and 2"),
        ("Nine.\n#### 9", "Nine."),
        ("####", ""),
        ("a << b", "a << b"),
        ("  as it is ", "as it is"),
    ],
)
def test_cleaning(text: str, left: str) -> None:
    assert clean(text) == left


def test_which_english_responses_are_references() -> None:
    found = references(
        [
            said("en", "one\ntwo", sample=0),
            said("en", "one\n\ntwo\n\none", sample=1),
            said("en", " one\ntwo ", sample=2),
            said("en", "#### 3", sample=3),
            said("en", "one\n\n\n\nthree", sample=4),
            said("en", "x\nx", "only loops"),
        ]
    )
    assert found.texts == {"q": ["one\ntwo", "one\n\n\n\nthree"]}
    assert found.facts == {"kept": 2, "empty": 1, "repeated": 1, "looping": 2, "beyond": 0}


def test_only_the_first_references() -> None:
    """Each response then scores as if the others had not been there."""
    english = [one for one in RESPONSES if one.lang == "en"]
    first = list({one.question_id: one for one in reversed(english)}.values())
    rest = [one for one in RESPONSES if one.lang != "en"]
    few = scored(RESPONSES, references=1)
    assert few.scores == scored([*first, *rest]).scores
    most = [max(one.references for one in each.scores.scored) for each in (few, scored(RESPONSES))]
    assert most[0] == 1 < most[1]
    assert few.facts["references"]["kept"] == len(first)
    assert few.facts["references"]["beyond"] > 0


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="no response in en can be a reference"):
        scored([one for one in RESPONSES if one.lang != "en"])
    with pytest.raises(InputError, match="all responses are in en"):
        scored([one for one in RESPONSES if one.lang == "en"])
    with pytest.raises(InputError, match="no language token tha_Thai or __th__ or <th> for th"):
        scored([*RESPONSES, said("th", "เก้า")])
    empty = said("en", "#### 3", "looped"), said("zh", "9", "looped")
    alone = [one for one in RESPONSES if one.lang != "zh"]
    with pytest.raises(InputError, match="no question in zh has a reference: all en responses to"):
        scored([*alone, *empty])
    with pytest.raises(InputError) as caught:
        scored([*alone, said("zh", "9", "zh_q"), said("zh", "9", "zh_r")])
    assert str(caught.value) == (
        "no question is there in en and in zh, so no response has a reference; a question needs "
        "the same id in every language (there are q, zh_q): with the language left off its id, 1 "
        "of 2 questions would be there in two languages or more"
    )
    for wrong in (
        {"direction": "up"},
        {"arithmetic": "sum"},
        {"max_tokens": 2},
        {"budget": -1},
        {"references": -1},
    ):
        with pytest.raises(InputError):
            RewardConfig(**wrong)


def test_resuming_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langneurons.align import translator as translation

    judged = []
    whole = translation.judge

    def seen(*args: Any) -> Any:
        judged.append(args[-1])
        if len(judged) == 3:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(translation, "judge", seen)
    state = resume.State(tmp_path / "s", {}, {})
    settings: dict[str, Any] = {"budget": 20, "save_every": 0}
    with pytest.raises(KeyboardInterrupt):
        scored(RESPONSES, state, **settings)
    resumed = scored(RESPONSES, state, **settings)
    assert (
        len({chunk.sources for chunk in judged}) == len(judged) - 1
    )  # only the one that was interrupted ran again
    assert resumed == scored(RESPONSES, **settings)
