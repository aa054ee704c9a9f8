"""The life of a task."""

import tracemalloc

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from frota.peers.tasks import TRANSITIONS, Event, QueueFull, State, TaskPolicy, Tasks, Verdict
from support import FULL


def queue(*names: str, **policy: float) -> Tasks:
    """Return tasks that wait."""
    tasks = Tasks(TaskPolicy(**policy))  # type: ignore[arg-type]  # all numbers
    for name in names:
        tasks.submit(name, f"payload of {name}")
    return tasks


def ids(tasks: Tasks, worker: str, count: int, now: float = 0.0) -> list[str]:
    return [task.id for task in tasks.hand_out(worker, count, now)]


def test_oldest_first() -> None:
    """Tasks are handed out in the order of their acceptance, as many as a worker takes."""
    tasks = queue("a", "b", "c")
    assert ids(tasks, "w", 2) == ["a", "b"]
    assert (tasks.waiting, tasks.held_by("w")) == (1, 2)
    assert ids(tasks, "v", 2) == ["c"]
    assert ids(tasks, "v", 2) == []


def test_result_is_kept() -> None:
    """A result can be asked for until `keep_results_s` are over."""
    tasks = queue("a", keep_results_s=60)
    ids(tasks, "w", 1)
    assert tasks.report("a", "w", "42", now=1.0) is Verdict.ACCEPTED
    tasks.expire(now=60.9)
    task = tasks.get("a")
    assert task is not None
    assert (task.state, task.result) == (State.DONE, "42")
    tasks.expire(now=61.1)
    assert tasks.get("a") is None


def test_results_are_bounded() -> None:
    """No more than `max_results` are in memory, the newest."""
    tasks = queue(*"abcde", max_results=2)
    for name in ids(tasks, "w", 5):
        tasks.report(name, "w", "", now=0.0)
    tasks.expire(now=0.0)
    assert [name for name in "abcde" if tasks.get(name)] == ["d", "e"]


def test_submitted_twice_is_one_task() -> None:
    """The id of a task is an idempotency key."""
    tasks = queue("a", "a")
    assert tasks.waiting == 1


def test_queue_is_bounded() -> None:
    """A full queue rejects further tasks and says so."""
    tasks = queue("a", "b", max_waiting=2)
    with pytest.raises(QueueFull, match="2 tasks are waiting"):
        tasks.submit("c", "")


def test_worker_leaves() -> None:
    """The tasks of a worker that leaves come next, in their order, one at a time."""
    tasks = queue(*"abcd")
    ids(tasks, "w", 3)
    tasks.report("b", "w", "", now=0.0)
    assert [task.id for task in tasks.release("w", "left")] == ["a", "c"]
    assert [ids(tasks, "v", 9), ids(tasks, "u", 9), ids(tasks, "t", 9)] == [["a"], ["c"], ["d"]]


def test_failed_task_runs_alone() -> None:
    """A worker with a task that has failed gets no other, so that it cannot take others with it."""
    tasks = queue("poison", "b")
    ids(tasks, "w", 1)
    tasks.release("w", "died")
    assert ids(tasks, "v", 9) == ["poison"]
    assert ids(tasks, "v", 9) == []
    tasks.report("poison", "v", "", now=0.0)
    assert ids(tasks, "v", 9) == ["b"]


def test_poison_kills_only_itself() -> None:
    """Of a batch whose worker dies of one task each time, all others get results."""
    tasks = queue(*[f"t{number}" for number in range(20)])
    done = set()
    for worker in range(40):
        for name in ids(tasks, f"w{worker}", 20):
            if name == "t7":
                tasks.release(f"w{worker}", "died")
                break
            tasks.report(name, f"w{worker}", "", now=0.0)
            done.add(name)
    assert len(done) == 19
    assert [(task.id, task.reason) for task in tasks.dead()] == [("t7", "died")]


def test_lease_expires() -> None:
    """A task without a report at the end of its lease is taken back, with the reason."""
    tasks = queue("a", "b", lease_s=30)
    ids(tasks, "w", 1, now=0.0)
    ids(tasks, "w", 1, now=20.0)
    assert [task.id for task in tasks.expire(now=29.9)] == []
    assert [(task.id, task.reason) for task in tasks.expire(now=30.0)] == [("a", "no report within 30 s")]
    assert [task.id for task in tasks.expire(now=50.0)] == ["b"]


def test_late_report_counts() -> None:
    """A result after the lease is accepted while the task has none; the task is not executed again."""
    tasks = queue("a", lease_s=30)
    ids(tasks, "w", 1)
    tasks.expire(now=30.0)
    assert tasks.report("a", "w", "late", now=31.0) is Verdict.ACCEPTED_LATE
    assert ids(tasks, "v", 1) == []
    assert tasks.waiting == 0


def test_first_report_wins() -> None:
    """Of two workers that report a task, the first counts; the second changes nothing."""
    tasks = queue("a")
    ids(tasks, "w", 1)
    tasks.expire(now=30.0)
    ids(tasks, "v", 1, now=30.0)
    assert tasks.report("a", "w", "first", now=31.0) is Verdict.ACCEPTED_LATE
    assert tasks.report("a", "v", "second", now=32.0) is Verdict.DUPLICATE
    assert tasks.report("a", "w", "again", now=33.0) is Verdict.DUPLICATE
    task = tasks.get("a")
    assert task is not None
    assert (task.result, tasks.held_by("v")) == ("first", 0)


def test_failure_after_the_lease_is_rejected() -> None:
    """A failure that a worker reports after its lease must not take the task from its new worker."""
    tasks = queue("a")
    ids(tasks, "w", 1)
    tasks.release("w", "left")
    ids(tasks, "v", 1)
    assert tasks.fail("a", "w", "deadlock") is Verdict.REJECTED
    assert tasks.held_by("v") == 1


def test_stranger_reports() -> None:
    """A report of a task that the worker never had is rejected; one of an unknown task is unknown."""
    tasks = queue("a")
    ids(tasks, "w", 1)
    assert tasks.report("a", "other", "", now=0.0) is Verdict.REJECTED
    assert tasks.report("b", "w", "", now=0.0) is Verdict.UNKNOWN
    assert tasks.held_by("w") == 1


def test_dead_after_five_failures() -> None:
    """A task that has failed five times is dead, with the reason; people may retry or drop it."""
    tasks = queue("a", "b")
    for attempt in range(5):
        assert [task.attempts for task in tasks.hand_out("w", 1, now=0.0)] == [attempt]
        assert tasks.fail("a", "w", f"failure {attempt}") is Verdict.ACCEPTED
    assert [(task.id, task.reason) for task in tasks.dead()] == [("a", "failure 4")]
    assert tasks.retry("a")
    assert not tasks.retry("a")
    assert ids(tasks, "w", 9) == ["b", "a"]
    assert not tasks.drop("a")


def test_dropped_task_is_forgotten() -> None:
    """A dropped task is in memory no more."""
    tasks = queue("a", max_attempts=1)
    ids(tasks, "w", 1)
    tasks.fail("a", "w", "")
    assert tasks.drop("a")
    assert (len(tasks), list(tasks.dead())) == (0, [])


def test_restored_task_keeps_its_attempts() -> None:
    """After a restart a task waits with its failed attempts; the worker that had it may still report."""
    tasks = Tasks()
    tasks.restore("a", "payload", attempts=4, tried_by=["w"])
    assert tasks.report("a", "w", "", now=0.0) is Verdict.ACCEPTED_LATE


def test_table_is_complete() -> None:
    """Every state has its row, and a result is final."""
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
    assert TRANSITIONS[State.DONE] == {}


def test_memory_of_many_tasks() -> None:
    """A waiting task of 200 bytes takes less than 1 KiB: 100,000 of them less than 100 MiB."""
    count = 100_000 if FULL else 10_000
    tracemalloc.start()
    try:
        tasks = Tasks()
        for number in range(count):
            tasks.submit(f"{number:032x}", b"x" * 200 + str(number).encode())
        assert tracemalloc.get_traced_memory()[0] < count * 2**10
    finally:
        tracemalloc.stop()


class TaskMachine(RuleBasedStateMachine):
    """No task is lost, leased twice or finished twice, whatever workers do."""

    workers = st.sampled_from("uvw")

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks(TaskPolicy(max_attempts=3, keep_results_s=1e9))
        self.now = 0.0
        self.accepted: list[str] = []
        self.finished: set[str] = set()

    @rule()
    def submit(self) -> None:
        self.accepted.append(f"t{len(self.accepted)}")
        self.tasks.submit(self.accepted[-1], "")

    @rule(worker=workers, count=st.integers(0, 4))
    def hand_out(self, worker: str, count: int) -> None:
        before = self.tasks.waiting
        assert len(self.tasks.hand_out(worker, count, self.now)) == before - self.tasks.waiting

    @rule(worker=workers, number=st.integers(0, 20))
    def report(self, worker: str, number: int) -> None:
        verdict = self.tasks.report(f"t{number}", worker, "", self.now)
        if verdict in {Verdict.ACCEPTED, Verdict.ACCEPTED_LATE}:
            assert f"t{number}" not in self.finished
            self.finished.add(f"t{number}")
        assert (verdict is Verdict.UNKNOWN) == (number >= len(self.accepted))

    @rule(worker=workers, number=st.integers(0, 20))
    def fail(self, worker: str, number: int) -> None:
        self.tasks.fail(f"t{number}", worker, "failed")

    @rule(worker=workers)
    def leave(self, worker: str) -> None:
        self.tasks.release(worker, "left")

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tasks.expire(self.now)

    @rule(number=st.integers(0, 20))
    def retry(self, number: int) -> None:
        self.tasks.retry(f"t{number}")

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        states = [task.state for name in self.accepted if (task := self.tasks.get(name))]
        assert len(states) == len(self.accepted)
        assert states.count(State.WAITING) == self.tasks.waiting
        assert states.count(State.LEASED) == sum(map(self.tasks.held_by, "uvw"))
        assert states.count(State.DEAD) == len(list(self.tasks.dead()))
        assert states.count(State.DONE) == len(self.finished)


TestTasks = TaskMachine.TestCase
