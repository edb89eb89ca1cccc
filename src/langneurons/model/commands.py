"""Commands of the model: check."""

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from langneurons.config import ModelConfig
from langneurons.console import Json, print_json
from langneurons.model.check import Check


def check(
    model: str,
    /,
    *,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    json: Json = False,
) -> None:
    """Prove on a model that its neurons can be read and silenced: sites, batches, padding, caches, restoring.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder or an id on the Hugging Face Hub.
    loading
        How the model is loaded.
    """
    from langneurons.model import loading as models
    from langneurons.model.check import check as run

    loaded = models.load(model, **asdict(loading))
    checks = run(loaded.model, loaded.tokenizer)
    tell_checks(model, checks, json)
    if not all(one.holds is not False for one in checks):
        sys.exit(2)


def tell_checks(model: str, checks: list["Check"], json: bool) -> None:
    """What holds on a model, and the verdict."""
    good = all(check.holds is not False for check in checks)
    if json:
        print_json({"model": model, "holds": good, "checks": [check._asdict() for check in checks]})
        return
    words = {True: "yes", False: "NO", None: "-"}
    for check in checks:
        print(f"{words[check.holds]:<5}{check.claim:<56}{check.seen}")
    print(
        f"{model}: every measurement holds"
        if good
        else f"{model}: not every measurement holds; do not trust its counts"
    )
