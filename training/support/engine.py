"""Engines that run tasks: processes on this machine, or a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mujo_edge.core import UsageError, require_extra
from training.support.workers import workers

Item = TypeVar("Item")
Result = TypeVar("Result")
Engine = Callable[[Callable[[Any], Any], Iterable[Any], int], Iterator[tuple[Any, Any]]]
"""(function, items, jobs) -> (item, function(item)) in order of completion, `jobs` at a time. The result is None if the
process died. An exception of the function is raised to the caller and stops all tasks."""

AHEAD = 2
"""Items queued per worker, so that it never waits for the next."""


def on_processes(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[tuple[Item, Result | None]]:
    """`Engine` of `jobs` processes. When one dies, the tasks in progress are retried one by one."""
    return limited(function, items, jobs, AHEAD * jobs)


def limited(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int, most: int
) -> Iterator[tuple[Item, Result | None]]:
    """`on_processes` with at most `most` items in progress."""
    queue = deque(items)
    while queue:
        running: dict[Future[Result], Item] = {}
        try:
            with workers(jobs) as pool:
                while queue or running:
                    while queue and len(running) < most:
                        running[pool.submit(function, queue[0])] = queue[0]
                        queue.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
        except BrokenProcessPool:
            if most == 1 and running:
                yield running.popitem()[1], None
            else:
                yield from limited(function, running.values(), 1, 1)


def on_ray(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[tuple[Item, Result | None]]:
    """`Engine` of the Ray cluster at $RAY_ADDRESS, else of `jobs` Ray workers on this machine.

    Data must be at the same path on every node, and the checkout importable there; nothing is written on the nodes.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray = require_extra("ray", "cluster")
    address = os.environ.get("RAY_ADDRESS", "local")
    here = {
        "num_cpus": jobs,
        "include_dashboard": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
    }
    ray.init(address=address, log_to_driver=False, configure_logging=False, **(here if address == "local" else {}))
    try:
        remote = ray.remote(max_retries=1)(lambda item: function(item))  # Ray does not take a partial
        most = AHEAD * int(ray.cluster_resources().get("CPU", jobs))
        queue = deque(items)
        running: dict[Any, Item] = {}
        while queue or running:
            while queue and len(running) < most:
                item = queue.popleft()
                running[remote.remote(item)] = item
            (done,), _ = ray.wait(list(running))
            item = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.WorkerCrashedError:
                result = None
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            yield item, result
    finally:
        ray.shutdown()


ENGINES: dict[str, Engine] = {"processes": on_processes, "ray": on_ray}


def engine(name: str) -> Engine:
    """The engine of that name. Raises `UsageError` listing the names."""
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}. Choose from: {', '.join(ENGINES)}")
    return ENGINES[name]
