"""What `meaning` and `lens` cost: python bench/meaning.py MODEL TEXTS [--take 50] [--lens 25].

In one process, by turns over the same batches, so that whatever else the machine does hits both:

- bare: the model's own forward to the last layer, without its head, nothing read;
- ours: the same with what `meaning` reads, pooled into one vector for each sentence and state;
- measures: everything that is told of the vectors, once.

Times are of the processor. Then `lens`, on a few sentences: the resident memory that it adds at its
peak to that of the loaded model after a forward, from /proc, every few milliseconds.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from langneurons.config import LensConfig, MeaningConfig
from langneurons.meaning.lens import lens
from langneurons.meaning.measures import measures
from langneurons.meaning.pooled import Pooled, _Sums, _work
from langneurons.meaning.sentences import Sentences, parallel
from langneurons.meaning.token_languages import token_languages
from langneurons.model.forward import model_inputs
from langneurons.model.head import Head
from langneurons.model.loading import Loaded, load
from langneurons.texts import running_text


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def costs(model: Loaded, sentences: Sentences) -> None:
    """Bare forwards against those that are read, batch by batch, and the measures."""
    work = _work(model, sentences.responses(), sentences.languages)
    sums = _Sums(model, work)
    batches = work.batches
    tokens = sum(len(row.tokens.ids) for row in work.rows)
    bare = ours = 0.0

    @torch.inference_mode()
    def forward(number: int) -> None:
        _, inputs = model_inputs(model.model, work, batches[number])
        model.model.base_model(**inputs)

    forward(0)
    sums.run(batches[0].rows)  # once for nothing: what is only done the first time
    for number, batch in enumerate(batches):
        turns = [partial(forward, number), partial(sums.run, batch.rows)]
        spent = [0.0, 0.0]
        for turn in (number % 2, 1 - number % 2):
            spent[turn] = seconds(turns[turn])
        bare, ours = bare + spent[0], ours + spent[1]
    shape = (len(sentences.languages), len(sentences.ids))
    states = Pooled(hidden=sums.kept("hidden", shape), rates=sums.kept("rates", shape))
    told = seconds(lambda: measures(states, sentences.languages, MeaningConfig()))
    print(
        f"{tokens:,} tokens of {shape[1]} sentences in {shape[0]} languages, {len(batches)} batches"
    )
    print(f"bare forward {bare:.1f} s, read and pooled {ours:.1f} s, measures {told:.1f} s")
    print(f"read: {ours / bare:.3f} forwards; all: {(ours + told) / bare:.3f} forwards")


def memory(model: Loaded, sentences: Sentences, known: dict[str, list[str]]) -> None:
    """The resident memory that a lens adds at its peak."""
    vocabulary = Head(model.model).module.weight.shape[0]
    one = torch.zeros(1, 64, dtype=torch.long)
    with torch.inference_mode():
        model.model(input_ids=one, logits_to_keep=1)
    before = peak = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    spent = seconds(
        lambda: lens(
            model,
            sentences,
            token_languages(model.tokenizer, known, vocabulary),
            LensConfig(positions=2),
        )
    )
    done.set()
    watcher.join()
    added = (peak - before) / 2**20
    print(f"lens: {added:.0f} MiB added at a vocabulary of {vocabulary:,}, {spent:.1f} s")


def resident() -> int:
    """Resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--languages", default=None)
    parser.add_argument("--take", type=int, default=50, help="sentences; 0 for the lens alone")
    parser.add_argument("--lens", type=int, default=25, help="sentences of the lens; 0 for none")
    given = parser.parse_args()
    codes = given.languages.split(",") if given.languages else None
    documents = running_text.read(given.texts, codes, delimited="lines").documents
    order = {id_: place for place, id_ in enumerate(dict.fromkeys(d.id for d in documents))}
    first = [d for d in documents if order[d.id] < given.take]
    model = load(given.model)
    if given.take:
        costs(model, parallel(first, codes))
    if given.lens:
        some = parallel([d for d in documents if order[d.id] < given.lens], codes)
        known: dict[str, list[str]] = {code: [] for code in some.languages}
        for document in documents:
            if order[document.id] >= given.lens:
                known[document.lang].append(document.text)
        memory(model, some, known)


if __name__ == "__main__":
    main()
