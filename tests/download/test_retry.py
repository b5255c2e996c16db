import asyncio
import email.utils
import time

import pytest

from bbqrec_core.download.failures import FailedDownload, failure_of_status, retry_after
from bbqrec_core.download.retry import LONGEST_ASKED_WAIT, Patience, persist


def test_waits_grow_and_stay_bounded():
    patience = Patience(attempts=99, first_wait=1.0, longest_wait=8.0)
    for failures, longest in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (5000, 8.0)]:
        waits = [patience.wait_after(failures, None) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert patience.wait_after(1, 30.0) == 30.0
    assert patience.wait_after(1, 1e9) == LONGEST_ASKED_WAIT


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), (" 7 ", 7), ("0", 0), ("-1", None), ("soon", None), ("", None), ("9" * 5000, 999_999_999)]
)
def test_retry_after_in_seconds(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date():
    assert 50 < retry_after({"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert retry_after({"retry-after": email.utils.formatdate(time.time() - 60, usegmt=True)}) == 0
    assert retry_after({}) is None


def test_which_statuses_are_worth_another_try():
    again = [status for status in range(100, 600) if failure_of_status(status, {}).again]
    assert again == [408, 425, 429, *range(500, 600)]
    assert [status for status in range(100, 600) if failure_of_status(status, {}).gone] == [404, 410]


def test_patience_ends_unless_it_gets_further():
    tries = 0

    async def fail():
        nonlocal tries
        tries += 1
        raise FailedDownload("no", again=tries < 10)

    patience = Patience(attempts=3, first_wait=0.0)
    with pytest.raises(FailedDownload, match="no, 3 times"):
        asyncio.run(persist(fail, patience))
    assert tries == 3
    with pytest.raises(FailedDownload, match=r"no$"):
        asyncio.run(persist(fail, patience, got_further=lambda: True))
    assert tries == 10
