"""The lens: at the last state it is the model's own distribution, before it a plain loop's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langneurons import resume
from langneurons.config import LensConfig
from langneurons.errors import InputError, ModelError
from langneurons.meaning import lens as module
from langneurons.meaning import token_languages as languages_of
from langneurons.meaning.lens import lens, positions
from langneurons.meaning.lens_table import COLUMNS, Lens
from langneurons.meaning.sentences import Sentences
from langneurons.meaning.token_languages import TokenLanguages, token_languages
from langneurons.model.loading import Loaded, load
from langneurons.model.tokens import tokenise
from langneurons.report.results import load_result
from langneurons.texts.responses import Response
from support import families

CONFIG = LensConfig(positions=2)


@pytest.fixture(scope="module")
def tokens(model: Loaded) -> TokenLanguages:
    texts = {"en": ["she has boats"] * 99, "zh": ["她有红色的船"] * 99, "sw": ["ana mashua"] * 120}
    return token_languages(model.tokenizer, texts, 260)


@pytest.fixture(scope="module")
def few(sentences: Sentences) -> Sentences:
    """Six sentences of each language: enough for a lens."""
    texts = tuple(of_language[:6] for of_language in sentences.texts)
    return sentences._replace(ids=sentences.ids[:6], texts=texts)


@pytest.fixture(scope="module")
def seen(model: Loaded, few: Sentences, tokens: TokenLanguages) -> Lens:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(languages_of, "_is_word", str.isalpha)  # a byte is a word
        return lens(model, few, tokens, CONFIG)


def row_of(model: Loaded, few: Sentences, k: int, i: int) -> Any:
    text = few.texts[k][i]
    [row] = tokenise(model.tokenizer, [Response("s", few.languages[k], "", text)])
    return row


def test_positions_lie_in_the_second_half_before_letters(model: Loaded, few: Sentences) -> None:
    row = row_of(model, few, 0, 0)
    chosen = positions(model, row, "en", 3)
    text = np.flatnonzero(row.counted)
    assert 1 <= len(chosen) <= 3
    assert (chosen >= text[len(text) // 2]).all()
    assert all(model.tokenizer.decode([int(row.ids[t + 1])]).isalpha() for t in chosen)
    assert len(positions(model, row, "zh", 3)) == 0


def test_a_plain_loop_shows_the_same(
    model: Loaded, few: Sentences, tokens: TokenLanguages, seen: Lens
) -> None:
    """State 2 of every sentence's chosen positions by norm and head; the last by the model."""
    k = 0
    for i in range(6):
        row = row_of(model, few, k, i)
        chosen = positions(model, row, "en", 2)
        with torch.inference_mode():
            output = model.model(
                input_ids=torch.from_numpy(row.ids[None]).long(), output_hidden_states=True
            )
            state = output.hidden_states[2][0, chosen]
            shown = model.model.lm_head(model.model.model.norm(state)).softmax(-1).numpy()
            final = output.logits[0, chosen].softmax(-1).numpy()
        for number, mass in ((2, shown), (3, final)):
            by_language = (mass @ tokens.weight).sum(axis=0)
            assert seen.sums["languages"][number, k, i] == pytest.approx(by_language, rel=1e-4)
            numbers = dict(zip(COLUMNS, seen.sums["numbers"][number, k, i], strict=True))
            assert numbers["positions"] == len(chosen)
            assert numbers["known"] == pytest.approx(mass[:, tokens.known].sum(), rel=1e-4)
            divergence = (final * np.log(final / mass)).sum()
            assert numbers["divergence"] == pytest.approx(divergence, abs=1e-4)
            now = row.ids[chosen]
            assert numbers["echo"] == (mass.argmax(axis=1) == now).sum()
            later = row.ids[chosen + 1]
            ranks = [1 + (m > m[v]).sum() for m, v in zip(mass, later, strict=True)]
            assert seen.sums["ranks"][number, i][: len(chosen)].tolist() == ranks


def test_latent_translation_by_a_plain_loop(model: Loaded, few: Sentences, seen: Lens) -> None:
    """From Swahili (its letters aside) to English, at the last state."""
    k, pivot = few.languages.index("sw"), few.languages.index("en")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(languages_of, "_is_word", str.isalpha)
        rare = languages_of.rare_tokens(model.tokenizer, few.texts[pivot], "en")
    for i in range(6):
        row = row_of(model, few, k, i)
        chosen = positions(model, row, "sw", 2)
        with torch.inference_mode():
            logits = model.model(input_ids=torch.from_numpy(row.ids[None]).long()).logits
        above, more, count = 0.0, 0.0, 0
        for mass in logits[0, chosen].softmax(-1).numpy():
            words = [[v for v in of_text if v not in row.ids] for of_text in rare]
            means = [float(mass[w].mean()) if w else None for w in words]
            own, others = means[i], [m for j, m in enumerate(means) if j != i and m is not None]
            if own is None or not others:
                continue
            above += np.mean([(own > m) + (own == m) / 2 for m in others])
            more += own - np.mean(others)
            count += 1
        assert seen.sums["latent"][3, k, i, pivot] == pytest.approx([above, more, count], abs=1e-5)


@pytest.mark.parametrize(
    "name", ["gemma2", "opt", "gpt2", "cohere2", "granite", "bloom", "mixtral"]
)
def test_the_last_state_is_the_models_own(
    name: str, few: Sentences, tokens: TokenLanguages, tmp_path: Path
) -> None:
    """Whatever norms, projections, scales and caps follow the last layer."""
    other = load(families.save(name, tmp_path / name))
    alone = few._replace(languages=("en", "sw"), texts=(few.texts[0], few.texts[2]))
    seen = lens(other, alone, tokens, CONFIG)
    row = row_of(other, few, 0, 0)
    chosen = positions(other, row, "en", 2)
    with torch.inference_mode():
        logits = other.model(input_ids=torch.from_numpy(row.ids[None]).long()).logits[0, chosen]
    mass = logits.float().softmax(-1).numpy()
    expected = (mass @ tokens.weight).sum(axis=0)
    assert seen.sums["languages"][-1, 0, 0] == pytest.approx(expected, rel=1e-4)
    assert np.abs(seen.divergence[-1]) < 1e-6


def test_killed_and_resumed_is_the_same(
    model: Loaded,
    few: Sentences,
    tokens: TokenLanguages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KilledError(Exception):
        pass

    class Mortal(resume.State):
        def save(self, tensors: Any, done: int) -> None:
            super().save(tensors, done)
            raise KilledError

    whole = lens(model, few, tokens, CONFIG)
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    with pytest.raises(KilledError):
        lens(model, few, tokens, CONFIG, state=Mortal(tmp_path / "o", {}, {}))
    again = lens(model, few, tokens, CONFIG, state=resume.State(tmp_path / "o", {}, {}))
    for name, array in whole.sums.items():
        assert again.sums[name].tobytes() == array.tobytes()


def test_chunks_of_the_vocabulary_do_not_matter(
    model: Loaded, few: Sentences, tokens: TokenLanguages, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lens(model, few, tokens, CONFIG)
    monkeypatch.setattr(module, "LOGITS", 1)  # a position at a time
    single = lens(model, few, tokens, CONFIG)
    for name in ("languages", "numbers", "latent"):
        assert single.sums[name] == pytest.approx(whole.sums[name], rel=1e-4, abs=1e-6)


def test_a_language_without_a_position_is_named(
    model: Loaded, few: Sentences, tokens: TokenLanguages
) -> None:
    digits = tuple(f"{i} {i + 1} {i + 2}" for i in range(6))
    with pytest.raises(InputError, match="no sentence in zh has a token with letters"):
        lens(model, few._replace(texts=(few.texts[0], digits, few.texts[2])), tokens, CONFIG)


def test_a_model_without_a_head_is_refused(
    model: Loaded, few: Sentences, tokens: TokenLanguages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(model.model), "get_output_embeddings", lambda _: None)
    with pytest.raises(ModelError, match="has no LM head"):
        lens(model, few, tokens, CONFIG)


def test_in_and_out_of_a_folder(seen: Lens, tmp_path: Path) -> None:
    seen.save(tmp_path / "l")
    again = load_result(tmp_path / "l")
    assert again.table() == seen.table()
    assert again.latent_table() == seen.latent_table()
    assert (tmp_path / "l" / "lens-lead.csv").read_text().startswith("language,state,low,high")


def by_hand(own: list[list[float]], english: list[list[float]]) -> Lens:
    """A lens of one language with English beside it: mass of each state and sentence, [S][n]."""
    mass = np.array([own, english]).transpose(1, 2, 0)
    states, n, _ = mass.shape
    numbers = np.zeros((states, 1, n, len(COLUMNS)))
    numbers[..., 0] = numbers[..., 1] = 1
    numbers[..., 2] = np.arange(states)[::-1, None, None] * 6.0
    sums = {
        "numbers": numbers,
        "languages": mass[:, None],
        "latent": np.zeros((states, 1, n, 1, 3)),
        "ranks": np.ones((states, n, 1)),
    }
    return Lens(("sw",), ("sw", "en"), np.array([0.5, 0.5]), sums)


def test_who_leads_for_good() -> None:
    """Ahead at state 0 (an echo), behind at 1, ahead from 2 on; two of four sentences only at 3."""
    own = [[0.9] * 4, [0.1] * 4, [0.6, 0.6, 0.45, 0.45], [0.9] * 4]
    english = [[0.1] * 4, [0.5] * 4, [0.5] * 4, [0.1] * 4]
    made = by_hand(own, english)
    first = made.leads_from("sw", "en")
    assert (first.value, first.low, first.high) == (2, 2, 3)
    assert made.lead_table().rows == (("sw", 2, 2, 3),)
    assert made.readable.tolist() == [False, False, True, True]
    [row] = [row for row in made.table().records() if row["state"] == 2]
    assert row["own"] == pytest.approx(0.525)
    assert row["English"] == pytest.approx(0.5)
    assert row["largest other"] is None
    never = by_hand([[0.1] * 4] * 3, [[0.5] * 4] * 3)
    assert never.lead_table().rows == (("sw", None, None, None),)
