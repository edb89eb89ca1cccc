"""Prompts by every template, and templates that cannot be."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from langneurons.errors import InputError
from langneurons.texts.prompts import load_template, suited
from langneurons.texts.rows import read_responses


def test_the_prompt_of_mathoctopus() -> None:
    assert load_template("mathoctopus").prompt("1 {x}?", "th") == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request. Please answer in Thai.\n\n### Instruction:\n1 {x}?\n\n### Response:"
    )


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("deu_Latn", "German"),
        ("zh-CN", "Chinese"),
        ("zho_Hans", "Chinese"),
        ("zh_Hant", "Traditional Chinese"),
        ("pt-BR", "Portuguese"),
        ("yue", "Cantonese"),
        ("bn", "Bengali"),
        ("swh", "Swahili"),
        ("sr-Latn", "Serbian in Latin script"),
        ("quy_Latn", "Ayacucho Quechua"),
        ("Thai", "Thai"),
    ],
)
def test_the_prompt_names_the_language_by_its_name(code: str, name: str) -> None:
    assert f"Please answer in {name}.\n" in load_template("mathoctopus").prompt("1?", code)
    assert load_template("{question} {code}").prompt("1?", code) == f"1? {code}"


@pytest.mark.parametrize("code", ["xx", "deu_Xxxx", "mul", "nllb", ""])
def test_a_language_that_is_not_known_is_not_named(code: str) -> None:
    seen = (
        f"^{code!r} is no code of a language, so a prompt cannot name it; use .* template without"
    )
    with pytest.raises(InputError, match=seen):
        load_template("mathoctopus").prompt("1?", code)


def test_other_templates(tmp_path: Path) -> None:
    assert load_template("plain").prompt("1?", "th") == "1?\n"
    assert load_template("{{}} {language} {question}").prompt("1?", "de") == "{} German 1?"
    assert load_template("{code}: {question}").prompt("1?", "xx") == "xx: 1?"
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
            "template 'octopus' cannot be read as a file .*; "
            "use mathoctopus, plain, chat, a text file",
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
        load_template(template)


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
    file = tmp_path / "r.jsonl"
    file.write_text('{"id": "a", "lang": "en", "question": "1?", "response": "y"}\n', "utf-8")
    assert read_responses(file, "chat", tokenizer=tokenizer)[0].prompt == f"{begins} 1? [bot] "


def test_no_template_of_the_models_own() -> None:
    with pytest.raises(InputError, match="but the tokenizer has no chat template; use mathoctopus"):
        load_template("chat").prompt("1?", "th", chat_tokenizer(adds_bos=True, template=None))
    with pytest.raises(InputError, match="but no tokenizer was given"):
        load_template("chat").prompt("1?", "th")


def test_the_template_that_suits() -> None:
    chats, not_ = (chat_tokenizer(adds_bos=True, template=text) for text in (CHAT, None))
    assert suited(None, chats).text == suited(None, chats).name == "chat"
    assert suited(None, not_).name == "mathoctopus"
    assert suited("plain", chats).name == suited("plain", None).name == "plain"
    assert suited("{question}\n", None).name == "plain"
    assert suited("{question}:", None).name == "'{question}:'"
    with pytest.raises(InputError, match="cannot be known without its tokenizer; name that"):
        suited(None, None)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{% if messages[0].role != 'system' %}{{ raise_exception('System first.') }}{% endif %}"
            "{{ messages[0].content }}",
            r"refuses a question without more \(System first\); use --template mathoctopus, plain",
        ),
        ("{% for m in messages %}{{ m.content }}{% endfr %}", "chat template is damaged .*endfr"),
        ("{{ messages[0].content", "chat template is damaged"),
        ("{{ messages[1].content }}", r"refuses a question without more \("),
        ("{{ messages[0].content / 0 }}", r"refuses a question without more \("),
        ("{{ messages[0].content.nothing.nothing }}", r"refuses a question without more \("),
        ("{{ range(10**9) | list }}", r"refuses a question without more \("),
        ("Answer:", "leaves the question out of the prompt; use --template"),
        ("{{ messages[0].content[:3] }}", "leaves the question out"),
        ("{{ messages[0].content.title }}", "leaves the question out"),
        (
            {"rag": "x", "tool_use": "y"},
            r"several chat templates \(rag, tool_use\) and none is called",
        ),
    ],
)
def test_a_chat_template_that_makes_no_prompt(template: str, says: str) -> None:
    """One line, that says what the template says and what to do."""
    with pytest.raises(InputError, match=says) as caught:
        load_template("chat").prompt(
            "How much is 1?", "th", chat_tokenizer(adds_bos=True, template=template)
        )
    assert "\n" not in str(caught.value)


PARTS = "{% for part in messages[0].content %}{{ part.text }}{% endfor %} [bot]"


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (PARTS, "How much\nis 1? [bot]"),
        ("{{ messages[0].content[0].text }}!", "How much\nis 1?!"),
        ("{{ messages[0].content | selectattr('type', 'equalto', 'text') | map(attribute='text') "
         "| join }}", "How much\nis 1?"),
        ("{% if messages[0].content is string %}{{ raise_exception('parts') }}{% endif %}" + PARTS,
         "How much\nis 1? [bot]"),
        ("{{ messages[0].content | trim }} =", "How much\nis 1? ="),
        ({"default": "{{ messages[0].content }}", "rag": "x"}, "How much\nis 1?"),
        ("{{ strftime_now('%Y') }} {{ messages[0].content }}", "2025 How much\nis 1?"),
        (
            "{% set how = '%d %b' %}{% macro day(f) %}{{ strftime_now(f) }}{% endmacro %}"
            "{{ day(how) }} {{ messages[0].content }}",
            "01 Jan How much\nis 1?",
        ),
    ],
)  # fmt: skip
def test_the_question_is_in_every_prompt(template: str, prompt: str) -> None:
    """Also where a template wants its content in parts; and prompts are the same every day."""
    tokenizer = chat_tokenizer(adds_bos=True, template=template)
    assert load_template("chat").prompt("How much\nis 1?", "th", tokenizer) == prompt


def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_bytes(b"\xef\xbb\xbfQ: {question}\r\nA:")
    assert load_template(str(file)).prompt("1?", "th") == "Q: 1?\nA:"
    file.write_bytes(b"\xef\xbb\xbf" * 2 + b"Q: {question}\rA:")
    assert load_template(str(file)).prompt("1?", "th") == "Q: 1?\nA:"
    file.write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(InputError, match="it is compressed by gzip; unpack it"):
        load_template(str(file))
    file.write_text("Q: {question}", "utf-16")
    with pytest.raises(InputError, match="it is UTF-16; save it as UTF-8"):
        load_template(str(file))
    file.write_bytes(b"Q\xff: {question}")
    with pytest.raises(InputError, match="not UTF-8"):
        load_template(str(file))
    with pytest.raises(InputError, match="is no valid text: it holds half a surrogate pair"):
        load_template("Q\udcff: {question}")
