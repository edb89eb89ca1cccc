"""A Llama set by hand, whose neurons serve chosen languages, so that everything found in it is
known beforehand.

Four languages have ten words each; no word is in two languages. Attention adds nothing. A neuron
fires on some words and raises the logits of all words of its languages, where it fires; on every
other word it is exactly zero. So a language's neurons make its words likely after its words, and
whatever is silenced can only hurt the languages it serves. `costs` says what each token costs,
worked out neuron by neuron.

Texts hold every word of their language equally often, so probabilities are shares of words: 0.9 is
nine of ten.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LANGS = ("en", "zh", "sw", "th")
WORDS = 10
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "ask")
VOCABULARY = [*SPECIAL, *(f"{code}{i}" for code in LANGS for i in range(WORDS))]
LAYERS, WIDTH, HIDDEN = 3, 40, 2 * len(VOCABULARY)
EPSILON, READ, GATE, HEAD = 1e-6, 10.0, 0.15, 2.0


class Planted(NamedTuple):
    """One neuron: where it is, on how many words of which languages it fires, and what it adds to
    their logits."""

    layer: int
    neuron: int
    fires: dict[str, int]
    gain: float

    @property
    def kind(self) -> str | None:
        """What identify must say of it; None where it is neither selected nor general."""
        high = sum(n > 3 for n in self.fires.values())  # tau is 0.3
        if len(self.fires) == 4:
            return "general" if high == 4 else None
        return {0: "none", 1: "specific"}.get(high, "related")

    def on(self, word: str) -> bool:
        """Whether it fires on this word."""
        return int(word[2:]) < self.fires.get(word[:2], 0)


NEURONS = (
    Planted(0, 3, {"en": 9}, 0.5),
    Planted(2, 7, {"en": 10}, 0.8),
    Planted(0, 4, {"zh": 9}, 0.6),
    Planted(1, 0, {"zh": 8}, 0.4),
    Planted(2, 1, {"zh": 10}, 0.3),
    Planted(0, 5, {"sw": 7}, 0.9),
    Planted(1, 39, {"sw": 9}, 0.3),
    Planted(2, 2, {"sw": 10}, 0.5),
    Planted(1, 10, {"en": 9, "zh": 9}, 0.7),
    Planted(2, 11, {"sw": 8, "th": 8}, 0.6),
    Planted(1, 12, {"zh": 4, "sw": 4, "th": 4}, 0.5),
    Planted(0, 20, {"en": 2}, 0.2),
    Planted(0, 30, dict.fromkeys(LANGS, 10), 0.4),
    Planted(2, 31, dict.fromkeys(LANGS, 9), 0.3),
    Planted(0, 25, dict.fromkeys(LANGS, 3), 0.1),
    Planted(1, 26, dict.fromkeys(LANGS, 3), 0.1),
    Planted(2, 27, dict.fromkeys(LANGS, 2), 0.1),
)
"""Specific: en 2, zh 3, sw 3, th none. Two related to two languages, one to three; one in none; two
general; three that fire everywhere a little. The other 103 never fire."""

RATE = 12 / (LAYERS * WIDTH)
"""The 12 lowest scores: the 8 specific, the one in none, the 3 related."""

TAU = 0.3
"""The 456th smallest of 480 probabilities: above it are the 23 of specific, related and general
neurons."""

_H = np.mean([1, 1 / 2, 1 / 3, 1 / 4])
LAMBDA = (1 - np.log(3) / np.log(4)) * _H / (1 - 0.4)
"""Where the general neuron that always fires (score 1 - lambda / h) meets the one related to three
languages."""


def model() -> LlamaForCausalLM:
    """The model; the hidden state is one axis per word read and one per word's logit."""
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=2,
        max_position_embeddings=256,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    made = LlamaForCausalLM(config).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        parameter.fill_(1.0 if "norm" in name else 0.0)
    half = len(VOCABULARY)
    made.model.embed_tokens.weight[:, :half] = READ * torch.eye(half)
    made.lm_head.weight[:, half:] = HEAD * torch.eye(half)
    for planted in NEURONS:
        mlp = made.model.layers[planted.layer].mlp
        for i, word in enumerate(VOCABULARY[len(SPECIAL) :], start=len(SPECIAL)):
            if planted.on(word):
                mlp.gate_proj.weight[planted.neuron, i] = mlp.up_proj.weight[planted.neuron, i] = (
                    GATE
                )
            if word[:2] in planted.fires:
                mlp.down_proj.weight[half + i, planted.neuron] = planted.gain
    return made


def save(folder: Path) -> Path:
    """The model in a folder, with a tokenizer of its words."""
    model().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def responses() -> list[dict[str, str]]:
    """Rows of texts: 6 questions in each language, each answered by all words of the language in
    some order."""
    rng = np.random.default_rng(0)
    rows = []
    for code in LANGS:
        for q in range(6):
            words = [f"{code}{i}" for i in rng.permutation(WORDS)]
            rows.append(
                {
                    "question_id": f"q{q}",
                    "lang": code,
                    "prompt": "ask ",
                    "response": " ".join(words),
                }
            )
    return rows


def write(folder: Path) -> Path:
    """The texts as a folder of <lang>.jsonl."""
    folder.mkdir()
    for code in LANGS:
        rows = [json.dumps(row) + "\n" for row in responses() if row["lang"] == code]
        (folder / f"{code}.jsonl").write_text("".join(rows), "utf-8")
    return folder


def costs(silenced: Iterable[tuple[int, int]], scale: float = 0.0) -> dict[str, float]:
    """Summed cost in nats of every language's texts with these (layer, neuron) silenced, or scaled,
    by hand."""
    gone = dict.fromkeys(silenced, scale)
    after = {word: _logits(word, gone) for word in ("ask", *VOCABULARY[len(SPECIAL) :])}
    total = dict.fromkeys(LANGS, 0.0)
    for row in responses():
        before = "ask"
        for word in row["response"].split():
            logits = after[before]
            rest = len(VOCABULARY) - len(LANGS) * WORDS  # words of no language stay at 0
            all_of_them = rest + sum(WORDS * np.exp(z) for z in logits.values())
            total[row["lang"]] += np.log(all_of_them) - logits[word[:2]]
            before = word
    return total


def _logits(word: str, gone: dict[tuple[int, int], float]) -> dict[str, float]:
    """Logit of each language's words after this one."""
    raised = dict.fromkeys(LANGS, 0.0)

    def size() -> float:
        return np.sqrt((READ**2 + sum(WORDS * z**2 for z in raised.values())) / HIDDEN + EPSILON)

    for layer in range(LAYERS):
        x = GATE * READ / size()
        strength = x / (1 + np.exp(-x)) * x  # SiLU of the gate times what it gates
        adding = dict.fromkeys(LANGS, 0.0)
        for planted in NEURONS:
            if planted.layer == layer and word != "ask" and planted.on(word):
                for code in planted.fires:
                    scale = gone.get((layer, planted.neuron), 1.0)
                    adding[code] += planted.gain * strength * scale
        raised = {code: raised[code] + adding[code] for code in LANGS}
    return {code: HEAD * z / size() for code, z in raised.items()}
