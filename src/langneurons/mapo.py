"""MAPO: the commands that align a model across languages: reward, pair, align."""

import json as jsonlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from langneurons import artifacts, console
from langneurons.config import ModelConfig, PairConfig, RewardConfig
from langneurons.console import Force, Json
from langneurons.errors import InputError
from langneurons.recipe import AlignConfig

if TYPE_CHECKING:
    from langneurons.pair import Length, Scored

SCORED, TRAIN, DEV, HISTORY = "scored.jsonl", "train.jsonl", "dev.jsonl", "history.jsonl"
"""Names of the files in a folder of scored responses, in one of pairs, and of a training's log."""


def reward(
    responses: Path,
    /,
    *,
    translator: str,
    out: Path,
    config: Annotated[RewardConfig, Parameter(name="*")] = RewardConfig(),
    languages: str | None = None,
    codes: str | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Score how well each response agrees with the English responses to its question, by a translation model.

    Parameters
    ----------
    responses
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl, with English among them.
    translator
        A multilingual translation model, as facebook/nllb-200-distilled-600M: a folder or an id on the Hub.
    out
        Folder to write.
    config
        Settings.
    languages
        Languages to score, as codes with commas [default: all there are].
    codes
        Language tokens of the translator that are not found by themselves, as zh=zho_Hant,sr=srp_Cyrl.
    loading
        How the translator is loaded.
    """
    from langneurons import data, models
    from langneurons.reward import ENGLISH
    from langneurons.reward import reward as run

    wanted, spelled = console.codes(languages), _spelled(codes)
    rows = data.read_responses(responses)
    if wanted:
        if missing := [code for code in wanted if not any(row.lang == code for row in rows)]:
            raise InputError(f"{responses} has no response in {', '.join(missing)}; leave it out of --languages")
        rows = [row for row in rows if row.lang in (*wanted, ENGLISH)]
    loaded = models.load(translator, **asdict(loading), seq2seq=True)
    settings = {**asdict(config), "languages": wanted, "codes": spelled, "dtype": str(loaded.model.dtype)}
    del settings["save_every"]
    files = [responses] if responses.is_file() else sorted(responses.glob("*.jsonl"))
    inputs = {file.name: artifacts.file_digest(file) for file in files}
    inputs |= {"translator": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    if not console.there(out, "scored", settings, inputs, force=force):
        state = artifacts.State(out, settings, inputs)
        with console.progress("scoring", quiet=json, unit="translations") as step:
            scored, facts = run(
                loaded.model, loaded.tokenizer, rows, config, spelled=spelled, state=state, on_step=step
            )
        named = {"id": loaded.id, "revision": loaded.revision, "fingerprint": loaded.fingerprint}
        with artifacts.writing(out, "scored", "reward", settings, inputs) as draft:
            draft.bytes(SCORED, _jsonl([one.to_row() for one in scored]))
            draft.facts |= facts | {"translator": named}
        state.drop()
    _tell_scored(out, json)


def pair(
    scored: Path,
    /,
    *,
    out: Path,
    languages: str | None = None,
    config: Annotated[PairConfig, Parameter(name="*")] = PairConfig(),
    tokenizer: str | None = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make preference pairs of scored responses: the higher score is preferred, if its number is right.

    Parameters
    ----------
    scored
        Folder that reward wrote.
    out
        Folder to write.
    languages
        Languages to pair, as codes with commas [default: all there are].
    config
        Settings.
    tokenizer
        The model that is to be aligned, for the limit on tokens; without it there is none here.
    """
    from langneurons.pair import Scored
    from langneurons.pair import pair as run

    wanted, source = console.codes(languages), artifacts.read(scored, "scored")
    length, inputs = None, {"scored": source.digest}
    if tokenizer:
        length, inputs["tokenizer"] = _length(tokenizer)
    settings = {**asdict(config), "languages": wanted}
    if not console.there(out, "pairs", settings, inputs, force=force):
        rows = _marked([Scored.from_row(row) for row in _rows(source.file(SCORED))])
        train, dev, audit = run(rows, config, wanted, length)
        with artifacts.writing(out, "pairs", "pair", settings, inputs) as draft:
            draft.bytes(TRAIN, _jsonl([one.to_row() for one in train]))
            draft.bytes(DEV, _jsonl([one.to_row() for one in dev]))
            draft.facts["audit"] = [row._asdict() for row in audit]
    _tell_pairs(out, json)


def align(
    model: str,
    pairs: Path,
    /,
    *,
    out: Path,
    config: Annotated[AlignConfig, Parameter(name="*")] = AlignConfig(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Train a LoRA adapter on preference pairs by DPO; its checkpoints are kept.

    Parameters
    ----------
    model
        A folder or an id on the Hugging Face Hub; no adapter.
    pairs
        Folder that pair wrote.
    out
        Folder to write: an adapter, that every command takes as MODEL, and its checkpoints in folders of their own.
    config
        Settings.
    loading
        How the model is loaded.
    """
    import torch

    from langneurons import models
    from langneurons.align import adapter_files
    from langneurons.align import align as run
    from langneurons.pair import Pair
    from langneurons.record import processes

    rank, world = processes()
    source = artifacts.read(pairs, "pairs")
    if world > 1 and loading.device == "auto" and torch.cuda.is_available():
        loading = replace(loading, device=f"cuda:{os.environ['LOCAL_RANK']}")
    loaded = models.load(model, **asdict(loading))
    settings = {**asdict(config), "dtype": str(loaded.model.dtype)}
    del settings["report_to"]
    inputs = {"pairs": source.digest, "model": loaded.fingerprint}
    inputs["tokenizer"] = models.tokenizer_digest(loaded.tokenizer)
    if not console.there(out, "adapter", settings, inputs, force=force, quiet=rank > 0):
        train, dev = ([Pair(**row) for row in _rows(source.file(name))] for name in (TRAIN, DEV))
        state = artifacts.State(out, settings, inputs)
        work = state.path.with_name(f"{state.path.name}-{state.key[:12]}")
        if "tensorboard" in config.report_to:  # its files would go with the work folder
            os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out.parent / "tensorboard" / out.name))
        with console.progress("training", quiet=json or rank > 0, unit="steps") as step:
            done = run(loaded.model, loaded.tokenizer, train, dev, config, work, processes=world, on_step=step)
        if rank == 0:
            with artifacts.writing(out, "adapter", "align", settings, inputs) as draft:
                for at, folder in done.checkpoints.items():
                    inside = "" if at == config.steps else f"checkpoint-{at}/"
                    for name, content in adapter_files(folder, str(loaded.model.name_or_path)).items():
                        draft.bytes(inside + name, content)
                draft.bytes(HISTORY, _jsonl(done.history))
                draft.facts |= done.facts | {"base": {"id": loaded.id, "revision": loaded.revision}}
            shutil.rmtree(work)
    if rank == 0:
        _tell_adapter(out, json)


def _spelled(codes: str | None) -> dict[str, str]:
    """The tokens in --codes, by language."""
    found = dict(word.strip().partition("=")[::2] for word in codes.split(",")) if codes else {}
    if not all(code and token for code, token in found.items()):
        raise InputError(f"--codes {codes!r}: give language and token, as in zh=zho_Hant,sr=srp_Cyrl")
    return found


def _length(name: str) -> "tuple[Length, str]":
    """How a model's tokenizer measures texts, and its digest."""
    from langneurons import models

    tokenizer = models.load_tokenizer(name)

    def length(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    return length, models.tokenizer_digest(tokenizer)


def _marked(scored: "Sequence[Scored]") -> "list[Scored]":
    """Responses that are not marked but whose question's answer is known are marked, as MAPO's code does: to 1e-3."""
    from langneurons.answers import is_correct

    out = []
    for one in scored:
        said = one.response
        if said.correct is None and said.answer is not None:
            mark = is_correct(said.response, said.answer, said.lang, tolerance=1e-3)
            one = replace(one, response=replace(said, correct=mark))
        out.append(one)
    return out


def _rows(file: Path) -> list[dict[str, Any]]:
    return [jsonlib.loads(line) for line in file.read_bytes().splitlines()]


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(f"{jsonlib.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _tell_scored(out: Path, json: bool) -> None:
    facts = artifacts.read(out, "scored").manifest["facts"]
    if json:
        console.print_json({"out": str(out), **facts})
        return
    heads = ("responses", "no reference", "mean score", "of right", "of wrong", "right above wrong")
    print(f"{'language':<10}" + "".join(f"{head:>{len(head) + 3}}" for head in heads))
    for row in facts["languages"]:
        numbers = [_number(row[name]) for name in list(row)[1:]]
        print(f"{row['lang']:<10}" + "".join(f"{n:>{len(head) + 3}}" for n, head in zip(numbers, heads, strict=True)))
    kept, *dropped = facts["references"].items()
    print(f"references in English: {kept[1]:,} ({', '.join(f'{n:,} {why}' for why, n in dropped)} left out)")
    print(f"translations judged: {facts['translations judged']:,}; texts cut to fit: {facts['texts cut']:,}")
    print(f"wrote {out}; next: langneurons pair {out} --out {out.parent / 'pairs'}")


def _tell_pairs(out: Path, json: bool) -> None:
    audit = artifacts.read(out, "pairs").manifest["facts"]["audit"]
    if json:
        console.print_json({"out": str(out), "audit": audit})
        return
    heads = [name for name in audit[0] if name != "lang"]
    print(f"{'':<18}" + "".join(f"{row['lang']:>10}" for row in audit))
    for head in heads:
        print(f"{head.replace('_', ' '):<18}" + "".join(f"{row[head]:>10,}" for row in audit))
    print("tied: scores equal or within the margin; wrong: the better one's number is; long: over the limit on tokens")
    print(f"wrote {out}; next: langneurons align MODEL {out} --out {out.parent / 'aligned'}")


def _tell_adapter(out: Path, json: bool) -> None:
    source = artifacts.read(out, "adapter")
    history, facts = _rows(source.file(HISTORY)), source.manifest["facts"]
    if json:
        console.print_json({"out": str(out), **facts, "history": history})
        return
    print(f"{'step':>6}{'loss':>9}{'margin':>9}{'dev loss':>10}{'dev right':>11}")
    dev = {row["step"]: row for row in history if "eval_loss" in row}
    shown = [row for row in history if "loss" in row]
    for row in [shown[0], *(row for row in shown[1:] if row["step"] in dev or row is shown[-1])]:
        seen = dev.get(row["step"], {})
        watched = (seen.get("eval_loss"), seen.get("eval_rewards/accuracies"))
        numbers = [_number(value) for value in (row["loss"], row["rewards/margins"], *watched)]
        print(f"{row['step']:>6}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, (9, 9, 10, 11), strict=True)))
    print("margin: by how much the chosen response gained on the rejected one; dev right: how often it gained more")
    pairs = ", ".join(f"{code} {n:,}" for code, n in facts["pairs"].items())
    print(f"pairs: {pairs}; too long and left out: {sum(facts['too long'].values()):,}")
    print(f"wrote {out}; next: langneurons evaluate {out} QUESTIONS --out {out.parent / 'accuracy'}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
