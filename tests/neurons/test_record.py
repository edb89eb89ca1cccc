"""Recording on real tiny models of every family: the same integers however the work is cut."""

import copy
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import artifacts, resume
from langneurons.config import RecordConfig
from langneurons.errors import InputError, RecordError
from langneurons.model import batches
from langneurons.model.hooks import Reading, watch
from langneurons.model.loading import Loaded, load
from langneurons.model.sites import find_sites
from langneurons.model.tokens import Tokens, tokenise
from langneurons.neurons.counts import Counts, merge, question_key
from langneurons.neurons.record import Recorded, record, recorded
from langneurons.neurons.tally import Pending, Tally, run_batch, run_or_halve
from langneurons.texts.responses import Response, block_of
from langneurons.texts.rows import read_responses, to_lines
from support import families
from support.command import Outcome, refused, run_two_processes
from support.drawn import LANGS, made_up
from support.reading import modules

BLOCKS = 3


def count(
    name: str, responses: Sequence[Response], tokens: Sequence[Tokens], **options: Any
) -> Counts:
    """Counts by our code."""
    model = families.tiny(name)
    sites = find_sites(model)
    work = batches.batched(responses, tokens, LANGS, blocks=BLOCKS, **{"budget": 64, **options})
    tally = Tally(work, sites)
    for batch in work.batches:
        run_or_halve(model, sites, work, batch, tally)
    return tally.counts()


SPOKEN = [
    Response(f"q{q}", code, f"{question}{q} ", answer * (1 + sample + q), sample)
    for code, question, answer in (("en", "What is ", "It is "), ("zh", "什么", "是"))
    for q in range(2)
    for sample in range(3)
]


def reference(
    model: Any, responses: Sequence[Response], tokens: Sequence[Tokens]
) -> list[np.ndarray]:
    """The same counts in the plainest way: one sequence, one plain forward, whatever `watch`
    reads, added up.
    """
    sites = find_sites(model)
    langs = list(dict.fromkeys(response.lang for response in responses))
    active = [np.zeros((len(langs), BLOCKS, *site.shape), np.int64) for site in sites]
    for response, (ids, counted) in zip(responses, tokens, strict=True):
        at = langs.index(response.lang), block_of(response.question_id, BLOCKS)

        def add(reading: Reading, at: Any = at, counted: Any = counted) -> None:
            for row, values in enumerate((reading.values > 0).numpy()):
                token = row if reading.tokens is None else int(reading.tokens[row])
                cell = at if reading.experts is None else (*at, int(reading.experts[row]))
                active[reading.site][cell] += values & counted[token]

        with watch(sites, add):
            model(input_ids=torch.from_numpy(ids[None]).long(), use_cache=False)
    return active


def hooked(name: str, responses: Sequence[Response], tokens: Sequence[Tokens]) -> list[np.ndarray]:
    """The same of a dense family with no code of ours: a hook on the activation module, named by
    hand.
    """
    model, family = families.tiny(name), families.DENSE[name]
    seen: dict[int, torch.Tensor] = {}

    def keep(i: int) -> Any:
        return lambda _, __, out: seen.update({i: out.reshape(-1, out.shape[-1])})

    modules = [
        model.get_submodule(str(family.activation).format(i)) for i in range(families.LAYERS)
    ]
    handles = [module.register_forward_hook(keep(i)) for i, module in enumerate(modules)]
    active = [np.zeros((len(LANGS), BLOCKS, *shape), np.int64) for shape in family.shapes]
    for response, (ids, counted) in zip(responses, tokens, strict=True):
        model(input_ids=torch.from_numpy(ids[None]).long(), use_cache=False)
        for i in range(families.LAYERS):
            at = LANGS.index(response.lang), block_of(response.question_id, BLOCKS)
            active[i][at] += (seen[i][counted] > 0).sum(0).numpy()
    for handle in handles:
        handle.remove()
    return active


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_agrees_with_the_plain_loop(name: str) -> None:
    responses, tokens = made_up()
    expected = reference(families.tiny(name), responses, tokens)
    if name in families.DENSE:
        for a, b in zip(expected, hooked(name, responses, tokens), strict=True):
            assert (a == b).all()
    for options in ({}, {"share_prompts": False}, {"budget": 1}, {"budget": 10_000}):
        counts = count(name, responses, tokens, **options)
        for layer, (ours, theirs) in enumerate(zip(counts.active, expected, strict=True)):
            assert (ours == theirs).all(), (layer, options)
        assert sum(int(t.counted.sum()) for t in tokens) == counts.tokens.sum()


@pytest.mark.parametrize("name", families.CONTINUES)
def test_prompts_are_shared_where_the_model_goes_on_from_them(
    name: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """States of hybrids are repeated as keys and values are; the counts are those of a plain
    loop."""
    loaded = load(families.save(name, tmp_path_factory.mktemp(name)))
    rows = tokenise(loaded.tokenizer, SPOKEN)
    expected = reference(loaded.model, SPOKEN, rows)
    goes_on = families.CONTINUES[name]
    for shared, budget in ((None, 100), (False, 100), (goes_on or None, 10_000)):
        config = RecordConfig(BLOCKS, share_prompts=shared, budget=budget)
        made = recorded(loaded, SPOKEN, config)
        for ours, theirs in zip(made.counts.active, expected, strict=True):
            assert (ours == theirs).all(), shared
        not_shared = shared is not False and not goes_on
        assert ("prompts not shared" in made.facts) == not_shared
        assert ("every text is read whole" in capsys.readouterr().err) == not_shared
    if not goes_on:
        with pytest.raises(InputError, match=r"^--share-prompts: the model does not go on from"):
            record(loaded, SPOKEN, share_prompts=True)


@pytest.mark.parametrize("name", families.MOE)
def test_routed_tokens_of_a_mixture(name: str) -> None:
    """Each token goes to two experts, and to every shared one; an expert's neurons are active on
    its tokens only.
    """
    responses, tokens = made_up()
    counts = count(name, responses, tokens)
    for site, active, routed in zip(
        find_sites(families.tiny(name)), counts.active, counts.routed, strict=True
    ):
        routed_to = modules(site).routed
        if not routed_to:
            assert routed is None
            continue
        assert routed is not None
        assert (routed[..., :routed_to].sum(axis=-1) == 2 * counts.tokens).all()
        assert (routed[..., routed_to:] == counts.tokens[..., None]).all()
        assert (active <= routed[..., None]).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False), st.integers(1, 300), st.booleans())
def test_order_and_batches_do_not_matter(
    seed: int, order: random.Random, budget: int, shared: bool
) -> None:
    responses, tokens = made_up(seed)
    whole = count("llama", responses, tokens)
    places = list(range(len(responses)))
    order.shuffle(places)
    shuffled = count(
        "llama",
        [responses[i] for i in places],
        [tokens[i] for i in places],
        budget=budget,
        share_prompts=shared,
    )
    assert (whole.tokens == shuffled.tokens).all()
    for a, b in zip(whole.active, shuffled.active, strict=True):
        assert (a == b).all()


def test_responses_that_begin_alike_are_counted_each() -> None:
    """Two equal responses to one prompt: what they have in common beyond the prompt is not
    computed once.
    """
    responses = [Response("q", "en", "p", "a", sample) for sample in range(2)]
    tokens = [Tokens(np.array([5, 6, 7, 8], np.int32), np.array([False, False, True, True]))] * 2
    twice = count("llama", responses, tokens)
    once = count("llama", responses[:1], tokens[:1])
    assert twice.tokens.sum() == 4
    for a, b in zip(twice.active, once.active, strict=True):
        assert (a == 2 * b).all()


def test_blocks_add_up_to_one_block() -> None:
    responses, tokens = made_up()
    model = families.tiny("llama")
    sites = find_sites(model)
    one = batches.batched(responses, tokens, LANGS, blocks=1, budget=64)
    tally = Tally(one, sites)
    for batch in one.batches:
        tally.add(run_batch(model, sites, one, batch))
    many = count("llama", responses, tokens)
    assert many.block_rule == "sha256(question_id) mod 3"
    assert tally.counts().block_rule == "one block"
    for a, b in zip(tally.counts().active, many.active, strict=True):
        assert (a[:, 0] == b.sum(axis=1)).all()


def test_shards_add_up_to_the_byte() -> None:
    responses, tokens = made_up()
    model = families.tiny("mixtral")
    sites = find_sites(model)
    work = batches.batched(responses, tokens, LANGS, blocks=BLOCKS, budget=40)
    shards = []
    for i in range(3):
        part = work.share(i, 3)
        tally = Tally(part, sites)
        for batch in part.batches:
            tally.add(run_batch(model, sites, part, batch))
        shards.append(tally.counts())
    whole = count("mixtral", responses, tokens)
    ours, theirs = merge(shards).to_tensors(), whole.to_tensors()
    assert ours[1] == theirs[1]
    for name, array in theirs[0].items():
        assert ours[0][name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_activations_that_are_no_numbers(name: str) -> None:
    model = copy.deepcopy(families.tiny(name))
    model.get_submodule("model.layers.1.input_layernorm").weight.data.fill_(float("nan"))
    sites = find_sites(model)
    responses, tokens = made_up()
    work = batches.batched(responses, tokens, LANGS, blocks=1, budget=64)
    with pytest.raises(
        RecordError,
        match=r"layer 1 \(model\.layers\.1\.mlp.*\) gave activations that are not numbers",
    ):
        run_or_halve(model, sites, work, work.batches[0], Tally(work, sites))


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device too small for more than two rows."""
    model = copy.deepcopy(families.tiny("llama"))
    forward = model.forward

    def small(*args: Any, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("no memory")
        return forward(*args, **inputs)

    monkeypatch.setattr(model, "forward", small)
    sites = find_sites(model)
    responses, tokens = made_up()
    work = batches.batched(responses, tokens, LANGS, blocks=BLOCKS, budget=500)
    tally = Tally(work, sites)
    assert sum(run_or_halve(model, sites, work, batch, tally) for batch in work.batches) > 3
    for a, b in zip(tally.counts().active, count("llama", responses, tokens).active, strict=True):
        assert (a == b).all()


def test_one_row_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = copy.deepcopy(families.tiny("llama"))

    def none(*args: Any, **inputs: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(model, "forward", none)
    responses, tokens = made_up()
    work = batches.batched(responses, tokens, LANGS, blocks=1, budget=64)
    with pytest.raises(
        RecordError, match=r"a single response of .* tokens does not fit into memory"
    ):
        run_or_halve(
            model, find_sites(model), work, work.batches[0], Tally(work, find_sites(model))
        )


def test_a_site_that_is_not_passed_is_named() -> None:
    responses, tokens = made_up()
    sites = find_sites(families.tiny("llama"))
    work = batches.batched(responses, tokens, LANGS, blocks=1, budget=64)
    with pytest.raises(RecordError, match=r"layer 0 .* was not read"):
        Tally(work, sites).add(Pending(work, work.batches[0], sites))


def test_bfloat16_counts_are_close() -> None:
    """Another batching flips the sign of a few activations near zero in bfloat16; tokens stay
    exact.
    """
    model = families.build("llama").to(torch.bfloat16)
    sites = find_sites(model)
    responses, tokens = made_up(questions=10)
    found = []
    for budget in (1, 500):
        work = batches.batched(responses, tokens, LANGS, blocks=1, budget=budget)
        tally = Tally(work, sites)
        for batch in work.batches:
            tally.add(run_batch(model, sites, work, batch))
        found.append(tally.counts())
    assert (found[0].tokens == found[1].tokens).all()
    total = sum(int(a.sum()) for a in found[0].active)
    differ = sum(
        int(np.abs(a - b).sum()) for a, b in zip(found[0].active, found[1].active, strict=True)
    )
    assert differ / total < 2e-3


# The whole command, on a model in a folder.


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of <language>.jsonl: four responses to each of 12 questions, in three languages."""
    import json

    folder = tmp_path_factory.mktemp("texts")
    words = {
        "en": "she has nine red boats",
        "zh": "她有九条红色的船",
        "sw": "ana mashua tisa nyekundu",
    }
    rng = random.Random(0)
    for code, text in words.items():
        rows = []
        for q in range(12):
            for sample in range(4):
                answer = " ".join(
                    rng.choices(text.split() if code != "zh" else list(text), k=rng.randint(3, 20))
                )
                row = {
                    "question_id": f"q{q}",
                    "lang": code,
                    "prompt": f"{text} {q}? ",
                    "sample": sample,
                }
                rows.append(json.dumps(row | {"response": f"{answer}."}, ensure_ascii=False))
        (folder / f"{code}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def counts_folder(
    model_folder: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory, langneurons
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "x" / "counts"
    done = langneurons("record", model_folder, texts, "--out", out, "--blocks", 4, "--budget", 200)
    assert done.status == 0, done.err
    assert "next: langneurons identify" in done.out
    return out


def test_record_then_identify(counts_folder: Path, langneurons) -> None:
    done = langneurons(
        "identify",
        counts_folder,
        "--out",
        counts_folder.parent / "neurons",
        "--rate",
        0.1,
        "--tau-quantile",
        0.7,
        "--lam",
        0.05,
    )
    assert done.status == 0, done.err
    counts = Counts.from_tensors(*artifacts.read(counts_folder).tensors("counts.safetensors"))
    assert counts.blocks == 4
    assert "agreement of languages by stage" in done.out or "agreement 0." in done.out
    assert counts.parallel
    assert counts.questions[0].tolist() == sorted(question_key(f"q{i}") for i in range(12))
    assert (counts.tokens.sum(axis=1) > 100).all()
    facts = artifacts.read(counts_folder).manifest["facts"]
    assert facts["model"]["class"] == "LlamaForCausalLM"
    assert facts["tokens"] == dict(
        zip(counts.languages, counts.tokens.sum(axis=1).tolist(), strict=True)
    )


def test_recorded_again_is_up_to_date(
    counts_folder: Path, model_folder: Path, texts: Path, langneurons
) -> None:
    done = langneurons(
        "record", model_folder, texts, "--out", counts_folder, "--blocks", 4, "--budget", 200
    )
    assert "up to date" in done.err
    other = langneurons(
        "record", model_folder, texts, "--out", counts_folder, "--blocks", 5, "--budget", 200
    )
    assert other.status == 2
    assert "blocks 4 there, 5 now" in other.err


def digest(folder: Path) -> str:
    return artifacts.read(folder, "counts").manifest["files"]["counts.safetensors"]


def test_two_processes_equal_one(
    counts_folder: Path, model_folder: Path, texts: Path, tmp_path: Path
) -> None:
    words = ("record", model_folder, texts, "--out", tmp_path / "c")
    done = run_two_processes(*words, "--blocks", 4, "--budget", 200)
    assert done.status == 0, done.err
    assert digest(tmp_path / "c") == digest(counts_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_shards_merge_into_the_same_bytes(
    counts_folder: Path, model_folder: Path, texts: Path, tmp_path: Path, langneurons
) -> None:
    for i in (1, 2):
        words = ("--blocks", 4, "--budget", 200, "--shard", f"{i}/2", "--out", tmp_path / str(i))
        assert langneurons("record", model_folder, texts, *words).status == 0
    done = langneurons("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "all")
    assert done.status == 0, done.err
    assert digest(tmp_path / "all") == digest(counts_folder)


class KilledError(Exception):
    """What ends a recording in the middle."""


class Mortal(resume.State):
    """A state whose process is killed after so many savings."""

    def __init__(self, folder: Path, savings: int) -> None:
        super().__init__(folder, {"a": 1}, {})
        self.left = savings

    def save(self, tensors: Any, done: int) -> None:
        super().save(tensors, done)
        self.left -= 1
        if not self.left:
            raise KilledError


SAVING = RecordConfig(blocks=4, budget=200, save_every=0)


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> Loaded:
    return load(model_folder)


@pytest.fixture(scope="module")
def undisturbed(loaded: Loaded, texts: Path) -> Recorded:
    return recorded(loaded, read_responses(texts), SAVING)


@pytest.mark.parametrize("savings", [1, 5])
def test_killed_and_resumed_is_the_same(
    loaded: Loaded, undisturbed: Recorded, texts: Path, tmp_path: Path, savings: int
) -> None:
    """What was saved is not computed again, and the counts are the same to the byte."""
    responses, (whole, facts) = read_responses(texts), undisturbed
    with pytest.raises(KilledError):
        recorded(loaded, responses, SAVING, state=Mortal(tmp_path / "c", savings))
    told: list[tuple[int, int]] = []
    state = Mortal(tmp_path / "c", -1)
    again, facts_again = recorded(
        loaded, responses, SAVING, state=state, on_step=lambda *step: told.append(step)
    )
    saved = resume.State(tmp_path / "c", {"a": 1}, {}).load()
    assert saved is not None
    assert len(told) == saved[1] - savings
    assert told[-1] == (facts["computed tokens"], facts["computed tokens"])
    assert facts_again == facts
    ours, theirs = again.to_tensors(), whole.to_tensors()
    assert ours[1] == theirs[1]
    for name, array in theirs[0].items():
        assert ours[0][name].tobytes() == array.tobytes(), name


def test_a_response_longer_than_the_context_is_named(
    model_folder: Path, texts: Path, tmp_path: Path, langneurons
) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(texts, tmp_path / "texts"))
    row = {
        "question_id": "long",
        "lang": "en",
        "prompt": "p ",
        "response": "she has nine boats " * 400,
    }
    with (folder / "en.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    done = langneurons("record", model_folder, folder, "--out", tmp_path / "c", "--blocks", 2)
    assert done.status == 0, done.err
    assert "longer than the context" in done.out
    facts = artifacts.read(tmp_path / "c").manifest["facts"]["longer than the context"]
    assert facts["responses"] == {"en": 1}
    assert facts["first"] == ["en long"]


def test_bad_input_of_record(model_folder: Path, texts: Path, tmp_path: Path, langneurons) -> None:
    import shutil

    from support.command import refused

    out = ("--out", tmp_path / "c")
    refused(langneurons("record", model_folder, tmp_path / "nowhere", *out), "nowhere")
    refused(langneurons("record", tmp_path / "nothing", texts, *out), "nothing")
    refused(langneurons("record", model_folder, texts, *out, "--languages", "en,th"), "th")
    refused(langneurons("record", model_folder, texts, *out, "--blocks", 0), "blocks 0")
    refused(langneurons("record", model_folder, texts, *out, "--shard", "3/2"), "shard '3/2'")
    refused(langneurons("record", model_folder, texts, *out, "--device", "moon"), "moon")
    folder = Path(shutil.copytree(texts, tmp_path / "bad"))
    (folder / "zh.jsonl").write_bytes(b'{"question_id": "\xff"}\n')
    refused(langneurons("record", model_folder, folder, *out), "zh.jsonl")
    assert not (tmp_path / "c").exists()


LETTERS = "she has nine boats and sells them all"


def told(folder: Path, ids: str = "{n}", **texts: str) -> Path:
    """A file of three responses to three questions in each language, all of this text."""
    rows = [
        {"question_id": ids.format(code=code, n=n), "lang": code, "prompt": "p ", "response": text}
        for code, text in texts.items()
        for n in range(3)
    ]
    file = folder / "told.jsonl"
    file.write_bytes(to_lines(rows))
    return file


@pytest.mark.parametrize("named", [(), ("--languages", "en,zh,sw")])
@pytest.mark.parametrize(
    ("zh", "drop", "reasons"),
    [
        (" ", (), "3 as empty"),
        (LETTERS, ("--drop", "wrong-script"), "3 as wrong script"),
        (
            f"{LETTERS}\n" * 3,
            ("--drop", "wrong-script,repetition"),
            "3 as wrong script, 3 as repetition",
        ),
        (LETTERS * 99, (), "3 as longer than the model's context of 2048 tokens"),
    ],
)
def test_a_language_of_which_nothing_is_left(
    model_folder: Path,
    tmp_path: Path,
    langneurons,
    named: tuple[str, ...],
    zh: str,
    drop: tuple[str, ...],
    reasons: str,
) -> None:
    file = told(tmp_path, en=LETTERS, zh=zh, sw=LETTERS)
    done = langneurons("record", model_folder, file, "--out", tmp_path / "c", *drop, *named)
    refused(done, f"no response is left for zh: all of zh are left out, {reasons}; add")
    assert not (tmp_path / "c").exists()


def test_nothing_is_left_of_any_language(model_folder: Path, tmp_path: Path, langneurons) -> None:
    done = langneurons(
        "record", model_folder, told(tmp_path, en="", sw=" "), "--out", tmp_path / "c"
    )
    refused(done, "for en, sw: all of en are left out, 3 as empty; all of sw are left out, 3 as em")


def test_a_language_may_lose_some_of_its_responses(
    model_folder: Path, tmp_path: Path, langneurons
) -> None:
    file = told(tmp_path, en=LETTERS, zh=" ")
    kept = {"question_id": "9", "lang": "zh", "prompt": "p ", "response": "9"}
    file.write_bytes(file.read_bytes() + to_lines([kept]))
    done = langneurons("record", model_folder, file, "--out", tmp_path / "c")
    assert done.status == 0, done.err
    _, *rows = [line.split() for line in done.out.splitlines()]
    assert rows[1][0] == "zh"
    assert rows[1][2:5] == ["4", "1", "3"]


@pytest.mark.parametrize(("ids", "alone"), [("{n}", False), ("{code}_{n}", True)])
def test_ids_that_are_not_the_same_in_every_language(
    model_folder: Path, tmp_path: Path, langneurons, ids: str, alone: bool
) -> None:
    file = told(tmp_path, ids, en=LETTERS, sw=LETTERS[::-1])
    counts, neurons = tmp_path / "c", tmp_path / "n"
    for _ in range(2):  # an up-to-date result says the same
        done = langneurons("record", model_folder, file, "--out", counts, "--blocks", 1)
        assert done.status == 0, done.err
        assert ("note: en, sw share no question with another language" in done.out) == alone
    assert ("3 of 3 questions would be there in two languages" in done.out) == alone
    assert len(artifacts.read(counts).manifest["facts"]["notes"]) == alone
    assert Counts.load(counts).parallel == (not alone)
    done = langneurons("identify", counts, "--out", neurons, "--rate", 0.2, "--lam", 0.1)
    assert done.status == 0, done.err
    assert ("share no question with another language" in done.out) == alone
    both = tmp_path / "both"
    done = langneurons("merge", counts, counts, "--out", both)
    assert len(artifacts.read(both).manifest["facts"]["notes"]) == alone


def test_rows_without_a_prompt_get_the_model_s_own(
    model_folder: Path, tmp_path: Path, langneurons
) -> None:
    """Its chat template where it has one; another template is another result."""
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "chat_template.jinja").write_text("[{{ messages[0]['content'] }}]", "utf-8")
    bare = [
        {"question_id": str(n), "lang": code, "question": f"{n}?", "response": f" {n}"}
        for code in ("en", "zh")
        for n in range(2)
    ]
    whole = [{**row, "prompt": f"[{row['question']}]"} for row in bare]
    for name, rows in (("bare", bare), ("whole", whole)):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, "utf-8")

    def made(rows: str, out: str, *more: object) -> Outcome:
        words = ("record", folder, tmp_path / f"{rows}.jsonl", "--out", tmp_path / out)
        return langneurons(*words, *more)

    says = "note: 4 of 4 rows have a question and no prompt; theirs were made with template "
    for _ in range(2):
        assert f"{says}chat\n" in made("bare", "bare").out
    assert says not in made("whole", "whole", "--template", "plain").out
    assert says not in made("whole", "whole").out  # which is not used, and so the same result
    there, other = (artifacts.read(tmp_path / name) for name in ("bare", "whole"))
    assert there.manifest["files"] == other.manifest["files"]
    assert there.manifest["config"]["template"] == "chat"
    assert other.manifest["config"]["template"] is None
    refused(made("bare", "bare", "--template", "plain"), "holds a result of other settings")
    assert f"{says}plain\n" in made("bare", "bare", "--template", "plain", "--force").out
    (folder / "chat_template.jinja").unlink()
    assert f"{says}mathoctopus\n" in made("bare", "bare", "--force").out
    text = artifacts.read(tmp_path / "bare").manifest["config"]["template"]
    assert text.startswith("Below is an instruction")


def test_positions_that_predict() -> None:
    config = RecordConfig(positions="predicting")
    assert config.part == (0, 1)
    with pytest.raises(InputError, match="positions are reading or predicting"):
        RecordConfig(positions="both")  # ty: ignore[invalid-argument-type]


def test_settings_by_name_or_as_a_config(loaded: Loaded, texts: Path) -> None:
    responses = read_responses(texts)[::4]
    by_name = record(loaded, responses, blocks=2, languages=("sw", "en", "zh"))
    as_config = record(loaded, responses, RecordConfig(blocks=2), languages=("sw", "en", "zh"))
    assert by_name.languages == ("sw", "en", "zh")
    assert by_name.blocks == 2
    for a, b in zip(by_name.active, as_config.active, strict=True):
        assert (a == b).all()
    with pytest.raises(InputError, match="block is no setting here"):
        record(loaded, responses, block=2)
