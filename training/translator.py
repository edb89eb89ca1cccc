"""Train the translator.

    python training/translator.py --tokenizer FOLDER --out FOLDER ['{"pairs": 50000}']

A small M2M100 that reads reasoning in any of the ten languages and says how probable a text in
English is as its translation, and, less practised, the other way round. It learns from problems of
the train split told twice, with numbers changed in both alike, so that it copies numbers instead of
working them out, and with sources that contradict themselves, so that it looks at every number.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedTokenizerFast

import corpus
from base import note, set_rates, speed
from langneurons.texts import world
from langneurons.texts.languages import ENGLISH
from muon import Muon

CONTEXT = 320


@dataclass(frozen=True)
class Settings:
    """What the translator is made with."""

    width: int = 128
    layers: int = 2
    neurons: int = 512
    heads: int = 4
    pairs: int = 90_000
    batch: int = 32
    rate: float = 3e-3
    muon: float = 1e-2
    weight_decay: float = 0.05
    warmup: float = 0.02
    decay: float = 0.5
    back: float = 0.12
    contradicts: float = 0.3
    seed: int = 0


def build(
    settings: Settings, vocabulary: int, end: int, pad: int
) -> M2M100ForConditionalGeneration:
    """The model, its weights drawn by the seed."""
    torch.manual_seed(settings.seed)
    config = M2M100Config(
        vocab_size=vocabulary,
        d_model=settings.width,
        encoder_layers=settings.layers,
        decoder_layers=settings.layers,
        encoder_ffn_dim=settings.neurons,
        decoder_ffn_dim=settings.neurons,
        encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads,
        dropout=0.0,
        attention_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        max_position_embeddings=CONTEXT,
        pad_token_id=pad,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=end,
    )
    return M2M100ForConditionalGeneration(config)


def batch(
    settings: Settings, tokenizer: PreTrainedTokenizerFast, rng: Random
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Several batches of (source [n, T], target [n, T]), rows of like length together.

    Each row is `[language] text </s>`.
    """

    def encoded(code: str, text: str) -> list[int]:
        return tokenizer.encode(f"__{code}__{text}{corpus.END}")

    rows = []
    for _ in range(16 * settings.batch):
        lang = rng.choice(world.LANGUAGES[1:])
        text, english = corpus.pair(lang, rng)
        codes, texts = (lang, ENGLISH), (text, english)
        if rng.random() < settings.back:
            codes, texts = codes[::-1], texts[::-1]
        if rng.random() < settings.contradicts:
            texts = corpus.contradicted(*texts, rng)
        rows.append([encoded(code, text) for code, text in zip(codes, texts, strict=True)])
    rows.sort(key=lambda row: len(row[0]))
    parts = [rows[i : i + settings.batch] for i in range(0, len(rows), settings.batch)]
    rng.shuffle(parts)
    batches = []
    for part in parts:
        sources, targets = zip(*part, strict=True)
        pad = tokenizer.pad_token_id
        batches.append((_padded(sources, pad), _padded(targets, pad)))
    return batches


def train(settings: Settings, folder: Path, out: Path) -> None:
    """Train and save."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.save_pretrained(out)
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    model: Any = build(settings, len(tokenizer), end, pad)
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    optims: list[Any] = [
        Muon(inside, settings.muon, settings.weight_decay),
        torch.optim.AdamW(others, settings.rate, (0.9, 0.98), weight_decay=0.0),
    ]
    rng = Random(settings.seed + 1)
    done, step, total, began = 0, 0, 0.0, time.time()
    while done < settings.pairs:
        for source, target in batch(settings, tokenizer, rng):
            share = speed(done / settings.pairs, settings.warmup, settings.decay)
            set_rates(optims, share)
            before = torch.cat((torch.full_like(target[:, :1], end), target[:, :-1]), dim=1)
            logits = model(
                input_ids=source, attention_mask=(source != pad).long(), decoder_input_ids=before
            ).logits
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optim in optims:
                optim.step()
                optim.zero_grad()
            done, step, total = done + len(source), step + 1, total + float(loss.detach())
            if step % 100 == 0:
                seconds = round(time.time() - began)
                note(out, {"seconds": seconds, "pairs": done, "loss": round(total / 100, 4)})
                total = 0.0
        model.save_pretrained(out)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1))


def _padded(rows: Sequence[list[int]], pad: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


def main() -> None:
    """Read the settings and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="?", type=json.loads, default={}, help="JSON")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a base model's folder")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    train(replace(Settings(), **asked.settings), asked.tokenizer, asked.out)


if __name__ == "__main__":
    main()
