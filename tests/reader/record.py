#!/usr/bin/env python3
"""Records testdata/: Paris's own streams, and what `concordat` answers then, at the end of a story on real brokers.

  record.py --concordatd build/release/services/node/concordatd --concordat build/release/services/cli/concordat

The story is the demo's without its eighteen months, with chapters about everything that it does not tell, so that
something of every collection is in it. Needs two brokers and MirrorMaker 2, as `./dev demo --kafka` does. The exit
code is 0, or 7 where the independent reader finds something; then nothing is written.
"""
import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[0:0] = [str(HERE), str(HERE.parents[1] / "deploy" / "demo")]

import reader  # noqa: E402
from demo import GOOD, MODEL, Demo  # noqa: E402
from machinery import Machinery  # noqa: E402
from state import COLLECTIONS, OF_SERVICE  # noqa: E402

SITE = "paris"
TESTDATA = HERE / "testdata"


class Story(Demo):
    """The demo up to the end of its first reservation, and what a site can do beside."""

    def get(self, collection):
        done = self.quietly("get", collection, "--site", SITE, "-o", "json")
        return [without_type(resource) for resource in json.loads(done.stdout).get("resources", [])]

    def one(self, collection, **fields):
        """The first resource that has these; None where there is none."""
        return next((each for each in self.get(collection)
                     if all(each.get(key) == value for key, value in fields.items())), None)

    def care(self):
        self.title("Racks, feeds, parts, firmware, plans")
        for words in (("define", "rack", "a-01", "--room", "a", "--rack", "01", "--height-units", "48"),
                      ("define", "feed", "feed-a", "--it-power-watts", "20MW", "--redundancy", "2n"),
                      ("define", "feed", "feed-b", "--it-power-watts", "20MW", "--redundancy", "2n"),
                      ("set", "feed", "feed-a", "--effective-from", "2027-10-01", "--until", "2027-10-08",
                       "--it-power-watts", "10MW", "--cause", "planned-work"),
                      ("set", "stage-limit", SITE, "--state", "delivered", "--most", "14d"),
                      ("record", "manifest", "po-4711-1", "--order-number", "po-4711", "--supplier", "nvidia",
                       "--serials", "VR-0100,VR-0101"),
                      ("plan", "server", "a01-06", "--model", MODEL, "--planned-time", "+90d",
                       "--rack", "sites/paris/racks/a-01"),
                      ("change", "firmware", "a01-05", "--component", "bmc", "--version", "2.4.1"),
                      ("replace", "part", "a01-05", "--slot", "gpu-3", "--part", "sites/paris/parts/p-00042", "--kind",
                       "gpu", "--serial", "G-77", "--reason", "ECC errors"),
                      ("record", "reading", "2027-02", "--start-time", "2027-02-01", "--end-time", "2027-03-01",
                       "--total-watt-hours", "12.1GWh", "--it-watt-hours", "10.4GWh", "--source", "meter A1"),
                      ("register", "plan", MODEL, "--version", "2", "--criteria", "ecc_errors=0..0:count",
                       "--validity", "900d")):
            self.run(*words)
        self.run("test", "server", "a01-05", "--figures", GOOD)

    def conditions(self):
        self.title("Projects, waves, separations, margins")
        self.run("register", "project", "hsbc/fraud-models", "--display-name", "Fraud models")
        self.run("plan", "wave", "2027-first", "--model", MODEL, "--servers", "a01-03", "--customers",
                 "hsbc,cma-cgm", "--start-time", "+1d")
        self.run("separate", "parties", "hsbc-sap", "--parties", "customers/hsbc,customers/sap", "--reason",
                 "contract 7.2")
        self.run("set", "margins", SITE, "--model", MODEL, "--after", "1h")

    def access_hours(self):
        self.title("Access hours, and a reservation that recurs")
        clock = ("--zone", "Europe/Paris", "--repeat-from")
        self.run("sign", "contract", "hsbc/2027-days", "--sites", SITE, "--max-servers-per-site", "2", "--start-time",
                 "2027-03-01", "--end-time", "2029-01-01", "--data-classes", "PUBLIC", "--repeat",
                 "FREQ=WEEKLY;BYDAY=SA", *clock, "2027-03-06T08:00:00", "--for", "10h")
        series = self.name_of(self.run(
            *self.reserve("hsbc/2027-days", "month-end-tests", start="2027-06-01", end="2028-03-01"), "--repeat",
            "FREQ=MONTHLY;BYDAY=1SA", *clock, "2027-06-05T09:00:00", "--for", "2h", "--wait"))
        self.run("cancel", "reservation", f"{series}-2", "--reason", "a holiday")

    def changes(self):
        self.title("An amendment and an extension")
        name = self.name_of(self.run(*self.reserve("cma-cgm/2027", "autumn", start="2027-09-01", end="2027-09-20"),
                                     "--wait"))
        for words in (("amend", "reservation", name, "--project", "autumn-2"),
                      ("extend", "reservation", name, "--end-time", "2027-09-22T00:00:00Z")):
            self.run(*words)
            self.until("the amendment to be judged", lambda: "amendment" not in self.one(
                "reservations", name=self.full(name)))

    def full(self, name):
        return name if name.startswith("sites/") else f"sites/{SITE}/reservations/{name}"

    def next_window(self):
        self.title("A window that is to come")
        self.run("propose", "window", "w-2027-12", "--servers", "a01-01", "--start-time", "2027-12-05T08:00:00Z",
                 "--end-time", "2027-12-05T20:00:00Z", "--window-class", "planned", "--work", "inspect the manifold",
                 "--overrun", "finish")
        self.run("announce", "window", "w-2027-12")
        self.until("the claim", lambda: self.one("window_records"))

    def shortfall(self):
        self.title("Less power than is promised")
        self.run("set", "envelope", SITE, "--effective-from", "2027-05-10", "--until", "2027-05-12",
                 "--it-power-watts", "200kW", "--cooling-watts", "40MW", "--cause", "weather")
        self.until("the shortfall", lambda: self.one("shortfalls"))

    def horizon(self):
        self.title("A horizon moves on")
        self.run("clock", "set", "2027-04-15T00:00:00Z")
        self.until("the access hours to be known for longer", lambda: "ScheduleExtended" in self.quietly(
            "history", "contract", "hsbc/2027-days").stdout)

    def tell(self):
        for chapter in (self.build_up, self.burn_in, self.rules, self.customers, self.compliance, self.order,
                        self.quota, self.bundle, self.hours, self.cut, self.heal, self.lifetime, self.maintenance,
                        self.ending, self.care, self.conditions, self.access_hours, self.changes, self.next_window,
                        self.shortfall, self.horizon, self.agree):
            chapter()


def without_type(resource):
    return {key: value for key, value in resource.items() if key != "@type"}


def record(machinery, story):
    """What the reader found; writes the log and the answers where that is nothing."""
    by_site, findings = reader.check(reader.Protos(), machinery.brokers,
                                     reader.Shell(machinery.binary, machinery.config))
    if findings:
        return findings
    own = [f"{SITE}.{service}.events" for service in OF_SERVICE]
    answers = {"heads": {name: [by_site[SITE][name].chain.sequence, by_site[SITE][name].chain.head] for name in own},
               "resources": {collection: story.get(collection) for collection in COLLECTIONS}}
    lines = [reader.record_line(name, headers, data, offset) for name in own
             for headers, data, offset in reader.read_topic(machinery.brokers[SITE], name)]
    (TESTDATA / f"{SITE}.jsonl").write_text("".join(line + "\n" for line in lines))
    (TESTDATA / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    for collection, resources in answers["resources"].items():
        print(f"{len(resources):4} {collection}")
    return []


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concordatd", required=True, metavar="PATH", help="the server")
    parser.add_argument("--concordat", required=True, metavar="PATH", help="the command line")
    return parser.parse_args()


def main():
    options = parse()
    options.kafka = True
    machinery = Machinery(options)
    try:
        machinery.start()
        story = Story(machinery)
        story.tell()
        findings = record(machinery, story)
        print("\n".join(findings) or f"recorded {TESTDATA}")
        return 7 if findings else 0
    except Exception:
        print(machinery.last_words(), file=sys.stderr)
        raise
    finally:
        machinery.stop()


if __name__ == "__main__":
    sys.exit(main())
