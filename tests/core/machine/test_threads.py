from __future__ import annotations

import os
import threading

import pytest
import scanpy as sc
import threadpoolctl
import torch

from scperturbrl._core.machine.threads import in_threads, n_jobs, one_thread, pinned


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


@pytest.fixture
def workers():
    """Function that sets the number of workers, which is 1 again afterwards."""
    before = sc.settings.n_jobs

    def allow(n):
        sc.settings.n_jobs = n

    yield allow
    sc.settings.n_jobs = before


def test_scanpys_setting_is_followed(workers):
    for asked, expected in [(1, 1), (3, 3), (0, 1), (-1, len(os.sched_getaffinity(0)))]:
        workers(asked)
        assert n_jobs() == expected


@pytest.mark.parametrize("n", [1, 2, 5])
def test_results_come_in_the_order_of_their_units(workers, n):
    workers(n)
    slow = threading.Event()

    def work(unit):
        # later units are done first
        slow.wait(0.002 * (9 - unit))
        return unit, threading.get_ident()

    found = in_threads(work, range(10))
    assert [unit for unit, _ in found] == list(range(10))
    assert len({ident for _, ident in found}) <= n


@pytest.mark.parametrize("n", [1, 2])
def test_workers_have_one_thread_and_no_gradients(workers, n):
    workers(n)

    def state(unit):
        del unit
        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        return torch.get_num_threads(), torch.is_grad_enabled(), max(pools)

    before = torch.get_num_threads()
    assert in_threads(state, range(4)) == [(1, False, 1)] * 4
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == before


def test_a_worker_does_not_start_workers(workers):
    workers(2)
    inner = in_threads(lambda unit: in_threads(lambda _: threading.get_ident(), range(3)), range(3))
    assert all(len(set(idents)) == 1 for idents in inner)


def test_errors_reach_the_caller(workers):
    workers(2)

    def fail(unit):
        if unit == 3:
            msg = "unit three"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="unit three"):
        in_threads(fail, range(6))


def test_a_pinned_verb_keeps_its_name_and_leaves_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:

        @pinned
        def verb(x: int) -> tuple[int, int]:
            """Double."""
            with one_thread():
                pass
            return 2 * x, torch.get_num_threads()

        assert verb(4) == (8, 1)
        assert (verb.__name__, verb.__doc__) == ("verb", "Double.")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
