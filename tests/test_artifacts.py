import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from langneurons import artifacts
from langneurons.errors import FormatError, InputError, MismatchError, OutputError


def write(folder: Path, value: int = 1, config: dict | None = None) -> None:
    with artifacts.writing(
        folder, "counts", "test", config or {"rate": 0.01}, {"a": "1" * 64}
    ) as draft:
        draft.tensors("x.safetensors", {"x": np.full(3, value)}, {"languages": ["en"]})
        draft.facts["note"] = "hand-made"


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "counts")
    there = artifacts.read(tmp_path / "deep" / "counts", "counts")
    tensors, meta = there.tensors("x.safetensors")
    assert tensors["x"].tolist() == [1, 1, 1]
    assert meta == {"languages": ["en"]}
    assert there.manifest["facts"] == {"note": "hand-made"}
    assert there.manifest["packages"]["numpy"] == np.__version__
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["counts"]


def test_same_content_same_digest(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name)
    write(tmp_path / "c", 2)
    digests = [artifacts.read(tmp_path / name).digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_current_or_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    config, inputs = {"rate": 0.01}, {"a": "1" * 64}
    assert artifacts.current(folder, "counts", config, inputs) is None
    write(folder)
    assert artifacts.current(folder, "counts", config, inputs) is not None
    with pytest.raises(MismatchError, match=r"rate 0\.01 there, 0\.02 now\. Choose another --out"):
        artifacts.current(folder, "counts", {"rate": 0.02}, inputs)
    with pytest.raises(MismatchError, match="a 111111111111… there, 222222222222… now"):
        artifacts.current(folder, "counts", config, {"a": "2" * 64})
    with pytest.raises(MismatchError, match="kind counts there, neurons now"):
        artifacts.current(folder, "neurons", config, inputs)
    assert artifacts.current(folder, "counts", {"rate": 0.02}, inputs, force=True) is None


def test_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work", "utf-8")
    with pytest.raises(OutputError, match="exists and is no result of langneurons"):
        artifacts.current(tmp_path, "counts", {}, {}, force=True)
    with pytest.raises(OutputError, match="exists and is no result of langneurons"):
        artifacts.current(tmp_path / "thesis.tex", "counts", {}, {}, force=True)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert artifacts.current(tmp_path / "x", "counts", {}, {}) is None
    write(tmp_path / "x")
    assert artifacts.read(tmp_path / "x", "counts")


def test_replacing_leaves_only_the_new(tmp_path: Path) -> None:
    write(tmp_path / "x", 1)
    write(tmp_path / "x", 2)
    assert artifacts.read(tmp_path / "x").tensors("x.safetensors")[0]["x"].tolist() == [2, 2, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "x", 1)
    for name in "xy":
        with (
            pytest.raises(ZeroDivisionError),
            artifacts.writing(tmp_path / name, "counts", "test", {}, {}) as draft,
        ):
            draft.bytes("half", b"half")
            _ = 1 / 0
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert artifacts.read(tmp_path / "x").tensors("x.safetensors")[0]["x"].tolist() == [1, 1, 1]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from langneurons import artifacts
    with artifacts.writing(Path(sys.argv[1]), "counts", "test", {}, {}) as draft:
        draft.bytes("half", b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_while_writing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / "x"], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "x").exists()
    assert len(list(tmp_path.iterdir())) == 1, "the draft is left, hidden"
    write(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"], "and swept by the next who writes there"


def test_looking_on_while_others_write(tmp_path: Path) -> None:
    """Drafts come and go by the dozen; who lists the results meanwhile sees whole ones and no
    error."""
    code = """
        import sys
        from pathlib import Path
        from langneurons import artifacts
        for i in range(100):
            folder = Path(sys.argv[1]) / "deep" / str(i)
            with artifacts.writing(folder, "counts", "test", {}, {}) as draft:
                draft.bytes("x", b"x")
    """
    seen = [0]
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), tmp_path]) as other:
        while other.poll() is None:
            found = artifacts.finished(tmp_path)
            assert all(path.name.isdigit() for path in found)
            assert len(found) >= seen[-1]
            seen.append(len(found))
    assert len(set(seen)) > 10
    assert artifacts.finished(tmp_path) == sorted(tmp_path / "deep" / str(i) for i in range(100))


def test_a_file_sweeps_too(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / "x"], check=False)
    artifacts.write_file(tmp_path / "y", b"y")
    assert [p.name for p in tmp_path.iterdir()] == ["y"]


def test_a_living_writer_is_not_swept(tmp_path: Path) -> None:
    with artifacts.writing(tmp_path / "x", "counts", "test", {}, {}) as draft:
        draft.bytes("a", b"a")
        artifacts._sweep(tmp_path / "x")
    assert artifacts.read(tmp_path / "x").manifest["files"].keys() == {"a"}


def test_damage_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "x")
    path = tmp_path / "x" / "x.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="missing or not as it was written"):
        artifacts.read(tmp_path / "x").tensors("x.safetensors")
    path.unlink()
    with pytest.raises(FormatError, match="missing or not as it was written"):
        artifacts.read(tmp_path / "x").tensors("x.safetensors")


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="does not exist; counts or neurons from langneurons are needed"
    ):
        artifacts.read(tmp_path / "x", "counts", "neurons")
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        artifacts.read(tmp_path, "counts")
    write(tmp_path / "x")
    with pytest.raises(InputError, match="holds counts; neurons are needed here"):
        artifacts.read(tmp_path / "x", "neurons")
    with pytest.raises(InputError, match="holds counts, not y"):
        artifacts.read(tmp_path / "x").table("y")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"kind": "counts"}'])
def test_a_broken_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, "utf-8")
    with pytest.raises(FormatError, match="is no manifest of langneurons"):
        artifacts.read(tmp_path)


def test_a_manifest_of_the_future(tmp_path: Path) -> None:
    write(tmp_path / "x")
    path = tmp_path / "x" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format": 99}), "utf-8")
    with pytest.raises(
        FormatError, match="has format 99; this version of langneurons reads format 1"
    ):
        artifacts.read(tmp_path / "x")


def test_find_looks_one_level_down(tmp_path: Path) -> None:
    write(tmp_path / "b")
    write(tmp_path / "a")
    (tmp_path / "other").mkdir()
    assert [a.folder.name for a in artifacts.find(tmp_path, "counts")] == ["a", "b"]
    assert artifacts.find(tmp_path, "neurons") == []
    with pytest.raises(InputError, match="is not a folder"):
        artifacts.find(tmp_path / "nowhere", "counts")


@pytest.mark.parametrize("where", ["/proc/nowhere/x", "/dev/null/x"])
def test_unwritable(where: str) -> None:
    with pytest.raises(
        OutputError, match=f"cannot write {where}: .*choose another place with --out"
    ):
        write(Path(where))
    with pytest.raises(OutputError, match=f"cannot write {where}"):
        artifacts.write_file(Path(where), b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write(tmp_path / "x")


FULL = """
    import resource, sys
    import numpy as np
    import pyarrow as pa
    from pathlib import Path
    from langneurons import artifacts
    from langneurons.errors import OutputError
    if sys.argv[3] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    try:
        with artifacts.writing(Path(sys.argv[1]), "counts", "test", {}, {}) as draft:
            noise = np.random.default_rng(0).integers(0, 2**60, 200_000)
            if sys.argv[2] == "tensors":
                draft.tensors("x.safetensors", {"x": noise}, {})
            elif sys.argv[2] == "table":
                draft.table("x.parquet", pa.table({"x": noise}))
            else:
                draft.bytes("x", noise.tobytes())
    except OutputError as error:
        print(error)
"""


def fill(folder: Path, what: str, how: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(FULL), folder, what, how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("what", ["tensors", "table", "bytes"])
def test_no_room_for_the_file(tmp_path: Path, what: str) -> None:
    said = fill(tmp_path / "x", what, "limit")
    assert said.startswith(f"cannot write {tmp_path / 'x'}: ")
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["tensors", "table", "bytes"])
def test_full_disk(tmp_path: Path, what: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        said = fill(tmp_path / "x", what, "disk")
        assert said.startswith(f"cannot write {tmp_path / 'x'}: ")
        assert "No space left" in said
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)
