"""Grid: the cells of a sweep, each one way to set what the paper sets by hand."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

from langneurons.config import IdentifyConfig, SweepConfig


class Cell(NamedTuple):
    """One choice of settings.

    Attributes:
        method: `ternary` (the paper), or `lape`.
        rate: share of all neurons that is selected.
        tau_quantile: share of all probabilities that is not above tau.
        lam: lambda, or the rule for it; None for LAPE.
        prefilter: whether neurons highly active in no language are dropped first.
        left_out: the language whose counts take no part; None where all do.
    """

    method: Literal["ternary", "lape"] = "ternary"
    rate: float = 0.01
    tau_quantile: float = 0.95
    lam: float | Literal["auto"] | None = "auto"
    prefilter: bool = False
    left_out: str | None = None

    def config(self, sweep: SweepConfig) -> IdentifyConfig:
        """The settings of `identify` that give the same neurons."""
        return sweep.shared(
            method=self.method,
            rate=self.rate,
            tau_quantile=self.tau_quantile,
            lam="auto" if self.lam is None else self.lam,
            prefilter=self.prefilter and self.method == "ternary",
        )

    def words(self) -> str:
        """The cell in words."""
        rule = "LAPE" if self.lam is None else f"lambda {self.lam}"
        parts = [f"rate {self.rate:g}", f"quantile {self.tau_quantile:g}", rule]
        parts += ["filtered"] if self.prefilter and self.lam is not None else []
        parts += [f"without {self.left_out}"] if self.left_out else []
        return ", ".join(parts)


PAPER = Cell()
"""The paper's settings."""


def cells(config: SweepConfig, languages: Sequence[str]) -> tuple[Cell, ...]:
    """Every cell: of all languages first, then with each left out.

    Lambda 0 with the filter is LAPE, and stands once, as LAPE, where both are asked for. A language
    is left out only of three or more.
    """
    made = []
    left_out = (None, *languages) if config.leave_out != "none" and len(languages) > 2 else (None,)
    rates, quantiles = config.numbers("rates"), config.numbers("tau_quantiles")
    for code, (method, lam, prefilter) in product(left_out, _variants(config)):
        as_paper = (method, lam, prefilter) == (PAPER.method, PAPER.lam, PAPER.prefilter)
        if code is None or config.leave_out == "every" or as_paper:
            for quantile, rate in product(quantiles, rates):
                cell = Cell(
                    method=method,
                    rate=rate,
                    tau_quantile=quantile,
                    lam=lam,
                    prefilter=prefilter,
                    left_out=code,
                )
                made.append(cell)
    return tuple(made)


_Variant = tuple[Literal["ternary", "lape"], float | Literal["auto"] | None, bool]


def _variants(config: SweepConfig) -> list[_Variant]:
    """Method, rule for lambda and filter, as they go together."""
    methods = config.axis("methods")
    found: list[_Variant] = []
    if "ternary" in methods:
        for lam, prefilter in product(config.lambdas, config.axis("prefilters")):
            if not (lam == 0 and prefilter == "on" and "lape" in methods):
                found.append(("ternary", lam, prefilter == "on"))
    if "lape" in methods:
        found.append(("lape", None, True))
    return found
