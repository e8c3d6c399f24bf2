"""Runs a command beside a standalone cluster on the loopback, whose workers have two hosts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.find_spark_home import _find_spark_home

HOSTS = ("127.0.0.1", "127.0.0.2")
QUICK_START = os.environ.get("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
STARTING_SECONDS = 90.0
ENDING_SECONDS = 10.0


def missing_hosts() -> list[str]:
    """Hosts that this machine's loopback lacks."""
    missing = []
    for host in HOSTS:
        with socket.socket() as probe:
            try:
                probe.bind((host, 0))
            except OSError:
                missing.append(host)
    return missing


class Daemon:
    """A master or a worker, and the processes that it starts."""

    def __init__(self, folder: Path, kind: str, host: str, *arguments: str) -> None:
        folder.mkdir()
        self.name = f"{kind} {host}"
        self._log = folder / "log"
        class_name = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        # port 0 is whatever port is free
        ports = ("--port", "0", "--webui-port", "0")
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("SPARK_")}
        settings = {
            # empty, so that neither settings nor a spark-env.sh of this machine have a say
            "SPARK_CONF_DIR": str(folder),
            "SPARK_LOCAL_DIRS": str(folder / "local"),
            "SPARK_LOCAL_IP": host,
            # start-up is most of what these three do
            "SPARK_DAEMON_JAVA_OPTS": QUICK_START,
            "SPARK_LAUNCHER_OPTS": QUICK_START,
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    str(Path(_find_spark_home(), "bin", "spark-class")),
                    *(class_name, "--host", host, *ports, *arguments),
                ],
                env={**inherited, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a group that can be ended as a whole, and that a Ctrl-C for the command spares
                start_new_session=True,
            )

    def wait_for(self, pattern: str, matches: int = 1) -> str:
        """Wait until the log has lines that match; the last of them."""
        until = time.monotonic() + STARTING_SECONDS
        while len(found := re.findall(pattern, self._log.read_text())) < matches:
            if self._process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.name} did not start:\n{self._log.read_text()}")
            time.sleep(0.05)
        return str(found[-1])

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it and the processes of its group, which executors are, without a word."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """End it and its executors; it was asked to before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_SECONDS)
        self.kill()


class Cluster:
    """A master and its workers, which may be killed and joined by others.

    Attributes
    ----------
    url : str
        Of the master.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: list[Daemon] = []
        self.url = ""

    def start(self) -> None:
        """Start the master, and on each host a worker."""
        master = Daemon(self._folder / "master", "Master", HOSTS[0])
        self._daemons.append(master)
        self.url = master.wait_for(r"Starting Spark master at (spark://\S+)")
        for host in HOSTS:
            self._launch(host)
        self._wait_for_workers()

    def add_worker(self, host: str = HOSTS[0]) -> int:
        """Let one more worker join; its number."""
        self._launch(host)
        self._wait_for_workers()
        return len(self._daemons) - 2

    def kill_worker(self, number: int) -> None:
        """End a worker, numbered from 0, and its executors: a machine that loses its power."""
        # the first of all is the master
        self._daemons[1 + number].kill()

    def end(self) -> None:
        # workers first: they end their executors, which a master that is gone would not matter to
        for daemon in reversed(self._daemons):
            daemon.signal(signal.SIGTERM)
        for daemon in reversed(self._daemons):
            daemon.end()

    def _launch(self, host: str) -> None:
        at = self._folder / f"worker{len(self._daemons) - 1}"
        resources = ("--cores", "2", "--memory", "1g", "--work-dir", str(at / "work"))
        self._daemons.append(Daemon(at, "Worker", host, *resources, self.url))

    def _wait_for_workers(self) -> None:
        self._daemons[0].wait_for(r"Registering worker \S+", len(self._daemons) - 1)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Give a cluster of a worker a host, which lives as long as the context."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str], url: str) -> int:
    """Run the command to its end, or to ours; its exit status as a shell would give it."""
    process = subprocess.Popen(command, env={**os.environ, "SPARK_MASTER": url})
    try:
        # a Ctrl-C in the terminal is the command's: a Spark shell goes on after it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return status if status >= 0 else 128 - status


def leave(number: int, _: Any) -> None:
    # by way of every finally, but once only
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> int:
    command = sys.argv[1:]
    if not command:
        print("usage: ./dev/cluster COMMAND...", file=sys.stderr)
        return 2
    if shutil.which(command[0]) is None:
        print(f"{command[0]}: not found", file=sys.stderr)
        return 127
    if missing := missing_hosts():
        print(f"this machine's loopback has no {', '.join(missing)}", file=sys.stderr)
        return 1
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, leave)
    with cluster() as running:
        return run(command, running.url)


if __name__ == "__main__":
    sys.exit(main())
