"""Other tools' files, in and out.

- NJUNLP (Language-Neurons-Alignment, the paper's code): counts, one `activation.<lang>.<model>.pt`
  and one `prefix.activation.<lang>.<model>.pt` per language; the language stands only in the file
  name.
- LAPE (Language-Specific-Neurons): counts, one `activation.<lang>.train.<model>` per language, of
  whole texts.
- LAPE and NJUNLP masks: a list over languages of a list over layers of
  index tensors, with no language, width or rule inside. They are the same type; we write them with
  a JSON file beside them that names all.

Files are opened with `weights_only`: nothing in them is ever executed.
"""

import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons import artifacts, layout
from langneurons.contents import PICKLE, TORCH, foreign
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.layout import Widths
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons, Rule

NJUNLP_LANGUAGES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
"""Order of the languages in the paper's released masks."""

LAPE_LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
"""Order of the languages in LAPE's released masks that hold seven lists (their README)."""

_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OSError,
)
"""What torch.load raises on files that are damaged."""

_NJUNLP_FILE = re.compile(
    r"(?P<prefix>prefix\.)?activation\.(?P<language>[^.]+)\.(?P<model>.+)\.pt"
)
_LAPE_FILE = re.compile(
    r"activation\.(?P<language>[^.]+)\.(?P<model>(?:train|valid|validation|dev|test)\..+)"
)


class ImportedLanguage(NamedTuple):
    """What importing one language's counts found.

    Attributes:
        language: its code.
        tokens: response tokens.
        negative: neurons with fewer active tokens in prompt and response than in the prompt alone;
            set to 0.
        above_one: neurons with more active tokens than tokens; kept as they are.
    """

    language: str
    tokens: int
    negative: int
    above_one: int


def import_njunlp(
    folder: Path, languages: tuple[str, ...] | None = None
) -> tuple[Counts, list[ImportedLanguage]]:
    """Counts from a folder of NJUNLP activation files.

    Those of prompt and response minus those of the prompt. The two were tokenised apart, so a few
    differences are negative (set to 0, as the released code does) and a few exceed the number of
    tokens (left alone); both are reported per language.

    Args:
        folder: where the `.pt` files are.
        languages: which languages, in which order; default all there are, in the order of the
            released masks.

    Raises:
        InputError: when files are missing.
        FormatError: when a file is damaged, holds code, or holds something else.
        MismatchError: when shapes differ or the folder holds counts of several models.
    """
    full, prefix = _njunlp_files(folder)
    if languages is None:
        languages = _in_order(full.keys() | prefix.keys(), NJUNLP_LANGUAGES)
    for code in languages:
        _require_both(folder, code, full, prefix)
    found = {code: _response_counts(code, full[code], prefix[code]) for code in languages}
    return _imported(found, full)


def import_lape(
    folder: Path, languages: tuple[str, ...] | None = None
) -> tuple[Counts, list[ImportedLanguage]]:
    """Counts from a folder of LAPE activation files: of all tokens of a text, without a prompt.

    Args:
        folder: where the files are.
        languages: which languages, in which order; default all there are, in the order of LAPE's
            released masks.

    Raises:
        InputError: when files are missing.
        FormatError: when a file is damaged, holds code, or holds something else.
        MismatchError: when shapes differ or the folder holds counts of several models.
    """
    files = _lape_files(folder)
    languages = languages or _in_order(files, LAPE_LANGUAGES)
    if missing := [code for code in languages if code not in files]:
        raise InputError(
            f"{folder} has no activation.{missing[0]}.train.<model>; add it or leave {missing[0]} "
            "out of --languages"
        )
    found = {code: _activation(files[code], "n") for code in languages}
    for code, (_, tokens) in found.items():
        if not tokens:
            raise InputError(
                f"{files[code]} counts no token; leave {code} out of --languages or count it again"
            )
    return _imported(found, files)


def _in_order(codes: Collection[str], first: Sequence[str]) -> tuple[str, ...]:
    """The codes: those of `first` in its order, then the others in that of the alphabet."""
    known = [code for code in first if code in codes]
    return (*known, *sorted(set(codes) - set(known)))


def _imported(
    found: Mapping[str, tuple[NDArray[np.int64], int]], files: Mapping[str, Path]
) -> tuple[Counts, list[ImportedLanguage]]:
    """Counts of active tokens [L, D] and tokens by language, as counts of one block.

    Raises:
        MismatchError: when shapes differ.
    """
    first, *others = found
    for code in others:
        if found[code][0].shape != found[first][0].shape:
            raise MismatchError(_shapes(files[first], found[first][0], files[code], found[code][0]))
    report = [
        ImportedLanguage(
            language=code,
            tokens=tokens,
            negative=int((active < 0).sum()),
            above_one=int((active > tokens).sum()),
        )
        for code, (active, tokens) in found.items()
    ]
    per_language = [np.maximum(active, 0) for active, _ in found.values()]
    by_layer = np.stack(per_language, axis=1)[:, :, None]  # L K G D, with G = 1
    counts = Counts(
        languages=tuple(found),
        active=tuple(np.ascontiguousarray(layer) for layer in by_layer),
        tokens=np.array([[row.tokens] for row in report], dtype=np.int64),
        block_rule="one block",
    )
    return counts, report


def _require_both(
    folder: Path, code: str, full: Mapping[str, Path], prefix: Mapping[str, Path]
) -> None:
    """Stop when one of a language's two files is missing."""
    if code not in full:
        why = f"; prefix.activation.{code} alone cannot be used" if code in prefix else ""
        lacking = f"activation.{code}.<model>.pt{why}"
    elif code not in prefix:
        lacking = f"prefix.activation.{code}.<model>.pt"
    else:
        return
    raise InputError(f"{folder} has no {lacking}; add it or leave {code} out of --languages")


def _response_counts(code: str, full: Path, prefix: Path) -> tuple[NDArray[np.int64], int]:
    """Active tokens [L, D] and tokens of one language's responses; differences may be negative."""
    all_active, all_tokens = _activation(full, "total_tokens")
    prompt_active, prompt_tokens = _activation(prefix, "total_tokens")
    if all_active.shape != prompt_active.shape:
        raise MismatchError(_shapes(full, all_active, prefix, prompt_active))
    if all_tokens <= prompt_tokens:
        raise InputError(
            f"{full} has {all_tokens} tokens, its prefix file {prompt_tokens}: "
            f"no response token is left for {code}; leave it out of --languages or count it again"
        )
    return all_active - prompt_active, all_tokens - prompt_tokens


def import_mask(
    path: Path,
    languages: tuple[str, ...] | None = None,
    width: int | None = None,
    default: tuple[str, ...] = LAPE_LANGUAGES,
) -> tuple[Neurons, tuple[str, ...]]:
    """Neurons from a LAPE or NJUNLP mask; memberships only, without scores and probabilities.

    Args:
        path: the mask. A JSON file of ours beside it (`<name>.json`) supplies languages and widths.
        languages: the languages of its lists, in order. Not needed with the JSON file, or as
            `default` says.
        width: neurons per layer, which a mask does not hold.
        default: languages of released masks, taken where nothing else names them and their number
            fits.

    Returns:
        The neurons, and the languages that were taken without being given (empty when given or
        named in the file).

    Raises:
        InputError: when the languages cannot be known or their number does not fit, or an index
            exceeds the width.
        FormatError: when the file is damaged, holds code, or is no mask.
    """
    if width is not None and width < 1:
        raise InputError(f"--width {width}: a layer has at least 1 neuron")
    lists = _mask(path)
    layers = len(lists[0])
    sidecar = _sidecar(path, layers)
    assumed: tuple[str, ...] = ()
    if languages is None and sidecar:
        languages = tuple(sidecar["languages"])
    elif languages is None and len(lists) == len(default):
        languages = assumed = default
    if languages is None:
        raise InputError(
            f"{path} holds {len(lists)} lists and does not say of which languages; "
            "name them in order with --languages"
        )
    if len(languages) != len(lists) or len(set(languages)) != len(languages):
        raise InputError(
            f"{path} holds {len(lists)} lists; --languages names {len(languages)}: "
            f"{','.join(languages)}"
        )
    widths = None
    if width is not None:
        widths = ((width,),) * layers
    elif sidecar and sidecar["widths"]:
        widths = tuple(map(tuple, sidecar["widths"]))
    if widths:
        _require_within(path, lists, widths)
    layer, index, member = _members(lists)
    experts = [width[-1] if len(width) == 2 else 0 for width in widths or ()]
    per_expert = np.array(experts or [0] * layers)[layer]
    is_expert = per_expert > 0
    unknown = np.full(len(layer), np.nan)
    neurons = Neurons(
        languages=languages,
        widths=widths,
        rule=Rule("imported"),
        layer=layer,
        expert=np.where(is_expert, index // np.maximum(per_expert, 1), -1),
        neuron=np.where(is_expert, index % np.maximum(per_expert, 1), index),
        member=member,
        selected=np.ones(len(layer), dtype=bool),
        score=unknown,
        margin=unknown,
        probability=np.full(member.shape, np.nan),
        keeps=unknown,
    )
    return neurons, assumed


def _require_within(path: Path, lists: Sequence[Sequence[NDArray]], widths: Widths) -> None:
    """Stop at an index that its layer is not wide enough for."""
    sizes = layout.sizes(widths).tolist()
    for layers in lists:
        for layer, (indices, size) in enumerate(zip(layers, sizes, strict=True)):
            if indices.size and indices.max() >= size:
                raise InputError(
                    f"{path} lists neuron {indices.max()} in layer {layer}, "
                    f"which is {size} wide; check --width"
                )


def _members(
    lists: Sequence[Sequence[NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Layer, index within it, and languages [n, K] of every neuron that a mask lists, ascending."""
    keys = [
        np.stack([np.full(len(indices), layer), indices], axis=1)
        for layers in lists
        for layer, indices in enumerate(layers)
    ]
    language = np.repeat(np.arange(len(lists)), [sum(map(len, layers)) for layers in lists])
    rows, which = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    member = np.zeros((len(rows), len(lists)), dtype=bool)
    member[which.reshape(-1), language] = True
    layer, index = rows.astype(np.int64).T
    return layer, index, member


def export_mask(
    neurons: Neurons, kinds: tuple[str, ...] = ("specific", "related")
) -> tuple[bytes, bytes]:
    """A mask for NJUNLP's or LAPE's code: a list over languages of lists over layers of indices.

    Indices are sorted int64 tensors. A neuron stands in the list of every language in which it is
    highly active. Neurons of an expert are numbered through the layer, expert * width + index.

    Args:
        neurons: what to export.
        kinds: which kinds; `general` exports all general neurons, selected or not.

    Returns:
        The content of the mask file, and of the JSON file that names languages, widths, rule and
        thresholds.

    Raises:
        InputError: for an unknown kind.
    """
    import torch

    chosen = neurons.of_kinds(kinds)
    per_expert = np.array([width[-1] for width in neurons.widths or [[0]] * neurons.layers])
    index = np.maximum(chosen.expert, 0) * per_expert[chosen.layer] + chosen.neuron

    def listed(member: NDArray[np.bool_], layer: int) -> torch.Tensor:
        indices = np.sort(index[member & (chosen.layer == layer)])
        return torch.from_numpy(indices.astype(np.int64))

    lists = [[listed(member, i) for i in range(neurons.layers)] for member in chosen.member.T]
    content = io.BytesIO()
    torch.save(lists, content)
    rule = neurons.rule
    sidecar = {
        "written_by": "langneurons",
        "languages": neurons.languages,
        "widths": neurons.widths,
        "kinds": kinds,
        "memberships": {
            code: sum(map(len, layers))
            for code, layers in zip(neurons.languages, lists, strict=True)
        },
        "rule": {
            "method": rule.method,
            "rate": rule.rate,
            "tau_quantile": rule.tau_quantile,
            "tau": rule.tau,
            "lambda": rule.lam and rule.lam.value,
            "prefilter": rule.prefilter,
        },
    }
    return content.getvalue(), (json.dumps(sidecar, indent=2) + "\n").encode()


def load_pt(path: Path) -> Any:
    """What a `.pt` file holds, read without executing anything in it.

    Raises:
        InputError: when it is not there.
        FormatError: when it is damaged, or holds more than tensors, numbers, text, lists and
            dictionaries.
    """
    import pickle

    import torch

    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("[Uu]nsupported (global|GLOBAL|class)|not an allowed global", str(error)):
            raise FormatError(
                f"{path} holds code, not only tensors, and was refused; nothing in it was executed"
            ) from None
        raise _no_torch_file(path, "damaged or no file of torch.save; fetch it again") from None
    except _DAMAGE:
        raise _no_torch_file(path, "damaged or cut short; fetch it again") from None


def _no_torch_file(path: Path, damage: str) -> FormatError:
    """The error for a file that cannot be opened: what it is instead, or that it is damaged."""
    what = foreign(path)
    if what is None or what in (PICKLE, TORCH):
        return FormatError(f"{path} is {damage}")
    return FormatError(f"{path} is {what}; a file of torch.save is needed")


def njunlp_files(folder: Path) -> list[Path]:
    """The activation files in a folder.

    Raises:
        InputError: when it is no folder or holds none.
        MismatchError: when it holds counts of several models.
    """
    full, prefix = _njunlp_files(folder)
    return sorted([*full.values(), *prefix.values()])


def lape_files(folder: Path) -> list[Path]:
    """LAPE's activation files in a folder.

    Raises:
        InputError: when it is no folder or holds none.
        MismatchError: when it holds counts of several models.
    """
    return sorted(_lape_files(folder).values())


def _njunlp_files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The activation files in a folder, and the prefix files, by language."""
    names = "activation.<language>.<model>.pt"
    found = _matches(folder, _NJUNLP_FILE, names)
    if not found:
        lape = "; those of LAPE in it are read by `import lape`"
        other = lape if _matches(folder, _LAPE_FILE, names) else ""
        raise InputError(
            f"{folder} holds no {names}{other or '; give the folder of the activation files'}"
        )
    full = {match["language"]: path for path, match in found.items() if not match["prefix"]}
    prefix = {match["language"]: path for path, match in found.items() if match["prefix"]}
    return full, prefix


def _lape_files(folder: Path) -> dict[str, Path]:
    """LAPE's activation files in a folder, by language."""
    names = "activation.<language>.train.<model>"
    found = _matches(folder, _LAPE_FILE, names)
    if not found:
        njunlp = "; those of NJUNLP in it are read by `import njunlp`"
        other = njunlp if _matches(folder, _NJUNLP_FILE, names) else ""
        raise InputError(
            f"{folder} holds no {names}"
            f"{other or '; give the folder of the activation files, or a mask'}"
        )
    return {match["language"]: path for path, match in found.items()}


def _matches(folder: Path, pattern: re.Pattern[str], names: str) -> dict[Path, re.Match[str]]:
    """The files in a folder whose names match, and how; all of one model.

    Raises:
        InputError: when it is no folder.
        MismatchError: when they are of several models.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the {names} files")
    found = {
        path: match
        for path in sorted(folder.iterdir())
        if (match := pattern.fullmatch(path.name)) and path.is_file()
    }
    models = {match["model"] for match in found.values()}
    if len(models) > 1:
        raise MismatchError(
            f"{folder} holds counts of several models: {', '.join(sorted(models))}; "
            "keep one model to a folder"
        )
    return found


def _activation(path: Path, tokens_field: str) -> tuple[NDArray[np.int64], int]:
    """`over_zero` [L, D] and the number of tokens of an activation file."""
    content = load_pt(path)
    if not isinstance(content, dict) or not {"over_zero", tokens_field} <= content.keys():
        raise FormatError(
            f"{path} is no activation file: over_zero and {tokens_field} are not in it"
        )
    over_zero = content["over_zero"]
    if not _is_plain(over_zero) or over_zero.ndim != 2 or not over_zero.numel():
        raise FormatError(f"{path}: over_zero is no matrix of layers x neurons")
    tokens = _whole_number(path, tokens_field, content[tokens_field])
    values = over_zero.detach().double().numpy()
    bad = ~((values >= 0) & (values < 2**62) & (values == np.floor(values)))
    if bad.any():
        layer, neuron = np.argwhere(bad)[0]
        raise FormatError(
            f"{path}: {bad.sum()} counts are negative, fractional or not numbers, "
            f"the first {values[layer, neuron]} in layer {layer}, neuron {neuron}; "
            "a count is 0, 1, 2, ..."
        )
    return values.astype(np.int64), tokens


def _whole_number(path: Path, field: str, value: Any) -> int:
    """The number of tokens in a field: a number, or a tensor with one.

    Raises:
        FormatError: when it is none, or no count.
    """
    if _is_plain(value) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{path}: {field} is no number")
    if not 0 <= value < 2**62 or value != int(value):
        raise FormatError(f"{path}: {field} is {value!r}; a whole number from 0 up is needed")
    return int(value)


def _is_plain(value: Any) -> bool:
    """Whether this is a tensor of real numbers whose values lie one after the other in memory."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_nested or value.is_meta or value.is_complex())
        and value.dtype is not torch.bool
    )


def _shapes(first: Path, a: NDArray, second: Path, b: NDArray) -> str:
    return (
        f"shapes differ: {' x '.join(map(str, a.shape))} in {first.name}, "
        f"{' x '.join(map(str, b.shape))} in {second.name}; "
        "all files of a folder must be of one model"
    )


def _mask(path: Path) -> list[list[NDArray[np.int64]]]:
    """The indices in a mask, language by language, layer by layer."""
    content = load_pt(path)
    if isinstance(content, dict) and "over_zero" in content:
        raise FormatError(f"{path} holds counts and is no mask; give the folder it is in")
    if not _is_mask(content):
        raise FormatError(
            f"{path} is no mask: a list over languages of lists over layers of indices is needed"
        )
    lists = [[indices.reshape(-1).long().numpy() for indices in layers] for layers in content]
    if any(indices.size and indices.min() < 0 for layers in lists for indices in layers):
        raise FormatError(f"{path} lists negative neuron indices; they start at 0")
    return lists


def _is_mask(content: Any) -> bool:
    """Whether this is a list of equally long lists, not empty, of tensors of integers.

    An empty tensor may be of any type: `torch.tensor([])` is of floats.
    """
    if not isinstance(content, list) or not content:
        return False
    if not all(isinstance(layers, list) and layers for layers in content):
        return False
    if len({len(layers) for layers in content}) != 1:
        return False
    return all(
        _is_plain(indices)
        and indices.ndim <= 1
        and not (indices.is_floating_point() and indices.numel())
        for layers in content
        for indices in layers
    )


def _sidecar(path: Path, layers: int) -> dict[str, Any] | None:
    """The languages and widths that a JSON file of ours beside a mask of so many layers names."""
    beside = path.with_name(path.name + ".json")
    if not beside.is_file():
        return None
    damaged = FormatError(f"{beside} is damaged; remove it and name the languages with --languages")
    try:
        content = artifacts.parsed(beside.read_text("utf-8-sig"))
    except ValueError:
        raise damaged from None
    if not isinstance(content, dict) or "written_by" not in content:
        raise damaged
    if content["written_by"] != "langneurons":
        return None
    if not _are_languages(content.get("languages")):
        raise damaged
    if content.get("widths") and not _are_widths(content["widths"], layers):
        raise damaged
    return {"languages": content["languages"], "widths": content.get("widths")}


def _are_languages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(code, str) and code for code in value)


def _are_widths(value: Any, layers: int) -> bool:
    """Whether this is a list of (width,) or (experts, width), one for each layer."""
    return (
        isinstance(value, list)
        and len(value) == layers
        and all(isinstance(width, list) and len(width) in (1, 2) for width in value)
        and all(type(size) is int and size > 0 for width in value for size in width)
    )
