"""Sites: where a model's feed-forward activations are, to be read and switched off by `hooks`.

A site is found by structure: the activation module and the down projection that lie beside each
other in a decoder layer, or the experts module of a mixture of experts, which transformers gives
one common form. One site per layer, or a refusal that says what was seen. Letters: L layer, D
neuron of a dense layer, E expert, I neuron of an expert.
"""

from dataclasses import dataclass

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
    """The sites of a causal language model, bare, with its head or wrapped by PEFT: one per decoder layer, in order.

    Raises:
        SiteError: when there is no one list of decoder layers, or a layer has none or several
            places to read, or one that cannot be read; it says what was seen.
    """
    path, layers, hidden = _decoder_layers(model)
    return tuple(_site(i, f"{path}.{i}", layer, hidden) for i, layer in enumerate(layers))


def _decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList, int | None]:
    """Name and modules of the decoder layers (the outermost list as long as the config says), and the hidden size."""
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise SiteError(
            f"{type(model).__name__} is an encoder with a decoder; a causal language model is needed"
        )
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    depth = getattr(text, "num_hidden_layers", None)
    outer: list[tuple[str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(
            path.startswith(f"{above}.") for above, _ in outer
        ):
            outer.append((path, module))
    fitting = [(path, layers) for path, layers in outer if depth in (None, len(layers))]
    if len(fitting) != 1:
        lists = ", ".join(f"{path} ({len(layers)})" for path, layers in outer) or "none"
        raise SiteError(
            f"{type(model).__name__} has no one list of decoder layers; lists of modules seen: {lists}; layers in its "
            f"config: {depth}; a causal language model that keeps its layers in one nn.ModuleList is needed"
        )
    return *fitting[0], getattr(text, "hidden_size", None)


def _site(number: int, path: str, layer: nn.Module, hidden: int | None) -> Site:
    """The one site of a decoder layer; SiteError when there is none, or more than one, or one that cannot be read."""
    parts = [(f"{path}.{name}".rstrip("."), module) for name, module in layer.named_modules()]
    experts = [
        (name, module)
        for name, module in parts
        if getattr(getattr(module, "down_proj", None), "ndim", 0) == 3
    ]
    outside = [
        (n, m) for n, m in parts if not any(f"{n}.".startswith(f"{name}.") for name, _ in experts)
    ]
    dense = [
        (name, activation, down, width)
        for name, module in outside
        for activation in _children(module, ACTIVATIONS)
        for down in _children(module, DOWNS)
        for width, out in [_widths(name, down)]
        if hidden in (out, None)  # what a router holds does not end in the residual stream
    ]
    if len(experts) > 1 or len(dense) > 1:
        names = ", ".join([name for name, _ in experts] + [name for name, *_ in dense])
        raise SiteError(
            f"{path} has several places where a feed-forward could be read, one is needed: {names}"
        )
    if not experts and not dense:
        children = ", ".join(
            f"{name} ({type(child).__name__})" for name, child in layer.named_children()
        )
        raise SiteError(
            f"{path} has no feed-forward that can be read: neither an activation module ({', '.join(ACTIVATIONS)}) "
            f"beside a down projection ({', '.join(DOWNS)}) nor experts; it holds {children}. Layers that apply their "
            "activation as a bare function (Lfm2) or have no feed-forward (Mamba) are not supported"
        )
    for name, module in outside:  # experts of a form we do not know would be left out silently
        for key, weight in module.named_parameters(recurse=False):
            if sum(size > 1 for size in weight.shape) > 2 and not isinstance(
                module, nn.modules.conv._ConvNd
            ):
                raise SiteError(
                    f"{name} ({type(module).__name__}) holds {key} {list(weight.shape)}: a bank of weights, perhaps "
                    "experts, of a form that langneurons cannot read"
                )
    where, activation, down, width = dense[0] if dense else (path, None, None, 0)
    norms = [
        name
        for name, child in dict(parts)[where].named_children()
        if "norm" in type(child).__name__.lower()
    ]
    if (
        norms and where != path
    ):  # in opt and its like the feed-forward lies in the layer itself, beside its norms
        raise SiteError(
            f"{where} holds a norm ({norms[0]}) between its activation and its down projection (BitNet does): a zero "
            "before it would change every other neuron too, so silencing has no one meaning"
        )
    if not experts:
        return Site(number, where, (width,), activation, down, None)
    name, module = experts[0]
    return Site(number, name, expert_shape(name, module, width), activation, down, module)


def _children(module: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    return [child for name, child in module.named_children() if name in names]


def _widths(path: str, down: nn.Module) -> tuple[int, int]:
    """Widths of the input and output of a projection: a linear layer of any kind, or GPT-2's Conv1D."""
    for names in (("in_features", "out_features"), ("nx", "nf")):
        into, out = (getattr(down, name, None) for name in names)
        if isinstance(into, int) and isinstance(out, int):
            return into, out
    raise SiteError(
        f"the down projection of {path} is a {type(down).__name__}, which does not say how wide its input is"
    )
