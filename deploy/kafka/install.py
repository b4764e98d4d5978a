"""The pinned jars in the cache, and an archive of their classes, so that they start quickly."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from broker import Broker, HOME_LOG, topic_tool
from common import Failure, say
from jvm import KAFKA_VERSION, cache_dir
from mirror import MirrorMaker


HERE = Path(__file__).resolve().parent


def sources():
    return [HERE / "pom.xml", *sorted((HERE / "java").glob("*.java"))]


def fingerprint():
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def installed():
    """The marker is written last, so a folder without it, or with another, is not an install."""
    try:
        return (cache_dir() / "installed").read_text() == fingerprint()
    except FileNotFoundError:
        return False


def ensure_installed():
    if installed():
        return
    for program, package in (("java", "a JDK, 17 or later"), ("javac", "a JDK, 17 or later"),
                             ("mvn", "Maven")):
        if not shutil.which(program):
            raise Failure(f"found no `{program}` on the PATH; expected {package}; "
                          "install it (Debian: openjdk-17-jdk-headless, maven) and try again")
    target = cache_dir()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Of two installs at once the second finds it done.
        if installed():
            return
        mark = fingerprint()
        with tempfile.TemporaryDirectory(prefix=f"{target.name}.new-", dir=target.parent) as new:
            build_install(Path(new))
            shutil.rmtree(target, ignore_errors=True)
            os.rename(new, target)
            os.mkdir(new)  # The context manager wants to remove what it made.
        # The archive names the jars by path, so it can only be made where they will stay.
        make_class_archive(target)
        (target / "installed").write_text(mark)
        say(f"installed Kafka {KAFKA_VERSION} in {target}")


def build_install(folder):
    say(f"fetching the jars of Kafka {KAFKA_VERSION} with Maven")
    run_tool("mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}")
    jars = sorted((folder / "lib").glob("*.jar"))
    if not jars:
        raise Failure("Maven copied no jars; expected the dependencies of deploy/kafka/pom.xml; "
                      "run `mvn -f deploy/kafka/pom.xml dependency:tree` to see why")
    run_tool("javac", "-nowarn", "-proc:none", "-d", folder / "classes",
             "-cp", os.pathsep.join(map(str, jars)), *(HERE / "java").glob("*.java"))
    # A hundred jars on a command line are past reading; one jar's manifest can name them all.
    # Manifest lines hold 72 bytes; a continuation starts with a blank.
    entry = "Class-Path: " + " ".join(f"lib/{jar.name}" for jar in jars)
    lines = [entry[:70]] + [" " + entry[i:i + 69] for i in range(70, len(entry), 69)]
    (folder / "manifest").write_text("\n".join(lines) + "\n")
    run_tool("jar", "--create", "--file", folder / "kafka.jar", "--manifest", folder / "manifest",
             "-C", folder / "classes", ".")


def run_tool(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"`{command[0]}` ended with {done.returncode}; expected 0; its output:\n"
                      f"{done.stdout.strip()[-4000:]}")


def make_class_archive(target):
    """Stores the classes that a broker and a mirror load, parsed and ready (class data sharing).

    This takes a short rehearsal now and about halves every later start. It is a convenience: if it
    fails, everything still works, slower.
    """
    say("rehearsing a start, to make later ones quicker")
    loaded = []
    try:
        with tempfile.TemporaryDirectory(prefix="concordat-rehearsal-") as folder:
            folder = Path(folder)

            def record(name):
                loaded.append(folder / f"{name}.classes")
                return [f"-XX:DumpLoadedClassList={loaded[-1]}"]

            topics = {f"{site}.rehearsal.events": HOME_LOG for site in ("a", "b")}
            with contextlib.ExitStack() as stack:
                brokers = {}
                for site in ("a", "b"):
                    broker = Broker(folder / site, topics=topics, java_options=record(site))
                    stack.callback(broker.stop)
                    broker.start()
                    brokers[site] = broker
                for broker in brokers.values():
                    broker.await_ready()
                sites = {site: broker.bootstrap for site, broker in brokers.items()}
                topic_tool(sites["a"], "describe", {"a.rehearsal.events": {}}, record("topics"))
                mirror = MirrorMaker(folder / "mirror", sites, java_options=record("mirror"))
                stack.callback(mirror.stop)
                mirror.start()
                mirror.await_ready()
            merged = folder / "all.classes"
            lines = dict.fromkeys(line for path in loaded for line in path.read_text().splitlines())
            merged.write_text("\n".join(lines) + "\n")
            run_tool("java", "-Xshare:dump", "-XX:+UseSerialGC", "-Xlog:disable",
                     f"-XX:SharedClassListFile={merged}",
                     f"-XX:SharedArchiveFile={target / 'kafka.jsa'}",
                     "-cp", target / "kafka.jar")
    except (Failure, OSError) as problem:
        say(f"no class archive, starts will be slower: {problem}")
