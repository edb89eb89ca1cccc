"""What a user can cause is told in one line: python bench/fuzz.py [--number 2000] [--seed 0].

Makes a workshop of small results with a tiny model: questions, responses, counts, neurons, costs,
accuracy, scores, pairs. Then runs commands on copies of it in which something is wrong: an option
with a value that is none, a folder that is another's, a file cut short, filled with something
else, with a value of another type, in another encoding, or gone. Each ends well (0) or is refused
(2) in one line; nothing half-written stays. Whatever ends otherwise is printed with the command
that causes it, and what was done to the files; the same seed does the same.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
command: Any = import_module("support.command")
families: Any = import_module("support.families")
translators: Any = import_module("support.translators")

SECONDS = 300
"""After which a command counts as one that does not end."""

LANGUAGES = ("en", "zh", "sw")

COMMANDS = (
    "check model",
    "sample model questions.jsonl -n 2 --max-new-tokens 3 --template plain --out new",
    "evaluate model questions.jsonl --max-new-tokens 3 --template plain --out new",
    "evaluate model questions.jsonl --max-new-tokens 3 --template plain --against accuracy "
    "--out new",
    "record model responses --out new",
    "record model responses.jsonl --blocks 2 --languages en,zh,sw --out new",
    "merge counts counts-more --out new",
    "identify counts --rate 0.1 --tau-quantile 0.8 --bootstrap 3 --out new",
    "identify counts --method lape --rate 0.1 --tau-quantile 0.8 --out new",
    "export njunlp neurons --out new",
    "import lape mask.pt --languages en,zh,sw --width 48 --out new",
    "perplexity model neurons responses --controls 1 --out new",
    "reward responses --translator translator --out new",
    "pair scored --languages zh --out new",
    "compare neurons neurons-wide --bootstrap 3 --out new",
    "report . --neurons neurons --out new.html",
    "run study.toml --dry-run --out new",
)
"""Each ends well as it stands."""

VALUES = (
    *("", " ", "0", "-1", "1", "2", "0.5", "1.5", "nan", "inf", "-inf", "1e-400", "0x10", "ten"),
    *("en", "en,", "en,en", "xx", "en,zh,sw,th", "٣", "𝒳", "a b", "../..", "/dev/null", "counts"),
    *("auto", "none", "true", "--json", "{question}", "{", "\x00", "a" * 300, "specific,general"),
)
"""What is written where something else is meant."""

OPTIONS = (
    *("--rate", "--tau-quantile", "--lam", "--lam-limit", "--method", "--per", "--bootstrap"),
    *("--seed", "--blocks", "--positions", "--budget", "--shard", "--languages", "--template"),
    *("--drop", "--dtype", "--device", "--revision", "--kinds", "--silence", "--asked", "--stop"),
    *("--temperature", "--top-k", "--top-p", "--extractor", "--tolerance", "--rows", "--engine"),
    *("--settings", "--controls", "--layers", "--to", "--text", "--average", "--counts"),
    *("--direction", "--arithmetic", "--references", "--max-tokens", "--codes", "--margin"),
    *("--per-language", "--dev-every", "--tokenizer", "--trained", "--domain", "--perplexity"),
    *("--accuracy", "--title", "--neurons", "--only", "--from", "--width", "--nothing"),
)

CONTENTS = (
    b"",
    b"\n\n",
    b"\xef\xbb\xbf",
    b"null",
    b"[]",
    b"{}",
    b'{"format": 1}',
    b"<!DOCTYPE html><html></html>",
    b"PK\x03\x04 not a zip",
    b"\x1f\x8b\x08 not gzip",
    b"PAR1 not parquet",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "héllo".encode("utf-16"),
    b"\xff\xfe\x00",
    b"[" * 5000,
    b"\x80\x04\x95 a pickle",
)


def workshop(folder: Path) -> None:
    """Make one of everything, by the commands themselves."""
    families.save("llama", folder / "model")
    translators.save_translator(folder / "translator", ("__en__", "__zh__", "__sw__"))
    questions = [
        {
            "id": f"q{number}",
            "lang": lang,
            "question": f"{number} and 1 {lang}?",
            "answer": number + 1,
        }
        for lang in LANGUAGES
        for number in range(6)
    ]
    responses = [
        {
            "question_id": row["id"],
            "lang": row["lang"],
            "prompt": row["question"],
            "response": f" {row['lang']} says {int(row['answer']) + sample}",
            "sample": sample,
            "answer": row["answer"],
            "correct": sample == 0,
        }
        for row in questions
        for sample in range(2)
    ]
    for name, rows in (("questions", questions), ("responses", responses)):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    (folder / "responses").mkdir()
    for lang in LANGUAGES:
        lines = "".join(f"{json.dumps(row)}\n" for row in responses if row["lang"] == lang)
        (folder / "responses" / f"{lang}.jsonl").write_text(lines, "utf-8")
    study = 'languages = ["en", "zh"]\nmodels.tiny = "model"\n'
    (folder / "study.toml").write_text(
        f'{study}[domains.a]\nquestions = "questions.jsonl"\n', "utf-8"
    )
    for words in (
        "record model responses --out counts",
        "record model responses.jsonl --out counts-more",
        "identify counts --rate 0.1 --tau-quantile 0.8 --bootstrap 3 --out neurons",
        "identify counts --rate 0.2 --tau-quantile 0.8 --bootstrap 3 --out neurons-wide",
        "evaluate model questions.jsonl --max-new-tokens 3 --template plain --out accuracy",
        "perplexity model neurons responses --controls 1 --out costs",
        "reward responses --translator translator --out scored",
        "export njunlp neurons --out mask.pt",
    ):
        done = command.run_here(*words.split(), cwd=folder)
        assert done.status == 0, (words, done.err)


def spoilt(folder: Path, rng: Random) -> str:
    """Do something to one file; what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    name, content = path.relative_to(folder).as_posix(), path.read_bytes()
    way = rng.choice(("cut", "flip", "fill", "gone", "type", "field", "mark", "folder"))
    if way == "cut":
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif way == "flip" and content:
        place = rng.randrange(len(content))
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        )
    elif way == "fill":
        path.write_bytes(rng.choice(CONTENTS))
    elif way == "gone":
        path.unlink()
    elif way == "mark":
        path.write_bytes(b"\xef\xbb\xbf" + content)
    elif way == "folder":
        path.unlink()
        path.mkdir()
    elif path.suffix in (".json", ".jsonl"):
        _change_json(path, rng, remove=way == "field")
    return f"{way} {name}"


def _change_json(path: Path, rng: Random, *, remove: bool) -> None:
    """Give a value another type, or take a field away, somewhere in a JSON file."""
    lines = (
        path.read_text("utf-8").splitlines()
        if path.suffix == ".jsonl"
        else [path.read_text("utf-8")]
    )
    number = rng.randrange(len(lines)) if lines else 0
    try:
        whole = json.loads(lines[number])
    except (ValueError, IndexError):
        return
    inner = whole
    while isinstance(inner, dict | list) and inner:
        key = rng.choice(sorted(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.3:
            if remove:
                del inner[key]
            else:
                inner[key] = rng.choice((None, True, -1, 0, 1.5, "x", "", [], {}, [[1]], 10**30))
            break
        inner = inner[key]
    lines[number] = json.dumps(whole)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def changed(words: Sequence[str], rng: Random) -> list[str]:
    """A command with something wrong in it."""
    words = list(words)
    way = rng.choice(("value", "option", "drop", "swap", "twice", "nothing"))
    place = rng.randrange(1, len(words))
    if way == "value":
        words[place] = rng.choice(VALUES)
    elif way == "option":
        words += [rng.choice(OPTIONS), rng.choice(VALUES)]
    elif way == "drop":
        del words[place]
    elif way == "swap":
        words[place] = rng.choice(("model", "counts", "neurons", "scored", "accuracy", "responses"))
    elif way == "twice":
        words.append(words[place])
    return words


class _NoEndError(BaseException):
    """A command did not end in time; no command takes it for an error of its own."""


def _alarm(*_: object) -> None:
    raise _NoEndError


def verdict(words: Sequence[str], folder: Path) -> str:
    """How a command ends: `done`, `refused`, or what is wrong with how it ends."""
    before = {path.name for path in folder.iterdir()}
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        done = command.run_here(*words, cwd=folder)
    except _NoEndError:
        return "no end"
    except BaseException as error:  # noqa: BLE001 - whatever comes is what is looked for
        return f"raised {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    hidden = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.startswith(".") and ".writing-" in path.name
    )
    if hidden:
        return f"half-written: {hidden[0]}"
    if done.status == 0 or (done.status == 2 and done.out and words[0] == "check"):
        return "done"
    lines = [line for line in done.err.splitlines() if line.startswith("langneurons: ")]
    if done.status != 2 or len(lines) != 1:
        return f"status {done.status}: {done.err.strip()[-300:]}"
    made = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - before
    if made - {"new-base"}:
        return f"refused, and yet wrote {sorted(made)[0]}"
    return "refused"


def main() -> None:
    """Run so many inputs and say how they end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="where to begin, to see one again")
    asked = parser.parse_args()
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        workshop(whole)
        for line in COMMANDS:
            copy = Path(place) / "copy"
            shutil.copytree(whole, copy)
            assert (end := verdict(line.split(), copy)) == "done", (line, end)
            shutil.rmtree(copy)
        for number in range(asked.first, asked.first + asked.number):
            rng = Random(f"{asked.seed} {number}")
            copy = Path(place) / "copy"
            shutil.copytree(whole, copy)
            what = spoilt(copy, rng) if rng.random() < 0.6 else "nothing spoilt"
            words: Sequence[str] = rng.choice(COMMANDS).split()
            words = changed(words, rng) if what == "nothing spoilt" or rng.random() < 0.3 else words
            end = verdict(words, copy)
            shutil.rmtree(copy)
            ends[end if end in ("done", "refused") else "unforeseen"] += 1
            if end not in ("done", "refused"):
                print(f"{number}: {words} after: {what}\n    {end}", flush=True)
    total = ", ".join(f"{n:,} {end}" for end, n in sorted(ends.items()))
    print(f"{sum(ends.values()):,} inputs, seed {asked.seed}: {total}")
    sys.exit(ends["unforeseen"] > 0)


if __name__ == "__main__":
    main()
