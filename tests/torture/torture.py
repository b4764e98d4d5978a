#!/usr/bin/env python3
"""Two sites on real brokers with a real mirror, under load and under faults, and then the proof.

  torture.py --minutes 10 --seed 7

Clients of both sites work while processes are killed and paused, brokers lost, links cut, disks filled,
clocks stepped and two writers set against each other. Then everything is healed, unknown operations are
resolved from the log, and the history is checked for every anomaly (checker.py), for linearizability
(porcupine/), and against a state that an independent reader folds from both sites' topics
(tests/reader/). Exit code: 0 green, 1 red, 2 invalid: too little happened to prove anything.
"""
import argparse
import collections
import datetime
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "integration", HERE.parent / "reader"):
    sys.path.insert(0, str(folder))

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # children are other programs

import reader  # noqa: E402
from checker import ANOMALIES, Log, check, resolve  # noqa: E402
from clients import (ACTOR, BOOKABLE, CONTRACT, CUSTOMER, FEEDS, HOURS_CONTRACT, IDLE_MODEL, MODEL,  # noqa: E402
                     QUOTA_CONTRACT, SERVER_WATTS, Api, Client, Shared, Subscriber, midnight, stamp, stream)
from cluster import SERVICES, Cluster, Node, Shell, binary, eventually  # noqa: E402
from enospc_test import INSIDE, enter_namespace  # noqa: E402
from faults import LONG_PAUSE, LONG_RUN_SECONDS, Clock, Deck, Disk, Nemesis, happened  # noqa: E402
from history import OK, REFUSED, UNKNOWN, History, now  # noqa: E402
from proxy import Proxy  # noqa: E402

SITES = {"paris": ("FR", "Europe/Paris"), "borlange": ("SE", "Europe/Stockholm")}
CLIENTS, IDLE = 4, 3
# Four of the five servers may be in use at once.
ENVELOPE_WATTS = 4 * SERVER_WATTS
# And of the two or three on each feed two.
FEED_WATTS = 2 * SERVER_WATTS
QUOTA = {"accelerators": 6, "acceleratorHours": 3000}
HOURS_DAYS = 60
LEAST_ANSWERED_A_SECOND = 5
ASKED_AGAIN = 200
QUIET_SECONDS = 180
EXTRA_SECONDS = 120
CLOCK_STEP = Path(os.environ.get("CLOCK_STEP", HERE.parents[1] / "build/dev/tests/torture/libclock_step.so"))


class Process(Node):
    """A concordatd that can be stopped in its tracks."""

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)


# A site is one process, or one for each service.
LAYOUT = {"paris": [SERVICES], "borlange": [(service,) for service in SERVICES]}


class World:
    """Everything that runs: brokers behind proxies, the mirror, the sites' processes, and sometimes one twice."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.proxies, self.brokers, self.disks, self.broker_disks = {}, {}, {}, {}
        self.nodes, self.twins = {}, {}
        self.mirror_lock, self.over = threading.Lock(), threading.Event()
        self.numbers = itertools.count()
        for site in SITES:
            self.start_broker(site)
        for site, broker in self.brokers.items():
            broker.wait_ready()
            self.proxies[site].target = broker.facts["direct"]
        self.mirror = cluster.mirror(self.brokers).launch()
        for site in SITES:
            self.disks[site] = Disk(cluster, cluster.folder / f"disk-{site}")
            self.nodes[site] = [self.process(site, services).launch() for services in LAYOUT[site]]
        for site in SITES:
            for node in self.nodes[site]:
                node.wait_ready()
        self.mirror.wait_ready()
        context = {site: {"address": self.addresses(site, "compliance")[0],
                          "services": {service: self.addresses(site, service)[0] for service in SERVICES}}
                   for site in SITES}
        self.shell = Shell(cluster, context)
        # One that asks a single site, for the other may not answer.
        self.shells = {site: Shell(cluster, {site: context[site]}, name=f"shell-{site}") for site in SITES}

    def start_broker(self, site):
        self.proxies[site] = Proxy()
        self.cluster.stack.callback(self.proxies[site].close)
        folder = self.cluster.folder / f"broker-{site}"
        self.broker_disks[site] = Disk(self.cluster, folder)
        own = [stream(site, service) for service in SERVICES]
        others = [stream(other, service) for other in SITES if other != site for service in SERVICES]
        self.brokers[site] = self.cluster.kafka(
            "broker", "--dir", folder, "--topics", ",".join(own), "--mirrored-topics", ",".join(others),
            "--advertised", self.proxies[site].address).launch()

    def process(self, site, services, twin=False):
        """A process that is not started yet; a twin has a folder of its own, and a clock that is right."""
        name = f"{'twin-' if twin else ''}{site}-{services[0]}-{next(self.numbers)}"
        clock = None if twin else Clock(self.cluster.folder / f"clock-{name}", CLOCK_STEP)
        folder = self.cluster.folder / name if twin else self.disks[site].folder / name
        address = self.cluster.address()
        node = Process(self.cluster, name, {
            "log": "kafka", "data_dir": str(folder), "here": [site], "services": list(services),
            "sites": [{"name": each, "kafka": self.brokers[each].bootstrap,
                       **({"grpc": address} if each == site else {})} for each in SITES]},
            clock.wrapper if clock else ())
        node.address, node.services, node.clock = address, services, clock
        self.cluster.stack.callback(node.release)
        return node

    def twin(self, site, services):
        """Another process for services of a site, not started yet."""
        self.twins[site] = self.process(site, services, twin=True)
        return self.twins[site]

    def addresses(self, site, service):
        """Where a client may ask a service of a site now; the first place is the lasting one."""
        twin = self.twins.get(site)
        return [node.address for node in (*self.nodes[site], *([twin] if twin is not None and twin.alive() else []))
                if service in node.services]

    def start_mirror(self):
        """Whether the mirror serves again; it does not start while a broker is away."""
        try:
            self.mirror.start()
            return True
        except AssertionError:
            self.mirror.release()
            return False


# --- the story -----------------------------------------------------------------------------------


def furnish(world, api):
    """Sites with servers in service, a contract over both, and an artefact."""
    numbers = itertools.count()
    begin = stamp(datetime.datetime.now(datetime.timezone.utc))

    def do(at, service, method, **fields):
        answer = api.submit(world.addresses(at, service)[0], service, method, f"furnish-{next(numbers)}", fields, timeout=20)
        assert answer.outcome == OK, f"{method} at {at}: {answer}"

    for site, (country, zone) in SITES.items():
        do(site, "inventory", "OpenSite", name=f"sites/{site}", country=country, timeZone=zone)
        do(site, "inventory", "SetEnvelope", site=f"sites/{site}", effectiveFrom=begin,
           itPowerWatts=ENVELOPE_WATTS, coolingWatts=ENVELOPE_WATTS)
        for feed in FEEDS:
            do(site, "inventory", "DefineFeed", name=f"sites/{site}/feeds/{feed}", itPowerWatts=FEED_WATTS,
               redundancy="REDUNDANCY_N")
        for model in (MODEL, IDLE_MODEL):
            do(site, "inventory", "RegisterModel", name=model, vendor="v", accelerators=1, itPowerWatts=SERVER_WATTS,
               coolingWatts=SERVER_WATTS, criteria=[{"figure": "f", "minimum": 0, "maximum": 1, "unit": "u"}])
        servers = [(f"s{n}", MODEL) for n in range(BOOKABLE)] + [(f"idle-{n + 1}", IDLE_MODEL) for n in range(IDLE)]
        for position, (server, model) in enumerate(servers, 1):
            name = f"sites/{site}/servers/{server}"
            do(site, "inventory", "OrderServer", name=name, model=model, supplier="v", promisedTime="2099-01-01T00:00:00Z")
            do(site, "inventory", "DeliverServer", name=name, serial=f"SN-{server}")
            do(site, "inventory", "InstallServer", name=name, room="a", rack="1", position=position,
               nvlinkDomain=f"d{position % 2}", powerFeed=FEEDS[position % 2])
            do(site, "inventory", "TestServer", name=name, figures=[{"name": "f", "value": 1, "unit": "u"}])
            do(site, "inventory", "EnterService", name=name)
        do(site, "deployment", "RegisterArtefact", name="artefacts/first", digest="ab" * 32, licence="MIT", trainedIn="FR")
    do("paris", "reservations", "RegisterCustomer", name=CUSTOMER, displayName="Acme", country="FR", sector="PUBLIC")
    terms = {"sites": [f"sites/{site}" for site in SITES], "dataClasses": ["PUBLIC"],
             "startTime": "2026-01-01T00:00:00Z", "endTime": "2099-01-01T00:00:00Z"}
    contracts = {
        CONTRACT: {"maxServersPerSite": BOOKABLE}, QUOTA_CONTRACT: {"quota": QUOTA},
        HOURS_CONTRACT: {"maxServersPerSite": BOOKABLE, "startTime": stamp(midnight(0)),
                         "endTime": stamp(midnight(HOURS_DAYS)), "access": {
                             "rule": "FREQ=DAILY", "timeZone": "Europe/Paris", "start": "2026-01-01T06:00:00",
                             "duration": "43200s"}}}
    for name, more in contracts.items():
        do("paris", "reservations", "SignContract", name=name, **{**terms, **more})

    def count(collection, site):
        return len(world.shell.get(collection, site=site).get("resources", []))

    eventually(lambda: all(
        count("server_records", site) == BOOKABLE + IDLE and count("contracts", site) == len(contracts)
        and count("site_records", site) == 1 and len(world.shell.get("site_records", site=site)["resources"][0].get(
            "feeds", [])) == len(FEEDS) for site in SITES), 60, "sites that can be booked")


def attack(world, api, seed, seconds):
    """Load and faults for at least so many seconds: the history, the faults that happened, and the seconds."""
    history, stop, calm = History(), threading.Event(), threading.Event()
    shared = {site: Shared(site) for site in SITES}
    clients = [Client(api, history, shared, site, number, seed, world.addresses, stop)
               for site in SITES for number in range(CLIENTS)]
    chance = random.Random(f"{seed}/subscribers")
    clients += [Subscriber(api, history, site, stream(chance.choice(list(SITES)), service), world.addresses, stop)
                for site in SITES for service in SERVICES]
    deck = Deck(Nemesis.KINDS, seed)
    nemeses = [Nemesis(world, site, deck, seed, seconds, calm) for site in SITES]
    for thread in (*clients, *nemeses):
        thread.start()
    begun = time.monotonic()
    stop.wait(seconds)
    # A busy machine gets more time for the kinds that have not happened yet; after that the run is invalid.
    due = [*Nemesis.KINDS, *([LONG_PAUSE] if seconds >= LONG_RUN_SECONDS else [])]
    while not stop.is_set() and time.monotonic() - begun < seconds + EXTRA_SECONDS and not all(
            happened([fault for nemesis in nemeses for fault in list(nemesis.done)])[kind] for kind in due):
        stop.wait(1)
    calm.set()
    for nemesis in nemeses:
        nemesis.healed.wait()
    stop.set()
    for client in clients:
        client.join(60)
    for thread in (*nemeses, *clients):
        if getattr(thread, "failure", None) is not None:
            raise RuntimeError(f"{thread.name}: {thread.failure}") from thread.failure
    faults = sorted((fault for nemesis in nemeses for fault in nemesis.done), key=lambda fault: fault[2])
    return history, faults, time.monotonic() - begun


# --- the proof -----------------------------------------------------------------------------------


def wait_quiet(world):
    """Until every site has every event, no consumer has an alarm, and every writer writes."""
    world.shell("verify", "--wait", f"{QUIET_SECONDS}s")

    def well():
        states = [state for site in SITES for state in world.shell.streams(site).values()]
        return all(not state.get("alarm") and state["condition"] == "ok" and state.get("writerState", "writing") in
                   ("", "writing") for state in states)
    eventually(well, QUIET_SECONDS, "streams without alarms", pause=0.5)


def ask_again(world, api, history, seed):
    """Sends some operations again under their ids; of those of unknown outcome the half, the log decides the others."""
    chance = random.Random(f"{seed}/again")
    unknown = [each for each in history.operations if each.answer.outcome == UNKNOWN]
    known = [each for each in history.operations if each.answer.outcome != UNKNOWN]
    chosen = [*chance.sample(unknown, min((len(unknown) + 1) // 2, ASKED_AGAIN)),
              *chance.sample(known, min(len(known), ASKED_AGAIN))]
    for operation in chosen:
        site, service, _ = operation.stream.split(".")
        answer = api.submit(world.addresses(site, service)[0], service, operation.method, operation.request_id, operation.fields,
                            timeout=20)
        if operation.answer.outcome == UNKNOWN:
            operation.answer, operation.complete = answer, now()
        else:
            operation.again.append(answer)


def read_everything(world, protos):
    """The independent reader's folds and findings, at a moment in which nothing happened."""
    brokers = {site: broker.bootstrap for site, broker in world.brokers.items()}
    shell = reader.Shell(binary("CONCORDAT"), world.shell.path)
    for _ in range(5):  # a timer may fire meanwhile
        before = {site: world.shell.heads(site) for site in SITES}
        by_site, findings = reader.check(protos, brokers, shell)
        if {site: world.shell.heads(site) for site in SITES} == before:
            break
        wait_quiet(world)
    return by_site, findings


def linearizability(history, folder):
    """What Porcupine says of every object's history, and of every stream's: its report."""
    clients = {}
    lines = []
    for operation in history.operations:
        if operation.answer.outcome == UNKNOWN:
            continue  # the log says that it never happened
        line = {"client": clients.setdefault(operation.client, len(clients)), "call": operation.invoke,
                "return": operation.complete, "outcome": operation.answer.outcome, "reason": operation.answer.reason,
                "sequence": operation.answer.sequence}
        lines.append({**line, "model": "stream", "object": operation.stream})
        if operation.model and (operation.answer.reason or operation.answer.outcome == OK or not by_reason(operation)):
            model, object_, action, argument = operation.model
            lines.append({**line, "model": model, "object": object_, "action": action, "argument": argument})
    (folder / "operations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run([str(porcupine())], stdin=open(folder / "operations.jsonl"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"porcupine ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def by_reason(operation):
    """Whether a refusal says something only with its reason, which the log does not tell here."""
    return operation.model[0] == "create"


def porcupine():
    """The checker's program, built once for each version of its sources."""
    folder = HERE / "porcupine"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*")))).hexdigest()
    cache = Path(os.environ.get("CONCORDAT_CACHE", Path.home() / ".cache" / "concordat"))
    program = cache / f"porcupine-{digest[:12]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f"{program.name}.{os.getpid()}"
        subprocess.run(["go", "build", "-o", str(fresh), "."], cwd=folder, check=True,
                       env={**os.environ, "GOTOOLCHAIN": "local"})
        fresh.replace(program)
    return program


def verdict_of(seconds, answered, faults, anomalies, not_linearizable, long_run=False):
    """(`green`, `red` or `invalid`, why). What was found counts more than how little was tried."""
    found = [f"{name}: {text}" for name, texts in anomalies.items() for text in texts]
    found += [f"not linearizable: {name}" for name in not_linearizable]
    if found:
        return "red", found
    least = LEAST_ANSWERED_A_SECOND * seconds
    why = [f"{answered} answered operations, expected at least {least:.0f}"] if answered < least else []
    due = [*Nemesis.KINDS, *([LONG_PAUSE] if long_run else [])]
    why += [f"{kind} never happened" for kind in due if not faults.get(kind)]
    return ("invalid", why) if why else ("green", [])


def judge(world, api, protos, history, seed):
    """Everything that the history and the log prove: (anomalies, linearizability, resolved, reader's summary)."""
    wait_quiet(world)
    ask_again(world, api, history, seed)
    wait_quiet(world)
    by_site, differences = read_everything(world, protos)
    homes = {name: each for site, followed in by_site.items() for name, each in followed.items()
             if name.startswith(f"{site}.")}
    log = Log({name: each.accepted for name, each in homes.items()}, ACTOR)
    resolved = resolve(history.operations, log)
    allocations = [found for each in homes.values() for found in each.allocations.findings]
    anomalies = check(history, log, lambda of_stream, *what: homes[of_stream].state.as_of(*what), allocations,
                      [found for found in differences if found.partition(": ")[2] not in allocations])
    return anomalies, linearizability(history, world.cluster.folder), resolved, reader.summary_of(by_site, [])


def say(text):
    print(text, flush=True)


def run(seed, seconds, cluster):
    """One run: its exit code."""
    protos = reader.Protos()
    porcupine()
    world, api, history = World(cluster), Api(protos), History()
    furnish(world, api)
    say(f"torture: seed {seed}, {seconds:.0f} s, {CLIENTS * len(SITES)} clients at {len(SITES)} sites")
    history, faults, lasted = attack(world, api, seed, seconds)
    (cluster.folder / "faults.txt").write_text("".join(f"{fault}\n" for fault in faults))
    outcomes = collections.Counter(each.answer.outcome for each in history.operations)
    say(f"operations {len(history.operations)} in {lasted:.0f} s: ok {outcomes[OK]}, refused {outcomes[REFUSED]}, "
        f"unknown {outcomes[UNKNOWN]}; reads {len(history.reads)}, events seen {len(history.seen)}")
    counts = happened(faults)
    say(f"faults {len(faults)}: " + ", ".join(f"{kind} {counts[kind]}" for kind in (*Nemesis.KINDS, LONG_PAUSE)))
    kinds = collections.Counter((each.method, each.answer.outcome) for each in history.operations)
    say("granted: " + ", ".join(f"{method} {kinds[method, OK]}" for method in sorted({method for method, _ in kinds})))
    anomalies, linear, resolved, summary = judge(world, api, protos, history, seed)
    history.write(cluster.folder / "history.jsonl")
    say(f"of the unknown: {outcomes[UNKNOWN] - sum(resolved)} answered when asked again; by the log {resolved[0]} had "
        f"happened and {resolved[1]} never did")
    say("anomalies " + str(sum(map(len, anomalies.values()))) + ": " + ", ".join(
        f"{name} {len(anomalies[name])}" for name in ANOMALIES))
    broken = [*linear["illegal"], *linear["undecided"]]
    say(f"linearizability: {linear['operations']} operations on {linear['objects']} objects and streams, "
        f"{len(linear['illegal'])} illegal, {len(linear['undecided'])} undecided")
    for site, figures in summary["sites"].items():
        say(f"independent reader at {site}: {figures['events']} events, {figures['void']} void records, "
            f"{figures['resources']} resources")
    verdict, why = verdict_of(lasted, outcomes[OK] + outcomes[REFUSED], counts, anomalies, broken,
                              seconds >= LONG_RUN_SECONDS)
    for text in why[:20]:
        say(f"  {text}")
    say(f"torture: {verdict}")
    return {"green": 0, "red": 1, "invalid": 2}[verdict]


def keep(cluster, folder):
    """Copies what a failure can be understood from."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.txt", "*.jsonl", "*.err", "*.yaml", "broker-*/broker.log", "mirror/mirror.log"):
        for path in cluster.folder.glob(pattern):
            shutil.copy(path, folder / "-".join(path.relative_to(cluster.folder).parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="how long clients and faults last (default 1)")
    parser.add_argument("--seed", type=int, default=None, help="of what clients ask and which faults happen")
    parser.add_argument("--keep", type=Path, help="copy the history, the faults and the logs into this folder")
    options = parser.parse_args()
    if not os.environ.get(INSIDE):
        parser.error("disks are filled that this program mounts: run it as root or where `unshare -r -m` is allowed")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    cluster = Cluster()
    code = 1
    try:
        code = run(seed, options.minutes * 60, cluster)
    finally:
        if options.keep:
            keep(cluster, options.keep)
        cluster.close()
        if code == 1:
            say(f"again, with other timings: ./dev torture --minutes {options.minutes:g} --seed {seed} --keep FOLDER")
    return code


if __name__ == "__main__":
    enter_namespace()
    sys.exit(main())
