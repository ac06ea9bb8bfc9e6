"""Parts of batches, the order of sums, the place among others: what needs no second process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import making
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.base.world import World, world
from nlpkit.data.order import START, Epochs, cut
from nlpkit.machine.device import choose_device, local_device
from nlpkit.training.parallel.tree import Tree, parts_of_rank
from nlpkit.training.settings import check_parallel

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(1, 9))
def test_every_sequence_is_in_one_part_and_parts_are_about_equal(sizes: list[int], parts: int) -> None:
    lengths = np.array(sizes)
    examples = np.random.default_rng(0).permutation(len(lengths))
    found = cut(examples, lengths, parts)
    assert len(found) == parts and np.concatenate(found).tolist() == examples.tolist()
    for part in found:
        assert abs(int(lengths[part].sum()) - lengths.sum() / parts) <= lengths.max()


@pytest.mark.parametrize(("size", "accumulate"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 3)])
def test_processes_together_read_what_one_reads(size: int, accumulate: int) -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 83)
    source = Epochs(lengths, lambda examples, epoch: examples, batch_tokens=200, seed=0)  # type: ignore[arg-type,return-value]
    source, parts = source.accumulated(accumulate), 4
    streams = [source.read(START, parts, parts_of_rank(parts, size, rank)) for rank in range(size)]
    room = 200 * accumulate  # the batches of an update together are the batch that has room for them all
    whole = Epochs(lengths, source.make, batch_tokens=room, seed=0).batches(START)
    empty = 0
    for _ in range(source.count(2)):
        read = [next(stream) for stream in streams]
        batch, epoch, after = next(whole)
        assert all(item.epoch == epoch and item.after == after for item in read)
        chosen = [piece for item in read for part in item.parts for piece in part]
        assert len(chosen) == parts * accumulate
        empty += sum(part.empty for part in chosen)
        assert np.concatenate([part.batch for part in chosen if not part.empty]).tolist() == batch.tolist()  # type: ignore[attr-defined,misc]
        assert all(part.batch == batch[:1] for part in chosen if part.empty)  # type: ignore[index]
    assert empty  # the last batches of an epoch are small


@given(st.integers(1, 24), st.integers(1, 24))
def test_shares_are_neighbours_and_cover_everything(parts: int, size: int) -> None:
    shares = [list(parts_of_rank(parts, size, rank)) for rank in range(size)]
    assert [part for item in shares for part in item] == list(range(parts))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1 and len(shares[0]) == -(-parts // size)


@given(st.integers(1, 17), st.integers(1, 20), st.sets(st.integers(0, 16)), st.integers(0, 2**32))
def test_a_sum_has_the_same_bits_whoever_computes_its_branches(
    parts: int, size: int, missing: set[int], seed: int
) -> None:
    terms = torch.randn(parts, 5, generator=torch.Generator().manual_seed(seed)) * 10.0 ** torch.arange(-2, 3)
    terms[:, 0] = -0.0
    tree = Tree(parts)

    def grown(chosen: range) -> dict[tuple[int, int], torch.Tensor]:
        found: dict[tuple[int, int], torch.Tensor] = {}
        for part in chosen:
            if part not in missing:
                tree.grow(found, (part, part + 1), terms[part].clone())
        return found

    alone = tree.take(grown(range(parts)), tree.root)
    branches: dict[tuple[int, int], torch.Tensor] = {}
    for rank in range(size):
        mine = parts_of_rank(parts, size, rank)
        found = grown(mine)
        for span in tree.cover(mine.start, mine.stop):
            taken = tree.take(found, span)
            branches[span] = torch.zeros(5) if taken is None else taken
        assert not found
    together = tree.take(branches, tree.root)
    assert together is not None
    if alone is None:
        assert not together.any()
    else:
        assert together.numpy().tobytes() == alone.numpy().tobytes()
        assert torch.allclose(
            alone, terms[[part for part in range(parts) if part not in missing]].sum(0), rtol=1e-4, atol=1e-3
        )


def test_parts_in_one_process_change_the_last_bits_only(tmp_path: Path) -> None:
    tokens = making.token_file(tmp_path / "tokens.safetensors", documents=20)
    given: dict[str, Any] = {
        "n_layers": 1,
        "d_model": 16,
        "n_heads": 2,
        "max_len": 16,
        "batch_tokens": 96,
        "steps": 5,
        "threads": 1,
        "dropout": 0.0,
    }
    found = []
    for parts in (None, 1, 3, 8):
        summary = nlpkit.pretrain([tokens], tmp_path / f"{parts}.safetensors", parts=parts, **given)
        found.append((summary["sha256"], nlpkit.load(tmp_path / f"{parts}.safetensors").model.state_dict()))
    assert found[0][0] == found[1][0] and len({sha for sha, _ in found}) == 3
    for _, other in found[2:]:
        assert all(torch.allclose(value, other[name], atol=1e-6) for name, value in found[0][1].items())


def test_the_place_among_others_is_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert world() == World() and world().leads
    monkeypatch.setenv("WORLD_SIZE", "4")  # what some schedulers leave behind says nothing
    assert world() == World()
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert world() == World(1, 4, 1, 2) and not world().leads
    assert local_device("cuda") == "cuda:1" and local_device("cpu") == "cpu"
    for name, value in {"RANK": "4", "LOCAL_WORLD_SIZE": "5", "WORLD_SIZE": "many"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UserError, match=r"is no valid rank|expected a number"):
                world()


def test_devices_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(UserError, match="device is cuda, but torch finds none here"):
        choose_device("cuda")
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0", "mps:1", ""):
        with pytest.raises(UserError, match=r"device .* is unknown"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == choose_device("cuda") == "cuda" and choose_device("cuda:1") == "cuda:1"
    with pytest.raises(UserError, match="device is cuda:2"):
        choose_device("cuda:2")
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="each of 4 processes takes its own"):
        choose_device("cuda:1")


def test_parallel_is_for_several_processes() -> None:
    check_parallel(None, 1)
    check_parallel("fsdp", 2)
    with pytest.raises(UserError, match="--parallel changes nothing: one process trains"):
        check_parallel("ddp", 1)
    with pytest.raises(UserError, match='did you mean "fsdp"'):
        check_parallel("fspd", 2)
