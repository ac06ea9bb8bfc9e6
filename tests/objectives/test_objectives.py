"""Objectives: what they choose, that batches do not matter, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from making import OPTIONS, VOCABULARY, make_batch

from nlpkit import objectives
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch
from nlpkit.objectives.base import Vocabulary
from nlpkit.objectives.mlm import MaskedLM, parse_mix


def address(epoch: int, seed: int = 0) -> Address:
    return Address(seed, ("objective", epoch))


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.4, 1.0])
def test_each_sequence_has_its_share(ratio: float) -> None:
    batch = make_batch([3, 10, 128, 57])
    _, target = MaskedLM(1000, 4, ratio).corrupt(batch, address(0))
    chosen = batch.packing.sequence[target.fields["positions"]].bincount(minlength=4).tolist()
    assert chosen == [max(1, round(ratio * (length - 2))) for length in (3, 10, 128, 57)]
    assert not batch.special[target.fields["positions"]].any()
    assert target.counts == {"mlm": sum(chosen)}
    assert torch.equal(target.fields["labels"], batch.tokens[target.fields["positions"]])


def test_the_mix_is_80_10_10_and_all_else_is_untouched() -> None:
    batch = make_batch([512] * 60)
    corrupted, target = MaskedLM(1000, 4).corrupt(batch, address(3))
    positions = target.fields["positions"]
    untouched = torch.ones(batch.packing.total, dtype=torch.bool)
    untouched[positions] = False
    assert torch.equal(corrupted.tokens[untouched], batch.tokens[untouched])
    now, before = corrupted.tokens[positions], batch.tokens[positions]
    n = len(positions)
    assert abs((now == 4).sum().item() / n - 0.8) < 0.02
    assert abs((now == before).sum().item() / n - 0.1) < 0.02
    random = now[(now != 4) & (now != before)]
    assert abs(len(random) / n - 0.1) < 0.02
    assert random.min() < 100 and random.max() > 900  # drawn from all of the vocabulary


def test_masks_belong_to_the_example_not_to_the_batch() -> None:
    lengths, examples = [20, 31, 64, 64], [5, 900_000_000_000, 7, 8]
    whole, _ = MaskedLM(1000, 4).corrupt(make_batch(lengths, examples), address(1))
    alone = [
        MaskedLM(1000, 4).corrupt(make_batch([n], [e]), address(1))[0].tokens
        for n, e in zip(lengths, examples, strict=True)
    ]
    assert torch.equal(whole.tokens, torch.cat(alone))
    order = [2, 0, 3, 1]
    shuffled, _ = MaskedLM(1000, 4).corrupt(
        make_batch([lengths[i] for i in order], [examples[i] for i in order]), address(1)
    )
    assert torch.equal(shuffled.tokens, torch.cat([alone[i] for i in order]))


def test_dynamic_masks_change_and_static_masks_repeat() -> None:
    batch = make_batch([128] * 4)

    def positions(objective: MaskedLM, epoch: int, seed: int = 0) -> list[int]:
        return objective.corrupt(batch, address(epoch, seed))[1].fields["positions"].tolist()

    dynamic, static, once = MaskedLM(1000, 4), MaskedLM(1000, 4, copies=3), MaskedLM(1000, 4, copies=1)
    assert positions(dynamic, 0) != positions(dynamic, 1)
    assert positions(dynamic, 0) == positions(dynamic, 0) != positions(dynamic, 0, seed=1)
    assert positions(static, 0) == positions(static, 3) != positions(static, 1)
    assert positions(once, 0) == positions(once, 7)


def test_clm_asks_for_the_next_token_of_the_same_sequence() -> None:
    batch = make_batch([3, 5])
    same, target = objectives.build("clm", VOCABULARY, OPTIONS).corrupt(batch, address(0))
    assert same is batch
    assert target.fields["positions"].tolist() == [0, 1, 3, 4, 5, 6]
    assert torch.equal(target.fields["labels"], batch.tokens[target.fields["positions"] + 1])
    assert target.counts == {"clm": 6}


def test_combined_objectives_keep_their_terms() -> None:
    task = objectives.build("mlm+nsp", VOCABULARY, OPTIONS)
    assert (task.name, task.heads, task.source) == ("mlm+nsp", ("mlm", "nsp"), "pairs")
    batch = make_batch([16, 16])
    batch = Batch(batch.tokens, batch.packing, batch.examples, batch.special, labels={"nsp": torch.tensor([0, 1])})
    corrupted, target = task.corrupt(batch, address(0))
    alone, wanted = MaskedLM(1000, 4).corrupt(batch, address(0))
    assert target.counts == {"mlm": wanted.counts["mlm"], "nsp": 2}
    assert torch.equal(corrupted.tokens, alone.tokens)  # a partner changes no mask


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("mml", {}, 'did you mean "mlm"'),
        ("mlm+mlm", {}, "twice"),
        ("mlm", {"mask_ratio": 0.0}, "mask-ratio is 0.0"),
        ("mlm", {"mask_ratio": 1.5}, "mask-ratio is 1.5"),
        ("mlm", {"mask_mix": "80/10"}, "sum to 100"),
        ("mlm", {"mask_mix": "80/10/20"}, "sum to 100"),
        ("mlm", {"mask_mix": "-10/100/10"}, "sum to 100"),
        ("mlm", {"masks": "dynamc"}, "dynamc"),
        ("mlm", {"mask_copies": 0}, "mask-copies"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        objectives.build(name, VOCABULARY, {**OPTIONS, **options})


def test_a_tokenizer_without_mask_is_refused() -> None:
    with pytest.raises(UserError, match="needs a mask token"):
        objectives.build("mlm", Vocabulary(10, {"eos": 0}), OPTIONS)


def test_a_mix_is_three_shares() -> None:
    assert parse_mix("80/10/10") == (0.8, 0.1, 0.1)
    assert parse_mix("0/0/100") == (0.0, 0.0, 1.0)


def test_every_listed_objective_can_be_built() -> None:
    for name in objectives.OBJECTIVES:
        task = objectives.build(name, VOCABULARY, OPTIONS)
        assert task.name == name == objectives.kind(name).name
        assert set(task.weights) and task.heads and np.isfinite(list(task.weights.values())).all()
