"""Train a LoRA adapter on plain sentences of one language, by the loss of the next token.

    python training/sentences.py MODEL FOLDER LANGUAGE --out ADAPTER [--rows 100-279] [--steps 30] [--seed 0]
        [--watch en,sw --held-out 300-315]

The cheapest thing that teaches a model a language: no preferences, no questions. What it does to a
model is there for `langneurons mediate` to follow (docs/mediate.md). FOLDER holds a
<language>.jsonl of rows with `text`; rows count from 0. Of the languages that are watched the mean
cost of held-out rows is printed, in nats a token, before and after.
"""  # noqa: E501

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from langneurons.model.loading import Loaded, load


def sentences(folder: Path, language: str, rows: str) -> list[str]:
    """The texts of these rows, such as 100-279, both ends included."""
    lines = (folder / f"{language}.jsonl").read_text("utf-8").splitlines()
    first, _, last = rows.partition("-")
    return [json.loads(line)["text"] for line in lines[int(first) : int(last) + 1]]


def cost(model: Any, tokenizer: Any, texts: list[str]) -> tuple[torch.Tensor, int]:
    """What the tokens of texts cost in all, each given those before it, and how many there are."""
    given = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    logits = model(**given, use_cache=False).logits[:, :-1]
    kept = given["attention_mask"][:, 1:].bool()
    targets = given["input_ids"][:, 1:][kept]
    return cross_entropy(logits[kept].float(), targets, reduction="sum"), len(targets)


@torch.no_grad()
def watched(model: Any, tokenizer: Any, texts: dict[str, list[str]]) -> dict[str, float]:
    """Mean cost of a token of each language's texts."""
    costs = {}
    for code, some in texts.items():
        parts = [cost(model, tokenizer, [text]) for text in some]
        costs[code] = round(float(sum(part[0] for part in parts) / sum(n for _, n in parts)), 4)
    return costs


def train(loaded: Loaded, texts: list[str], asked: argparse.Namespace) -> Any:
    """The adapter around the model."""
    torch.manual_seed(asked.seed)
    lora = LoraConfig(
        r=asked.rank,
        lora_alpha=2 * asked.rank,
        target_modules=["q_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(loaded.model, lora)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=asked.rate, weight_decay=0.0)
    order: list[int] = []
    for step in range(asked.steps):
        while len(order) < asked.batch:
            order += torch.randperm(len(texts)).tolist()
        some, order = order[: asked.batch], order[asked.batch :]
        total, tokens = cost(model, loaded.tokenizer, [texts[i] for i in some])
        for group in optimizer.param_groups:  # falls in a straight line to nothing
            group["lr"] = asked.rate * (1 - step / asked.steps)
        (total / tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
        print(json.dumps({"step": step + 1, "loss": round(total.item() / tokens, 4)}), flush=True)
    return model


def main() -> None:
    """Train it and save it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("language")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", default="100-279", help="what is trained on")
    parser.add_argument("--held-out", default="300-315", help="what is watched")
    parser.add_argument("--watch", default="", help="languages, with commas")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    loaded = load(asked.model, dtype="float32", device="cpu")
    texts = sentences(asked.folder, asked.language, asked.rows)
    held_out = {
        code: sentences(asked.folder, code, asked.held_out)
        for code in asked.watch.split(",")
        if code
    }
    before = watched(loaded.model, loaded.tokenizer, held_out)
    model = train(loaded, texts, asked)
    after = watched(model, loaded.tokenizer, held_out)
    model.peft_config["default"].base_model_name_or_path = asked.model
    model.save_pretrained(asked.out)
    print(json.dumps({"before": before, "after": after}))


if __name__ == "__main__":
    main()
