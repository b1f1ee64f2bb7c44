"""Scripts as several processes, and a server in a thread."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from course_lib.lab.replicas import ReplicasFailed, run_replicas
from course_lib.lab.serve_here import ServeHere

SUM = """
import mlx.core as mx
group = mx.distributed.init(backend="ring")
total = mx.distributed.all_sum(mx.array([group.rank() + 1]))
mx.eval(total)
if group.rank() == 0:
    print("sum", total.item(), "of", group.size())
"""


def test_the_ranks_of_a_group_add_up():
    assert "sum 3 of 2" in run_replicas(SUM, processes=2)


def test_a_rank_that_fails_is_told_with_its_words():
    with pytest.raises(ReplicasFailed, match="ZeroDivisionError"):
        run_replicas("1 / 0", processes=2)


def test_what_never_ends_is_ended():
    with pytest.raises(ReplicasFailed, match="(?s)not done after 3 s.*begun"):
        run_replicas("import time\nprint('begun', flush=True)\nwhile True: time.sleep(1)", processes=2, timeout=3)


def test_a_server_in_a_thread_answers_until_it_is_stopped():
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("here"))])
    with ServeHere(app) as server:
        assert httpx.get(server.url).text == "here"
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
    assert not server._thread.is_alive()
    server.stop()
