"""The supervisor with real processes: any exit is noticed at once, and nothing is left behind, whoever dies first."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from local_support import eventually, living, slack
from tidemark.errors import UnavailableError
from tidemark.local import processes
from tidemark.local.processes import free_port, require_free_space, tagged, tcp_ready, wait_until
from tidemark.local.supervisor import ChildEvent, ChildSpec, OnExit, State, Supervisor

ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
READY = "from tidemark.local.processes import notify_ready; notify_ready(answer=42)\n"
SLEEP = "import time; time.sleep(60)\n"


def program(name: str, source: str, **settings) -> ChildSpec:
    return ChildSpec(name=name, argv=(sys.executable, "-c", textwrap.dedent(source)), env=ENV, **settings)


def sleeper(name: str, **settings) -> ChildSpec:
    return program(name, SLEEP, awaited=False, **settings)


@pytest.fixture
def events() -> list[ChildEvent]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, events: list[ChildEvent]):
    with Supervisor(tmp_path, on_event=events.append) as made:
        yield made
    assert tagged(made.tag) == []


def test_a_killed_child_is_noticed_at_once_and_everything_else_stops(supervisor, events):
    """kill -9 of any part: the stage ends with the name and the reason, within a fraction of a second."""
    supervisor.start(sleeper("steady"))
    victim = supervisor.start(sleeper("victim"))
    began = time.monotonic()
    os.kill(victim.process.pid, signal.SIGKILL)
    assert supervisor.run() == "victim ended: killed by SIGKILL"
    assert time.monotonic() - began < 0.5 * slack()
    supervisor.stop()
    assert not living(supervisor.children["steady"].process.pid)
    assert ChildEvent("victim", State.FAILED, victim.process.pid, "killed by SIGKILL") in events


def test_the_reason_carries_the_end_of_the_childs_log(supervisor):
    """What the user needs first is what the program said last."""
    supervisor.start(program("broken", "import sys; sys.stderr.write('error: no such table\\n'); sys.exit(3)", awaited=False))
    reason = supervisor.run()
    assert reason == "broken ended: exit 3\nerror: no such table"


def test_a_child_that_calls_back_is_ready_with_its_facts(supervisor):
    """Readiness by message, not by guessing: the port that was taken comes with it."""
    child = supervisor.start(program("server", READY + SLEEP))
    supervisor.wait_ready()
    assert (child.state, child.facts) == (State.READY, {"answer": 42})


def test_a_child_that_dies_before_it_is_ready_fails_the_start(supervisor):
    """With its log, and without waiting for the time-out."""
    supervisor.start(program("broken", "raise SystemExit('error: no licence')"))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"(?s)broken ended: exit 1.*no licence"):
        supervisor.wait_ready()
    assert time.monotonic() - began < 5 * slack()


def test_a_child_that_never_gets_ready_fails_the_start_in_time(supervisor):
    """A stage that hangs at start is worse than one that says who hangs."""
    supervisor.start(program("slow", SLEEP, ready_timeout_s=0.3))
    with pytest.raises(UnavailableError, match=r"slow was not ready in 0\.3 s"):
        supervisor.wait_ready()


def test_a_probed_child_is_ready_when_its_probe_says_so(supervisor):
    """For programs that cannot call back: PostgreSQL, Redis."""
    port = free_port().number
    source = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    supervisor.start(program("listener", source, probe=lambda: tcp_ready(port)))
    supervisor.wait_ready()
    assert supervisor.children["listener"].state is State.READY


def test_a_child_may_be_restarted_but_not_for_ever(supervisor, events):
    """A crash loop ends the stage instead of hiding behind restarts."""
    supervisor.start(program("flaky", "raise SystemExit(1)", awaited=False, on_exit=OnExit.RESTART))
    assert supervisor.run().startswith("flaky ended: exit 1")
    assert [event.reason for event in events].count("exit 1, restarted") == 3


def test_a_restarted_child_is_a_new_process_under_the_same_name(supervisor):
    """The rest of the stage goes on."""
    first = supervisor.start(sleeper("worker", on_exit=OnExit.RESTART)).process.pid
    os.kill(first, signal.SIGKILL)
    assert supervisor.run(until=lambda: supervisor.children["worker"].process.pid != first) is None
    assert living(supervisor.children["worker"].process.pid)


def test_the_regular_end_of_a_finishing_child_does_not_end_the_stage(supervisor):
    """A replay that has been sent is no failure; a replay that broke is."""
    supervisor.start(program("feed", "pass", awaited=False, on_exit=OnExit.FINISH))
    assert supervisor.run(until=lambda: supervisor.children["feed"].state is State.FINISHED) is None
    supervisor.start(program("broken-feed", "raise SystemExit(2)", awaited=False, on_exit=OnExit.FINISH))
    assert supervisor.run() == "broken-feed ended: exit 2"


def test_children_stop_phase_by_phase_from_the_last(supervisor, events):
    """Feeds before those who read them, services last: nobody loses what it stands on."""
    for name, phase in (("database", 0), ("processor", 1), ("feed", 2)):
        supervisor.start(sleeper(name, phase=phase))
    supervisor.stop()
    assert [event.name for event in events if event.state is State.STOPPED] == ["feed", "processor", "database"]


def test_a_child_that_ignores_its_stop_signal_is_killed_and_named(supervisor):
    """A stop has an end."""
    source = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + SLEEP
    supervisor.start(program("stubborn", source, stop_timeout_s=0.3))
    supervisor.wait_ready()
    began = time.monotonic()
    assert supervisor.stop() == ["stubborn"]
    assert time.monotonic() - began < 3 * slack()


def test_grandchildren_are_found_wherever_they_hide(supervisor):
    """A process that left its group and its parent is still ours: it carries the run's tag."""
    hide = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"
    supervisor.start(program("parent", hide, awaited=False, on_exit=OnExit.FINISH))
    supervisor.run(until=lambda: supervisor.children["parent"].state is State.FINISHED)
    assert len(tagged(supervisor.tag)) == 1
    (left,) = supervisor.stop()
    assert left.startswith("python")
    assert tagged(supervisor.tag) == []


def test_drain_lets_a_child_work_off_its_input(supervisor, tmp_path):
    """SIGUSR1 is the request; the end of the process is the answer."""
    done = tmp_path / "done"
    source = (
        f"import signal, pathlib\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n{READY}"
        f"signal.sigwait([signal.SIGUSR1]); pathlib.Path({str(done)!r}).touch()"
    )
    supervisor.start(program("worker", source))
    supervisor.wait_ready()
    supervisor.drain("worker", timeout_s=10)
    assert done.exists()
    assert supervisor.children["worker"].state is State.STOPPED
    assert supervisor.stop_reason is None


def test_drain_that_takes_too_long_says_so(supervisor):
    """Instead of a run that never ends."""
    source = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n" + READY + SLEEP
    supervisor.start(program("worker", source))
    supervisor.wait_ready()
    with pytest.raises(UnavailableError, match=r"worker did not work off its input in 0\.2 s"):
        supervisor.drain("worker", timeout_s=0.2)


def test_a_drain_ends_when_the_stage_does(supervisor):
    """Ctrl-C must not wait for a backlog."""
    source = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n" + READY + SLEEP
    supervisor.start(program("worker", source))
    victim = supervisor.start(sleeper("victim"))
    supervisor.wait_ready()
    os.kill(victim.process.pid, signal.SIGKILL)
    with pytest.raises(UnavailableError, match="victim ended: killed by SIGKILL"):
        supervisor.drain("worker", timeout_s=30)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_the_children(supervisor, signum):
    """Ctrl-C in the terminal and SIGTERM of a container alike."""
    supervisor.start(sleeper("child"))
    os.kill(os.getpid(), signum)
    assert supervisor.run() == f"stopped by {signum.name}"


def test_a_full_disk_is_named(supervisor):
    """The log of a program that failed for lack of space says so; its exit status does not."""
    supervisor.start(program("writer", "import errno; raise OSError(errno.ENOSPC, 'No space left on device')", awaited=False))
    assert supervisor.run().startswith("writer ended: disk full (No space left on device")


def test_a_run_is_not_begun_on_a_full_disk_and_stopped_on_one(tmp_path):
    """Half a run's data is worth less than the message."""
    too_much = 1 << 60
    with pytest.raises(UnavailableError, match="disk full"):
        Supervisor(tmp_path, disk_bytes_min=too_much)
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(sleeper("child"))
        supervisor._disk_bytes_min = too_much
        assert supervisor.run().startswith("disk full")
    with pytest.raises(UnavailableError, match="at least"):
        require_free_space(tmp_path, too_much)


def test_a_program_that_does_not_exist_is_an_error_not_a_crash(supervisor):
    """Named, with what the system said."""
    with pytest.raises(UnavailableError, match="cannot start /no/such/program: No such file"):
        supervisor.start(ChildSpec(name="ghost", argv=("/no/such/program",), env=ENV))


def test_a_busy_port_is_stepped_over_and_the_user_is_told():
    """Two stages on one machine must not share a port, and nobody should search for the page."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        number = busy.getsockname()[1]
        port = free_port(number)
        assert port.number > number
        assert port.note == f"port {number} is in use, took {port.number}"
    assert free_port().note is None


def test_no_free_port_in_reach_is_an_error(monkeypatch):
    """With the option that helps."""
    monkeypatch.setattr(processes, "_is_free", lambda number: False)
    with pytest.raises(UnavailableError, match=r"ports 8080 to 8129 are all in use; .*--port"):
        free_port(8080)


def test_nothing_survives_a_supervisor_that_is_killed(tmp_path):
    """kill -9 of the stage itself: the kernel ends the children, and the tag finds none of theirs."""
    script = tmp_path / "stage.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            from pathlib import Path
            from tidemark.local.supervisor import ChildSpec, Supervisor
            with Supervisor(Path({str(tmp_path)!r})) as supervisor:
                spec = ChildSpec(name="child", argv=(sys.executable, "-c", {SLEEP!r}), env={ENV!r}, awaited=False)
                print(supervisor.start(spec).process.pid, supervisor.tag, flush=True)
                supervisor.run()
        """)
    )
    stage = subprocess.Popen([sys.executable, str(script)], env=ENV, stdout=subprocess.PIPE, text=True)
    pid, tag = stage.stdout.readline().split()
    assert living(int(pid))
    stage.kill()
    stage.wait()
    eventually(lambda: not living(int(pid)), timeout_s=2 * slack())
    assert wait_until(lambda: tagged(tag) == [], timeout_s=2 * slack())
    stage.stdout.close()
