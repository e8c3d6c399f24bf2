"""The jobs of a fit: named in Spark's user interface, and cancelled together."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar

from pyspark import SparkContext

from sparkml_lsml.errors import SparkMLError
from sparkml_lsml.spark.cluster.interrupts import heeded, raise_if_interrupted
from sparkml_lsml.spark.cluster.session import allowed

LAST_TASKS_SECONDS = 15.0
"""How long to wait for the tasks of a job that was cancelled: Spark ends a Python worker that does
not stop by itself about 4 seconds later."""

_around: ContextVar["JobGroup | None"] = ContextVar("_around", default=None)


def surrounding_jobs() -> "JobGroup | None":
    """The group of jobs, for example of a grid of fits, that this thread works for."""
    return _around.get()


class JobGroup:
    """Names the jobs of one fit in Spark's user interface, and cancels them together.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What is fitted, for example ``LinearSVC``.
    outer : JobGroup, optional
        A group that this one is part of: it stops with it.
    apart : bool
        Whether what cancels the jobs of the caller, such as the button of a notebook, leaves these.
    """

    def __init__(
        self,
        sc: SparkContext,
        name: str,
        outer: "JobGroup | None" = None,
        *,
        apart: bool = False,
    ) -> None:
        self._sc = sc
        self.tag = f"sparkml_lsml-{name}-{uuid.uuid4().hex[:8]}"
        self._outer, self._apart = outer, apart
        self._stopped = False
        self._broken = False

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """Let `surrounding_jobs` be this group while this thread is inside."""
        token = _around.set(self)
        try:
            yield
        finally:
            _around.reset(token)

    @contextlib.contextmanager
    def job(self, description: str) -> Iterator[None]:
        """Tag and describe the jobs that run inside, where the session lets one do so."""
        self.check()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(heeded(self._cancel))
                allowed(lambda: self._name(stack, description), lambda: None)
                yield
            except BaseException:
                self._broken = True
                raise

    def _name(self, stack: contextlib.ExitStack, description: str) -> None:
        """Tag and describe the jobs of this thread until the stack is left."""
        jsc = self._sc._jsc.sc()
        before = jsc.getLocalProperties()
        # a copy: the threads of PySpark's CrossValidator share one object, and with it their tags
        own = before.clone()
        for key in ("spark.jobGroup.id", "spark.job.tags") if self._apart else ():
            own.remove(key)

        def put_back() -> None:
            with contextlib.suppress(Exception):
                jsc.setLocalProperties(before)

        stack.callback(put_back)  # an interrupt may come while the others are set
        jsc.setLocalProperties(own)
        for group in self._chain():
            self._sc.addJobTag(group.tag)
        self._sc.setLocalProperty("spark.job.description", description)

    def _chain(self) -> "Iterator[JobGroup]":
        """The group, and those around it."""
        group: JobGroup | None = self
        while group is not None:
            yield group
            group = group._outer

    def check(self) -> None:
        """Raise `SparkMLError` if the group, or one around it, was stopped; a Ctrl-C that waits."""
        if not self._apart:  # those are what is cleaned up with
            raise_if_interrupted()
        if any(group._stopped for group in self._chain()):
            raise SparkMLError("this fit was stopped, because another fit of the same grid failed")

    def stop(self) -> None:
        """Cancel the jobs that run, in whatever thread, and let no others begin."""
        self._stopped = True
        with contextlib.suppress(Exception):
            self._sc.cancelJobsWithTag(self.tag)

    def _cancel(self) -> None:
        """Cancel the jobs that run, where they could be tagged; those of the session elsewhere."""
        allowed(lambda: self._sc.cancelJobsWithTag(self.tag), self._sc.cancelAllJobs)

    def cancel(self) -> None:
        """End whatever jobs of the fit still run.

        After a job that failed or was cancelled, wait until its last tasks have ended too: one of
        them might still write a file.
        """
        with contextlib.suppress(Exception):
            self._sc.cancelJobsWithTag(self.tag)
            until = time.monotonic() + LAST_TASKS_SECONDS
            while self._broken and self._active_tasks() and time.monotonic() < until:
                time.sleep(0.1)

    def _active_tasks(self) -> int:
        tracker = self._sc._jsc.sc().statusTracker()
        number = 0
        # tasks that outlive their job belong to the last one, or to a shuffle that it began
        for job in sorted(tracker.getJobIdsForTag(self.tag))[-3:]:
            stages = tracker.getJobInfo(job).get().stageIds()
            found = [tracker.getStageInfo(stage) for stage in stages]
            number += sum(stage.get().numActiveTasks() for stage in found if stage.isDefined())
        return number
