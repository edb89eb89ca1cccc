"""Studies: those that come with langneurons, and one of a tiny model with what it names."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from langneurons.study.toml import BUILT_IN
from support import families
from support.places import ROOT
from support.translators import save_translator

STUDIES = [*BUILT_IN, *sorted(map(str, (ROOT / "recipes").glob("*.toml")))]
"""Every study that comes with langneurons."""

TINY = """
languages = ["en", "zh", "sw"]
template = "plain"
checkpoints = "all"

[models]
tiny = "model"

[domains.one]
questions = "questions"
take = 4

[domains.two]
questions = "questions"
take = 3
analyses = ["evaluate"]

[seeds]
questions = "questions"

[translator]
model = "translator"

[alignments]
sw = ["sw"]

[sample]
n = 2
max-new-tokens = 8

[sample-seeds]
n = 6
max-new-tokens = 8

[evaluate]
max-new-tokens = 8

[record]
blocks = 2

[identify]
rate = 0.2
tau-quantile = 0.8
bootstrap = 4

[perplexity]
controls = 1
blocks = 2

[pair]
dev-every = 3

[align]
steps = 2
batch = 2
device-batch = 2
learning-rate = 1e-3
rank = 2
targets = "q_proj,v_proj"
save-every = 1
"""


def write(folder: Path, text: str, name: str = "tiny.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def in_full(text: str, home: Path) -> str:
    """The study with what it names in full, so that it can be in another folder."""
    for name in ("model", "questions", "translator"):
        text = text.replace(f'= "{name}"', f"= {json.dumps(str(home / name))}")
    return text


def save_questions(folder: Path) -> None:
    """Six questions in each language; the answers are 1 and 2."""
    folder.mkdir()
    for code in ("en", "zh", "sw"):
        rows = [
            {"id": f"q{i}", "lang": code, "question": f"{code} {i}?", "answer": 1 + i % 2}
            for i in range(6)
        ]
        write(folder, "".join(f"{json.dumps(row)}\n" for row in rows), f"{code}.jsonl")


def save_model(folder: Path) -> None:
    """A model that writes 1, 2 and spaces, so that some answers are right."""
    families.save("phi", folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    numbers = tokenizer.encode("12Ġ", add_special_tokens=False)[:2]
    with torch.no_grad():
        model.lm_head.weight *= 0.1
        model.lm_head.bias.fill_(-50)
        model.lm_head.bias[[tokenizer.eos_token_id, *numbers]] = 0
        model.lm_head.bias[tokenizer.convert_tokens_to_ids("Ġ")] = 1
    model.save_pretrained(folder)


def save(folder: Path) -> Path:
    """The study file, in a folder with the model, translator and questions that it names."""
    save_model(folder / "model")
    save_translator(folder / "translator")
    save_questions(folder / "questions")
    return write(folder, TINY)
