"""One site on Kafka, one process for each service: they are killed, and nothing answered is lost or doubled."""
import json
import random
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from cluster import SERVICES, Cluster, Shell, binary, die_with_test, digests, eventually, follow, read_topic, stream

KILLS = 30
ACKNOWLEDGED_BETWEEN_KILLS = 500
THREADS = 2

# A command for each service that needs nothing but itself; {n} is its number. Some are facts, some refusals.
COMMANDS = {
    "inventory": ("concordat.inventory.v1.InventoryService/OrderServer",
                  {"name": "sites/paris/servers/s-{n}", "model": "models/m", "supplier": "nvidia",
                   "promisedTime": "2099-01-01T00:00:00Z"}),
    "reservations": ("concordat.reservations.v1.ReservationsService/RegisterCustomer",
                     {"name": "customers/c-{n}", "displayName": "C {n}", "country": "FR", "sector": "PUBLIC"}),
    "compliance": ("concordat.compliance.v1.ComplianceService/RepealRule",
                   {"name": "rules/r-{n}", "reason": "was never adopted"}),
    "deployment": ("concordat.deployment.v1.DeploymentService/RegisterArtefact",
                   {"name": "artefacts/a-{n}", "digest": "ab" * 32, "licence": "MIT", "trainedIn": "FR"}),
}


class Load:
    """Clients of one service. What was answered is in a file of theirs, outside of the services."""

    def __init__(self, cluster, service, address):
        method, template = COMMANDS[service]
        self.words = [binary("RPC_CLIENT"), "load", address, method, json.dumps(template)]
        self.cluster, self.service = cluster, service
        self.file = cluster.folder / f"load-{service}"
        self.file.touch()
        self.process = subprocess.Popen([*self.words, self.file, str(THREADS)], preexec_fn=die_with_test)
        # Lines are written whole, so none is read in part.
        self.reader = open(self.file)
        self.count = 0
        cluster.stack.callback(self.reader.close)
        cluster.stack.callback(self.stop)

    def acknowledged(self):
        """How many lines with an answer its file has by now."""
        for line in self.reader:
            self.count += line.split()[1] != "unknown"
        return self.count

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)

    def answers(self, file=None):
        """{number: (what, sequence, link)}"""
        found = {}
        for line in Path(file or self.file).read_text().splitlines():
            number, what, sequence, link, *_ = line.split()
            found[int(number)] = (what, int(sequence), link)
        return found

    def ask_again(self, numbers):
        """The same commands with the same request ids."""
        file = self.cluster.folder / f"again-{self.service}"
        subprocess.run([*self.words, file, str(THREADS), *map(str, numbers)], check=True, timeout=120,
                       preexec_fn=die_with_test)
        return self.answers(file)


class KilledServices(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        self.broker = self.cluster.broker("paris", sites=("paris",)).start()
        self.addresses = {service: self.cluster.address() for service in SERVICES}
        self.nodes = {}
        for service in SERVICES:
            self.nodes[service] = self.cluster.node(service, {
                "profile": "demo", "log": "kafka", "data_dir": str(self.cluster.folder / "data" / service),
                "services": [service],
                "sites": [{"name": "paris", "grpc": self.addresses[service], "kafka": self.broker.bootstrap}]}).launch()
        for node in self.nodes.values():
            node.wait_ready()
        self.shell = Shell(self.cluster, {
            "paris": {"address": self.addresses["compliance"], "services": self.addresses}})
        self.shell("open", "site", "paris", "--country", "FR", "--time-zone", "Europe/Paris")
        self.shell("register", "model", "m", "--vendor", "v", "--accelerators", "1", "--it-power-watts", "1kW",
                   "--cooling-watts", "1kW", "--criteria", "f=0..1:u")

    def kill_under_load(self):
        loads = {service: Load(self.cluster, service, self.addresses[service]) for service in SERVICES}

        def acknowledged():
            return sum(load.acknowledged() for load in loads.values())

        for kill in range(KILLS):
            goal = acknowledged() + ACKNOWLEDGED_BETWEEN_KILLS
            eventually(lambda: acknowledged() >= goal, 60, f"{ACKNOWLEDGED_BETWEEN_KILLS} more commands are answered")
            # While one starts again the others go on, and the clients of this one ask in vain.
            node = self.nodes[SERVICES[kill % len(SERVICES)]].wait_ready()
            node.kill()
            node.launch()
        for node in self.nodes.values():
            node.wait_ready()
        # The last of the killed has to answer again too.
        counts = {service: load.acknowledged() for service, load in loads.items()}
        for service, load in loads.items():
            eventually(lambda: load.acknowledged() > counts[service], 60, f"{service} answers again")
        for load in loads.values():
            load.stop()
        return loads

    def test_thirty_kills_lose_nothing_that_was_answered_and_double_nothing(self):
        loads = self.kill_under_load()
        answered = 0
        for service, load in loads.items():
            with self.subTest(service):
                answered += self.check_stream(service, load)
        print(f"{answered} answered commands, {KILLS} kills", file=sys.stderr)
        self.assertGreaterEqual(answered, KILLS * ACKNOWLEDGED_BETWEEN_KILLS)
        self.check_rebuild()

    def check_stream(self, service, load):
        """Compares the clients' file with the topic; how many commands were answered."""
        topic = stream("paris", service)
        answers = load.answers()
        unknown = [number for number, answer in answers.items() if answer[0] == "unknown"]
        known = {number: answer for number, answer in answers.items() if answer[0] != "unknown"}
        again = load.ask_again(unknown + random.Random(1).sample(sorted(known), 100))
        self.assertNotIn("unknown", {answer[0] for answer in again.values()})
        for number, answer in again.items():
            self.assertEqual(answer, known.get(number, answer), f"the second answer to load-{number}")

        lines, summary = follow(self.broker, topic)
        self.assertEqual(summary["state"], "ok")
        accepted = {line["link"]: int(line["sequence"]) for line in lines}
        for number, (_, sequence, link) in {**again, **known}.items():
            self.assertEqual(accepted.get(link), sequence, f"load-{number} was answered and is not in the log")

        of_command = {}
        for _, headers, _ in read_topic(self.broker, topic):
            link, command = headers["ce_id"].decode(), headers.get("ce_commandid", b"").decode()
            if link in accepted and command.startswith("load-"):
                of_command.setdefault(command, []).append(link)
        for command, links in of_command.items():
            self.assertEqual(len(links), 1, f"{command} stands in the log more than once")
        # What the log holds beyond the answers was asked, and nothing else.
        self.assertEqual(set(of_command), {f"load-{number}" for number in {**again, **known}})
        for number, (_, _, link) in {**again, **known}.items():
            self.assertEqual(of_command[f"load-{number}"], [link])
        return len(known)

    def check_rebuild(self):
        """A projection that is deleted is folded anew from the log, which gains no command."""
        before = {service: digests(self.addresses[service]) for service in SERVICES}
        commands = {service: self.commands(service) for service in SERVICES}
        for service, node in self.nodes.items():
            node.stop()
            shutil.rmtree(node.data / "paris" / stream("paris", service))
            node.launch()
        for service, node in self.nodes.items():
            node.wait_ready()
            self.assertEqual(digests(self.addresses[service]), before[service], service)
            self.assertEqual(self.commands(service), commands[service], service)
            for tables in before[service].values():
                for table, (_, stored, folded) in tables.items():
                    self.assertEqual(stored, folded, table)
        # Also after what the rebuilt ones may have had to say to each other.
        self.shell("verify", "--wait", "30s")
        self.assertEqual({service: self.commands(service) for service in SERVICES}, commands)

    def commands(self, service):
        return sum("ce_commanddigest" in headers for _, headers, _ in read_topic(self.broker, stream("paris", service)))


if __name__ == "__main__":
    unittest.main()
