#!/usr/bin/env python3
"""Tells the story of two sites with the real programs, and fails where the story goes another way.

  demo.py --concordatd PATH --concordat PATH            one process, embedded logs: half a minute
  demo.py --concordatd PATH --concordat PATH --kafka    two processes, two brokers, MirrorMaker 2
  demo.py --concordatd PATH --concordat PATH --keep     leave everything running afterwards

Every step shows the command as one would type it. The last line is
`demo: N events at 2 sites, heads equal, digests equal`.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time

from machinery import Interrupted, Machinery, StepFailed
from ramp import Ramp

RULES = "services/compliance/rules"
MODEL = "vera-rubin-nvl144"
GOOD = "gpu_gemm_tflops=2510:tflops,ecc_errors=0:count"
BAD = "gpu_gemm_tflops=2180:tflops,ecc_errors=3:count"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SEPTEMBER = {"start": "2028-09-02", "end": "2028-10-02"}
WAIT_SECONDS = 60


class Demo:
    """The story. Each chapter is a method; `self.run` shows a command, `self.quietly` does not."""

    def __init__(self, machinery):
        self.machinery = machinery
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    # --- telling ---------------------------------------------------------------------------------

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def title(self, text):
        print(f"\n{self.paint('1', text)}\n{self.paint('2', '─' * len(text))}", flush=True)

    def say(self, text):
        print(text, flush=True)

    def run(self, *words, code=0, says="", lines=12):
        """Runs a command, shows it and what it said; StepFailed unless it ends with `code` and `says`."""
        print(self.paint("36", "$ concordat " + shlex.join(words)), flush=True)
        done = self.quietly(*words, code=code, says=says)
        shown = (done.stdout + (done.stderr if code else "")).rstrip("\n").split("\n")
        for line in shown[:lines]:
            if line:
                print(f"  {line}")
        if len(shown) > lines:
            print(f"  … {len(shown) - lines} more lines")
        sys.stdout.flush()
        return done

    def quietly(self, *words, code=0, says=""):
        done = self.machinery.concordat("--quiet", *words)
        if done.returncode != code or says not in done.stdout + done.stderr:
            expected = f"exit code {code}" + (f" and the words {says!r}" if says else "")
            raise StepFailed(f"found exit code {done.returncode}, expected {expected}:\n"
                             f"$ concordat {shlex.join(words)}\n{done.stdout}{done.stderr}")
        return done

    def name_of(self, done):
        """The resource that a command answered with: the first word of its first line."""
        return done.stdout.split()[0]

    def until(self, what, condition):
        """Waits for what the sites do by themselves; shows progress where it takes a while."""
        begun = time.monotonic()
        shown = False
        while not condition():
            waited = time.monotonic() - begun
            if waited > WAIT_SECONDS:
                raise StepFailed(f"waited {WAIT_SECONDS} s for {what}, expected it sooner")
            if waited > 2 and not shown:
                print(f"  … waiting for {what}", flush=True)
                shown = True
            time.sleep(0.1)

    def holds(self, *words, says):
        """Whether a command succeeds and says so; for waiting."""
        done = self.machinery.concordat("--quiet", *words)
        return done.returncode == 0 and says in done.stdout

    # --- chapters --------------------------------------------------------------------------------

    def build_up(self):
        self.title("Two sites are built up")
        self.run("open", "site", "paris", "--country", "FR", "--time-zone", "Europe/Paris",
                 "--certifications", "HDS,ISO27001")
        self.run("open", "site", "borlange", "--site", "borlange", "--country", "SE", "--time-zone", "Europe/Stockholm",
                 "--certifications", "ISO27001")
        self.run("set", "envelope", "paris", "--effective-from", "now", "--it-power-watts", "40MW",
                 "--cooling-watts", "40MW")
        self.run("set", "envelope", "borlange", "--site", "borlange", "--effective-from", "now",
                 "--it-power-watts", "23MW", "--cooling-watts", "23MW")
        self.say("A server's life, from its order to its service:")
        self.register_model("paris", self.run)
        self.build_server("paris", 1, self.run)
        self.say("Seven more servers the same way:")
        for number in (2, 3, 4):
            self.build_server("paris", number, self.quietly)
        self.register_model("borlange", self.quietly)
        for number in (1, 2, 3, 4):
            self.build_server("borlange", number, self.quietly)
        self.run("get", "servers", "--all-sites")

    def register_model(self, site, run):
        run("register", "model", MODEL, "--site", site, "--vendor", "nvidia", "--accelerators", "144",
            "--it-power-watts", "190kW", "--cooling-watts", "190kW",
            "--criteria", "gpu_gemm_tflops=2400..2700:tflops", "--criteria", "ecc_errors=0..0:count")

    def build_server(self, site, number, run):
        name = f"a01-{number:02}"
        run("order", "server", name, "--site", site, "--model", MODEL, "--supplier", "nvidia",
            "--promised-time", "+30d")
        run("deliver", "server", name, "--site", site, "--serial", f"VR-{site}-{number:04}")
        run("install", "server", name, "--site", site, "--room", "a", "--rack", f"{(number + 1) // 2:02}", "--position",
            str(number), "--nvlink-domain", f"a{(number + 1) // 2:02}", "--power-feed", f"feed-{'ab'[number % 2]}")
        run("test", "server", name, "--site", site, "--figures", GOOD)
        run("commission", "server", name, "--site", site)

    def burn_in(self):
        self.title("A server fails its burn-in and stays out of service")
        for words in (("order", "server", "a01-05", "--model", MODEL, "--supplier", "nvidia",
                       "--promised-time", "+30d"),
                      ("deliver", "server", "a01-05", "--serial", "VR-paris-0005"),
                      ("install", "server", "a01-05", "--room", "a", "--rack", "03", "--position", "5",
                       "--nvlink-domain", "a03", "--power-feed", "feed-b")):
            self.quietly(*words)
        self.run("test", "server", "a01-05", "--figures", BAD, says="BurnInFailed")
        self.say("Somebody tries to commission it all the same:")
        self.run("commission", "server", "a01-05", code=4, says="REASON_TEST_NOT_PASSED")
        self.run("describe", "server", "a01-05", lines=12, says="shortfalls")

    def rules(self):
        self.title("Rules are adopted, as data, with their legal basis")
        self.run("adopt", "rule", "-f", RULES)
        self.say("Borlänge decides under the same rules, by its own record:")
        self.quietly("adopt", "rule", "-f", RULES, "--site", "borlange")
        self.run("get", "rules", "--site", "borlange")

    def customers(self):
        self.title("CMA CGM, HSBC and SAP sign contracts and reserve")
        self.run("register", "customer", "cma-cgm", "--display-name", "CMA CGM", "--country", "FR",
                 "--sector", "LOGISTICS")
        self.run("register", "customer", "hsbc", "--display-name", "HSBC", "--country", "GB", "--sector", "FINANCE")
        self.run("register", "customer", "sap", "--site", "borlange", "--display-name", "SAP", "--country", "DE",
                 "--sector", "INDUSTRY")
        self.sign("cma-cgm/2027", "paris", "PUBLIC,LOGISTICS,HEALTH")
        self.sign("hsbc/2027", "paris", "PUBLIC,FINANCIAL", "432")
        self.sign("sap/2027", "borlange", "PUBLIC,INDUSTRIAL")
        self.until("the sites to know each other's contracts and servers", self.ready_to_reserve)
        self.first = self.name_of(self.run(*self.reserve("hsbc/2027", "risk", data="FINANCIAL"), "--wait"))
        self.run(*self.reserve("cma-cgm/2027", "routes"), "--wait")
        self.run(*self.reserve("sap/2027", "sandbox", purpose="rental"), "--site", "borlange", "--wait")
        self.run("get", "reservations", "--all-sites")

    def sign(self, contract, site, data, accelerators="864"):
        self.run("sign", "contract", contract, "--site", site, "--sites", "paris,borlange",
                 "--max-servers-per-site", "3", "--accelerators", accelerators, "--accelerator-hours", "1000000",
                 "--start-time", "2027-01-01", "--end-time", "2029-01-01", "--data-classes", data)

    def ready_to_reserve(self):
        for site in ("paris", "borlange"):
            for contract in ("cma-cgm/2027", "hsbc/2027", "sap/2027"):
                if not self.holds("get", "contract", contract, "--site", site, "-o", "name",
                                  says=contract.split("/")[0]):
                    return False
            records = self.machinery.concordat("get", "server_records", "--site", site, "-o", "json").stdout
            if records.count('"bookable": true') < 4:
                return False
        return True

    def reserve(self, contract, project, purpose="inference", data="PUBLIC", start="2027-02-01", end="2027-03-01",
                at=None):
        return ("reserve", *(("--at", at) if at else ()), "--contract", contract, "--model", MODEL, "--count", "1",
                "--start-time", start, "--end-time", end, "--purpose", purpose, "--data-classes", data,
                "--project", project)

    def compliance(self):
        self.title("The same request is confirmed in Paris and declined in Borlänge")
        self.say("CMA CGM asks for a server to work on its crews' health data. Paris is certified for that:")
        request = {"contract": "cma-cgm/2027", "project": "crew-health", "data": "HEALTH"}
        self.run(*self.reserve(**request, at="paris"), "--wait")
        self.say("Borlänge is not. It decides for itself, and the answer comes back over the link:")
        done = self.run(*self.reserve(**request, at="borlange"), "--wait", code=4, says="L1111-8")
        self.say("Why, with rule, version and citation:")
        self.run("explain", self.name_of(done), says="L1111-8", lines=30)

    def order(self):
        self.title("An order made in Paris for Borlänge crosses over and comes back decided")
        done = self.run(*self.reserve("hsbc/2027", "stress-tests", at="borlange"), "--wait")
        self.run("explain", self.name_of(done), says="OrderAnswered", lines=30)

    def quota(self):
        self.title("A quota over both sites, of which each spends its own part")
        self.say("HSBC may use 432 accelerators at once at both sites together; each site begins with a half:")
        self.run("describe", "contract", "hsbc/2027", lines=40, says="QUOTA AT")
        wish = list(self.reserve("hsbc/2027", "month-end", start="2027-05-01", end="2027-06-01"))
        wish[wish.index("--count") + 1] = "2"
        self.say("Two servers have 288. Paris has not so much, says so, and asks Borlänge for what it does not use:")
        self.run(*wish, code=4, says="REASON_QUOTA_EXHAUSTED")
        self.until("Borlänge to give back what it does not use",
                   lambda: self.holds("get", "quota", "hsbc/2027", says="288"))
        self.run(*wish, "--wait")
        self.run("get", "quotas", "--all-sites")

    def bundle(self):
        self.title("CMA CGM trains in Paris and serves in Borlänge, or does neither")
        part = ("contract: cma-cgm/2027, model: {model}, count: 1, dataClasses: [PUBLIC],\n"
                '   startTime: "2027-06-01T00:00:00Z", endTime: "2027-07-01T00:00:00Z"').format(model=MODEL)
        path = self.machinery.folder / "both.yaml"
        path.write_text("parts:\n" + "".join(f"- {{site: sites/{site}, purpose: PURPOSE_{purpose}, {part}}}\n"
                                             for site, purpose in (("paris", "TRAINING"), ("borlange", "INFERENCE"))))
        self.say(path.read_text().rstrip())
        done = self.run("bundle", "-f", str(path), "--wait", says="committed")
        self.run("explain", self.name_of(done), says="BundleCommitted", lines=30)

    def hours(self):
        self.title("SAP works by day, and by the clock on its wall")
        self.run("sign", "contract", "sap/2027-days", "--site", "borlange", "--sites", "borlange",
                 "--max-servers-per-site", "1", "--start-time", "2027-01-01", "--end-time", "2028-01-01",
                 "--data-classes", "PUBLIC", *self.repeat("MO,TU,WE,TH,FR", "2027-01-04T08:00:00", "10h"))
        wish = ["reserve", "--site", "borlange", "--contract", "sap/2027-days", "--model", MODEL, "--count", "1",
                "--purpose", "rental", "--data-classes", "PUBLIC", "--project", "night-shift"]
        self.run(*wish, "--start-time", "2027-04-01T20:00:00Z", "--end-time", "2027-04-01T22:00:00Z", code=4,
                 says="REASON_ACCESS_HOURS")
        self.say("Mondays and Fridays at nine, for two weeks in which summer time begins:")
        wish[-1] = "training-course"
        done = self.run(*wish, "--start-time", "2027-03-22", "--end-time", "2027-04-03", *self.repeat(
            "MO,FR", "2027-03-22T09:00:00", "4h"), "--wait")
        self.run("get", "reservations", self.name_of(done) + "-", "--site", "borlange", says="2027-03-29T07:00:00Z")

    def repeat(self, days, first, length):
        return ("--repeat", f"FREQ=WEEKLY;BYDAY={days}", "--zone", "Europe/Stockholm", "--repeat-from", first,
                "--for", length)

    def cut(self):
        self.title("The link is cut, and both sites go on")
        self.cut_link()
        self.run(*self.reserve("cma-cgm/2027", "ports", start="2027-03-01", end="2027-04-01"), "--wait")
        self.run(*self.reserve("sap/2027", "trial", start="2027-03-01", end="2027-04-01", purpose="rental"),
                 "--site", "borlange", "--wait")
        self.say("A server fails in Paris:")
        self.run("decommission", "server", "a01-04", "--reason", "NVLink fault")
        self.say("Meanwhile Paris orders from Borlänge, and does not wait for an answer that cannot come:")
        self.pending = ("--request-id", "hsbc-stress-tests-2",
                        *self.reserve("hsbc/2027", "stress-tests-2", at="borlange", start="2027-03-01",
                                      end="2027-04-01"))
        self.order_name = self.name_of(self.run(*self.pending))
        self.run("get", "orders", says="pending")
        self.run("explain", self.order_name, says="waits for")
        self.run("verify", code=6, says="behind")

    def heal(self):
        self.title("The link heals, and the order is answered")
        self.heal_link()
        self.say("The same command with the same request id does nothing twice; it waits for the answer:")
        self.run(*self.pending, "--wait", says="answered before")
        self.run("get", "order", self.order_name, says="confirmed")

    def cut_link(self):
        if not self.machinery.kafka:
            self.run("link", "cut", "borlange")
            return
        self.say("(MirrorMaker is stopped)")
        self.machinery.pair("cut")

    def heal_link(self):
        if not self.machinery.kafka:
            self.run("link", "heal", "borlange")
            return
        self.say("(MirrorMaker goes on)")
        self.machinery.pair("heal")

    def lifetime(self):
        self.title("A reservation starts, and a model runs on it")
        self.run("register", "artefact", "open-70b", "--digest", DIGEST, "--licence", "Apache-2.0",
                 "--trained-in", "FR", "--provenance", "published by the laboratory, signature checked")
        self.run("clock", "set", "2027-02-01T00:00:00Z")
        self.until("the reservation to start",
                   lambda: self.holds("get", self.first, says="active") and
                   self.holds("get", "deployment_reservations", "-o", "name", says=self.first))
        self.run("get", self.first, says="active")
        done = self.run("deploy", "open-70b", self.first, "--wait")
        self.deployment = self.name_of(done)
        self.run("explain", self.deployment, says="ModelPlaced", lines=30)

    def maintenance(self):
        self.title("Its server is worked on in the middle of it, with HSBC's word")
        server = self.server_of(self.first)
        self.run("propose", "window", "w-2027-02", "--servers", server, "--start-time", "2027-02-15T22:00:00Z",
                 "--end-time", "2027-02-16T04:00:00Z", "--window-class", "planned", "--notice-days", "14",
                 "--overrun", "finish", "--work", "inspect the manifold")
        self.run("announce", "window", "w-2027-02")
        self.until("reservations to say whom it affects",
                   lambda: self.holds("get", "window", "w-2027-02", "-o", "json", says='"affectedKnown": true'))
        self.run("get", "windows", says="hsbc")
        self.run("open", "window", "w-2027-02", code=4, says="REASON_CONSENT_MISSING")
        self.run("consent", "window", "w-2027-02", "--customer", "hsbc")
        self.say("It opens by itself; what runs there is removed first, and is back when it is closed:")
        self.run("clock", "set", "2027-02-15T22:00:00Z")
        self.until("the server to be drained",
                   lambda: self.holds("get", "window", "w-2027-02", "-o", "json", says='"drained": true'))
        self.run("get", self.deployment, says="removed")
        self.run("close", "window", "w-2027-02")
        self.until("the model to run again", lambda: self.holds("get", "deployments", says="running"))
        self.deployment = self.name_of(self.run("get", "deployments", "--where", "STATE=running", "--no-headers"))

    def server_of(self, reservation):
        """The short name of the first server that it has."""
        return json.loads(self.quietly("get", reservation, "-o", "json").stdout)["servers"][0].rpartition("/")[2]

    def ending(self):
        self.title("The reservation ends, and takes what runs on it with it")
        self.run("clock", "set", "2027-03-01T00:00:00Z")
        self.until("the model to be removed and the reservation to end",
                   lambda: self.holds("get", self.first, says="ended"))
        self.run("get", self.deployment, says="removed")
        self.run("history", self.first, says="ReservationEnded", lines=20)

    def ramp_up(self):
        Ramp(self, "2027-03-01").tell()

    def waves(self):
        self.title("HSBC may have some of it a month before all others")
        self.run("plan", "wave", "2028-first", "--model", MODEL, "--customers", "hsbc", "--start-time", "2028-09-01",
                 "--share-servers", "2")
        self.run("plan", "wave", "2028-general", "--model", MODEL, "--start-time", "2028-10-01")
        self.run(*self.reserve("cma-cgm/2027", "autumn", **SEPTEMBER), code=4, says="REASON_WAVE")
        self.early = self.name_of(self.run(*self.reserve("hsbc/2027", "autumn", **SEPTEMBER), "--wait"))

    def derating(self):
        self.title("A busbar is to be replaced under a reservation, and nothing is taken away silently")
        server = self.server_of(self.early)
        feed = json.loads(self.quietly("get", "server", server, "-o", "json").stdout)["powerFeed"]
        self.run("define", "feed", feed, "--it-power-watts", "20MW", "--redundancy", "2n")
        self.run("set", "feed", feed, "--effective-from", "2028-09-10", "--until", "2028-09-11",
                 "--it-power-watts", "0", "--cause", "planned-work", "--detail", "busbar 3")
        self.until("the shortfall to be found", lambda: self.holds("get", "shortfalls", says=feed))
        shortfall = self.name_of(self.run("get", "shortfalls", "--no-headers"))
        found = json.loads(self.quietly("get", "shortfall", shortfall, "-o", "json").stdout)["found"]["reservations"][0]
        self.say(f"HSBC could end by {found['shortenTo']}, or move to {found['moveTo'][0]}. It moves:")
        self.run("cancel", "reservation", self.early, "--reason", "busbar 3")
        self.run(*self.reserve("hsbc/2027", "autumn", **SEPTEMBER), "--placement", "exact", "--servers",
                 found["moveTo"][0], "--wait")
        self.until("the shortfall to be over", lambda: not self.holds("get", "shortfalls", says=feed))
        self.run("history", shortfall, says="ShortfallCleared")

    def months(self):
        self.title("What became of the plan, month by month")
        for site in ("paris", "borlange"):
            self.run("get", "months", "--site", site, lines=40, says="2028-08")

    def agree(self):
        self.title("Both sites have the same history and the same state")
        self.run("verify", "--wait", "60s", says="heads equal, digests equal")
        self.run("status", lines=24)

    def tell(self):
        for chapter in (self.build_up, self.burn_in, self.rules, self.customers, self.compliance, self.order,
                        self.quota, self.bundle, self.hours, self.cut, self.heal, self.lifetime, self.maintenance,
                        self.ending, self.ramp_up, self.waves, self.derating, self.agree, self.months):
            chapter()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concordatd", required=True, metavar="PATH", help="the server")
    parser.add_argument("--concordat", required=True, metavar="PATH", help="the command line")
    parser.add_argument("--kafka", action="store_true", help="two brokers and MirrorMaker 2 instead of embedded logs")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    return parser.parse_args()


def hints(machinery):
    cut = "concordat link cut borlange" if not machinery.kafka else machinery.pair_command("cut")
    heal = "concordat link heal borlange" if not machinery.kafka else machinery.pair_command("heal")
    print(f"""
Everything keeps running. In another terminal:
  export CONCORDAT_CONFIG={machinery.config}
  export PATH={os.path.dirname(machinery.binary)}:$PATH
  concordat status
  concordat get reservations --all-sites
  concordat watch
To cut and heal the link:
  {cut}
  {heal}
To stop and clean up: Ctrl-C here, or kill {os.getpid()}.
""")


def main():
    arguments = parse()
    # All of them end the demo as Ctrl-C does, also where it was started in the background.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    machinery = Machinery(arguments)
    try:
        machinery.start()
        demo = Demo(machinery)
        demo.tell()
        events = machinery.count_events()
        if arguments.keep:
            hints(machinery)
        print(f"\ndemo: {events} events at 2 sites, heads equal, digests equal", flush=True)
        if arguments.keep:
            machinery.wait()
        return 0
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 0 if arguments.keep else 130
    except (StepFailed, Interrupted, subprocess.TimeoutExpired) as failure:
        sys.stdout.flush()
        print(f"\ndemo failed: {failure}\n{machinery.last_words()}", file=sys.stderr)
        return 1
    finally:
        machinery.stop()


if __name__ == "__main__":
    sys.exit(main())
