"""What is known of each language, by every code that people use for it."""

import subprocess
import sys

import pytest

from langneurons.errors import InputError
from langneurons.texts.languages import (
    is_english,
    known,
    language,
    named,
    same,
    strangers,
    told_apart,
)

BY_CODE = [
    # code, name, tag, script, decimal comma, NLLB-200
    ("de", "German", "de", "Latn", True, "deu_Latn"),
    ("deu", "German", "de", "Latn", True, "deu_Latn"),
    ("ger", "German", "de", "Latn", True, "deu_Latn"),
    ("deu_Latn", "German", "de", "Latn", True, "deu_Latn"),
    ("de-DE", "German", "de", "Latn", True, "deu_Latn"),
    ("de_DE.UTF-8", "German", "de", "Latn", True, "deu_Latn"),
    ("de-1996", "German", "de", "Latn", True, "deu_Latn"),
    ("German", "German", "de", "Latn", True, "deu_Latn"),
    ("de-CH", "Swiss High German", "de-CH", "Latn", False, "deu_Latn"),
    ("zh", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("zh-CN", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("zh_Hans", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("zh-Hans-CN", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("zho_Hans", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("cmn", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("cn", "Chinese", "zh", "Hans", False, "zho_Hans"),
    ("zh-TW", "Traditional Chinese", "zh-Hant", "Hant", False, "zho_Hant"),
    ("zho_Hant", "Traditional Chinese", "zh-Hant", "Hant", False, "zho_Hant"),
    ("yue", "Cantonese", "yue", "Hant", False, "yue_Hant"),
    ("zh-yue", "Cantonese", "yue", "Hant", False, "yue_Hant"),
    ("pt-BR", "Portuguese", "pt", "Latn", True, "por_Latn"),
    ("pt_PT", "European Portuguese", "pt-PT", "Latn", True, "por_Latn"),
    ("es-MX", "Mexican Spanish", "es-MX", "Latn", False, "spa_Latn"),
    ("en", "English", "en", "Latn", False, "eng_Latn"),
    ("eng_Latn", "English", "en", "Latn", False, "eng_Latn"),
    ("EN-us", "English", "en", "Latn", False, "eng_Latn"),
    ("en_XX", "English", "en", "Latn", False, "eng_Latn"),
    ("bn", "Bengali", "bn", "Beng", False, "ben_Beng"),
    ("ja", "Japanese", "ja", "Jpan", False, "jpn_Jpan"),
    ("kor_Hang", "Korean", "ko", "Hang", False, "kor_Hang"),
    ("no", "Norwegian", "no", "Latn", True, "nob_Latn"),
    ("nb", "Norwegian Bokmål", "nb", "Latn", True, "nob_Latn"),
    ("ar", "Arabic", "ar", "Arab", False, "arb_Arab"),
    ("arz", "Egyptian Arabic", "arz", "Arab", False, "arz_Arab"),
    ("iw", "Hebrew", "he", "Hebr", False, "heb_Hebr"),
    ("sw", "Swahili", "sw", "Latn", False, "swh_Latn"),
    ("swh_Latn", "Swahili", "sw", "Latn", False, "swh_Latn"),
    ("sr", "Serbian", "sr", None, True, "srp_Cyrl"),
    ("sr_RS", "Serbian", "sr", "Cyrl", True, "srp_Cyrl"),
    ("sr-Latn", "Serbian in Latin script", "sr-Latn", "Latn", True, None),
    ("lvs_Latn", "Latvian", "lv", "Latn", True, "lvs_Latn"),
    ("mk", "Macedonian", "mk", "Cyrl", True, "mkd_Cyrl"),
    ("ka", "Georgian", "ka", "Geor", True, "kat_Geor"),
    ("fa", "Persian", "fa", "Arab", False, "pes_Arab"),
    ("prs_Arab", "Dari", "prs", "Arab", False, "prs_Arab"),
    ("tlh", "Klingon", "tlh", None, False, None),
]


@pytest.mark.parametrize("row", BY_CODE, ids=[row[0] for row in BY_CODE])
def test_a_code_means_what_it_says(row: tuple[object, ...]) -> None:
    assert language(str(row[0])) == row
    assert known(str(row[0]))
    assert named(str(row[0])) == row[1]


@pytest.mark.parametrize(
    "code",
    ["xx", "", "deu_Xxxx", "de-QQ", "mul", "und", "x-private", "mean", "l0", "d", "nllb", "qa"],
)
def test_a_code_that_is_not_known_goes_as_it_is(code: str) -> None:
    assert language(code) == (code, code, None, None, False, None)
    assert not known(code)
    with pytest.raises(InputError, match=f"{code!r} is no code of a language"):
        named(code)


def test_who_is_a_stranger() -> None:
    assert strangers(["en", "deu_Latn"]) is None
    assert str(strangers(["en", "xx", "xy", "xx"])).startswith(
        "no language is known by the code xx, xy: whether a response is in the wrong script cannot"
    )


def test_every_language_of_nllb_and_flores_is_known() -> None:
    codes = pytest.importorskip("transformers.models.nllb.tokenization_nllb").FAIRSEQ_LANGUAGE_CODES
    assert [code for code in codes if language(code).nllb != code] == []
    assert [code for code in codes if language(code).script not in (code[4:], None)] == []
    assert [code for code in codes if language(code).name == code] == []


def test_which_codes_mean_the_same() -> None:
    assert same("de", "deu_Latn")
    assert same("pt", "pt-BR")
    assert same("zh-CN", "zho_Hans")
    assert not same("zh-CN", "zh-TW")
    assert not same("de", "nl")
    assert same("xx", "xx")
    assert not same("xx", "xy")
    assert [code for code in ("en", "eng", "en-GB", "English", "de", "xx") if is_english(code)] == [
        "en",
        "eng",
        "en-GB",
        "English",
    ]


def test_names_that_would_be_equal_have_their_code_beside_them() -> None:
    assert told_apart(["zh", "en", "zh-CN", "xx", "zh-TW"]) == {
        "zh": "Chinese (zh)",
        "en": "English",
        "zh-CN": "Chinese (zh-CN)",
        "xx": "xx",
        "zh-TW": "Traditional Chinese",
    }
    assert list(told_apart(["German", "de"]).values()) == ["German", "German (de)"]
    assert told_apart([]) == {}


def test_nothing_is_loaded_before_a_language_is_asked_for() -> None:
    script = "import sys, langneurons.texts.answers; sys.exit('babel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
