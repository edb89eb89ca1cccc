"""Estimate: what a step would take, by formulae that docs/study.md states, and whether what it needs can be had.

Nothing is loaded or computed. A prompt is taken to have 150 tokens, a response as many as it may
have; so tokens and times are above rather than below.
"""

import json
import os
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from langneurons import artifacts, console, nano
from langneurons.config import ModelConfig, SampleConfig
from langneurons.study.ledger import Ledger
from langneurons.study.plan import Step
from langneurons.study.spec import Study
from langneurons.texts import world

PROMPT = 150
"""Tokens a prompt is taken to have."""

GPU, CORE = 1e14, 2e10
"""Operations a second a GPU and a core of a CPU are taken to do where tokens are read; a tenth
where they are written one by one."""

KNOWN = {"mgsm": 250, "msvamp": 1000} | dict.fromkeys(world.QUESTIONS, world.NUMBER)
"""Questions of a language in what is known by name."""


class Size(NamedTuple):
    """What is known of a model without loading it.

    Attributes:
        weights: how many it has.
        cache: numbers it keeps for each token of a text that it writes; None when not known.
        vocabulary: tokens it knows; None when not known.
        seen: where this was seen.
    """

    weights: float
    cache: int | None
    vocabulary: int | None
    seen: str


class Cost(NamedTuple):
    """What a step would take; None where it cannot be known.

    Attributes:
        tokens: tokens that go through a model.
        operations: of these, multiplications and additions.
        memory: bytes on the device for weights, and for what the largest batch keeps of its tokens.
    """

    tokens: float | None
    operations: float | None
    memory: float | None


class Access(NamedTuple):
    """Whether something can be had: a model, questions, a library; None when that could not be checked."""

    name: str
    there: bool | None
    seen: str


def cost(study: Study, step: Step, ledger: Ledger) -> Cost:
    """What a step would take by its formula; nothing for those that run no model."""
    parts = step.out.split("/")
    if parts[0] != "models" or step.stage in ("identify", "pair", "compare"):
        return Cost(0, 0, 0)
    loading = study.loading
    model = study.models[parts[1]]
    if step.stage == "reward" and study.translator:
        model, loading = study.translator.model, study.translator.loading
    held = size(model)
    seeds = parts[2] == "seeds"
    asked = count(study, "seeds" if seeds else parts[-2], ledger) if step.stage != "align" else 0
    if asked is None:
        return Cost(None, None, None if held is None else held.weights * width(loading))
    kinds = (
        1 + len({code for codes in study.alignments.values() for code in codes})
        if seeds
        else len(study.languages)
    )
    tokens, operations = _work(
        study, step, asked, kinds, study.sample_seeds if seeds else study.sample
    )
    if held is None:
        return Cost(tokens, None, None)
    memory = held.weights * width(loading) + _kept(study, step, held) * width(loading)
    return Cost(tokens, operations * held.weights, memory)


def _work(
    study: Study, step: Step, questions: int, kinds: int, sample: SampleConfig
) -> tuple[float, float]:
    """Tokens that go through a model, and operations for each of its weights. Reading a token takes 2."""
    n, written = sample.n, sample.max_new_tokens
    texts = questions * kinds * (PROMPT + n * written)
    if step.stage == "evaluate":
        texts = questions * kinds * (PROMPT + study.evaluate.max_new_tokens)
    elif step.stage == "perplexity":
        config = study.perplexity
        texts *= 1 + len(config.kinds) * kinds * (1 + config.controls)
    elif (
        step.stage == "reward"
    ):  # half the weights read each response, half each pair of response and reference
        texts = questions * (kinds - 1) * n * (1 + n) * written
        return texts, texts
    elif (
        step.stage == "align"
    ):  # forward, again for the backward, backward to the adapters, forward of the base
        texts = (
            study.align.steps
            * study.align.batch
            * 2
            * min(study.align.max_tokens, PROMPT + study.sample_seeds.max_new_tokens)
        )
        return texts, 8 * texts
    return texts, 2 * texts


def _kept(study: Study, step: Step, held: Size) -> float:
    """Numbers that the largest batch keeps: of tokens while writing, of logits while training."""
    if step.stage in ("sample", "evaluate") and held.cache:
        config = study.sample if step.stage == "sample" else study.evaluate
        return config.rows * (PROMPT + config.max_new_tokens) * held.cache
    if step.stage == "align" and held.vocabulary:
        return 4.0 * study.align.device_batch * study.align.max_tokens * held.vocabulary
    return 0


def count(study: Study, domain: str, ledger: Ledger) -> int | None:
    """Questions of each language in a domain: those fetched, those known by name, lines of files; None otherwise."""
    asked = study.seeds if domain == "seeds" else study.domains[domain]
    if asked is None:
        return None
    if ledger.digest(f"questions/{domain}"):
        return artifacts.read(ledger.run / "questions" / domain).manifest["facts"]["questions"]
    path = Path(asked.questions)
    there = KNOWN.get(asked.questions)
    if asked.questions not in world.QUESTIONS and path.exists():
        files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
        lines = [
            sum(1 for line in file.read_bytes().splitlines() if line.strip()) for file in files
        ]
        there = max(lines, default=0) if path.is_dir() else lines[0] // len(study.languages)
    return min(there or asked.take, asked.take or there or 0) or None


@cache
def size(name: str) -> Size | None:
    """What is known of a model by its files here or in the Hub's cache, else by a number such as 7B in its name."""
    folder = nano.folder(name) or Path(name)
    if not folder.is_dir():
        folder = _cached(name) or folder
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if files:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
        kept = None
        if layers and heads:
            each = config.get("head_dim") or config["hidden_size"] // heads
            kept = 2 * layers * (config.get("num_key_value_heads") or heads) * each
        return Size(
            sum(_weights(file) for file in files), kept, config.get("vocab_size"), "by its files"
        )
    if found := re.search(r"(\d+(?:\.\d+)?)([BM])(?![A-Za-z])", name):
        return Size(float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]], None, None, "by its name")
    return None


def _weights(file: Path) -> int:
    """Weights in a safetensors file, by its head."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        head = json.loads(opened.read(length))
    return sum(prod(one["shape"]) for name, one in head.items() if name != "__metadata__")


def _cached(name: str) -> Path | None:
    """Where the Hub's cache holds a model."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def width(loading: ModelConfig) -> int:
    """Bytes of a weight once loaded."""
    if loading.dtype == "auto":
        return 2 if gpus() else 4
    return 4 if loading.dtype == "float32" else 2


def gpus() -> int:
    """NVIDIA GPUs that this machine shows."""
    return sum(1 for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit())


def seconds(step: Step, found: Cost, ledger: Ledger) -> float | None:
    """Time of a step: as fast as steps of its stage were in this run, else by the speeds assumed; None if not known."""
    if found.operations is None:
        return None
    if found.operations == 0:
        return 1.0
    took = [
        one
        for out, one in ledger.steps.items()
        if one["stage"] == step.stage and one.get("operations")
    ]
    if took:
        return (
            found.operations
            * sum(one["seconds"] for one in took)
            / sum(one["operations"] for one in took)
        )
    return _at(GPU if gpus() else CORE * (os.cpu_count() or 1), step.stage, found.operations)


def _at(speed: float, stage: str, operations: float) -> float:
    """Seconds at a speed of reading."""
    return operations / (speed / 10 if stage in ("sample", "evaluate") else speed)


def left(study: Study, steps: Sequence[Step], ledger: Ledger) -> str:
    """About how long these steps that are not known to be done would take, in words; empty when not known."""
    times = [
        seconds(step, cost(study, step, ledger), ledger)
        for step in steps
        if step.out not in ledger.steps
    ]
    known = [time for time in times if time is not None]
    return f"about {console.span(sum(known))}" if known and len(known) == len(times) else ""


def amount(number: float) -> str:
    """A number in few letters: 12k, 3.4M, 1.2G."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Tokens, memory and time of a row of a plan, as text."""
    tokens = "?" if row["tokens"] is None else amount(row["tokens"]) if row["tokens"] else "-"
    memory = "?" if row["memory"] is None else f"{amount(row['memory'])}B" if row["memory"] else "-"
    return tokens, memory, "?" if row["seconds"] is None else console.span(row["seconds"])


def summary(rows: Sequence[Mapping[str, Any]], steps: int) -> list[str]:
    """Totals of the rows of a plan that are to be done, and what they rest on."""
    if not rows:
        return [f"{steps} steps, all there; nothing to do"]
    open_ = sum(row["seconds"] is None for row in rows)
    tokens, time = (sum(row[name] or 0 for row in rows) for name in ("tokens", "seconds"))
    least = "at least " if open_ else ""
    memory = max(row["memory"] or 0 for row in rows)
    device = (
        f"{gpus()} GPUs here, of which one is used"
        if gpus()
        else f"{os.cpu_count()} cores here and no GPU"
    )
    total = f"{least}{amount(tokens)} tokens, {amount(memory)}B at once, {console.span(time)}"
    if not gpus():
        total += f" here, {console.span(sum(_at(GPU, row['stage'], row['operations'] or 0) for row in rows))} on a GPU"
    said = [f"{len(rows)} of {steps} steps to do: {total}"]
    parts: Counter[str] = Counter()
    for row in rows:
        parts[row["stage"]] += row["seconds"] or 0
    said.append(
        "most of it: "
        + ", ".join(f"{stage} {part / (time or 1):.0%}" for stage, part in parts.most_common(4))
    )
    if open_:
        said.append(
            f"{open_} steps cannot be estimated: their questions or their model are not here"
        )
    said.append(
        f"{device}; prompts taken to have {PROMPT} tokens, responses all they may have (see docs/study.md)"
    )
    return said


def access(study: Study) -> list[Access]:
    """Whether models, questions and libraries are here or can be fetched. The Hub is asked for ids, nothing more."""
    models = [*study.models.values(), *([study.translator.model] if study.translator else [])]
    asked = [*study.domains.values(), *([study.seeds] if study.seeds else [])]
    found = [_model(name) for name in dict.fromkeys(models)]
    found += [_questions(name) for name in dict.fromkeys(one.questions for one in asked)]
    if study.template and "/" in study.template:
        found.append(Access(study.template, Path(study.template).is_file(), "prompt template"))
    libraries = {
        "report": ("vl_convert",),
        "align": ("trl", "peft", "accelerate") if study.alignments else (),
    }
    return found + [_library(name, extra) for extra, names in libraries.items() for name in names]


def _model(name: str) -> Access:
    held = size(name)
    said = f"{amount(held.weights)} weights {held.seen}" if held else "size not known"
    folder = nano.folder(name) or Path(name)
    if folder.is_dir():
        there = (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()
        return Access(
            name, there, f"{said}, a folder here" if there else "a folder without config.json"
        )
    if nano.folder(name):
        return Access(name, False, "the embedded model is not in this installation")
    if _cached(name):
        return Access(name, True, f"{said}, in the Hub's cache")
    return _hub(name, "model", said)


def _questions(name: str) -> Access:
    from langneurons.texts.questions import BENCHMARKS

    if name in world.QUESTIONS:
        return Access(name, True, "questions that come with langneurons")
    if Path(name).exists():
        return Access(name, True, "questions here")
    if name.endswith(".jsonl"):
        return Access(name, False, "no such file of questions here")
    source = BENCHMARKS[name].source if name in BENCHMARKS else name.partition(":")[0]
    return _hub(source, "dataset", "questions")._replace(name=name)


def _hub(name: str, kind: str, said: str) -> Access:
    """Whether the Hub has something that we may read."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        HfApi().repo_info(name, repo_type=kind, timeout=5)
    except GatedRepoError:
        return Access(name, False, f"{said}; on the Hub, and one must ask for it there")
    except (RepositoryNotFoundError, HFValidationError):
        return Access(name, False, f"{said}; neither here nor on the Hub")
    except Exception as error:  # noqa: BLE001 - whatever the network says, it could not be checked
        return Access(
            name, None, f"{said}; could not be checked: {type(error).__name__} from the Hub"
        )
    return Access(name, True, f"{said}; on the Hub")


def _library(name: str, extra: str) -> Access:
    there = find_spec(name) is not None
    return Access(
        name, there, "a library" if there else f"missing: pip install 'langneurons[{extra}]'"
    )
