"""Convert many tracks by the workers of a Dask cluster: ``preprocessing.py --dask ADDRESS``.

Dask gives the track of a worker that dies to another one, three times (its setting ``allowed-failures``). The arrays
are written by the workers, as :mod:`data.workers` does here, and are the same.
``distributed``, an optional requirement, is imported here and nowhere else.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import logging
import os
import re
from dataclasses import replace

import torch

import utils
from data.logmel import reason_of
from data.workers import convert_one, finished

SECONDS = 10  # that a scheduler may take to answer
ADDRESS = r"((tcp|tls|wss?)://)?(\[[^]]+\]|[^\s:/\[\]]+):[0-9]+"  # the host is a name or a number; [::1] is one, too
AT_ONCE = 1000  # jobs that the scheduler holds: enough for the cores of a cluster, and few enough for its memory


@contextlib.contextmanager
def connected(address, extractor):
    """The client of the Dask scheduler at ``address``; None without one. Raises :class:`utils.UserError`."""
    if not address:
        yield None
        return
    if extractor.stays_here:
        raise utils.UserError("--dask is for --features logmel and waveform: networks and tables stay here")
    distributed = _distributed()
    for name in ("distributed.client", "tornado.application"):  # of what goes wrong we say ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(_greet(address, distributed))  # a client that never connects ends in tracebacks of its own
        client = distributed.Client(address, timeout=SECONDS, set_as_default=False)
    except Exception as error:  # who listens there can answer with anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise utils.UserError(
            f"no Dask scheduler answers at {address} ({reason}): start one by "
            "'python -m dask scheduler', and give the address that it prints"
        ) from None
    with client:
        yield client


async def _greet(address, distributed):
    """Raises an exception of any kind unless a scheduler is at ``address``, in ``SECONDS``."""
    if not re.fullmatch(ADDRESS, address):
        raise ValueError("which is no address such as tcp://HOST:8786")
    security = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(SECONDS), distributed.rpc(address, connection_args=security) as there:
        if (await there.identity())["type"] != "Scheduler":
            raise ValueError("which is a worker's")


def run_cluster(jobs, client):
    """Yield the result of every job, see :mod:`data.workers`, as it is finished, in any order.

    Raises :class:`utils.UserError` where the scheduler is lost, or the cluster cannot import what it needs.
    """
    jobs, running = collections.deque(map(_absolute, jobs)), {}
    if jobs and not client.ncores():
        print("the scheduler has no workers yet: waiting for them")
    executor = client.get_executor(pure=False)
    try:
        for future in finished(executor, convert_there, jobs, AT_ONCE, running):
            yield _result(future, running.pop(future))
    finally:
        executor.shutdown(wait=False)  # whatever is left is not wanted any more


def convert_there(job):
    """:func:`data.workers.convert_one` in a worker, which has as many threads as it is to use already."""
    torch.set_num_threads(1)
    return convert_one(job)


def _absolute(job):
    """The job with paths that mean the same wherever a worker was started."""
    track, folder, extractor = job
    return replace(track, source=os.path.abspath(track.source)), folder.absolute(), extractor


def _result(future, job):
    try:
        return future.result()
    except utils.UserError:
        raise
    except _distributed().KilledWorker:
        return job[0], 0, "the processes that converted it died (out of memory?)"
    except concurrent.futures.CancelledError:
        raise utils.UserError("the Dask scheduler is gone: start it and run the same command again") from None
    except Exception as error:  # convert_one raises none of its own
        raise utils.UserError(
            f"the Dask cluster cannot begin ({reason_of(error)}): start its scheduler and its workers by "
            "'python -m dask' in the folder of preprocessing.py, with the same packages as here"
        ) from None


def _distributed():
    try:
        import distributed
    except ImportError:
        raise utils.UserError("--dask needs Dask: pip install -r requirements-optional.txt") from None
    return distributed
