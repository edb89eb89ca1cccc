"""The wheel and the sdist: what they hold, and what they do in environments of their own.

    python .ci/wheel.py dist [--whole]

Each line of README's Install is run in a fresh environment, outside the checkout, with the wheel
in place of the name. Without torch counts are identified, compared, swept and shown; with a model
README's lines of Python run, and with all of it a study of the embedded model: a small one, or with
--whole all of `langneurons run nano`. What is not installed is said in a line.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 10e6
"""Bytes that the wheel may have."""

KINDS = {".py", ".toml", ".json", ".js", ".css", ".html", ".md", ".jinja", ".typed", ".txt", ""}
WEIGHTS = {f"langneurons/embedded/{name}/model.safetensors" for name in ("model", "translator")}
"""What the wheel may hold: files of these kinds, what pip needs, and the weights of nano."""

SMALL = """
languages = ["en", "sw"]
template = "chat"
models.nano = "nano"
domains.nano = { questions = "nano", take = 4 }
seeds = { questions = "nano-seed", take = 4 }
translator.model = "nano"
alignments.sw = ["sw"]
sample.n = 2
sample.max-new-tokens = 48
sample-seeds = { n = 4, max-new-tokens = 48 }
evaluate.max-new-tokens = 48
identify = { rate = 0.2, bootstrap = 4 }
perplexity.controls = 1
align = { steps = 2, batch = 2, device-batch = 2 }
"""


def main() -> None:
    """Look into both files, then try each line of README's Install."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--whole", action="store_true", help="run all of the study nano")
    given = parser.parse_args()
    (wheel,) = given.dist.resolve().glob("langneurons-*.whl")
    (sdist,) = given.dist.resolve().glob("langneurons-*.tar.gz")
    look(wheel, sdist)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copy(ROOT / "examples" / "made_up_counts.py", place)
        tried = [try_line(line, wheel, place) for line in install_lines()]
        assert tried == ["", "[report]", "[model,report]", "[align,report]"], tried
        with_all(Environment(place, "[align,report]"), whole=given.whole)


def look(wheel: Path, sdist: Path) -> None:
    """See that nothing is in them but the package, with no weights but those of nano."""
    with zipfile.ZipFile(wheel) as content:
        names = [name for name in content.namelist() if ".dist-info/" not in name]
    assert wheel.stat().st_size < LIMIT, f"{wheel}: {wheel.stat().st_size:,} bytes"
    strange = [n for n in names if Path(n).suffix not in KINDS and n not in WEIGHTS]
    assert not strange, strange
    assert set(names) > WEIGHTS
    assert all(name.startswith("langneurons/") for name in names), names
    with tarfile.open(sdist) as content:
        inside = {name.partition("/")[2] for name in content.getnames()}
    beside = {name for name in inside if not name.startswith("src/langneurons/")}
    assert set(names) == {name.removeprefix("src/") for name in inside - beside}
    known = "CHANGELOG.md CITATION.cff LICENSE PKG-INFO README.md pyproject.toml .gitignore"
    assert beside <= set(known.split()), beside
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def install_lines() -> Iterator[str]:
    """The lines of README's Install, without what they say beside."""
    block = (ROOT / "README.md").read_text("utf-8").partition("## Install\n\n```\n")[2]
    for line in block.partition("```")[0].splitlines():
        yield line.partition("#")[0].strip()


class Environment:
    """A fresh environment, and the folder that its commands run in."""

    def __init__(self, place: Path, extras: str) -> None:
        """The environment for these extras; nothing is in it yet."""
        self.place = place
        self.bin = place / f"environment{re.sub('[^a-z]', '-', extras)}" / "bin"

    def run(self, *words: object, fails: bool = False) -> str:
        """What a command of this environment says, on standard output and error."""
        command = [str(self.bin / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(
            command, cwd=self.place, capture_output=True, text=True, check=False, env=clean()
        )
        assert done.returncode == 2 if fails else done.returncode == 0, (
            f"{shlex.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr


def clean() -> dict[str, str]:
    """The environment's variables without what could lead to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {name: value for name, value in kept.items() if name != "VIRTUAL_ENV"}


def try_line(line: str, wheel: Path, place: Path) -> str:
    """Do what a line of Install says with the wheel, and see what the environment can do.

    Returns:
        the extras that it installs, as it writes them.
    """
    pip, install, *asked = shlex.split(line)
    assert (pip, install) == ("pip", "install"), line
    extras = asked[0].removeprefix("langneurons")
    environment = Environment(place, extras)
    folder = environment.bin.parent
    uv = [str(Path(sys.executable).parent / "uv")]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    what = f"langneurons{extras} @ {wheel.as_uri()}"
    bounds = ("--constraint", ROOT / "constraints.txt")
    subprocess.run(
        [*uv, "pip", "install", "-q", "--python", environment.bin / "python", *bounds, what],
        check=True,
    )
    said = environment.run("langneurons", "--help")
    assert "identify" in said
    place_of = "import langneurons; print(langneurons.__file__)"
    assert str(folder) in environment.run("python", "-c", place_of)
    if "model" in extras:
        python_lines(environment)
    elif "align" not in extras:
        without_torch(environment, draws="report" in extras)
    print(f"{line}: works")
    return extras


def without_torch(environment: Environment, *, draws: bool) -> None:
    """Counts to neurons, a comparison, a sweep and a page; models are refused in a line."""
    run, name = environment.run, "light-drawn" if draws else "light"
    run("python", "made_up_counts.py", "--out", f"{name}/counts")
    run("langneurons", "identify", f"{name}/counts", "--out", f"{name}/neurons")
    run("langneurons", "identify", f"{name}/counts", "--out", f"{name}/wider", "--rate", "0.02")
    words = ("--rates", "0.01", "--lams", "auto", "--bootstrap", "0", "--chance", "0")
    run("langneurons", "compare", f"{name}/neurons", f"{name}/wider", "--out", f"{name}-compared")
    run("langneurons", "sweep", f"{name}/counts", "--out", f"{name}/sweep", *words)
    said = run("langneurons", "record", "nano", "nano-stories", "--out", "refused", fails=True)
    assert said.endswith("this needs: pip install 'langneurons[model]'\n"), said
    assert said.count("\n") == 1, said
    shutil.rmtree(environment.place / name / "wider")
    said = run("langneurons", "report", name, fails=not draws)
    assert ("wrote" if draws else "pip install 'langneurons[report]'") in said, said


def python_lines(environment: Environment) -> None:
    """README's lines of Python, on responses to two questions."""
    asked = {"en": "What is 3 + 4?", "sw": "3 + 4 ni nini?"}
    rows = [{"id": "1", "lang": code, "question": q, "answer": 7} for code, q in asked.items()]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (environment.place / "asked.jsonl").write_text(lines, "utf-8")
    environment.run("langneurons", "sample", "nano", "asked.jsonl", "--out", "responses")
    readme = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S)
    (environment.place / "lines.py").write_text(code, "utf-8")
    assert len(environment.run("python", "lines.py")) > 1


def with_all(environment: Environment, *, whole: bool) -> None:
    """A study of nano, and the same again."""
    place, run = environment.place, environment.run
    (place / "small.toml").write_text(SMALL, "utf-8")
    assert "NO " not in run("langneurons", "run", "nano", "--dry-run")
    study = "nano" if whole else "small.toml"
    run("langneurons", "run", study, "--out", "run")
    assert (place / "run" / "report.html").stat().st_size > 1e5
    assert "nothing to do" in run("langneurons", "run", study, "--out", "run")
    print(f"langneurons run {study}: works")


if __name__ == "__main__":
    main()
