"""Convert many tracks at once: by processes of this machine, of which one may die, or by threads.

A job is (track, folder, extractor); a result is (track, frames, None), or (track, 0, reason) where it failed.
"""

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

import utils
from data import logmel
from data.folder import inside

WORKER = 320_000_000  # bytes that a worker process takes for itself before it has read anything


def run_workers(jobs, extractor, workers):
    """Yield the result of every job as it is finished, in any order."""
    jobs = collections.deque(jobs)
    workers = min(workers, len(jobs))
    utils.check_memory(0 if extractor.stays_here else WORKER * workers, f"--workers {workers}")
    if workers <= 1 or len(jobs) < 8:  # starting processes would take longer than the work
        yield from map(convert_one, jobs)
        return
    while jobs:
        suspects = collections.deque((yield from run_pool(jobs, extractor, workers, 2 * workers)))
        if suspects:
            print(f"a worker process died (out of memory?): {len(suspects)} tracks are tried again, one by one")
        while suspects:
            for track, *_ in (yield from run_pool(suspects, extractor, 1, 1)):
                yield track, 0, "the process that converted it died, twice (out of memory?)"


def run_pool(jobs, extractor, workers, at_once):
    """Take jobs from a queue, ``at_once`` of them, and yield their results, until it is empty or a worker dies.

    Returns the jobs that were in work or waiting then, of which one has killed it.
    """
    running = {}
    with pool_for(extractor, workers) as pool:
        try:
            for future in finished(pool, convert_one, jobs, at_once, running):
                result = future.result()
                del running[future]
                yield result
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)
    return list(running.values())


def finished(executor, function, jobs, at_once, running):
    """Yield futures as they are done. ``running`` is {future: job}: who takes one out makes room for another."""
    while jobs or running:
        while jobs and len(running) < at_once:
            future = executor.submit(function, jobs[0])
            running[future] = jobs.popleft()
        yield from concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done


def pool_for(extractor, workers):
    """Processes; threads where the extractor holds a network or a table, of which one is enough."""
    if extractor.stays_here:
        return concurrent.futures.ThreadPoolExecutor(workers)
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)


def start_worker():
    """In a worker process: use one thread, leave Ctrl-C to the parent, and end when the parent is gone."""
    quiet_libraries()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def quiet_libraries():
    """What libraries write to standard error themselves, as the decoder of damaged mp3 does, is seen by nobody.

    failed.csv says it in our words. Python's own errors are seen as before. It is of the whole process, so only
    for one that does nothing else.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def convert_one(job):
    """Convert one track: (track, frames, None), or (track, 0, reason)."""
    track, folder, extractor = job
    try:
        array = extractor(track.source)
    except utils.UserError:  # not of this file, but of all
        raise
    except Exception as error:
        return track, 0, logmel.reason_of(error)
    if not np.isfinite(array).all():
        return track, 0, "what was made of it is not finite"
    if not inside(folder.resolve(), Path(track.path).parent / "x"):
        return track, 0, f"{folder / Path(track.path).parent} is a link that leads out of the folder"
    utils.save_array(folder / track.path, array)
    return track, extractor.settings.frames_of(array.shape), None
