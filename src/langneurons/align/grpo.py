"""GRPO: train a LoRA adapter by sampling, with the alignment score of each response as its reward.

It stands where the paper's PPO does, without its value model: responses to one prompt are held
against each other.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons.align.only import Only
from langneurons.align.prompted import Prompting
from langneurons.align.recipe import grpo_fields
from langneurons.align.reward import (
    is_translation_model,
    references,
    require_shared,
    reward,
)
from langneurons.align.training import Objective, Trained, begun, check, place_of, trained
from langneurons.align.translator import Text, language_tokens
from langneurons.config import AlignConfig, GrpoConfig
from langneurons.errors import InputError
from langneurons.resume import Progress
from langneurons.texts.languages import ENGLISH, is_english
from langneurons.texts.question_ids import ids_of
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from langneurons.model.loading import Loaded


class Judge(NamedTuple):
    """A translation model, or a causal model that is asked to translate, that gives rewards.

    Attributes:
        translator: the model.
        spelled: language tokens by code, for languages that are not found; see
            `translator.language_tokens`.
        prompting: how a causal model is asked.
    """

    translator: "Loaded"
    spelled: Mapping[str, str]
    prompting: Prompting = Prompting()

    def require(self, codes: Iterable[str]) -> None:
        """Stop at a language that it cannot be told of.

        Raises:
            InputError: naming it.
        """
        if is_translation_model(self.translator):
            language_tokens(self.translator.tokenizer, [ENGLISH, *codes], self.spelled)
            return
        for code in codes:
            self.prompting.prompt(Text(code, ""), ENGLISH, self.translator.tokenizer)


class _Asked(NamedTuple):
    """A prompt to train on."""

    prompt: str
    question_id: str
    lang: str


def grpo(
    model: "Loaded",
    judge: Judge,
    responses: Sequence[Response],
    folder: Path,
    config: AlignConfig,
    sampling: GrpoConfig,
    *,
    languages: Sequence[str] | None = None,
    processes: int = 1,
    alone: Only | None = None,
    on_step: Progress | None = None,
) -> Trained:
    """Train an adapter on a model, from the last whole checkpoint in the folder if there is one.

    Args:
        model: as for `dpo`.
        judge: what scores the responses that are sampled.
        responses: of the English ones the texts are references; of the others nothing but the
            prompts is used.
        folder: as for `dpo`.
        config: settings.
        sampling: settings of GRPO.
        languages: languages to train; default all but English.
        processes: as for `dpo`.
        alone: the neurons whose weights alone are trained; None: what `config` says.
        on_step: told of the progress.

    Raises:
        InputError: see `dpo`; for a language that is not there, or when no prompt is left, saying
            why.
        MissingExtraError: see `dpo`.
    """
    check(model, config, processes, alone)
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    place = place_of(model, folder, processes)
    fields = grpo_fields(config, sampling, place)
    english: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        if is_english(response.lang):
            english[response.question_id].append(response)
    known = references([response for group in english.values() for response in group])
    asked = _prompts(responses, languages)
    held = {ENGLISH, *(one.lang for one in asked)}
    ids = ids_of(response for response in responses if response.lang in held)
    if english:
        require_shared(ids, known.texts.keys())
    judge.require({one.lang for one in asked})
    kept, lost = _kept(model, asked, known.texts, config, sampling)
    rows = [one._replace(prompt=begun(model.tokenizer, one.prompt)) for one in kept]
    data = {
        "train_dataset": Dataset.from_list([row._asdict() for row in rows]),
        "reward_funcs": alignment(judge, english),
    }
    facts = {
        "prompts": dict(Counter(one.lang for one in kept)),
        "references": known.facts,
        **{why: dict(counted) for why, counted in lost.items()},
    }
    objective = Objective(GRPOTrainer, GRPOConfig, fields, data)
    return trained(model, objective, config, place, facts, on_step, alone)


def alignment(
    judge: Judge, english: Mapping[str, Sequence[Response]]
) -> Callable[..., list[float | None]]:
    """The reward as TRL calls it: alignment scores of completions, as `reward` gives them.

    Args:
        judge: what scores.
        english: by question, the English responses.
    """

    def alignment(
        completions: list[str], question_id: list[str], lang: list[str], **_: Any
    ) -> list[float | None]:
        written = [
            Response(question_id=question, lang=code, prompt="", response=text, sample=sample)
            for sample, (question, code, text) in enumerate(
                zip(question_id, lang, completions, strict=True)
            )
        ]
        asked = dict.fromkeys(question_id)
        held_against = [response for question in asked for response in english[question]]
        scores = reward(
            judge.translator,
            [*held_against, *written],
            spelled=judge.spelled,
            prompting=judge.prompting,
        )
        return [one.score for one in scores.scored]

    return alignment


def _prompts(responses: Sequence[Response], languages: Sequence[str] | None) -> list[_Asked]:
    """Each prompt that is not English, once, with its question and language, in order.

    Raises:
        InputError: for a language that has none.
    """
    every = [
        _Asked(response.prompt, response.question_id, response.lang)
        for response in responses
        if not is_english(response.lang)
    ]
    if not every:
        raise InputError(
            f"all responses are in {ENGLISH}; sample the questions in other languages as well"
        )
    codes = list(dict.fromkeys(one.lang for one in every))
    if missing := [code for code in languages or () if code not in codes]:
        raise InputError(
            f"no response is in {', '.join(missing)}, so that no prompt is known; there are "
            f"{', '.join(codes)}. {ENGLISH} is what the others are held against and is not trained"
        )
    return [one for one in dict.fromkeys(every) if not languages or one.lang in languages]


def _kept(
    model: "Loaded",
    asked: Sequence[_Asked],
    references: Mapping[str, Sequence[str]],
    config: AlignConfig,
    sampling: GrpoConfig,
) -> tuple[list[_Asked], dict[str, Counter[str]]]:
    """Prompts whose responses can be scored and have room, and how many have not.

    Those that have not are counted by reason and language.

    Raises:
        InputError: when none is left in a language.
    """
    limit = min(config.max_tokens, model.context or config.max_tokens)
    tokens = model.tokenizer([one.prompt for one in asked], verbose=False)["input_ids"]
    model.require_rows(tokens)
    kept: list[_Asked] = []
    lost: dict[str, Counter[str]] = {"no reference": Counter(), "too long": Counter()}
    for one, ids in zip(asked, tokens, strict=True):
        if one.question_id not in references:
            lost["no reference"][one.lang] += 1
        elif len(ids) + sampling.max_new_tokens > limit:
            lost["too long"][one.lang] += 1
        else:
            kept.append(one)
    prompts = Counter(one.lang for one in asked)
    if gone := prompts.keys() - {one.lang for one in kept}:
        where = f" in {', '.join(sorted(gone))}" if kept else ""
        alone, long = (
            sum(lost[why][code] for code in gone) for why in ("no reference", "too long")
        )
        raise InputError(
            f"no prompt is left{where} of {sum(prompts[code] for code in gone)}: {alone} have no "
            f"English response to be held against; with {long} a response of "
            f"{sampling.max_new_tokens} tokens would be longer than {limit}, which --max-tokens or "
            "the model allows; lower --max-new-tokens"
        )
    return kept, lost
