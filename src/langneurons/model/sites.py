"""Sites: where a model's feed-forward activations are read (`watch`) and switched off (`silence`).

A site is found by structure: the activation module and the down projection that lie beside each
other in a decoder layer, or the experts module of a mixture of experts, which transformers gives
one common form. One site per layer, or a refusal that says what was seen. Letters: L layer, D
neuron of a dense layer, E expert, I neuron of an expert, B row of a batch, T token of a row, N = B
* T tokens of the flattened batch, S = N * experts a token goes to.

Reading is the activation function's output. Silencing is a zero at the input of the down
projection, which is what a zero activation comes to, in plain and in gated layers. Within one
forward a silenced neuron still reads as it was before the zero; later layers read what follows from
it. No weight is touched, and both `with` blocks restore the model on any exit.

Inside them, routed experts run in `experts`: the arithmetic of transformers' default, `grouped_mm`,
operation for operation, so that logits stay equal to the last bit. A model that was set to another
implementation (`eager`, `batched_mm`) runs as `grouped_mm` there, which differs by rounding: 1e-6
in float32.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from langneurons.errors import SiteError
from langneurons.model.experts import Tap, expert_shape, share, tapped, zero_experts

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


class Reading(NamedTuple):
    """What was read at one site; a neuron is active where `values > 0`.

    A dense layer gives one reading per forward. A mixture of experts gives one with a row for each
    token and expert it was routed to and, where it has shared experts, one more with a row for each
    token and shared expert.

    Attributes:
        site: position of the site among those watched.
        values: [N, D], row n for token n of the flattened batch, or [S, I]: the activations, or for
            routed experts the gate before its activation function, which has the same sign. What
            the model computes with, not a copy: do not change it, and do not keep it.
        experts: expert of each row, [S]; None in a dense layer.
        tokens: token of each row among the N, [S]; None in a dense layer.
    """

    site: int
    values: Tensor
    experts: Tensor | None = None
    tokens: Tensor | None = None


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """The sites of a causal language model, bare, with its head or wrapped by PEFT: one per decoder layer, in order.

    Raises:
        SiteError: when there is no one list of decoder layers, or a layer has none or several
            places to read, or one that cannot be read; it says what was seen.
    """
    path, layers, hidden = _decoder_layers(model)
    return tuple(_site(i, f"{path}.{i}", layer, hidden) for i, layer in enumerate(layers))


@contextmanager
def watch(sites: Sequence[Site], on_active: Callable[[Reading], object]) -> Generator[None]:
    """Inside this block, every forward calls `on_active` for each site, in the order in which the model computes them.

    Not a bit of the logits changes, and the device is never waited for. An exception in `on_active`
    ends the forward.
    """
    with ExitStack() as stack:
        for i, site in enumerate(sites):
            if site.activation is not None:
                stack.enter_context(
                    site.activation.register_forward_hook(_read_dense(i, site, on_active))
                )
            if site.experts is not None:
                stack.enter_context(tapped(site.experts, _read_experts(i, on_active)))
        yield


@contextmanager
def silence(sites: Sequence[Site], masks: Sequence[Tensor | None]) -> Generator[None]:
    """Inside this block the masked neurons are zero, in every forward and so at every step of `generate`.

    Args:
        sites: sites of the model.
        masks: one per site: a bool tensor of the site's shape, true for silenced neurons; or one
            such mask per row of the batch, [B, D] or [B, E, I] (in a batch of n * B rows, each
            holds for n consecutive ones); or None. A site of which nothing is silenced is left
            alone.

    Raises:
        SiteError: when a mask does not fit its site or, in the forward, the batch.
    """
    if len(masks) != len(sites):
        raise SiteError(
            f"{len(masks)} masks were given for {len(sites)} sites; give one per site, None for nothing"
        )
    with ExitStack() as stack:
        for site, mask in zip(sites, masks, strict=True):
            if mask is None:
                continue
            rows = _per_row(site, mask)
            routed, dense = rows[:, : site.routed], rows[:, site.routed :].flatten(1)
            if site.experts is not None and routed.any():
                stack.enter_context(tapped(site.experts, zero_experts(routed)))
            if site.down is not None and dense.any():
                stack.enter_context(site.down.register_forward_pre_hook(_zero_dense(dense)))
        yield


def run_to_last_site(model: nn.Module, sites: Sequence[Site], **inputs: Any) -> None:
    """Run the model only until its last site was read: no down projection after it, no final norm, no LM head.

    Called inside `watch`, which does the reading. A key-value cache among the inputs ends up
    complete: the attention of the last layer comes before its feed-forward.

    Raises:
        SiteError: when the forward ended without passing the last site.
    """
    last = sites[-1]
    left = (last.activation is not None) + (last.experts is not None)

    def stop(_: Reading) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _LastSiteRead

    with watch([last], stop):
        try:
            model(**inputs)
        except _LastSiteRead:
            return
    raise SiteError(
        f"{last.path} did not run in this forward, so nothing can be read of it; `probe` says more"
    )


def probe(model: nn.Module, sites: Sequence[Site], input_ids: Tensor) -> None:
    """Run `input_ids` [B, T] once and check that each site is passed exactly once, with as many neurons as it has.

    Fused kernels (Liger, MegaBlocks) compute a layer without the modules that are still there; they
    would read as never active, with no error. Tensor parallelism shows a part of the neurons.

    Raises:
        SiteError: naming the parts that did not run exactly once, or gave another number of
            neurons.
    """
    tokens = input_ids.numel()
    seen: dict[tuple[int, str], list[float]] = defaultdict(list)

    def read(reading: Reading) -> None:
        routed = reading.experts is not None and bool(
            (reading.experts < sites[reading.site].routed).all()
        )
        seen[reading.site, "experts" if routed else "activation"].append(
            reading.values.numel() / tokens
        )

    def enter(i: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: seen[i, "down projection"].append(args[0].numel() / tokens)

    with ExitStack() as stack, torch.no_grad():
        for i, site in enumerate(sites):
            if site.down is not None:
                stack.enter_context(site.down.register_forward_pre_hook(enter(i)))
        stack.enter_context(watch(sites, read))
        model(input_ids=input_ids, use_cache=False)

    wrong = []
    for i, site in enumerate(sites):
        neurons = (
            site.shape[0] if site.experts is None else (site.shape[0] - site.routed) * site.shape[1]
        )
        parts = {
            "activation": site.activation,
            "down projection": site.down,
            "experts": site.experts,
        }
        for part in (name for name, module in parts.items() if module is not None):
            found, what = seen[i, part], f"layer {site.layer}: the {part} of {site.path}"
            if len(found) != 1:
                wrong.append(
                    f"{what} {f'ran {len(found)} times in one forward' if found else 'never ran'}"
                )
            elif part != "experts" and found[0] != neurons:
                wrong.append(f"{what} has {found[0]:g} neurons for each token, not {neurons}")
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise SiteError(
            f"{'; '.join(wrong[:3])}{more}: something (Liger, a fused kernel, tensor parallelism) computes these layers"
            " in another way; load the model without it"
        )


class _LastSiteRead(Exception):  # noqa: N818
    """Ends a forward early; never leaves `run_to_last_site`."""


# Finding


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


# Reading and silencing


def _read_dense(i: int, site: Site, on_active: Callable[[Reading], object]) -> Callable[..., None]:
    shared = site.shape[0] - site.routed

    def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        values = output.flatten(0, -2)
        if site.experts is None:
            reading = Reading(i, values)
        else:
            rows = torch.arange(len(values) * shared, device=values.device)
            reading = Reading(
                i, values.reshape(len(rows), -1), site.routed + rows % shared, rows // shared
            )
        on_active(reading)  # whatever it returns must not be returned: it would replace the output

    return hook


def _read_experts(i: int, on_active: Callable[[Reading], object]) -> Tap:
    def tap(gate: Tensor, hidden: Tensor, experts: Tensor, tokens: Tensor, _: int) -> Tensor:
        on_active(Reading(i, gate, experts, tokens))
        return hidden

    return tap


def _zero_dense(mask: Tensor) -> Callable[..., tuple[Any, ...]]:
    """A forward-pre-hook that zeroes the input of a down projection where the mask [B, D] says.

    Only the silenced columns of a copy are written, which takes a fifth of the time of a fill by
    the whole mask.
    """
    places = mask.nonzero(as_tuple=True)

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal places
        x = args[0]  # [B, T, D], or [N, D] in opt
        share(len(x), mask)
        row, neuron = places = tuple(place.to(x.device, non_blocking=True) for place in places)
        rows = x.clone().reshape(len(mask), -1, x.shape[-1])
        rows[row, :, neuron] = 0
        return (rows.view(x.shape), *args[1:])

    return hook


def _per_row(site: Site, mask: Tensor) -> Tensor:
    """A mask with an axis for rows of the batch, [B, *site.shape], B = 1 when it holds for all of them."""
    if mask.dtype != torch.bool or site.shape not in (mask.shape, mask.shape[1:]):
        raise SiteError(
            f"layer {site.layer}: a mask of {mask.dtype} {list(mask.shape)} was given; torch.bool {list(site.shape)} "
            "is needed, or one such mask for each row of the batch"
        )
    return mask.reshape(-1, *site.shape)
