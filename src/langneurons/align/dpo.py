"""DPO: train a LoRA adapter on preference pairs.

The objective is the paper's Eq. 1 to 3: -log sigmoid(A - B), where A and B are beta times how much
likelier the chosen and the rejected response have become under the adapted model than under the
base.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langneurons import config as configs
from langneurons.align.only import Only
from langneurons.align.pairs import Pair, Pairs
from langneurons.align.recipe import dpo_fields
from langneurons.align.training import Objective, Trained, begun, check, place_of, trained
from langneurons.config import AlignConfig
from langneurons.errors import InputError
from langneurons.resume import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langneurons.model.loading import Loaded


def dpo(
    model: "Loaded",
    pairs: Pairs,
    folder: Path,
    config: AlignConfig | None = None,
    *,
    processes: int = 1,
    alone: Only | None = None,
    on_step: Progress | None = None,
    **settings: Any,
) -> Trained:
    """Train an adapter on a model, from the last whole checkpoint in the folder if there is one.

    Args:
        model: a causal language model without an adapter; it is changed. Prompts are plain text, so
            that no chat template is needed; a missing padding token is the end token.
        pairs: pairs to train on, and to watch the loss of at every checkpoint.
        folder: where checkpoints go while training. It is the caller's to remove.
        config: settings, or give them by name.
        processes: how many processes train together.
        alone: the neurons whose weights alone are trained; None: what `config` says.
        on_step: told of the progress.
        **settings: those of `AlignConfig`, by name.

    Raises:
        InputError: for a model that is an adapter already or has no layer of a name in
            `config.targets`, a tokenizer without an end token, pairs that are all too long, a batch
            that cannot be shared out, a field in `config.set` that TRL and PEFT do not know.
        MissingExtraError: when TRL, PEFT or what is reported to is not installed.
    """
    config = configs.of(AlignConfig, config, settings)
    check(model, config, processes, alone)
    from trl import DPOConfig, DPOTrainer

    kept, long = _fitting(model.tokenizer, pairs.train, config)
    model.require_rows(ids for tokenised in kept for ids in tokenised.both)
    if not kept:
        raise InputError(
            f"all {len(pairs.train)} pairs are longer than {config.max_tokens} tokens; "
            "raise --max-tokens"
        )
    watched = _spread(_fitting(model.tokenizer, pairs.dev, config)[0], config.dev)
    model.require_rows(ids for tokenised in watched for ids in tokenised.both)
    place = place_of(model, folder, processes)
    fields = dpo_fields(config, place, watch=bool(watched))
    data = {"train_dataset": _dataset(model.tokenizer, kept)}
    if watched:
        data["eval_dataset"] = _dataset(model.tokenizer, watched)
    facts = {
        "pairs": dict(Counter(tokenised.pair.lang for tokenised in kept)),
        "too long": dict(Counter(pair.lang for pair in long)),
        "dev pairs": len(watched),
    }
    objective = Objective(DPOTrainer, DPOConfig, fields, data)
    return trained(model, objective, config, place, facts, on_step, alone)


class _Tokenised(NamedTuple):
    """A pair and its tokens, without special ones.

    Attributes:
        pair: the pair.
        prompt: ids of the prompt alone.
        both: ids of the prompt with the chosen, and with the rejected response.
    """

    pair: Pair
    prompt: list[int]
    both: tuple[list[int], list[int]]


def _fitting(
    tokenizer: "PreTrainedTokenizerBase", pairs: Sequence[Pair], config: AlignConfig
) -> tuple[list[_Tokenised], list[Pair]]:
    """Pairs that are within the limit on tokens, and those that are not. Nothing is ever cut."""
    special = tokenizer.num_special_tokens_to_add() + 1  # and the end token, which TRL adds
    fitting, long = [], []
    for pair in pairs:
        texts = [pair.prompt, pair.prompt + pair.chosen, pair.prompt + pair.rejected]
        prompt, chosen, rejected = _ids(tokenizer, texts)
        if max(len(chosen), len(rejected)) + special > config.max_tokens:
            long.append(pair)
        else:
            fitting.append(_Tokenised(pair, prompt, (chosen, rejected)))
    return fitting, long


def _spread(pairs: Sequence[_Tokenised], most: int) -> list[_Tokenised]:
    """At most so many of the pairs, evenly spread, so that some are of every language."""
    number = min(most, len(pairs))
    return [pairs[i * len(pairs) // number] for i in range(number)]


def _dataset(tokenizer: "PreTrainedTokenizerBase", pairs: Sequence[_Tokenised]) -> Any:
    """The texts of pairs as TRL takes them, which tokenises them anew."""
    from datasets import Dataset

    rows = []
    for pair, prompt_ids, both_ids in pairs:
        prompt, responses = begun(tokenizer, pair.prompt), (pair.chosen, pair.rejected)
        if prompt != pair.prompt or not _begin_with(prompt_ids, both_ids):
            prompt, responses = apart(tokenizer, prompt, responses)
        chosen, rejected = responses
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return Dataset.from_list(rows)


def apart(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, responses: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Prompt and responses such that no token is in both.

    Where one would be, the end of the prompt that is in it goes to every response: as in `tokens`,
    such a token counts as the response's.
    """
    while prompt:
        alone, *whole = _ids(tokenizer, [prompt, *(prompt + response for response in responses)])
        if _begin_with(alone, whole):
            break
        last = prompt[-1]
        prompt, responses = prompt[:-1], tuple(last + response for response in responses)
    return prompt, responses


def _begin_with(prompt: list[int], whole: Sequence[list[int]]) -> bool:
    """Whether texts begin with the tokens of the prompt, so that none reaches into the response."""
    return all(ids[: len(prompt)] == prompt for ids in whole)


def _ids(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
