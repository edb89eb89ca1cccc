import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from langneurons.config import IdentifyConfig
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.neurons.identify import identify
from langneurons.neurons.other_tools import export_mask, import_mask, import_njunlp, load_pt
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
    with pytest.raises(FormatError, match="is damaged"):
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
    with pytest.raises(FormatError, match="is damaged"):
        load_pt(tmp_path / "x.pt")
