"""A mediation made up without a model, in which it is known who carries what."""

from collections.abc import Mapping

import numpy as np

from langneurons.effects.mediation import Mediation, Moved

CODES = ("sw", "th", "en")
QUESTIONS = 12


def mediation(
    carry: Mapping[str, float],
    random: float = 0.05,
    *,
    trained: tuple[str, ...] = ("sw", "th"),
    draws: int = 3,
) -> Mediation:
    """Every set carries its share of each question's change both ways, random sets another; each
    question a little more or less."""
    rng = np.random.default_rng(0)
    questions = tuple((code, f"q{i}") for code in CODES for i in range(QUESTIONS))
    sets, shares = [], []
    for name, share in carry.items():
        sets.append(Moved(name, None, 0))
        shares.append(share)
        if name.startswith(("specific", "related")):
            for matched in ("layer", "change"):
                sets += [Moved(name, matched, draw) for draw in range(1, draws + 1)]
                shares += [random] * draws
    base = rng.normal(size=len(questions))
    change = rng.uniform(1, 3, len(questions))
    each = np.array(shares)[:, None] + 0.01 * rng.normal(size=(len(sets), len(questions)))
    return Mediation(
        questions=questions,
        trained=trained,
        sets=tuple(sets),
        neurons=np.full((len(sets), len(questions)), 5),
        sizes=np.array([0.8 if one.matched else 1.0 for one in sets])[:, None]
        * np.ones(len(questions)),
        base=base,
        aligned=base + change,
        moved=np.stack([base + each * change, base + change - each * change], axis=1),
        units=np.ones(len(questions), np.int64),
        unit="pair",
    )
