"""What recording costs: python bench/record.py [--data FOLDER] [--device cuda --shape 7b].

In one process, by turns, on one model with random weights and real texts (responses_mcot7b/mgsm;
ten responses to a prompt, made by cutting the real one at ten lengths):

- ours: `neurons.tally`, as `langneurons record` runs it;
- bare: the same batches through the same model without its LM head and with nothing read, all
  layers to the end;
- released: what the paper's code does, written as plain hooks: prompt and response, then the prompt
  alone, one sequence at a time, with the LM head, counts subtracted;
- TransformerLens and nnsight, where they are installed (`pip install transformer-lens nnsight`):
  one pass over prompt and response, one sequence at a time, counting response positions.

Ours and bare alternate batch by batch; the others run over a sample of the rows and are scaled by
tokens.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langneurons.model import batches
from langneurons.model.forward import cache_name, model_inputs, spread_prompts
from langneurons.model.loading import load
from langneurons.model.sites import find_sites
from langneurons.model.tokens import Tokens, tokenise
from langneurons.neurons.tally import Tally, run_batch
from langneurons.texts.prompts import load_template
from langneurons.texts.responses import Response

SHAPES: dict[str, dict[str, Any]] = {
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
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}
SAMPLES = 10


def texts(folder: Path, questions: int) -> list[Response]:
    """Ten responses to each of the first questions in every language, cut from the real ones."""
    template, out = load_template("mathoctopus"), []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines()[:questions]:
            row = json.loads(line)
            prompt = template.prompt(row["question"], row["lang"])
            for sample in range(SAMPLES):
                kept = row["response"][
                    : max(8, len(row["response"]) * (SAMPLES + sample + 1) // (2 * SAMPLES))
                ]
                out.append(Response(row["id"], row["lang"], prompt, kept, sample))
    return out


def train_tokenizer(responses: list[Response]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of the texts themselves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=8000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator({r.prompt + r.response for r in responses}, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def model_of(shape: str, device: str, dtype: torch.dtype) -> Any:
    """A Llama with random weights and the vocabulary of Mistral-7B."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32000, max_position_embeddings=4096, **SHAPES[shape])
    with torch.device(device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


def sync(device: str) -> None:
    """Wait for the device, so that a clock tells the truth."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def clock(device: str, work: Callable[[], Any]) -> float:
    """Seconds of one piece of work."""
    sync(device)
    began = time.perf_counter()
    work()
    sync(device)
    return time.perf_counter() - began


def middle(ours: list[float], bare: list[float]) -> float:
    """The median ratio of batches that ran by turns, which a busy machine moves little."""
    return float(np.median(np.array(ours) / np.array(bare)))


@torch.inference_mode()
def bare(model: Any, plan: batches.Batches, batch: batches.Batch) -> None:
    """The batch through the decoder, all of it, nothing read, no LM head."""
    prompts, inputs = model_inputs(model, plan, batch)
    if prompts:
        model.model(**prompts)
        spread_prompts(plan, batch, inputs[cache_name(model)])
    model.model(**inputs)


@torch.inference_mode()
def released(model: Any, rows: list[Tokens]) -> None:
    """Two passes, one sequence at a time, with the LM head, as the paper's code.

    Hooks count into one tensor.
    """
    total = torch.zeros(
        len(model.model.layers),
        model.config.intermediate_size,
        dtype=torch.int64,
        device=model.device,
    )
    sign = 1

    def hook(i: int) -> Callable[..., None]:
        def count(_: Any, __: Any, out: torch.Tensor) -> None:
            total[i] += sign * (out > 0).sum(dim=(0, 1))

        return count

    handles = [
        layer.mlp.act_fn.register_forward_hook(hook(i))
        for i, layer in enumerate(model.model.layers)
    ]
    for sign in (1, -1):
        for row in rows:
            ids = row.ids if sign > 0 else row.ids[~row.counted]
            model(input_ids=torch.from_numpy(ids[None]).long().to(model.device), use_cache=False)
    for handle in handles:
        handle.remove()


def transformer_lens(model: Any, tokenizer: Any, rows: list[Tokens]) -> Callable[[], None] | None:
    """The same counts with TransformerLens, of the gate: its activation has the same sign."""
    try:
        library = import_module("transformer_lens.model_bridge")
    except ImportError:
        return None
    bridge = library.TransformerBridge.boot_transformers(
        "bench/llama", hf_model=model, tokenizer=tokenizer
    )
    layers = model.config.num_hidden_layers
    names = [f"blocks.{i}.mlp.gate.hook_out" for i in range(layers)]

    @torch.inference_mode()
    def run() -> None:
        total = torch.zeros(
            layers, model.config.intermediate_size, dtype=torch.int64, device=model.device
        )
        for row in rows:
            counted = torch.from_numpy(row.counted).to(model.device)

            def count(value: torch.Tensor, hook: Any, counted: torch.Tensor = counted) -> None:
                total[int(hook.name.split(".")[1])] += (value[0][counted] > 0).sum(0)

            ids = torch.from_numpy(row.ids[None]).long().to(model.device)
            bridge.run_with_hooks(
                ids, fwd_hooks=[(name, count) for name in names], return_type=None
            )
        assert total.sum() > 0

    return run


def nnsight(model: Any, tokenizer: Any, rows: list[Tokens]) -> Callable[[], None] | None:
    """The same counts with nnsight."""
    try:
        library = import_module("nnsight")
    except ImportError:
        return None
    lens = library.LanguageModel(model, tokenizer=tokenizer)
    layers = model.config.num_hidden_layers

    @torch.inference_mode()
    def run() -> None:
        total = torch.zeros(
            layers, model.config.intermediate_size, dtype=torch.int64, device=model.device
        )
        for row in rows:
            counted = torch.from_numpy(row.counted).to(model.device)
            ids = torch.from_numpy(row.ids[None]).long().to(model.device)
            with lens.trace(ids):
                for i in range(layers):
                    total[i] += (lens.model.layers[i].mlp.act_fn.output[0][counted] > 0).sum(0)
        assert total.sum() > 0

    return run


def added_memory(work: Callable[[], Any]) -> float:
    """What a piece of work adds to the peak memory of this process, in MiB, as Linux tells it.

    `ru_maxrss` would not do: a process starts with the peak of the one that started it.
    """

    def now(name: str) -> float:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    before = now("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    work()
    return now("VmHWM") - before


def memory(responses: int) -> None:
    """Print what recording so many short responses adds to the memory of this process, in MiB."""
    rng = np.random.default_rng(0)
    model = model_of("tiny", "cpu", torch.float32)
    said, tokens = [], []
    for i in range(responses):
        said.append(Response(f"q{i}", "en", f"p{i}", "r"))
        tokens.append(Tokens(rng.integers(0, 8000, 24).astype(np.int32), np.arange(24) >= 12))
    plan = batches.batched(said, tokens, ("en",), blocks=10, budget=4096)
    sites = find_sites(model)
    tally = Tally(plan, sites)

    def record() -> None:
        for batch in plan.batches:
            tally.add(run_batch(model, sites, plan, batch))

    print(added_memory(record))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/responses_mcot7b/mgsm"))
    parser.add_argument("--questions", type=int, default=2, help="questions per language")
    parser.add_argument(
        "--rows", type=int, default=12, help="rows that the slow ways run over; 0: leave them out"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shape", default="111m", choices=SHAPES)
    parser.add_argument(
        "--model", help="a MODEL with its own tokenizer, such as gemma.gguf, in place of --shape"
    )
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument(
        "--save", type=Path, help="only save the model and its tokenizer to this folder"
    )
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        memory(asked.memory)
        return
    responses = texts(asked.data, asked.questions)
    if asked.model:
        loaded = load(asked.model, device=asked.device, dtype=asked.dtype)
        model, tokenizer = loaded.model, loaded.tokenizer
    else:
        tokenizer = train_tokenizer(responses)
        model = model_of(asked.shape, asked.device, getattr(torch, asked.dtype))
    if asked.save:
        model.save_pretrained(asked.save)
        tokenizer.save_pretrained(asked.save)
        return
    rows = tokenise(tokenizer, responses)
    plan = batches.batched(
        responses,
        rows,
        tuple(dict.fromkeys(r.lang for r in responses)),
        blocks=10,
        budget=asked.budget,
    )
    sites = find_sites(model)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    unique = sum(map(plan.computed, plan.batches))
    print(
        f"{platform.machine()}, {asked.device}, {asked.dtype}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {asked.model or 'Llama'} of {parameters:.0f}M "
        f"parameters; {len(rows)} responses, {unique:,} tokens computed"
    )
    both = sum(len(row.ids) for row in rows)
    alone = sum(int((~row.counted).sum()) for row in rows)
    print(
        f"the same responses are {both:,} tokens with a prompt each; "
        f"two passes read {both + alone:,}"
    )
    tally, seconds_of = Tally(plan, sites), {"ours": [], "bare": []}
    run_batch(model, sites, plan, plan.batches[-1])
    bare(model, plan, plan.batches[-1])
    for number, batch in enumerate(plan.batches):
        work = {
            "ours": lambda batch=batch: tally.add(run_batch(model, sites, plan, batch)),
            "bare": lambda batch=batch: bare(model, plan, batch),
        }
        for name in sorted(work, reverse=bool(number % 2)):
            seconds_of[name].append(clock(asked.device, work[name]))
    spent = {name: sum(each) for name, each in seconds_of.items()}
    print(f"{'bare forward':<18}{spent['bare']:9.2f} s   1.000")
    median = middle(seconds_of["ours"], seconds_of["bare"])
    print(
        f"{'ours':<18}{spent['ours']:9.2f} s   {spent['ours'] / spent['bare']:.3f} of bare; "
        f"median of {len(plan.batches)} batches {median:.3f}"
    )
    if not asked.rows:
        return
    some = [rows[i * len(rows) // asked.rows + i % SAMPLES] for i in range(asked.rows)]
    scale = sum(len(r.ids) for r in rows) / sum(len(r.ids) for r in some)
    slow = {
        "released": lambda: released(model, some),
        "TransformerLens": transformer_lens(model, tokenizer, some),
        "nnsight": nnsight(model, tokenizer, some),
    }
    for name, run in slow.items():
        if run is None:
            print(f"{name:<18} not installed")
            continue
        run()
        seconds = min(clock(asked.device, run) for _ in range(2)) * scale
        times = f"{seconds / spent['ours']:.1f} times ours ({len(some)} rows, scaled up)"
        print(f"{name:<18}{seconds:9.2f} s   {times}")
    peaks = {}
    for count in (2000, 20000):
        command = [sys.executable, __file__, "--memory", str(count)]
        peaks[count] = float(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
    print(
        f"memory that 2,000 and 20,000 responses add: {peaks[2000]:.0f} and "
        f"{peaks[20000]:.0f} MiB, smallest model"
    )


if __name__ == "__main__":
    main()
