"""A study in a TOML file: what it may say and leave out, and where the files it names are."""

from dataclasses import replace
from pathlib import Path

import pytest

from langneurons import nano
from langneurons.errors import InputError
from langneurons.study.spec import Study
from langneurons.study.toml import load, parse
from support.studies import TINY, write

LEAST = 'languages = ["en", "sw"]\nmodels.m = "m"\ndomains.d.questions = "d.jsonl"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LEAST + "[smaple]\nn = 3", "smaple is unknown; is sample meant?"),
        (LEAST + "[sample]\nmax-tokens = 3", "sample.max-tokens is unknown; is max-new-tokens m"),
        (LEAST + "[domains.e]\nquestion = 'x'", "domains.e.question is unknown; is questions me"),
        (LEAST + "[pair]\nx = 1", "pair.x is unknown; there are per-language, margin, max-tokens"),
        (LEAST + "[sample]\nn = 'ten'", "sample.n is 'ten'; a whole number is needed"),
        (LEAST + "[sample]\nn = true", "sample.n is True; a whole number is needed"),
        (LEAST + "[sample]\nstop = 'x'", "sample.stop is 'x'; a list of a text is needed"),
        (LEAST + "sample = 3", "sample is 3; a table is needed"),
        (LEAST + "seeds = 3", "seeds is 3; a table is needed"),
        (LEAST + "[record]\nshare-prompts = 1", "record.share-prompts is 1; true or false is nee"),
        (LEAST + "[identify]\nlam = 'most'", "identify.lam is 'most'; a number or 'auto' is nee"),
        (
            LEAST + "[analyses]\nbase = ['report']",
            "analyses.base is 'report'; 'evaluate' or 'perplexity' or 'attribute' or 'sweep' "
            "or 'meaning' or 'lens' is needed",
        ),
        (LEAST + "[analyses]\ncheckpoints = ['sweep']", "a sweep is of before and the last step"),
        (LEAST + "[sweep]\nrates = ''", "rates '': give a value or more, with commas"),
        (LEAST + "[identify]\nrate = 2", "[identify] rate 2.0 is outside (0, 1)"),
        (LEAST + "[alignments]\nsw = ['fr']", "sw aligns fr; give some of the languages"),
        (LEAST + "[alignments]\nsw = ['sw']", "alignments need [seeds], [translator]"),
        (
            "checkpoints = [150]\n" + LEAST,
            "checkpoints: 150 is none that is kept; one is kept every 100 steps",
        ),
        (LEAST + "[domains.e]\ntake = 3", "[domains.e] give questions to ask or texts to read"),
        (
            LEAST + "[domains.e]\nquestions = 'x'\ntexts = 'y'",
            "give questions to ask or texts to read, and not both",
        ),
        (LEAST + "[domains.e]\nquestions = 'x'\nscored = 'y'", "only texts are scored on others"),
        (LEAST + "[reading]\ntake = 3", "reading: give take in the domain"),
        (LEAST + "seeds.texts = 'x'", "seeds: questions are needed"),
        (LEAST + "[translator]\ncodes = 'x'", "translator.model is missing"),
        ('languages = ["en"]\nmodels.m = "m"', "domains is missing"),
        (LEAST.replace("models.m", 'models."../m"'), "'../m' cannot name a folder here"),
        ("languages = [", "is no TOML"),
    ],
)
def test_what_a_file_may_not_say(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "x.toml")
    assert says in str(error.value)
    assert str(error.value).startswith("x.toml")
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(LEAST, "utf-8-sig")
    assert load(str(file)).study == parse(LEAST, "s")
    file.write_text(f"\ufeff{LEAST}", "utf-8-sig")
    assert load(str(file)).study == parse(LEAST, "s")
    for content, what in (
        (LEAST.encode("utf-16"), r"s\.toml is text in UTF-16; write it as UTF-8; a study is"),
        (b"\x1f\x8b\x08", r"s\.toml is compressed by gzip; unpack it; a study is written in TOML"),
        (b"name = '\xe9'", r"s\.toml: it is not UTF-8; save it so"),
        (b"", r"s\.toml is empty"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=what):
            load(str(file))
    file.write_text(LEAST.replace("\n", "\r"), "utf-8", newline="")
    assert load(str(file)).study == parse(LEAST, "s")


def test_what_is_left_out_is_the_default_of_the_stage() -> None:
    study = parse(LEAST + "[sample-seeds]\ntemperature = 0.5\n[identify]\nlam = 1\n", "x")
    assert isinstance(study, Study)
    assert (study.sample_seeds.n, study.sample_seeds.temperature, study.sample.n) == (20, 0.5, 10)
    assert study.identify.lam == 1.0
    assert study == replace(
        parse(LEAST, "x"), sample_seeds=study.sample_seeds, identify=study.identify
    )


def test_of_nano_alone_it_is_what_suits_nano() -> None:
    """As its commands do for MODEL `nano`; the study that comes with langneurons has it so."""
    study = load("nano").study
    assert study.sample == replace(nano.SAMPLE, n=2)
    assert study.sample_seeds == replace(nano.SAMPLE, n=6)
    assert study.evaluate == nano.EVALUATE
    assert study.align == nano.ALIGN
    alone = LEAST.replace('models.m = "m"', 'models.a = "nano"\nmodels.b = "nano"')
    told = parse(alone + "[sample]\ntop-k = 3\n[sample-seeds]\ntop-p = 1.0\n", "x")
    assert told.sample == replace(nano.SAMPLE, top_k=3)
    assert told.sample_seeds == replace(nano.SAMPLE, n=20, top_p=1.0)
    assert told.align == nano.ALIGN
    both = parse(LEAST + 'models.n = "nano"', "x")
    assert both == replace(parse(LEAST, "x"), models={"m": "m", "n": "nano"})


def test_files_are_found_beside_the_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (elsewhere, home / "model", home / "questions", home / "translator"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    name, study = load(str(write(home, TINY)))
    assert name == "tiny"
    assert study.models == {"tiny": str((home / "model").resolve())}
    assert study.domains["one"].questions == str((home / "questions").resolve())
    assert study.translator
    assert study.translator.model == str((home / "translator").resolve())
    assert load("nano").study.models == {"nano": "nano"}
    with pytest.raises(InputError, match=r"nan: No such file.*\(nano is meant\?\)"):
        load("nan")
