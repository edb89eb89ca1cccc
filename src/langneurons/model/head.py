"""Head: what each token costs the model, in float32, without ever holding all logits.

The model runs up to its LM head; there the hidden states are caught, only the positions that are
scored are kept, and the head is applied to a few of them at a time. Letters: B row of a batch, T
token, n scored position, V vocabulary, H hidden size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from langneurons.errors import ModelError
from langneurons.model.forward import device_of

CHUNK = 1 << 24
"""Logits held at once on a CPU; eight times as many on a GPU, where small products leave it
idle."""

CACHED = 1 << 19
"""Logits that are summed up at once on a CPU: few enough to stay in its cache."""


class Costs(NamedTuple):
    """What scored tokens cost.

    Attributes:
        nll: negative log-likelihood of each token, in nats, float32 [n].
        best: that of the most likely token in its place, float32 [n]; equal to `nll` where it is
            the token itself.
    """

    nll: Tensor
    best: Tensor


class Head:
    """The way from a model's final hidden states to its logits, apart from the rest of the model.

    Most models end in one linear layer; some scale or cap what it gives (Gemma 2, Granite, Cohere).
    What is known of them is tried out on a few tokens; where it does not give the model's own
    logits, the model's own code makes them, from hidden states put before its head, at the price of
    one more token through the whole model for each chunk.
    """

    def __init__(self, model: Any) -> None:
        """Take the head of this causal language model.

        Raises:
            ModelError: when it has none, or does not pass hidden states [B, T, H] through it.
        """
        self.model = model
        self.module = model.get_output_embeddings()
        if self.module is None and hasattr(model, "language_model"):  # Nemotron-H Omni
            self.module = model.language_model.get_output_embeddings()
        if self.module is None:
            raise ModelError(f"{type(model).__name__} has no LM head, so it gives no likelihoods")
        config = model.config.get_text_config()
        self.cap = getattr(config, "final_logit_softcapping", None)
        self.times = getattr(config, "logit_scale", None)
        self.over = getattr(config, "logits_scaling", None)
        self.apart = self._gives_the_same()

    @property
    def chunk(self) -> int:
        """How many positions are scored at once."""
        weight = self.module.weight
        return max(1, CHUNK * (8 if weight.is_cuda else 1) // weight.shape[0])

    def hidden(self, **inputs: Any) -> Tensor:
        """Final hidden states of a batch, [B, T, H]: what the model gives its head.

        The head itself does not run. A key-value cache among the inputs ends up complete.

        Raises:
            ModelError: when the forward ended without reaching the head.
        """

        def stop(_: Any, args: tuple[Any, ...]) -> None:
            raise _HeadReached(args[0])

        handle = self.module.register_forward_pre_hook(stop)
        try:
            self.model(**inputs)
        except _HeadReached as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise ModelError(
            f"{type(self.model).__name__} did not run its LM head in a forward; "
            "load it without kernels"
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [n, V] of hidden states [n, H], in the type of the model."""
        if not self.apart:
            return self._own(hidden)
        return self._known(hidden)

    def costs(self, hidden: Tensor, targets: Tensor, *, best: bool = False) -> Costs:
        """What tokens cost, given the hidden states that predict them.

        Args:
            hidden: [n, H].
            targets: the tokens, [n].
            best: whether the most likely token is looked for; without, `best` is `nll`.
        """
        # made before any logits: small results between large temporaries would keep the allocator
        # from reusing them
        nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        likeliest = torch.empty_like(nll) if best else nll
        for start in range(0, len(hidden), self.chunk):
            logits = self.logits(hidden[start : start + self.chunk]).float()
            rows = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
            for first in range(0, len(logits), rows):
                few = logits[first : first + rows]
                here = slice(start + first, start + first + len(few))
                nll[here] = cross_entropy(few, targets[here], reduction="none")
                if best:
                    likeliest[here] = nll[here] - (
                        few.amax(dim=-1) - few.gather(-1, targets[here][:, None])[:, 0]
                    )
        return Costs(nll, likeliest)

    def gradient(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What tokens cost, and how that changes with the hidden states that predict them.

        A few logits are held at a time, as in `costs`.

        Args:
            hidden: [n, H].
            targets: the tokens, [n].

        Returns:
            Negative log-likelihood of each token, float32 [n], and the derivative of their sum with
            respect to the hidden states, [n, H].
        """
        nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        derivative = torch.empty_like(hidden, requires_grad=False)
        for start in range(0, len(hidden), self.chunk):
            here = slice(start, start + self.chunk)
            few = hidden[here].detach().requires_grad_()
            with torch.enable_grad():
                costs = cross_entropy(self.logits(few).float(), targets[here], reduction="none")
            [derivative[here]] = torch.autograd.grad(costs.sum(), few)
            nll[here] = costs.detach()
        return nll, derivative

    def _known(self, hidden: Tensor) -> Tensor:
        logits = self.module(hidden)
        if logits.requires_grad:
            return self._scaled(logits)
        # in place, as copies of all logits would cost more memory than all else
        if self.times is not None:
            logits *= self.times
        if self.over is not None:
            logits /= self.over
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def _scaled(self, logits: Tensor) -> Tensor:
        """Logits of the head as the model gives them, as gradients can go through."""
        if self.times is not None:
            logits = logits * self.times
        if self.over is not None:
            logits = logits / self.over
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def _own(self, hidden: Tensor) -> Tensor:
        """The same by the model's own code.

        One token runs, and before the head these states take its place.
        """
        handle = self.module.register_forward_pre_hook(lambda _, args: (hidden[None], *args[1:]))
        try:
            one = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
            return self.model(input_ids=one, use_cache=False).logits[0]
        finally:
            handle.remove()

    @torch.inference_mode()
    def _gives_the_same(self) -> bool:
        """Whether the head with what is known of it gives the model's own logits, to rounding."""
        ids = torch.arange(8, device=device_of(self.model))[None]
        hidden = self.hidden(input_ids=ids, use_cache=False)
        if hidden.shape[:2] != ids.shape:
            raise ModelError(
                f"{type(self.model).__name__} gives its LM head {list(hidden.shape)} for 8 tokens"
            )
        ours, own = self._known(hidden[0]).float(), self._own(hidden[0]).float()
        return bool(torch.allclose(ours, own, rtol=1e-6, atol=1e-6 * float(own.abs().max())))


class _HeadReached(Exception):  # noqa: N818
    """Ends a forward before the LM head; never leaves `Head.hidden`."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden
