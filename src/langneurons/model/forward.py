"""Forward: what a model is given for a batch, and which texts fit into it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from langneurons.errors import InputError
from langneurons.model import tokens
from langneurons.model.batches import Batch, Plan
from langneurons.model.loading import cache_name
from langneurons.texts.responses import Response


def context(model: Any) -> int | None:
    """How many tokens the model can read at once, as its config says; None where it says nothing (BLOOM: any)."""
    config = model.config.get_text_config()
    found = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    return next((limit for limit in found if limit), None)


def fitting(
    model: Any, responses: Sequence[Response], rows: Sequence[tokens.Tokens], codes: tuple[str, ...]
) -> tuple[list[int], dict[str, Any]]:
    """Responses that fit into the model's context and have a token to count; how many do not, per language."""
    limit = context(model)
    long = set(tokens.too_long(rows, limit)) if limit else set()
    empty = {i for i, row in enumerate(rows) if not row.counted.any()}
    kept = [i for i in range(len(rows)) if i not in long and i not in empty]
    without = [code for code in codes if not any(responses[i].lang == code for i in kept)]
    if without:
        raise InputError(
            f"no response is left for {', '.join(without)}: {len(long)} of all are longer than the model's context of "
            f"{limit} tokens, {len(empty)} have no token to count"
        )
    facts: dict[str, Any] = {}
    if long:
        facts["longer than the context"] = {
            "context": limit,
            "responses": dict(Counter(responses[i].lang for i in sorted(long))),
            "first": [f"{responses[i].lang} {responses[i].question_id}" for i in sorted(long)[:5]],
        }
    if empty:
        facts["without a token to count"] = dict(Counter(responses[i].lang for i in sorted(empty)))
    return kept, facts


def _device(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device


def model_inputs(model: Any, plan: Plan, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the model is given: for the prompts that are computed once (nothing, if none), and for the rest."""
    from transformers import DynamicCache

    rows = [plan.rows[i].tokens.ids for i in batch.rows]
    device = model.get_input_embeddings().weight.device
    prefix, longest = batch.prefix, max(map(len, rows))
    ids = np.zeros((len(rows), longest - prefix), dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row) - prefix] = row[prefix:]
        mask[i, : len(row)] = 1
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(mask).to(device),
        "use_cache": prefix > 0,
    }
    if not prefix:
        return {}, inputs
    first = dict(
        reversed([(plan.rows[i].prompt, row) for i, row in zip(batch.rows, rows, strict=True)])
    )
    prompts = (
        torch.from_numpy(np.stack([first[p][:prefix] for p in _prompts(plan, batch)]))
        .long()
        .to(device)
    )
    cache = DynamicCache(config=model.config.get_text_config())
    inputs[cache_name(model)] = cache
    shared = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
    return {**shared, "use_cache": True, cache_name(model): cache}, inputs


def _prompts(plan: Plan, batch: Batch) -> list[int]:
    """Prompts of a batch, in order of first sight."""
    return list(dict.fromkeys(plan.rows[i].prompt for i in batch.rows))


def spread_prompts(plan: Plan, batch: Batch, cache: Any) -> None:
    """Give every row the keys and values of its prompt."""
    place = {prompt: i for i, prompt in enumerate(_prompts(plan, batch))}
    cache.batch_select_indices(torch.tensor([place[plan.rows[i].prompt] for i in batch.rows]))
