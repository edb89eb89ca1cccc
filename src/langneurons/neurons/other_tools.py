"""Formats: other tools' files, in and out.

- NJUNLP (Language-Neurons-Alignment, the paper's code): counts, one `activation.<lang>.<model>.pt`
  and one `prefix.activation.<lang>.<model>.pt` per language; the language stands only in the file
  name.
- LAPE (Language-Specific-Neurons) and NJUNLP masks: a list over languages of a list over layers of
  index tensors, with no language, width or rule inside. They are the same type; we write them with
  a JSON file beside them that names all.

Files are opened with `weights_only`: nothing in them is ever executed.
"""

import io
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.neurons.counts import Counts
from langneurons.neurons.table import Neurons, Rule

NJUNLP_LANGUAGES = ("en", "ru", "es", "fr", "de", "zh", "ja", "bn", "th", "sw")
"""Order of the languages in the paper's released masks."""

LAPE_LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
"""Order of the languages in LAPE's released masks that hold seven lists (their README)."""

_FILE = re.compile(r"(?P<prefix>prefix\.)?activation\.(?P<language>[^.]+)\.(?P<model>.+)\.pt")


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
    """Counts from a folder of NJUNLP activation files: prompt-and-response counts minus prompt counts.

    The two were tokenised apart, so a few differences are negative (set to 0, as the released code
    does) and a few exceed the number of tokens (left alone); both are reported per language.

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
        known = [code for code in NJUNLP_LANGUAGES if code in full or code in prefix]
        languages = (*known, *sorted((full.keys() | prefix.keys()) - set(known)))
    for code in languages:
        for files, name, other in (
            (full, "activation", "prefix.activation"),
            (prefix, "prefix.activation", None),
        ):
            if code not in files:
                why = f"; {other}.{code} alone cannot be used" if other and code in prefix else ""
                raise InputError(
                    f"{folder} has no {name}.{code}.<model>.pt{why}; add it or leave {code} out of --languages"
                )
    rows, report = [], []
    for code in languages:
        (all_active, all_tokens), (prompt_active, prompt_tokens) = (
            _activation(full[code]),
            _activation(prefix[code]),
        )
        if all_active.shape != prompt_active.shape:
            raise MismatchError(_shapes(full[code], all_active, prefix[code], prompt_active))
        if rows and all_active.shape != rows[0].shape:
            raise MismatchError(_shapes(full[languages[0]], rows[0], full[code], all_active))
        active, tokens = all_active - prompt_active, all_tokens - prompt_tokens
        if tokens <= 0:
            raise InputError(
                f"{full[code]} has {all_tokens} tokens, its prefix file {prompt_tokens}: no response token is left for "
                f"{code}; leave it out of --languages or count it again"
            )
        report.append(
            ImportedLanguage(code, tokens, int((active < 0).sum()), int((active > tokens).sum()))
        )
        rows.append(np.maximum(active, 0))
    stacked = np.stack(rows)  # K L D
    layers = tuple(
        np.ascontiguousarray(stacked[:, None, layer]) for layer in range(stacked.shape[1])
    )
    tokens = np.array([[row.tokens] for row in report], dtype=np.int64)
    return Counts(languages, layers, tokens, block_rule="one block"), report


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
    lists = _mask(path)
    sidecar = _sidecar(path)
    assumed: tuple[str, ...] = ()
    if languages is None and sidecar:
        languages = tuple(sidecar["languages"])
    elif languages is None and len(lists) == len(default):
        languages = assumed = default
    if languages is None:
        raise InputError(
            f"{path} holds {len(lists)} lists and does not say of which languages; name them in order with --languages"
        )
    if len(languages) != len(lists) or len(set(languages)) != len(languages):
        raise InputError(
            f"{path} holds {len(lists)} lists; --languages names {len(languages)}: {','.join(languages)}"
        )
    widths = sidecar["widths"] if sidecar else None
    if width is not None:
        widths = [[width]] * len(lists[0])
    rows = {
        (layer, int(index)): None
        for layer in range(len(lists[0]))
        for index in np.unique(np.concatenate([lists[k][layer] for k in range(len(lists))]))
    }
    at = {key: i for i, key in enumerate(rows)}
    member = np.zeros((len(rows), len(languages)), dtype=bool)
    for k, layers in enumerate(lists):
        for layer, indices in enumerate(layers):
            if widths and indices.size and indices.max() >= math.prod(widths[layer]):
                raise InputError(
                    f"{path} lists neuron {indices.max()} in layer {layer}, which is {math.prod(widths[layer])} wide; "
                    "check --width"
                )
            member[[at[layer, int(index)] for index in indices], k] = True
    layer, index = (np.array([key[i] for key in rows], dtype=np.int64) for i in range(2))
    experts = np.array(
        [width[-1] if len(width) == 2 else 0 for width in widths or [[0]] * len(lists[0])]
    )[layer]
    unknown = np.full(len(rows), np.nan)
    return Neurons(
        languages,
        tuple(map(tuple, widths)) if widths else None,
        Rule("imported"),
        layer,
        np.where(experts > 0, index // np.maximum(experts, 1), -1),
        np.where(experts > 0, index % np.maximum(experts, 1), index),
        member,
        np.ones(len(rows), dtype=bool),
        unknown,
        unknown,
        np.full(member.shape, np.nan),
        unknown,
    ), assumed


def export_mask(
    neurons: Neurons, kinds: tuple[str, ...] = ("specific", "related")
) -> tuple[bytes, bytes]:
    """A mask for NJUNLP's or LAPE's code: list over languages of list over layers of sorted int64 index tensors.

    A neuron stands in the list of every language in which it is highly active. Neurons of an expert
    are numbered through the layer, expert * width + index.

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
    inner = np.array([width[-1] for width in neurons.widths or [[0]] * neurons.layers])
    flat = np.maximum(chosen.expert, 0) * inner[chosen.layer] + chosen.neuron
    lists = [
        [
            torch.from_numpy(np.sort(flat[member & (chosen.layer == layer)]).astype(np.int64))
            for layer in range(neurons.layers)
        ]
        for member in chosen.member.T
    ]
    out = io.BytesIO()
    torch.save(lists, out)
    rule = neurons.rule
    sidecar = {
        "written_by": "langneurons",
        "languages": neurons.languages,
        "widths": neurons.widths,
        "kinds": kinds,
        "memberships": {
            code: sum(len(x) for x in lists[k]) for k, code in enumerate(neurons.languages)
        },
        "rule": {
            "method": rule.method,
            "rate": rule.rate,
            "tau_quantile": rule.tau_quantile,
            "tau": rule.tau,
        }
        | {"lambda": rule.lam and rule.lam.value, "prefilter": rule.prefilter},
    }
    return out.getvalue(), (json.dumps(sidecar, indent=2) + "\n").encode()


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
        raise FormatError(f"{path} is damaged or no file of torch.save; fetch it again") from None
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OSError,
    ):
        raise FormatError(f"{path} is damaged or cut short; fetch it again") from None


def njunlp_files(folder: Path) -> list[Path]:
    """The activation files in a folder.

    Raises:
        InputError: when it is no folder or holds none.
        MismatchError: when it holds counts of several models.
    """
    full, prefix = _njunlp_files(folder)
    return sorted([*full.values(), *prefix.values()])


def _njunlp_files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; give the folder of the activation.<language>.<model>.pt files"
        )
    full: dict[str, Path] = {}
    prefix: dict[str, Path] = {}
    models: set[str] = set()
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match:
            (prefix if match["prefix"] else full)[match["language"]] = path
            models.add(match["model"])
    if not models:
        raise InputError(
            f"{folder} holds no activation.<language>.<model>.pt; give the folder of the activation files"
        )
    if len(models) > 1:
        raise MismatchError(
            f"{folder} holds counts of several models: {', '.join(sorted(models))}; keep one model to a folder"
        )
    return full, prefix


def _activation(path: Path) -> tuple[NDArray[np.int64], int]:
    """`over_zero` [L, D] and `total_tokens` of an activation file."""
    import torch

    content = load_pt(path)
    if not isinstance(content, dict) or not {"over_zero", "total_tokens"} <= content.keys():
        raise FormatError(f"{path} is no activation file: over_zero and total_tokens are not in it")
    over_zero, tokens = content["over_zero"], content["total_tokens"]
    if (
        not isinstance(over_zero, torch.Tensor)
        or over_zero.ndim != 2
        or over_zero.is_sparse
        or over_zero.is_complex()
    ):
        raise FormatError(f"{path}: over_zero is no matrix of layers x neurons")
    try:
        total = int(tokens)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise FormatError(f"{path}: total_tokens is no number") from None
    values = over_zero.double().numpy()
    bad = ~np.isfinite(values) | (values < 0) | (values != np.floor(values))
    if bad.any():
        layer, neuron = np.argwhere(bad)[0]
        raise FormatError(
            f"{path}: {bad.sum()} counts are negative, fractional or not numbers, the first {values[layer, neuron]} "
            f"in layer {layer}, neuron {neuron}; a count is 0, 1, 2, ..."
        )
    return over_zero.numpy().astype(np.int64), total


def _shapes(first: Path, a: NDArray, second: Path, b: NDArray) -> str:
    return (
        f"shapes differ: {' x '.join(map(str, a.shape))} in {first.name}, {' x '.join(map(str, b.shape))} in "
        f"{second.name}; all files of a folder must be of one model"
    )


def _mask(path: Path) -> list[list[NDArray[np.int64]]]:
    import torch

    content = load_pt(path)
    lists = []
    for layers in content if isinstance(content, list) else []:
        if not isinstance(layers, list) or not all(
            isinstance(x, torch.Tensor) and x.ndim <= 1 and not x.is_floating_point()
            for x in layers
        ):
            break
        lists.append([np.atleast_1d(x.numpy()).astype(np.int64) for x in layers])
    if (
        not lists
        or len(lists) != len(content)
        or len({len(layers) for layers in lists}) != 1
        or not lists[0]
    ):
        raise FormatError(
            f"{path} is no mask: a list over languages of lists over layers of indices is needed"
        )
    if any(x.size and x.min() < 0 for layers in lists for x in layers):
        raise FormatError(f"{path} lists negative neuron indices; they start at 0")
    return lists


def _sidecar(path: Path) -> dict[str, Any] | None:
    beside = path.with_name(path.name + ".json")
    if not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text("utf-8"))
        return content if content["written_by"] == "langneurons" else None
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            f"{beside} is damaged; remove it and name the languages with --languages"
        ) from None
