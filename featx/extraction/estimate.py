"""How long an extraction will take: a few of its images are tried."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

from featx.extraction.pipeline import Job, run_jobs

_SAMPLE_SECONDS = 3.0
_MOST_BATCHES = 32


def measure(jobs: Sequence[Job], paths: Mapping[str, str]) -> float:
    """Run some of the images through the pipeline, keep nothing, and return seconds an image.

    Parameters
    ----------
    jobs : sequence of Job
        Their sinks are not called.
    paths : mapping of str to str
        Digest to file, of every image to come; the sample is spread evenly over them.

    Returns
    -------
    float
        Seconds an image, all jobs together; 0.0 where there is nothing to run.
    """
    digests = list(paths)
    batch = max((job.runner.batch_size for job in jobs), default=1)

    def run(count: int) -> float:
        chosen = [digests[i * len(digests) // count] for i in range(count)]
        idle = [dataclasses.replace(job, sink=lambda names, rows: None) for job in jobs]
        started = time.perf_counter()
        run_jobs(idle, {digest: paths[digest] for digest in chosen})
        return time.perf_counter() - started

    if not digests:
        return 0.0
    first = min(batch, len(digests))
    spent = run(first)  # the engine's first batch allocates its memory, and tells the pace
    batches = min(_MOST_BATCHES, max(1, round(_SAMPLE_SECONDS / spent)))
    count = min(batches * batch, len(digests))
    return run(count) / count
