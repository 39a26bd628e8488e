import threading

import pytest
import torch

from e2miseg_core.helper_threads import helper_pool


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_helpers_compute_on_one_processor_and_nobody_else_does(three_threads):
    with helper_pool(2, "helper") as pool:
        ready = threading.Barrier(2)

        def look():
            ready.wait()  # so that both threads answer
            return torch.get_num_threads(), threading.current_thread().name

        answers = [pool.submit(look) for _ in range(2)]
        assert {count for count, _ in (a.result() for a in answers)} == {1}
        assert {a.result()[1] for a in answers} == {"helper_0", "helper_1"}
        assert torch.get_num_threads() == 3
        assert in_new_thread(torch.get_num_threads) == 3


def test_new_threads_are_as_before_however_many_helpers_begin_together(three_threads):
    for _ in range(60):
        with helper_pool(4, "helper") as pool:
            ready = threading.Barrier(4)
            answers = [pool.submit(ready.wait) for _ in range(4)]
            for answer in answers:
                answer.result()
        assert in_new_thread(torch.get_num_threads) == 3
