from __future__ import annotations

import threading

import pytest
import threadpoolctl
import torch

from scperturbrl._core.threads import one_thread


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    with threadpoolctl.threadpool_limits(limits=2):
        yield
    torch.set_num_threads(1)


def counts():
    return torch.get_num_threads(), {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}


def own_counts():
    # OpenBLAS lets none but the main thread change its number
    pools = threadpoolctl.ThreadpoolController().select(user_api="openmp").info()
    return torch.get_num_threads(), {pool["num_threads"] for pool in pools}


def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("two_threads")
def test_one_thread_counts_for_the_block():
    with one_thread():
        assert counts() == (1, {1})
        with one_thread():
            pass
        assert counts() == (1, {1})
    assert counts() == (2, {2})
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert counts() == (2, {2})
    with one_thread("meta"):
        assert counts() == (2, {2})


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("first_out", [0, 1])
def test_threads_that_overlap_leave_what_was_there(first_out):
    steps, seen = [[threading.Event() for _ in range(2)] for _ in range(2)], [[], []]

    def work(number):
        with one_thread():
            steps[number][0].set()
            steps[number][1].wait(10)
            seen[number].append(own_counts())
        seen[number].append(torch.get_num_threads())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread, (entered, _) in zip(threads, steps, strict=True):
        thread.start()
        entered.wait(10)
    for number in (first_out, 1 - first_out):
        steps[number][1].set()
        threads[number].join(10)
    # both were alone with one thread to the end, also the one that stayed longer
    assert [found[0] for found in seen] == [(1, {1}), (1, {1})]
    assert [found[1] for found in seen] == [2, 2]
    assert counts() == (2, {2})
    assert in_a_thread(torch.get_num_threads) == 2
