"""Prompted: a causal model as the translator, told what to do by a prompt with worked examples.

The prompt names the languages and shows texts with their translations; what is scored is how
probable the model then finds a given translation of the last one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.align.translator import Text, Translation
from langneurons.config import PromptedConfig, RewardConfig
from langneurons.errors import InputError
from langneurons.intervals import Floats
from langneurons.model.scored import prepared
from langneurons.resume import Progress, Saved, Tensors, units_left
from langneurons.texts.languages import is_english, named, same
from langneurons.texts.prompts import CHAT, load_template
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded

_ONE = "en"  # all rows of the work go by one language: what they cost is told row by row


class Judged(NamedTuple):
    """What a causal model says of translations, one for each pair.

    Attributes:
        sums: summed log-probability (natural logarithm) of the target's tokens, [P]; NaN where it
            has none.
        tokens: how many they are, [P].
        cut: texts that were cut.
    """

    sums: Floats
    tokens: NDArray[np.int64]
    cut: int


@dataclass(frozen=True)
class Prompting:
    """How a causal model is asked for a translation.

    Attributes:
        config: the form of the prompt, and how many examples it shows.
        examples: texts in several languages, those of one id translations of each other.
    """

    config: PromptedConfig = field(default_factory=PromptedConfig)
    examples: tuple[Document, ...] = ()

    @property
    def number(self) -> int:
        """How many examples a prompt shows."""
        return self.config.shots if self.examples else 0

    def prompt(self, source: Text, target: str, tokenizer: "PreTrainedTokenizerBase") -> str:
        """What stands before the translation of a text into a language.

        Raises:
            InputError: for a language whose code is not known, or that has too few examples; for a
                model without a chat template that is to be asked by it.
        """
        from_, into = named(source.lang), named(target)
        shown = [f"{from_}: {one}\n{into}: {two}" for one, two in self.shown(source.lang, target)]
        asked = "\n\n".join([*shown, f"{from_}: {source.text}\n{into}:"])
        if self.config.translator_prompt == "plain":
            return asked
        task = f"Translate from {from_} into {into}. Write the translation of the last text alone."
        return load_template(CHAT).prompt(f"{task}\n\n{asked}", source.lang, tokenizer)

    def shown(self, source: str, target: str) -> list[tuple[str, str]]:
        """The first examples in two languages.

        Raises:
            InputError: when there are some, but too few in these languages.
        """
        of_source, of_target = self._texts(source), self._texts(target)
        both = [(text, of_target[id_]) for id_, text in of_source.items() if id_ in of_target]
        if self.examples and len(both) < self.config.shots:
            raise InputError(
                f"{len(both)} examples are there in {source} and in {target} (by id), "
                f"{self.config.shots} are to be shown; add some, or lower --shots"
            )
        return both[: self.config.shots]

    def _texts(self, code: str) -> dict[str, str]:
        english = is_english(code)
        return {
            one.id: one.text
            for one in self.examples
            if same(one.lang, code) or (english and is_english(one.lang))
        }

    def response(self, text: str) -> str:
        """A translation as it follows the prompt."""
        return f" {text}" if self.config.translator_prompt == "plain" else text


def judged(
    translator: "Loaded",
    prompting: Prompting,
    texts: tuple[Sequence[Text], Sequence[Text]],
    pairs: Sequence[Translation],
    config: RewardConfig,
    *,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Judged:
    """Log P(target | source) of every pair, under a causal model.

    Args:
        translator: the model.
        prompting: how it is asked.
        texts: the source texts and the target texts; of each at most `config.max_tokens` tokens
            are taken.
        pairs: what to judge.
        config: settings.
        state: where to keep what is done.
        on_step: told of the progress.

    Raises:
        InputError: for a text that does not fit into the model with its prompt; else as
            `Prompting.prompt`.
    """
    tokenizer = translator.tokenizer
    (sources, cut_sources), (targets, cut_targets) = (
        _shortened(tokenizer, some, config.max_tokens) for some in texts
    )
    prompts: dict[tuple[int, str], str] = {}
    rows = []
    for number, pair in enumerate(pairs):
        target = targets[pair.target]
        place = pair.source, target.lang
        if place not in prompts:
            prompts[place] = prompting.prompt(sources[pair.source], target.lang, tokenizer)
        rows.append(Response(str(number), _ONE, prompts[place], prompting.response(target.text)))
    fit, work, facts = prepared(
        translator,
        rows,
        (_ONE,),
        blocks=1,
        budget=config.budget or (4096 if translator.device.type == "cpu" else 16384),
        share_prompts=None,
    )
    if long := facts.get("longer than the context"):
        raise InputError(
            f"{sum(long['responses'].values())} of {len(rows)} translations are longer with their "
            f"prompts than {translator.id}'s context of {long['context']:,} tokens; lower --shots "
            "or --max-tokens"
        )
    sums = np.full(len(pairs), np.nan)
    tokens = np.zeros(len(pairs), np.int64)
    places = np.array([int(response.question_id) for response in fit])
    counted = [int(row.tokens.counted.sum()) for row in work.batches.rows]
    tokens[places] = counted

    def load(saved: Tensors) -> None:
        sums[:] = saved["sums"]

    for number in units_left(
        [len(batch.rows) for batch in work.batches.batches],
        load=load,
        tensors=lambda: {"sums": sums},
        state=state,
        save_every=config.save_every,
        on_step=on_step,
    ):
        batch = work.batches.batches[number]
        sums[places[list(batch.rows)]] = work.log_probabilities(batch)
    return Judged(sums, tokens, cut_sources + cut_targets)


def _shortened(
    tokenizer: "PreTrainedTokenizerBase", texts: Iterable[Text], limit: int
) -> tuple[list[Text], int]:
    """The texts, each with no more than so many tokens of its own, and how many were cut."""
    kept, cut = [], 0
    for text in texts:
        encoded = tokenizer(
            text.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ends = [end for _, end in encoded["offset_mapping"]]
        if len(ends) > limit:
            cut += 1
            text = text._replace(text=text.text[: ends[limit - 1]])
        kept.append(text)
    return kept, cut
