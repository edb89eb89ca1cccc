"""Sites: where a model's feed-forward activations are, to be read and switched off by `hooks`.

A site is found by structure: the activation module and the down projection that lie beside each
other in a decoder layer, or the experts module of a mixture of experts, which transformers gives
one common form. One site per layer, or a refusal that says what was seen. Letters: L layer, D
neuron of a dense layer, E expert, I neuron of an expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from langneurons.errors import SiteError
from langneurons.model.experts import expert_shape

ACTIVATIONS = ("act_fn", "activation_fn", "act", "activation", "gelu_impl")
"""What the activation module of a feed-forward is called in transformers; a hook needs a module,
not a function."""

DOWNS = ("down_proj", "fc2", "c_proj", "dense_4h_to_h", "fc_out", "output_linear")
"""What the projection back to the residual stream is called beside it."""


@dataclass(frozen=True, eq=False)
class Site:
    """Where one decoder layer's activations are read and silenced.

    Shared experts, to which every token goes, count as experts after the routed ones: a layer with
    64 routed experts of I neurons and shared ones of 2 * I has E = 66. So every neuron has one
    address, (layer, expert, neuron).

    Attributes:
        layer: number of the decoder layer.
        path: name of the feed-forward module (the routed experts where there are any), as in
            `model.named_modules()`.
        shape: (D,) of a dense layer, (E, I) of a mixture of experts.
        activation: module that gives the activations of a dense layer or of the shared experts;
            else None.
        down: the down projection after it; else None.
        experts: module of the routed experts; else None.
    """

    layer: int
    path: str
    shape: tuple[int, ...]
    activation: nn.Module | None
    down: nn.Module | None
    experts: nn.Module | None

    @property
    def routed(self) -> int:
        """How many of the experts are routed to; the rest are shared. 0 in a dense layer."""
        return 0 if self.experts is None else int(self.experts.num_experts)  # ty: ignore[invalid-argument-type]


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """The sites of a causal language model: one per decoder layer, in order.

    The model may be bare, with its head or wrapped by PEFT.

    Raises:
        SiteError: when there is no one list of decoder layers, or a layer has none or several
            places to read, or one that cannot be read; it says what was seen.
    """
    path, layers, hidden = _decoder_layers(model)
    if not len(layers):
        raise SiteError(f"{type(model).__name__} has no decoder layer; its config says so")
    return tuple(_site(i, f"{path}.{i}", layer, hidden) for i, layer in enumerate(layers))


class _Dense(NamedTuple):
    """A feed-forward that every token goes through: of a dense layer, or the shared experts."""

    path: str
    module: nn.Module
    activation: nn.Module
    down: nn.Module
    width: int


_Named = tuple[str, nn.Module]
"""A module with its path in the model."""


def _decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList, int | None]:
    """Name and modules of the decoder layers, and the hidden size.

    They are the outermost list of modules that is as long as the config says.
    """
    config = getattr(model, "config", None)
    name = type(model).__name__
    if getattr(config, "is_encoder_decoder", False):
        raise SiteError(f"{name} is an encoder with a decoder; a causal language model is needed")
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    depth = getattr(text, "num_hidden_layers", None)
    outer: list[tuple[str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{above}.") for above, _ in outer)
        if isinstance(module, nn.ModuleList) and not inside:
            outer.append((path, module))
    fitting = [(path, layers) for path, layers in outer if depth in (None, len(layers))]
    if len(fitting) != 1:
        lists = ", ".join(f"{path} ({len(layers)})" for path, layers in outer) or "none"
        raise SiteError(
            f"{name} has no one list of decoder layers; lists of modules seen: {lists}; layers in "
            f"its config: {depth}; a causal language model that keeps its layers in one "
            "nn.ModuleList is needed"
        )
    path, layers = fitting[0]
    return path, layers, getattr(text, "hidden_size", None)


def _site(number: int, path: str, layer: nn.Module, hidden: int | None) -> Site:
    """The one site of a decoder layer.

    SiteError when there is none, or more than one, or one that cannot be read.
    """
    parts = [(f"{path}.{name}".rstrip("."), module) for name, module in layer.named_modules()]
    experts = [(name, module) for name, module in parts if _holds_experts(module)]
    outside = [part for part in parts if not _is_inside(part, experts)]
    dense = [found for part in outside for found in _dense_in(part, hidden)]
    if len(experts) > 1 or len(dense) > 1:
        names = ", ".join([name for name, _ in experts] + [found.path for found in dense])
        raise SiteError(
            f"{path} has several places where a feed-forward could be read, one is needed: {names}"
        )
    if not experts and not dense:
        raise _no_feed_forward(path, layer)
    _refuse_other_banks(outside)
    feed_forward = dense[0] if dense else None
    if feed_forward and feed_forward.path != path:
        # in opt and its like the feed-forward lies in the layer itself, beside its norms
        _refuse_norms(feed_forward)
    width = feed_forward.width if feed_forward else 0
    if experts:
        where, module = experts[0]
        shape: tuple[int, ...] = expert_shape(where, module, width)
    else:
        where, module, shape = dense[0].path, None, (width,)
    return Site(
        layer=number,
        path=where,
        shape=shape,
        activation=feed_forward.activation if feed_forward else None,
        down=feed_forward.down if feed_forward else None,
        experts=module,
    )


def _holds_experts(module: nn.Module) -> bool:
    """Whether a module holds the down projections of several experts in one tensor."""
    return getattr(getattr(module, "down_proj", None), "ndim", 0) == 3


def _is_inside(part: _Named, others: Sequence[_Named]) -> bool:
    """Whether a module is one of these, or in one of them."""
    return any(f"{part[0]}.".startswith(f"{name}.") for name, _ in others)


def _dense_in(part: _Named, hidden: int | None) -> list[_Dense]:
    """Each activation with a down projection beside it, directly in this module."""
    path, module = part
    children = dict(module.named_children())
    activations = [child for name, child in children.items() if name in ACTIVATIONS]
    downs = [child for name, child in children.items() if name in DOWNS]
    found = []
    for activation in activations:
        for down in downs:
            width, width_after = _widths(path, down)
            if hidden in (
                width_after,
                None,
            ):  # a router's ends elsewhere than in the residual stream
                found.append(_Dense(path, module, activation, down, width))
    return found


def _widths(path: str, down: nn.Module) -> tuple[int, int]:
    """Widths of the input and output of a linear layer of any kind, or GPT-2's Conv1D."""
    for names in (("in_features", "out_features"), ("nx", "nf")):
        into, out = (getattr(down, name, None) for name in names)
        if isinstance(into, int) and isinstance(out, int):
            return into, out
    raise SiteError(
        f"the down projection of {path} is a {type(down).__name__}, which does not say how wide "
        "its input is"
    )


def _no_feed_forward(path: str, layer: nn.Module) -> SiteError:
    """What is told of a layer with no place to read."""
    children = ", ".join(
        f"{name} ({type(child).__name__})" for name, child in layer.named_children()
    )
    return SiteError(
        f"{path} has no feed-forward that can be read: neither an activation module "
        f"({', '.join(ACTIVATIONS)}) beside a down projection ({', '.join(DOWNS)}) nor experts; "
        f"it holds {children}. Layers that apply their activation as a bare function (Lfm2) or "
        "have no feed-forward (Mamba) are not supported"
    )


def _refuse_other_banks(parts: Sequence[_Named]) -> None:
    """Stop at what may be experts of another form: they would be left out without a word."""
    of_adapters = [
        (f"{name}.{child}", part)
        for name, module in parts
        if hasattr(module, "base_layer")  # PEFT keeps what it adds to a layer around it
        for child, part in module.named_children()
        if child != "base_layer"
    ]
    for name, module in parts:
        part = (name, module)
        if isinstance(module, nn.modules.conv._ConvNd) or _is_inside(part, of_adapters):
            continue
        for key, weight in module.named_parameters(recurse=False):
            if sum(size > 1 for size in weight.shape) > 2:
                raise SiteError(
                    f"{name} ({type(module).__name__}) holds {key} {list(weight.shape)}: a bank of "
                    "weights, perhaps experts, of a form that langneurons cannot read"
                )


def _refuse_norms(dense: _Dense) -> None:
    """Stop at a feed-forward with a norm inside."""
    for name, child in dense.module.named_children():
        if "norm" in type(child).__name__.lower():
            raise SiteError(
                f"{dense.path} holds a norm ({name}) between its activation and its down "
                "projection (BitNet does): a zero before it would change every other neuron too, "
                "so silencing has no one meaning"
            )
