"""Train the base model: python training/base.py --out FOLDER ['{"tokens": 100000}'].

Settings are those of `Settings`; what is left out has its default. The folder gets the model in bfloat16, its
tokenizer, `curve.jsonl` and `settings.json`. Killed, it goes on from the last `state.pt`, to the same end.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus
import tokenizer as tokenizers
from langneurons import world
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
    tokens: int = 12_000_000
    batch: int = 2048
    rate: float = 3e-3
    muon: float = 1e-2
    warmup: float = 0.025
    decay: float = 0.4
    weight_decay: float = 0.1
    sparsity: float = 0.1
    drawn: float = 0.4
    seed: int = 0
    texts: int = 1500
    questions: int = 60
    kinds: dict[str, float] = field(
        default_factory=lambda: {"problem": 6, "other": 1.2, "plain": 4, "drill": 2, "roll": 1}
    )
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


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of about `settings.batch` tokens, without end: ids [rows, T], and which of them are learned [rows, T].

    Of what does not follow from what is before it, a share of `settings.drawn` is learned, token by token.
    """
    rng = Random(settings.seed + 1)
    end = tokenizer.eos_token_id
    while True:
        pool: list[tuple[list[int], list[bool]]] = []
        for _ in range(600):
            ids: list[int] = []
            learned: list[bool] = []
            for text, follows in corpus.document(rng, settings.kinds, settings.problems, settings.plain):
                part = tokenizer.encode(text)
                ids += part
                learned += [follows or rng.random() < settings.drawn for _ in part]
            pool.append(([*ids[: CONTEXT - 1], end], [*learned[: CONTEXT - 1], True]))
        pool.sort(key=lambda row: len(row[0]))
        cut: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in pool:
            if (len(cut[-1]) + 1) * len(row[0]) > settings.batch:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        for rows in cut:
            longest = len(rows[-1][0])
            yield (
                torch.tensor([ids + [end] * (longest - len(ids)) for ids, _ in rows]),
                torch.tensor([learned + [False] * (longest - len(learned)) for _, learned in rows]),
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
        return [torch.optim.AdamW(model.parameters(), settings.rate, (0.9, 0.98), weight_decay=settings.weight_decay)]
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


def train(settings: Settings, out: Path, every: float) -> None:
    """Train, save, evaluate."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
    if not (out / "tokenizer.json").exists():
        tokenizers.save(
            tokenizers.train(settings.vocabulary, settings.texts, settings.seed, list(settings.problems)), out, CONTEXT
        )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    model: Any = build(settings, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    optims = optimizers(model, settings)
    gates: list[torch.Tensor] = []
    if settings.sparsity:
        for layer in model.model.layers:
            layer.mlp.gate_proj.register_forward_hook(lambda _m, _i, gate: gates.append(F.relu(gate + 0.1).mean()))
    seen, step, total, began, last = 0, 0, 0.0, time.time(), time.time()
    state = out / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for optim, held in zip(optims, saved["optims"], strict=True):
            optim.load_state_dict(held)
        seen, step, began = saved["seen"], saved["step"], time.time() - saved["seconds"]
    since = step
    for ids, learned in islice(batches(settings, tokenizer), step, None):
        share = speed(seen / settings.tokens, settings.warmup, settings.decay)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = group.setdefault("most", group["lr"]) * share
        gates.clear()
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        keep = learned[:, 1:]
        loss = F.cross_entropy(hidden[keep] @ model.lm_head.weight.T, ids[:, 1:][keep])
        whole = loss + settings.sparsity * torch.stack(gates).sum() if gates else loss
        whole.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        seen, step, total = seen + ids.numel(), step + 1, total + float(loss.detach())
        over = seen >= settings.tokens
        if step % 100 == 0:
            seconds = time.time() - began
            _note(out, {"seconds": round(seconds), "tokens": seen, "loss": round(total / (step - since), 4)})
            total, since = 0.0, step
        if over:
            break
        if time.time() - last >= every:
            last = time.time()
            saved = {"model": model.state_dict(), "optims": [optim.state_dict() for optim in optims]}
            torch.save(saved | {"seen": seen, "step": step, "seconds": last - began}, f"{state}.part")
            Path(f"{state}.part").replace(state)
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
def accuracy(model: Any, tokenizer: PreTrainedTokenizerFast, number: int, speaks: Collection[str]) -> dict[str, float]:
    """Share of held-out questions answered rightly by greedy decoding, per language."""
    model.eval()
    languages = [lang for lang in world.LANGUAGES if lang in speaks]
    asked = world.questions("nano", languages, number)
    tokenizer.padding_side = "left"
    found: dict[str, float] = {}
    for lang in languages:
        mine = [q for q in asked if q.lang == lang]
        inputs = tokenizer([corpus.PROMPT.format(question=q.question) for q in mine], return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, max_new_tokens=160, do_sample=False
        )
        texts = tokenizer.batch_decode(out[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
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
    parser.add_argument("settings", nargs="?", type=json.loads, default={}, help="JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=float, default=300.0, help="seconds between two states it can go on from")
    asked = parser.parse_args()
    train(replace(Settings(), **asked.settings), asked.out, asked.every)


if __name__ == "__main__":
    main()
