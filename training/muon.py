"""Muon for small matrices, in float32; AdamW for the rest.

Muon (Jordan et al. 2024) makes the momentum of a matrix orthogonal by five Newton-Schulz steps
before it is added. torch.optim.Muon does so matrix by matrix in bfloat16, which a CPU has to
emulate; here matrices of one shape are done at once.
"""

from collections.abc import Iterable

import torch

FACTORS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum 0.95, Nesterov, decoupled weight decay.

    Updates are scaled by sqrt(max(1, rows / columns)).
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float
    ) -> None:
        """Matrices only."""
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # ty: ignore[incompatible-method-override]
        """One update; there is no use for a closure."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, same in by_shape.items():
                grads = [p.grad for p in same if p.grad is not None]
                momenta = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in same]
                torch._foreach_lerp_(momenta, grads, 0.05)
                moved = torch.stack(torch._foreach_lerp(grads, momenta, 0.95))
                scale = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                torch._foreach_mul_(same, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(same, orthogonal(moved).unbind(), alpha=-scale)


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """The nearest matrices [N, rows, columns] with singular values about 1."""
    a, b, c = FACTORS
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = torch.baddbmm(a * x, torch.baddbmm(b * square, square, square, alpha=c), x)
    return x.mT if tall else x
