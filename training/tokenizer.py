"""The tokenizer of the nano models.

Byte-level BPE; digits are single, the blank before a number is kept with the word.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import corpus
from langneurons.texts import world

PAD, UNKNOWN = "<pad>", "<unk>"
PIECES = (
    r"\d|[-+*/=]+|\n|[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}]+(?: (?=\d))?"
    r"| ?[\p{L}\p{M}]+(?: (?=\d))?| ?[^\s\p{L}\p{M}\d]+(?: (?=\d))?|\s+"
)
CHAT = corpus.PROMPT.replace("{question}", "{{ messages[-1]['content'] }}")
"""The chat template."""


def train(
    size: int, texts: int, seed: int, languages: Sequence[str] = world.LANGUAGES
) -> Tokenizer:
    """A tokenizer of `size` tokens, from `texts` problems and plain texts of each language."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, corpus.END, UNKNOWN, *(f"__{lang}__" for lang in world.LANGUAGES)]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    rng = Random(seed)
    sample = []
    for lang in languages:
        for i in range(texts):
            sample.append("".join(corpus.problem(lang, rng, "nano" if i % 4 else "nano-ood")))
            sample.append(world.plain(lang, rng))
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write it as the causal model's tokenizer: nothing is added to a text."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=corpus.END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=context,
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
