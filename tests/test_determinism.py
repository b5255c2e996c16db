"""Where training computes."""

import threading

import pytest
import torch

from bbqrec_core.determinism import choose_device, kernel_threads
from bbqrec_core.errors import StageError


def test_a_device_that_is_not_there_is_told_with_the_way_out():
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(StageError, match=f"compute.device is {missing}, and this machine has none") as caught:
        choose_device(missing)
    assert "auto or cpu" in caught.value.way_out
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("first_out", [0, 1])
def test_blocks_of_threads_that_overlap_leave_the_setting_as_it_was(first_out):
    before = torch.get_num_threads()
    inside, leave = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def stay(number: int) -> None:
        with kernel_threads(number + 2):
            inside[number].set()
            leave[number].wait(10)

    threads = [threading.Thread(target=stay, args=(number,)) for number in range(2)]
    for number in range(2):
        threads[number].start()
        assert inside[number].wait(10)
    for number in (first_out, 1 - first_out):
        leave[number].set()
        threads[number].join(10)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    reader.start()
    reader.join(10)
    assert (torch.get_num_threads(), seen) == (before, [before])
