"""Clients of both sites: they reserve, once and again and again, amend, extend, cancel, order across and bundle, move
quota, plan waves and maintenance, lower feeds, register, cordon, adopt, deploy, read and subscribe.

Each client is a thread with its own chances and its own connections. What it does is drawn from the seed;
what becomes of it goes into the history. An attempt without an answer is tried again under the same
request id, some of them at once and some never.
"""
import datetime
import random
import threading

import grpc
from google.protobuf import json_format

from history import OK, REFUSED, UNKNOWN, Answer, Operation, Read, Seen, now
from state import COLLECTIONS

ACTOR = "torture"
TIMEOUT_SECONDS = 2
PAUSE_SECONDS = 0.1
ATTEMPTS = 3
MODEL, IDLE_MODEL = "models/vera", "models/idle"
CUSTOMER = "customers/acme"
CONTRACT = f"{CUSTOMER}/contracts/frame"
# One with a quota over both sites, and one with access hours.
QUOTA_CONTRACT, HOURS_CONTRACT = f"{CUSTOMER}/contracts/quota", f"{CUSTOMER}/contracts/hours"
BOOKABLE, SERVER_WATTS = 5, 190_000
FEEDS = ("f0", "f1")
# Recurring reservations: rules, and whose clocks they follow.
SERIES = ("FREQ=DAILY;COUNT=3", "FREQ=DAILY;INTERVAL=2;COUNT=3", "FREQ=WEEKLY;BYDAY=MO,TH;COUNT=3")
ZONES = ("Europe/Paris", "Europe/Stockholm", "America/New_York")
RULES, SAME_NAME = 3, 4
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
           ("grpc.max_reconnect_backoff_ms", 500), ("grpc.enable_retries", 0)]
LOCAL = "%Y-%m-%dT%H:%M:%S"
NO_COMMAND = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)


class Rejected(Exception):
    """A request that is none: the workload is wrong."""


def stream(site, service):
    return f"{site}.{service}.events"


def stamp(time):
    return time.strftime(LOCAL + "Z")


def midnight(days):
    """So many days from now, at midnight."""
    today = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + datetime.timedelta(days=days)


def after(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


class Api:
    """The sites' gRPC doors, by method name."""

    def __init__(self, protos):
        self.outcome = protos.module("concordat.type.v1.command_pb2").Outcome
        self.modules = {service: protos.module(f"concordat.{service}.v1.api_pb2")
                        for service in ("inventory", "reservations", "compliance", "deployment", "node")}
        self.channels = {}
        self.lock = threading.Lock()

    def channel(self, address):
        with self.lock:
            if address not in self.channels:
                self.channels[address] = grpc.insecure_channel(address, CHANNEL)
            return self.channels[address]

    def method(self, service, name):
        door = f"{service.capitalize()}Service"
        found = self.modules[service].DESCRIPTOR.services_by_name[door].methods_by_name[name]
        request = getattr(self.modules[service], found.input_type.name)
        answer = self.outcome if service != "node" else getattr(self.modules[service], found.output_type.name)
        return f"/concordat.{service}.v1.{door}/{name}", request, answer

    def call(self, address, service, name, fields, timeout=TIMEOUT_SECONDS):
        path, request, answer = self.method(service, name)
        call = self.channel(address).unary_unary(path, request.SerializeToString, answer.FromString)
        return call(json_format.ParseDict(fields, request()), timeout=timeout, metadata=[("concordat-actor", ACTOR)])

    def submit(self, address, service, name, request_id, fields, timeout=TIMEOUT_SECONDS):
        """The answer to a command."""
        try:
            return self.answer_of(OK, self.call(address, service, name, {
                "submit": {"requestId": request_id}, **fields}, timeout))
        except grpc.RpcError as error:
            for key, value in error.trailing_metadata() or ():
                if key == "concordat-outcome-bin":
                    return self.answer_of(REFUSED, self.outcome.FromString(value))
            if error.code() in NO_COMMAND:
                raise Rejected(f"{service} {name} {fields}: {error.details()}") from None
            return Answer(UNKNOWN, reason=error.code().name)

    def answer_of(self, what, outcome):
        return Answer(what, outcome.sequence, outcome.link, outcome.repeated, outcome.event_type, outcome.subject,
                      outcome.reason)

    def read(self, address, collection, name, min_stream, min_sequence):
        """(stream, sequence, resource), with the resource None where there is none; None without an answer."""
        try:
            found = self.call(address, "node", "GetResource", {
                "collection": collection, "name": name, "minStream": min_stream, "minSequence": min_sequence})
        except grpc.RpcError as error:
            return ("", -1, None) if error.code() == grpc.StatusCode.NOT_FOUND else None
        resource = json_format.MessageToDict(found.resource)
        resource.pop("@type")
        return found.freshness.stream, found.freshness.sequence, resource

    def watch(self, address, name, from_sequence, timeout):
        path, request, answer = self.method("node", "Watch")
        call = self.channel(address).unary_stream(path, request.SerializeToString, answer.FromString)
        return call(request(stream=name, from_sequence=from_sequence), timeout=timeout)


class Shared:
    """What clients of a site tell each other: names worth reading or cancelling, and positions."""

    KEPT = 60

    def __init__(self, site):
        self.site = site
        self.lock = threading.Lock()
        self.reservations, self.started, self.known, self.versions = [], [], [], {}
        # Windows that end by themselves, and those that go on until somebody closes them.
        self.windows, self.endless = [], []
        self.count = 0

    def next(self):
        with self.lock:
            self.count += 1
            return self.count

    def learn(self, collection, name, of_stream, sequence):
        """A resource that was there at a position."""
        with self.lock:
            self.known.append((collection, name, of_stream, sequence))
            del self.known[:-self.KEPT]

    def remember(self, names, name):
        with self.lock:
            names.append(name)
            del names[:-self.KEPT]

    def forget(self, names, name):
        with self.lock:
            if name in names:
                names.remove(name)

    def pick(self, chance, names):
        with self.lock:
            return chance.choice(names) if names else None


class Client(threading.Thread):
    """One client of one site; `addresses` tells where a service's processes listen now."""

    def __init__(self, api, history, sites, site, number, seed, addresses, stop):
        super().__init__(name=f"{site}-{number}", daemon=True)
        self.api, self.history, self.sites, self.site = api, history, sites, site
        self.shared, self.addresses, self.stop = sites[site], addresses, stop
        self.chance = random.Random(f"{seed}/{self.name}")
        self.count, self.positions, self.failure = 0, {}, None

    def run(self):
        weighted = [(22, self.reserve), (8, self.order_across), (16, self.cancel), (6, self.reserve_now),
                    (5, self.recur), (6, self.amend), (1, self.withdraw), (6, self.extend), (1, self.release),
                    (4, self.bundle), (3, self.request_quota), (2, self.return_quota), (1, self.plan_wave),
                    (1, self.lower_feed), (3, self.maintain), (6, self.answer_window), (4, self.end_window),
                    (4, self.deploy), (7, self.register_customer), (6, self.cordon), (5, self.adopt_rule),
                    (2, self.repeal_rule), (4, self.order_server), (3, self.register_artefact), (1, self.sign_contract),
                    (22, self.read)]
        weights, steps = zip(*weighted)
        try:
            while not self.stop.is_set():
                self.chance.choices(steps, weights)[0]()
        except Exception as error:  # the run is told, and fails
            self.failure = error
            self.stop.set()

    def address(self, site, service):
        return self.chance.choice(self.addresses(site, service))

    # --- commands --------------------------------------------------------------------------------

    def submit(self, service, name, fields, model=()):
        """One operation with its attempts: its answer."""
        self.count += 1
        operation = Operation(self.name, stream(self.site, service), name, f"{self.name}-{self.count}", now(),
                              fields=fields, model=list(model))
        attempts = self.chance.randint(1, ATTEMPTS)
        for _ in range(attempts):
            answer = self.api.submit(self.address(self.site, service), service, name, operation.request_id, fields)
            operation.complete = now()
            if answer.outcome != UNKNOWN:
                break
            self.stop.wait(PAUSE_SECONDS)
        operation.answer = answer
        if answer.outcome != UNKNOWN:
            self.saw(operation.stream, answer.sequence)
            if self.chance.random() < 0.03:
                operation.again.append(self.api.submit(self.address(self.site, service), service, name,
                                                       operation.request_id, fields))
        self.history.add(operation)
        return answer

    def saw(self, of_stream, sequence):
        self.positions[of_stream] = max(sequence, self.positions.get(of_stream, -1))

    def took(self, answer, collection):
        if answer.outcome == OK:
            service = answer.event_type.split(".")[1]
            self.shared.learn(collection, answer.subject, stream(self.site, service), answer.sequence)

    def terms(self, start, end, count, contract=CONTRACT):
        return {"contract": contract, "model": MODEL, "count": count, "startTime": stamp(start), "endTime": stamp(end),
                "purpose": "PURPOSE_INFERENCE", "dataClasses": ["PUBLIC"], "project": "p"}

    def some_span(self, least=1, most=4):
        start = midnight(self.chance.randint(2, 30))
        return start, start + datetime.timedelta(days=self.chance.randint(least, most))

    def some_terms(self):
        contract = self.chance.choice([CONTRACT, CONTRACT, CONTRACT, QUOTA_CONTRACT])
        return self.terms(*self.some_span(), self.chance.randint(1, 2), contract)

    def ask(self, at, terms):
        answer = self.submit("reservations", "Reserve", {"site": f"sites/{at}", **terms})
        if answer.outcome == OK:
            self.took(answer, "reservations" if at == self.site else "orders")
        return answer

    def reserve(self):
        answer = self.ask(self.site, self.some_terms())
        if answer.outcome == OK:
            self.shared.remember(self.shared.reservations, answer.subject)

    def order_across(self):
        self.ask(self.chance.choice([site for site in self.sites if site != self.site]), self.some_terms())

    def reserve_now(self):
        """A reservation that lives through all of its states while the clients are at work."""
        start = datetime.datetime.now(datetime.timezone.utc)
        end = start + datetime.timedelta(seconds=self.chance.randint(5, 12))
        answer = self.ask(self.site, self.terms(start, end, 1))
        if answer.outcome == OK:
            self.shared.remember(self.shared.started, answer.subject)

    def recur(self):
        """A series: some hours of some days, which have to lie within the access hours of one of the contracts."""
        start, end = self.some_span(8, 20)
        access = {"rule": self.chance.choice(SERIES), "timeZone": self.chance.choice(ZONES),
                  "start": (start + datetime.timedelta(days=1, hours=self.chance.randint(6, 12))).strftime(LOCAL),
                  "duration": f"{self.chance.randint(1, 8) * 3600}s"}
        contract = self.chance.choice([CONTRACT, QUOTA_CONTRACT, HOURS_CONTRACT])
        answer = self.ask(self.site, {**self.terms(start, end, self.chance.randint(1, 2), contract), "access": access})
        if answer.outcome == OK:
            self.took(answer, "schedules")
            occurrence = f"{answer.subject}-{self.chance.randint(1, 3)}"
            self.shared.learn("reservations", occurrence, stream(self.site, "reservations"), answer.sequence)
            self.shared.remember(self.shared.reservations, self.chance.choice([answer.subject, occurrence]))

    def change(self, method, names, **fields):
        """A step of one of some reservations of this site."""
        name = self.shared.pick(self.chance, names)
        if name:
            self.took(self.submit("reservations", method, {"name": name, **fields}), "reservations")

    def amend(self):
        start, end = self.some_span()
        self.change("AmendReservation", self.shared.reservations, **self.chance.choice([
            {"count": self.chance.randint(1, 3)}, {"startTime": stamp(start), "endTime": stamp(end)},
            {"project": self.chance.choice("pqr")}]))

    def withdraw(self):
        self.change("WithdrawAmendment", self.shared.reservations, reason="not needed")

    def extend(self):
        """Of what is in use by some seconds, or of what is to come by some days."""
        soon = self.chance.random() < 0.5
        end = after(self.chance.randint(8, 20)) if soon else midnight(self.chance.randint(4, 40))
        self.change("ExtendReservation", self.shared.started[-3:] if soon else self.shared.reservations,
                    endTime=stamp(end), longestFeasible=self.chance.random() < 0.5)

    def release(self):
        self.change("ReleaseReservation", self.shared.started[-3:], reason="done")

    def bundle(self):
        """A server here and one there, or none."""
        span = self.some_span()
        parts = [{"site": f"sites/{site}", **self.terms(*span, 1)} for site in self.sites]
        self.took(self.submit("reservations", "ReserveBundle", {"parts": parts}), "bundles")

    def request_quota(self):
        amount = {"accelerators": self.chance.randint(0, 2), "acceleratorSeconds": self.chance.randint(1, 9) * 86400}
        self.took(self.submit("reservations", "RequestQuota", {"contract": QUOTA_CONTRACT, "amount": amount}), "quotas")

    def return_quota(self):
        amount = {"amount": {"accelerators": 1, "acceleratorSeconds": 86400}} if self.chance.random() < 0.5 else {}
        self.took(self.submit("reservations", "ReturnQuota", {"contract": QUOTA_CONTRACT, **amount}), "quotas")

    def plan_wave(self):
        """Of servers that others wait for, or of one that reservations get only once the wave has opened."""
        about = self.chance.choice([{"model": IDLE_MODEL, "sharePercent": self.chance.randint(1, 100)},
                                    {"model": MODEL, "servers": [self.server(0)]}])
        answer = self.submit("reservations", "PlanWave", {
            "name": f"sites/{self.site}/waves/w-{self.contested()}", "customers": [CUSTOMER],
            "startTime": stamp(midnight(self.chance.randint(1, 10))), **about})
        self.took(answer, "waves")

    def lower_feed(self):
        """For a day or two a feed gives one server's power or two; more may be promised then."""
        begin = self.chance.randint(2, 30)
        self.took(self.submit("inventory", "SetFeedEnvelope", {
            "name": f"sites/{self.site}/feeds/{self.chance.choice(FEEDS)}", "effectiveFrom": stamp(midnight(begin)),
            "until": stamp(midnight(begin + self.chance.randint(1, 2))),
            "itPowerWatts": self.chance.randint(1, 2) * SERVER_WATTS, "cause": "ENVELOPE_CAUSE_WEATHER"}), "feeds")

    def server(self, number):
        return f"sites/{self.site}/servers/s{number}"

    def maintain(self):
        """A window that is proposed and announced. Some begin in some seconds, and so live through all their states."""
        name = f"sites/{self.site}/windows/w-{self.contested()}"
        soon, emergency = self.chance.random() < 0.75, self.chance.random() < 0.2
        start = after(self.chance.randint(4, 9)) if soon else midnight(self.chance.randint(2, 30))
        end = start + datetime.timedelta(seconds=self.chance.randint(3, 8) * (1 if soon else 7200))
        kind = {"windowClass": "WINDOW_CLASS_EMERGENCY", "basisKind": "BASIS_KIND_OPERATIONAL", "basis": "a leak",
                "overrun": "OVERRUN_POLICY_FINISH"} if emergency else {
                    "windowClass": self.chance.choice(["WINDOW_CLASS_PLANNED", "WINDOW_CLASS_CUSTOMER_AGREED"]),
                    "overrun": "OVERRUN_POLICY_ABORT"}
        servers = [self.server(n) for n in self.chance.sample(range(BOOKABLE), self.chance.randint(1, 2))]
        if self.create("inventory", "ProposeWindow", "windows", name, servers=servers, startTime=stamp(start),
                       endTime=stamp(end), work=["look at it"], **kind).outcome == OK:
            self.shared.remember(self.shared.endless if emergency and soon else self.shared.windows, name)
            self.of_window("AnnounceWindow", name)

    def of_window(self, method, name, **fields):
        answer = self.submit("inventory", method, {"name": name, **fields})
        self.took(answer, "windows")
        return answer

    def answer_window(self):
        """The customer's word on a window, or more work, after which it is asked again."""
        name = self.shared.pick(self.chance, self.shared.windows[-4:])
        if not name:
            return
        word = self.chance.random()
        if word < 0.75:
            self.of_window("ConsentToWindow", name, customer=CUSTOMER, relocation=self.chance.random() < 0.5)
        elif word < 0.9:
            self.of_window("RefuseWindow", name, customer=CUSTOMER, reason="not now")
        else:
            self.of_window("AddWork", name, text="look again")

    def end_window(self):
        """One that goes on until it is closed is closed sooner or later; of the others some, while they are open."""
        name = self.shared.pick(self.chance, self.shared.endless)
        if name:
            if self.of_window("CloseWindow", name).outcome == OK:
                self.shared.forget(self.shared.endless, name)
            return
        name = self.shared.pick(self.chance, self.shared.windows[-8:])
        if name:
            method, fields = self.chance.choice([("CloseWindow", {}), ("AbortWindow", {"reason": "no part"}),
                                                 ("CancelWindow", {"reason": "not needed"})])
            self.of_window(method, name, **fields)

    def cancel(self):
        name = self.shared.pick(self.chance, self.shared.reservations)
        if name:
            self.took(self.submit("reservations", "CancelReservation", {"name": name, "reason": "not needed"},
                                  ("once", name, "end", 0)), "reservations")

    def deploy(self):
        name = self.shared.pick(self.chance, self.shared.started[-3:])
        if name:
            self.took(self.submit("deployment", "Deploy", {"artefact": "artefacts/first", "reservation": name}),
                      "deployments")

    def create(self, service, method, collection, name, **fields):
        answer = self.submit(service, method, {"name": name, **fields}, ("create", f"{self.site} {name}", "create", 0))
        self.took(answer, collection)
        return answer

    def contested(self):
        """A number that some other clients draw too."""
        return self.shared.next() // SAME_NAME

    def register_customer(self):
        self.create("reservations", "RegisterCustomer", "customers", f"customers/{self.site}-{self.contested()}",
                    displayName="C", country="FR", sector="PUBLIC")

    def sign_contract(self):
        start = datetime.datetime.now(datetime.timezone.utc)
        self.create("reservations", "SignContract", "contracts",
                    f"customers/acme/contracts/{self.site}-{self.contested()}",
                    sites=[f"sites/{site}" for site in self.sites], maxServersPerSite=1, startTime=stamp(start),
                    endTime=stamp(start + datetime.timedelta(days=400)), dataClasses=["PUBLIC"])

    def order_server(self):
        promised = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
        self.create("inventory", "OrderServer", "servers", f"sites/{self.site}/servers/s-{self.contested()}",
                    model=IDLE_MODEL, supplier="nvidia", promisedTime=stamp(promised))

    def register_artefact(self):
        self.create("deployment", "RegisterArtefact", "artefacts", f"artefacts/{self.site}-{self.contested()}",
                    digest="ab" * 32, licence="MIT", trainedIn="FR")

    def cordon(self):
        name = f"sites/{self.site}/servers/idle-{self.chance.randint(1, 3)}"
        on = self.chance.random() < 0.5
        fields = {"name": name, **({"reason": "looked at"} if on else {})}
        self.took(self.submit("inventory", "CordonServer" if on else "UncordonServer", fields,
                              ("switch", name, "on" if on else "off", 0)), "servers")

    def rule(self):
        number = self.shared.count // 300 * RULES + self.chance.randint(1, RULES)
        return f"rules/{self.site}-{number}"

    def adopt_rule(self):
        name = self.rule()
        version = max(1, self.shared.versions.get(name, 0) + self.chance.choice([0, 1, 1, 1, 1, 2]))
        answer = self.submit("compliance", "AdoptRule", {"rule": {
            "name": name, "version": version, "title": "Nothing is said", "countries": ["AQ"],
            "subjectKind": "SUBJECT_KIND_ARTEFACT", "effect": "EFFECT_WARN", "verification": "VERIFICATION_NONE",
            "required": [{"fact": "artefact.licence", "comparison": "COMPARISON_ALL_IN", "values": ["MIT"]}],
            "citation": {"instrument": "i", "article": "a", "wordingDate": "2026-01-01"},
            "effectiveFrom": "2026-01-01T00:00:00Z"}}, ("version", f"{self.site} {name}", "adopt", version))
        if answer.outcome == OK:
            self.shared.versions[name] = max(version, self.shared.versions.get(name, 0))
            self.took(answer, "rules")

    def repeal_rule(self):
        name = self.rule()
        self.took(self.submit("compliance", "RepealRule", {"name": name, "reason": "not needed"},
                              ("version", f"{self.site} {name}", "repeal", 0)), "rules")

    # --- reads -----------------------------------------------------------------------------------

    def read(self):
        """A read that asks for at least what this client, or another of its site, knows to be there."""
        known = self.shared.pick(self.chance, self.shared.known)
        if known is None:
            return
        collection, name, of_stream, sequence = known
        least = max(sequence, self.positions.get(of_stream, -1))
        begun, site = now(), self.chance.choice([self.site, self.site, *self.sites])
        found = self.api.read(self.address(site, COLLECTIONS[collection]), collection, name, of_stream, least)
        if found is None:
            self.stop.wait(PAUSE_SECONDS)
            return
        # A customer or a contract may be both sites' own; then the answer tells of the nearer one.
        self.history.add(Read(self.name, site, collection, name, of_stream, least, begun, now(), *found))
        if found[0]:
            self.saw(found[0], found[1])


class Subscriber(threading.Thread):
    """Follows a stream at a site through its Watch door, which is where compliance runs, from where the last call ended."""

    CALL_SECONDS = 10

    def __init__(self, api, history, site, of_stream, addresses, stop):
        super().__init__(name=f"{site}-watches-{of_stream}", daemon=True)
        self.api, self.history, self.site, self.of_stream = api, history, site, of_stream
        self.addresses, self.stop, self.next, self.calls = addresses, stop, 0, 0

    def run(self):
        while not self.stop.is_set():
            self.calls += 1
            begin = self.next
            try:
                door = self.addresses(self.site, "compliance")[0]
                for answer in self.api.watch(door, self.of_stream, begin, self.CALL_SECONDS):
                    event = answer.event
                    self.history.add(Seen(self.name, self.site, self.calls, self.of_stream, begin, event.sequence,
                                          event.link))
                    self.next = event.sequence + 1
                    if self.stop.is_set():
                        break
            except grpc.RpcError:
                self.stop.wait(PAUSE_SECONDS)
