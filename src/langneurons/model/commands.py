"""Commands of the model: check."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from langneurons.config import ModelConfig
from langneurons.console import Json, columns, print_json

if TYPE_CHECKING:
    from langneurons.model.check import Checks


def check(
    model: str,
    /,
    *,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    json: Json = False,
) -> Any:
    """Prove on a model that its neurons can be read and silenced.

    What is tried: sites, batches, padding, caches, restoring.

    Parameters
    ----------
    model
        A folder, a PEFT adapter folder, a GGUF file or an id on the Hugging Face Hub.
    loading
        How the model is loaded.

    Returns
    -------
    Checks
        What was tried and whether it holds.
    """
    from langneurons.model import check as claims
    from langneurons.model.loading import load

    checks = claims.check(load(model, **asdict(loading)))
    if json:
        tried = [check._asdict() for check in checks]
        print_json({"model": model, "holds": checks.holds, "checks": tried})
    else:
        print(_table(checks))
        print(f"{model}: {checks.verdict}")
    return checks


def _table(checks: "Checks") -> str:
    """A line for each claim, with what was seen."""
    words = {True: "yes", False: "NO", None: "-"}
    first, *rest = [(words[check.holds], check.claim, check.seen) for check in checks]
    return columns(first, rest, left=3)
