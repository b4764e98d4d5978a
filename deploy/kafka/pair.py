"""Two sites and the mirror between them, detached: they stay when the program that started them ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import Failure, say, write_json


def start_time(pid):
    """The start of a process since boot in ticks; with the pid it names one process for ever."""
    return process_stat(pid)[19]


def process_state(pid):
    return process_stat(pid)[0]


def process_stat(pid):
    # The name in parentheses may hold anything; the fields after it are plain.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def identity(pid):
    return {"pid": pid, "start": start_time(pid)}


def is_alive(process):
    try:
        return start_time(process["pid"]) == process["start"] and \
            process_state(process["pid"]) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_cut(process):
    return is_alive(process) and process_state(process["pid"]) == "T"


def await_end(process, deadline):
    while is_alive(process):
        if time.monotonic() > deadline:
            os.kill(process["pid"], signal.SIGKILL)
        time.sleep(0.02)


class Pair:
    """The state of `pair`: which processes it started, in DIR/state.json."""

    def __init__(self, folder):
        self.folder = Path(folder).absolute()
        self.file = self.folder / "state.json"
        self.state = json.loads(self.file.read_text()) if self.file.exists() else None

    def save(self):
        write_json(self.file, self.state)

    def require(self):
        if not self.state:
            raise Failure(f"found no {self.file}; expected the state of a pair; "
                          f"start one with `kafka.py pair up --dir {self.folder}`")

    def parts(self):
        return self.state["parts"]

    def running(self, name):
        part = self.parts().get(name)
        return bool(part) and is_alive(part["supervisor"]) and is_alive(part["jvm"])

    def launch(self, name, arguments):
        """Starts `kafka.py` detached: it stays when this process ends."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "supervisor.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve().with_name("kafka.py")), *arguments, "--dir", str(folder)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True)

    def await_ready(self, name, process):
        line = process.stdout.readline()
        process.stdout.close()
        if not line.startswith("READY "):
            process.wait()
            words = (self.folder / name / "supervisor.log").read_text().strip()
            raise Failure(f"{name} did not start: {words}")
        ready = json.loads(line[len("READY "):])
        self.parts()[name] = {**ready, "supervisor": identity(process.pid),
                              "jvm": identity(ready["pid"])}
        self.save()
        return ready

    def up(self, sites, topics_for):
        if self.state and set(self.state["sites"]) != set(sites):
            raise Failure(f"found the sites {', '.join(self.state['sites'])} in {self.folder}; "
                          f"expected {', '.join(sites)}; `pair down` first or name another --dir")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.state or {"sites": sites, "parts": {}}
        names = [*sites, "mirror"]
        if all(self.running(name) for name in names):
            self.status()
            raise Failure(f"found the pair in {self.folder} running already; "
                          f"stop it with `kafka.py pair down --dir {self.folder}`")
        started = {}
        begin = time.monotonic()
        try:
            for site in sites:
                if self.running(site):
                    continue
                others = [topic for other in sites if other != site for topic in topics_for[other]]
                say(f"starting the broker of {site}")
                started[site] = self.launch(site, [
                    "broker", "--topics", ",".join(topics_for[site]),
                    "--mirrored-topics", ",".join(others)])
            for site in list(started):
                ready = self.await_ready(site, started[site])
                say(f"{site} serves at {ready['bootstrap']} "
                    f"({time.monotonic() - begin:.1f} s)")
            if not self.running("mirror"):
                say("starting the mirror")
                started["mirror"] = self.launch("mirror", ["mirror", *(
                    word for site in sites
                    for word in ("--site", f"{site}={self.parts()[site]['bootstrap']}"))])
                self.await_ready("mirror", started["mirror"])
                say(f"the mirror runs ({time.monotonic() - begin:.1f} s)")
        except BaseException:
            # Half a pair is of no use: what this call started ends with it.
            for process in started.values():
                if process.poll() is None:
                    process.terminate()
            for process in started.values():
                process.wait()
            raise
        self.status()

    def status(self):
        self.require()
        for name in [*self.state["sites"], "mirror"]:
            part = self.parts().get(name)
            if not self.running(name):
                print(f"{name}: not running")
            elif name == "mirror":
                cut = "cut (stopped)" if is_cut(part["jvm"]) else "running"
                print(f"{name}: {cut}, JVM {part['jvm']['pid']}")
            else:
                print(f"{name}: {part['bootstrap']}, JVM {part['jvm']['pid']}")
        sys.stdout.flush()
        return all(self.running(name) for name in [*self.state["sites"], "mirror"])

    def signal_mirror(self, number):
        self.require()
        if not self.running("mirror"):
            raise Failure("found no running mirror; expected one; "
                          f"start it with `kafka.py pair up --dir {self.folder}`")
        os.kill(self.parts()["mirror"]["jvm"]["pid"], number)

    def down(self, keep_data):
        if not self.state:
            say(f"nothing to stop: {self.file} does not exist")
            return
        # The mirror first: without its brokers it would wait for them in vain.
        for group in (["mirror"], self.state["sites"]):
            parts = {name: self.parts()[name] for name in group if name in self.parts()}
            for part in parts.values():
                if is_alive(part["supervisor"]):
                    os.kill(part["supervisor"]["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 30
            for name, part in parts.items():
                for process in (part["supervisor"], part["jvm"]):
                    await_end(process, deadline)
                say(f"{name} ended")
        if keep_data:
            self.state["parts"] = {}
            self.save()
        else:
            self.remove_data()

    def remove_data(self):
        """Removes only what `pair` made, in case DIR holds something else."""
        for name in [*self.state["sites"], "mirror"]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
