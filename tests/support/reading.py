"""Reading tiny models, and editing their weights by names written down by hand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from langneurons.model.experts import Common
from langneurons.model.hooks import Reading, watch
from langneurons.model.parts import Activated
from langneurons.model.sites import Site, find_sites
from support.families import FAMILIES, build

IDS = torch.randint(3, 96, (2, 7), generator=torch.Generator().manual_seed(1))


class Bytes:
    """A tokenizer of bytes, for models that have none."""

    pad_token_id = 0

    def get_vocab(self) -> dict[str, int]:
        return {str(token): token for token in range(93)}

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [3 + byte % 90 for byte in text.encode()][:40]}


def logits(model: nn.Module, ids: Tensor = IDS, **inputs: Any) -> Tensor:
    return model(input_ids=ids, use_cache=False, **inputs).logits


def read(model: nn.Module, run: Callable[..., Any] = logits, **inputs: Any) -> list[list[Reading]]:
    """All readings of one forward, by site, copied."""
    sites = find_sites(model)
    found: list[list[Reading]] = [[] for _ in sites]
    with watch(sites, lambda r: found[r.site].append(r._replace(values=r.values.clone()))):
        run(model, **inputs)
    return found


def some(sites: tuple[Site, ...], rows: int | None = None) -> list[Tensor]:
    """About a third of the neurons of every site; for each of so many rows another third."""
    generator = torch.Generator().manual_seed(2)
    shape = () if rows is None else (rows,)
    return [torch.rand(*shape, *site.shape, generator=generator) < 1 / 3 for site in sites]


def edited(name: str, masks: list[Tensor]) -> nn.Module:
    """The family's model with masked columns of down projections zero, by written names."""
    model, family = build(name), FAMILIES[name]
    for layer, mask in enumerate(masks):
        routed = mask
        if mask.ndim == 2:
            experts = model.get_submodule(family.experts.format(layer))
            routed, shared = mask[: experts.num_experts], mask[experts.num_experts :]
            weight = experts.down_proj  # [E, hidden, I], in gpt_oss [E, I, hidden]
            (weight if name == "gpt_oss" else weight.mT)[routed] = 0
            if not len(shared):
                continue
            mask = shared.flatten()
        down = model.get_submodule(place(name, layer, family.down))
        (down.weight if name == "gpt2" else down.weight.mT)[mask] = 0
    return model


class Modules(NamedTuple):
    """What a site of known families consists of; None where it has none."""

    activation: nn.Module | None = None
    down: nn.Module | None = None
    experts: nn.Module | None = None
    routed: int = 0


def modules(site: Site) -> Modules:
    """The modules of a site, by what they are."""
    found = Modules()
    for part in site.parts:
        if isinstance(part, Activated):
            found = found._replace(activation=part.activation, down=part.down)
        if isinstance(part, Common):
            found = found._replace(experts=part.module, routed=part.shape[0])
    return found


def place(name: str, layer: int, path: str) -> str:
    """A hand-written path; the dense first layer of deepseek_v3 is not under `shared_experts`."""
    return path.format(layer).replace("shared_experts.", "" if layer == 0 else "shared_experts.")


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
