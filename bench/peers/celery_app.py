"""Celery with durable tasks: the application of its workers (`celery worker`) and of its client (celery_load.py).

The environment names the broker and the queue. Queue and tasks are durable, and a task is acknowledged when it is done,
so that it survives the death of a worker and of the broker, as a task of frota does. Results are not durable.
"""

import os

# Celery is not in .venv: tools/baselines fetches it into bench/build.
from celery import Celery  # type: ignore[import-not-found]  # only tools/baselines fetches it

PREFETCH = 64  # tasks of a worker, as at frota

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend="rpc://")
app.conf.update(
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=PREFETCH,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=60,
    result_expires=60,
)


@app.task(name="noop")  # type: ignore[untyped-decorator]  # Celery has no types
def noop() -> None:
    """Do nothing."""
