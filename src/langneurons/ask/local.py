"""Generate: completions by a model in this process, many at once, each the same whatever runs beside it.

Prompts are sorted by length and padded on the left; one that has several completions is read once,
and its keys and values are repeated. Rows that have ended leave the batch. A row's random numbers
come from its own seed and the number of the token, so that a completion depends neither on the
batch nor on the order; in float32 only a draw within rounding of another token (about one in a
million) can fall otherwise in another batch.

Letters: B row of a batch, T token, V vocabulary.
"""

import inspect
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from langneurons.ask.draws import bases_of, draw
from langneurons.ask.engine import Completion, Request, cut
from langneurons.config import SampleConfig
from langneurons.errors import RecordError
from langneurons.model import tokens
from langneurons.model.forward import context
from langneurons.model.hooks import silence
from langneurons.model.sites import find_sites
from langneurons.resume import out_of_memory
from langneurons.texts.responses import Response

LOOK = 8
"""Tokens between two looks at which rows have ended; in between the device is not waited for."""


ROOM = 64
"""Tokens that keys and values are given room for at a time."""


class Row(NamedTuple):
    """One completion to write.

    Attributes:
        place: position of its request.
        prompt: number of its prompt.
        room: how many tokens it may have.
    """

    place: int
    prompt: int
    room: int


class InProcess:
    """The engine that runs a model in this process; see `completions.Engine`."""

    def __init__(
        self, model: Any, tokenizer: Any, masks: Sequence[Tensor | None] | None = None
    ) -> None:
        """Use this model.

        Args:
            model: a causal language model in eval mode.
            tokenizer: its fast tokenizer.
            masks: neurons that are silenced meanwhile, see `sites.silence`.
        """
        self.model, self.tokenizer, self.masks = model, tokenizer, masks
        self.context = context(model)
        self.sites = find_sites(model) if masks is not None else ()
        takes = inspect.signature(
            getattr(model, "get_base_model", lambda: model)().forward
        ).parameters
        self.takes_positions = "position_ids" in takes
        self.cache_name = (
            "cache" if "cache" in takes else "past_key_values"
        )  # before transformers 5.24
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.ends = _end_ids(model, tokenizer)

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions, batch by batch; see `completions.Engine`. A prompt without room gets an empty one.

        Where memory does not suffice for a batch, it and all later ones have half as many rows.

        Raises:
            RecordError: when memory does not suffice for a single row.
        """
        places = {
            prompt: i
            for i, prompt in enumerate(dict.fromkeys(request.prompt for request in requests))
        }
        prompts = self._ids(list(places))
        rows = []
        for place, request in enumerate(requests):
            prompt = places[request.prompt]
            room = config.max_new_tokens
            if self.context is not None:
                room = min(room, self.context - len(prompts[prompt]))
            if room > 0:
                rows.append(Row(place, prompt, room))
            elif place not in done:
                yield Completion(place, "", "none")
        rows.sort(key=lambda row: (len(prompts[row.prompt]), row.prompt, row.place))
        fit, start = config.rows, 0
        while start < len(rows):
            batch = rows[start : start + fit]
            if not all(row.place in done for row in batch):
                found = self._run_if_it_fits(requests, prompts, batch, config)
                if found is None:
                    fit = len(batch) // 2  # later prompts are longer: more will not fit again
                    continue
                yield from found
            start += len(batch)

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        """Ids of each prompt as `record` reads it, without an end token that the tokenizer puts after a text."""
        out = []
        for row in tokens.tokenise(
            self.tokenizer, [Response("prompt", "en", prompt, "") for prompt in prompts]
        ):
            ids = row.ids.tolist()
            while len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id:
                ids.pop()
            out.append(ids or [next(iter(self.ends), 0)])
        return out

    def _run_if_it_fits(
        self,
        requests: Sequence[Request],
        prompts: list[list[int]],
        batch: list[Row],
        config: SampleConfig,
    ) -> list[Completion] | None:
        """Run one batch; None where memory does not suffice.

        Raises:
            RecordError: when it does not suffice for a single row.
        """
        try:
            with torch.inference_mode(), silence(self.sites, self.masks or ()):
                return self._run(requests, prompts, batch, config)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                length = len(prompts[batch[0].prompt])
                raise RecordError(
                    f"a single response to a prompt of {length:,} tokens does not fit into memory; use a smaller "
                    "--dtype or --max-new-tokens, a larger device or --device-map auto"
                ) from None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _run(
        self,
        requests: Sequence[Request],
        prompts: list[list[int]],
        batch: list[Row],
        config: SampleConfig,
    ) -> list[Completion]:
        """Write the completions of one batch."""
        device = self.model.get_input_embeddings().weight.device
        held = list(dict.fromkeys(row.prompt for row in batch))
        text = self._read([prompts[i] for i in held], device)
        text.keep(torch.tensor([held.index(row.prompt) for row in batch], device=device))
        room = torch.tensor([row.room for row in batch], device=device)
        ends = torch.tensor(self.ends, device=device, dtype=torch.long)
        longest = max(row.room for row in batch)
        bases = None
        if config.temperature:
            table = np.stack([bases_of(requests[row.place].seed, longest) for row in batch])
            bases = torch.from_numpy(table).to(device)
        written = torch.zeros((len(batch), longest), dtype=torch.long, device=device)
        length = torch.zeros(
            len(batch), dtype=torch.long, device=device
        )  # tokens before the end token
        alive = torch.arange(len(batch), device=device)
        ended = torch.zeros(len(batch), dtype=torch.bool, device=device)
        for step in range(longest):
            token = draw(text.logits, None if bases is None else bases[alive, step], config)
            written[alive, step] = token
            ended |= torch.isin(token, ends)
            length[alive] += ~ended
            ended |= room[alive] <= step + 1
            if step + 1 == longest:
                break
            if step % LOOK == LOOK - 1:
                gone = ended.cpu()
                if config.stop:
                    gone |= self._stopped(written[alive, : step + 1], config.stop)
                if gone.all():
                    break
                if 4 * int(gone.sum()) >= len(gone):
                    stay = (~gone).nonzero()[:, 0].to(device)
                    alive, ended, token = alive[stay], ended[stay], token[stay]
                    text.keep(stay)
            self._go_on(text, token)
        return self._completions(batch, prompts, written.cpu(), length.cpu(), config.stop)

    def _read(self, prompts: list[list[int]], device: torch.device) -> "_Text":
        """Prompts, read: padded on the left to one length."""
        width = max(map(len, prompts))
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        mask = np.zeros((len(prompts), width), dtype=np.int64)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = prompt
            mask[i, width - len(prompt) :] = 1
        text = _Text(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        text.cache = _with_room(DynamicCache(config=self.model.config.get_text_config()))
        self._forward(text, text.ids)
        return text

    def _go_on(self, text: "_Text", token: Tensor) -> None:
        """Add a token [B] to each row, and find the logits of what follows."""
        text.mask = torch.cat([text.mask, text.mask.new_ones(len(token), 1)], dim=1)
        if text.cache is None:
            text.ids = torch.cat([text.ids, token[:, None]], dim=1)
            self._forward(text, text.ids)
        else:
            self._forward(text, token[:, None])

    def _forward(self, text: "_Text", ids: Tensor) -> None:
        more: dict[str, Any] = {
            "use_cache": text.cache is not None,
            self.cache_name: text.cache,
            **self.last_only,
        }
        if (
            self.takes_positions
        ):  # of a row that waits to be taken out, perhaps beyond the context: any will do
            positions = (text.mask.cumsum(dim=1) - 1).clamp(0, self.context and self.context - 1)
            more["position_ids"] = positions[:, -ids.shape[1] :]
        text.logits = self.model(input_ids=ids, attention_mask=text.mask, **more).logits[:, -1]

    def _stopped(self, written: Tensor, stop: Sequence[str]) -> Tensor:
        """Which rows hold a stop string, bool [B]."""
        texts = self.tokenizer.batch_decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return torch.tensor([cut(text, stop)[1] for text in texts])

    def _completions(
        self,
        batch: list[Row],
        prompts: list[list[int]],
        written: Tensor,
        length: Tensor,
        stop: Sequence[str],
    ) -> list[Completion]:
        """What was written, as text: what the prompt and it are together, without the prompt.

        Decoded alone, a word at its beginning would lose the space before it with some tokenizers.
        """
        out = []
        for row, ids, end in zip(batch, written.tolist(), length.tolist(), strict=True):
            before, whole = (
                self.tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
                for ids in (prompts[row.prompt], prompts[row.prompt] + ids[:end])
            )
            text, stopped = cut(whole.removeprefix(before), stop)
            out.append(
                Completion(row.place, text, "stop" if stopped or end < row.room else "length")
            )
        return out


class _Text:
    """Rows being written: their keys and values so far, or their ids where those cannot be kept; logits to go on from.

    Attributes:
        ids: [B, T], with padding.
        mask: 1 where not padding, [B, T].
        cache: keys and values; None where the model has states that cannot be repeated.
        logits: of the next token, [B, V].
    """

    logits: Tensor
    cache: Any

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        self.ids, self.mask = ids, mask

    def keep(self, rows: Tensor) -> None:
        """Rows at these places, and no others; one may come several times."""
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        if self.cache is None:
            self.ids = self.ids[rows]
        else:
            self.cache.batch_select_indices(rows)


class Roomy(DynamicLayer):
    """Keys and values [B, heads, T, d] as the front of larger tensors: a token is added without copying the rest."""

    held: tuple[Tensor, ...] = ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values of some tokens; returns all there are now."""
        new, before = (key_states, value_states), self.get_seq_length()
        after = before + key_states.shape[-2]
        if not self.held or after > self.held[0].shape[-2]:
            self.held = tuple(
                part.new_empty(*part.shape[:-2], after + ROOM, part.shape[-1]) for part in new
            )
            for held, part in zip(self.held, (self.keys, self.values), strict=True):
                if part is not None:
                    held[..., :before, :] = part
        for held, part in zip(self.held, new, strict=True):
            held[..., before:after, :] = part
        self.is_initialized = True
        return self._front(after)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        length = self.get_seq_length()
        if length:
            self.held = tuple(held[indices] for held in self.held)
            self._front(length)

    def _front(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (held[..., :length, :] for held in self.held)
        return self.keys, self.values


def _with_room(cache: DynamicCache) -> DynamicCache | None:
    """The cache with room; None where its rows cannot be repeated and left out.

    Keys and values can, states of linear attention cannot. Layers with a sliding window stay as
    they are: what they hold is bounded.
    """
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return None
    cache.layers = [Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a text, as the model's generation config and its tokenizer say."""
    said = model.generation_config.eos_token_id
    found = {tokenizer.eos_token_id, *(said if isinstance(said, list) else [said])}
    return sorted(token for token in found if token is not None)
