"""GRPO: train a LoRA adapter by sampling, with the alignment score of each response as its reward.

It stands where the paper's PPO does, without its value model: responses to one prompt are held
against each other.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons.align.recipe import settings
from langneurons.align.reward import references, reward
from langneurons.align.training import Aligned, Progress, begun, check, is_on_cpu, trained
from langneurons.align.translator import language_tokens
from langneurons.config import AlignConfig, GrpoConfig, RewardConfig
from langneurons.errors import InputError
from langneurons.model.forward import context
from langneurons.texts.languages import ENGLISH
from langneurons.texts.responses import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Judge(NamedTuple):
    """A translation model that gives rewards.

    Attributes:
        model: the model, in eval mode.
        tokenizer: its tokenizer.
        spelled: language tokens by code, for languages that are not found; see
            `translation.language_tokens`.
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    spelled: Mapping[str, str]


def grpo(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    judge: Judge,
    responses: Sequence[Response],
    languages: Sequence[str] | None,
    config: AlignConfig,
    ours: GrpoConfig,
    folder: Path,
    *,
    processes: int = 1,
    on_step: Progress | None = None,
) -> Aligned:
    """Train an adapter on a model, from the last whole checkpoint in the folder if there is one.

    Args:
        model: as for `align`.
        tokenizer: as for `align`.
        judge: what scores the responses that are sampled.
        responses: of the English ones the texts are references; of the others nothing but the
            prompts is used.
        languages: languages to train; default all but English.
        config: settings.
        ours: settings of GRPO.
        folder: as for `align`.
        processes: as for `align`.
        on_step: told of the progress.

    Raises:
        InputError: see `align`; for a language that is not there, or when no prompt is left, saying
            why.
        MissingExtraError: see `align`.
    """
    check(model, tokenizer, config, processes)
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments, lora = settings(
        config, folder, str(model.dtype), processes, on_cpu=is_on_cpu(model), grpo=ours
    )
    english: dict[str, list[Response]] = defaultdict(list)
    for one in responses:
        if one.lang == ENGLISH:
            english[one.question_id].append(one)
    found, asked = (
        references([one for group in english.values() for one in group]),
        _prompts(responses, languages),
    )
    language_tokens(judge.tokenizer, [ENGLISH, *{row["lang"] for row in asked}], judge.spelled)
    limit = min(config.max_tokens, context(model) or config.max_tokens)
    lengths = [
        len(ids) for ids in tokenizer([row["prompt"] for row in asked], verbose=False)["input_ids"]
    ]
    kept, lost = [], {"no reference": Counter(), "too long": Counter()}
    for row, length in zip(asked, lengths, strict=True):
        long = length + ours.max_new_tokens > limit
        why = (
            "no reference"
            if row["question_id"] not in found.texts
            else "too long"
            if long
            else None
        )
        if why:
            lost[why][row["lang"]] += 1
        else:
            kept.append(row | {"prompt": begun(tokenizer, row["prompt"])})
    if not kept:
        raise InputError(
            f"no prompt is left of {len(asked)}: {lost['no reference'].total()} have no English response to be held "
            f"against; with {lost['too long'].total()} a response of {ours.max_new_tokens} tokens would be longer than "
            f"{limit}, which --max-tokens or the model allows; lower --max-new-tokens"
        )
    facts: dict[str, Any] = {
        "prompts": dict(Counter(row["lang"] for row in kept)),
        "references": found.facts,
    }
    facts |= {why: dict(counted) for why, counted in lost.items()}
    given = {"train_dataset": Dataset.from_list(kept), "reward_funcs": alignment(judge, english)}
    return trained(
        GRPOTrainer, GRPOConfig, arguments, lora, model, tokenizer, folder, given, facts, on_step
    )


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
        said = [
            Response(question, code, "", text, sample)
            for sample, (question, code, text) in enumerate(
                zip(question_id, lang, completions, strict=True)
            )
        ]
        held = [one for question in dict.fromkeys(question_id) for one in english[question]]
        scored = reward(
            judge.model, judge.tokenizer, [*held, *said], RewardConfig(), spelled=judge.spelled
        ).scored
        return [one.score for one in scored]

    return alignment


def _prompts(
    responses: Sequence[Response], languages: Sequence[str] | None
) -> list[dict[str, str]]:
    """Each prompt that is not English, once, with its question and language, in order.

    Raises:
        InputError: for a language that has none.
    """
    held = dict.fromkeys(
        (one.prompt, one.question_id, one.lang) for one in responses if one.lang != ENGLISH
    )
    there = list(dict.fromkeys(code for *_, code in held))
    if not there:
        raise InputError(
            f"all responses are in {ENGLISH}; sample the questions in other languages as well"
        )
    if missing := [code for code in languages or () if code not in there]:
        raise InputError(
            f"no response is in {', '.join(missing)}, so that no prompt is known; there are {', '.join(there)}. "
            f"{ENGLISH} is what the others are held against and is not trained"
        )
    rows = [dict(zip(("prompt", "question_id", "lang"), key, strict=True)) for key in held]
    return [row for row in rows if not languages or row["lang"] in languages]
