"""Run folder: where the run of a study keeps what; who writes it and who reads it need not guess.

```
study.json                                        what it is a run of, and what is done
questions/DOMAIN, questions/seeds                 what is asked
models/MODEL/base/DOMAIN/responses, accuracy, counts, neurons, perplexity,
                                                  meaning, lens, sweep
models/MODEL/seeds/responses, scored
models/MODEL/ALIGNMENT/pairs, adapter
models/MODEL/ALIGNMENT/step-N/DOMAIN/...          as under base
models/MODEL/ALIGNMENT/comparison/DOMAIN          the model before against the last step
models/MODEL/ALIGNMENT/sweep/DOMAIN               the claims over a grid of settings, likewise
models/MODEL/ALIGNMENT/checkpoints/DOMAIN         and against every step that is studied
report, report.html                               figures and tables, and the page
```

Every function gives a folder from that of the run, as manifests and commands name it. What lies in
a folder of results is named by its kind: `responses`, `counts`, `neurons`.
"""

from pathlib import PurePosixPath

LEDGER = "study.json"
"""Name of the file in the folder of a run that says what it is a run of, and what is done."""

QUESTIONS, MODELS, REPORT = "questions", "models", "report"
"""The three folders of a run."""

PAGE = "report.html"
"""Name of the page, beside the folder of its figures and tables."""

SEEDS = "seeds"
"""What the questions to align on are called, and the folder of the responses to them."""

_STEP = "step-"


def questions(domain: str) -> str:
    """The questions of a domain; of `SEEDS` those to align on."""
    return f"{QUESTIONS}/{domain}"


def base(model: str, domain: str) -> str:
    """Results of a model before any alignment."""
    return f"{MODELS}/{model}/base/{domain}"


def seeds(model: str) -> str:
    """Responses of a model to align on, and their scores."""
    return f"{MODELS}/{model}/{SEEDS}"


def alignment(model: str, name: str) -> str:
    """All that belongs to an alignment of a model: pairs, adapter, results, comparisons."""
    return f"{MODELS}/{model}/{name}"


def step(model: str, name: str, number: int, domain: str) -> str:
    """Results of a model after so many steps of an alignment."""
    return f"{alignment(model, name)}/{_STEP}{number}/{domain}"


def comparison(model: str, name: str, domain: str) -> str:
    """The model before against the last step of an alignment."""
    return f"{alignment(model, name)}/comparison/{domain}"


def sweep(model: str, name: str, domain: str) -> str:
    """The claims over a grid of settings, of the model before and after an alignment."""
    return f"{alignment(model, name)}/sweep/{domain}"


def checkpoints(model: str, name: str, domain: str) -> str:
    """The model before against every step that is studied."""
    return f"{alignment(model, name)}/checkpoints/{domain}"


def step_number(folder: str) -> int | None:
    """After how many steps the results in a folder are: the inverse of `step`; None elsewhere."""
    place = PurePosixPath(folder).parent.name
    number = place.removeprefix(_STEP)
    return int(number) if place.startswith(_STEP) and number.isdecimal() else None
