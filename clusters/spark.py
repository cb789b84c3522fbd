"""Parts computed by the executors of Spark.

from clusters.spark import SparkTasks

classify_dataset(folder, facts, make_job, SparkTasks(spark.sparkContext, num_tasks=64))

Or `compute_parts` alone: context.parallelize(parts, 64).foreachPartition(partial(compute_parts, job)).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from clusters.dataset import Monitor, pool_engine
from clusters.job import Job
from clusters.local_pool import LocalPool
from utils.errors import RunError, UserError

_CAUSE = re.compile(r"^(?:utils\.errors\.\w+: )(.*)", re.MULTILINE)  # the last line of a worker's trace


def running_context() -> Any:
    """The SparkContext of spark-submit; else one of this machine. Raises UserError without pyspark."""
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise UserError("--cluster spark needs pyspark: start this tool with spark-submit") from error
    return SparkSession.builder.appName("classify_dataset").getOrCreate().sparkContext


class SparkTasks:
    """An engine. context: a SparkContext. num_tasks: about three times the executors' cores; each builds the network
    once. threads: of a task, its spark.task.cpus.

    A task that Spark starts again, or twice (speculation), skips the parts that are there.
    """

    def __init__(self, context: Any, num_tasks: int, threads: int = 1):
        self.context, self.num_tasks, self.threads = context, num_tasks, threads

    def __call__(self, job: Job, parts: list[int], monitor: Monitor) -> None:
        tasks = self.context.parallelize(parts, self.num_tasks)
        try:
            tasks.foreachPartition(partial(compute_parts, job, threads=self.threads))
        except Exception as error:  # Py4J's, with the traces of both languages
            cause = [*_CAUSE.findall(str(error)), str(error).strip().partition("\n")[0]][0]
            raise RunError(f"Spark's job has failed: {cause}; start the same command again") from error


def compute_parts(job: Job, parts: Iterable[int], threads: int = 1) -> None:
    """Compute those of the parts that have no file, in a process of its own: a video that kills it is found by cutting
    its part, without Spark, which would end the whole job at its fourth death."""
    missing = [part for part in parts if not job.is_done(job.part(part))]
    if missing:
        pool = pool_engine(partial(LocalPool, num_workers=1, environment={"OMP_NUM_THREADS": str(threads)}))
        pool(job, missing, Monitor(job, lambda num_rows, num_errors: None))
