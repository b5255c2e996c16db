"""Where training computes."""

import pytest
import torch

from bbqrec_core.determinism import choose_device
from bbqrec_core.errors import StageError


def test_a_device_that_is_not_there_is_told_with_the_way_out():
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(StageError, match=f"compute.device is {missing}, and this machine has none") as caught:
        choose_device(missing)
    assert "auto or cpu" in caught.value.way_out
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
