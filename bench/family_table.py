"""The table of families: python bench/family_table.py FOLDER [--jobs 2] > docs/families.md.

For each architecture of transformers that makes causal or image-text models: a tiny model with
random weights (`tiny_configs`), saved, loaded, checked, recorded and silenced by langneurons, and
held against plain forwards read by other hooks (`plain_reading`). Each runs in a process of its
own; what is done is kept in FOLDER, so that the same command goes on.
"""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from plain_reading import PlainReading
from tiny_configs import tiny_config
from transformers.models.auto import modeling_auto

from langneurons import layout
from langneurons.model.check import check
from langneurons.model.loading import load
from langneurons.model.tokens import predicting, tokenise
from langneurons.neurons.identify import identify
from langneurons.neurons.record import record
from langneurons.neurons.sets import select
from langneurons.silencing.perplexity import perplexity
from langneurons.texts.responses import Response

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
families: Any = import_module("support.families")  # the tokenizer lives with the tests

CAUSAL = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
WITH_IMAGES = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
SECONDS = 900
"""After so long a type is given up."""

_QUESTIONS = {
    "en": ("Three boats carry nine people each.", "So 27 people cross.", "How many hats are left?"),
    "de": ("Drei Boote tragen je neun Menschen.", "Also sind es 27.", "Wie viele Hüte bleiben?"),
    "zh": ("三条船每条坐九个人。", "一共二十七个人。", "还剩几顶帽子？"),
}


def responses() -> list[Response]:
    """A few texts in three languages, two prompts each."""
    return [
        Response(f"q{i}{j}", code, prompt=f"{said[0]} {said[2 * j]} {i % 2}: ", response=said[i])
        for code, said in _QUESTIONS.items()
        for i in range(3)
        for j in range(2)
    ]


def built(model_type: str, folder: Path) -> None:
    """A tiny model of this type and a tokenizer of bytes, saved."""
    causal, whole = transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText
    config = tiny_config(model_type)
    torch.manual_seed(0)
    model = (causal if model_type in CAUSAL else whole).from_config(config)
    if type(model.config) is not type(config) and model_type in WITH_IMAGES:
        model = whole.from_config(config)  # as it is released: its text part has no type of its own
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.copy_(noise * 0.3 if weight.numel() < 1 << 20 else noise * 0.02)
    model.save_pretrained(folder)
    families.save_tokenizer(folder)


def result(model_type: str) -> dict[str, Any]:
    """What became of a type: what was seen, and why it does not hold, if it does not."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            built(model_type, folder)
        except Exception as error:  # noqa: BLE001
            return {"why": f"not built here: {said(error)}", "stage": "built"}
        found: dict[str, Any] = {"class": "", "stage": "loads"}
        try:
            measured(folder, found)
        except Exception as error:  # noqa: BLE001
            found["why"] = f"{found['stage']}: {said(error)}"
            expected = type(error).__module__.startswith("langneurons")
            found["traceback"] = not expected
    return found


def measured(folder: Path, found: dict[str, Any]) -> None:
    """Everything that is tried on a saved model, into `found`."""
    loaded = load(folder)
    found |= {"class": type(loaded.model).__name__, "stage": "check"}
    claims = check(loaded)
    found["claims"] = [[claim.claim, claim.holds, claim.seen] for claim in claims]
    if not claims.holds:
        no = next(claim for claim in claims if claim.holds is False)
        found["why"] = f"check: {no.claim}: {no.seen.replace(str(folder), 'it')}"
        if len(claims) < 4:
            return
    sites, texts = loaded.sites, responses()
    found |= {"shape": layout.describe(loaded.widths), "stage": "record"}
    found["where"] = next(site.path for site in reversed(sites) if site.parts)
    counts = record(loaded, texts, blocks=1)
    neurons = identify(counts, rate=0.2, lam=0.0, bootstrap=0)
    found |= {"neurons": len(neurons), "stage": "perplexity"}
    losses = perplexity(loaded, neurons, texts, controls=0, blocks=1, settings="specific+related")
    found["stage"] = "plain forwards"
    tokens = tokenise(loaded.tokenizer, texts)
    plain = PlainReading(loaded.model, [site.module for site in sites], loaded.widths)
    plain.learn(tokens[0].ids)
    found["missed"] = sorted(without_numbers(plain.missed))
    differ = cells = 0
    for k, code in enumerate(counts.languages):
        total = [np.zeros(shape, np.int64) for shape in loaded.widths]
        for text, token in zip(texts, tokens, strict=True):
            if text.lang == code:
                for sums, active in zip(total, plain.active(token.ids, token.counted), strict=True):
                    sums += active
        for active, sums in zip(counts.active, total, strict=True):
            differ += int(np.abs(active[k].sum(0) - sums).sum())
        cells += int(counts.tokens[k].sum()) * sum(sums.size for sums in total)
    found |= {"differ": differ, "activations": cells}
    found["costs off"] = costs_off(losses, neurons, texts, tokens, plain, loaded.widths)
    found["stage"] = "done"
    if "why" not in found:
        if differ:
            found["why"] = f"counts differ from plain forwards by {differ:,} of {cells:,}"
        elif found["costs off"] > 1e-5:
            found["why"] = f"costs differ from plain forwards by {found['costs off']:.2g}"
        elif unread := [place for place in found["missed"] if not beside(place)]:
            found["why"] = f"not read: {', '.join(unread)}"


def costs_off(
    losses: Any, neurons: Any, texts: Any, tokens: Any, plain: PlainReading, widths: Any
) -> float:
    """How far costs per token are from those of plain forwards at most, silenced or not."""
    worst = 0.0
    for c, condition in enumerate(losses.conditions):
        if np.isnan(losses.nll[c]).any():
            continue
        zero = None
        if condition.silenced is not None:
            zero = [np.zeros(shape, bool) for shape in widths]
            places = select(neurons, widths, condition.setting.split("+"), (condition.silenced,))
            for place in places:
                layer, *inner = layout.address(widths, place)
                zero[layer][tuple(inner)] = True
        for k, code in enumerate(losses.languages):
            own = [predicting(t) for t, r in zip(tokens, texts, strict=True) if r.lang == code]
            cost = sum(plain.cost(t.ids, t.counted, zero) for t in own)
            worst = max(worst, abs(cost - losses.nll[c, k].sum()) / losses.tokens[c, k].sum())
    return worst


def beside(place: str) -> bool:
    """Whether an activation is known to be none of a feed-forward: see the page's foot."""
    return bool(
        re.search(
            r"layers\.i:(GELU|SiLU|gelu|NewGELU|GELUTanh)|receptance|:sigmoid|hyper_conn", place
        )
    )


def without_numbers(places: Iterable[str]) -> set[str]:
    """Paths with `i` for the number of the layer, once each."""
    return {re.sub(r"(?<=\.)\d+(?=[.:])", "i", place, count=1) for place in places}


def said(error: BaseException) -> str:
    """The first line of an error, with what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


TOP = """\
# Families

Made by `python bench/family_table.py FOLDER > docs/families.md`: every architecture of transformers
{version} that makes causal models ({causal}) or reads images and text ({images} more), as a tiny
model with random weights, float32 on a CPU. It is saved, loaded, checked, recorded and silenced as
a user would, and held against plain forwards by other code: one text at a time, no cache, hooks of
its own on whatever is an activation function, activations multiplied by zero.

A type holds where every claim of `langneurons check` does, every count is the plain forwards' and
every cost, silenced or not, theirs to 1e-5 nats a token: **{holds} of {tried} causal types, and
{holds_images} of {tried_images} that read images too.** Not counted are those that are not models
of this kind: {left}.
"""


def page(folder: Path) -> str:
    """The page of what is done."""
    done = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    names = [
        name for name in (*CAUSAL, *(n for n in WITH_IMAGES if n not in CAUSAL)) if name in done
    ]
    none = {name: kind for name in names if (kind := no_such_model(done[name].get("why", "")))}
    tried = [name for name in names if name not in none]
    holds = [name for name in tried if "why" not in done[name]]
    in_causal = lambda some: sum(name in CAUSAL for name in some)  # noqa: E731
    lines = [
        TOP.format(
            version=transformers.__version__,
            causal=len(CAUSAL),
            images=len(set(WITH_IMAGES) - set(CAUSAL)),
            holds=in_causal(holds),
            tried=in_causal(tried),
            holds_images=len(holds) - in_causal(holds),
            tried_images=len(tried) - in_causal(tried),
            left=", ".join(
                f"{list(none.values()).count(kind)} {kind}" for kind in sorted({*none.values()})
            ),
        ),
        "| type | class | where its neurons are | neurons here | claims | holds |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        found = done[name]
        claims = found.get("claims", ())
        yes = sum(claim[1] is True for claim in claims)
        where = re.sub(r"(?<=\.)\d+(?=\.|$)", "i", found.get("where", ""), count=1)
        reason = re.sub(r"\S*/tmp\w+", "the folder", found.get("why", "yes")).replace("|", "/")
        cells = (
            name,
            found.get("class", ""),
            f"`{where}`" if where else "",
            found.get("shape", ""),
            f"{yes} of {len(claims)}" if claims else "",
            reason,
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        "\nClaims that are neither held nor broken cannot be tried on that model; "
        "`langneurons check` says why. Not counted as feed-forwards, by the paper's definition: "
        "gates of a whole layer's input (Gemma 3n and 4), of hyper-connections (Qwen 4), and "
        "sigmoids that weigh an output."
    )
    return "\n".join(lines)


def no_such_model(why: str) -> str:
    """What kind of model a type makes that is none of those wanted; empty for the others."""
    kinds = {
        "is an encoder with a decoder": "with an encoder",
        "not built here": "not built here",
        "it cannot read a text alone": "that need more than text",
        "pixel_values": "that need more than text",
    }
    return next((kind for line, kind in kinds.items() if line in why), "")


def kept(model_type: str, folder: Path) -> None:
    """Try a type and keep what became of it."""
    warnings.simplefilter("ignore")
    began = time.monotonic()
    found = result(model_type)
    found["seconds"] = round(time.monotonic() - began, 1)
    path = folder / f"{model_type}.json"
    path.with_suffix(".part").write_text(json.dumps(found, default=str), "utf-8")
    path.with_suffix(".part").rename(path)


def run(names: Sequence[str], folder: Path, jobs: int) -> None:
    """Try types, each in a process of its own, so many at once."""
    context = multiprocessing.get_context("fork")
    running: dict[str, tuple[Any, float]] = {}
    left = [name for name in names if not (folder / f"{name}.json").exists()]
    while left or running:
        while left and len(running) < jobs:
            name = left.pop(0)
            process = context.Process(target=kept, args=(name, folder))
            process.start()
            running[name] = process, time.monotonic()
        time.sleep(0.05)
        for name, (process, began) in list(running.items()):
            late = time.monotonic() - began > SECONDS
            if late:
                process.kill()
            if late or not process.is_alive():
                process.join()
                del running[name]
                path = folder / f"{name}.json"
                if not path.exists():
                    why = f"took over {SECONDS} s" if late else f"ended with {process.exitcode}"
                    path.write_text(json.dumps({"why": f"not built here: {why}"}), "utf-8")
                found = json.loads(path.read_text("utf-8"))
                print(name, found.get("why", "holds")[:150], file=sys.stderr, flush=True)


def main() -> None:
    """Try what is left, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where what is done is kept")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--types", nargs="*", help="these only, and no page")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    import_module("transformers.utils.logging").disable_progress_bar()
    import_module("transformers.utils.logging").set_verbosity_error()
    names = asked.types or [*CAUSAL, *(name for name in WITH_IMAGES if name not in CAUSAL)]
    run(names, asked.folder, asked.jobs)
    if not asked.types:
        print(page(asked.folder))


if __name__ == "__main__":
    main()
