import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from langneurons import artifacts
from langneurons.errors import FormatError, InputError
from langneurons.texts.flaws import GateRow, flaws, gate
from langneurons.texts.prompts import load_template
from langneurons.texts.responses import Question, Response
from langneurons.texts.rows import read_questions, read_responses
from support.places import data


def row(**fields: object) -> dict:
    return {"question_id": "q1", "lang": "en", "prompt": "2+2?\n", "response": "4", **fields}


def line(**fields: object) -> str:
    return json.dumps(row(**fields), ensure_ascii=False)


def write(path: Path, *lines: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_of_our_form(tmp_path: Path) -> None:
    file = write(
        tmp_path / "r.jsonl",
        line(),
        "",
        line(question_id="q2", lang="zh", sample=4, answer=4, correct=False),
    )
    assert read_responses(file) == [
        Response("q1", "en", "2+2?\n", "4"),
        Response("q2", "zh", "2+2?\n", "4", 4, 4, False),
    ]


def test_a_folder_by_language_with_rendered_prompts(tmp_path: Path) -> None:
    for code, question in (("zh", "二加二？"), ("en", "2+2?")):
        fields = {
            "id": "m-0",
            "lang": code,
            "question": question,
            "response": "4",
            "prediction": 4,
            "answer": 4,
        }
        write(tmp_path / f"{code}.jsonl", json.dumps(fields))
    en, zh = read_responses(tmp_path, template="{code}|{question}|{language}:")
    assert en == Response("m-0", "en", "en|2+2?|English:", "4", 0, 4)
    assert zh.prompt == "zh|二加二？|Chinese:"
    assert read_responses(tmp_path, languages=["zh"])[0].prompt.endswith(
        "in Chinese.\n\n### Instruction:\n二加二？\n\n### Response:"
    )
    assert [q.question for q in read_questions(tmp_path)] == ["2+2?", "二加二？"]


def test_a_prompt_that_is_there_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", line(question="another", prompt="as {it} was"))
    assert read_responses(file, template="plain")[0].prompt == "as {it} was"


def test_rows_without_a_sample_are_numbered_by_question_and_language(tmp_path: Path) -> None:
    lines = [line(), line(response="vier"), line(lang="de"), line(question_id="q2"), line()]
    assert [r.sample for r in read_responses(write(tmp_path / "r.jsonl", *lines))] == [
        0,
        1,
        0,
        0,
        2,
    ]


def test_marks_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    text = line(response="a\u2028b") + "\r"
    assert (
        read_responses(write(tmp_path / "r.jsonl", b"\xef\xbb\xbf" + text.encode()))[0].response
        == "a\u2028b"
    )


@pytest.mark.parametrize(
    ("bad", "seen"),
    [
        (b'{"lang": "\xff"}', "byte 10 is not UTF-8"),
        ("{'lang': 1}", "not JSON \\(Expecting property name .* at character 1\\)"),
        ("[" * 100_000, "not JSON \\(maximum recursion"),
        ('["q1", "en"]', '\'\\["q1", "en"\\]\' is no JSON object'),
        ("null", "'null' is no JSON object"),
        (line(response=None), "field response is None"),
        (line(lang=""), "field lang is empty"),
        (line(answer=float("inf")), "field answer is inf"),
        (line(lang="fr"), "lang fr is not among the languages en, zh; add it"),
        (line(), "q1, en, sample 0 stands twice, first in .*r.jsonl, line 1; remove one"),
        (
            '{"id": 3, "lang": "en", "question": "x", "response": "y"}',
            "field id is 3; text is needed",
        ),
        (
            '{"lang": "en", "question": "x", "response": "y"}',
            "field question_id is missing; there are lang, question",
        ),
        (
            '{"id": "a", "lang": "en", "response": "y"}',
            "fields prompt and question are both missing",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str | bytes, seen: str) -> None:
    file = write(
        tmp_path / "r.jsonl",
        line(sample=0),
        line(question_id="q0"),
        bad.replace("}", ', "sample": 0}') if bad == line() else bad,
    )
    with pytest.raises(InputError, match=rf"r\.jsonl, line 3: {seen}") as caught:
        read_responses(file, languages=["en", "zh"])
    assert "\n" not in str(caught.value)


def test_a_row_in_the_file_of_another_language(tmp_path: Path) -> None:
    write(tmp_path / "zh.jsonl", line(lang="zh"), line())
    with pytest.raises(
        InputError, match=r"zh\.jsonl, line 2: lang is en, but the file is that of zh"
    ):
        read_responses(tmp_path)


def test_a_language_without_a_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no row for sw, zh, which the languages name"):
        read_responses(write(tmp_path / "r.jsonl", line()), languages=["zh", "en", "sw"])
    with pytest.raises(InputError, match=r"f has no sw\.jsonl; add it"):
        read_responses(write(tmp_path / "f" / "en.jsonl", line()).parent, languages=["en", "sw"])
    with pytest.raises(InputError, match="has no row at all"):
        read_questions(write(tmp_path / "empty.jsonl", ""))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist; give a JSONL file"):
        read_responses(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no <lang>\.jsonl"):
        read_questions(tmp_path)
    (tmp_path / "en.jsonl").mkdir()
    with pytest.raises(InputError, match=r"en\.jsonl cannot be read: Is a directory"):
        read_questions(tmp_path)


def stage(folder: Path, name: str = "responses.jsonl") -> Path:
    with artifacts.writing(folder, "responses", "sample", {}, {}) as draft:
        draft.bytes(name, line(lang="zh").encode())
    return folder


def test_a_stages_folder(tmp_path: Path) -> None:
    assert read_responses(stage(tmp_path / "r")) == [Response("q1", "zh", "2+2?\n", "4")]


def test_a_stages_folder_that_was_changed(tmp_path: Path) -> None:
    write(stage(tmp_path / "r") / "responses.jsonl", line())
    with pytest.raises(
        FormatError, match=r"responses\.jsonl is missing or not as it was written; make .* anew"
    ):
        read_responses(tmp_path / "r")
    (tmp_path / "r" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"r has no manifest\.json, so it is no finished result"):
        read_responses(tmp_path / "r")


def test_a_stages_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds responses, not responses\.jsonl"):
        read_responses(stage(tmp_path / "r", "other.jsonl"))


def test_questions(tmp_path: Path) -> None:
    file = write(
        tmp_path / "q.jsonl",
        '{"id": "a", "lang": "en", "question": "2+2?", "answer": 4, "note": 1}',
    )
    assert read_questions(file) == [Question("a", "en", "2+2?", 4)]
    with pytest.raises(InputError, match=r"line 2: a, en stands twice, first in .*line 1"):
        read_questions(write(tmp_path / "two.jsonl", *[file.read_text("utf-8").strip()] * 2))


# --- templates -------------------------------------------------------------------------------------------------------


def test_the_prompt_of_mathoctopus() -> None:
    assert load_template("mathoctopus").prompt("1 {x}?", "th") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request. "
        "Please answer in Thai.\n\n### Instruction:\n1 {x}?\n\n### Response:"
    )


def test_other_templates(tmp_path: Path) -> None:
    assert load_template("plain").prompt("1?", "th") == "1?\n"
    assert load_template("{{}} {language} {question}").prompt("1?", "xx") == "{} xx 1?"
    (tmp_path / "t.txt").write_text("Q ({code}): {question}\n", "utf-8")
    assert load_template(str(tmp_path / "t.txt")).prompt("1?", "th") == "Q (th): 1?\n"


@pytest.mark.parametrize("template", ["mathoctopus", "plain", "chat", "a {question}{{}}"])
def test_a_loaded_template_can_be_loaded_again(template: str) -> None:
    once = load_template(template)
    assert load_template(once.text) == once


@pytest.mark.parametrize(
    ("template", "seen"),
    [
        (
            "octopus",
            "template 'octopus' cannot be read as a file .*; use mathoctopus, plain, chat, a text file",
        ),
        ("a\0b", "cannot be read as a file"),
        ("in {language}:", "lacks {question}"),
        (
            "{question} {lang}",
            "has the placeholder {lang}; there are {question}, {language} and {code}",
        ),
        ("{question.__class__}", "has the placeholder {question.__class__}"),
        ("{question!r}", "has the placeholder {question!r}"),
        ("{question:>9}", "has the placeholder {question:>9}"),
        ("{question} {}", "has the placeholder {};"),
        (
            "{question} \\frac{",
            "Single '{' encountered in format string; write a brace that is meant as one twice",
        ),
    ],
)
def test_templates_that_cannot_be(template: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen):
        load_template(template).prompt("1?", "en")


def chat_tokenizer(*, adds_bos: bool, template: str | None) -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.WordLevel({"<s>": 0, "[UNK]": 1}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_bos:
        bare.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", unk_token="[UNK]", chat_template=template
    )


CHAT = (
    "<s>{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %} [bot] {% endif %}"
)


@pytest.mark.parametrize(("adds_bos", "begins"), [(True, "[user]"), (False, "<s>[user]")])
def test_the_models_own_template(tmp_path: Path, adds_bos: bool, begins: str) -> None:
    tokenizer = chat_tokenizer(adds_bos=adds_bos, template=CHAT)
    assert load_template("chat").prompt("1?", "th", tokenizer) == f"{begins} 1? [bot] "
    file = write(
        tmp_path / "r.jsonl", '{"id": "a", "lang": "en", "question": "1?", "response": "y"}'
    )
    assert read_responses(file, "chat", tokenizer=tokenizer)[0].prompt == f"{begins} 1? [bot] "


def test_no_template_of_the_models_own() -> None:
    with pytest.raises(InputError, match="but the tokenizer has no chat template; use mathoctopus"):
        load_template("chat").prompt("1?", "th", chat_tokenizer(adds_bos=True, template=None))
    with pytest.raises(InputError, match="but no tokenizer was given"):
        load_template("chat").prompt("1?", "th")


# --- what is wrong with responses ------------------------------------------------------------------------------------

LOOP = "= 221 + 8 "


@pytest.mark.parametrize(
    ("lang", "text", "found"),
    [
        ("en", "", "empty"),
        ("en", " \n\t\u3000", "empty"),
        ("en", "The answer is 18.", ""),
        ("en", "So she earns $18", ""),
        ("en", "So she earns 18 $", ""),
        ("en", "\\boxed{18}", ""),
        ("zh", "所以答案是十八。", ""),
        ("bn", "উত্তর হল ১৮।", ""),
        ("bn", "উত্তর হল ১৮", ""),
        ("th", "คำตอบคือสิบแปด", ""),
        ("en", "So she earns", "unfinished"),
        ("en", "16 - 3 -", "unfinished"),
        ("en", "16 + 3 =", "unfinished"),
        ("th", "คำตอบคือ 3 +", "unfinished"),
        ("bn", "সমুদ্রের জলবায়ু", "unfinished"),
        ("zh", "所以，", "unfinished"),
        ("en", "Yes.\n\nYes.\n \n  Yes.", "repetition"),
        ("en", "Yes.\nYes.\nNo.", ""),
        ("en", "A long line of text.\nb.\n" * 2 + "A long line of text.", "repetition"),
        ("en", "a.\nA longer line of text.\na.\nAnother longer one.\na.\n", ""),
        ("en", f"We have x {LOOP * 5}", "repetition"),
        ("en", f"We have x {LOOP * 4}", ""),
        ("en", f"We have x {LOOP * 9}= 22", "repetition"),
        ("ru", "She earns eighteen dollars.", "wrong script"),
        ("ru", "She earns eighteen dollars, итак, восемь.", ""),
        ("ru", "\\begin{align} \\frac{1}{2} \\text{долларов} \\end{align}.", ""),
        ("ru", "She: 18.", ""),
        ("zh", "ジャネットは卵を売ることで稼ぎます。", "wrong script"),
        ("zh", "她每天賣雞蛋可以賺十八美元。", ""),
        ("ja", "ジャネットは卵を売ることで稼ぎます。", ""),
        ("ja", "她每天卖鸡蛋可以赚十八美元。", "wrong script"),
        ("ja", "18 個、答え。", ""),
        ("ko", "그녀는 매일 십팔 달러를 법니다.", ""),
        ("ko", "She earns eighteen dollars.", "wrong script"),
        ("sw", "Elle gagne dix-huit dollars.", ""),
        ("sw", "Она зарабатывает восемнадцать.", "wrong script"),
        ("xx", "Она зарабатывает восемнадцать.", ""),
        ("ru", "She earns", "unfinished"),
        ("ru", "She earns and earns and", "unfinished wrong script"),
    ],
)
def test_flaws(lang: str, text: str, found: str) -> None:
    expected = tuple(
        flaw for flaw in ("empty", "unfinished", "repetition", "wrong script") if flaw in found
    )
    assert flaws(Response("q", lang, "p", text)) == expected


@given(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.sampled_from(["en", "ru", "ja", "th", "xx"]),
)
def test_every_text_is_judged(text: str, lang: str) -> None:
    assert ("empty" in flaws(Response("q", lang, "", text))) == (text.strip() == "")


def judged() -> list[Response]:
    written = [
        ("ru", "Ответ: восемнадцать."),
        ("ru", "The answer is eighteen."),
        ("ru", ""),
        ("en", "The answer is"),
    ]
    return [Response(f"q{i}", lang, "p", text) for i, (lang, text) in enumerate(written)]


def test_only_empty_responses_are_dropped_unless_more_is_asked() -> None:
    kept, rows = gate(judged())
    assert [r.question_id for r in kept] == ["q0", "q1", "q3"]
    assert rows == [GateRow("ru", 3, 2, 1, 0, 0, 1), GateRow("en", 1, 1, 0, 1, 0, 0)]
    kept, rows = gate(judged(), drop=["wrong script"])
    assert [r.question_id for r in kept] == ["q0", "q3"]
    assert [r.kept for r in rows] == [1, 1]


@pytest.mark.parametrize(
    ("flaw", "why"), [("unfinished", "is a guess and only reported"), ("slow", "is no flaw")]
)
def test_what_cannot_be_dropped(flaw: str, why: str) -> None:
    with pytest.raises(
        InputError,
        match=f"drop '{flaw}': it {why}; what can be dropped is empty, repetition, wrong",
    ):
        gate(judged(), drop=[flaw])


# --- real data -------------------------------------------------------------------------------------------------------


def test_real_responses_in_the_wrong_script() -> None:
    """The README of the data names three responses without a letter of their own script."""
    found = [
        r for r in read_responses(data("responses_clp_gpt35", "mgsm")) if "wrong script" in flaws(r)
    ]
    strays = {(r.question_id, r.lang) for r in found}
    assert strays >= {("mgsm-142", "ja"), ("mgsm-157", "ru"), ("mgsm-173", "ru")}
    assert strays - {("mgsm-142", "ja"), ("mgsm-157", "ru"), ("mgsm-173", "ru")} == {
        (f"mgsm-{i}", "ja")
        for i in ("019", "063", "091", "111")  # mostly English, by eye
    }


def test_real_responses_that_loop() -> None:
    responses = read_responses(data("responses_mcot7b", "msvamp"))
    assert len(responses) == 10_000
    kept, rows = gate(responses, drop=["repetition", "wrong script"])
    assert len(kept) == 10_000 - 3
    assert [
        (r.lang, r.unfinished, r.repetition, r.wrong_script) for r in rows if r.kept < r.total
    ] == [
        ("bn", 2, 2, 0),
        ("ru", 2, 1, 0),
    ]


def test_real_questions_of_chosen_languages() -> None:
    questions = read_questions(data("mgsm"), ["th", "sw"])
    assert [(q.id, q.lang) for q in questions[::250]] == [("mgsm-000", "sw"), ("mgsm-000", "th")]


def test_importing_is_light() -> None:
    code = "import sys, langneurons.texts.rows, langneurons.model.tokens; print({'torch', 'transformers', 'pyarrow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
