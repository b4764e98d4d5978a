#!/usr/bin/env python3
"""Builds the Kafka Streams peer once, into the cache, and runs it.

  run.py [--bootstrap HOST:PORT] [--clients 1,16,128,8192] [--seconds 10] [--warmup 5]
         [--commit-interval-ms default|N] [--linger-ms N] [--batch-bytes N] [--cache-bytes N]
         [--changelog on|off] [--poll-ms N] [--flush-messages N]

Without --bootstrap it starts a broker of its own and ends it afterwards. Prints one JSON document;
README.md says what each option does and what came of it.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KAFKA = HERE.parents[2] / "deploy" / "kafka" / "kafka.py"
libc = ctypes.CDLL(None)


def die_with_parent():
    """Runs in the child: the kernel kills it (1 is PR_SET_PDEATHSIG) when this process ends."""
    libc.prctl(1, signal.SIGKILL)


def build():
    sources = [HERE / "pom.xml", *sorted(HERE.glob("src/main/java/*.java"))]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    base = os.environ.get("CONCORDAT_CACHE") or Path.home() / ".cache" / "concordat"
    target = Path(base).absolute() / f"streams-{digest.hexdigest()[:16]}"
    # The mark is written last, so a build that was broken off is done again.
    if not (target / "built").exists():
        target.mkdir(parents=True, exist_ok=True)
        with open(target / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / "built").exists():
                print("building the Kafka Streams peer with Maven", file=sys.stderr)
                done = subprocess.run(
                    ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), f"-Dbuild.folder={target}",
                     "compile", "dependency:copy-dependencies", "-DincludeScope=runtime",
                     f"-DoutputDirectory={target / 'lib'}"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True)
                if done.returncode != 0:
                    sys.exit(f"run.py: Maven ended with {done.returncode}; expected 0; "
                             f"its output:\n{done.stdout.strip()[-4000:]}")
                (target / "built").touch()
    return target


def run(target, arguments):
    return subprocess.run(
        ["java", "-Xms1g", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
         "-cp", f"{target / 'classes'}:{target / 'lib'}/*", "StreamsBench", *arguments],
        stdin=subprocess.DEVNULL, preexec_fn=die_with_parent).returncode


def run_with_broker(target, arguments):
    with tempfile.TemporaryDirectory(prefix="concordat-bench-") as folder:
        broker = subprocess.Popen(
            [sys.executable, str(KAFKA), "broker", "--dir", folder, "--benchmark",
             "--until-stdin-closes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        try:
            line = broker.stdout.readline()
            if not line.startswith("READY "):
                sys.exit("run.py: found no broker; expected READY from deploy/kafka/kafka.py; "
                         "its message is above")
            bootstrap = json.loads(line[len("READY "):])["bootstrap"]
            return run(target, ["--bootstrap", bootstrap, *arguments])
        finally:
            broker.stdin.close()
            broker.wait()


def main():
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return 0
    target = build()
    runner = run if "--bootstrap" in arguments else run_with_broker
    return runner(target, arguments)


if __name__ == "__main__":
    sys.exit(main())
