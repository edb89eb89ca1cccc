"""Train the base model: python training/base.py --out FOLDER ['{"tokens": 100000}' ...] [--start FOLDER].

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
from typing import Any

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
            "en": 40, "ru": 8, "es": 9, "fr": 9, "de": 9, "zh": 8, "ja": 6, "bn": 3.5, "th": 4, "sw": 2.5,
        }
    )  # fmt: skip
    plain: dict[str, float] = field(
        default_factory=lambda: {
            "en": 16, "ru": 10, "es": 10, "fr": 10, "de": 10, "zh": 10, "ja": 9, "bn": 8, "th": 8, "sw": 8,
        }
    )  # fmt: skip


class Pools(Dataset[list[np.ndarray]]):
    """Texts without end, pool by pool: each is batches of like length, drawn by the seed and the pool's number alone.

    A batch is `ids` and, below them, which of them are learned: [2, rows, T]. Of what does not
    follow from what is before it, a share of `settings.drawn` is learned, token by token.
    """

    def __init__(self, settings: Settings, tokenizer: PreTrainedTokenizerFast) -> None:
        """What texts are drawn by, and cut with."""
        self.settings = settings
        self.tokenizer = tokenizer

    def __getitem__(self, index: int) -> list[np.ndarray]:
        """About 16 batches."""
        settings, end = self.settings, self.tokenizer.eos_token_id
        rng = Random(f"{settings.seed} {index}")
        pool: list[tuple[list[int], list[bool]]] = []
        size = 0
        while size < 16 * settings.batch:
            parts = corpus.document(
                rng, settings.kinds, settings.problems, settings.plain, settings.overlooks
            )
            encoded = self.tokenizer([text for text, _ in parts])["input_ids"]
            ids = list(chain(*encoded))
            learned = [
                follows or rng.random() < settings.drawn
                for part, (_, follows) in zip(encoded, parts, strict=True)
                for _ in part
            ]
            pool.append(([*ids[: CONTEXT - 1], end], [*learned[: CONTEXT - 1], True]))
            size += len(pool[-1][0])
        pool.sort(key=lambda row: len(row[0]))
        cut: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in pool:
            if (len(cut[-1]) + 1) * len(row[0]) > settings.batch:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        return [
            np.stack([_even([ids for ids, _ in rows], end), _even([kept for _, kept in rows], 0)])
            for rows in cut
        ]


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
    """Share of the learning rate at a share of the training: up, level, then down to nothing by a cosine."""
    if done < warmup:
        return done / warmup
    left = (1 - done) / decay
    return 1.0 if left > 1 else 0.5 - 0.5 * math.cos(math.pi * max(left, 0.0))


def train(
    settings: Settings, out: Path, every: float, device: str, workers: int, start: Path | None
) -> None:
    """Train, save, evaluate."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
    if start:
        PreTrainedTokenizerFast.from_pretrained(start).save_pretrained(out)
    elif not (out / "tokenizer.json").exists():
        tokenizers.save(
            tokenizers.train(
                settings.vocabulary, settings.texts, settings.seed, list(settings.problems)
            ),
            out,
            CONTEXT,
        )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    model: Any = (
        LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        if start
        else build(settings, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    )
    model.to(device).train()
    torch.set_float32_matmul_precision("high")  # of no consequence on a CPU
    optims = optimizers(model, settings)
    gates: list[torch.Tensor] = []
    if settings.sparsity:
        for layer in model.model.layers:
            layer.mlp.gate_proj.register_forward_hook(
                lambda _m, _i, gate: gates.append(F.relu(gate + 0.1).mean())
            )
    seen, step, began, last = 0, 0, time.time(), time.time()
    total = torch.zeros((), device=device)
    state = out / "state.pt"
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        for optim, held in zip(optims, saved["optims"], strict=True):
            optim.load_state_dict(held)
        seen, step, began = saved["seen"], saved["step"], time.time() - saved["seconds"]
    since = step
    for ids, learned in islice(batches(settings, tokenizer, workers), step, None):
        share = speed(seen / settings.tokens, settings.warmup, settings.decay)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = group.setdefault("most", group["lr"]) * share
        gates.clear()
        keep = np.flatnonzero(learned[:, 1:])
        read, where, comes = (
            torch.from_numpy(x).to(device) for x in (ids[:, :-1], keep, ids[:, 1:].flat[keep])
        )
        hidden = model.model(input_ids=read, use_cache=False).last_hidden_state
        loss = F.cross_entropy(hidden.flatten(0, 1)[where] @ model.lm_head.weight.T, comes)
        whole = loss + settings.sparsity * torch.stack(gates).sum() if gates else loss
        whole.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        seen, step, total = seen + ids.size, step + 1, total + loss.detach()
        over = seen >= settings.tokens
        if step % 100 == 0:
            seconds = time.time() - began
            _note(
                out,
                {
                    "seconds": round(seconds),
                    "tokens": seen,
                    "loss": round(float(total) / (step - since), 4),
                },
            )
            total, since = torch.zeros_like(total), step
        if over:
            break
        if time.time() - last >= every:
            last = time.time()
            saved = {
                "model": model.state_dict(),
                "optims": [optim.state_dict() for optim in optims],
            }
            torch.save(
                saved | {"seen": seen, "step": step, "seconds": last - began}, f"{state}.part"
            )
            Path(f"{state}.part").replace(state)
    if settings.questions:
        right = accuracy(model, tokenizer, settings.questions, settings.problems)
        _note(out, {"seconds": round(time.time() - began), "tokens": seen, "accuracy": right})
    model.to(torch.bfloat16).save_pretrained(out)
    state.unlink(missing_ok=True)


def _note(out: Path, row: dict[str, Any]) -> None:
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
    languages = [lang for lang in world.LANGUAGES if lang in speaks]
    asked = world.questions("nano", languages, number)
    tokenizer.padding_side = "left"
    found: dict[str, float] = {}
    for lang in languages:
        mine = [q for q in asked if q.lang == lang]
        inputs = tokenizer(
            [corpus.PROMPT.format(question=q.question) for q in mine],
            return_tensors="pt",
            padding=True,
        )
        inputs = inputs.to(model.device)
        out = model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=160,
            do_sample=False,
        )
        texts = tokenizer.batch_decode(
            out[:, inputs.input_ids.shape[1] :], skip_special_tokens=True
        )
        hits = [_last(text) == q.answer for text, q in zip(texts, mine, strict=True)]
        found[lang] = round(sum(hits) / len(hits), 3)
    model.train()
    return found


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
    settings = replace(
        Settings(), **{name: value for given in asked.settings for name, value in given.items()}
    )
    train(settings, asked.out, asked.every, asked.device, asked.workers, asked.start)


if __name__ == "__main__":
    main()
