"""The command check: what it prints, and its exit status."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from support import families
from support.command import Outcome, refused


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("models") / "llama")


def test_a_model_on_which_everything_holds(llama: Path, process: Callable[..., Outcome]) -> None:
    done = process("check", llama)
    assert (done.status, done.err) == (0, "")
    *claims, verdict = done.out.splitlines()
    assert verdict == f"{llama}: every measurement holds"
    assert len(claims) == 11
    assert all(line.startswith("yes  ") for line in claims)
    assert claims[2] == f"yes  {'every site is passed once in a forward':<54}  3 of 3"


def test_for_machines(llama: Path, langneurons: Callable[..., Outcome]) -> None:
    done = langneurons("check", llama, "--json")
    assert done.status == 0
    assert set(done.json) == {"model", "holds", "checks"}
    assert done.json["model"] == str(llama)
    assert done.json["holds"] is True
    assert [set(check) for check in done.json["checks"]] == [{"claim", "holds", "seen"}] * 11


def test_a_model_that_cannot_be_read(
    llama: Path, tmp_path: Path, langneurons: Callable[..., Outcome]
) -> None:
    """Mamba has no feed-forward."""
    config = AutoConfig.for_model("mamba", vocab_size=260, num_hidden_layers=2, hidden_size=32)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path)
    done = langneurons("check", tmp_path)
    assert (done.status, done.err) == (2, "")
    _, claim, verdict = done.out.splitlines()
    assert claim.startswith("NO   every site can be read  ")
    assert "  backbone.layers.0 has no feed-forward that can be read" in claim
    assert verdict == (f"{tmp_path}: some measurements do not hold; do not trust its counts")
    assert langneurons("check", tmp_path, "--json").json["holds"] is False


def test_what_is_no_model(tmp_path: Path, langneurons: Callable[..., Outcome]) -> None:
    refused(langneurons("check", tmp_path), "holds no config.json, so it is no model folder")
