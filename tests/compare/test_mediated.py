"""Whether an alignment acts through a kind of neurons, planted and not."""

from dataclasses import replace

import numpy as np
import pytest

from langneurons.compare.claims import Evidence, claims
from langneurons.compare.mediated import acts_through
from langneurons.effects.mediation import FAIR, shares
from support.mediations import mediation


def test_what_carries_more_than_random_sets_holds() -> None:
    made = mediation({"all": 0.8, "specific": 0.4, "related": 0.05})
    specific, related = acts_through(made)
    assert (specific.name, specific.verdict) == ("mediated-by-specific", "holds")
    assert specific.numbers["trained languages, into base"]["value"] == pytest.approx(
        0.35, abs=0.02
    )
    assert specific.numbers["verdict, other languages"] == "holds"
    assert "into base +3" in specific.words
    assert related.name == "mediated-by-related"
    assert abs(related.numbers["trained languages, out of aligned"]["value"]) < 0.02
    less = acts_through(mediation({"related": 0.01}, random=0.3))
    assert [claim.verdict for claim in less] == ["does not hold"]
    assert [claim.name for claim in claims(Evidence(mediation=made))][-2:] == [
        "mediated-by-specific",
        "mediated-by-related",
    ]
    assert acts_through(mediation({"all": 1})) == []


def test_shares_of_what_is_no_sure_change_say_nothing() -> None:
    made = mediation({"specific": 0.4})
    signs = np.where(np.arange(len(made.questions)) % 2, 1, -1)
    change = signs * (made.aligned - made.base)
    moved = made.base + signs * (made.moved[:, 0] - made.base)
    other = made.base + change - (moved - made.base)
    unsure = replace(made, aligned=made.base + change, moved=np.stack([moved, other], axis=1))
    assert {row.verdict for row in shares(unsure)} == {"cannot tell"}
    assert {row.verdict for row in shares(made)} == {"holds"}


def test_one_way_alone_does_not_do() -> None:
    made = mediation({"specific": 0.4})
    made.moved[0, 1] = made.aligned  # nothing goes when it is taken out of the aligned model
    assert acts_through(made)[0].verdict == "does not hold"


def test_shares_and_random_sets_by_hand() -> None:
    made = mediation({"specific": 0.4}, trained=())
    [into, out] = shares(made)
    followed = made.moved[:, 0] - made.base
    whole = (made.aligned - made.base).sum()
    assert into.group == out.group == "all languages"
    assert into.share.value == pytest.approx(followed[0].sum() / whole)
    fair = [i for i, one in enumerate(made.sets) if one.matched == FAIR]
    assert into.random[FAIR].value == pytest.approx(followed[fair].sum() / 3 / whole)
    assert into.beyond
    assert into.beyond.value == pytest.approx(into.share.value - into.random[FAIR].value)
    assert into.beyond.low < into.beyond.value < into.beyond.high
    assert into.matched_size == pytest.approx(0.8)
