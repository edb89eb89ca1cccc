"""What each stage can be told: one frozen dataclass per stage, checked when built."""

from dataclasses import dataclass
from typing import Literal

from langneurons.errors import InputError


@dataclass(frozen=True)
class IdentifyConfig:
    """Settings of `identify`. Defaults are the paper's; see docs/identify.md for what each changes.

    Raises:
        InputError: for a value out of range, naming it.
    """

    method: Literal["ternary", "lape"] = "ternary"
    """`ternary`: the paper's score and classes. `lape`: lowest entropy, of neurons highly active somewhere."""
    rate: float = 0.01
    """Share of all neurons to select, in (0, 1)."""
    tau_quantile: float = 0.95
    """tau is this quantile of all activation probabilities, in (0, 1)."""
    lam: float | Literal["auto"] = "auto"
    """lambda in released units; auto: the largest at which no general neuron is selected."""
    lam_limit: float = 0.2
    """Largest lambda to consider (the released code's bracket); used as it is when nothing binds below it."""
    prefilter: bool = False
    """Drop neurons highly active in no language before selecting (LAPE always does)."""
    per: Literal["tokens", "routed"] = "tokens"
    """What an expert's probabilities are of: all tokens, or the tokens routed to it. Dense layers are not affected."""
    bootstrap: int = 200
    """Resamplings of the blocks behind every interval; 0 for none."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("tau-quantile", self.tau_quantile)):
            if not 0 < value < 1:
                raise InputError(f"{name} {value} is outside (0, 1); the paper uses {_PAPER[name]}")
        if self.lam != "auto" and not 0 <= self.lam < float("inf"):
            raise InputError(f"lam {self.lam} is not a number from 0 up; leave it at auto for the largest that holds")
        if not 0 < self.lam_limit < float("inf"):
            raise InputError(f"lam-limit {self.lam_limit} is not above 0; the released code uses 0.2")
        if self.bootstrap < 0 or self.bootstrap == 1:
            raise InputError(f"bootstrap {self.bootstrap}: an interval needs 2 resamplings or more, 0 means none")
        if self.per not in ("tokens", "routed"):
            raise InputError(f"per {self.per!r}: probabilities are per tokens or per routed tokens")
        if self.method not in ("ternary", "lape"):
            raise InputError(f"{self.method!r} is no method; choose ternary or lape")


@dataclass(frozen=True)
class ModelConfig:
    """How a model is loaded."""

    dtype: str = "auto"
    """float32, bfloat16 or float16; auto: float32 on a CPU, bfloat16 elsewhere."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto: the best there is."""
    device_map: str | None = None
    """How accelerate spreads a model over devices, such as auto."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""


@dataclass(frozen=True)
class RecordConfig:
    """Settings of `record`.

    Raises:
        InputError: for a value out of range, naming it.
    """

    blocks: int = 10
    """Blocks of questions that counts are kept for; 1 for none, then nothing made from them has error bars."""
    positions: Literal["reading", "predicting"] = "reading"
    """`reading`: positions that read a response token (the paper). `predicting`: those that predict one."""
    budget: int = 0
    """Tokens of a batch, padding included; 0: 1,024 on a CPU, 16,384 elsewhere. Counts do not depend on it."""
    share_prompts: bool = True
    """Compute a prompt once for all its responses."""
    shard: str = "1/1"
    """Which part of the work to do, as 2/4; merge adds the parts up."""
    save_every: float = 60.0
    """Seconds between savings of what is done, from which a killed recording goes on."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise InputError(f"blocks {self.blocks}: 1 or more are needed")
        if self.budget < 0:
            raise InputError(f"budget {self.budget}: tokens of a batch, or 0 to leave it to langneurons")
        if self.positions not in ("reading", "predicting"):
            raise InputError(f"{self.positions!r}: positions are reading or predicting")
        number, of = self.part
        if not 0 <= number < of:
            raise InputError(f"shard {self.shard!r}: give a part and how many there are, as 1/4 to 4/4")

    @property
    def part(self) -> tuple[int, int]:
        """(number of this shard from 0, how many there are)."""
        number, _, of = self.shard.partition("/")
        return (int(number) - 1, int(of)) if number.isdigit() and of.isdigit() else (-1, 0)


_PAPER = {"rate": 0.01, "tau-quantile": 0.95}
