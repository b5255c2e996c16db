import pytest
from download.bad_server import Server


@pytest.fixture
def server():
    running = Server()
    yield running
    running.stop()
