"""MAPO: the commands that align a model across languages: reward, pair, align."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from langneurons import artifacts, console, resume
from langneurons.config import AlignConfig, GrpoConfig, ModelConfig, PairConfig, RewardConfig
from langneurons.console import Force, Json
from langneurons.errors import InputError
from langneurons.texts.rows import from_lines, to_lines

if TYPE_CHECKING:
    from langneurons.align.pairs import Length, Scored

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
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl, with English
        among them.
    translator
        A multilingual translation model, as facebook/nllb-200-distilled-600M: a folder or an id on
        the Hub.
    out
        Folder to write.
    config
        Settings.
    languages
        Languages to score, as codes with commas [default: all there are].
    codes
        Language tokens of the translator that are not found by themselves, as
        zh=zho_Hant,sr=srp_Cyrl.
    loading
        How the translator is loaded.
    """
    from langneurons.align.reward import reward as run
    from langneurons.model import loading as models
    from langneurons.texts.languages import ENGLISH
    from langneurons.texts.rows import read_responses

    wanted, spelled = console.codes(languages), _spelled(codes)
    rows = read_responses(responses)
    if wanted:
        if missing := [code for code in wanted if not any(row.lang == code for row in rows)]:
            raise InputError(
                f"{responses} has no response in {', '.join(missing)}; leave it out of --languages"
            )
        rows = [row for row in rows if row.lang in (*wanted, ENGLISH)]
    loaded = models.load(translator, **asdict(loading), seq2seq=True)
    settings = {
        **asdict(config),
        "languages": wanted,
        "codes": spelled,
        "dtype": str(loaded.model.dtype),
    }
    del settings["save_every"]
    inputs = _digests(responses)
    inputs |= {
        "translator": loaded.fingerprint,
        "tokenizer": models.tokenizer_digest(loaded.tokenizer),
    }
    if not console.there(out, "scored", settings, inputs, force=force):
        state = resume.State(out, settings, inputs)
        with console.progress("scoring", quiet=json, unit="translations") as step:
            scored, facts = run(
                loaded.model,
                loaded.tokenizer,
                rows,
                config,
                spelled=spelled,
                state=state,
                on_step=step,
            )
        named = {"id": loaded.id, "revision": loaded.revision, "fingerprint": loaded.fingerprint}
        with artifacts.writing(out, "scored", "reward", settings, inputs) as draft:
            draft.bytes(SCORED, to_lines(one.to_row() for one in scored))
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
    from langneurons.align.pairs import Scored
    from langneurons.align.pairs import pair as run

    wanted, source = console.codes(languages), artifacts.read(scored, "scored")
    length, inputs = None, {"scored": source.digest}
    if tokenizer:
        length, inputs["tokenizer"] = _length(tokenizer)
    settings = {**asdict(config), "languages": wanted}
    if not console.there(out, "pairs", settings, inputs, force=force):
        rows = _marked(
            [Scored.from_row(row) for row in from_lines(source.file(SCORED).read_bytes())]
        )
        train, dev, audit = run(rows, config, wanted, length)
        with artifacts.writing(out, "pairs", "pair", settings, inputs) as draft:
            draft.bytes(TRAIN, to_lines(one.to_row() for one in train))
            draft.bytes(DEV, to_lines(one.to_row() for one in dev))
            draft.facts["audit"] = [row._asdict() for row in audit]
    _tell_pairs(out, json)


def align(
    model: str,
    source: Path,
    /,
    *,
    out: Path,
    objective: Literal["dpo", "grpo"] = "dpo",
    translator: str | None = None,
    languages: str | None = None,
    codes: str | None = None,
    config: Annotated[AlignConfig, Parameter(name="*")] = AlignConfig(),
    sampling: Annotated[GrpoConfig, Parameter(name="*")] = GrpoConfig(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Train a LoRA adapter: on preference pairs by DPO, or by GRPO with the alignment score as reward.

    Parameters
    ----------
    model
        A folder or an id on the Hugging Face Hub; no adapter.
    source
        Folder that pair wrote; with --objective grpo responses, English among them, as reward takes
        them.
    out
        Folder to write: an adapter, that every command takes as MODEL, and its checkpoints in
        folders of their own.
    objective
        dpo: pairs. grpo: responses that are sampled as training goes, each scored by the
        translator.
    translator
        With grpo: the translation model that scores, as reward takes it.
    languages
        With grpo: languages to train, as codes with commas [default: all there are but English].
    codes
        With grpo: language tokens of the translator that are not found by themselves, as
        zh=zho_Hant.
    config
        Settings.
    sampling
        Settings of grpo.
    loading
        How the model, and the translator, are loaded.
    """
    import torch

    from langneurons import nano
    from langneurons.align.training import adapter_files
    from langneurons.model import loading as models
    from langneurons.resume import processes

    wanted, spelled = console.codes(languages), _spelled(codes)
    if objective == "dpo" and (translator or wanted or spelled):
        raise InputError(
            "pairs are scored and in their languages already; --translator and the like go with grpo"
        )
    if objective == "grpo" and not translator:
        raise InputError(
            "--objective grpo scores what is sampled: give a translation model with --translator"
        )
    rank, world = processes()
    if world > 1 and loading.device == "auto" and torch.cuda.is_available():
        loading = replace(loading, device=f"cuda:{os.environ['LOCAL_RANK']}")
    inputs = (
        _digests(source)
        if objective == "grpo"
        else {"pairs": artifacts.read(source, "pairs").digest}
    )
    loaded = models.load(model, **asdict(loading))
    settings = {**asdict(config), "dtype": str(loaded.model.dtype)}
    del settings["report_to"]
    inputs |= {"model": loaded.fingerprint, "tokenizer": models.tokenizer_digest(loaded.tokenizer)}
    judge = models.load(translator, **asdict(loading), seq2seq=True) if translator else None
    if judge:
        settings |= {
            "objective": objective,
            "languages": wanted,
            "codes": spelled,
            **asdict(sampling),
        }
        inputs |= {
            "translator": judge.fingerprint,
            "its tokenizer": models.tokenizer_digest(judge.tokenizer),
        }
    if not console.there(out, "adapter", settings, inputs, force=force, quiet=rank > 0):
        state = resume.State(out, settings, inputs)
        work = state.path.with_name(f"{state.path.name}-{state.key[:12]}")
        if "tensorboard" in config.report_to:  # its files would go with the work folder
            os.environ.setdefault(
                "TENSORBOARD_LOGGING_DIR", str(out.parent / "tensorboard" / out.name)
            )
        with console.progress("training", quiet=json or rank > 0, unit="steps") as step:
            more: dict[str, Any] = {"processes": world, "on_step": step}
            if judge:
                from langneurons.align.grpo import Judge, grpo
                from langneurons.texts.rows import read_responses

                scorer, rows = (
                    Judge(judge.model, judge.tokenizer, spelled),
                    read_responses(source),
                )
                done = grpo(
                    loaded.model,
                    loaded.tokenizer,
                    scorer,
                    rows,
                    wanted,
                    config,
                    sampling,
                    work,
                    **more,
                )
            else:
                from langneurons.align.pairs import Pair
                from langneurons.align.training import align as run

                train, dev = (
                    [Pair(**row) for row in from_lines((source / name).read_bytes())]
                    for name in (TRAIN, DEV)
                )
                done = run(loaded.model, loaded.tokenizer, train, dev, config, work, **more)
        if rank == 0:
            with artifacts.writing(out, "adapter", "align", settings, inputs) as draft:
                base = model if nano.folder(model) else str(loaded.model.name_or_path)
                for at, folder in done.checkpoints.items():
                    inside = "" if at == config.steps else f"checkpoint-{at}/"
                    for name, content in adapter_files(folder, base).items():
                        draft.bytes(inside + name, content)
                draft.bytes(HISTORY, to_lines(done.history))
                draft.facts |= done.facts | {"base": {"id": loaded.id, "revision": loaded.revision}}
            shutil.rmtree(work)
    if rank == 0:
        _tell_adapter(out, json)


def _digests(responses: Path) -> dict[str, str]:
    """Digests of the files that responses are read from."""
    files = [responses] if responses.is_file() else sorted(responses.glob("*.jsonl"))
    return {file.name: artifacts.file_digest(file) for file in files}


def _spelled(codes: str | None) -> dict[str, str]:
    """The tokens in --codes, by language."""
    found = dict(word.strip().partition("=")[::2] for word in codes.split(",")) if codes else {}
    if not all(code and token for code, token in found.items()):
        raise InputError(
            f"--codes {codes!r}: give language and token, as in zh=zho_Hant,sr=srp_Cyrl"
        )
    return found


def _length(name: str) -> "tuple[Length, str]":
    """How a model's tokenizer measures texts, and its digest."""
    from langneurons.model import loading as models

    tokenizer = models.load_tokenizer(name)

    def length(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    return length, models.tokenizer_digest(tokenizer)


def _marked(scored: "Sequence[Scored]") -> "list[Scored]":
    """Responses that are not marked but whose question's answer is known are marked, as MAPO's code does: to 1e-3."""
    from langneurons.texts.answers import is_correct

    out = []
    for one in scored:
        said = one.response
        if said.correct is None and said.answer is not None:
            mark = is_correct(said.response, said.answer, said.lang, tolerance=1e-3)
            one = replace(one, response=replace(said, correct=mark))
        out.append(one)
    return out


def _tell_scored(out: Path, json: bool) -> None:
    facts = artifacts.read(out, "scored").manifest["facts"]
    if json:
        console.print_json({"out": str(out), **facts})
        return
    heads = ("responses", "no reference", "mean score", "of right", "of wrong", "right above wrong")
    print(f"{'language':<10}" + "".join(f"{head:>{len(head) + 3}}" for head in heads))
    for row in facts["languages"]:
        numbers = [_number(row[name]) for name in list(row)[1:]]
        print(
            f"{row['lang']:<10}"
            + "".join(f"{n:>{len(head) + 3}}" for n, head in zip(numbers, heads, strict=True))
        )
    kept, *dropped = facts["references"].items()
    print(
        f"references in English: {kept[1]:,} ({', '.join(f'{n:,} {why}' for why, n in dropped)} left out)"
    )
    print(
        f"translations judged: {facts['translations judged']:,}; texts cut to fit: {facts['texts cut']:,}"
    )
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
    print(
        "tied: scores equal or within the margin; wrong: the better one's number is; long: over the limit on tokens"
    )
    print(f"wrote {out}; next: langneurons align MODEL {out} --out {out.parent / 'aligned'}")


DPO = {
    "loss": "loss",
    "margin": "rewards/margins",
    "dev loss": "eval_loss",
    "dev right": "eval_rewards/accuracies",
}
GRPO = {
    "loss": "loss",
    "reward": "reward",
    "spread": "reward_std",
    "divergence": "kl",
    "tokens": "completions/mean_length",
}
"""What is shown of a training's log, and what it is called there."""


def _tell_adapter(out: Path, json: bool) -> None:
    source = artifacts.read(out, "adapter")
    history, facts = from_lines(source.file(HISTORY).read_bytes()), source.manifest["facts"]
    if json:
        console.print_json({"out": str(out), **facts, "history": history})
        return
    columns = DPO if "pairs" in facts else GRPO
    kept = {
        int(name.partition("/")[0][11:])
        for name in source.manifest["files"]
        if name.startswith("checkpoint-")
    }
    print(f"{'step':>6}" + "".join(f"{head:>{len(head) + 5}}" for head in columns))
    steps: dict[int, dict[str, Any]] = {}
    for row in history:  # what is logged of the dev pairs stands in a row of its own
        steps.setdefault(row["step"], {}).update(row)
    for at in [at for at in steps if at in (min(steps), *kept, max(steps))]:
        numbers = {head: _number(steps[at].get(name)) for head, name in columns.items()}
        print(
            f"{at:>6}" + "".join(f"{number:>{len(head) + 5}}" for head, number in numbers.items())
        )
    if columns is DPO:
        print(
            "margin: by how much the chosen response gained on the rejected one; dev right: how often it gained more"
        )
    else:
        print(
            "reward: mean alignment score; spread: within a group; divergence: from the base, per token"
        )
    what = "pairs" if columns is DPO else "prompts"
    used = ", ".join(f"{code} {n:,}" for code, n in facts[what].items())
    left = {why: sum(facts[why].values()) for why in ("too long", "no reference") if facts.get(why)}
    print(
        f"{what}: {used}; left out: {', '.join(f'{n:,} {why}' for why, n in left.items()) or 'none'}"
    )
    print(
        f"wrote {out}; next: langneurons evaluate {out} QUESTIONS --out {out.parent / 'accuracy'}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
