"""Local: completions by a model in this process, each the same whatever runs beside it.

Prompts are sorted by length and padded on the left; one that has several completions is read once,
and its keys and values, or states, are repeated. Where the model does not go on from those as from
the whole text, which is tried once, it reads the whole text at each step. Rows that have ended
leave the batch. A row's random numbers come from its own seed and the number of the token, so that
a completion depends neither on the batch nor on the order; in float32 only a draw within rounding
of another token (about one in a million) can fall otherwise in another batch.

Letters: B row of a batch, T token, V vocabulary.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from langneurons.ask.draws import bases_of, draw
from langneurons.ask.engine import LENGTH, NO_ROOM, STOP, Completion, Request, until_stop
from langneurons.config import SampleConfig
from langneurons.errors import RecordError
from langneurons.model.forward import cache_name, forward_arguments
from langneurons.model.hooks import silence
from langneurons.model.loading import Loaded
from langneurons.model.sharing import TIMES, Trial, tell, trial_of, why_not
from langneurons.model.tokens import continuation, prompt_ids
from langneurons.resume import free_memory, or_halves, out_of_memory

LOOK = 8
"""Tokens between two looks at which rows have ended; in between the device is not waited for."""

ROOM = 64
"""Tokens that keys and values are given room for at a time."""

AHEAD = 2
"""Tokens that a prompt is gone on from to try what is kept of it: the second shows whether what the
first left is kept too."""

_ROUNDING = {torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""By how many nats a token's log-likelihood may differ by rounding alone; of a type that is not
named, 1e-3."""


class Row(NamedTuple):
    """One completion to write.

    Attributes:
        place: position of its request.
        seed: of its random numbers.
        prompt: number of its prompt.
        room: how many tokens it may have.
    """

    place: int
    seed: int
    prompt: int
    room: int


class InProcess:
    """The engine that runs a model in this process; see `engine.Engine`.

    Attributes:
        within: gives the block inside which the model runs, such as one that steers it; what is
            silenced is so inside it.
    """

    def __init__(
        self,
        loaded: Loaded,
        masks: Sequence[Tensor | None] | None = None,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Use this model.

        Args:
            loaded: a causal language model with a fast tokenizer.
            masks: neurons that are silenced meanwhile, as `hooks.silence` takes them.
            within: see above.
        """
        self.loaded, self.model, self.tokenizer = loaded, loaded.model, loaded.tokenizer
        self.device, self.context = loaded.device, loaded.context
        self.within, self.masks = within, masks or ()
        self.sites = loaded.sites if masks is not None else ()
        takes = forward_arguments(loaded.model)
        self.takes_positions = "position_ids" in takes
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.cache_name = cache_name(loaded.model)
        self.ends = loaded.ends
        self.trial: Trial | None = None

    @property
    def why_not_kept(self) -> str | None:
        """Why the whole text is read at each step; None where it is not, or not yet known."""
        return self.trial and why_not(self.trial, "nats for each token")

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions, batch by batch; see `engine.Engine`.

        A prompt without room gets an empty one. Where memory does not suffice for a batch, it and
        all later ones have half as many rows.

        Raises:
            RecordError: when memory does not suffice for a single row.
        """
        numbers: dict[str, int] = {}
        for request in requests:
            numbers.setdefault(request.prompt, len(numbers))
        prompts = self._ids(list(numbers))
        rows = []
        for place, request in enumerate(requests):
            prompt = numbers[request.prompt]
            room = self._room(prompts[prompt], config)
            if room > 0:
                rows.append(Row(place=place, seed=request.seed, prompt=prompt, room=room))
            elif place not in done:
                yield Completion(place, "", NO_ROOM)
        rows.sort(key=lambda row: (len(prompts[row.prompt]), row.prompt, row.place))
        fit, start = config.rows, 0
        while start < len(rows):
            batch = rows[start : start + fit]
            if not all(row.place in done for row in batch):
                if self.trial is None:
                    self._try(prompts, rows)
                completions = self._run_if_it_fits(prompts, batch, config)
                if completions is None:
                    fit = len(batch) // 2  # later prompts are longer: more will not fit again
                    continue
                yield from completions
            start += len(batch)

    def _room(self, prompt: list[int], config: SampleConfig) -> int:
        """How many tokens may follow a prompt; 0 or less where it fills the context."""
        if self.context is None:
            return config.max_new_tokens
        return min(config.max_new_tokens, self.context - len(prompt))

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        """Ids of each prompt; of an empty one an end token, as a model needs something to read."""
        end = next(iter(self.ends), 0)
        rows = [ids or [end] for ids in prompt_ids(self.tokenizer, prompts)]
        self.loaded.require_rows(rows)
        return rows

    def _run_if_it_fits(
        self, prompts: list[list[int]], batch: list[Row], config: SampleConfig
    ) -> list[Completion] | None:
        """Run one batch; None where memory does not suffice.

        Raises:
            RecordError: when it does not suffice for a single row.
        """
        try:
            with torch.inference_mode(), self.within(), silence(self.sites, self.masks):
                return self._run(prompts, batch, config)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise _no_room(len(prompts[batch[0].prompt])) from None
        free_memory()  # here, where the error no longer holds what did not fit
        return None

    def _run(
        self, prompts: list[list[int]], batch: list[Row], config: SampleConfig
    ) -> list[Completion]:
        """Write the completions of one batch."""
        text = self._read_each_once([row.prompt for row in batch], prompts)
        written = _Written(batch, self.ends, config, self.device)
        for step in range(written.longest):
            token = draw(text.logits, written.bases_at(step), config)
            written.add(step, token)
            if step + 1 == written.longest:
                break
            if step % LOOK == LOOK - 1:
                ended = written.ended.cpu()
                if config.stop:
                    ended = ended | self._stopped(written.so_far(step), config.stop)
                if ended.all():
                    break
                if 4 * int(ended.sum()) >= len(ended):
                    stay = (~ended).nonzero()[:, 0].to(self.device)
                    token = token[stay]
                    written.keep(stay)
                    text.keep(stay)
            self._go_on(text, token)
        return self._completions(batch, prompts, written, config.stop)

    def _read_each_once(self, numbers: list[int], prompts: list[list[int]]) -> "_Text":
        """The prompts of these numbers, one in each row; what comes twice is read once."""
        distinct = list(dict.fromkeys(numbers))
        text = self._read([prompts[number] for number in distinct])
        rows = [distinct.index(number) for number in numbers]
        text.keep(torch.tensor(rows, device=self.device))
        return text

    def _read(self, prompts: list[list[int]]) -> "_Text":
        """Prompts, read: padded on the left to one length, and kept where the model goes on so."""
        text = self._padded(prompts)
        if self.trial is None or self.trial.holds:
            text.cache = _with_room(DynamicCache(config=self.model.config.get_text_config()))
        self._forward(text, text.ids)
        return text

    def _padded(self, prompts: list[list[int]]) -> "_Text":
        """Prompts as the model is given them, nothing read yet."""
        width = max(map(len, prompts))
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        mask = np.zeros((len(prompts), width), dtype=np.int64)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = prompt
            mask[i, width - len(prompt) :] = 1
        return _Text(torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device))

    def _try(self, prompts: list[list[int]], rows: Sequence[Row]) -> None:
        """Try whether the model goes on from what it keeps of a prompt as from the whole text.

        With the shortest prompt and, twice, the longest.

        Raises:
            RecordError: when memory does not suffice for a single row.
        """
        room = max(1, self.context - AHEAD) if self.context else None
        shortest, longest = prompts[rows[0].prompt][:room], prompts[rows[-1].prompt][:room]
        rounding = _ROUNDING.get(self.model.dtype, 1e-3)

        def run(texts: list[list[int]]) -> Trial:
            more = [text + [text[0]] * AHEAD for text in texts]
            whole, alone = self._after(more), self._after(more[-1:])
            allowed = max(rounding, TIMES * _apart(alone, whole[-1:]))
            return trial_of(lambda: _apart(self._after_kept(texts), whole), allowed)

        def halve(texts: list[list[int]]) -> list[list[list[int]]]:
            if len(texts) == 1:
                raise _no_room(len(longest))
            return [texts[-1:]]

        with torch.inference_mode(), self.within(), silence(self.sites, self.masks):
            [self.trial] = or_halves(run, [shortest, longest, longest], halve)
        if self.why_not_kept:
            tell(self.why_not_kept)

    def _after(self, texts: list[list[int]]) -> NDArray:
        """How likely each token is after these texts, in nats, read whole."""
        text = self._padded(texts)
        self._forward(text, text.ids)
        return text.likelihoods()

    def _after_kept(self, texts: list[list[int]]) -> NDArray:
        """The same, with `AHEAD` tokens read one by one after what is kept of the texts before."""
        distinct = [list(text) for text in dict.fromkeys(map(tuple, texts))]
        text = self._read(distinct)
        text.keep(torch.tensor([distinct.index(text) for text in texts], device=self.device))
        following = torch.tensor([text[0] for text in texts], device=self.device)
        for _ in range(AHEAD):
            self._go_on(text, following)
        return text.likelihoods()

    def _go_on(self, text: "_Text", token: Tensor) -> None:
        """Add a token [B] to each row, and find the logits of what follows."""
        text.mask = torch.cat([text.mask, text.mask.new_ones(len(token), 1)], dim=1)
        if text.cache is None:
            text.ids = torch.cat([text.ids, token[:, None]], dim=1)
            self._forward(text, text.ids)
        else:
            self._forward(text, token[:, None])

    def _forward(self, text: "_Text", ids: Tensor) -> None:
        """Run the model on the last ids [B, T] of each row, for the logits of what follows."""
        more: dict[str, Any] = {
            "use_cache": text.cache is not None,
            self.cache_name: text.cache,
            **self.last_only,
        }
        if self.takes_positions:
            # of a row that waits to be taken out, perhaps beyond the context: any will do
            last = self.context - 1 if self.context else None
            positions = (text.mask.cumsum(dim=1) - 1).clamp(0, last)
            more["position_ids"] = positions[:, -ids.shape[1] :]
        text.logits = self.model(input_ids=ids, attention_mask=text.mask, **more).logits[:, -1]

    def _stopped(self, written: Tensor, stop: Sequence[str]) -> Tensor:
        """Which rows hold a stop string, bool [B]."""
        texts = self.tokenizer.batch_decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return torch.tensor([until_stop(text, stop)[1] for text in texts])

    def _completions(
        self,
        batch: list[Row],
        prompts: list[list[int]],
        written: "_Written",
        stop: Sequence[str],
    ) -> list[Completion]:
        """What was written, as text."""
        completions = []
        lengths = written.length.tolist()
        for row, ids, length in zip(batch, written.tokens.tolist(), lengths, strict=True):
            whole = continuation(self.tokenizer, prompts[row.prompt], ids[:length])
            text, stopped = until_stop(whole, stop)
            ended = stopped or length < row.room
            completions.append(Completion(row.place, text, STOP if ended else LENGTH))
        return completions


class _Text:
    """Rows being written, as the model sees them, and the logits to go on from.

    Attributes:
        ids: [B, T], with padding.
        mask: 1 where not padding, [B, T].
        cache: what is kept of the ids; None where the model does not go on from it, and reads all
            ids at each step.
        logits: of the next token, [B, V].
    """

    logits: Tensor
    cache: DynamicCache | None = None

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        self.ids, self.mask = ids, mask

    def likelihoods(self) -> NDArray:
        """Log-likelihoods of the next token, [B, V]."""
        return self.logits.float().log_softmax(dim=-1).cpu().numpy()

    def keep(self, rows: Tensor) -> None:
        """Rows at these places, and no others; one may come several times."""
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        if self.cache is None:
            self.ids = self.ids[rows]
        else:
            self.cache.reorder_cache(rows)  # ty: ignore[invalid-argument-type]


class _Written:
    """What the rows of a batch have written so far, those that left it too.

    Attributes:
        longest: tokens of the row that may have most.
        tokens: [B, longest].
        length: tokens of each row before its end token, [B].
        alive: which rows are still written, ascending, [A].
        ended: which of these have come to their end, bool [A].
    """

    def __init__(
        self, batch: list[Row], ends: list[int], config: SampleConfig, device: torch.device
    ) -> None:
        """Nothing yet."""
        self.longest = max(row.room for row in batch)
        self.tokens = torch.zeros((len(batch), self.longest), dtype=torch.long, device=device)
        self.length = torch.zeros(len(batch), dtype=torch.long, device=device)
        self.alive = torch.arange(len(batch), device=device)
        self.ended = torch.zeros(len(batch), dtype=torch.bool, device=device)
        self._room = torch.tensor([row.room for row in batch], device=device)
        self._ends = torch.tensor(ends, device=device, dtype=torch.long)
        self._bases: Tensor | None = None
        if config.temperature:
            table = np.stack([bases_of(row.seed, self.longest) for row in batch])
            self._bases = torch.from_numpy(table).to(device)

    def bases_at(self, step: int) -> Tensor | None:
        """Random bits for this token of the rows that are still written, [A]; None to draw none."""
        return None if self._bases is None else self._bases[self.alive, step]

    def add(self, step: int, token: Tensor) -> None:
        """Add this token [A] to the rows that are still written."""
        self.tokens[self.alive, step] = token
        self.ended |= torch.isin(token, self._ends)
        self.length[self.alive] += ~self.ended
        self.ended |= self._room[self.alive] <= step + 1

    def so_far(self, step: int) -> Tensor:
        """Tokens of the rows that are still written, this one included, [A, step + 1]."""
        return self.tokens[self.alive, : step + 1]

    def keep(self, stay: Tensor) -> None:
        """Of the rows that are still written go on with those at these places."""
        self.alive, self.ended = self.alive[stay], self.ended[stay]


class Roomy(DynamicLayer):
    """Keys and values [B, heads, T, d] at the front of larger tensors, where tokens are added.

    So what is there is not copied at each token. It rides on what a layer of transformers' cache is
    today; a test says so when that changes.
    """

    _whole: tuple[Tensor, ...] = ()

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values of some tokens; returns all there are now."""
        new, before = (key_states, value_states), self.get_seq_length()
        after = before + key_states.shape[-2]
        if not self._whole or after > self._whole[0].shape[-2]:
            self._whole = tuple(
                part.new_empty(*part.shape[:-2], after + ROOM, part.shape[-1]) for part in new
            )
            for whole, part in zip(self._whole, (self.keys, self.values), strict=True):
                if part is not None:
                    whole[..., :before, :] = part
        for whole, part in zip(self._whole, new, strict=True):
            whole[..., before:after, :] = part
        self.is_initialized = True
        return self._front(after)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows."""
        length = self.get_seq_length()
        if length:
            self._whole = tuple(whole[beam_idx.to(whole.device)] for whole in self._whole)
            self._front(length)

    def _front(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (whole[..., :length, :] for whole in self._whole)
        return self.keys, self.values


def _apart(ours: NDArray, theirs: NDArray) -> float:
    """Mean difference of the row [V] that differs most."""
    return float(np.abs(ours - theirs).mean(axis=-1).max())


def _no_room(length: int) -> RecordError:
    return RecordError(
        f"a single response to a prompt of {length:,} tokens does not fit into memory; "
        "use a smaller --dtype or --max-new-tokens, a larger device or --device-map auto"
    )


def _with_room(cache: DynamicCache) -> DynamicCache:
    """The cache with room where it grows.

    Layers with a sliding window, and states, stay as they are: what they hold is bounded.
    """
    cache.layers = [Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
