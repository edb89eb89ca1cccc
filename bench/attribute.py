"""What first-order effects cost: python bench/attribute.py [--nano | --model MODEL]
[--device cuda --dtype bfloat16 --shape 7b].

On the texts of bench/perplexity.py, by turns, batch by batch:

- ours: one forward, one backward, effects of all neurons, as `langneurons attribute` runs it;
- bare: the same batches through the same model and its LM head at the scored positions.

With one thread (OMP_NUM_THREADS=1) times are the processor's, which other work on the machine moves
little.
"""

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from perplexity import bare, problems, work_on
from record import SHAPES, added_memory, clock, model_of, texts, train_tokenizer

from langneurons.effects.first_order import FirstOrder
from langneurons.effects.passes import Unit
from langneurons.model import loading as models
from langneurons.model.tokens import tokenise


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/responses_mcot7b/mgsm"))
    parser.add_argument("--questions", type=int, default=1, help="questions per language")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shape", default="111m", choices=SHAPES)
    parser.add_argument(
        "--nano", action="store_true", help="the embedded model, on word problems of its own world"
    )
    parser.add_argument(
        "--model", help="a MODEL, such as gemma, on the same problems, each text by itself"
    )
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--no-share", action="store_true", help="each text with its own prompt")
    asked = parser.parse_args()
    if asked.nano or asked.model:
        loaded = models.load(asked.model or "nano", device=asked.device, dtype=asked.dtype)
        model, tokenizer, responses = loaded.model, loaded.tokenizer, problems(asked.questions)
        if asked.model:
            responses = [response for response in responses if not response.sample]
    else:
        responses = texts(asked.data, asked.questions)
        tokenizer = train_tokenizer(responses)
        model = model_of(asked.shape, asked.device, getattr(torch, asked.dtype))
    rows = tokenise(tokenizer, responses)
    work = work_on(model, responses, rows, asked.budget, share=not asked.no_share)
    sums = FirstOrder(work)
    batches = work.batches.batches
    smallest = min(batches, key=work.batches.computed)
    sums.run(Unit(smallest, 0))
    bare(work, smallest)
    peak = 0.0
    spent: dict[str, list[float]] = {"ours": [], "bare": []}
    for number, batch in enumerate(batches):
        ways = {
            "ours": lambda batch=batch: sums.run(Unit(batch, 0)),
            "bare": lambda batch=batch: bare(work, batch),
        }
        for way in sorted(ways, reverse=bool(number % 2)):
            run = partial(seconds, asked.device, ways[way], spent[way])
            added = added_memory(run) if asked.device == "cpu" else run()
            if way == "ours":
                peak = max(peak, added or 0.0)
    computed = sum(map(work.batches.computed, batches))
    name = asked.model or ("nano" if asked.nano else "Llama")
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{platform.machine()}, {asked.device}, {asked.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {name} of {size:.1f}M parameters, vocabulary "
        f"{model.config.vocab_size:,}; {len(rows)} texts, {computed:,} tokens computed"
    )
    ours, plain = sum(spent["ours"]), sum(spent["bare"])
    each = np.array(spent["ours"]) / np.array(spent["bare"])
    print(f"{'bare forward':<18}{plain:10.2f} s   1.000")
    print(
        f"{'ours':<18}{ours:10.2f} s   {ours / plain:.3f} of bare; by batch "
        f"{each.min():.3f} to {each.max():.3f} ({len(each)} batches)"
    )
    if asked.device == "cpu":
        tokens = max(map(work.batches.computed, batches))
        print(f"memory that a batch of {tokens:,} tokens adds at most: {peak:.0f} MiB")


def seconds(device: str, work: Callable[[], Any], spent: list[float]) -> None:
    """Note how long a piece of work takes: with one thread in seconds of the processor."""
    if device == "cpu" and torch.get_num_threads() == 1:
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    else:
        spent.append(clock(device, work))


if __name__ == "__main__":
    main()
