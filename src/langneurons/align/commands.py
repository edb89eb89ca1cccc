"""MAPO: the commands that align a model across languages: reward, pair, align."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from langneurons import artifacts, console, resume
from langneurons.align.adapter import CONFIG, WEIGHTS, Adapter
from langneurons.align.graft import Graft
from langneurons.align.pairs import Pairs
from langneurons.align.scores import Scores
from langneurons.config import (
    RANDOM_LIKE,
    AlignConfig,
    AloneConfig,
    GrpoConfig,
    ModelConfig,
    PairConfig,
    PromptedConfig,
    RewardConfig,
    cut,
    identity,
)
from langneurons.console import Force, Json, Made, Quiet
from langneurons.errors import InputError
from langneurons.neurons.counts import Counts
from langneurons.neurons.matched import control
from langneurons.neurons.sets import counts_behind, notes_on_weights, require_fit, select
from langneurons.neurons.table import Neurons
from langneurons.resume import Progress

if TYPE_CHECKING:
    from langneurons.align.only import Only
    from langneurons.align.pairs import Length
    from langneurons.align.prompted import Prompting
    from langneurons.align.training import Trained
    from langneurons.model.loading import Loaded
    from langneurons.texts.responses import Response
    from langneurons.texts.rows import Read


def reward(
    responses: Path,
    /,
    *,
    translator: str,
    out: Path,
    config: Annotated[RewardConfig, Parameter(name="*")] = RewardConfig(),
    languages: str | None = None,
    codes: str | None = None,
    prompted: Annotated[PromptedConfig, Parameter(name="*")] = PromptedConfig(),
    examples: Path | None = None,
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Scores]:
    """Score how well each response agrees with the English ones to its question, by a translator.

    Parameters
    ----------
    responses
        A responses.jsonl, a folder that holds one, or a folder of <language>.jsonl, with English
        among them.
    translator
        A multilingual translation model, as facebook/nllb-200-distilled-600M, or a causal model,
        which is asked by a prompt: a folder, a GGUF file or an id on the Hub.
    out
        Folder to write.
    config
        Settings.
    languages
        Languages to score, as codes with commas [default: all there are].
    codes
        Language tokens of the translator that are not found by themselves, as
        zh=zho_Hant,sr=srp_Cyrl.
    prompted
        How a causal translator is asked.
    examples
        Texts with their translations to show a causal translator: a folder of <language>.jsonl or
        .txt, English among them, the same ids in every language [default: none].
    loading
        How the translator is loaded.
    """
    from langneurons.align.reward import rewarded
    from langneurons.texts import rows

    wanted, spelled = console.codes(languages), _spelled(codes)
    read = rows.read(responses)
    chosen = _in_languages(read.responses, wanted, responses)
    asked = _asked(translator, prompted, examples, loading)
    judge = asked.judge
    settings = {
        **identity(config),
        "languages": wanted,
        "codes": spelled,
        "dtype": str(judge.model.dtype),
        **asked.settings,
    }
    inputs = {**read.digests, **asked.inputs}

    def make(state: resume.State, on_step: Progress | None) -> tuple[Scores, dict[str, Any]]:
        scores, facts = rewarded(
            judge,
            chosen,
            config,
            spelled=spelled,
            prompting=asked.prompting,
            state=state,
            on_step=on_step,
        )
        named = {"id": judge.id, "revision": judge.revision, "fingerprint": judge.fingerprint}
        return scores, facts | {"translator": named, "notes": _of_no_model(read)}

    made = console.made(
        Scores,
        out,
        "reward",
        settings,
        inputs,
        make,
        doing="scoring",
        unit="translations",
        cut=cut(config),
        force=force,
        quiet=quiet,
    )
    _tell_scores(made, json)
    return made


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
) -> Made[Pairs]:
    """Make preference pairs of scored responses: the higher score wins, if its number is right.

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
    from langneurons.align import pairs
    from langneurons.texts import question_ids

    wanted, source = console.codes(languages), artifacts.read(scored, Scores.KIND)
    length, inputs = None, {"scored": source.digest}
    if tokenizer:
        length, inputs["tokenizer"] = _length(tokenizer)

    def make(_: resume.State, __: Progress | None) -> tuple[Pairs, dict[str, Any]]:
        scores = Scores.load(source)
        paired = pairs.pair(scores.scored, config, languages=wanted, length=length)
        ids = question_ids.ids_of(one.response for one in scores.scored)
        notes = question_ids.notes(
            {code: questions for code, questions in ids.items() if not wanted or code in wanted},
            "dev holds out other questions in each",
        )
        return paired.pairs, {"audit": [row._asdict() for row in paired.audit], "notes": notes}

    made = console.made(
        Pairs,
        out,
        "pair",
        {**identity(config), "languages": wanted},
        inputs,
        make,
        doing="pairing",
        force=force,
        quiet=True,
    )
    _tell_pairs(made, json)
    return made


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
    prompted: Annotated[PromptedConfig, Parameter(name="*")] = PromptedConfig(),
    examples: Path | None = None,
    config: Annotated[AlignConfig, Parameter(name="*")] = AlignConfig(),
    alone: Annotated[AloneConfig, Parameter(name="*")] = AloneConfig(),
    sampling: Annotated[GrpoConfig, Parameter(name="*")] = GrpoConfig(),
    loading: Annotated[ModelConfig, Parameter(name="*")] = ModelConfig(),
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Made[Adapter]:
    """Train a LoRA adapter: on pairs by DPO, or by GRPO with the alignment score as reward.

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
        With grpo: the translation model, or causal model, that scores, as reward takes it.
    languages
        With grpo: languages to train, as codes with commas [default: all there are but English].
        With --only and --freeze: whose neurons are meant.
    codes
        With grpo: language tokens of the translator that are not found by themselves, as
        zh=zho_Hant.
    prompted
        With grpo: how a causal translator is asked.
    examples
        With grpo: texts with their translations to show a causal translator, as reward takes them.
    config
        Settings.
    alone
        Which neurons alone are trained.
    sampling
        Settings of grpo.
    loading
        How the model, and the translator, are loaded.
    """
    from langneurons.model import loading as models
    from langneurons.texts import rows

    wanted, spelled = console.codes(languages), _spelled(codes)
    loading = _on_own_device(loading)
    chosen = _chosen(alone, wanted, config.seed)
    if objective == "dpo":
        of_grpo = translator or spelled or examples or prompted != PromptedConfig()
        if of_grpo or (wanted and not chosen):
            raise InputError(
                "pairs are scored and in their languages already; --translator and the like go "
                "with grpo"
            )
        training = _dpo(source, config)
    else:
        if not translator:
            raise InputError(
                "--objective grpo scores what is sampled: give a translation model with "
                "--translator"
            )
        rows.files(source)  # before a model is loaded for nothing
        asked = _asked(translator, prompted, examples, loading)
        read = rows.read(source, tokenizer=models.load_tokenizer(model, loading.revision))
        training = _grpo(read, asked, wanted, spelled, config, sampling)
    loaded = models.load(model, **asdict(loading))
    settings = {**identity(config), "dtype": str(loaded.model.dtype), **training.settings}
    inputs = {**training.inputs, **loaded.inputs}
    trained_alone: Only | None = None
    notes: list[str] = []
    if chosen:
        settings |= chosen.settings
        inputs |= chosen.inputs
        trained_alone, notes = chosen.in_model(loaded, force=force)
    work = _work_folder(out, settings, inputs)
    _report_beside(out, config)

    def make(_: resume.State, on_step: Progress | None) -> tuple[Adapter, dict[str, Any]]:
        adapter, facts = training.run(loaded, work, trained_alone, on_step)
        facts = facts | {"base": {"id": loaded.id, "revision": loaded.revision}}
        return adapter, facts | {"notes": [*facts.get("notes", ()), *notes]}

    made = console.made(
        Adapter,
        out,
        "align",
        settings,
        inputs,
        make,
        doing="training",
        unit="steps",
        force=force,
        quiet=quiet,
    )
    if resume.processes()[0] == 0:
        shutil.rmtree(work, ignore_errors=True)
        made = replace(made, value=made.value.at(out))
        _tell_adapter(made, json)
    return made


def graft(
    adapter: Path,
    /,
    *,
    out: Path,
    layers: str | None = None,
    projections: str | None = None,
    neurons: Path | None = None,
    remove: Annotated[bool, Parameter(negative="")] = False,
    force: Force = False,
    json: Json = False,
) -> Made[Graft]:
    """Keep an adapter's change in some layers or projections only, or everywhere else.

    Parameters
    ----------
    adapter
        Folder of a LoRA adapter, of align or of PEFT.
    out
        Folder to write: an adapter, that every command takes as MODEL.
    layers
        Layers: 5, 0-4, or one of the paper's stages, such as reasoning, with commas.
    projections
        Linear layers by name, such as o_proj, with commas.
    neurons
        Folder of neurons, whose stages --layers names.
    remove
        Take the change away there and keep it everywhere else.
    """
    from langneurons.align.graft import Part, grafted

    if layers is None and projections is None:
        raise InputError("say where the change is kept: --layers, --projections, or both")
    part = Part(
        layers=None if layers is None else _layers(layers, neurons),
        projections=None if projections is None else projections.split(","),
    )
    made_graft, facts = grafted(adapter, part, remove=remove)
    settings = {
        "layers": None if part.layers is None else sorted(part.layers),
        "projections": part.projections,
        "remove": remove,
    }
    inputs = {name: artifacts.file_digest(adapter / name) for name in (CONFIG, WEIGHTS)}
    if (adapter / artifacts.MANIFEST).is_file():  # what it was trained on stays known
        trained = artifacts.read(adapter).manifest
        inputs |= {name: trained["inputs"][name] for name in trained["inputs"].keys() & _TRAINED_ON}
        facts |= {"pairs": trained["facts"][Pairs.KIND]} if Pairs.KIND in trained["facts"] else {}
    made = console.made(
        Graft,
        out,
        "graft",
        settings,
        inputs,
        lambda *_: (made_graft, facts),
        doing="grafting",
        force=force,
        quiet=True,
    )
    if json:
        console.print_json({"out": str(out), **made.facts})
        return made
    whole = made.facts["changed by the adapter"]
    print(f"wrote {out}: the change of {made.facts['kept']} of {whole} linear layers is kept")
    return made


def _layers(words: str, neurons: Path | None) -> set[int]:
    """Numbers of layers: `5`, `0-4`, or a stage of these neurons, with commas.

    Raises:
        InputError: for anything else.
    """
    from langneurons.neurons.layer_stages import NAMES
    from langneurons.neurons.sets import layer_range

    numbers: set[int] = set()
    for word in words.split(","):
        first, _, last = word.strip().partition("-")
        if first.isdigit() and (last or first).isdigit() and int(last or first) >= int(first):
            numbers |= set(range(int(first), int(last or first) + 1))
        elif word.strip() in NAMES and neurons is not None:
            numbers |= set(layer_range(word.strip(), Neurons.load(neurons)))
        else:
            stages = ", ".join(NAMES)
            raise InputError(
                f"layers {word!r}: give one, a range as 0-4, or with --neurons a stage: {stages}"
            )
    return numbers


_TRAINED_ON = {"model", Pairs.KIND}
"""What of an adapter's inputs a graft of it keeps."""


class _Chosen(NamedTuple):
    """The neurons that alone are trained, or that alone are not.

    Attributes:
        alone: which, as they were asked for.
        languages: whose neurons they are; None for all.
        seed: of those that are drawn at random.
        neurons: where they are classified.
        counts: what these come from, where that is beside them, for those that are drawn.
    """

    alone: AloneConfig
    languages: Sequence[str] | None
    seed: int
    neurons: artifacts.Artifact
    counts: artifacts.Artifact | None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide which they are."""
        return {
            "only": self.alone.only,
            "freeze": self.alone.freeze,
            "neurons of": self.languages,
        }

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what they are taken from."""
        counts = {"counts": self.counts.digest} if self.counts else {}
        return {"neurons": self.neurons.digest, **counts}

    def in_model(self, model: "Loaded", *, force: bool) -> "tuple[Only, list[str]]":
        """What is trained in a model, and what to note of it.

        Raises:
            MismatchError: for neurons of another model; of other weights, unless `force`.
            InputError: when there are none, or too few others to draw from.
            SiteError: for a model whose neurons have no weights of their own.
        """
        import numpy as np

        from langneurons import layout
        from langneurons.align.only import only

        found_on = self.neurons.manifest["facts"].get("model")
        notes = notes_on_weights(found_on, model.fingerprint, force=force)
        neurons, shapes = Neurons.load(self.neurons), model.widths
        require_fit(neurons, shapes)
        meant = select(neurons, shapes, self.alone.kinds, self.languages)
        if not len(meant):
            whose = f" of {', '.join(self.languages)}" if self.languages else ""
            raise InputError(f"{self.neurons.folder} has no neuron that is {self.words}{whose}")
        if self.random:
            rates = None
            if self.counts:
                every = Counts.load(self.counts).rates()
                rates = np.mean([every[code] for code in self.languages or every], axis=0)
            classes = select(neurons, shapes, ("specific", "related", "general"))
            meant = control(meant, classes, shapes, rates, np.random.default_rng(self.seed))
        if self.alone.freeze:
            meant = np.setdiff1d(np.arange(int(layout.sizes(shapes).sum())), meant)
        return only(model, meant), notes

    @property
    def words(self) -> str:
        """Their kinds in words."""
        return " or ".join(self.alone.kinds)

    @property
    def random(self) -> bool:
        """Whether others are drawn in their place."""
        return self.alone.words.startswith(RANDOM_LIKE)


def _chosen(alone: AloneConfig, languages: Sequence[str] | None, seed: int) -> _Chosen | None:
    """The neurons that are asked for; None where none are."""
    if alone.neurons is None:
        return None
    neurons = artifacts.read(alone.neurons, Neurons.KIND)
    drawn = alone.words.startswith(RANDOM_LIKE)
    counts = counts_behind(neurons, None) if drawn else None
    return _Chosen(alone, languages, seed, neurons, counts)


class _Training(NamedTuple):
    """What an objective asks for.

    Attributes:
        settings: what determines its result besides the settings that both share.
        inputs: digests of what it learns from, by name.
        run: trains a model in a folder, and tells of its steps.
    """

    settings: dict[str, Any]
    inputs: dict[str, str]
    run: "Callable[[Loaded, Path, Only | None, Progress | None], Trained]"


def _dpo(source: Path, config: AlignConfig) -> _Training:
    """Training on the pairs in a folder."""
    pairs = artifacts.read(source, Pairs.KIND)

    def run(
        model: "Loaded", work: Path, alone: "Only | None", on_step: Progress | None
    ) -> "Trained":
        from langneurons.align.dpo import dpo

        _, world = resume.processes()
        options: dict[str, Any] = {"processes": world, "alone": alone, "on_step": on_step}
        return dpo(model, Pairs.load(pairs), work, config, **options)

    return _Training({}, {"pairs": pairs.digest}, run)


def _grpo(
    read: "Read",
    asked: "_Asked",
    languages: Sequence[str] | None,
    spelled: Mapping[str, str],
    config: AlignConfig,
    sampling: GrpoConfig,
) -> _Training:
    """Training on the prompts of responses, with a translator that scores what is sampled."""
    settings = {
        "objective": "grpo",
        "template": read.template,
        "languages": languages,
        "codes": spelled,
        **identity(sampling),
        **asked.settings,
    }
    inputs = {**read.digests, **asked.inputs}

    def run(
        model: "Loaded", work: Path, alone: "Only | None", on_step: Progress | None
    ) -> "Trained":
        from langneurons.align.grpo import Judge, grpo

        _, world = resume.processes()
        done = grpo(
            model,
            Judge(asked.judge, spelled, asked.prompting),
            read.responses,
            work,
            config,
            sampling,
            languages=languages,
            processes=world,
            alone=alone,
            on_step=on_step,
        )
        return done._replace(facts={**done.facts, "notes": read.notes})

    return _Training(settings, inputs, run)


class _Asked(NamedTuple):
    """A translator, and how it is asked.

    Attributes:
        judge: the model.
        prompting: how a causal one is asked.
        settings: those that scores depend on.
        inputs: digests of what scores depend on, by names of its own.
    """

    judge: "Loaded"
    prompting: "Prompting"
    settings: dict[str, Any]
    inputs: dict[str, str]


def _asked(
    translator: str, config: PromptedConfig, examples: Path | None, loading: ModelConfig
) -> _Asked:
    """The translator of this name, and how it is asked.

    Raises:
        InputError: when a translation model is to be shown examples.
    """
    from langneurons.align.prompted import Prompting
    from langneurons.align.reward import is_translation_model
    from langneurons.model import loading as models
    from langneurons.texts import running_text

    shown = running_text.read(examples) if examples else None
    judge = models.load(translator, **asdict(loading), seq2seq=None)
    by_prompt = not is_translation_model(judge)
    if not by_prompt and (shown or config != PromptedConfig()):
        raise InputError(
            f"{translator} is a translation model and takes no prompt; leave --examples, --shots "
            "and --translator-prompt out"
        )
    inputs = {
        "translator" if name == "model" else f"translator's {name}": digest
        for name, digest in judge.inputs.items()
        if name != "chat template" or config.translator_prompt == "chat"
    }
    for name, digest in (shown.digests if shown else {}).items():
        inputs[f"examples {name}"] = digest
    prompting = Prompting(config, tuple(shown.documents) if shown else ())
    return _Asked(judge, prompting, identity(config) if by_prompt else {}, inputs)


def _on_own_device(loading: ModelConfig) -> ModelConfig:
    """How this process loads a model: on a device of its own where several train together."""
    import torch

    _, world = resume.processes()
    if world > 1 and loading.device == "auto" and torch.cuda.is_available():
        return replace(loading, device=f"cuda:{os.environ['LOCAL_RANK']}")
    return loading


def _work_folder(out: Path, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> Path:
    """Where checkpoints are while training: a hidden folder, the same for all processes."""
    key = resume.State(out, settings, inputs).key
    return out.parent / f".{out.name}.training-{key[:12]}"


def _report_beside(out: Path, config: AlignConfig) -> None:
    """Have tensorboard's files beside the adapter: they would go with the work folder."""
    if "tensorboard" in config.report_to:
        folder = out.parent / "tensorboard" / out.name
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder))


def _of_no_model(read: "Read") -> list[str]:
    """What to say of prompts that were made without knowing the model."""
    return [
        f"{note}; a model with a chat template is asked otherwise, so give the rows the prompts "
        "they were written to before they are paired and trained on"
        for note in read.notes
    ]


def _spelled(codes: str | None) -> dict[str, str]:
    """The tokens in --codes, by language."""
    words = codes.split(",") if codes else []
    spelled = dict(word.strip().partition("=")[::2] for word in words)
    if not all(code and token for code, token in spelled.items()):
        raise InputError(
            f"--codes {codes!r}: give language and token, as in zh=zho_Hant,sr=srp_Cyrl"
        )
    return spelled


def _in_languages(
    responses: "Sequence[Response]", wanted: Sequence[str] | None, path: Path
) -> "Sequence[Response]":
    """The responses in the languages wanted, and the English ones."""
    from langneurons.texts.languages import is_english

    if wanted is None:
        return responses
    codes = {response.lang for response in responses}
    if missing := [code for code in wanted if code not in codes]:
        raise InputError(
            f"{path} has no response in {', '.join(missing)}; leave it out of --languages"
        )
    return [
        response for response in responses if response.lang in wanted or is_english(response.lang)
    ]


def _length(name: str) -> "tuple[Length, str]":
    """How a model's tokenizer measures texts, and its digest."""
    from langneurons.model import loading as models

    tokenizer = models.load_tokenizer(name)

    def length(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    return length, models.tokenizer_digest(tokenizer)


def _tell_scores(made: Made[Scores], json: bool) -> None:
    out, facts = made.folder, made.facts
    if json:
        console.print_json({"out": str(out), **facts})
        return
    heads = (
        "language",
        "responses",
        "no reference",
        "mean score",
        "of right",
        "of wrong",
        "right above wrong",
    )
    rows = [[_number(value) for value in row.values()] for row in facts["languages"]]
    print(console.columns(heads, rows))
    kept, *dropped = facts["references"].items()
    left_out = ", ".join(f"{n:,} {why}" for why, n in dropped)
    print(f"references in English: {kept[1]:,} ({left_out} left out)")
    print(
        f"translations judged: {facts['translations judged']:,}; "
        f"texts cut to fit: {facts['texts cut']:,}"
    )
    if (shown := facts.get("examples shown")) is not None:
        print(f"asked by a prompt with {shown or 'no'} examples")
    _tell_notes(facts)
    print(f"wrote {out}; next: langneurons pair {out} --out {out.parent / 'pairs'}")


def _tell_notes(facts: Mapping[str, Any]) -> None:
    for note in facts.get("notes", ()):
        print(f"note: {note}")


def _tell_pairs(made: Made[Pairs], json: bool) -> None:
    out, audit = made.folder, made.facts["audit"]
    if json:
        console.print_json({"out": str(out), "audit": audit, "notes": made.facts.get("notes", [])})
        return
    counted = [name for name in audit[0] if name != "lang"]
    heads = ["", *(row["lang"] for row in audit)]
    rows = [[name.replace("_", " "), *(row[name] for row in audit)] for name in counted]
    print(console.columns(heads, rows))
    print(
        "tied: scores equal or within the margin; wrong: the better one's number is; "
        "long: over the limit on tokens"
    )
    _tell_notes(made.facts)
    print(f"wrote {out}; next: langneurons align MODEL {out} --out {out.parent / 'aligned'}")


class _Shown(NamedTuple):
    """What is shown of a training.

    Attributes:
        log: what of its log: column -> what it is called there.
        legend: what the columns mean.
        texts: what it learns from, as the facts call it.
    """

    log: Mapping[str, str]
    legend: str
    texts: str


_DPO = _Shown(
    log={
        "loss": "loss",
        "margin": "rewards/margins",
        "dev loss": "eval_loss",
        "dev right": "eval_rewards/accuracies",
    },
    legend="margin: by how much the chosen response gained on the rejected one; "
    "dev right: how often it gained more",
    texts="pairs",
)
_GRPO = _Shown(
    log={
        "loss": "loss",
        "reward": "reward",
        "spread": "reward_std",
        "divergence": "kl",
        "tokens": "completions/mean_length",
    },
    legend="reward: mean alignment score; spread: within a group; "
    "divergence: from the base, per token",
    texts="prompts",
)


def _tell_adapter(made: Made[Adapter], json: bool) -> None:
    out, adapter, facts = made.folder, made.value, made.facts
    if json:
        whole = {**facts, "checkpoints": list(adapter.checkpoints), "history": adapter.history}
        console.print_json({"out": str(out), **whole})
        return
    shown = _DPO if _DPO.texts in facts else _GRPO
    print(console.columns(("step", *shown.log), _logged(adapter, shown), left=0))
    print(shown.legend)
    used = ", ".join(f"{code} {n:,}" for code, n in facts[shown.texts].items())
    lost = {why: sum(facts[why].values()) for why in ("too long", "no reference") if why in facts}
    left_out = ", ".join(f"{n:,} {why}" for why, n in lost.items() if n)
    print(f"{shown.texts}: {used}; left out: {left_out or 'none'}")
    _tell_notes(facts)
    print(
        f"wrote {out}; next: langneurons evaluate {out} QUESTIONS --out {out.parent / 'accuracy'}"
    )


def _logged(adapter: Adapter, shown: _Shown) -> list[list[object]]:
    """What the log says of the first step, of each checkpoint, and of the last."""
    lines: dict[int, dict[str, Any]] = {}
    for line in adapter.history:  # what is logged of the dev pairs stands in a line of its own
        lines.setdefault(line["step"], {}).update(line)
    steps = [step for step in lines if step in (min(lines), *adapter.checkpoints, max(lines))]
    return [
        [step, *(_number(lines[step].get(name)) for name in shown.log.values())] for step in steps
    ]


def _number(value: object) -> object:
    """A number as it is shown: three decimals, if it is no whole one."""
    return f"{value:.3f}" if isinstance(value, float) else value
