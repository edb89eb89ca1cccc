"""langneurons: find the language neurons of a causal language model, switch them off, see what
changes.

    import langneurons as ln

    model = ln.load("nano")                         # or a folder, an adapter, an id on the Hub
    counts = ln.record(model, ln.read_responses("responses/"))
    neurons = ln.identify(counts, rate=0.2)
    with ln.silence(model, neurons.of("sw")):
        print(model.generate("..."))

The names below are all there is to begin with; they are loaded when they are first used. Behind
them are thirteen packages, each a chapter of the way from texts to a page; each opens with what is
in it: texts, model, neurons, silencing, align, meaning, ask, effects, steering, compare, sweep,
report, study.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langneurons.errors import missing_extra

if TYPE_CHECKING:
    from langneurons.ask.evaluate import evaluate
    from langneurons.ask.sample import sample
    from langneurons.model.check import check
    from langneurons.model.loading import load
    from langneurons.neurons.counts import Counts
    from langneurons.neurons.identify import identify
    from langneurons.neurons.record import record
    from langneurons.neurons.sets import silence
    from langneurons.neurons.steering import steer
    from langneurons.neurons.table import Neurons
    from langneurons.report.figures import figures
    from langneurons.report.results import load_result
    from langneurons.silencing.losses import Losses
    from langneurons.silencing.perplexity import perplexity
    from langneurons.texts.responses import Response
    from langneurons.texts.rows import read_responses

__version__ = "0.2.0"

__all__ = [
    "Counts",
    "Losses",
    "Neurons",
    "Response",
    "check",
    "evaluate",
    "figures",
    "identify",
    "load",
    "load_result",
    "perplexity",
    "read_responses",
    "record",
    "sample",
    "silence",
    "steer",
]

_HOMES = {
    "Counts": "neurons.counts",
    "Losses": "silencing.losses",
    "Neurons": "neurons.table",
    "Response": "texts.responses",
    "check": "model.check",
    "evaluate": "ask.evaluate",
    "figures": "report.figures",
    "identify": "neurons.identify",
    "load": "model.loading",
    "load_result": "report.results",
    "perplexity": "silencing.perplexity",
    "read_responses": "texts.rows",
    "record": "neurons.record",
    "sample": "ask.sample",
    "silence": "neurons.sets",
    "steer": "neurons.steering",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    """Load a name when it is first used, so that importing langneurons is light."""
    if name not in _HOMES:
        raise AttributeError(f"langneurons has no {name}; it has {', '.join(__all__)}")
    try:
        return getattr(import_module(f"langneurons.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
