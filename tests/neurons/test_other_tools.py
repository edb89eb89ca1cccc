import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from langneurons.config import IdentifyConfig
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.neurons.counts import Counts
from langneurons.neurons.identify import identify
from langneurons.neurons.other_tools import (
    export_mask,
    import_lape,
    import_mask,
    import_njunlp,
    load_pt,
)
from support.command import refused
from support.pickles import MASK, MODEL, Hostile, activation
from support.values import random_counts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two layers of three neurons; Chinese and English; one difference is negative, one exceeds
    the tokens.
    """
    activation(tmp_path, "zh", torch.tensor([[9, 5, 2], [1, 1, 1]]), 20)
    activation(tmp_path, "zh", torch.tensor([[4, 6, 2], [0, 0, 0]]), 12, prefix=True)
    activation(tmp_path, "en", torch.tensor([[9, 5, 2], [7, 1, 1]]), 10)
    activation(tmp_path, "en", torch.tensor([[0, 0, 0], [0, 0, 0]]), 4, prefix=True)
    return tmp_path


def test_counts_by_hand(folder: Path) -> None:
    counts, report = import_njunlp(folder)
    assert counts.languages == ("en", "zh")  # the order of the released masks
    assert counts.tokens.tolist() == [[6], [8]]
    assert [a.tolist() for a in counts.active] == [
        [[[9, 5, 2]], [[5, 0, 0]]],
        [[[7, 1, 1]], [[1, 1, 1]]],
    ]
    assert report == [("en", 6, 0, 2), ("zh", 8, 1, 0)]


def test_languages_can_be_chosen_and_ordered(folder: Path) -> None:
    assert import_njunlp(folder, ("zh", "en"))[0].languages == ("zh", "en")
    assert import_njunlp(folder, ("zh",))[0].tokens.tolist() == [[8]]


def test_an_unknown_language_code_comes_last(folder: Path) -> None:
    for prefix in (False, True):
        activation(
            folder, "aa", torch.ones((2, 3), dtype=torch.int64), 20 - 9 * prefix, prefix=prefix
        )
    assert import_njunlp(folder)[0].languages == ("en", "zh", "aa")


def test_missing_language(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"has no activation\.sw\.<model>\.pt; add it or leave sw out"
    ):
        import_njunlp(folder, ("en", "sw"))


def test_prefix_without_its_full_file(folder: Path) -> None:
    (folder / f"activation.zh.{MODEL}.pt").unlink()
    with pytest.raises(
        InputError, match=r"no activation\.zh\.<model>\.pt; prefix\.activation\.zh alone"
    ):
        import_njunlp(folder)


def test_full_without_its_prefix_file(folder: Path) -> None:
    (folder / f"prefix.activation.zh.{MODEL}.pt").unlink()
    with pytest.raises(InputError, match=r"no prefix\.activation\.zh\.<model>\.pt"):
        import_njunlp(folder)


@pytest.mark.parametrize("prefix", [True, False])
def test_shapes_that_differ(folder: Path, prefix: bool) -> None:
    activation(folder, "zh", torch.ones((2, 4), dtype=torch.int64), 50, prefix=prefix)
    with pytest.raises(MismatchError, match=r"shapes differ: 2 x [34] in .*zh.*, 2 x [34] in .*zh"):
        import_njunlp(folder)


def test_shapes_that_differ_between_languages(folder: Path) -> None:
    for prefix in (False, True):
        activation(folder, "zh", torch.ones((3, 3), dtype=torch.int64), 50 - prefix, prefix=prefix)
    with pytest.raises(
        MismatchError, match=r"shapes differ: 2 x 3 in activation\.en.*, 3 x 3 in activation\.zh"
    ):
        import_njunlp(folder)


def test_several_models_in_one_folder(folder: Path) -> None:
    activation(folder, "zh", torch.ones((2, 3), dtype=torch.int64), 50, model="Llama-x")
    with pytest.raises(MismatchError, match="several models: Llama-x, Mistral-abc123"):
        import_njunlp(folder)


@pytest.mark.parametrize("tokens", [12, 3])
def test_no_response_token(folder: Path, tokens: int) -> None:
    activation(folder, "zh", torch.tensor([[9, 5, 2], [1, 1, 1]]), tokens)
    with pytest.raises(InputError, match="no response token is left for zh"):
        import_njunlp(folder)


@pytest.mark.parametrize(
    ("over_zero", "seen"),
    [
        (torch.tensor([[1.0, 2, 3], [1, float("nan"), 1]]), "first nan in layer 1, neuron 1"),
        (torch.tensor([[1, 2, 3], [-4, 1, 1]]), "first -4.0 in layer 1, neuron 0"),
        (torch.tensor([[1.0, 2, 3], [1, 1, 0.5]]), "first 0.5 in layer 1, neuron 2"),
        (torch.tensor([[1.0, float("inf"), 3], [1, 1, 1]]), "first inf in layer 0, neuron 1"),
    ],
)
def test_numbers_that_are_no_counts(folder: Path, over_zero: torch.Tensor, seen: str) -> None:
    activation(folder, "zh", over_zero, 20)
    with pytest.raises(FormatError, match=seen):
        import_njunlp(folder)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ([1, 2], "over_zero and total_tokens are not in it"),
        ({"over_zero": torch.ones(2, 3)}, "over_zero and total_tokens are not in it"),
        ({"over_zero": [[1]], "total_tokens": 3}, "no matrix of layers x neurons"),
        ({"over_zero": torch.ones(3), "total_tokens": 3}, "no matrix of layers x neurons"),
        ({"over_zero": torch.ones(2, 3), "total_tokens": "many"}, "total_tokens is no number"),
    ],
)
def test_other_content(folder: Path, content, seen: str) -> None:
    torch.save(content, folder / f"activation.zh.{MODEL}.pt")
    with pytest.raises(FormatError, match=seen):
        import_njunlp(folder)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no activation"):
        import_njunlp(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        import_njunlp(tmp_path / "nowhere")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, trap = tmp_path / "evil.pt", tmp_path / "executed"
    if zipped:
        torch.save({"over_zero": torch.ones(2, 3), "x": Hostile(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(trap), protocol=2))
    with pytest.raises(
        FormatError,
        match="holds code, not only tensors, and was refused; nothing in it was executed",
    ):
        load_pt(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Hostile(trap)))
    assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize("keep", [0, 1, 10, 200, 0.5, 0.9, 0.99])
def test_truncated_files(folder: Path, keep: float) -> None:
    path = folder / f"activation.zh.{MODEL}.pt"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(FormatError, match="is empty" if keep == 0 else "is damaged"):
        import_njunlp(folder)


def test_corrupted_files(folder: Path) -> None:
    """Whatever bytes are in it: a clear refusal, never another error and never code."""
    rng = np.random.default_rng(0)
    path = folder / f"activation.zh.{MODEL}.pt"
    content = path.read_bytes()
    refused = 0
    for _ in range(150):
        broken = bytearray(content)
        for at in rng.integers(0, len(content), 20):
            broken[at] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            import_njunlp(folder)
        except InputError as error:
            assert str(path) in str(error) or "zh" in str(error)
            refused += 1
    assert refused > 50
    path.write_bytes(b"\x80\x02not a pickle at all")
    with pytest.raises(FormatError, match="is damaged"):
        import_njunlp(folder)


def test_mask_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "m.neuron.pth"
    torch.save(MASK, path)
    neurons, assumed = import_mask(path, ("en", "zh", "vi"), width=4)
    assert assumed == ()
    assert neurons.keys.tolist() == [[0, -1, 0], [0, -1, 2], [1, -1, 1]]
    assert neurons.kind.tolist() == ["specific", "general", "related"]
    assert neurons.widths == ((4,), (4,))
    assert neurons.rule.method == "imported"


def test_mask_without_names(tmp_path: Path) -> None:
    path = tmp_path / "m.neuron.pth"
    torch.save(MASK, path)
    with pytest.raises(InputError, match="holds 3 lists and does not say of which languages"):
        import_mask(path)
    with pytest.raises(InputError, match="holds 3 lists; --languages names 2: en,zh"):
        import_mask(path, ("en", "zh"))
    torch.save([*MASK, *MASK, MASK[0]], path)
    neurons, assumed = import_mask(path)
    assert neurons.languages == assumed == ("en", "zh", "fr", "es", "vi", "id", "ja")


def test_mask_wider_than_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.neuron.pth"
    torch.save(MASK, path)
    with pytest.raises(InputError, match="lists neuron 2 in layer 0, which is 2 wide"):
        import_mask(path, ("en", "zh", "vi"), width=2)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        [[]],
        [[torch.ones(2)]],
        [[torch.tensor([True, False])]],
        [[torch.tensor([0, 1]).to_sparse()]],
        [[torch.tensor([1j])]],
        [[torch.ones(2, 2, dtype=torch.int64)]],
        [[[0, 1]]],
        [[torch.tensor([0])], [torch.tensor([0]), torch.tensor([0])]],
    ],
)
def test_no_mask(tmp_path: Path, content) -> None:
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(FormatError, match="is no mask"):
        import_mask(tmp_path / "m.pth", ("en",))


def test_negative_index(tmp_path: Path) -> None:
    torch.save([[torch.tensor([-1])]], tmp_path / "m.pth")
    with pytest.raises(FormatError, match="negative neuron indices"):
        import_mask(tmp_path / "m.pth", ("en",))


@pytest.mark.parametrize(
    "kinds", [("specific", "related"), ("specific",), ("specific", "related", "general")]
)
def test_export_and_import_again(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    counts = random_counts(1, 4, widths=((30,), (3, 10), (20,)), tokens=400)
    neurons = identify(counts, IdentifyConfig(rate=0.4, tau_quantile=0.6, lam=0.1))
    path = tmp_path / "mask.pt"
    mask, beside = export_mask(neurons, kinds)
    path.write_bytes(mask)
    lists = torch.load(path, weights_only=True)
    assert [len(layers) for layers in lists] == [3] * 4
    for k, layers in enumerate(lists):
        for layer, indices in enumerate(layers):
            assert indices.dtype == torch.int64
            assert indices.ndim == 1
            expected = sorted(
                max(e, 0) * 10 + n
                for (at, e, n), member, kind in zip(
                    neurons.keys, neurons.member, neurons.kind, strict=True
                )
                if at == layer and member[k] and kind in kinds
            )
            assert indices.tolist() == expected
    said = json.loads(beside)
    assert said["languages"] == list(counts.languages)
    assert said["rule"]["tau"] == neurons.rule.tau
    assert said["memberships"]["en"] == sum(map(len, lists[0]))
    path.with_name("mask.pt.json").write_bytes(beside)
    again, _ = import_mask(path)
    chosen = neurons.of_kinds(kinds)
    assert again.keys.tolist() == chosen.keys.tolist()
    assert (again.member == chosen.member).all()
    assert again.widths == counts.widths


def test_export_of_nothing_still_has_every_list() -> None:
    neurons = identify(random_counts(1, 3), IdentifyConfig(rate=0.2, tau_quantile=0.6, lam=0.1))
    mask, _ = export_mask(neurons.where(np.zeros(len(neurons), bool)))
    lists = torch.load(__import__("io").BytesIO(mask), weights_only=True)
    assert [[x.tolist() for x in layers] for layers in lists] == [[[], []]] * 3


def test_export_of_an_unknown_kind() -> None:
    neurons = identify(random_counts(1, 3), IdentifyConfig(rate=0.2, tau_quantile=0.6, lam=0.1))
    with pytest.raises(InputError, match="'special' is no kind of neuron"):
        export_mask(neurons, ("special",))


def test_same_neurons_same_bytes() -> None:
    neurons = identify(random_counts(1, 3), IdentifyConfig(rate=0.2, tau_quantile=0.6, lam=0.1))
    assert export_mask(neurons) == export_mask(neurons)


def test_damaged_sidecar(tmp_path: Path) -> None:
    torch.save(MASK, tmp_path / "m.pth")
    (tmp_path / "m.pth.json").write_text("{", "utf-8")
    with pytest.raises(FormatError, match=r"m\.pth\.json is damaged"):
        import_mask(tmp_path / "m.pth")


def test_a_zip_that_is_no_torch_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(FormatError, match=r"x\.pt is a zip archive; unpack it; a file of torch"):
        load_pt(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of git-lfs"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a page of HTML"),
        (b"\x1f\x8b\x08\x00", "is compressed by gzip"),
        (b"PAR1....PAR1", "is a Parquet file"),
        (b'\x40\0\0\0\0\0\0\0{"__metadata__": {}}', "is a file of safetensors"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(FormatError, match=f"{what}.*; a file of torch.save is needed"):
        import_mask(tmp_path / "m.pth", ("en",))


@pytest.mark.parametrize(
    "beside",
    [
        {"languages": "en"},
        {"languages": [1, 2, 3]},
        {"languages": ["en", "zh", "vi"], "widths": [[4]]},
        {"languages": ["en", "zh", "vi"], "widths": [["4"], [4]]},
        {"languages": ["en", "zh", "vi"], "widths": 4},
        {},
    ],
)
def test_wrong_types_in_the_file_beside_a_mask(tmp_path: Path, beside: dict) -> None:
    torch.save(MASK, tmp_path / "m.pth")
    (tmp_path / "m.pth.json").write_text(json.dumps({"written_by": "langneurons"} | beside))
    with pytest.raises(FormatError, match=r"m\.pth\.json is damaged; remove it"):
        import_mask(tmp_path / "m.pth")


def test_empty_layers_of_a_mask_may_be_of_any_type(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.tensor([7]), requires_grad=False)
    lists = [[torch.tensor([1, 2]), torch.tensor([])], [torch.tensor([]), parameter]]
    torch.save(lists, tmp_path / "m.pth")
    neurons, _ = import_mask(tmp_path / "m.pth", ("en", "zh"), width=8)
    assert neurons.keys.tolist() == [[0, -1, 1], [0, -1, 2], [1, -1, 7]]
    assert neurons.member.tolist() == [[True, False], [True, False], [False, True]]


def lape(folder: Path, code: str, n: object, over_zero: object, model: str = "llama-7b") -> Path:
    path = folder / f"activation.{code}.train.{model}"
    torch.save({"n": n, "over_zero": over_zero}, path)
    return path


def test_counts_of_lape_by_hand(tmp_path: Path) -> None:
    lape(tmp_path, "zh", torch.tensor(8), torch.tensor([[8, 0], [2, 4]], dtype=torch.int32))
    lape(tmp_path, "en", 10, torch.tensor([[1.0, 5.0], [11.0, 0.0]], dtype=torch.bfloat16))
    lape(tmp_path, "xx", 4, torch.tensor([[1, 1], [1, 1]]))
    counts, report = import_lape(tmp_path)
    assert counts.languages == ("en", "zh", "xx")  # the order of the released masks, then others
    assert counts.tokens.tolist() == [[10], [8], [4]]
    probability = [[0.1, 0.5, 1.1, 0], [1, 0, 0.25, 0.5], [0.25] * 4]
    np.testing.assert_allclose(counts.probability(), probability)
    assert report == [("en", 10, 0, 1), ("zh", 8, 0, 0), ("xx", 4, 0, 0)]
    assert import_lape(tmp_path, ("zh", "en"))[0].languages == ("zh", "en")


@pytest.mark.parametrize(
    ("n", "over_zero", "seen"),
    [
        ("many", torch.ones(2, 3), "n is no number"),
        (None, torch.ones(2, 3), "n is no number"),
        (True, torch.ones(2, 3), "n is no number"),
        (torch.ones(2), torch.ones(2, 3), "n is no number"),
        (float("nan"), torch.ones(2, 3), "n is nan; a whole number"),
        (2.5, torch.ones(2, 3), "n is 2.5; a whole number"),
        (10**30, torch.ones(2, 3), "a whole number"),
        (-1, torch.ones(2, 3), "n is -1; a whole number"),
        (0, torch.ones(2, 3), "counts no token; leave en out"),
        (9, torch.ones(2, 3) > 0, "no matrix of layers x neurons"),
        (9, torch.ones(2, 3).to_sparse(), "no matrix of layers x neurons"),
        (9, torch.ones(0, 3), "no matrix of layers x neurons"),
        (9, {}, "no matrix of layers x neurons"),
        (9, torch.full((2, 3), 1e300, dtype=torch.float64), "first 1e\\+300 in layer 0, neuron 0"),
        (9, torch.tensor([[1, -2]]), "first -2.0 in layer 0, neuron 1"),
    ],
)
def test_other_content_in_a_file_of_lape(
    tmp_path: Path, n: object, over_zero: object, seen: str
) -> None:
    lape(tmp_path, "en", n, over_zero)
    with pytest.raises(InputError, match=rf"activation\.en\.train\.llama-7b.*{seen}"):
        import_lape(tmp_path)


def test_files_of_lape_that_do_not_belong_together(tmp_path: Path) -> None:
    lape(tmp_path, "en", 10, torch.ones(2, 3))
    with pytest.raises(InputError, match=r"no activation\.zh\.train\.<model>; add it or leave zh"):
        import_lape(tmp_path, ("en", "zh"))
    wider = lape(tmp_path, "zh", 10, torch.ones(2, 4))
    with pytest.raises(MismatchError, match=r"shapes differ: 2 x 3 in .*en.*, 2 x 4 in .*zh"):
        import_lape(tmp_path)
    wider.rename(tmp_path / "activation.zh.train.bloom-7b")
    with pytest.raises(MismatchError, match=r"several models: train\.bloom-7b, train\.llama-7b"):
        import_lape(tmp_path)


def test_import_of_lapes_counts_or_of_a_mask(tmp_path: Path, langneurons) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = lape(folder, "en", 10, torch.ones(2, 3))
    lape(folder, "zh", 20, torch.ones(2, 3))
    done = langneurons("import", "lape", folder, "--out", tmp_path / "counts")
    assert done.status == 0, done.err
    assert [line.split() for line in done.out.splitlines()[1:3]] == [
        ["en", "10", "0"],
        ["zh", "20", "0"],
    ]
    np.testing.assert_allclose(Counts.load(tmp_path / "counts").probability()[:, 0], [0.1, 0.05])
    refused(langneurons("import", "njunlp", folder, "--out", tmp_path / "o"), "`import lape`")
    refused(langneurons("import", "lape", file, "--out", tmp_path / "o"), "give the folder it is")
    refused(langneurons("import", "lape", tmp_path / "x", "--out", tmp_path / "o"), "not a folder")
    of_njunlp = tmp_path / "njunlp"
    of_njunlp.mkdir()
    activation(of_njunlp, "en", torch.ones(2, 3), 20)
    refused(langneurons("import", "lape", of_njunlp, "--out", tmp_path / "o"), "`import njunlp`")
    mask = tmp_path / "m.pth"
    torch.save(MASK, mask)
    words = ("import", "lape", mask, "--languages", "en,zh,vi", "--out", tmp_path / "o")
    refused(langneurons(*words, "--width", 0), "a layer has at least 1 neuron")
    assert not (tmp_path / "o").exists()
