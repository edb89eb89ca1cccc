"""Draws: random numbers that follow from a row's seed and nothing else."""

import torch

from langneurons.ask.draws import bases_of, draw, gumbel
from langneurons.config import SampleConfig


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[1.0, 0, -1, 2, -30]]).expand(100_000, -1)
    bases = torch.randint(2**32, (len(logits),), generator=torch.Generator().manual_seed(0))
    for config in (SampleConfig(temperature=1), SampleConfig(temperature=0.5)):
        expected = (logits[0] / config.temperature).softmax(0)
        found = draw(logits, bases, config).bincount(minlength=5) / len(logits)
        assert (found - expected).abs().max() < 0.006
    assert set(draw(logits, bases, SampleConfig(top_k=2)).tolist()) == {0, 3}
    assert set(draw(logits, bases, SampleConfig(temperature=1, top_p=0.6)).tolist()) == {3}
    assert set(draw(logits, bases, SampleConfig(temperature=1, top_p=0.7)).tolist()) == {0, 3}
    assert (draw(logits, None, SampleConfig(n=1, temperature=0)) == 3).all()


def test_noise_is_noise() -> None:
    """Neighbouring bases and tokens are not related; mean and deviation are Gumbel's."""
    noise = gumbel(torch.arange(500), torch.arange(400)[None])
    assert noise.isfinite().all()
    assert abs(noise.mean() - 0.5772) < 0.01
    assert abs(noise.std() - 1.2825) < 0.01
    for one, other in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.01


def test_bases_follow_from_the_seed() -> None:
    assert bases_of(7, 3).tolist() == bases_of(7, 5).tolist()[:3]
    assert set(bases_of(7, 100).tolist()).isdisjoint(bases_of(8, 100).tolist())
    assert all(0 <= base < 2**32 for base in bases_of(2**64 - 1, 100).tolist())
