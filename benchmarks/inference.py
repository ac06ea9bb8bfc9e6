"""The speed of inference beside Hugging Face's: vectors of texts, classes, continuations; in float32 and in 8 bits.

Each row has the same weights on both sides, a slice of each in turn, one thread, seconds of processor time; the ratio
is the peer's to ours, median [least .. most]. Ours in 8 bits (--int8) is against the peer in float32 too; how far its
results are away is said. What is compared:

    embed-one      each text alone, from text to vector, against pipeline("feature-extraction"), tensors returned
    embed-many     all texts at once, against the same with batch_size=32; ours packs them by length
    classify       encoded texts, against Trainer.predict in padded batches of 32
    generate       greedy, 16 + 64 tokens, 4 layers x 256, against model.generate with its cache
    generate-small the same of a model of GPT-2's smallest size, 12 x 768 and 50,257 pieces

    python benchmarks/inference.py                            # all, three minutes
    python benchmarks/inference.py --only embed-one generate --slices 12
    python benchmarks/inference.py --small                    # seconds; shows that it runs

Vectors and tokens of both sides must agree, or the script ends with an error. Needs the extras "parity" and "bench".
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
import transformers
from training_peer import features, model_of
from training_works import WORKS, Ours, build, finetuning, shape, tokens_of, write_text

from nlpkit.decoding.causal import Reader
from nlpkit.decoding.sampling import Sampling
from nlpkit.decoding.text import Growing
from nlpkit.models import family as family_of
from nlpkit.models.load import Loaded, model_config, to_inference
from nlpkit.models.sizes import config_for
from nlpkit.stages.embed import pooler
from nlpkit.stages.generate import Writer
from nlpkit.stages.streaming import CHUNK
from nlpkit.tasks.reading import encoder_of
from nlpkit.tasks.scoring import each, score
from nlpkit.tokenizers import load as load_tokenizer

PROMPT, NEW = 16, 64
Results = list[Any]


@dataclass(frozen=True)
class Case:
    """Both sides of a row: functions that answer everything, and how far two lists of answers are apart."""

    title: str
    ours: Callable[[], Results]
    peer: Callable[[], Results]
    apart: Callable[[Results, Results], float]
    most: float  # of ``apart`` in float32
    unit: str


def embedding(folder: Path, arguments: argparse.Namespace, int8: bool, one: bool) -> Case:
    ours = build(WORKS["mlm-8k"], folder, arguments)
    loaded = Loaded(ours.loaded.model, ours.loaded.tokenizer, ours.loaded.family, ours.loaded.config, folder)
    peer = model_of(ours, named(folder, "embed"), 0.0).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(peer.config._name_or_path)
    pipe = transformers.pipeline("feature-extraction", model=peer.bert, tokenizer=tokenizer, device="cpu")
    texts = speeches(folder, arguments)
    to_inference(loaded, int8=int8, device="cpu")
    encoder, pool = encoder_of(loaded, arguments.max_len), pooler(loaded, "mean", None)
    size = 1 if one else CHUNK

    def by_us() -> Results:
        found: Results = []
        for start in range(0, len(texts), size):
            sequences = encoder.encode(texts[start : start + size], None)
            found += list(each(loaded.model, pool, sequences, batch_tokens=4096, device="cpu"))
        return found

    how = {"truncation": True, "max_length": arguments.max_len, "return_tensors": True}

    def by_them() -> Results:
        if one:
            return [pipe(text, **how)[0].mean(0).numpy() for text in texts]
        return pipe(texts, batch_size=32, **how)  # its vectors of padding are not taken out, which costs nothing here

    def apart(left: Results, right: Results) -> float:
        if not one:
            right = [pipe(text, **how)[0].mean(0).numpy() for text in texts[:8]]
        return max(1 - float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(left, right, strict=False))

    return Case("vectors of texts, " + ("one by one" if one else "many"), by_us, by_them, apart, 1e-5, "1 - cosine")


def classifying(folder: Path, arguments: argparse.Namespace, int8: bool) -> Case:
    work = WORKS["finetune-dynamic"]
    tokenizer, _ = tokens_of(work, folder, arguments)
    ours = finetuning(tokenizer, arguments, folder)
    ours = Ours(ours.loaded, ours.objective, ours.data, ours.order[: arguments.texts])
    peer = model_of(ours, named(folder, "classify"), 0.0)
    theirs = transformers.AutoTokenizer.from_pretrained(peer.config._name_or_path)
    settings = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_eval_batch_size=32,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    made = transformers.Trainer(
        model=peer, args=settings, processing_class=theirs, data_collator=transformers.DataCollatorWithPadding(theirs)
    )
    asked = features(work, ours, arguments, len(ours.order))
    to_inference(ours.loaded, int8=int8, device="cpu")
    chosen = Chosen(ours)

    def apart(left: Results, right: Results) -> float:
        return float(np.abs(np.array(left) - np.array(right)).max())

    return Case(
        "classes of encoded texts, against Trainer.predict",
        lambda: list(score(ours.loaded.model, ours.objective, chosen)),  # type: ignore[arg-type]
        lambda: list(made.predict(asked).predictions),
        apart,
        1e-4,
        "of a score",
    )


class Chosen:
    """The sequences of an order, as `score` reads them."""

    def __init__(self, ours: Ours) -> None:
        self.ours, self.lengths = ours, ours.data.lengths[ours.order]

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, examples: Any) -> Any:
        return self.ours.data.make(self.ours.order[examples], 0)


def generating(folder: Path, arguments: argparse.Namespace, int8: bool, small: bool) -> Case:
    tokenizer = load_tokenizer(tokens_of(WORKS["clm-8k"], folder, arguments)[0])
    family = family_of("gpt2")
    torch.manual_seed(0)
    if small and not arguments.small:
        config = config_for(family, "base", vocab_size=50257, max_len=arguments.max_len, dropout=0.0)
    else:
        config = shape(family, tokenizer.vocab_size, arguments)
    network = family.build(config, ("clm",)).eval()
    with torch.no_grad():  # pieces that the tokenizer has not are never likely; the others are told apart
        network.embeddings.token.weight[tokenizer.vocab_size :] = 0
        network.embeddings.token.weight.mul_(3)
    loaded = Loaded(network, tokenizer, family, model_config(network, family), folder)
    folder_ = named(folder, f"generate-{small}")
    peer = model_of(Ours(loaded, None, None, None), folder_, 0.0).eval()  # type: ignore[arg-type]
    peer.generation_config.eos_token_id = None
    to_inference(loaded, int8=int8, device="cpu")
    first = Reader(loaded)
    new = min(NEW, arguments.max_len - PROMPT)
    prompts = [tokenizer.encode(text).tolist()[:PROMPT] for text in speeches(folder, arguments) if len(text) > 120][:4]
    writer = Writer(tokenizer, Sampling(temperature=0.0), -1, new, (), 0, lambda part: None)

    def by_us() -> Results:
        found = []
        for prompt in prompts:
            reader = first.copy()
            writer.write(reader, reader.read(prompt), Growing(tokenizer, prompt), 0, 0)
            found.append(reader.tokens[PROMPT:])
        return found

    def by_them() -> Results:
        found = []
        with torch.inference_mode():
            for prompt in prompts:
                given = torch.tensor([prompt])
                out = peer.generate(
                    given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=new, pad_token_id=0
                )
                found.append(out[0, PROMPT:].tolist())
        return found

    def apart(left: Results, right: Results) -> float:
        pairs = [a != b for ours, theirs in zip(left, right, strict=True) for a, b in zip(ours, theirs, strict=False)]
        return float(np.mean(pairs))

    shown = f"{config.n_layers} x {config.d_model}, V {config.vocab_size:,}"
    return Case(f"greedy continuations, {shown}", by_us, by_them, apart, 0.01, "of the tokens")


def speeches(folder: Path, arguments: argparse.Namespace) -> list[str]:
    lines = (folder / "lines.txt").read_text().split("\n\n")
    return [line for line in lines if line.strip()][: arguments.texts]


def named(folder: Path, name: str) -> Path:
    """A folder for the peer's files."""
    made = folder / f"peer-{name}"
    made.mkdir(exist_ok=True)
    return made


CASES: dict[str, Callable[..., Case]] = {
    "embed-one": lambda *given: embedding(*given, one=True),
    "embed-many": lambda *given: embedding(*given, one=False),
    "classify": classifying,
    "generate": lambda *given: generating(*given, small=False),
    "generate-small": lambda *given: generating(*given, small=True),
}


def measure(case: Case, slices: int) -> tuple[list[float], float]:
    """Ratios of all slices but the first, and how far the answers are apart."""
    ratios, answers = [], []
    for _ in range(slices + 1):
        seconds = []
        answers = []
        for side in (case.ours, case.peer):
            began = time.process_time()
            answers.append(side())
            seconds.append(time.process_time() - began)
        ratios.append(seconds[1] / seconds[0])
    return ratios[1:], case.apart(*answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="rows (default: all)")
    parser.add_argument("--slices", type=int, default=5, help="slices of each side that count (default: 5)")
    parser.add_argument("--texts", type=int, default=256, help="texts in a slice (default: 256)")
    parser.add_argument("--size", default="mini", help="the model (default: mini, 4 layers x 256)")
    parser.add_argument("--max-len", type=int, default=128, help="tokens in a sequence (default: 128)")
    parser.add_argument("--small", action="store_true", help="a smaller model, few texts")
    arguments = parser.parse_args()
    arguments.dropout, arguments.batch = 0.0, 32
    if arguments.small:
        arguments.texts, arguments.max_len, arguments.slices = 24, 32, 2
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    wrong = []
    print("| answers | float32: ratio, median [least .. most] | apart | 8 bits: ratio | apart |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder, arguments)
        for chosen in arguments.only:
            cells = []
            for int8 in (False, True):
                case = CASES[chosen](folder, arguments, int8)
                ratios, apart = measure(case, arguments.slices)
                cells += [f"{median(ratios):.2f} [{min(ratios):.2f} .. {max(ratios):.2f}]", f"{apart:.1g} {case.unit}"]
                if apart > case.most and not int8:
                    wrong.append(chosen)
            print("| " + " | ".join([case.title, *cells]) + " |", flush=True)
    if wrong:
        sys.exit(f"the two sides do not answer the same: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
