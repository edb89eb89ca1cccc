"""What silencing costs: python bench/perplexity.py [--nano] [--device cuda --dtype bfloat16 --shape
7b].

The whole matrix is ten languages silenced in two settings, each with five random sets, and nothing
silenced: 121 conditions, under each of which the texts of ten languages are scored. On one model
with random weights and real texts (responses_mcot7b/mgsm; ten responses to a prompt, made by
cutting the real one at ten lengths), or with --nano on the embedded model and problems of its own
world:

- ours: the units of `langneurons perplexity`, as it runs them;
- bare: the same batches through the same model and its LM head at the scored positions, nothing
  silenced or scored;
- one at a time: one text, one condition, all logits, as the released code's way of working, over a
  sample of the texts.

Conditions cost the same, so a sample of them is timed, by turns, unit by unit, and scaled up;
--conditions 121 for all.
"""

import argparse
import platform
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from record import (
    SAMPLES,
    SHAPES,
    added_memory,
    clock,
    middle,
    model_of,
    texts,
    train_tokenizer,
)
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from langneurons.model import loading as models
from langneurons.model.batches import Batch, batched
from langneurons.model.forward import cache_name, model_inputs, spread_prompts
from langneurons.model.head import Head
from langneurons.model.hooks import silence
from langneurons.model.sites import find_sites
from langneurons.model.tokens import Tokens, predicting, tokenise
from langneurons.neurons.sets import to_masks
from langneurons.silencing.perplexity import Off, Work, run_unit
from langneurons.texts import world
from langneurons.texts.responses import Response

CONDITIONS = 1 + 10 * 2 * (1 + 5)
RATE = 0.01
"""Share of all neurons that a set silences: more than a real one, of one language, does."""


def work_on(
    model: Any, responses: list[Response], rows: list[Tokens], budget: int, *, share: bool = True
) -> Work:
    """The work of the stage on these texts."""
    cut = [Tokens(row.ids[:-1], predicting(row).counted[:-1]) for row in rows]
    codes = tuple(dict.fromkeys(r.lang for r in responses))
    return Work(
        model=model,
        sites=find_sites(model),
        head=Head(model),
        batches=batched(responses, cut, codes, blocks=10, budget=budget, share_prompts=share),
        targets=[row.ids[1:] for row in rows],
        values=None,
        best=False,
    )


def problems(questions: int) -> list[Response]:
    """Ten ways to put the reasoning of each of the first problems of the embedded world, in every
    language.
    """
    return [
        Response(
            one.id,
            code,
            world.tell(one, code, Random(0)),
            world.think(one, code, Random(sample)),
            sample,
        )
        for code in world.LANGUAGES
        for one in world.problems("nano", "test", questions)
        for sample in range(SAMPLES)
    ]


def random_sets(work: Work, count: int) -> list[Off]:
    """Sets of neurons drawn at random."""
    total = sum(int(np.prod(site.shape)) for site in work.sites)
    rng = np.random.default_rng(0)
    return [Off(np.sort(rng.choice(total, int(total * RATE), replace=False))) for _ in range(count)]


@torch.inference_mode()
def bare(work: Work, batch: Batch) -> None:
    """The batch through the decoder, and its scored positions through the LM head, as many at once
    as ours.
    """
    prompts, inputs = model_inputs(work.model, work.batches, batch)
    if prompts:
        work.model.model(**prompts)
        spread_prompts(work.batches, batch, inputs[cache_name(work.model)])
    hidden = work.model.model(**inputs).last_hidden_state
    counted = np.zeros(hidden.shape[:2], dtype=bool)
    for row, i in zip(counted, batch.rows, strict=True):
        mine = work.batches.rows[i].tokens.counted[batch.prefix :]
        row[: len(mine)] = mine
    for part in hidden[torch.from_numpy(counted).to(hidden.device)].split(work.head.chunk):
        work.model.lm_head(part)


@torch.inference_mode()
def one_at_a_time(work: Work, rows: list[Tokens], chosen: np.ndarray) -> None:
    """One text after the other, all logits, with the neurons silenced."""
    with silence(work.sites, to_masks([chosen], [site.shape for site in work.sites])):
        for row in rows:
            ids = torch.from_numpy(row.ids).long().to(work.model.device)
            logits = work.model(input_ids=ids[None], use_cache=False).logits[0]
            scored = torch.from_numpy(predicting(row).counted[:-1]).to(ids.device)
            cross_entropy(logits[:-1][scored].float(), ids[1:][scored], reduction="sum").item()


def memory(length: int, vocabulary: int) -> None:
    """What scoring one text of so many tokens adds to the memory of a process of its own; printed
    in MiB.
    """
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=8192, **SHAPES["tiny"])
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    row = Tokens(rng.integers(0, vocabulary, length).astype(np.int32), np.arange(length) >= 16)
    work = work_on(model, [Response("q", "en", "p", "r")], [row], 1024)
    print(added_memory(lambda: run_unit(work, work.batches.batches[0], [Off(np.arange(3))])))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/responses_mcot7b/mgsm"))
    parser.add_argument("--questions", type=int, default=2, help="questions per language")
    parser.add_argument("--conditions", type=int, default=3, help="conditions timed, of 121")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shape", default="111m", choices=SHAPES)
    parser.add_argument(
        "--nano", action="store_true", help="the embedded model, on word problems of its own world"
    )
    parser.add_argument(
        "--model", help="a MODEL with its own tokenizer, such as gemma.gguf, in place of --shape"
    )
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--memory", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        memory(*asked.memory)
        return
    if asked.nano:
        loaded = models.load("nano", device=asked.device, dtype=asked.dtype)
        model, tokenizer, responses = loaded.model, loaded.tokenizer, problems(asked.questions)
    elif asked.model:
        loaded = models.load(asked.model, device=asked.device, dtype=asked.dtype)
        model, tokenizer = loaded.model, loaded.tokenizer
        responses = texts(asked.data, asked.questions)
    else:
        responses = texts(asked.data, asked.questions)
        tokenizer = train_tokenizer(responses)
        model = model_of(asked.shape, asked.device, getattr(torch, asked.dtype))
    rows = tokenise(tokenizer, responses)
    work = work_on(model, responses, rows, asked.budget)
    sets = random_sets(work, asked.conditions)
    tokens = sum(len(row.ids) for row in rows)
    computed = sum(map(work.batches.computed, work.batches.batches))
    scored = sum(int(row.tokens.counted.sum()) for row in work.batches.rows)
    name = "nano" if asked.nano else asked.model or "Llama"
    size = sum(p.numel() for p in model.parameters()) / 1e6
    machine = f"{platform.machine()}, {asked.device}, {asked.dtype}, torch {torch.__version__}"
    print(
        f"{machine}, {torch.get_num_threads()} threads; {name} of {size:.1f}M parameters, "
        f"vocabulary {model.config.vocab_size:,}; {len(rows)} texts of {tokens:,} tokens, "
        f"{scored:,} scored, {computed:,} computed; {asked.conditions} of {CONDITIONS} conditions "
        "timed"
    )
    seconds_of: dict[str, list[float]] = {"ours": [], "bare": [], "alone": []}
    added = added_memory(lambda: run_unit(work, work.batches.batches[0], sets[:1]))
    print(f"memory that the first batch adds: {added:.0f} MiB")
    bare(work, work.batches.batches[-1])
    some = [rows[batch.rows[len(batch.rows) // 2]] for batch in work.batches.batches]
    one_at_a_time(work, some[:1], sets[0].chosen)
    for number, batch in enumerate(work.batches.batches):
        at_once = max(1, asked.budget // work.batches.computed(batch))
        groups = [sets[i : i + at_once] for i in range(0, len(sets), at_once)]
        ways = {
            "ours": lambda batch=batch, groups=groups: [
                run_unit(work, batch, group) for group in groups
            ],
            "bare": lambda batch=batch: [bare(work, batch) for _ in sets],
            "alone": lambda number=number: one_at_a_time(
                work, some[number : number + 1], sets[0].chosen
            ),
        }
        for way in sorted(ways, reverse=bool(number % 2)):
            seconds_of[way].append(clock(asked.device, ways[way]))
    spent = {way: sum(each) for way, each in seconds_of.items()}
    spent["alone"] *= len(sets) * tokens / sum(len(row.ids) for row in some)
    scale = CONDITIONS / asked.conditions
    print(f"{'bare forward':<18}{spent['bare'] * scale:10.1f} s   1.000")
    print(
        f"{'ours':<18}{spent['ours'] * scale:10.1f} s   {spent['ours'] / spent['bare']:.3f} of "
        f"bare; median of {len(work.batches.batches)} batches "
        f"{middle(seconds_of['ours'], seconds_of['bare']):.3f}"
    )
    layers, head = (
        sum(p.numel() for p in part.parameters()) for part in (model.model.layers, model.lm_head)
    )
    products = tokens * (layers + head) / (computed * layers + scored * head)
    times = spent["alone"] / spent["ours"]
    print(
        f"{'one at a time':<18}{spent['alone'] * scale:10.1f} s   {times:.1f} times ours, with "
        f"{products:.1f} times the multiplications ({len(some)} texts, scaled up)"
    )
    peaks = {}
    for length, vocabulary in ((512, 150_000), (4096, 150_000), (4096, 8_000)):
        command = [sys.executable, __file__, "--memory", str(length), str(vocabulary)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[f"{length:,} tokens of {vocabulary:,}"] = float(done.stdout)
    print(
        "memory that scoring one text adds: "
        + "; ".join(f"{name}: {peak:.0f} MiB" for name, peak in peaks.items())
    )


if __name__ == "__main__":
    main()
