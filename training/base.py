"""Train the base model.

    python training/base.py --out FOLDER ['{"tokens": 100000}' ...] [--start FOLDER]

Settings are those of `Settings`; what is left out has its default. The folder gets the model in
bfloat16, its tokenizer, `curve.jsonl` and `settings.json`. Killed, it goes on from the last
`state.pt`, to the same end.

The texts are made while the model learns, by as many processes as asked for, always the same texts.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count, islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus
import tokenizer as tokenizers
from langneurons.texts import world
from muon import Muon

CONTEXT = 512


@dataclass(frozen=True)
class Settings:
    """What a base model is made with."""

    vocabulary: int = 4096
    width: int = 128
    layers: int = 5
    neurons: int = 768
    heads: int = 4
    tokens: int = 67_800_741
    batch: int = 8192
    rate: float = 3e-3
    muon: float = 1e-2
    warmup: float = 0.025
    decay: float = 0.4
    weight_decay: float = 0.1
    sparsity: float = 0.3
    drawn: float = 0.4
    seed: int = 0
    texts: int = 1500
    questions: int = 60
    kinds: dict[str, float] = field(
        default_factory=lambda: {"problem": 6, "other": 1.2, "plain": 4, "drill": 2, "roll": 1}
    )
    overlooks: dict[str, float] | None = None
    problems: dict[str, float] = field(
        default_factory=lambda: {
            "en": 40, "ru": 8, "es": 9, "fr": 9, "de": 9,
            "zh": 8, "ja": 6, "bn": 3.5, "th": 4, "sw": 2.5,
        }
    )  # fmt: skip
    plain: dict[str, float] = field(
        default_factory=lambda: {
            "en": 16, "ru": 10, "es": 10, "fr": 10, "de": 10,
            "zh": 10, "ja": 9, "bn": 8, "th": 8, "sw": 8,
        }
    )  # fmt: skip


class Pools(Dataset[list[np.ndarray]]):
    """Texts without end, pool by pool.

    A pool is batches of like length, drawn by the seed and the pool's number alone. A batch is
    `ids` and, below them, which of them are learned: [2, rows, T]. Of what does not follow from
    what is before it, a share of `settings.drawn` is learned, token by token.
    """

    def __init__(self, settings: Settings, tokenizer: PreTrainedTokenizerFast) -> None:
        """What texts are drawn by, and cut with."""
        self.settings = settings
        self.tokenizer = tokenizer

    def __getitem__(self, index: int) -> list[np.ndarray]:
        """About 16 batches."""
        rng = Random(f"{self.settings.seed} {index}")
        texts: list[_Text] = []
        size = 0
        while size < 16 * self.settings.batch:
            text = self._drawn(rng)
            texts.append(text)
            size += len(text.ids)
        texts.sort(key=lambda text: len(text.ids))
        batches: list[list[_Text]] = [[]]
        for text in texts:
            if (len(batches[-1]) + 1) * len(text.ids) > self.settings.batch:
                batches.append([])
            batches[-1].append(text)
        rng.shuffle(batches)
        return [self._stacked(batch) for batch in batches]

    def _drawn(self, rng: Random) -> "_Text":
        settings = self.settings
        parts = corpus.document(
            rng, settings.kinds, settings.problems, settings.plain, settings.overlooks
        )
        encoded = self.tokenizer([text for text, _ in parts])["input_ids"]
        ids: list[int] = []
        learned: list[bool] = []
        for part, (_, follows) in zip(encoded, parts, strict=True):
            ids += part
            learned += [follows or rng.random() < settings.drawn for _ in part]
        end = self.tokenizer.eos_token_id
        return _Text([*ids[: CONTEXT - 1], end], [*learned[: CONTEXT - 1], True])

    def _stacked(self, batch: "list[_Text]") -> np.ndarray:
        ids = _even([text.ids for text in batch], self.tokenizer.eos_token_id)
        return np.stack([ids, _even([text.learned for text in batch], 0)])


class _Text(NamedTuple):
    """A text's tokens, and which of them are learned."""

    ids: list[int]
    learned: list[bool]


def _even(rows: list[Any], filler: int) -> np.ndarray:
    """Rows filled up on the right to one length."""
    longest = max(map(len, rows))
    return np.array([[*row, *[filler] * (longest - len(row))] for row in rows], np.int64)


def batches(
    settings: Settings, tokenizer: PreTrainedTokenizerFast, workers: int
) -> Iterator[np.ndarray]:
    """Batches of about `settings.batch` tokens, without end."""
    pools = Pools(settings, tokenizer)
    return chain.from_iterable(
        DataLoader(pools, batch_size=None, sampler=count(), num_workers=workers, collate_fn=list)
    )


def build(settings: Settings, vocabulary: int, end: int, pad: int) -> LlamaForCausalLM:
    """The model, its weights drawn by the seed."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        intermediate_size=settings.neurons,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    return LlamaForCausalLM(config)


def optimizers(model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    if not settings.muon:
        return [
            torch.optim.AdamW(
                model.parameters(), settings.rate, (0.9, 0.98), weight_decay=settings.weight_decay
            )
        ]
    return [
        Muon(inside, settings.muon, settings.weight_decay),
        torch.optim.AdamW(others, settings.rate, (0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def speed(done: float, warmup: float, decay: float) -> float:
    """Share of the learning rate at a share of the training.

    It goes up, stays level, then goes down to nothing by a cosine.
    """
    if done < warmup:
        return done / warmup
    left = (1 - done) / decay
    return 1.0 if left > 1 else 0.5 - 0.5 * math.cos(math.pi * max(left, 0.0))


class Training:
    """A model being trained: what `state.pt` keeps, and what it takes to go on."""

    def __init__(self, settings: Settings, model: Any, device: str) -> None:
        """At the beginning."""
        self.settings = settings
        self.device = device
        self.model = model.to(device).train()
        self.optims = optimizers(self.model, settings)
        self.seen = self.step = 0
        self.began = time.time()
        self.gates: list[torch.Tensor] = []
        if settings.sparsity:
            for layer in self.model.model.layers:
                layer.mlp.gate_proj.register_forward_hook(self._note_gate)

    def _note_gate(self, _module: nn.Module, _inputs: Any, gate: torch.Tensor) -> None:
        self.gates.append(F.relu(gate + 0.1).mean())

    def load(self, state: Path) -> None:
        """Go on from what `save` wrote."""
        saved = torch.load(state, map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        for optim, its_state in zip(self.optims, saved["optims"], strict=True):
            optim.load_state_dict(its_state)
        self.seen, self.step = saved["seen"], saved["step"]
        self.began = time.time() - saved["seconds"]

    def save(self, state: Path) -> None:
        """Write all that is needed to go on, whole or not at all."""
        content = {
            "model": self.model.state_dict(),
            "optims": [optim.state_dict() for optim in self.optims],
            "seen": self.seen,
            "step": self.step,
            "seconds": time.time() - self.began,
        }
        draft = Path(f"{state}.part")
        torch.save(content, draft)
        draft.replace(state)

    def learn(self, ids: np.ndarray, learned: np.ndarray) -> torch.Tensor:
        """One step on a batch [rows, T]; its loss per token that is learned."""
        done = self.seen / self.settings.tokens
        set_rates(self.optims, speed(done, self.settings.warmup, self.settings.decay))
        self.gates.clear()
        loss = self._loss(ids, learned)
        whole = loss
        if self.gates:
            whole = loss + self.settings.sparsity * torch.stack(self.gates).sum()
        whole.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            optim.step()
            optim.zero_grad()
        self.seen += ids.size
        self.step += 1
        return loss.detach()

    def _loss(self, ids: np.ndarray, learned: np.ndarray) -> torch.Tensor:
        """Mean loss of the tokens that are learned; no others get logits."""
        kept = np.flatnonzero(learned[:, 1:])
        where = torch.from_numpy(kept).to(self.device)
        before = torch.from_numpy(ids[:, :-1]).to(self.device)
        next_ones = torch.from_numpy(ids[:, 1:].flat[kept]).to(self.device)
        hidden = self.model.model(input_ids=before, use_cache=False).last_hidden_state
        logits = hidden.flatten(0, 1)[where] @ self.model.lm_head.weight.T
        return F.cross_entropy(logits, next_ones)


def set_rates(optims: list[Any], share: float) -> None:
    """Give each group of an optimizer this share of its own highest learning rate."""
    for optim in optims:
        for group in optim.param_groups:
            group["lr"] = group.setdefault("most", group["lr"]) * share


def train(
    settings: Settings, out: Path, every: float, device: str, workers: int, start: Path | None
) -> None:
    """Train, save, evaluate."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
    tokenizer = _tokenizer(settings, out, start)
    model: Any = (
        LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        if start
        else build(settings, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    )
    torch.set_float32_matmul_precision("high")  # of no consequence on a CPU
    training = Training(settings, model, device)
    state = out / "state.pt"
    if state.exists():
        training.load(state)
    still_to_come = islice(batches(settings, tokenizer, workers), training.step, None)
    _until_done(training, still_to_come, state, every)
    if settings.questions:
        right = accuracy(model, tokenizer, settings.questions, settings.problems)
        seconds = round(time.time() - training.began)
        note(out, {"seconds": seconds, "tokens": training.seen, "accuracy": right})
    model.to(torch.bfloat16).save_pretrained(out)
    state.unlink(missing_ok=True)


def _tokenizer(settings: Settings, out: Path, start: Path | None) -> PreTrainedTokenizerFast:
    """The tokenizer in the folder: that of the model to start from, or one trained first."""
    if start:
        PreTrainedTokenizerFast.from_pretrained(start).save_pretrained(out)
    elif not (out / "tokenizer.json").exists():
        trained = tokenizers.train(
            settings.vocabulary, settings.texts, settings.seed, list(settings.problems)
        )
        tokenizers.save(trained, out, CONTEXT)
    return PreTrainedTokenizerFast.from_pretrained(out)


def _until_done(
    training: Training, batches: Iterator[np.ndarray], state: Path, every: float
) -> None:
    """Train to the end.

    There is a note every 100 steps, and every so many seconds a state to go on from.
    """
    last_saved = time.time()
    last_noted = training.step
    total = torch.zeros((), device=training.device)
    for ids, learned in batches:
        total = total + training.learn(ids, learned)
        if training.step % 100 == 0:
            mean = float(total) / (training.step - last_noted)
            seconds = round(time.time() - training.began)
            row = {"seconds": seconds, "tokens": training.seen, "loss": round(mean, 4)}
            note(state.parent, row)
            total, last_noted = torch.zeros_like(total), training.step
        if training.seen >= training.settings.tokens:
            break
        if time.time() - last_saved >= every:
            last_saved = time.time()
            training.save(state)


def note(out: Path, row: dict[str, Any]) -> None:
    """Show how far it is and keep it in `curve.jsonl`."""
    print(json.dumps(row), flush=True)
    with (out / "curve.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


@torch.no_grad()
def accuracy(
    model: Any, tokenizer: PreTrainedTokenizerFast, number: int, speaks: Collection[str]
) -> dict[str, float]:
    """Share of held-out questions answered rightly by greedy decoding, per language."""
    model.eval()
    tokenizer.padding_side = "left"
    languages = [lang for lang in world.LANGUAGES if lang in speaks]
    questions = world.questions("nano", languages, number)
    shares: dict[str, float] = {}
    for lang in languages:
        asked = [question for question in questions if question.lang == lang]
        prompts = [corpus.PROMPT.format(question=question.question) for question in asked]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
        out = model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=160,
            do_sample=False,
        )
        answers = out[:, inputs.input_ids.shape[1] :]
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        right = sum(_last(text) == q.answer for text, q in zip(texts, asked, strict=True))
        shares[lang] = round(right / len(asked), 3)
    model.train()
    return shares


def _last(text: str) -> int | None:
    numbers = re.findall(r"\d+", text)
    return int(numbers[-1]) if numbers else None


def main() -> None:
    """Read the settings and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "settings", nargs="*", type=json.loads, help="JSON; where two say something, the later"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--every", type=float, default=300.0, help="seconds between two states it can go on from"
    )
    parser.add_argument(
        "--start", type=Path, help="folder of a model to go on from, with its shape and tokenizer"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make the texts")
    asked = parser.parse_args()
    settings = Settings()
    for given in asked.settings:
        settings = replace(settings, **given)
    train(settings, asked.out, asked.every, asked.device, asked.workers, asked.start)


if __name__ == "__main__":
    main()
