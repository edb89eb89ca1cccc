"""What a study would take, by hand and kept up as steps are done; sizes of models."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from langneurons.config import ModelConfig
from langneurons.study import hub, plan, sizes
from langneurons.study.access import Access, access
from langneurons.study.estimates import PROMPT, Cost, Estimates, Remaining
from langneurons.study.ledger import Ledger
from langneurons.study.spec import Study
from langneurons.study.toml import NamedStudy, load, parse
from langneurons.texts import world
from support import families
from support.studies import TINY, save_questions, write


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Of a model and questions that are here; what scores is not."""
    home = tmp_path_factory.mktemp("home")
    families.save("phi", home / "model")
    save_questions(home / "questions")
    return load(str(write(home, TINY.replace('"translator"', '"owner/scorer-2M"')))).study


def estimates(study: Study, run: Path) -> Estimates:
    return Estimates(study, Ledger(run, NamedStudy("tiny", study)))


def test_estimates_by_hand(study: Study, tmp_path: Path) -> None:
    known = estimates(study, tmp_path)
    cost = {step.out: known.cost(step) for step in plan.steps(study)}
    size = sizes.size(study.models["tiny"])
    assert size
    model = families.build("phi", vocab_size=260, max_position_embeddings=2048)
    assert size.weights == sum(p.numel() for p in model.parameters())
    base = "models/tiny/base/one"
    tokens = 4 * 3 * (PROMPT + 2 * 8)
    assert cost[f"{base}/responses"][:2] == (tokens, 2 * tokens * size.weights)
    assert cost[f"{base}/counts"] == (tokens, 2 * tokens * size.weights, 4 * size.weights)
    assert cost[f"{base}/perplexity"].tokens == tokens * (1 + 2 * 3 * (1 + 1))
    asked = 4 * 3 * (PROMPT + 8)
    assert cost[f"{base}/accuracy"][:2] == (asked, 2 * asked * size.weights)
    assert cost["models/tiny/base/two/counts"].tokens == 3 * 3 * (PROMPT + 2 * 8)
    assert cost["models/tiny/seeds/responses"].tokens == 6 * 2 * (PROMPT + 6 * 8)
    scored = 6 * 1 * 6 * 7 * 8
    assert cost["models/tiny/seeds/scored"] == (scored, scored * 2e6, 4 * 2e6)
    trained = 2 * 2 * 2 * (PROMPT + 8)
    assert cost["models/tiny/sw/adapter"][:2] == (trained, 8 * trained * size.weights)
    for out in (f"{base}/neurons", "models/tiny/sw/pairs", "models/tiny/sw/comparison/one"):
        assert cost[out] == Cost(0, 0, 0)


def test_what_cannot_be_known(tmp_path: Path) -> None:
    unknown = parse(TINY.replace("take = 3", "").replace('"translator"', '"some"'), "x")
    known = estimates(unknown, tmp_path)
    cost = {step.out: known.cost(step) for step in plan.steps(unknown)}
    assert cost["models/tiny/base/one/counts"] == (4 * 3 * (PROMPT + 2 * 8), None, None)
    assert cost["models/tiny/base/two/counts"] == Cost(None, None, None)
    assert Remaining(known, plan.steps(unknown)).seconds() is None


def test_what_remains_is_kept_up_as_if_added_up_anew(study: Study, tmp_path: Path) -> None:
    """Steps are done, are skipped and fail; the ledger learns how fast they are."""
    known = estimates(study, tmp_path)
    steps = plan.steps(study)
    remaining = Remaining(known, steps)
    for number, step in enumerate(steps):
        afresh = Estimates(study, known.ledger)
        left = [each for each in steps[number:] if each.out not in known.ledger.steps]
        times = [afresh.seconds(each, afresh.cost(each)) for each in left]
        assert remaining.seconds() == pytest.approx(sum(time for time in times if time))
        if number % 3:
            known.ledger.note(step, {}, 1.0 + number, known.cost(step).operations)
        remaining.passed(step)
    assert remaining.seconds() is None


def test_size_by_the_name() -> None:
    assert sizes.size("owner/Some-7B") == sizes.Size(7e9, None, None, "by its name")
    assert sizes.size("owner/some-0.5b") is None
    assert sizes.size("owner/Some-350M-chat") == sizes.Size(350e6, None, None, "by its name")


def test_a_model_on_this_machine_has_the_devices_that_torch_sees() -> None:
    """Not those in /dev: CUDA_VISIBLE_DEVICES and other makers count."""
    assert sizes.gpus() == (torch.cuda.device_count() or int(torch.backends.mps.is_available()))
    assert sizes.bytes_of_weight(ModelConfig()) == (2 if sizes.gpus() else 4)
    assert sizes.bytes_of_weight(ModelConfig(dtype="float32")) == 4
    assert sizes.bytes_of_weight(ModelConfig(dtype="bfloat16")) == 2


class FakeHub(BaseHTTPRequestHandler):
    """What the Hub says of models and data sets, as far as it is asked."""

    def do_GET(self) -> None:
        known = {
            "/api/models/owner/counted-7B": (
                200,
                {
                    "id": "x",
                    "safetensors": {"parameters": {"BF16": 7241732096}, "total": 7241732096},
                },
            ),
            "/api/models/owner/uncounted-3B": (200, {"id": "x"}),
            "/api/models/owner/gated-1B": (403, "GatedRepo"),
            "/api/datasets/owner/questions": (200, {"id": "x"}),
        }
        status, content = known.get(self.path, (404, "RepoNotFound"))
        self.send_response(status)
        if status != 200:
            self.send_header("X-Error-Code", str(content))
        body = json.dumps(content if status == 200 else {"error": content}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def on_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        hub.look.cache_clear()
        yield
        server.shutdown()
    hub.look.cache_clear()
    sizes.size.cache_clear()


def test_the_hub_says_how_large_a_model_is_and_what_can_be_had(on_hub: None) -> None:
    names = ("counted-7B", "uncounted-3B", "gated-1B", "nowhere-2B")
    models = "".join(f'{name[:2]} = "owner/{name}"\n' for name in names)
    text = f"""
    languages = ["en"]
    [models]
    {models}
    [domains]
    one.questions = "owner/questions"
    two.questions = "owner/none"
    """
    found = access(parse(text, "x"))
    assert found[:6] == [
        Access("owner/counted-7B", True, "7.24G weights by its files on the Hub; on the Hub"),
        Access("owner/uncounted-3B", True, "3G weights by its name; on the Hub"),
        Access(
            "owner/gated-1B",
            False,
            "1G weights by its name; on the Hub, and one must ask for it there",
        ),
        Access("owner/nowhere-2B", False, "2G weights by its name; neither here nor on the Hub"),
        Access("owner/questions", True, "questions; on the Hub"),
        Access("owner/none", False, "questions; neither here nor on the Hub"),
    ]
    assert sizes.size("owner/counted-7B", ask_hub=True) == sizes.Size(
        7241732096, None, None, "by its files on the Hub"
    )
    assert sizes.size("owner/counted-7B") == sizes.Size(7e9, None, None, "by its name")


def test_estimates_of_running_text(tmp_path: Path) -> None:
    """Of files by their bytes, of our own texts by their number, of what is not here not at all."""
    (tmp_path / "news").mkdir()
    families.save("phi", tmp_path / "model")
    for code in ("en", "sw"):
        write(tmp_path / "news", "0123456789abcde\n" * 10, f"{code}.txt")
    text = """
languages = ["en", "sw"]
models.tiny = "model"
domains.all = { texts = "news" }
domains.some = { texts = "news", take = 5, scored = "nano-stories" }
domains.gone = { texts = "owner/gone" }
perplexity.controls = 1
"""
    study = load(str(write(tmp_path, text))).study
    known = estimates(study, tmp_path / "run")
    tokens = {step.out: known.cost(step).tokens for step in plan.steps(study)}
    base = "models/tiny/base"
    assert tokens[f"{base}/all/counts"] == 2 * 10 * 16 / 4
    assert tokens[f"{base}/all/perplexity"] == 2 * 10 * 16 / 4 * (1 + 2 * 2 * 2)
    assert tokens[f"{base}/some/counts"] == 2 * 5 * 16 / 4
    stories = [next(world.running_text("nano-stories", lang, 1)) for lang in world.LANGUAGES]
    story = sum(len(text.encode()) for text in stories) / len(stories) / 4
    told = tokens[f"{base}/some/perplexity"]
    assert told == pytest.approx(100 * story * 2 * (1 + 2 * 2 * 2), rel=1e-3)
    assert tokens[f"{base}/gone/counts"] is None
    seen = {one.name: one for one in access(study)}
    assert seen["nano-stories"].there
    assert seen[str((tmp_path / "news").resolve())].seen == "texts here"
