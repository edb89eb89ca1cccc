"""The command line as a whole: what it says, what it refuses, and how it ends."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from langneurons import artifacts, cli
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons
from support.command import Outcome, refused
from support.pickles import MASK, MODEL, Hostile, activation

LANGS = ("en", "ru", "zh", "sw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NJUNLP activation files of four languages, two layers of 150 neurons."""
    where = tmp_path_factory.mktemp("njunlp")
    rng = np.random.default_rng(0)
    for code in LANGS:
        p = rng.beta(0.7, 3, (2, 150))
        prompt, response = rng.binomial(500, p), rng.binomial(800, p)
        activation(where, code, torch.from_numpy(prompt + response), 1300)
        activation(where, code, torch.from_numpy(prompt), 500, prefix=True)
    return where


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory, langneurons) -> Path:
    """A run folder with counts, neurons and a second table of neurons, made by the command line."""
    where = tmp_path_factory.mktemp("runs") / "mine"
    for words in (
        ("import", "njunlp", folder, "--out", where / "counts"),
        (
            "identify",
            where / "counts",
            "--out",
            where / "neurons",
            "--rate",
            "0.05",
            "--tau-quantile",
            "0.8",
        ),
        (
            "identify",
            where / "counts",
            "--out",
            where / "wider",
            "--rate",
            "0.1",
            "--tau-quantile",
            "0.8",
        ),
    ):
        done = langneurons(*words)
        assert done.status == 0, done.err
    return where


def test_help_names_every_command_and_says_what_it_does(process) -> None:
    done = process("--help")
    assert done.status == 0
    lines = {line.strip("│ ").split()[0]: line.split()[2:] for line in done.out.splitlines()[5:-4]}
    for command in cli.COMMANDS:
        assert len(lines[command]) > 3, f"{command} is not described"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, langneurons) -> None:
    done = langneurons(command, "--help")
    assert done.status == 0
    assert done.out.startswith(f"Usage: langneurons {command}")
    assert done.err == ""


def test_version(langneurons) -> None:
    from langneurons import __version__

    assert langneurons("--version").out.strip() == __version__


def test_import_says_what_it_found(folder: Path, tmp_path: Path, langneurons) -> None:
    done = langneurons("import", "njunlp", folder, "--out", tmp_path / "c", "--languages", "zh,en")
    assert done.status == 0, done.err
    assert done.out.splitlines()[1].split() == ["zh", "800", "0", "0"]
    assert f"next: langneurons identify {tmp_path / 'c'} --out" in done.out
    counts = Counts.from_tensors(*artifacts.read(tmp_path / "c").tensors("counts.safetensors"))
    assert counts.languages == ("zh", "en")


def test_identify_says_what_it_found(run: Path, langneurons) -> None:
    done = langneurons(
        "identify", run / "counts", "--out", run / "neurons", "--rate", 0.05, "--tau-quantile", 0.8
    )
    assert done.status == 0
    assert done.err == f"{run / 'neurons'} is up to date; nothing to do\n"
    assert done.out.startswith("lambda")
    assert "units of Eq. 5" in done.out
    assert "intervals unavailable: the counts hold one block" in done.out
    assert f"next: langneurons report {run}" in done.out


def test_json_and_text_agree_with_the_table(run: Path, langneurons) -> None:
    words = (
        "identify",
        run / "counts",
        "--out",
        run / "neurons",
        "--rate",
        0.05,
        "--tau-quantile",
        0.8,
    )
    said = langneurons(*words, "--json").json
    neurons = Neurons.from_table(artifacts.read(run / "neurons").table("neurons.parquet"))
    assert said["lambda"] == neurons.rule.lam.value  # ty: ignore
    assert said["selected"] == 15 == sum(said["shared_by"])
    assert said["classes"]["specific"] == (neurons.kind == "specific").sum()
    star = "lambda*" if said["lambda_status"] == "bound" else "lambda"
    begins = f"{star} = {said['lambda']:.5f} ({said['lambda_plain']:.5f} in the units of Eq. 5)"
    assert langneurons(*words).out.startswith(begins)


def test_other_settings_are_refused_or_forced(run: Path, tmp_path: Path, langneurons) -> None:
    shutil.copytree(run, tmp_path / "run")
    words = (
        "identify",
        tmp_path / "run" / "counts",
        "--out",
        tmp_path / "run" / "neurons",
        "--rate",
        0.1,
    )
    refused(langneurons(*words), "rate 0.05 there, 0.1 now; tau_quantile 0.8 there, 0.95 now")
    forced = langneurons(*words, "--tau-quantile", 0.7, "--force", "--json")
    assert forced.status == 0, forced.err
    assert forced.json["selected"] == 30


def test_same_bytes_again(run: Path, tmp_path: Path, langneurons) -> None:
    words = ("--rate", 0.05, "--tau-quantile", 0.8)
    assert langneurons("identify", run / "counts", "--out", tmp_path / "n", *words).status == 0
    assert artifacts.read(tmp_path / "n").digest == artifacts.read(run / "neurons").digest


def test_export_and_import_again(run: Path, tmp_path: Path, langneurons) -> None:
    done = langneurons("export", "njunlp", run / "neurons", "--out", tmp_path / "mask.pt")
    assert done.status == 0, done.err
    lists = torch.load(tmp_path / "mask.pt", weights_only=True)
    assert (len(lists), len(lists[0])) == (4, 2)
    assert json.loads((tmp_path / "mask.pt.json").read_text("utf-8"))["languages"] == list(LANGS)
    done = langneurons("import", "lape", tmp_path / "mask.pt", "--out", tmp_path / "back")
    assert done.status == 0, done.err
    done = langneurons(
        "compare", run / "neurons", tmp_path / "back", "--out", tmp_path / "same", "--json"
    )
    for row in done.json["overlap"]:
        if row["kind"] != "general" and row["before neurons"]:
            assert row["ratio"] == 1.0


def test_compare_says_how_far_they_agree(run: Path, tmp_path: Path, langneurons) -> None:
    done = langneurons("compare", run / "neurons", run / "wider", "--out", tmp_path / "c")
    assert done.status == 0, done.err
    assert done.out.splitlines()[1].split()[:2] == ["specific", "all"]
    assert (tmp_path / "c" / "overlap.csv").read_text("utf-8").startswith("after,kind,language,")
    refused(
        langneurons("compare", run / "neurons", "--out", tmp_path / "d"),
        "needs at least two folders",
    )


def test_compare_refuses_another_models_neurons(run: Path, tmp_path: Path, langneurons) -> None:
    torch.save(MASK, tmp_path / "m.pth")
    words = (
        "import",
        "lape",
        tmp_path / "m.pth",
        "--out",
        tmp_path / "m",
        "--languages",
        "en,zh,vi",
        "--width",
        4,
    )
    assert langneurons(*words).status == 0
    done = langneurons("compare", run / "neurons", tmp_path / "m", "--out", tmp_path / "c")
    refused(done, "two different models: layers 2 x 150 in the first, 2 x 4 in the second")
    assert not (tmp_path / "c").exists()


def test_report_of_a_run_with_two_tables(run: Path, tmp_path: Path, langneurons) -> None:
    done = langneurons("report", run, "--out", tmp_path / "page.html")
    assert done.status == 0, done.err
    assert (tmp_path / "page.html").stat().st_size > 500_000
    assert (tmp_path / "page" / "layers.svg").read_text("utf-8").startswith("<svg")
    assert (tmp_path / "page" / "layers.png").read_bytes().startswith(b"\x89PNG")
    refused(
        langneurons("report", run, "--neurons", "nothing"),
        "(there: neurons, wider); choose with --neurons",
    )


def test_report_of_a_mask(tmp_path: Path, langneurons) -> None:
    torch.save(MASK, tmp_path / "m.pth")
    words = (
        "import",
        "lape",
        tmp_path / "m.pth",
        "--out",
        tmp_path / "m",
        "--languages",
        "en,zh,vi",
    )
    assert langneurons(*words).status == 0
    done = langneurons("report", tmp_path / "m", "--json")
    assert done.status == 0, done.err
    assert done.json["figures"] == ["layers", "shared-by", "per-language", "english"]


def broken(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "broken"))


def test_bad_input_of_import(folder: Path, tmp_path: Path, langneurons) -> None:
    out = ("--out", tmp_path / "out")
    refused(langneurons("import", "njunlp", tmp_path / "nowhere", *out), "is not a folder")
    refused(
        langneurons("import", "njunlp", folder, *out, "--languages", "en,th"),
        "has no activation.th.",
    )
    refused(
        langneurons("import", "njunlp", folder, *out, "--languages", "en,,zh"),
        "give each code once",
    )
    refused(
        langneurons("import", "lape", folder, *out),
        "holds no activation.<language>.train.<model>; those of NJUNLP in it are read by",
    )
    bad = broken(folder, tmp_path)
    (bad / f"activation.zh.{MODEL}.pt").unlink()
    refused(langneurons("import", "njunlp", bad, *out), "prefix.activation.zh alone cannot be used")
    activation(bad, "zh", torch.ones((2, 151), dtype=torch.int64), 1300)
    refused(langneurons("import", "njunlp", bad, *out), "shapes differ")
    activation(bad, "zh", torch.full((2, 150), float("nan")), 1300)
    refused(langneurons("import", "njunlp", bad, *out), "are negative, fractional or not numbers")
    activation(bad, "zh", torch.ones((2, 150), dtype=torch.int64), 0)
    refused(langneurons("import", "njunlp", bad, *out), "no response token is left for zh")
    torch.save(Hostile(tmp_path / "executed"), bad / f"activation.zh.{MODEL}.pt")
    refused(
        langneurons("import", "njunlp", bad, *out), "holds code, not only tensors, and was refused"
    )
    assert not (tmp_path / "executed").exists()
    good = folder / f"activation.zh.{MODEL}.pt"
    (bad / good.name).write_bytes(good.read_bytes()[:900])
    refused(langneurons("import", "njunlp", bad, *out), "is damaged")
    torch.save(MASK, tmp_path / "m.pth")
    refused(
        langneurons("import", "lape", tmp_path / "m.pth", *out),
        "name them in order with --languages",
    )
    assert not (tmp_path / "out").exists()


def test_bad_input_of_identify(run: Path, folder: Path, tmp_path: Path, langneurons) -> None:
    words = ("identify", run / "counts", "--out", tmp_path / "out")
    refused(langneurons(*words, "--rate", 0), "rate 0.0 is outside (0, 1)")
    refused(langneurons(*words, "--rate", 1.5), "rate 1.5 is outside (0, 1)")
    refused(langneurons(*words, "--rate", "a lot"), "Invalid value for --rate")
    refused(langneurons(*words, "--lam", -1), "lam -1.0 is not a number from 0 up")
    refused(langneurons(*words, "--tau", 0.9), "Unknown option")
    refused(langneurons(*words, "--method", "magic"), "magic")
    refused(langneurons("identify", run / "counts"), "--out")
    refused(
        langneurons("identify", run / "neurons", "--out", tmp_path / "out"),
        "holds neurons; counts or effects are needed",
    )
    refused(
        langneurons("identify", tmp_path / "nowhere", "--out", tmp_path / "out"), "does not exist"
    )
    refused(langneurons("frobnicate"), "frobnicate")
    assert (
        langneurons(
            "import", "njunlp", folder, "--out", tmp_path / "one", "--languages", "en"
        ).status
        == 0
    )
    done = langneurons("identify", tmp_path / "one", "--out", tmp_path / "out")
    refused(done, "these counts hold one language")
    assert not (tmp_path / "out").exists()


def test_unwritable_output(run: Path, tmp_path: Path, langneurons) -> None:
    refused(
        langneurons("identify", run / "counts", "--out", "/proc/nowhere/x"),
        "cannot write /proc/nowhere/x",
    )
    refused(
        langneurons("export", "lape", run / "neurons", "--out", "/proc/x/m.pt"),
        "cannot write /proc/x/m.pt",
    )
    refused(langneurons("report", run, "--out", "/proc/x/page.html"), "cannot write /proc/x")
    (tmp_path / "full").mkdir()
    refused(
        langneurons("export", "lape", run / "neurons", "--out", tmp_path / "full"),
        "is a folder; a mask is a file",
    )
    assert not (tmp_path / "full.json").exists()
    refused(langneurons("report", run, "--out", tmp_path / "page"), "give it an ending")
    assert not (tmp_path / "page").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me", "utf-8")
    done = langneurons("identify", run / "counts", "--out", tmp_path / "notes", "--force")
    refused(done, "exists and is no result of langneurons")
    assert (tmp_path / "notes" / "mine.txt").read_text("utf-8") == "keep me"


def test_full_disk(run: Path, tmp_path: Path) -> None:
    """No file may grow beyond 4 KiB, as on a disk that is full."""
    words = f"identify {run / 'counts'} --out {tmp_path / 'full'} --rate 0.1 --tau-quantile 0.8"
    command = ["bash", "-c", f"ulimit -f 4; exec {sys.executable} -m langneurons {words}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    refused(
        Outcome(done.returncode, done.stdout, done.stderr),
        "File too large; free space",
    )
    assert list(tmp_path.iterdir()) == []


def test_traceback_when_asked(tmp_path: Path, process) -> None:
    done = process("report", tmp_path / "nowhere", "--traceback")
    assert done.status == 1
    assert "Traceback" in done.err
    assert "InputError" in done.err


def test_missing_extra_says_what_to_install(run: Path, tmp_path: Path, process) -> None:
    """Stand-ins that fail to import, as an environment without the extra does."""
    (tmp_path / "vl_convert.py").write_text(
        "raise ModuleNotFoundError('no', name='vl_convert')", "utf-8"
    )
    first = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = process("report", run, env={"PYTHONPATH": first})
    refused(
        done,
        "vl-convert-python is not installed; the report needs: pip install 'langneurons[report]'",
    )
