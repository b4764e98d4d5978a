"""What the demo runs: the servers, the brokers if any, and a context for the command line.

Everything lives in one temporary folder and ends with the demo, however that ends.
"""

import ctypes
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
KAFKA = REPOSITORY / "deploy" / "kafka" / "kafka.py"
sys.path.insert(0, str(KAFKA.parent))
from ports import free_port  # noqa: E402
SITES = {"paris": ("FR", "Europe/Paris"), "borlange": ("SE", "Europe/Stockholm")}
CLOCK_START = "2027-01-04T08:00:00Z"
READY_SECONDS = 120
STOP_SECONDS = 70
COMMAND_SECONDS = 180
PR_SET_PDEATHSIG = 1


class StepFailed(Exception):
    """The story went another way."""


class Interrupted(Exception):
    """A program that the demo needs could not be started, or ended by itself."""


def die_with_parent():
    # The demo may be killed where it can clean up nothing; its children must not stay behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Machinery:
    """`start()`, then `concordat(…)` as often as wanted, then `stop()`, which may be called at any time."""

    def __init__(self, arguments):
        self.server = str(Path(arguments.concordatd).absolute())
        self.binary = str(Path(arguments.concordat).absolute())
        self.kafka = arguments.kafka
        self.folder = Path(tempfile.mkdtemp(prefix="concordat-demo-"))
        self.config = self.folder / "config.yaml"
        self.brokers = {}
        self.grpc = {}
        self.processes = {}  # name → (process, the file that it logs to)

    # --- starting --------------------------------------------------------------------------------

    def start(self):
        for program in (self.server, self.binary):
            if not os.access(program, os.X_OK):
                raise Interrupted(f"found no program at {program}, expected it built: ./dev build release")
        if self.kafka:
            self.start_brokers()
        print(f"starting {'a concordatd for each site' if self.kafka else 'concordatd with both sites'} …", flush=True)
        groups = [[site] for site in SITES] if self.kafka else [list(SITES)]
        for group in groups:
            self.launch("-".join(group), group)
        addresses = {}
        for group in groups:
            addresses.update(self.wait_ready("-".join(group)))
        self.write_context(addresses)

    def start_brokers(self):
        print("starting two brokers and MirrorMaker 2 …", flush=True)
        self.pair("up")
        state = json.loads((self.folder / "kafka" / "state.json").read_text())
        self.brokers = {site: state["parts"][site]["bootstrap"] for site in SITES}
        taken = set()
        for site in SITES:
            port = free_port(taken)
            taken.add(port)
            self.grpc[site] = f"127.0.0.1:{port}"

    def launch(self, name, here):
        sites = []
        for site, (country, zone) in SITES.items():
            entry = {"name": site, "grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}
            if self.kafka:
                entry["kafka"] = self.brokers[site]
                # Each process asks the other one before it writes, so that its address is known before.
                entry["grpc"] = self.grpc[site]
            sites.append(entry)
        config = {"profile": "demo", "log": "kafka" if self.kafka else "embedded",
                  "data_dir": str(self.folder / f"data-{name}"), "manual_clock_start": CLOCK_START,
                  "sites": sites, "here": here}
        path = self.folder / f"concordatd-{name}.yaml"
        path.write_text(json.dumps(config, indent=1))  # JSON is YAML.
        log = self.folder / f"concordatd-{name}.log"
        with open(log, "wb") as errors:
            process = subprocess.Popen([self.server, "--config", str(path)], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=errors, preexec_fn=die_with_parent,
                                       start_new_session=True)
        self.processes[name] = (process, log)

    def wait_ready(self, name):
        """The addresses of the line READY."""
        process, _ = self.processes[name]
        output = b""
        deadline = time.monotonic() + READY_SECONDS
        while b"\n" not in output:
            if process.poll() is not None:
                raise Interrupted(f"concordatd of {name} ended with {process.returncode}, expected READY")
            if time.monotonic() > deadline:
                raise Interrupted(f"concordatd of {name} is not ready after {READY_SECONDS} s")
            if select.select([process.stdout], [], [], 0.1)[0]:
                output += os.read(process.stdout.fileno(), 65536)
        line = output.decode().splitlines()[0]
        if not line.startswith("READY "):
            raise Interrupted(f"concordatd of {name} said {line!r}, expected READY")
        return {site: entry["grpc"] for site, entry in json.loads(line[len("READY "):])["sites"].items()}

    def write_context(self, addresses):
        sites = {site: {"address": addresses[site]} for site in SITES}
        context = {"current-context": "demo", "contexts": {"demo": {"site": "paris", "sites": sites}}}
        self.config.write_text(json.dumps(context, indent=1))

    # --- while it runs ---------------------------------------------------------------------------

    def concordat(self, *words):
        for name, (process, _) in self.processes.items():
            if process.poll() is not None:
                raise Interrupted(f"concordatd of {name} ended with {process.returncode} in the middle of the story")
        environment = {**os.environ, "CONCORDAT_CONFIG": str(self.config), "USER": os.environ.get("USER") or "demo"}
        return subprocess.run([self.binary, *words], cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=COMMAND_SECONDS)

    def pair(self, action):
        """Runs `kafka.py pair`. Interrupted, it takes along what it had started, so it is waited for."""
        process = subprocess.Popen([sys.executable, str(KAFKA), "pair", action, "--dir", str(self.folder / "kafka")],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)
            raise
        if process.returncode != 0:
            raise Interrupted(f"kafka.py pair {action} ended with {process.returncode}:\n{output}")

    def pair_command(self, action):
        return f"python3 {shlex.quote(str(KAFKA))} pair {action} --dir {self.folder / 'kafka'}"

    def count_events(self):
        """Every event of every stream, each counted at its home."""
        status = json.loads(self.concordat("status", "-o", "json").stdout)
        return sum(int(stream.get("sequence", "0")) + 1 for site in status["sites"] for stream in site["streams"]
                   if stream.get("home"))

    def wait(self):
        """Until somebody stops the demo, or a server ends by itself."""
        while all(process.poll() is None for process, _ in self.processes.values()):
            time.sleep(0.5)
        raise Interrupted("a concordatd ended by itself")

    def last_words(self):
        """The ends of the servers' logs."""
        parts = []
        for name, (_, log) in self.processes.items():
            lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
            parts.append("\n".join([f"last lines of concordatd of {name}:", *lines]))
        return "\n".join(parts)

    # --- ending ----------------------------------------------------------------------------------

    def stop(self):
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process, _ in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process, _ in self.processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self.kafka and (self.folder / "kafka").exists():
            subprocess.run([sys.executable, str(KAFKA), "pair", "down", "--dir", str(self.folder / "kafka")],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)
