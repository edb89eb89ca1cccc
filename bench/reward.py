"""What scoring costs.

    python bench/reward.py [--data FOLDER] [--questions 2] [--shape nano|60m|600m] [--device cuda]

The same pairs of real texts (responses_mcot7b/mgsm; ten responses to a question and ten English
references, made by cutting the real ones at ten lengths) through a translation model with random
weights:

- ours: `align.translator`, as `langneurons reward` runs it: equal pairs once, every text
  encoded once, batches by length;
- one at a time: one pair, one forward pass, over a sample of the pairs and scaled by the number of
  all.

The last line is how much more arithmetic one pair at a time does (products with the weights;
attention is little beside them): what lies beyond that factor is what calls cost, and how much
faster the machine multiplies many rows.

With --responses FOLDER --translator MODEL the responses and the model are real, and equal pairs are
as frequent as they are in what a model says.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedTokenizerFast

from langneurons.align import translator as translation
from langneurons.align.reward import clean, references
from langneurons.align.translator import Ids, Text, Translation
from langneurons.model import loading as library
from langneurons.texts.rows import read_responses

SHAPES: dict[str, dict[str, Any]] = {
    "nano": {"d_model": 128, "ffn": 512, "layers": 2, "heads": 4, "vocabulary": 4_096},
    "60m": {"d_model": 512, "ffn": 2048, "layers": 6, "heads": 8, "vocabulary": 32_000},
    "600m": {"d_model": 1024, "ffn": 4096, "layers": 12, "heads": 16, "vocabulary": 256_206},
}
CUTS = 10


def texts(folder: Path, questions: int) -> list[tuple[Text, list[Text]]]:
    """Ten responses to each of the first questions in every language, ten references to each."""
    rows: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines()[:questions]:
            row = json.loads(line)
            rows.setdefault(row["id"], {})[row["lang"]] = row["response"]

    def cut(text: str, code: str) -> list[Text]:
        return [
            Text(code, text[: max(8, len(text) * (CUTS + i + 1) // (2 * CUTS))])
            for i in range(CUTS)
        ]

    return [
        (text, cut(responses["en"], "en"))
        for responses in rows.values()
        for code, response in responses.items()
        if code != "en"
        for text in cut(response, code)
    ]


def real(path: Path) -> list[tuple[Text, list[Text]]]:
    """The responses at a path, each with the English references of its question."""
    responses = read_responses(path)
    english = references([response for response in responses if response.lang == "en"]).texts
    return [
        (
            Text(response.lang, clean(response.response)),
            [Text("en", text) for text in english.get(response.question_id, [])],
        )
        for response in responses
        if response.lang != "en"
    ]


def tokenizer_of(held: list[tuple[Text, list[Text]]], size: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of the texts themselves, with a token for each language."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *sorted({f"__{text.lang}__" for text, _ in held}),
        "__en__",
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=special
    )
    tokenizer.train_from_iterator(
        {text.text for one, others in held for text in (one, *others)}, trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def model_of(shape: str, device: str, dtype: str) -> Any:
    """An M2M100 with random weights."""
    torch.manual_seed(0)
    size = SHAPES[shape]
    side = {"layers": size["layers"], "attention_heads": size["heads"], "ffn_dim": size["ffn"]}
    config = M2M100Config(
        vocab_size=size["vocabulary"],
        d_model=size["d_model"],
        **{f"encoder_{name}": value for name, value in side.items()},
        **{f"decoder_{name}": value for name, value in side.items()},
    )
    return (
        M2M100ForConditionalGeneration(config)
        .eval()
        .requires_grad_(False)
        .to(device, getattr(torch, dtype))
    )


def clock(device: str, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one piece of work, and what it gave."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    out = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began, out


@torch.inference_mode()
def one_at_a_time(
    model: Any, sources: list[Any], targets: list[Any], pairs: list[Translation]
) -> list[float]:
    """Log-probability of each target after its language token, one forward pass a pair."""
    out = []
    for pair in pairs:
        source, target = (
            torch.from_numpy(ids)[None].long().to(model.device)
            for ids in (sources[pair.source], targets[pair.target])
        )
        before = torch.cat(
            (torch.full_like(target[:, :1], model.config.decoder_start_token_id), target[:, :-1]),
            dim=1,
        )
        logits = (
            model(input_ids=source, decoder_input_ids=before, use_cache=False).logits[0].float()
        )
        out.append(
            -float(torch.nn.functional.cross_entropy(logits, target[0], reduction="none")[1:].sum())
        )
    return out


def arithmetic(
    config: Any, sources: list[Any], targets: list[Any], pairs: list[Translation]
) -> tuple[float, float]:
    """Multiplications with the weights, without padding.

    With every source encoded once, and once for each of its pairs.
    """
    d, layers = config.d_model, config.decoder_layers
    encode = config.encoder_layers * (4 * d * d + 2 * d * config.encoder_ffn_dim)
    look = layers * 2 * d * d  # keys and values that the decoder makes of a source's token
    decode = layers * (6 * d * d + 2 * d * config.decoder_ffn_dim) + d * config.vocab_size
    read = sum(len(sources[pair.source]) for pair in pairs)
    rest = read * look + sum(len(targets[pair.target]) for pair in pairs) * decode
    return sum(map(len, sources)) * encode + rest, read * encode + rest


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/responses_mcot7b/mgsm"))
    parser.add_argument("--questions", type=int, default=1, help="questions per language")
    parser.add_argument("--sample", type=int, default=40, help="pairs that the slow way runs over")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shape", default="nano", choices=SHAPES)
    parser.add_argument("--budget", type=int, default=0)
    parser.add_argument("--responses", type=Path, help="real responses instead")
    parser.add_argument("--translator", help="a real translation model for them")
    return parser.parse_args()


class Work(NamedTuple):
    """Translations to judge, each once: ids of the texts, and which belong together."""

    sources: list[Ids]
    targets: list[Ids]
    pairs: list[Translation]


def encoded(held: list[tuple[Text, list[Text]]], tokenizer: Any) -> Work:
    """All the texts, and the translations between them."""
    codes = sorted({text.lang for text, _ in held} | {"en"})
    tokens = translation.language_tokens(tokenizer, codes)
    responses = {text: None for text, _ in held}
    english = {text: None for _, others in held for text in others}
    source_of = {text: place for place, text in enumerate(responses)}
    target_of = {text: place for place, text in enumerate(english)}
    pairs = {
        Translation(source_of[text], target_of[other]): None
        for text, others in held
        for other in others
    }
    sources, _ = translation.encode(tokenizer, list(responses), tokens, 512)
    targets, _ = translation.encode(tokenizer, list(english), tokens, 512)
    return Work(sources, targets, list(pairs))


def main() -> None:
    """Print the table."""
    asked = arguments()
    if asked.responses:
        held = real(asked.responses)
        loaded = library.load(
            asked.translator, device=asked.device, dtype=asked.dtype, seq2seq=True
        )
        tokenizer, model = loaded.tokenizer, loaded.model
    else:
        held = texts(asked.data, asked.questions)
        tokenizer = tokenizer_of(held, min(8000, SHAPES[asked.shape]["vocabulary"]))
        model = model_of(asked.shape, asked.device, asked.dtype)
    sources, targets, pairs = encoded(held, tokenizer)
    budget = asked.budget or (4096 if asked.device == "cpu" else 8192)
    chunks = translation.in_chunks(sources, targets, pairs, budget)
    whole = sum(len(others) for _, others in held)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{platform.machine()}, {asked.device}, {asked.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; translator of {size:.0f}M parameters; "
        f"{whole:,} pairs, {len(pairs):,} of them different, "
        f"of {len(sources):,} and {len(targets):,} texts"
    )
    translation.judge(model, sources, targets, pairs, chunks[0])
    ours = np.zeros(len(pairs))

    def run() -> None:
        for chunk in chunks:
            ours[[i for batch in chunk.batches for i in batch]] = translation.judge(
                model, sources, targets, pairs, chunk
            ).text

    seconds, _ = clock(asked.device, run)
    some = [i * len(pairs) // asked.sample for i in range(asked.sample)]
    slow, single = clock(
        asked.device, lambda: one_at_a_time(model, sources, targets, [pairs[i] for i in some])
    )
    slow *= whole / len(some)
    print(f"{'ours':<16}{seconds:9.2f} s  {whole / seconds:9.1f} pairs a second")
    print(
        f"{'one at a time':<16}{slow:9.2f} s  {whole / slow:9.1f} pairs a second, "
        f"{slow / seconds:.1f} times ours"
    )
    fast, plain = arithmetic(model.config, sources, targets, pairs)
    print(f"{'arithmetic':<16}{plain * whole / len(pairs) / fast:.2f} times ours, one at a time")
    print(
        f"largest difference of a summed log-probability: {np.abs(ours[some] - single).max():.2g}"
    )


if __name__ == "__main__":
    main()
