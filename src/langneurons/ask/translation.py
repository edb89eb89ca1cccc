"""Translation: parallel texts translated by a model, each scored by its chrF.

chrF is that of sacrebleu: runs of one to six characters without spaces, beta 2, of each text by
itself; what is told is the mean over texts. The prompt names both languages before the texts, and a
translation ends with its line.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langneurons.align.prompted import Prompting
from langneurons.align.translator import Text
from langneurons.ask.engine import Request
from langneurons.ask.local import InProcess
from langneurons.ask.sample import completed
from langneurons.ask.silenced import Answers, strays
from langneurons.config import EvaluateConfig, PromptedConfig, TaskConfig
from langneurons.errors import InputError
from langneurons.resume import Progress, Saved
from langneurons.texts.language_id import by_language, learn
from langneurons.texts.languages import ENGLISH, is_english
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document

if TYPE_CHECKING:
    from torch import Tensor

    from langneurons.model.loading import Loaded

END = "\n"
"""Where a translation ends, if nothing else is asked for."""


class Translating:
    """Parallel texts, ready to be translated, with neurons silenced or not."""

    def __init__(
        self,
        model: "Loaded",
        documents: Sequence[Document],
        config: EvaluateConfig,
        task: TaskConfig,
        examples: Sequence[Document] = (),
    ) -> None:
        """Make every prompt.

        Args:
            model: what translates.
            documents: texts in several languages, English among them, those of one id translations
                of each other.
            config: how it writes.
            task: the direction, and how many examples are shown.
            examples: such texts, which are shown with their translations.

        Raises:
            InputError: without texts in English and in another language that have ids in common;
                for examples that are too few in a language.
        """
        self.scorer = _scorer()
        self.model, self.config = model, config.greedy()
        if not config.stop:
            self.config = replace(self.config, stop=(END,))
        prompting = Prompting(PromptedConfig(shots=task.shots), tuple(examples))
        into = task.direction == "into-english"
        self.learnt = by_language((one.lang, one.text) for one in documents)
        self.asked: list[Response] = []
        for source, target in _pairs(documents, task.take):
            if not into:
                source, target = target, source
            text = Text(source.lang, source.text)
            prompt = prompting.prompt(text, target.lang, model.tokenizer)
            lang = source.lang if into else target.lang
            self.asked.append(Response(source.id, lang, prompt, "", answer=target.text))
        self.codes = tuple(dict.fromkeys(one.lang for one in self.asked))
        self.into = into

    def answers(
        self,
        masks: "Sequence[Tensor | None] | None",
        state: Saved | None = None,
        on_step: Progress | None = None,
    ) -> Answers:
        """Every text translated; see `silenced.Answering`."""
        engine = InProcess(self.model, masks)
        requests = [Request(one.prompt, 0) for one in self.asked]
        completions = completed(engine, requests, self.config, state, on_step)
        written = [completion.text.strip() for completion in completions]
        responses = [
            Response(
                question_id=one.question_id,
                lang=one.lang,
                prompt=one.prompt,
                response=written[place],
                answer=one.answer,
            )
            for place, one in enumerate(self.asked)
        ]
        worth = [
            self.scorer.sentence_score(one.response, [str(one.answer)]).score / 100
            for one in responses
        ]
        meant = [
            Response(one.question_id, ENGLISH if self.into else one.lang, "", one.response)
            for one in responses
        ]
        return Answers(responses, worth, strays(meant, learn(self.learnt)))

    def corpus_score(self, responses: Sequence[Response]) -> dict[str, float]:
        """The chrF of all translations of a language together, from 0 to 100, as papers give it."""
        scores = {}
        for code in self.codes:
            mine = [one for one in responses if one.lang == code]
            references = [str(one.answer) for one in mine]
            texts = [one.response for one in mine]
            scores[code] = round(float(self.scorer.corpus_score(texts, [references]).score), 2)
        return scores


def _scorer() -> Any:
    """The chrF of sacrebleu.

    Raises:
        InputError: where it is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise InputError(
            "--task translation needs sacrebleu: pip install 'langneurons[translation]'"
        ) from None
    return CHRF()


def _pairs(documents: Sequence[Document], take: int) -> list[tuple[Document, Document]]:
    """Texts of other languages with their English ones, of the first ids."""
    english = {one.id: one for one in documents if is_english(one.lang)}
    others = [one for one in documents if not is_english(one.lang)]
    if not english or not others:
        there = ", ".join(dict.fromkeys(one.lang for one in documents)) or "nothing"
        raise InputError(
            f"--task translation needs texts in English and in other languages; there is {there}"
        )
    kept = list(english)[: take or None]
    pairs = [(one, english[one.id]) for one in others if one.id in set(kept)]
    there = {one.lang for one, _ in pairs}
    if lacking := list(dict.fromkeys(one.lang for one in others if one.lang not in there)):
        raise InputError(
            f"no text in {', '.join(lacking)} has the id of an English one; name ids alike in all "
            "languages"
        )
    return pairs
