"""Sites: where a model's feed-forward activations are, to be read and switched off by `hooks`.

They are found by structure, in the layers of the decoder, outside of what mixes tokens and outside
of norms: activation modules with a linear layer into the residual stream beside them, experts, and
modules that apply their activation as a bare function. One site per layer, of which some have
nothing to read (hybrids keep layers of attention or state space alone), or a refusal that says what
was seen. Letters: L layer, D neuron of a dense layer, E expert, I neuron of an expert.
"""

import inspect
import math
import re
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from torch import nn

from langneurons.errors import SiteError
from langneurons.model.experts import (
    Stacked,
    common_experts,
    has_common_form,
    looped_experts,
)
from langneurons.model.gates import Gate, find_gate
from langneurons.model.parts import Activated, Functional, Normed, Part

ACTIVATIONS = ("act_fn", "activation_fn", "act", "activation", "gelu_impl")
"""What the activation module of a feed-forward is called in transformers; others are known by their
class."""

DOWNS = ("down_proj", "fc2", "c_proj", "dense_4h_to_h", "fc_out", "output_linear")
"""What the projection back to the residual stream is called; it decides where several linear layers
lead there."""


@dataclass(frozen=True, eq=False)
class Site:
    """Where one decoder layer's activations are read and silenced.

    Shared experts, to which every token goes, count as experts after the routed ones: a layer with
    64 routed experts of I neurons and shared ones of 2 * I has E = 66. So every neuron has one
    address, (layer, expert, neuron).

    Attributes:
        layer: number of the decoder layer, which is the site's place among all sites too.
        path: name of the feed-forward module (the routed experts where there are any), as in
            `model.named_modules()`; of the layer, where it has none.
        shape: (D,) of a dense layer, (E, I) of a mixture of experts, (0,) of a layer without a
            feed-forward.
        parts: what it is read from, in the order of its neurons; none in a layer without a
            feed-forward.
        module: the decoder layer.
    """

    layer: int
    path: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    module: nn.Module

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of each part's first neuron, experts counted through."""
        sizes = [math.prod(part.shape) for part in self.parts]
        return tuple(sum(sizes[:i]) for i in range(len(sizes)))


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """The sites of a causal language model: one per decoder layer, in order.

    The model may be bare, with its head, wrapped by PEFT, or the language part of one that takes
    images too.

    Raises:
        SiteError: when there is no one list of decoder layers, or no layer has a place to read, or
            one has several or one that cannot be read; it says what was seen.
    """
    config = getattr(model, "config", None)
    name = type(model).__name__
    if getattr(config, "is_encoder_decoder", False):
        raise SiteError(f"{name} is an encoder with a decoder; a causal language model is needed")
    text: Any = config.get_text_config() if hasattr(config, "get_text_config") else config
    depth = getattr(text, "num_hidden_layers", None)
    hidden = getattr(text, "hidden_size", None)
    lists = _lists_of_modules(model)
    if depth == 0:
        raise SiteError(f"{name} has no decoder layer; its config says so")
    fitting = [(path, layers) for path, layers in lists if depth in (None, len(layers))]
    tried: list[tuple[Site, ...] | SiteError] = []
    for path, layers in fitting or lists:
        try:
            tried.append(_sites(path, layers, hidden))
        except SiteError as error:
            tried.append(error)
    found = [sites for sites in tried if not isinstance(sites, SiteError)]
    if len(found) == 1:
        return found[0]
    if len(tried) == 1 and fitting:
        raise tried[0]  # ty: ignore[invalid-raise]
    seen = ", ".join(f"{path} ({len(layers)})" for path, layers in lists) or "none"
    raise SiteError(
        f"{name} has no one list of decoder layers; lists of modules seen: {seen}; layers in "
        f"its config: {depth}; a causal language model that keeps its layers in one "
        "nn.ModuleList is needed"
    )


def feed_forwards(site: Site) -> list[nn.Module]:
    """All modules of a layer that lie in something which holds a part of its site and no mixer.

    Without routers, which have no neurons and weigh what has none too (LongCat's identities).
    """
    chains: list[list[nn.Module]] = []
    own = {id(module) for part in site.parts for module in part.modules}

    def climb(above: list[nn.Module]) -> None:
        if id(above[-1]) in own:
            chains.append(above)
            return
        for child in above[-1].children():
            climb([*above, child])

    climb([site.module])
    tops = [
        next(module for module in chain[1:] if not any(mixes(m) for m in module.modules()))
        for chain in chains
    ]
    found = {id(module): module for top in tops for _, module in _inside("", top)}
    routers = [module for module in found.values() if "Router" in type(module).__name__]
    inside = {id(module) for router in routers for module in router.modules()}
    return [module for place, module in found.items() if place not in inside]


_Named = tuple[str, nn.Module]
"""A module with its path in the model."""


class _Linear(NamedTuple):
    """A linear layer of any kind, with its path."""

    path: str
    module: nn.Module
    width: int
    after: int


_TOWERS = re.compile("vision|visual|image|audio|cross")
"""What the names of towers hold that lie in the decoder (GIT), of experts that only images go to
(Ernie 4.5 VL), and of layers that look at images (Idefics)."""


def decoder_path(model: nn.Module) -> str:
    """Name of the decoder in a model, which may have towers for images beside it; empty for all."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()  # of PEFT's wrapper
    decoder = inner.get_decoder() if hasattr(inner, "get_decoder") else model
    return next((path for path, module in model.named_modules() if module is decoder), "")


def _lists_of_modules(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """The outermost lists of modules of the decoder, or, where that has none, of the model."""
    path = decoder_path(model)
    outer: list[tuple[str, nn.ModuleList]] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{above}.") for above, _ in outer)
        if isinstance(module, nn.ModuleList) and not inside:
            outer.append((name, module))
    inside = [part for part in outer if _is_below(part[0], [path])] or outer
    return [part for part in inside if not _TOWERS.search(part[0])] or inside


def _is_below(path: str, others: Iterable[str]) -> bool:
    """Whether a path is one of these, or that of a part of it."""
    return any(not other or f"{path}.".startswith(f"{other}.") for other in others)


def _sites(path: str, layers: nn.ModuleList, hidden: int | None) -> tuple[Site, ...]:
    """The sites of a list of layers; SiteError when it has none."""
    times = Counter(id(module) for layer in layers for module in layer.modules())
    shared = {place for place, count in times.items() if count > 1}
    forms: dict[Any, Gate | None] = {}
    sites = []
    for number, layer in enumerate(layers):
        search = _Search(f"{path}.{number}", layer, hidden, shared, forms)
        sites.append(search.site(number))
    if not any(site.parts for site in sites):
        raise _no_feed_forward(f"{path}.0", layers[0])
    return tuple(sites)


@cache
def _takes(kind: type[nn.Module], *names: str) -> bool:
    """Whether the forward of a class of modules takes one of these."""
    return not {*inspect.signature(kind.forward).parameters}.isdisjoint(names)


_OF_MIXERS = (
    "attention_mask",
    "attn_mask_h",
    "cache",
    "past_key_values",
    "layer_past",
    "cache_params",
    "position_embeddings",
    "position_bias",
    "alibi",
)
"""What a module takes that mixes tokens: it tells of others, or of where they are."""


def mixes(module: nn.Module) -> bool:
    """Whether a module mixes tokens."""
    return _takes(type(module), *_OF_MIXERS)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm, by its class; RobertaPreLayerNorm is a model."""
    return "norm" in type(module).__name__.lower().replace("prelayernorm", "")


def _inside(path: str, module: nn.Module) -> Generator[_Named]:
    """A module and what it holds, but for mixers, norms, towers and what adapters add or replace.

    Of modules that mix tokens and hold others that do, the inner ones are the mixers.
    """
    yield path, module
    for name, child in module.named_children():
        if _is_norm(child) or _TOWERS.search(name):
            continue
        if mixes(child) and not any(mixes(part) for part in child.modules() if part is not child):
            continue
        if hasattr(module, "base_layer") and name != "base_layer":
            continue  # PEFT keeps what it adds to a layer around it
        if hasattr(module, "modules_to_save") and not _is_used(module, name):
            continue
        yield from _inside(f"{path}.{name}", child)


def _is_used(wrapper: Any, name: str) -> bool:
    """Whether PEFT's wrapper around a replaced module runs the child of that name."""
    replaced = not getattr(wrapper, "disable_adapters", False) and wrapper.active_adapters
    return (name == "original_module") != bool(replaced)


@dataclass(frozen=True)
class _Search:
    """The search for the site of one decoder layer.

    Attributes:
        path: name of the layer.
        layer: the layer.
        hidden: width of the residual stream; None where the config does not say.
        shared: what several layers share.
        forms: gates found so far, by class and widths of the module.
    """

    path: str
    layer: nn.Module
    hidden: int | None
    shared: set[int]
    forms: dict[Any, Gate | None]

    def site(self, number: int) -> Site:
        """The site; SiteError when it cannot be read."""
        inside = list(_inside(self.path, self.layer))
        banks = [part for part in inside if _holds_experts(part[1])]
        banks = [part for part in banks if not _is_below(part[0], _others(part, banks))]
        experts = [self._experts(*part) for part in banks]
        outside = [part for part in inside if not _is_below(part[0], [name for name, _ in banks])]
        dense = self._dense(outside, [name for name, _ in banks])
        if not experts and len(dense) > 1:
            names = ", ".join(part.path for part in dense)
            raise SiteError(
                f"{self.path} has several places where a feed-forward could be read, one is "
                f"needed: {names}"
            )
        parts = (*experts, *dense)
        if parts:
            _refuse_other_banks(outside)
        elif any(w.ndim > 1 for _, module in outside for w in module.parameters(recurse=False)):
            raise _no_feed_forward(self.path, self.layer)
        path = parts[0].path if parts else self.path
        return Site(number, path, shape=_shape(parts), parts=parts, module=self.layer)

    def _experts(self, path: str, module: nn.Module) -> Part:
        """A bank of experts, of one of three forms."""
        if has_common_form(module):
            return common_experts(path, module)
        activations = [part for _, part in module.named_modules() if _is_activation("", part)]
        if len(activations) == 1 and self.hidden is not None:
            if _takes(type(module), "top_k_index"):
                return looped_experts(path, module, activations[0], self.hidden)
            weight: Any = getattr(module, "down_proj", None)
            if weight is not None and weight.ndim == 3 and self.hidden in weight.shape[1:]:
                # [E, I, hidden], or [E, hidden, I]
                width = weight.shape[1] if weight.shape[2] == self.hidden else weight.shape[2]
                return Stacked(path, (weight.shape[0], width), module, activations[0])
        raise SiteError(
            f"{path} ({type(module).__name__}) holds experts of a form that langneurons cannot read"
        )

    def _dense(self, parts: Sequence[_Named], banks: Sequence[str]) -> list[Part]:
        """What every token goes through, beside experts of these paths.

        It is looked for below the layer; where there is nothing, in the layer itself.
        """
        below = parts[1:]
        found = [part for place in below for part in self._beside(*place, deep=False)]
        taken = [*banks, *(part.path for part in found)]
        for path, module in below:
            if not _is_below(path, taken) and not any(_is_below(name, [path]) for name in taken):
                found += self._functional(path, module)
        if found or banks:
            return found
        itself = (self.path, self.layer)
        found = list(self._beside(*itself, deep=False))
        for place in (*reversed(below), itself):  # inner ones come before those that hold them
            found = found or list(self._beside(*place, deep=True))
        return found or list(self._functional(*itself))

    def _beside(self, path: str, module: nn.Module, *, deep: bool) -> Generator[Part]:
        """Each activation module in a module that has its down projection there too.

        `deep`: they may lie further inside.
        """
        places = list(_inside(path, module)) if deep else _children(path, module)
        activations = [part for part in places if _is_activation(*part)]
        downs = [linear for linear in _linears(places) if self.hidden in (linear.after, None)]
        if len(downs) > 1:
            named = [down for down in downs if down.path.rpartition(".")[2] in DOWNS]
            downs = named or [down for down in downs if down.width != down.after] or downs
        for _, activation in activations if downs else ():
            down = downs[-1]
            # in opt and its like the feed-forward lies in the layer itself, beside its norms
            inner = module is not self.layer and any(_is_norm(part) for part in module.children())
            kind = Normed if inner else Activated
            yield kind(
                path=path,
                shape=(down.width,),
                activation=activation,
                down=down.module,
                within=self._within(activation),
            )

    def _functional(self, path: str, module: nn.Module) -> Generator[Part]:
        """The part of a module that applies its activation as a bare function, if it does."""
        children = _linears(_children(path, module))
        linears = {part.path.rpartition(".")[2]: (part.width, part.after) for part in children}
        leads_back = any(after == self.hidden for _, after in linears.values())
        if self.hidden is None or len(linears) < 2 or not leads_back:
            return
        if any(_is_norm(part) for part in module.children()) and module is not self.layer:
            return
        form = (type(module), *linears.items())
        if form not in self.forms:
            dtype = next(w.dtype for w in self.layer.parameters() if w.is_floating_point())
            self.forms[form] = find_gate(module, linears, self.hidden, dtype)
        if gate := self.forms[form]:
            yield Functional(
                path=path,
                shape=(gate.width,),
                gate=module.get_submodule(gate.gate),
                columns=gate.columns,
                down=module.get_submodule(gate.down),
                within=self._within(module.get_submodule(gate.gate)),
            )

    def _within(self, module: nn.Module) -> nn.Module | None:
        return self.layer if id(module) in self.shared else None


def _shape(parts: Sequence[Part]) -> tuple[int, ...]:
    """The shape of a layer of these parts: those of experts decide how wide an expert is."""
    if not parts:
        return (0,)
    shape = parts[0].shape
    if len(shape) == 1:
        return shape
    width, neurons = shape[-1], sum(math.prod(part.shape) for part in parts)
    for part in parts:
        if part.shape[-1] % width or (len(part.shape) == 2 and part.shape[-1] != width):
            raise SiteError(
                f"{parts[0].path} has experts of {width} neurons beside {part.path} of "
                f"{part.shape[-1]}, no multiple of that"
            )
    return neurons // width, width


def _children(path: str, module: nn.Module) -> list[_Named]:
    return [(f"{path}.{name}", child) for name, child in module.named_children()]


def _others(part: _Named, parts: Sequence[_Named]) -> list[str]:
    return [path for path, _ in parts if path != part[0]]


@cache
def _activation_classes() -> tuple[type[nn.Module], ...]:
    """Classes of modules that are activation functions."""
    from transformers.activations import ACT2CLS

    kinds = [kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values()]
    return tuple({kind for kind in kinds if isinstance(kind, type)} - {nn.Sigmoid})  # that gates


def _is_activation(path: str, module: nn.Module) -> bool:
    name = path.rpartition(".")[2]
    leaf = not any(module.children())
    return isinstance(module, _activation_classes()) or (name in ACTIVATIONS and leaf)


def _holds_experts(module: nn.Module) -> bool:
    """Whether a module holds several experts in its tensors."""
    stacked = getattr(getattr(module, "down_proj", None), "ndim", 0) == 3
    return stacked or (_takes(type(module), "top_k_index") and any(True for _ in module.children()))


def _linears(parts: Iterable[_Named]) -> list[_Linear]:
    """The linear layers among modules: of any kind, or GPT-2's Conv1D; not what is inside one."""
    found: list[_Linear] = []
    for path, module in parts:
        for names in (("in_features", "out_features"), ("nx", "nf")):
            into, after = (getattr(module, name, None) for name in names)
            whole = isinstance(into, int) and isinstance(after, int)
            if whole and not _is_below(path, [linear.path for linear in found]):
                found.append(_Linear(path, module, into, after))
    return found


def _no_feed_forward(path: str, layer: nn.Module) -> SiteError:
    """What is told of a layer with no place to read."""
    children = ", ".join(
        f"{name} ({type(child).__name__})" for name, child in layer.named_children()
    )
    return SiteError(
        f"{path} has no feed-forward that can be read: no activation with a linear layer back into "
        f"the residual stream behind it, and no experts; it holds {children}"
    )


def _refuse_other_banks(parts: Sequence[_Named]) -> None:
    """Stop at what may be experts of another form: they would be left out without a word."""
    for name, module in parts:
        if isinstance(module, nn.modules.conv._ConvNd):
            continue
        for key, weight in module.named_parameters(recurse=False):
            if sum(size > 1 for size in weight.shape) > 2:
                raise SiteError(
                    f"{name} ({type(module).__name__}) holds {key} {list(weight.shape)}: a bank of "
                    "weights, perhaps experts, of a form that langneurons cannot read"
                )
