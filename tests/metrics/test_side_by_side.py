"""Work side by side: results in order, and no trace in PyTorch's own settings."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from dojobench.metrics.clip_scorer import ClipScorer, ClipScores
from dojobench.metrics.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_order(threads: int) -> None:
    torch.set_num_threads(threads)
    assert side_by_side([partial(pow, n, 2) for n in range(20)]) == [n * n for n in range(20)]
    assert side_by_side([]) == []


def test_each_piece_computes_alone_and_others_keep_their_threads() -> None:
    torch.set_num_threads(3)
    inside = side_by_side([torch.get_num_threads] * 12)
    names = side_by_side([lambda: threading.current_thread().name] * 12)
    assert inside == [1] * 12
    assert all(name.startswith("score") for name in names)
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3


def test_gradients_are_off_in_pieces_and_on_outside() -> None:
    torch.set_num_threads(2)
    assert side_by_side([torch.is_grad_enabled] * 4) == [False] * 4
    assert torch.is_grad_enabled()


def test_an_exception_of_a_piece_is_raised_here() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1, lambda: 1 // 0])
    assert side_by_side([lambda: 1, lambda: 2]) == [1, 2]


def _score() -> ClipScores:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (9, 3, 260, 300), dtype=torch.uint8, generator=generator)
    scorer = ClipScorer()
    scorer.start(truth[:1])
    scorer.update(truth[:-1], truth[1:])
    return scorer.finish()


def test_scores_do_not_depend_on_the_number_of_threads() -> None:
    torch.set_num_threads(1)
    alone = _score()
    torch.set_num_threads(3)
    assert _score() == alone
