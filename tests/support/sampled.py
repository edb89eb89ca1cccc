"""Sampled responses that are made up, and settings of a training by GRPO that takes seconds."""

from langneurons.config import AlignConfig, GrpoConfig
from langneurons.texts.responses import Response

QUICK = AlignConfig(
    steps=4, batch=8, device_batch=4, learning_rate=3e-3, rank=4, alpha=8, save_every=2, warmup=0
)
SHORT = GrpoConfig(group=4, max_new_tokens=24)
ROWS = [
    Response(f"q{i}", lang, f"{lang} {i}? ", f"so {i} {n}", n)
    for i in range(6)
    for lang in ("en", "sw", "zh")
    for n in range(2)
]
