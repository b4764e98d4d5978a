"""What the events fold to, written from docs/catalogue.md and the published protos alone.

A resource is the protobuf JSON of its message, as a dict: what is at its default is left out. Law: a
stream's state is a fold of that stream alone, and no event is looked at twice.
"""
import dataclasses
import datetime

from google.protobuf import json_format, timestamp_pb2

OF_SERVICE = {
    "inventory": ("sites", "models", "servers", "plans", "racks", "feeds", "readings", "manifests", "parts",
                  "windows"),
    "reservations": ("customers", "contracts", "site_records", "server_records", "reservations", "schedules",
                     "orders", "separations", "bundles", "promises", "quotas", "projects", "waves",
                     "window_records", "shortfalls"),
    "compliance": ("rules", "judgements", "compliance_sites"),
    "deployment": ("artefacts", "deployment_reservations", "deployments", "drains"),
}
COLLECTIONS = {name: service for service, names in OF_SERVICE.items() for name in names}
# Collections that the services answer queries about and that are not folded here, each with its reason.
NOT_FOLDED = {}
# In the order of their numbers.
STATES = ("ORDERED", "DELIVERED", "INSTALLED", "TEST_FAILED", "QUALIFIED", "IN_SERVICE", "OUT_OF_SERVICE", "PLANNED",
          "UNDER_TEST", "QUARANTINED", "REPAIRED", "RETIRING", "SANITISED", "RETIRED")
OVER = ("RESERVATION_STATE_ENDED", "RESERVATION_STATE_CANCELLED", "RESERVATION_STATE_DECLINED",
        "RESERVATION_STATE_LAPSED", "RESERVATION_STATE_REVOKED")
# What these become, occurrences that have not begun become with their series.
GIVEN_UP = ("RESERVATION_STATE_CANCELLED", "RESERVATION_STATE_DECLINED", "RESERVATION_STATE_LAPSED",
            "RESERVATION_STATE_REVOKED")
NOT_BEGUN = ("RESERVATION_STATE_HELD", "RESERVATION_STATE_CONFIRMED")
GOES_ON = ("RESERVATION_STATE_HELD", "RESERVATION_STATE_CONFIRMED", "RESERVATION_STATE_ACTIVE")
RUNNING = ("RESERVATION_STATE_ACTIVE", "RESERVATION_STATE_ENDING", "RESERVATION_STATE_CLEANING")
WATTS = ("itPowerWatts", "coolingWatts")
NEVER = 1 << 63
LONGEST_PAUSE_SECONDS = 60
KEPT_LEVELS_SECONDS = 3600


def json_of(message):
    return json_format.MessageToDict(message)


def later(time, seconds):
    """An RFC 3339 time, moved."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromJsonString(time)
    stamp.seconds += seconds
    return stamp.ToJsonString()


def nanos(time):
    """An RFC 3339 time in UTC as nanoseconds since 1970."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    begin = datetime.datetime.fromisoformat(whole + "+00:00")
    return int(begin.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def retry_pause(attempt):
    return min(2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)


def begin_of(step):
    """When an envelope's step begins, as nanos(); a feed's first one is without a time."""
    return nanos(step.get("effectiveFrom", "1970-01-01T00:00:00Z"))


def with_step(steps, step, now, of_feed=False):
    """An envelope with one step more. One with the same beginning goes, and for one that ends by itself all that begin
    within it; at its end begins again what had held then, which for a site was nothing and for a feed had no limit.
    What is past by more than two days is forgotten."""
    begin = begin_of(step)
    last = nanos(step["until"]) if "until" in step else begin
    more = [step]
    if "until" in step:
        held = [*([] if of_feed else [{"site": step["site"]}]), *(each for each in steps if begin_of(each) <= last)]
        more += [{**each, "effectiveFrom": step["until"]} for each in held[-1:]]
    steps = sorted([*(other for other in steps if not begin <= begin_of(other) <= last), *more], key=begin_of)
    while len(steps) > 1 and begin_of(steps[1]) <= nanos(now) - 48 * 3600 * 10**9:
        steps = steps[1:]
    return steps


def amount_of(message):
    """Accelerators and accelerator-seconds of a quota's amount, as numbers."""
    return int(message.get("accelerators", 0)), int(message.get("acceleratorSeconds", 0))


def amount_json(accelerators, seconds):
    return without_defaults({"accelerators": str(accelerators), "acceleratorSeconds": str(seconds)})


def plus(resource, key, amount, sign=1):
    """An amount within a resource, changed."""
    before, change = amount_of(resource.get(key, {})), amount_of(amount)
    resource[key] = amount_json(*(a + sign * b for a, b in zip(before, change)))


def without_defaults(message):
    return {key: value for key, value in message.items() if value not in ("", 0, "0", False, [], None)}


def add_level(levels, accelerators, since, now):
    """Levels by time, raised or lowered from `since` on; what holds since long before `now` is one."""
    begin = lambda step: nanos(step["effectiveFrom"]) if "effectiveFrom" in step else -NEVER
    at = nanos(since)
    if at not in [begin(step) for step in levels]:
        below = [int(step.get("accelerators", 0)) for step in levels if begin(step) < at]
        levels = sorted([*levels, {"effectiveFrom": since, "accelerators": below[-1] if below else 0}], key=begin)
    levels = [{**step, "accelerators": int(step.get("accelerators", 0)) + (accelerators if begin(step) >= at else 0)}
              for step in levels]
    while len(levels) > 1 and begin(levels[1]) <= nanos(now) - KEPT_LEVELS_SECONDS * 10**9:
        levels = levels[1:]
    levels[0].pop("effectiveFrom", None)
    return [without_defaults({**step, "accelerators": str(step["accelerators"])}) for step in levels]


def see(seen, number):
    """Numbers that were seen, with one more: all through one, and those beyond it."""
    through = int(seen.get("through", 0))
    beyond = sorted({*(int(other) for other in seen.get("beyond", [])), number})
    beyond = [other for other in beyond if other > through]
    while beyond and beyond[0] == through + 1:
        through = beyond.pop(0)
    return without_defaults({"through": str(through), "beyond": [str(other) for other in beyond]})


def times_of(occurrence):
    """An occurrence as a schedule has it: its times alone, for its servers stand in the reservation that it is."""
    return {key: occurrence[key] for key in ("name", "startTime", "endTime") if key in occurrence}


def booked_seconds(reservation):
    """Accelerator-seconds that a reservation takes of its contract's quota; a series takes none, its occurrences do."""
    if reservation is None or reservation.get("state") in (None, *OVER[1:4]) or "access" in reservation["terms"]:
        return 0
    begin, end = span(reservation)
    if "startedTime" in reservation:
        begin = max(begin, nanos(reservation["startedTime"]))
    seconds = lambda accelerators, start, until: int(accelerators or 0) * -(-max(0, until - start) // 10**9)
    if "segments" not in reservation:
        booked = seconds(reservation.get("accelerators"), begin, end)
    else:
        booked = sum(seconds(each.get("accelerators"), max(begin, nanos(each["startTime"])),
                             min(end, nanos(each["endTime"]))) for each in reservation["segments"])
    return booked + pending_seconds(reservation, seconds)


def pending_seconds(reservation, seconds):
    """What a pending amendment would add."""
    amendment = reservation.get("amendment")
    if not amendment:
        return 0
    begin, end = nanos(amendment["terms"]["startTime"]), nanos(amendment["terms"]["endTime"])
    if "effectiveTime" in amendment:
        begin = max(begin, nanos(amendment["effectiveTime"]))
    start, until = nanos(reservation["terms"]["startTime"]), nanos(reservation["terms"]["endTime"])
    more = max(0, int(amendment.get("accelerators") or 0) - int(reservation.get("accelerators") or 0))
    return (seconds(amendment.get("accelerators"), begin, min(end, start))
            + seconds(amendment.get("accelerators"), max(begin, until), end)
            + seconds(more, max(begin, start), min(end, until)))


class Stream:
    """The state of one stream: `tables[collection][name]`, and what each resource was at which sequence."""

    def __init__(self, site, service):
        self.site, self.service = site, service
        self.tables = {collection: {} for collection in OF_SERVICE[service]}
        self.history, self.not_folded = {}, []
        self.sequence = -1
        self.time = ""
        self.correlation = self.actor = ""

    def fold(self, event, sequence, time, correlation, actor=""):
        """`event` is the service's Event, or None for an event of the system."""
        self.sequence, self.correlation, self.actor = sequence, correlation, actor
        self.time = later(time, 0)  # as a resource's JSON has it
        case = event.WhichOneof("event") if event is not None else None
        if case in (None, "command_refused"):
            return
        fold = getattr(self, f"{self.service}_{case}", None)
        # What came after this reader is not folded here: that is said, not passed over.
        if fold is None:
            self.not_folded.append(f"{case} at {sequence}")
        else:
            fold(json_of(getattr(event, case)))

    def get(self, collection, name):
        return self.tables[collection].get(name)

    def put(self, collection, name, resource):
        """Keeps a resource without what is at its default."""
        if collection == "reservations":
            self.book(self.get(collection, name), resource)
            # Others are looked for as long as it has lost servers and is not over.
            if resource.get("state") not in GOES_ON or not resource.get("lostServers"):
                resource = {**resource, "healTime": None, "heals": 0, "offeredServers": []}
            # An amendment that was pending kept others from being looked for.
            if (self.get(collection, name) or {}).get("amendment") and not resource.get("amendment") \
                    and resource.get("healTime"):
                resource = {**resource, "healOccasions": resource.get("healOccasions", 0) + 1}
        resource = {key: value for key, value in resource.items() if value not in ("", 0, "0", False, [], None)}
        self.tables[collection][name] = resource
        self.history.setdefault((collection, name), []).append((self.sequence, resource))

    def take_away(self, collection, name):
        if self.tables[collection].pop(name, None) is not None:
            self.history[collection, name].append((self.sequence, None))

    def change(self, collection, name, **fields):
        """Changes a known resource; one that is not known stays so."""
        resource = self.get(collection, name)
        if resource is not None:
            # What is pending for a reservation ends with the state that it was proposed in.
            if fields.get("state", resource.get("state")) != resource.get("state"):
                fields.setdefault("amendment", None)
            self.put(collection, name, {**resource, **fields})

    def as_of(self, collection, name, sequence):
        """The resource after the event at `sequence`; None where it was not there yet."""
        found = None
        for at, resource in self.history.get((collection, name), []):
            if at > sequence:
                break
            found = resource
        return found

    # --- inventory -------------------------------------------------------------------------------

    def inventory_site_opened(self, event):
        self.put("sites", event["name"], {**(self.get("sites", event["name"]) or {}), **event})

    def inventory_envelope_set(self, event):
        site = self.get("sites", event["site"]) or {"name": event["site"]}
        step = {key: value for key, value in event.items() if key != "alsoFrom"}
        steps = site.get("envelope", [])
        for begin in [event["effectiveFrom"], *event.get("alsoFrom", [])]:
            steps = with_step(steps, {**step, "effectiveFrom": begin}, later(self.time, 0))
        self.put("sites", event["site"], {**site, "envelope": steps})

    def inventory_model_registered(self, event):
        event = {"plan": "plans/" + event["name"].partition("/")[2], **event}
        self.put("models", event["name"], event)
        if event.get("criteria") and not self.get("plans", event["plan"]):
            self.inventory_plan_registered({"name": event["plan"], "version": 1, "criteria": event["criteria"]})

    def inventory_plan_registered(self, event):
        known = self.get("plans", event["name"]) or {"name": event["name"]}
        self.put("plans", event["name"], {**known, "versions": [*known.get("versions", []), event]})

    def inventory_rack_defined(self, event):
        self.put("racks", event["name"], event)

    def inventory_feed_defined(self, event):
        first = {"site": f"sites/{self.site}", "itPowerWatts": event["itPowerWatts"]}
        self.put("feeds", event["name"], {**event, "envelope": [first]})

    def inventory_feed_envelope_set(self, event):
        feed = self.get("feeds", event["feed"]) or {"name": event["feed"]}
        steps = with_step(feed.get("envelope", []), event["envelope"], later(self.time, 0), True)
        self.put("feeds", event["feed"], {**feed, "envelope": steps})

    def inventory_stage_limit_set(self, event):
        site = self.get("sites", event["site"]) or {"name": event["site"]}
        others = [limit for limit in site.get("stageLimits", []) if limit["state"] != event["state"]]
        limits = [*others, event] if "most" in event else others
        self.put("sites", event["site"],
                 {**site, "stageLimits": sorted(limits, key=lambda limit: STATES.index(limit["state"][13:]))})

    def inventory_facility_reported(self, event):
        site = self.get("sites", event["site"]) or {"name": event["site"]}
        self.put("sites", event["site"], {**site, "facility": event})

    def inventory_reading_recorded(self, event):
        known = self.get("readings", event["name"])
        row = {"name": event["name"], "reading": event}
        if known:
            row["corrections"] = known.get("corrections", 0) + 1
        self.put("readings", event["name"], row)

    def inventory_manifest_received(self, event):
        self.put("manifests", event["name"], event)

    def server(self, name, state="", **fields):
        known = self.get("servers", name) or {"name": name, "intent": "SERVER_INTENT_PROVISIONABLE"}
        if state and known.get("state") != f"SERVER_STATE_{state}":
            fields = {"testPlan": None, "testPlanVersion": None, **self.stages(known, state), **fields,
                      "state": f"SERVER_STATE_{state}", "stateTime": later(self.time, 0)}
        self.put("servers", name, {**known, **fields})

    def stages(self, known, state):
        """How long a server was in the state that it leaves for another, and when it was in service."""
        before, service = known.get("state", "")[13:], list(known.get("service", []))
        stages = {stage["state"][13:]: int(stage.get("seconds", 0)) for stage in known.get("stages", [])}
        if "stateTime" in known:
            stayed = (nanos(later(self.time, 0)) - nanos(known["stateTime"])) // 10**9
            stages[before] = stages.get(before, 0) + max(0, stayed)
        if state == "IN_SERVICE":
            service.append({"startTime": later(self.time, 0)})
        if before == "IN_SERVICE" and service:
            service[-1] = {**service[-1], "endTime": later(self.time, 0)}
        return {"service": service,
                "stages": [{"state": f"SERVER_STATE_{one}", **({"seconds": str(stages[one])} if stages[one] else {})}
                           for one in STATES if one in stages]}

    def inventory_server_planned(self, event):
        self.server(event["name"], "PLANNED", model=event.get("model"), plannedTime=event.get("plannedTime"),
                    plannedRack=event.get("rack"))

    def inventory_server_ordered(self, event):
        self.server(event["name"], "ORDERED", model=event.get("model"), supplier=event.get("supplier"),
                    promisedTime=event.get("promisedTime"), firstPromisedTime=event.get("promisedTime"),
                    orderNumber=event.get("orderNumber"))

    def inventory_delivery_slipped(self, event):
        known = self.get("servers", event["name"]) or {}
        slip = {key: event[key] for key in ("before", "promisedTime", "cause", "detail") if key in event}
        self.server(event["name"], promisedTime=event.get("promisedTime"), slips=known.get("slips", 0) + 1,
                    slipList=[*known.get("slipList", []), {**slip, "recordedTime": later(self.time, 0)}])

    def inventory_server_delivered(self, event):
        self.server(event["name"], "DELIVERED", serial=event.get("serial"))

    def inventory_server_installed(self, event):
        self.server(event["name"], "INSTALLED", room=event.get("room"), rack=event.get("rack"),
                    position=event.get("position"), nvlinkDomain=event.get("nvlinkDomain"),
                    powerFeed=event.get("powerFeed"))

    def inventory_test_started(self, event):
        self.server(event["name"], "UNDER_TEST", reason="", testPlan=event.get("plan"),
                    testPlanVersion=event.get("planVersion"))

    def inventory_burn_in_passed(self, event):
        kept = ("plan", "planVersion", "toolDigest", "operator", "startedTime", "endedTime", "validUntil",
                "retestAfterTenant", "retestMargin")
        fields = {"figures": event.get("figures"), "shortfalls": [],
                  "evidence": {key: event[key] for key in kept if key in event}}
        if event.get("inService"):
            self.server(event["name"], **fields)
        else:
            self.server(event["name"], "QUALIFIED", reason="", **fields)

    def inventory_burn_in_failed(self, event):
        changed = min(event["endedTime"], later(self.time, 0), key=nanos)
        known = self.get("servers", event["name"]) or {}
        self.server(event["name"], "TEST_FAILED", figures=event.get("figures"), shortfalls=event.get("shortfalls"),
                    reason="", evidence=None, changedTime=max(changed, known.get("changedTime", changed), key=nanos))

    def make_stale(self, name, cause, **fields):
        known = self.get("servers", name) or {}
        if "evidence" in known:
            fields["evidence"] = {**known["evidence"], "stale": f"STALE_CAUSE_{cause}"}
        if cause != "AGE":
            fields["changedTime"] = later(self.time, 0)
        qualified = known.get("state") == "SERVER_STATE_QUALIFIED"
        self.server(name, "INSTALLED" if qualified else "", **fields)

    def inventory_evidence_expired(self, event):
        self.make_stale(event["name"], "AGE")

    def inventory_tenancy_ended(self, event):
        for name in event.get("servers", []):
            self.make_stale(name, "TENANT")

    def inventory_part_replaced(self, event):
        self.make_stale(event["name"], "PART")
        self.change("parts", event.get("removedPart", ""), server="", slot="")
        self.put("parts", event["part"], {"name": event["part"], "kind": event.get("kind"), "slot": event.get("slot"),
                                          "serial": event.get("serial"), "server": event["name"]})

    def inventory_firmware_changed(self, event):
        new = {key: event[key] for key in ("component", "version")}
        firmware = list((self.get("servers", event["name"]) or {}).get("firmware", []))
        at = next((i for i, known in enumerate(firmware) if known["component"] == new["component"]), len(firmware))
        firmware[at:at + 1] = [new]
        self.make_stale(event["name"], "FIRMWARE", firmware=firmware)

    def inventory_server_entered_service(self, event):
        self.server(event["name"], "IN_SERVICE", reason="")

    def intend(self, name, intent, reason="", until=None):
        self.server(name, intent=f"SERVER_INTENT_{intent}", cordoned=intent == "NON_PROVISIONABLE",
                    intentReason=reason, intentUntil=until)

    def inventory_server_cordoned(self, event):
        self.intend(event["name"], "NON_PROVISIONABLE", event.get("reason"), event.get("until"))

    def inventory_server_uncordoned(self, event):
        self.intend(event["name"], "PROVISIONABLE")

    def inventory_server_withdrawn(self, event):
        self.intend(event["name"], "WITHDRAWN", event.get("reason"))

    def inventory_server_left_service(self, event):
        self.server(event["name"], "OUT_OF_SERVICE", reason=event.get("reason"))

    def inventory_server_quarantined(self, event):
        self.server(event["name"], "QUARANTINED", reason=event.get("reason"), changedTime=later(self.time, 0))

    def inventory_server_repaired(self, event):
        self.server(event["name"], "REPAIRED", reason="", changedTime=later(self.time, 0))

    def inventory_server_retiring(self, event):
        self.intend(event["name"], "WITHDRAWN", event.get("reason"))
        self.server(event["name"], "RETIRING", reason=event.get("reason"))

    def inventory_server_sanitised(self, event):
        self.server(event["name"], "SANITISED", reason="")

    def inventory_server_retired(self, event):
        self.server(event["name"], "RETIRED", room="", rack="", position=0, nvlinkDomain="", powerFeed="")

    def inventory_window_proposed(self, event):
        self.window({"name": event["name"]}, plan=event, state="WINDOW_STATE_PROPOSED", revision=1)

    def window(self, known, consented=None, **fields):
        """Keeps a window; `consented` says what it becomes while it waits for consent."""
        if known is None:
            return
        window = {**known, **fields}
        waiting = ("WINDOW_STATE_ANNOUNCED", "WINDOW_STATE_CONSENTED")
        if consented is not None and window["state"] in waiting:
            window["state"] = waiting[1] if consented else waiting[0]
        missing = set()
        if window["state"] in waiting and window["plan"].get("windowClass") != "WINDOW_CLASS_EMERGENCY":
            missing = {one["customer"] for one in window.get("affected", []) if one.get("needsConsent")}
            missing -= {consent["customer"] for consent in window.get("consents", [])
                        if consent.get("given") and consent["revision"] == window["revision"]}
        self.put("windows", window["name"], {**window, "missingConsents": sorted(missing)})

    def inventory_window_work_added(self, event):
        window = self.get("windows", event["name"])
        if window is not None:
            plan = {**window["plan"], "work": [*window["plan"].get("work", []), event["item"]]}
            self.window(window, event.get("consented", False), plan=plan, revision=event["revision"])

    def window_state(self, event, state, **fields):
        self.window(self.get("windows", event["name"]), state=f"WINDOW_STATE_{state}", **{"detail": "", **fields})

    def inventory_window_announced(self, event):
        self.window_state(event, "ANNOUNCED")

    def inventory_window_affected_recorded(self, event):
        self.window(self.get("windows", event["name"]), event.get("consented", False),
                    affected=event.get("affected", []), affectedKnown=True,
                    reviews=(self.get("windows", event["name"]) or {}).get("reviews", 0) + 1)

    def consent(self, event, **said):
        window = self.get("windows", event["name"])
        if window is None:
            return
        consent = {"customer": event["customer"], "revision": event["revision"], "recordedTime": self.time,
                   "actor": self.actor, **said}
        consent = {key: value for key, value in consent.items() if value not in ("", 0, False, None)}
        consents = list(window.get("consents", []))
        customers = [known["customer"] for known in consents]
        if event["customer"] in customers:
            consents[customers.index(event["customer"])] = consent
        else:
            consents.append(consent)
        self.window(window, event.get("consented", False), consents=consents)

    def inventory_window_consent_given(self, event):
        self.consent(event, given=True, relocation=event.get("relocation"))

    def inventory_window_consent_refused(self, event):
        self.consent(event, reason=event.get("reason"))

    def inventory_window_consent_lapsed(self, event):
        self.window_state(event, "CANCELLED", detail=event.get("detail"))

    def inventory_window_opened(self, event):
        self.window_state(event, "OPEN")

    def inventory_window_drained(self, event):
        self.window(self.get("windows", event["name"]), drained=True)

    def inventory_window_overrunning(self, event):
        self.window_state(event, "OVERRUNNING")

    def end_work(self, event, state, **fields):
        self.window_state(event, state, done=event.get("done"), **fields)
        for name in event.get("servers", []) if event.get("retest") else []:
            self.make_stale(name, "WORK")

    def inventory_window_closed(self, event):
        self.end_work(event, "CLOSED")

    def inventory_window_aborted(self, event):
        self.end_work(event, "ABORTED", detail=event.get("reason"))

    def inventory_window_cancelled(self, event):
        self.window_state(event, "CANCELLED", detail=event.get("reason"))

    # --- reservations ----------------------------------------------------------------------------

    def reservations_customer_registered(self, event):
        self.put("customers", event["name"], event)

    def reservations_contract_signed(self, event):
        self.know_contract(event, f"sites/{self.site}")

    def reservations_contract_recorded(self, event):
        self.know_contract(event["contract"], event["homeSite"])

    def know_contract(self, terms, home):
        self.put("contracts", terms["name"], {"name": terms["name"], "terms": terms, "homeSite": home})
        self.open_quota(terms, home)
        if "access" in terms:
            self.schedule(terms["name"], terms, terms)

    # What takes place again and again: access hours of contracts, and series with their occurrences.

    def schedule(self, name, span, event):
        """A schedule as the event about a contract or a series has it; `span` says from when to when it counts."""
        self.put("schedules", name, {
            "name": name, "access": span["access"], "startTime": span.get("startTime"), "endTime": span.get("endTime"),
            "occurrencesUntil": event.get("occurrencesUntil"), "zoneDataVersion": event.get("zoneDataVersion"),
            "occurrences": event.get("occurrences")})

    def occur(self, series, occurrence):
        """An occurrence that has servers is a reservation of its own, which begins as its series stands now."""
        if "reason" in occurrence:
            return
        terms = {key: value for key, value in series["terms"].items() if key != "access"}
        own = {key: occurrence.get(key) for key in ("name", "servers", "itPowerWatts", "coolingWatts",
                                                    "accelerators")}
        of_series = {key: series.get(key) for key in ("state", "notices", "margins", "correlationId")}
        self.put("reservations", occurrence["name"], {
            **own, **of_series, "series": series["name"],
            "terms": {**terms, **{key: occurrence[key] for key in ("startTime", "endTime")}}})

    def share(self, name, detail):
        """What has not begun is confirmed, or given up, with its series; whose schedule goes unless it is confirmed."""
        series = self.get("reservations", name)
        if series is None or "access" not in series.get("terms", {}):
            return
        state = series["state"]
        for number in range(1, series.get("occurrences", 0) + 1):
            one = self.get("reservations", f"{name}-{number}")
            shares = NOT_BEGUN if state in GIVEN_UP else NOT_BEGUN[:1] if state == NOT_BEGUN[1] else ()
            if one is not None and one["state"] in shares:
                revoked = {"ending": series["ending"]} if state == "RESERVATION_STATE_REVOKED" else {}
                self.change("reservations", one["name"], state=state, retryTime=None, **revoked,
                            **({"detail": detail} if detail else {}))
        if state != NOT_BEGUN[1]:
            self.take_away("schedules", name)

    def reservations_schedule_extended(self, event):
        schedule = self.get("schedules", event["name"])
        if schedule is None:
            return
        added = event.get("occurrences", [])
        known = [one for one in schedule.get("occurrences", []) if nanos(one["endTime"]) > nanos(self.time)]
        self.put("schedules", event["name"], {**schedule, "occurrences": [*known, *map(times_of, added)],
                                              "occurrencesUntil": event["occurrencesUntil"]})
        series = self.get("reservations", event["name"])
        if series is not None:
            for occurrence in added:
                self.occur(series, occurrence)
            self.change("reservations", event["name"], occurrences=series.get("occurrences", 0) + len(added))

    def reservations_occurrences_shifted(self, event):
        schedule = self.get("schedules", event["name"])
        if schedule is None:
            return
        known = schedule.get("occurrences", [])
        for shift in event.get("shifts", []):
            if shift.get("kept"):
                continue
            before, after = shift.get("before"), shift.get("after")
            if before is not None:
                known = [one for one in known if nanos(one["startTime"]) != nanos(before["startTime"])]
            if after is not None:
                known = [*known, times_of(after)]
            if before is not None and after is not None:
                self.move_occurrence(before.get("name", ""), after)
        self.put("schedules", event["name"], {
            **schedule, "occurrences": sorted(known, key=lambda one: nanos(one["startTime"])),
            "zoneDataVersion": event.get("zoneDataVersion"), "reviews": schedule.get("reviews", 0) + 1})

    def move_occurrence(self, name, after):
        one = self.get("reservations", name)
        if one is not None and one["state"] in NOT_BEGUN:
            self.change("reservations", name, terms={
                **one["terms"], "startTime": after["startTime"], "endTime": after["endTime"]})

    def reservations_occurrences_kept(self, event):
        schedule = self.get("schedules", event["name"]) or {}
        self.change("schedules", event["name"], zoneDataVersion=event.get("zoneDataVersion"),
                    reviews=schedule.get("reviews", 0) + 1)

    def reservations_project_registered(self, event):
        self.put("projects", event["name"], event)

    def quota_name(self, contract):
        _, customer, _, number = contract.split("/")
        return f"sites/{self.site}/quotas/{customer}/{number}"

    def open_quota(self, terms, home):
        quota = terms.get("quota", {})
        total = int(quota.get("accelerators", 0)), int(quota.get("acceleratorHours", 0)) * 3600
        if total == (0, 0):
            return
        here = f"sites/{self.site}"
        begins = {part["site"]: (int(part.get("accelerators", 0)), int(part.get("acceleratorHours", 0)) * 3600)
                  for part in quota.get("allotments", [])}
        own, shares = begins.get(here, (0, 0)), []
        if here == home:
            own = total
            for site in terms["sites"]:
                if site != here:
                    share = {"site": site}
                    if site in begins:
                        share["granted"] = amount_json(*begins[site])
                        own = own[0] - begins[site][0], own[1] - begins[site][1]
                    shares.append(share)
        name = self.quota_name(terms["name"])
        self.put("quotas", name, {
            "name": name, "contract": terms["name"], "homeSite": home, "total": amount_json(*total),
            "acceleratorSeconds": str(own[1]), "levels": [without_defaults({"accelerators": str(own[0])})],
            "shares": shares})

    def book(self, before, after):
        """What changes a reservation changes what it takes of its contract's quota."""
        more = booked_seconds(after) - booked_seconds(before)
        name = self.quota_name(after["terms"]["contract"]) if more else ""
        quota = self.get("quotas", name)
        if quota is not None:
            self.change("quotas", name, usedAcceleratorSeconds=str(int(quota.get("usedAcceleratorSeconds", 0)) + more))

    def change_quota(self, event, change):
        name = self.quota_name(event["contract"])
        quota = self.get("quotas", name)
        if quota is not None:
            quota = dict(quota)
            change(quota)
            self.put("quotas", name, quota)

    def move(self, quota, event, sign):
        """An amount comes to this site's part of a quota, or leaves it."""
        accelerators, seconds = amount_of(event.get("amount", {}))
        quota["acceleratorSeconds"] = str(int(quota.get("acceleratorSeconds", 0)) + sign * seconds)
        if accelerators:
            quota["levels"] = add_level(quota["levels"], sign * accelerators, event["effectiveFrom"], self.time)

    def change_share(self, quota, site, change):
        shares = [dict(share) for share in quota.get("shares", [])]
        for share in shares:
            if share["site"] == site:
                change(share)
        quota["shares"] = shares

    def reservations_quota_requested(self, event):
        def change(quota):
            quota.update(requests=event["number"], requestedTime=later(self.time, 0))
            if quota["homeSite"] != event["site"]:
                quota["openRequest"] = event["number"]
        self.change_quota(event, change)

    def answer_share(self, share, event):
        share["lastRequest"] = event["request"]
        share["requests"] = see(share.get("requests", {}), int(event["request"]))
        share["missing"] = event.get("missing", {})

    def reservations_quota_granted(self, event):
        def change_share(share):
            plus(share, "granted", event["amount"])
            share["grants"] = event["number"]
            self.answer_share(share, event)

        def change(quota):
            self.move(quota, event, -1)
            self.change_share(quota, event["site"], change_share)
        self.change_quota(event, change)

    def reservations_quota_declined(self, event):
        self.change_quota(event, lambda quota: self.change_share(
            quota, event["site"], lambda share: self.answer_share(share, event)))

    def reservations_quota_answered(self, event):
        def change(quota):
            if "grant" in event:
                self.move(quota, event, +1)
                quota["grants"] = see(quota.get("grants", {}), int(event["grant"]))
            if quota.get("openRequest") == event.get("request"):
                quota["openRequest"] = None
        self.change_quota(event, change)

    def reservations_quota_returned(self, event):
        def change(quota):
            self.move(quota, event, -1)
            quota["returns"] = event["number"]
        self.change_quota(event, change)

    def reservations_quota_reclaimed(self, event):
        def change_share(share):
            plus(share, "granted", event["amount"], -1)
            share["returns"] = see(share.get("returns", {}), int(event["number"]))

        def change(quota):
            self.move(quota, event, +1)
            self.change_share(quota, event["site"], change_share)
        self.change_quota(event, change)

    def reservations_site_recorded(self, event):
        known = self.get("site_records", event["name"]) or {}
        self.put("site_records", event["name"], {**known, "certifications": [], **event})

    def reservations_envelope_recorded(self, event):
        site = self.get("site_records", event["site"]) or {"name": event["site"]}
        steps = with_step(site.get("envelope", []), event, later(self.time, 0))
        self.put("site_records", event["site"], {**site, "envelope": steps})

    def reservations_feed_recorded(self, event):
        name, site = event["step"]["site"], self.get("site_records", event["step"]["site"]) or {}
        feeds = {feed["feed"]: feed.get("envelope", []) for feed in site.get("feeds", [])}
        feeds[event["feed"]] = with_step(feeds.get(event["feed"], []), event["step"], later(self.time, 0), True)
        self.put("site_records", name, {"name": name, **site, "feeds": [{"feed": feed, "envelope": feeds[feed]}
                                                                        for feed in sorted(feeds)]})

    def reservations_shortfall_found(self, event):
        known = self.get("shortfalls", event["name"]) or {"foundTime": later(self.time, 0)}
        self.put("shortfalls", event["name"], {**known, "name": event["name"], "found": event})

    def reservations_shortfall_cleared(self, event):
        self.take_away("shortfalls", event["name"])

    def reservations_server_recorded(self, event):
        known = self.get("server_records", event["name"])
        was_lost = bool(known and known["server"].get("lost"))
        self.put("server_records", event["name"], {"name": event["name"], "server": event})
        lost = event.get("lost", False)
        if lost != was_lost:
            self.mark_lost(event["name"], lost)

    @staticmethod
    def occasion(reservation):
        """There is something new to look at for what a reservation has lost."""
        return {"healOccasions": reservation.get("healOccasions", 0) + 1}

    def mark_lost(self, server, lost):
        for name, reservation in list(self.tables["reservations"].items()):
            # What is ENDING or CLEANING is given back anyhow.
            if reservation["state"] in (*OVER, "RESERVATION_STATE_ENDING", "RESERVATION_STATE_CLEANING"):
                continue
            marked = reservation.get("lostServers", [])
            if server not in reservation.get("servers", []) or lost == (server in marked):
                continue
            fields = {"healTime": later(self.time, 0), "heals": 0, **self.occasion(reservation)}
            if lost:
                fields["lostServers"] = [*marked, server]
                if reservation["state"] in RUNNING:
                    fields["outages"] = [*reservation.get("outages", []),
                                         {"server": server, "startTime": later(self.time, 0)}]
            elif reservation["state"] not in RUNNING:
                fields["lostServers"] = [other for other in marked if other != server]
            self.change("reservations", name, **fields)

    def reservations_reservation_held(self, event):
        kept = {key: event[key] for key in ("name", "terms", "servers", "itPowerWatts", "coolingWatts",
                                            "holdExpiresAt", "order", "bundle", "accelerators",
                                            "margins") if key in event}
        contract = self.get("contracts", event["terms"]["contract"]) or {"terms": {}}
        occurrences = event.get("occurrences", [])
        self.put("reservations", event["name"],
                 {**kept, "state": "RESERVATION_STATE_HELD", "correlationId": self.correlation,
                  "notices": contract["terms"].get("notices", []), "occurrences": len(occurrences)})
        if "access" in event["terms"]:
            self.schedule(event["name"], event["terms"], {**event, "occurrences": [*map(times_of, occurrences)]})
            for occurrence in occurrences:
                self.occur(self.get("reservations", event["name"]), occurrence)

    def step(self, event, state, detail="", shared=""):
        """`detail` is said of the reservation and of its occurrences, `shared` of these alone."""
        fields = {"state": f"RESERVATION_STATE_{state}", "retryTime": None, "partState": None}
        self.take_away("promises", event["name"])
        self.change("reservations", event["name"], **fields, **({"detail": detail} if detail else {}))
        self.share(event["name"], detail or shared)

    def reservations_notice_given(self, event):
        known = self.get("reservations", event["name"])
        if known is not None:
            notice = {"beforeEnd": event["beforeEnd"], "endTime": event["endTime"], "givenTime": later(self.time, 0)}
            self.change("reservations", event["name"], givenNotices=[*known.get("givenNotices", []), notice])

    def reservations_notice_delivered(self, event):
        known = self.get("reservations", event["name"])
        if known is not None:
            proof = {key: event[key] for key in ("deliveredTime", "channel", "evidence") if key in event}
            same = lambda notice: all(notice[key] == event[key] for key in ("beforeEnd", "endTime"))
            self.change("reservations", event["name"], givenNotices=[
                {**notice, **proof} if same(notice) else notice for notice in known.get("givenNotices", [])])

    def reservations_wave_planned(self, event):
        self.put("waves", event["name"], {"name": event["name"], "plan": event})

    def reservations_reservation_confirmed(self, event):
        self.step(event, "CONFIRMED")

    def reservations_reservation_declined(self, event):
        if event.get("nameTaken"):
            return
        if "bundle" in event and self.get("reservations", event["name"]) is None:
            self.put("reservations", event["name"], {"name": event["name"], "bundle": event["bundle"]})
        self.step(event, "DECLINED", event.get("detail"))

    def reservations_hold_lapsed(self, event):
        self.step(event, "LAPSED")

    def reservations_reservation_started(self, event):
        if self.get("reservations", event["name"]) is not None:
            segments = {"segments": event["segments"]} if "segments" in event else {}
            self.change("reservations", event["name"], state="RESERVATION_STATE_ACTIVE", retryTime=None,
                        accelerators=event.get("accelerators", 0), startedTime=later(self.time, 0), **segments)

    def reservations_reservation_delayed(self, event):
        known = self.get("reservations", event["name"])
        if known is not None:
            self.change("reservations", event["name"], retryTime=event["retryTime"],
                        delays=known.get("delays", 0) + 1, detail=event.get("detail"))

    def ending(self, event, state, drop=(), shared="", **fields):
        known = (self.get("reservations", event["name"]) or {}).get("ending", {})
        kept = {key: value for key, value in {**known, **fields}.items() if key not in drop and value}
        self.change("reservations", event["name"], ending=kept)
        self.step(event, state, shared=shared)

    def reservations_reservation_ending(self, event):
        known = self.get("reservations", event["name"]) or {}
        if "ending" in known:
            self.ending(event, "ENDING", drop=("graceUntil",))
            return
        self.step(event, "ENDING")

    def reservations_reservation_grace_started(self, event):
        self.ending(event, "ENDING", graceUntil=event["graceUntil"])

    def reservations_reservation_released(self, event):
        self.ending(event, "ENDING", drop=("graceUntil",), releasedTime=self.time, cause=event.get("reason"))

    def reservations_reservation_revoked(self, event):
        self.ending(event, "ENDING" if event.get("vacates") else "REVOKED", drop=("graceUntil",),
                    shared=event.get("cause", ""), releasedTime=self.time, cause=event.get("cause"),
                    legalBasis=event.get("legalBasis"))

    def reservations_reservation_cleaning(self, event):
        self.ending(event, "CLEANING", cleaningUntil=event["cleaningUntil"])

    def untest(self, servers):
        for name in servers:
            record = self.get("server_records", name)
            if record is not None:
                self.put("server_records", name, {**record, "server": {**record["server"], "untested": True}})

    def reservations_reservation_ended(self, event):
        self.untest(event.get("retestServers", []))
        known = self.get("reservations", event["name"]) or {}
        self.step(event, "REVOKED" if "legalBasis" in known.get("ending", {}) else "ENDED")

    def reservations_amendment_held(self, event):
        self.change("reservations", event["reservation"], amendment=event["amendment"])

    def reservations_amendment_confirmed(self, event):
        amendment = event["amendment"]
        servers = amendment.get("servers", [])
        known = self.get("reservations", event["reservation"]) or {}
        self.change("reservations", event["reservation"], terms=amendment["terms"], servers=servers,
                    itPowerWatts=amendment.get("itPowerWatts"), coolingWatts=amendment.get("coolingWatts"),
                    accelerators=amendment.get("accelerators"), margins=amendment.get("margins"),
                    segments=event.get("segments"), amendment=None,
                    lostServers=[server for server in known.get("lostServers", []) if server in servers])

    def reservations_amendment_dropped(self, event):
        self.change("reservations", event["reservation"], amendment=None)

    def reservations_margins_set(self, event):
        site = self.get("site_records", event["site"]) or {"name": event["site"]}
        others = [other for other in site.get("margins", []) if other["model"] != event["model"]]
        self.put("site_records", event["site"],
                 {**site, "margins": sorted([*others, event], key=lambda each: each["model"])})

    def reservations_reservation_cancelled(self, event):
        self.step(event, "CANCELLED", event.get("reason"))

    def reservations_reservation_ordered(self, event):
        self.put("orders", event["name"], {**event, "state": "ORDER_STATE_PENDING"})

    def reservations_order_declined(self, event):
        """An answer to another site; nothing of this site's own changes."""

    def reservations_order_answered(self, event):
        self.change("orders", event["order"], state=event["state"], reason=event.get("reason"),
                    detail=event.get("detail"))

    def reservations_bundle_requested(self, event):
        parts = [{**part, "state": "PART_STATE_PENDING"} for part in event["parts"]]
        self.put("bundles", event["name"], {**event, "parts": parts, "state": "BUNDLE_STATE_REQUESTED",
                                            "correlationId": self.correlation})

    def reservations_part_recorded(self, event):
        bundle = self.get("bundles", event["bundle"])
        if bundle is None:
            return
        said = {key: event[key] for key in ("state", "reason", "detail") if key in event}
        parts = [{"site": part["site"], "reservation": part["reservation"], "terms": part["terms"], **said}
                 if part["reservation"] == event["reservation"] else part for part in bundle["parts"]]
        self.change("bundles", event["bundle"], parts=parts)

    def settle(self, event, state):
        self.change("bundles", event["name"], state=f"BUNDLE_STATE_{state}", reason=event.get("reason"),
                    detail=event.get("detail"))

    def reservations_bundle_prepared(self, event):
        self.settle(event, "PREPARED")

    def reservations_bundle_committed(self, event):
        self.settle(event, "COMMITTED")

    def reservations_bundle_aborted(self, event):
        self.settle(event, "ABORTED")

    def reservations_part_held(self, event):
        self.change("reservations", event["name"], partState="PART_STATE_HELD")

    def reservations_part_promised(self, event):
        self.change("reservations", event["name"], partState="PART_STATE_PROMISED")
        self.put("promises", event["name"], {**event, "promisedTime": self.time})

    def reservations_promise_broken(self, event):
        self.step(event, "CANCELLED", event.get("reason"))
        self.change("reservations", event["name"], partState="PART_STATE_BROKEN")

    def reservations_parties_separated(self, event):
        self.put("separations", event["name"], event)

    def reservations_separation_ended(self, event):
        self.change("separations", event["name"], ended=True)

    def reservations_window_affects(self, event):
        self.put("window_records", event["window"], {"name": event["window"], "window": event})

    def reservations_servers_reassigned(self, event):
        self.untest(event.get("retestServers", []))
        reservation = self.get("reservations", event["reservation"])
        if reservation is not None:
            left = [one for one in reservation.get("leftServers", []) if nanos(one["endTime"]) > nanos(self.time)]
            if event.get("cleaningUntil"):
                left += [{"server": server, "startTime": later(self.time, 0), "endTime": event["cleaningUntil"]}
                         for server in event["removed"] if server not in reservation.get("lostServers", [])]
            lost = [server for server in reservation.get("lostServers", []) if server not in event["removed"]]
            outages = [{"endTime": later(self.time, 0), **outage} if outage["server"] in event["removed"] else outage
                       for outage in reservation.get("outages", [])]
            self.change("reservations", event["reservation"], servers=event["servers"], lostServers=lost,
                        itPowerWatts=event.get("itPowerWatts"), coolingWatts=event.get("coolingWatts"),
                        outages=outages, offeredServers=[], heals=0, healTime=event.get("retryTime"),
                        leftServers=left, **self.occasion(reservation),
                        **{key: event[key] for key in ("accelerators", "segments") if key in event})

    def reservations_servers_missing(self, event):
        reservation = self.get("reservations", event["reservation"]) or {}
        self.change("reservations", event["reservation"], healTime=event["retryTime"],
                    heals=reservation.get("heals", 0) + 1, offeredServers=[], **self.occasion(reservation))

    def reservations_replacement_offered(self, event):
        reservation = self.get("reservations", event["reservation"]) or {}
        self.change("reservations", event["reservation"], healTime=event["retryTime"],
                    heals=reservation.get("heals", 0) + 1, offeredServers=event["freeServers"],
                    **self.occasion(reservation))

    def reservations_window_released(self, event):
        self.take_away("window_records", event["window"])

    # --- compliance ------------------------------------------------------------------------------

    def compliance_rule_adopted(self, event):
        rule = event["rule"]
        history = self.get("rules", rule["name"]) or {"name": rule["name"]}
        self.put("rules", rule["name"],
                 {**history, "versions": [*history.get("versions", []), rule], "repealedTime": None})

    def compliance_rule_repealed(self, event):
        history = self.get("rules", event["name"]) or {"name": event["name"]}
        latest = max([rule["version"] for rule in history.get("versions", [])] + [history.get("repealedVersion", 0)])
        self.put("rules", event["name"], {**history, "repealedTime": self.time, "repealedVersion": latest})

    def judge(self, name, event):
        self.put("judgements", name, {"name": name, "verdict": event["verdict"], "findings": event.get("findings")})

    def compliance_reservation_judged(self, event):
        self.judge(event["reservation"], event)

    def compliance_artefact_judged(self, event):
        self.judge(event["deployment"], event)

    def compliance_site_recorded(self, event):
        self.put("compliance_sites", event["name"], event)

    # --- deployment ------------------------------------------------------------------------------

    def deployment_artefact_registered(self, event):
        self.put("artefacts", event["name"], {"name": event["name"], "artefact": event})

    def record(self, name, **fields):
        known = self.get("deployment_reservations", name) or {"name": name}
        self.put("deployment_reservations", name, {**known, **fields})

    def deployment_reservation_recorded(self, event):
        self.record(event["reservation"], customer=event.get("customer"), servers=event.get("servers"))

    def deployment_servers_joined(self, event):
        known = self.get("deployment_reservations", event["reservation"]) or {}
        kept = [server for server in known.get("servers", []) if server not in event.get("replacedServers", [])]
        self.record(event["reservation"], servers=[*kept, *event.get("servers", [])])
        for name in known.get("deployments", []):
            deployment = self.get("deployments", name) or {}
            if deployment.get("state", "")[17:] in ("REQUESTED", "PLACING", "RUNNING"):
                servers = [one for one in deployment.get("servers", []) if one not in event.get("replacedServers", [])]
                if servers != deployment.get("servers", []):
                    self.put("deployments", name, {**deployment, "servers": servers})

    def deployment_deployment_requested(self, event):
        artefact = event["artefact"]
        self.put("deployments", event["name"], {
            "name": event["name"], "state": "DEPLOYMENT_STATE_REQUESTED", "artefact": artefact["name"],
            "digest": artefact.get("digest"), "reservation": event["reservation"], "servers": event.get("servers"),
            "correlationId": self.correlation, "continues": event.get("continues")})
        known = self.get("deployment_reservations", event["reservation"]) or {}
        self.record(event["reservation"], deployments=[*known.get("deployments", []), event["name"]])

    def attempt(self, name, state):
        steps = (self.get("deployments", name) or {}).get("steps", 0) + 1
        self.change("deployments", name, state=f"DEPLOYMENT_STATE_{state}", failedAttempts=0, retryTime=self.time,
                    steps=steps)

    def failed(self, event, **fields):
        attempt = event["attempt"]
        self.change("deployments", event["name"], **{
            "failedAttempts": attempt, "detail": event.get("detail"),
            "retryTime": later(self.time, retry_pause(attempt)), **fields})

    def deployment_deployment_cleared(self, event):
        self.attempt(event["name"], "PLACING")

    def deployment_deployment_prohibited(self, event):
        self.change("deployments", event["name"], state="DEPLOYMENT_STATE_PROHIBITED", detail=event.get("detail"),
                    retryTime=None)

    def deployment_model_placed(self, event):
        self.change("deployments", event["name"], state="DEPLOYMENT_STATE_RUNNING", detail="", failedAttempts=0,
                    manifestDigest=event.get("manifestDigest"), retryTime=None)

    def deployment_placement_failed(self, event):
        given_up = {"state": "DEPLOYMENT_STATE_FAILED", "retryTime": None} if event.get("givenUp") else {}
        self.failed(event, **given_up)

    def deployment_reservation_vacating(self, event):
        self.record(event["reservation"], vacating=True)
        for name in event.get("deployments", []):
            self.attempt(name, "REMOVING")

    def deployment_model_removed(self, event):
        self.change("deployments", event["name"], state="DEPLOYMENT_STATE_REMOVED", retryTime=None)

    def deployment_removal_failed(self, event):
        self.failed(event)

    def deployment_reservation_vacated(self, event):
        self.record(event["reservation"], vacating=True, vacated=True)

    def deployment_servers_draining(self, event):
        self.put("drains", event["window"], {"name": event["window"], "servers": event.get("servers"),
                                             "deployments": event.get("deployments")})
        for name in [*event.get("deployments", []), *event.get("remnants", [])]:
            self.change("deployments", name, drainedBy=event["window"])
            self.attempt(name, "REMOVING")

    def deployment_servers_drained(self, event):
        self.change("drains", event["window"], drained=True)

    def deployment_servers_returned(self, event):
        self.change("drains", event["window"], returned=True, deployments=event.get("deployments"))


# --- invariants ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Take:
    """What is taken of a site over [begin, end), in nanoseconds."""
    begin: int
    end: int
    servers: list = dataclasses.field(default_factory=list)
    watts: dict = dataclasses.field(default_factory=dict)
    # What counts against the contract.
    count: int = 0
    accelerators: int = 0

    def overlaps(self, other):
        return self.begin < other.end and other.begin < self.end


class Allocations:
    """Watches one site's reservations event by event: `findings` names every broken invariant.

    No server is promised twice at an instant nor in use twice, and an occurrence of a series is a promise like any
    other; at no instant does what is promised draw or heat more than the envelope that was known, nor more than a
    feed gives; no contract has more servers than it allows, nor more of its quota than the site was allotted.
    """

    def __init__(self, stream):
        self.stream, self.findings = stream, []

    def after(self, event):
        """Looks at the state that the stream has just folded `event` to."""
        case = event.WhichOneof("event") if event is not None else None
        look = getattr(self, f"after_{case}", None)
        if look is not None:
            look(getattr(event, case))

    def after_reservation_held(self, event):
        held = self.get(event.name)
        for name in [each.name for each in event.occurrences] or [event.name]:
            self.check_hold(self.get(name))
        self.check_quota(held["terms"]["contract"])

    def after_schedule_extended(self, event):
        for one in filter(None, (self.get(each.name) for each in event.occurrences)):
            self.check_hold(one)
            self.check_quota(one["terms"]["contract"])

    def after_occurrences_shifted(self, event):
        for shift in event.shifts:
            one = self.get(shift.before.name)
            if one is not None and one["state"] in NOT_BEGUN and not shift.kept and shift.HasField("after"):
                self.check_servers(one, one.get("servers", []))
                self.check_room(one, Take(*block(one), one.get("servers", []), watts_of(one)))

    def after_amendment_held(self, event):
        amended = self.get(event.reservation)
        if amended is None:
            return
        for part in parts_of(amended):
            # Of a server that it has lost the other promises count, and not who is in it now.
            lost = set(amended.get("lostServers", []))
            self.check_alone(amended, dataclasses.replace(
                part, servers=[server for server in part.servers if server not in lost]))
            if part.servers or any(part.watts.values()):
                self.check_room(amended, part)
            if part.count or part.accelerators:
                self.check_use(amended, part)
        self.check_quota(amended["terms"]["contract"])

    def after_amendment_confirmed(self, event):
        amended = self.get(event.reservation)
        self.check_servers(amended, amended.get("servers", []))

    def after_servers_reassigned(self, event):
        reassigned = self.get(event.reservation)
        if reassigned is not None:
            self.check_servers(reassigned, list(event.added))

    def after_reservation_started(self, event):
        self.check_start(self.get(event.name))

    def after_quota_granted(self, event):
        self.check_quota(event.contract)

    def after_quota_returned(self, event):
        self.check_quota(event.contract)

    def find(self, text):
        self.findings.append(f"{self.stream.site}.{self.stream.service}.events:{self.stream.sequence}: {text}")

    def get(self, name):
        return self.stream.get("reservations", name)

    def others(self, reservation, states=None):
        for other in self.stream.tables["reservations"].values():
            # What could never be held has no terms, and what has a schedule takes nothing itself.
            if "access" in other.get("terms", {"access": None}):
                continue
            alive = other["state"] in states if states else other["state"] not in OVER
            if alive and other["name"] != reservation["name"]:
                yield other

    def taken(self, reservation):
        """Everything that it takes: without end where it runs late or is being vacated."""
        begin, end = block(reservation)
        vacates = reservation["state"] == "RESERVATION_STATE_ENDING" and "graceUntil" not in reservation.get(
            "ending", {})
        late = vacates or (reservation["state"] in RUNNING and end <= nanos(self.stream.time))
        yield Take(begin, NEVER if late else end, reservation.get("servers", []), watts_of(reservation))
        yield Take(*span(reservation), count=reservation["terms"]["count"],
                   accelerators=int(reservation.get("accelerators", 0)))
        yield from parts_of(reservation)
        for left in reservation.get("leftServers", []):
            yield Take(nanos(left["startTime"]), nanos(left["endTime"]), [left["server"]])

    def check_hold(self, held):
        whole = Take(*block(held), held.get("servers", []), watts_of(held))
        self.check_alone(held, whole)
        self.check_windows(held, whole)
        records = [self.stream.get("server_records", name) for name in whole.servers]
        if len(set(whole.servers)) != held["terms"]["count"] or not all(
                record and is_bookable(record["server"]) and record["server"]["model"] == held["terms"]["model"]
                for record in records):
            self.find(f"{held['name']} holds {whole.servers}, expected {held['terms']['count']} bookable servers")
        self.check_room(held, whole)
        self.check_use(held, Take(*span(held)))

    def check_alone(self, reservation, part):
        """No server of the part is somebody else's at any of its instants."""
        for other in self.others(reservation):
            for take in self.taken(other):
                for server in sorted(set(part.servers) & set(take.servers)) if take.overlaps(part) else ():
                    self.find(f"{server} is promised to {reservation['name']} and to {other['name']} at one instant")

    def check_windows(self, held, whole):
        """No server is claimed by a maintenance window, or kept for somebody whom one drives out."""
        for record in self.stream.tables["window_records"].values():
            window = record["window"]
            claims = [Take(nanos(window["startTime"]), nanos(window["endTime"]) if "endTime" in window else NEVER,
                           window.get("servers", []))]
            claims += [Take(nanos(one["keptFrom"]), nanos(one["keptUntil"]), one.get("freeServers", []))
                       for one in window.get("affected", []) if "keptFrom" in one]
            for claim in claims:
                claimed = set(whole.servers) & set(claim.servers)
                if claimed and claim.overlaps(whole):
                    self.find(f"{min(claimed)} is promised to {held['name']} within the window {window['window']}")

    def check_servers(self, changed, servers):
        """Servers that a reservation has from now on are promised to nobody else. Who leaves late, or is cleaned up
        after late, runs into what comes next, and is passed over here."""
        begin, end = block(changed)
        here = Take(max(begin, nanos(self.stream.time)), end, servers)
        for other in self.others(changed, (*GOES_ON, "RESERVATION_STATE_ENDING")):
            if other["state"] == "RESERVATION_STATE_ENDING" and "graceUntil" not in other.get("ending", {}):
                continue
            shared = sorted(set(servers) & set(other.get("servers", [])))
            if shared and Take(*block(other)).overlaps(here):
                self.find(f"{shared} are promised to {changed['name']} and to {other['name']} at one instant")

    def check_room(self, reservation, part):
        """At every instant of the part the site bears what is taken then, and each feed that the part draws on."""
        taking = [take for other in [reservation, *self.others(reservation)] for take in self.taken(other)
                  if take.overlaps(part)]
        site = self.stream.get("site_records", f"sites/{self.stream.site}") or {}
        steps, feeds = site.get("envelope", []), self.feeds_of(site, part.servers)
        limits = [*steps, *(step for envelope in feeds.values() for step in envelope)]
        changes = {part.begin, *(take.begin for take in taking), *map(begin_of, limits)}
        for instant in sorted(at for at in changes if part.begin <= at < part.end):
            now = [take for take in taking if take.begin <= instant < take.end]
            for key in WATTS if any(part.watts.values()) else ():
                used, envelope = sum(take.watts.get(key, 0) for take in now), level(steps, key, instant)
                if used > envelope:
                    self.find(f"{key} is {used} with {reservation['name']} and the envelope {envelope}")
            for feed, envelope in feeds.items():
                used = sum(self.draw(take.servers, feed) for take in now)
                if begin_of(envelope[0]) <= instant and used > level(envelope, "itPowerWatts", instant):
                    self.find(f"feed {feed} gives {used} with {reservation['name']}")

    def feeds_of(self, site, servers):
        """The feeds that servers draw on and that have a limit: {feed: its steps}."""
        drawn = {(self.stream.get("server_records", server) or {"server": {}})["server"].get("powerFeed")
                 for server in servers}
        return {feed["feed"]: feed["envelope"] for feed in site.get("feeds", []) if feed["feed"] in drawn}

    def draw(self, servers, feed):
        records = (self.stream.get("server_records", server) for server in servers)
        return sum(int(record["server"].get("itPowerWatts", 0)) for record in records
                   if record and record["server"].get("powerFeed") == feed)

    def check_use(self, reservation, part):
        """At every instant of the part the contract has no more servers and accelerators than it may have here."""
        name = reservation["terms"]["contract"]
        taking = [take for other in [reservation, *self.others(reservation)] if other["terms"]["contract"] == name
                  for take in self.taken(other) if take.overlaps(part)]
        contract, quota = self.stream.get("contracts", name), self.quota(name)
        most = contract["terms"].get("maxServersPerSite", NEVER) if contract else 0
        levels = quota["levels"] if int(quota["total"].get("accelerators", 0)) else []
        changes = {part.begin, *(take.begin for take in taking), *map(begin_of, levels)}
        for instant in sorted(at for at in changes if part.begin <= at < part.end):
            now = [take for take in taking if take.begin <= instant < take.end]
            servers, accelerators = (sum(getattr(take, key) for take in now) for key in ("count", "accelerators"))
            if servers > most:
                self.find(f"{name} has {servers} servers with {reservation['name']}, allowed {most}")
            if levels and accelerators > level(levels, "accelerators", instant):
                self.find(f"{name} has {accelerators} accelerators with {reservation['name']}, allotted "
                          f"{level(levels, 'accelerators', instant)}")

    def quota(self, contract):
        none = {"total": {}, "levels": []}
        return self.stream.get("quotas", self.stream.quota_name(contract)) or none if contract.count("/") == 3 else none

    def check_quota(self, contract):
        """What is booked of a contract's accelerator-seconds is no more than this site has of them."""
        quota = self.quota(contract)
        used, own = (int(quota.get(key, 0)) for key in ("usedAcceleratorSeconds", "acceleratorSeconds"))
        if int(quota["total"].get("acceleratorSeconds", 0)) and used > own:
            self.find(f"{contract} has booked {used} accelerator-seconds, allotted {own}")

    def check_start(self, started):
        running = list(self.others(started, RUNNING))
        for other in running:
            for server in set(started["servers"]) & set(other["servers"]):
                self.find(f"{server} is in use by {started['name']} and by {other['name']}")
        site = self.stream.get("site_records", f"sites/{self.stream.site}") or {}
        for key in WATTS:
            used = sum(int(other.get(key, 0)) for other in [*running, started])
            envelope = level(site.get("envelope", []), key, nanos(self.stream.time))
            if used > envelope:
                self.find(f"{key} is {used} in use when {started['name']} starts and the envelope {envelope}")


def is_bookable(server):
    return server.get("bookable", False) and not server.get("lost") and not server.get("untested")


def watts_of(resource):
    return {key: int(resource.get(key, 0)) for key in WATTS}


def split(before, after, since):
    """Of [begin, end) the parts that are not within `before`, and the one that is; from `since` on."""
    begin, end = max(after[0], since), after[1]
    parts = [(begin, min(end, before[0])), (max(begin, before[1]), end)]
    return [(*part,) for part in parts if part[0] < part[1]], (max(begin, before[0]), min(end, before[1]))


def parts_of(reservation):
    """What a pending amendment takes beside what is confirmed."""
    amendment = reservation.get("amendment")
    if not amendment:
        return
    amended = {**reservation, **{key: amendment.get(key) for key in ("terms", "servers", "accelerators")},
               "margins": amendment.get("margins", {}), "state": "RESERVATION_STATE_CONFIRMED", "ending": {}}
    since = nanos(amendment["effectiveTime"]) if "effectiveTime" in amendment else -NEVER
    servers, before, after = amendment.get("servers", []), watts_of(reservation), watts_of(amendment)
    more = lambda old, new: max(0, int(new or 0) - int(old or 0))
    new, both = split(block({**reservation, "state": amended["state"]}), block(amended), since)
    yield from (Take(*part, servers, after) for part in new)
    added = Take(*both, [server for server in servers if server not in reservation.get("servers", [])],
                 {key: more(before[key], after[key]) for key in WATTS})
    if added.begin < added.end:
        yield added
    count, accelerators = amendment["terms"]["count"], int(amendment.get("accelerators", 0))
    new, both = split(span({**reservation, "ending": {}}), span(amended), since)
    yield from (Take(*part, count=count, accelerators=accelerators) for part in new)
    if both[0] < both[1]:
        yield Take(*both, count=more(reservation["terms"]["count"], count),
                   accelerators=more(reservation.get("accelerators"), accelerators))


def span(reservation):
    """[start, end) in nanoseconds: what counts against the contract, up to a release."""
    end = nanos(reservation["terms"]["endTime"])
    if "releasedTime" in reservation.get("ending", {}):
        end = min(end, nanos(reservation["ending"]["releasedTime"]))
    return nanos(reservation["terms"]["startTime"]), end


def duration(text):
    """A duration as protobuf's JSON has it, `1800s`, in nanoseconds."""
    whole, _, fraction = text.rstrip("s").partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0") or 0)


def block(reservation):
    """What servers, power and cooling are taken for: the use with margins and grace, or until they are clean."""
    margins, terms = reservation.get("margins", {}), reservation["terms"]
    begin = nanos(terms["startTime"]) - duration(margins.get("before", "0s"))
    if reservation["state"] == "RESERVATION_STATE_CLEANING":
        return begin, nanos(reservation["ending"]["cleaningUntil"])
    return begin, (nanos(terms["endTime"]) + duration(terms.get("grace", "0s"))
                   + duration(margins.get("after", "0s")))


def level(steps, key, instant):
    """What the envelope allows at an instant; nothing before its first step."""
    allowed = 0
    for step in steps:
        if begin_of(step) <= instant:
            allowed = int(step.get(key, 0))
    return allowed
