"""What first-order effects cost: python bench/attribute.py [--nano | --model MODEL]
[--device cuda --dtype bfloat16 --shape 7b].

On the texts of bench/perplexity.py, by turns, batch by batch:

- ours: one forward, one backward, effects of all neurons, as `langneurons attribute` runs it;
- bare: the same batches through the same model and its LM head at the scored positions.
"""

import argparse
import platform
from pathlib import Path

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
    sums.run(Unit(batches[-1], 0))
    bare(work, batches[-1])
    spent = {"ours": 0.0, "bare": 0.0}
    for number, batch in enumerate(batches):
        ways = {
            "ours": lambda batch=batch: sums.run(Unit(batch, 0)),
            "bare": lambda batch=batch: bare(work, batch),
        }
        for way in sorted(ways, reverse=bool(number % 2)):
            spent[way] += clock(asked.device, ways[way])
    computed = sum(map(work.batches.computed, batches))
    name = asked.model or ("nano" if asked.nano else "Llama")
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{platform.machine()}, {asked.device}, {asked.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {name} of {size:.1f}M parameters, vocabulary "
        f"{model.config.vocab_size:,}; {len(rows)} texts, {computed:,} tokens computed"
    )
    print(f"{'bare forward':<18}{spent['bare']:10.2f} s   1.000")
    print(f"{'ours':<18}{spent['ours']:10.2f} s   {spent['ours'] / spent['bare']:.3f} of bare")
    if asked.device == "cpu":
        peak = added_memory(lambda: sums.run(Unit(batches[0], 0)))
        tokens = work.batches.computed(batches[0])
        print(f"memory that a batch of {tokens:,} tokens adds: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
