"""The same function on many items, in this process, in several, or on a Ray cluster.

| name | what it does | paper |
|---|---|---|
| `parallel_map` | a list of results in the order of the items, the same on every engine | - |
| `ParallelEngine` | what `engine` may be | - |
"""

import importlib
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context
from typing import Any, Literal, TypeAlias, TypeVar

import cloudpickle  # type: ignore[import-untyped]
import torch
from tqdm.auto import tqdm

from causalppl.exceptions import DataError, MissingExtraError
from causalppl.seeding import spawn_seeds

__all__ = ["ParallelEngine", "parallel_map"]

ParallelEngine: TypeAlias = Literal["local", "ray"] | Executor
"""Where calls run: ``"local"`` processes, the cluster that ``"ray"`` finds, or an executor's."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 4  # calls handed out for each worker, so that none is idle and few results wait
_LONGEST_NAME = 80


def parallel_map(
    function: Callable[..., Result],
    items: Iterable[Item],
    engine: ParallelEngine = "local",
    *,
    num_workers: int = 1,
    seed: int | None = None,
    progress: bool | None = None,
) -> list[Result]:
    """Apply a function to every item.

    Functions and items are sent by value, so closures and what a notebook defines may be used. A
    script that starts processes of its own (``"local"`` with several workers) needs the usual
    ``if __name__ == "__main__":``.

    Args:
        function: Called as ``function(item)``, or as ``function(item, seed=...)`` where a seed is
            given.
        items: What it is applied to.
        engine: ``"local"``: this process, or ``num_workers`` fresh ones where that is above 1;
            ``"ray"``: the cluster that Ray is connected to, else one of ``num_workers`` processes
            on this machine; or any executor (``concurrent.futures.Executor``), which stays open.
            Pyro's handlers are global to a process, so threads must not run Pyro programs.
        num_workers: Number of processes.
        seed: Seeds one stream for each item, by its position alone, so that the result is the
            same for every engine and number of workers.
        progress: Show a progress bar; None: only at a terminal or in a notebook.

    Returns:
        The results, in the order of the items.

    Raises:
        DataError: The number of workers is below 1, ``engine`` is unknown, or the function or an
            item cannot be sent to another process.
        MissingExtraError: Ray is asked for and not installed.
        Exception: What the function raised; of several failures that of the first item. A note
            names the item. Calls that have not begun are dropped.

    Example:
        >>> parallel_map(lambda x: x**2, [1, 2, 3])
        [1, 4, 9]
    """
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1:
        raise DataError(f"num_workers is {num_workers!r}; expected a whole number from 1 on")
    todo = list(items)
    options: list[dict[str, int]] = [{} for _ in todo]
    if seed is not None:
        options = [{"seed": each} for each in spawn_seeds(seed, len(todo))]
    if not todo:
        return []
    results: list[Result] = []
    calls = _calls(function, engine, num_workers)
    with calls as (submit, window), _bar(len(todo), progress) as bar:
        waiting: deque[Future[Result]] = deque()
        for item, option in zip(todo, options, strict=True):
            if len(waiting) == window:
                results.append(_result(waiting, len(results), todo))
                bar.update()
            waiting.append(submit(item, option))
        while waiting:
            results.append(_result(waiting, len(results), todo))
            bar.update()
    return results


def _result(waiting: "deque[Future[Result]]", position: int, items: list[Item]) -> Result:
    """The next result in order; names the item and drops the other calls where it failed."""
    try:
        return waiting.popleft().result()
    except BaseException as error:  # an interruption too: the pool would wait for the others
        for future in waiting:
            future.cancel()
        name = repr(items[position])
        name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
        error.add_note(f"in parallel_map, at item {position} of {len(items)}: {name}")
        raise


_Submit: TypeAlias = Callable[[Any, dict[str, int]], "Future[Any]"]


@contextmanager
def _calls(
    function: Callable[..., Any], engine: ParallelEngine, num_workers: int
) -> Iterator[tuple[_Submit, int]]:
    """How a call with an item and options is handed out, and how many may wait."""
    cores = os.cpu_count() or 1
    if isinstance(engine, Executor):
        yield _on_executor(function, engine), _WAITING * max(num_workers, cores)
    elif engine == "local" and num_workers == 1:
        yield partial(_call_here, function), 1
    elif engine == "local":
        # fork would copy locks that other threads hold (torch, pyarrow), and hang
        context, threads = get_context("spawn"), max(1, cores // num_workers)
        pool = ProcessPoolExecutor(num_workers, context, torch.set_num_threads, (threads,))
        with pool:
            yield _on_executor(function, pool), _WAITING * num_workers
    elif engine == "ray":
        with _ray_cluster(function, num_workers) as (submit, workers):
            yield submit, _WAITING * workers
    else:
        raise DataError(
            f"engine is {engine!r}; expected 'local', 'ray' or a concurrent.futures.Executor"
        )


def _call_here(function: Callable[..., Any], item: Any, options: dict[str, int]) -> "Future[Any]":
    future: Future[Any] = Future()
    try:
        future.set_result(function(item, **options))
    except Exception as error:
        future.set_exception(error)
    return future


def _on_executor(function: Callable[..., Any], pool: Executor) -> _Submit:
    if not isinstance(pool, ProcessPoolExecutor):
        return lambda item, options: pool.submit(function, item, **options)
    sent = _sent(function)
    return lambda item, options: pool.submit(_call_sent, sent, _sent((item, options)))


def _sent(value: Any) -> bytes:
    try:
        return cloudpickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise DataError(
            f"{value!r} cannot be sent to another process ({error}); expected values that can be "
            "pickled, open files and locks inside the function, or use num_workers=1"
        ) from error


@lru_cache(maxsize=1)  # the function is the same for all items, and may hold a whole model
def _received(function: bytes) -> Callable[..., Any]:
    return pickle.loads(function)


def _call_sent(function: bytes, item: bytes) -> Any:
    """In the other process."""
    value, options = pickle.loads(item)
    return _received(function)(value, **options)


@contextmanager
def _ray_cluster(function: Callable[..., Any], num_workers: int) -> Iterator[tuple[_Submit, int]]:
    """Hand calls to Ray; a cluster that was started here is stopped at the end."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError(
            f"Ray cannot be imported ({error}); engine='ray' needs it; "
            'install it with: pip install "causalppl[scale]"'
        ) from error
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(num_cpus=num_workers, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(max_retries=0)(_call_sent)
        sent = ray.put(_sent(function))  # one copy in the cluster

        def submit(item: Any, options: dict[str, int]) -> "Future[Any]":
            return _RayFuture(remote.remote(sent, _sent((item, options))), ray)

        yield submit, max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if is_ours:
            ray.shutdown()


class _RayFuture(Future[Any]):
    """A call on Ray, with the exception of the function itself and not Ray's wrapper of it."""

    def __init__(self, reference: Any, ray: Any) -> None:
        super().__init__()
        self._reference, self._ray = reference, ray

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._ray.get(self._reference, timeout=timeout)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None

    def cancel(self) -> bool:
        self._ray.cancel(self._reference)
        return True


def _bar(total: int, progress: bool | None) -> Any:
    """A progress bar; with None, tqdm itself is silent where there is no terminal."""
    disabled = None if progress is None else not progress
    return tqdm(total=total, desc="items", disable=disabled, leave=False)
