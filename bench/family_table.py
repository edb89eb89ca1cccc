"""The table of families: python bench/family_table.py [--data FOLDER] > docs/families.md.

For each: a tiny model with random weights from its own config, every claim of `langneurons check`,
a recording of real responses (responses_mcot7b/mgsm, byte tokenizer) and the identification of its
neurons.
"""

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import transformers

from langneurons.layout import describe
from langneurons.model.check import check
from langneurons.model.loading import load
from langneurons.neurons.identify import identify
from langneurons.neurons.record import record
from langneurons.texts.rows import read_responses

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
families: Any = import_module("support.families")  # the configs live with the tests

TOP = """\
# Families

Made by `python bench/family_table.py > docs/families.md`: tiny models with random weights, from
their own configs, transformers {version}, float32 on a CPU. Each is also tested, claim by claim.

Recorded: the responses of mCoT-7B to {questions} MGSM questions in ten languages.
"""

BOTTOM = """
A family that is not here may work as well: sites are found by structure, and `langneurons check`
tells.\
"""

HEADS = (
    "family",
    "class",
    "where its neurons are",
    "shape here",
    "claims that hold",
    "tokens counted",
    "neurons listed",
)


def row(name: str, responses: list[Any]) -> tuple[str, ...]:
    """One family's cells of the table."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(families.save(name, Path(folder)))
    checks = check(loaded)
    counts = record(loaded, responses)
    neurons = identify(counts, rate=0.2, lam=0.0, bootstrap=0)
    held = sum(claim.holds is True for claim in checks)
    sites = loaded.sites
    return (
        name,
        type(loaded.model).__name__,
        f"`{sites[-1].path.replace(f'.{len(sites) - 1}.', '.i.')}`",
        describe(loaded.widths),
        f"{held} of {len(checks)}",
        f"{counts.tokens.sum():,}",
        f"{len(neurons)}",
    )


def line(cells: tuple[str, ...]) -> str:
    """A line of the table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/responses_mcot7b/mgsm"))
    parser.add_argument("--questions", type=int, default=10, help="questions per language")
    asked = parser.parse_args()
    wanted = {f"mgsm-{i:03d}" for i in range(asked.questions)}
    responses = [r for r in read_responses(asked.data) if r.question_id in wanted]
    import_module("transformers.utils.logging").disable_progress_bar()
    print(TOP.format(version=transformers.__version__, questions=asked.questions))
    print(line(HEADS))
    print("|" + "---|" * len(HEADS))
    for name in families.FAMILIES:
        print(line(row(name, responses)), flush=True)
    print(BOTTOM)


if __name__ == "__main__":
    main()
