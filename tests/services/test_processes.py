"""Names of processes: who is alive, whatever becomes of the clock."""

import subprocess
import sys
import time

import psutil
import pytest

from tasks.services.processes import identity, is_alive


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_process_lives_until_it_ends(child: subprocess.Popen) -> None:
    name = identity(psutil.Process(child.pid))
    assert is_alive(name) and is_alive(identity())
    child.kill()
    deadline = time.monotonic() + 10
    while is_alive(name) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(name), "killed, and a zombie as long as nobody waits for it"
    child.wait()
    assert not is_alive(name)


def test_a_step_of_the_clock_kills_nobody(child: subprocess.Popen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Psutil tells the time of creation by the clock as it is set now."""
    names = [identity(), identity(psutil.Process(child.pid))]
    told = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: told(self) + 3600)
    assert all(is_alive(name) for name in names)
    assert [identity(), identity(psutil.Process(child.pid))] == names


def test_another_process_with_the_same_number_is_another() -> None:
    host, number, began = identity().rsplit("/", 2)
    boot, _, ticks = began.rpartition(".")
    assert not is_alive(f"{host}/{number}/{boot}.{int(ticks) + 1}")
    assert not is_alive(f"{host}/{number}/{boot[::-1]}.{ticks}")
    assert is_alive(f"{host}/{number}/{psutil.Process().create_time():.2f}"), "as earlier versions named it"
    assert not is_alive(f"{host}/{number}/1.00") and not is_alive("nonsense")
