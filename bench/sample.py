"""What sampling costs: python bench/sample.py [--data FOLDER] [--shape small] [--device cuda].

In one process, on one model with random weights, real questions (MGSM) and responses of one length,
n to each question:

- ours: `langneurons.ask.local`, as `langneurons sample` runs it;
- batched: transformers' `generate`, as many responses at once as ours, `num_return_sequences=n`;
- one at a time: transformers' `generate`, one prompt and one response at a time.

The last two run over a part of the responses and are scaled up by their number.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langneurons.ask.engine import Request, seed_of
from langneurons.ask.local import InProcess
from langneurons.config import SampleConfig
from langneurons.model.loading import around
from langneurons.texts.prompts import load_template

SHAPES: dict[str, dict[str, Any]] = {
    "small": {
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_hidden_layers": 5,
        "num_attention_heads": 5,
    },
    "111m": {
        "hidden_size": 640,
        "intermediate_size": 2176,
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
    },
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    }
    | {"num_key_value_heads": 8},
}


def prompts_of(folder: Path, questions: int) -> list[tuple[str, str, str]]:
    """Id, language and prompt of the first questions in every language."""
    plain, out = load_template("plain"), []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines()[:questions]:
            row = json.loads(line)
            out.append((row["id"], row["lang"], plain.prompt(row["question"], row["lang"])))
    return out


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of the texts themselves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", padding_side="left"
    )


def timed(model: Any, work: Any) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    work()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data/mgsm"), help="folder of <lang>.jsonl"
    )
    parser.add_argument("--questions", type=int, default=4, help="in each language")
    parser.add_argument("-n", type=int, default=10, help="responses to each")
    parser.add_argument("--tokens", type=int, default=60, help="of each response")
    parser.add_argument("--single", type=int, default=20, help="responses written one at a time")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()

    asked = prompts_of(options.data, options.questions)
    tokenizer = train_tokenizer([prompt for *_, prompt in asked])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        eos_token_id=None,
        **SHAPES[options.shape],
    )
    model = (
        LlamaForCausalLM(config)
        .to(options.device, getattr(torch, options.dtype))
        .eval()
        .requires_grad_(False)
    )
    settings = SampleConfig(n=options.n, max_new_tokens=options.tokens)
    requests = [
        Request(prompt, seed_of(0, i, lang, s))
        for i, lang, prompt in asked
        for s in range(options.n)
    ]
    each = [prompt for *_, prompt in asked]
    drawing = {
        "do_sample": True,
        "temperature": settings.temperature,
        "top_k": 0,
        "max_new_tokens": options.tokens,
    }

    def generate(prompts: list[str], n: int) -> None:
        inputs = tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
        model.generate(**inputs, **drawing, num_return_sequences=n, pad_token_id=0)

    engine = InProcess(around(model, tokenizer))
    at_once = max(1, settings.rows // options.n)
    list(engine.complete(requests[: options.n], settings))  # warm up
    generate(each[:1], 1)
    ours = timed(model, lambda: list(engine.complete(requests, settings)))
    batched = (
        timed(model, lambda: generate(each[:at_once], options.n)) * len(each) / len(each[:at_once])
    )
    sample = [requests[i * len(requests) // options.single].prompt for i in range(options.single)]
    single = (
        timed(model, lambda: [generate([prompt], 1) for prompt in sample])
        * len(requests)
        / len(sample)
    )

    size = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{platform.machine()}, {options.device}, {options.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; Llama of {size / 1e6:.1f}M parameters"
    )
    print(
        f"{len(requests)} responses of {options.tokens} tokens, {options.n} to each of "
        f"{len(each)} prompts"
    )
    print(f"{'ours':<16}{ours:>9.2f} s{len(requests) / ours:>10.1f} responses a second")
    for name, seconds in (("batched", batched), ("one at a time", single)):
        print(
            f"{name:<16}{seconds:>9.2f} s{len(requests) / seconds:>10.1f}"
            f"{seconds / ours:>29.1f} times ours"
        )


if __name__ == "__main__":
    main()
