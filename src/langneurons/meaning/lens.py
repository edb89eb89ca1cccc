"""Lens: what a model would say at each layer, if it stopped there (nostalgebraist 2020).

The model's own code after its last layer, final norm and head, is applied to every state. At early
states that is debris: what is read there is worth only what its divergence from the final layer
allows. Probability is told by language, with tokens weighted by P(language | token), and by what
the sentence says: does the mass lie on words of its translation, rather than of other sentences'?

Memory stays small whatever the vocabulary: a few positions at a time. Letters: S state, K language
of a sentence, n sentence, J language of tokens, P pivot, c position of a chunk, V vocabulary, H
hidden size.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.config import LensConfig
from langneurons.errors import InputError
from langneurons.meaning.lens_table import COLUMNS, Lens
from langneurons.meaning.sentences import Sentences
from langneurons.meaning.token_languages import TokenLanguages, rare_tokens
from langneurons.model.batches import Batch, Batches, batched
from langneurons.model.forward import model_inputs
from langneurons.model.head import Head
from langneurons.model.loading import Loaded
from langneurons.model.states import run_to_last_state
from langneurons.model.tokens import Tokens, tokenise
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.texts.flaws import has_own_letters
from langneurons.texts.languages import is_english

LOGITS = 1 << 22
"""Logits held at once: 16 MB in float32, of which a handful of copies are made."""

SAVE_EVERY = 60.0
"""Seconds between savings of what is done."""


def lens(
    model: Loaded,
    sentences: Sentences,
    tokens: TokenLanguages,
    config: LensConfig | None = None,
    *,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Lens:
    """What a model would say at each layer, on some positions of every sentence.

    Args:
        model: a loaded causal language model.
        sentences: what it reads.
        tokens: languages of its tokens, from other texts, of every language of the sentences.
        config: settings.
        state: where to keep what is done.
        on_step: told of the positions done and of all.

    Raises:
        InputError: for a language without a position to read.
        ModelError: for a model without a head.
        SiteError: when the model's layers cannot be found.
    """
    config = config or LensConfig()
    work, chosen = _work(model, sentences, config.positions)
    reader = _Reader(model, sentences, tokens, work, chosen)
    costs = [sum(len(chosen[row]) for row in batch.rows) for batch in work.batches]
    for number in units_left(
        costs,
        load=reader.load,
        tensors=lambda: reader.sums,
        state=state,
        save_every=SAVE_EVERY,
        on_step=on_step,
    ):
        reader.run(work.batches[number])
    return Lens(
        languages=sentences.languages,
        known=tokens.languages,
        uniform=tokens.uniform,
        sums=reader.sums,
        notes=sentences.notes,
    )


def positions(model: Loaded, row: Tokens, lang: str, most: int) -> NDArray[np.intp]:
    """Positions of a sentence that are read: in its second half, before a token with letters of its
    language; at most so many, evenly spread.
    """
    text = np.flatnonzero(row.counted)
    second_half = text[len(text) // 2 : -1]
    fitting = [
        place for place in second_half if has_own_letters(_text_of(model, row, place + 1), lang)
    ]
    if len(fitting) > most:
        fitting = [fitting[i] for i in np.linspace(0, len(fitting) - 1, most).round().astype(int)]
    return np.array(fitting, dtype=np.intp)


def _text_of(model: Loaded, row: Tokens, place: int) -> str:
    """What a token says; of one that is a part of a character, what it and its neighbours say."""
    text = str(model.tokenizer.decode([int(row.ids[place])]))
    if "\ufffd" not in text:
        return text
    around = row.ids[max(0, place - 2) : place + 3]
    return str(model.tokenizer.decode(around.tolist()))


def _work(model: Loaded, sentences: Sentences, most: int) -> tuple[Batches, list[NDArray[np.intp]]]:
    """Every sentence in batches, and the positions of each that are read."""
    texts = sentences.responses()
    rows = tokenise(model.tokenizer, texts)
    limit = model.context
    for text, row in zip(texts, rows, strict=True):
        if limit is not None and len(row.ids) > limit:
            raise InputError(
                f"sentence {text.question_id} is longer than the model's context of {limit} tokens "
                f"in {text.lang}; remove it in every language"
            )
    chosen = [positions(model, row, text.lang, most) for text, row in zip(texts, rows, strict=True)]
    for k, code in enumerate(sentences.languages):
        n = len(sentences.ids)
        if not any(len(places) for places in chosen[k * n : (k + 1) * n]):
            raise InputError(
                f"no sentence in {code} has a token with letters of its script in its second half; "
                "nothing can be read of it"
            )
    work = batched(texts, rows, sentences.languages, blocks=1, budget=1024, share_prompts=False)
    return work, chosen


class _Reader:
    """Sums in the making, over the positions of each sentence."""

    def __init__(
        self,
        model: Loaded,
        sentences: Sentences,
        tokens: TokenLanguages,
        work: Batches,
        chosen: Sequence[NDArray[np.intp]],
    ) -> None:
        self.model, self.work, self.chosen = model, work, chosen
        self.head = Head(model.model)
        device = self.head.module.weight.device
        self.weight = torch.from_numpy(tokens.weight).to(device)
        self.seen = torch.from_numpy(tokens.known).to(device).float()
        self.n = len(sentences.ids)
        states, k, j = len(model.sites) + 1, len(sentences.languages), len(tokens.languages)
        rare = [
            rare_tokens(model.tokenizer, texts, code)
            for code, texts in zip(sentences.languages, sentences.texts, strict=True)
        ]
        self.rare = np.unique(np.concatenate([ids for of_language in rare for ids in of_language]))
        self.words = self._without_english(sentences, rare)
        self.sums: Tensors = {
            "numbers": np.zeros((states, k, self.n, len(COLUMNS))),
            "languages": np.zeros((states, k, self.n, j)),
            "latent": np.zeros((states, k, self.n, k, 3)),
            "ranks": np.full((states, len(work.rows), max(map(len, chosen))), np.nan),
        }

    def load(self, tensors: Tensors) -> None:
        self.sums = {name: array.copy() for name, array in tensors.items()}

    def _without_english(
        self, sentences: Sentences, rare: Sequence[Sequence[NDArray[np.int64]]]
    ) -> NDArray[np.float64]:
        """Which rare words each language's sentences have, [P, n, words], 0 or 1; of other
        languages than English without those that an English sentence has.
        """
        has = np.array([[np.isin(self.rare, ids) for ids in of_language] for of_language in rare])
        english = [k for k, code in enumerate(sentences.languages) if is_english(code)]
        read = [self.work.rows[k * self.n + i].tokens.ids for k in english for i in range(self.n)]
        also_english = np.isin(self.rare, np.concatenate(read)) if read else np.zeros(1, bool)
        others = [k for k in range(len(has)) if k not in english]
        has[others] &= ~also_english
        return has.astype(np.float64)

    @torch.inference_mode()
    def run(self, batch: Batch) -> None:
        """Read the chosen positions of some sentences at every state."""
        _, inputs = model_inputs(self.model.model, self.work, batch)
        places = [(i, int(t)) for i, row in enumerate(batch.rows) for t in self.chosen[row]]
        if not places:
            return
        at = [i for i, _ in places], [t for _, t in places]
        kept: dict[int, Tensor] = {}

        def keep(number: int, state: Tensor) -> None:
            kept[number] = state[at].clone()

        run_to_last_state(self.model.model, self.model.sites, keep, **inputs)
        rows = [batch.rows[i] for i, _ in places]
        tokens = [self.work.rows[row].tokens.ids for row in rows]
        now = torch.tensor([int(ids[t]) for ids, (_, t) in zip(tokens, places, strict=True)])
        later = torch.tensor([int(ids[t + 1]) for ids, (_, t) in zip(tokens, places, strict=True)])
        size = max(1, LOGITS // self.weight.shape[0])
        last = len(self.model.sites)
        for start in range(0, len(places), size):
            here = slice(start, start + size)
            final = _Final.of(self._probabilities(kept[last][here]))
            for number, states in kept.items():  # the last comes last, and is then used up
                shown = final.logs if number == last else self._probabilities(states[here])
                self._add(number, rows[here], shown, final, now[here], later[here])

    def _probabilities(self, states: Tensor) -> Tensor:
        """Log-probabilities [c, V] of states [c, H], by all that follows the last layer."""
        logs = self.head.logits(self._normed(states)).float()
        for row in logs:  # one by one, so that no second copy of them all is made
            row -= row.logsumexp(dim=-1)
        return logs

    def _normed(self, states: Tensor) -> Tensor:
        """What the model's own code makes of states before its head.

        One token runs, and after the last layer these states take its place.
        """

        def replace(_: Any, __: Any, output: Any) -> Any:
            placed = states[None].to(output[0].device)
            return (placed, *output[1:]) if isinstance(output, tuple) else placed

        handle = self.model.sites[-1].module.register_forward_hook(replace)
        try:
            one = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
            inputs = {"input_ids": one, "attention_mask": torch.ones_like(one)}
            hidden = self.head.hidden(**inputs, use_cache=False)
            return hidden.reshape(len(states), -1)  # [1, c, H], or [c, 1, H] in GPT-2
        finally:
            handle.remove()

    def _add(
        self,
        number: int,
        rows: Sequence[int],
        shown: Tensor,
        final: "_Final",
        now: Tensor,
        later: Tensor,
    ) -> None:
        """Add what some positions show at one state to the sums of their sentences.

        Uses up `shown`: vocabularies are so large that each copy takes longer than what is done
        with it.
        """
        now, later = now.to(shown.device), later.to(shown.device)
        best = shown.argmax(dim=-1)
        divergence = final.own - _row_by_row(final.shares, shown)
        rank = (shown > shown.gather(1, later[:, None])).sum(dim=-1) + 1
        shares = shown.exp_()
        columns = (
            torch.ones_like(divergence),
            shares @ self.seen,
            divergence,
            (best == now).float(),
            (best == final.best).float(),
        )
        numbers = torch.stack(columns, dim=-1).double().cpu().numpy()
        languages = (shares @ self.weight).double().cpu().numpy()
        words = shares[:, torch.from_numpy(self.rare).to(shares.device)].double().cpu().numpy()
        latent = self._latent(rows, words)
        for place, row in enumerate(rows):
            k, i = divmod(row, self.n)
            self.sums["numbers"][number, k, i] += numbers[place]
            self.sums["languages"][number, k, i] += languages[place]
            self.sums["latent"][number, k, i] += latent[place]
            free = np.flatnonzero(np.isnan(self.sums["ranks"][number, row]))[0]
            self.sums["ranks"][number, row, free] = float(rank[place])

    def _latent(self, rows: Sequence[int], words: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each position and pivot, [c, P, 3]: the chance that its translation's words have more
        mass than another sentence's, how much more, per word, and 1; zeros where there are no
        words. No word that the source has counts.
        """
        allowed = np.stack([~np.isin(self.rare, self.work.rows[row].tokens.ids) for row in rows])
        pivots, n, rare = self.words.shape
        shape = (len(rows), pivots, n)
        has = self.words.reshape(pivots * n, rare).T
        count = (allowed.astype(np.float64) @ has).reshape(shape)
        mass = ((words * allowed) @ has).reshape(shape)
        mass = np.divide(mass, count, out=np.full(shape, np.nan), where=count > 0)
        told = np.zeros((*shape[:2], 3))
        for place, row in enumerate(rows):
            source, i = divmod(row, self.n)
            own = mass[place, :, i]
            others = np.delete(mass[place], i, axis=1)
            there = np.isfinite(others)
            number = there.sum(axis=1)
            tells = np.isfinite(own) & (number > 0) & (np.arange(len(own)) != source)
            above = (others < own[:, None]).sum(axis=1) + (others == own[:, None]).sum(axis=1) / 2
            rest = np.where(there, others, 0).sum(axis=1)
            told[place, tells, 0] = above[tells] / number[tells]
            told[place, tells, 1] = own[tells] - rest[tells] / number[tells]
            told[place, tells, 2] = 1
        return told


class _Final(NamedTuple):
    """What the last layer shows at some positions, which every state is held against.

    Attributes:
        logs: log-probabilities, [c, V].
        shares: probabilities, [c, V].
        own: mean log-probability, [c].
        best: the likeliest token, [c].
    """

    logs: Tensor
    shares: Tensor
    own: Tensor
    best: Tensor

    @classmethod
    def of(cls, logs: Tensor) -> Self:
        """Of log-probabilities [c, V]."""
        shares = logs.exp()
        return cls(logs, shares, _row_by_row(shares, logs), logs.argmax(dim=-1))


def _row_by_row(first: Tensor, second: Tensor) -> Tensor:
    """Inner products of rows [c, V], [c]; no copy is made."""
    return (first[:, None] @ second[:, :, None])[:, 0, 0]
