"""Forward: what a model is given for a batch, and which texts fit into it."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.errors import InputError
from langneurons.model import tokens
from langneurons.model.batches import Batch, Batches
from langneurons.texts.responses import Response


def device_of(model: Any) -> torch.device:
    """Where a model takes its input: the device of its embeddings."""
    return model.get_input_embeddings().weight.device


def context(model: Any) -> int | None:
    """How many tokens the model can read at once, as its config says.

    None where it says nothing (BLOOM: any).
    """
    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    return next((limit for limit in limits if limit and limit > 0), None)  # XLNet says -1


def forward_arguments(model: Any) -> set[str]:
    """Names of what the model's forward takes."""
    inner = getattr(model, "get_base_model", lambda: model)()  # PEFT's own forward names nothing
    return set(inspect.signature(type(inner).forward).parameters)


def cache_name(model: Any) -> str:
    """What the model's forward calls its key-value cache.

    `cache`; before transformers 5.24 `past_key_values`.
    """
    return "cache" if "cache" in forward_arguments(model) else "past_key_values"


def new_cache(model: Any) -> dict[str, Any]:
    """An empty key-value cache, as the model's forward takes it."""
    from transformers import DynamicCache

    return {cache_name(model): DynamicCache(config=model.config.get_text_config())}


def fitting(
    model: Any,
    responses: Sequence[Response],
    rows: Sequence[tokens.Tokens],
    codes: tuple[str, ...],
    gone: Mapping[str, Mapping[str, int]] | None = None,
) -> tuple[list[int], dict[str, Any]]:
    """Responses that fit into the model's context and have a token to count.

    Args:
        model: a causal language model.
        responses: what is to be run.
        rows: their tokens, in the same order.
        codes: languages of which a response must be left.
        gone: why others are not among the responses, language -> reason -> how many; for the error.

    Returns:
        Positions of those that fit, and facts of those that do not.

    Raises:
        InputError: for a language of which none is left.
    """
    limit = context(model)
    long = tokens.too_long(rows, limit) if limit else []
    empty = [i for i, row in enumerate(rows) if not row.counted.any()]
    left_out = {*long, *empty}
    kept = [i for i in range(len(rows)) if i not in left_out]
    kept_languages = {responses[i].lang for i in kept}
    if without := [code for code in codes if code not in kept_languages]:
        reasons = {
            f"as longer than the model's context of {limit} tokens": long,
            "as without a token to count": [i for i in empty if i not in long],
        }
        here = {
            reason: Counter(responses[i].lang for i in positions)
            for reason, positions in reasons.items()
        }
        why = [_why_none(code, gone or {}, here) for code in without]
        raise InputError(
            f"no response is left for {', '.join(without)}: {'; '.join(why)}; add responses that "
            "can be counted, or remove the language"
        )
    facts: dict[str, Any] = {}
    if long:
        facts["longer than the context"] = {
            "context": limit,
            "responses": dict(Counter(responses[i].lang for i in long)),
            "first": [f"{responses[i].lang} {responses[i].question_id}" for i in long[:5]],
        }
    if empty:
        facts["without a token to count"] = dict(Counter(responses[i].lang for i in empty))
    return kept, facts


def _why_none(
    code: str, gone: Mapping[str, Mapping[str, int]], here: Mapping[str, Mapping[str, int]]
) -> str:
    """Why a language has no response left, by what became of them before and here."""
    reasons = {**gone.get(code, {}), **{reason: n.get(code, 0) for reason, n in here.items()}}
    seen = [f"{n:,} {reason}" for reason, n in reasons.items() if n]
    return f"all of {code} are left out, {', '.join(seen)}" if seen else f"there is none in {code}"


def model_inputs(model: Any, work: Batches, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the model is given: for prompts that are computed once, and for the rest.

    The first is empty where there are none.
    """
    rows = [work.rows[i].tokens.ids for i in batch.rows]
    device = device_of(model)
    ids, mask = _padded(rows, batch.prefix)
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
        "use_cache": batch.prefix > 0,
    }
    if not batch.prefix:
        return {}, inputs
    beginnings = {
        work.rows[i].prompt: row[: batch.prefix] for i, row in zip(batch.rows, rows, strict=True)
    }
    shared = np.stack([beginnings[prompt] for prompt in prompts_of(work, batch)])
    prompts = torch.from_numpy(shared).long().to(device)
    cache = new_cache(model)
    first = {
        "input_ids": prompts,
        "attention_mask": torch.ones_like(prompts),
        "use_cache": True,
    }
    return first | cache, inputs | cache


def _padded(rows: Sequence[NDArray[np.int32]], prefix: int) -> tuple[NDArray, NDArray]:
    """Ids after the prefix, and the attention mask of the whole, padded on the right, int64."""
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest - prefix), dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row) - prefix] = row[prefix:]
        mask[i, : len(row)] = 1
    return ids, mask


def prompts_of(work: Batches, batch: Batch) -> list[int]:
    """Numbers of the prompts of a batch, in order of first sight."""
    return list(dict.fromkeys(work.rows[i].prompt for i in batch.rows))


def of_attention_alone(cache: Any) -> bool:
    """Whether all that a cache holds are keys and values of attention."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def spread_prompts(work: Batches, batch: Batch, cache: Any, times: int = 1) -> None:
    """Give every row the keys and values of its prompt, or whatever else its cache holds.

    `times`: how often the batch and its prompts run side by side, see `scored.tiled`.
    """
    place = {prompt: i for i, prompt in enumerate(prompts_of(work, batch))}
    rows = torch.tensor([place[work.rows[i].prompt] for i in batch.rows])
    cache.reorder_cache((torch.arange(times)[:, None] * len(place) + rows).flatten())
