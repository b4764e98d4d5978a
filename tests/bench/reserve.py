"""Measures reservations side by side, in one run on the same data: Concordat's commit path on the embedded log and
on a real Kafka broker, and PostgreSQL with an exclusion constraint. Prints a table and ratios.

  reserve.py --build DIR [--json FILE] [--seconds N] [--warmup N] [--clients 1,16,64]

docs/performance.md explains what each way does and how to read the figures.
"""

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

from commit import KAFKA, Broker, counts, run, say

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reserve.sql")
POSTGRESQL = "/usr/lib/postgresql/15/bin"
SERVERS, RESERVATIONS = 2000, 200000
FORMULATIONS = ["lowest_free", "any_free", "any_free_btree", "skip_locked", "on_conflict"]
# Each table with the rows that a run has added; they are taken out again before the next.
TABLES = ["by_time", "by_minute", "by_btree"]
# A client asks for 1 to 6 hours, from any minute of a year on; PostgreSQL begins to look at any but the last servers.
SCRIPT = r"""\set starts random(0, 525600)
\set minutes random(60, 360)
\set from_id random(0, %d)
SELECT %s(:starts, :minutes, :from_id);
"""
# Its data stays in memory, a checkpoint comes in no run, and what makes plans of one row slower is off.
SETTINGS = """
listen_addresses = ''
max_connections = 300
shared_buffers = 1GB
wal_buffers = 64MB
max_wal_size = 8GB
checkpoint_timeout = 1h
random_page_cost = 1.1
jit = off
fsync = on
synchronous_commit = on
"""
TITLES = {
    "limit": "librdkafka alone (the limit)", "embedded": "Concordat, embedded log",
    "kafka_flushed": "Concordat, Kafka, flushed", "kafka": "Concordat, Kafka",
    "postgresql": "PostgreSQL", "postgresql_unflushed": "PostgreSQL, not flushed", "usual": "PostgreSQL, the usual way"}


class PostgreSQL:
    """A server of its own on a socket in a new folder, run by an ordinary user, as it demands."""

    def __init__(self, program):
        if not os.path.exists(os.path.join(POSTGRESQL, "pgbench")):
            raise SystemExit("reserve.py: %s/pgbench is missing; `./dev bench reserve` installs postgresql-15" % POSTGRESQL)
        self.folder = tempfile.mkdtemp(prefix="concordat-bench-")
        self.user = []
        if os.getuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self.user = ["runuser", "-u", "postgres", "--"]
        self.data = os.path.join(self.folder, "data")
        self.call("initdb", "-D", self.data, "-A", "trust", "-U", "bench", "--no-locale", "-E", "UTF8")
        with open(os.path.join(self.data, "postgresql.conf"), "a") as file:
            file.write(SETTINGS + "unix_socket_directories = '%s'\n" % self.folder)
        self.call("pg_ctl", "-D", self.data, "-l", os.path.join(self.folder, "log"), "-w", "start")
        try:
            self.load(program)
        except BaseException:
            self.stop()
            raise

    def call(self, program, *arguments, environment=None):
        command = self.user + [os.path.join(POSTGRESQL, program), *arguments]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PGHOST": self.folder, "PGUSER": "bench", "PGDATABASE": "postgres",
                                   **(environment or {})})
        if done.returncode != 0:
            raise SystemExit("reserve.py: %s failed:\n%s%s" % (" ".join(command), done.stdout[-2000:], done.stderr[-4000:]))
        return done.stdout

    def sql(self, *arguments):
        return self.call("psql", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", *arguments)

    def load(self, program):
        with open(os.path.join(self.folder, "bookings.tsv"), "w") as file:
            subprocess.run([program, "--mode", "data", "--servers", str(SERVERS), "--reservations", str(RESERVATIONS)],
                           stdout=file, check=True)
        shutil.copy(SQL, os.path.join(self.folder, "reserve.sql"))
        self.sql("-v", "servers=%d" % SERVERS, "-f", "reserve.sql")

    def rows(self):
        return sum(int(self.sql("-c", "SELECT count(*) FROM %s" % table)) for table in TABLES)

    def measure(self, formulation, clients, seconds, warmup, flushed):
        for table in TABLES:
            self.sql("-c", "DELETE FROM %s WHERE id > %d" % (table, RESERVATIONS))
            self.sql("-c", "VACUUM ANALYZE %s" % table)
        script = os.path.join(self.folder, formulation + ".sql")
        with open(script, "w") as file:
            file.write(SCRIPT % (SERVERS - 101, formulation))
        environment = {} if flushed else {"PGOPTIONS": "-c synchronous_commit=off"}
        command = ["-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)), "-f", script]
        if warmup >= 1:
            self.call("pgbench", *command, "-T", str(round(warmup)), environment=environment)
        before = self.rows()
        self.call("pgbench", *command, "-T", str(max(1, round(seconds))), "-l", "--log-prefix", "latency",
                  environment=environment)
        return self.figures(clients, seconds, self.rows() - before)

    def figures(self, clients, seconds, reservations):
        latencies = []
        for name in os.listdir(self.folder):
            if not name.startswith("latency."):
                continue
            path = os.path.join(self.folder, name)
            with open(path) as file:  # client, number, microseconds, ...
                latencies += [int(line.split()[2]) for line in file]
            os.remove(path)
        latencies.sort()
        at = lambda part: latencies[int(part * (len(latencies) - 1))] / 1000
        return {"clients": clients, "reservations": reservations, "refused": len(latencies) - reservations,
                "throughput_per_second": round(reservations / max(1, round(seconds)), 1), "latency_p50_ms": at(0.5),
                "latency_p99_ms": at(0.99)}

    def stop(self):
        subprocess.run(self.user + [os.path.join(POSTGRESQL, "pg_ctl"), "-D", self.data, "-m", "immediate", "-w", "stop"],
                       cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)


def best_of(postgresql, clients, options, flushed):
    """Every formulation; the fastest, by its name."""
    tried = {}
    for formulation in FORMULATIONS:
        say("%s, %s, %d clients" % (TITLES["postgresql" if flushed else "postgresql_unflushed"], formulation, clients))
        tried[formulation] = postgresql.measure(formulation, clients, options.seconds, options.warmup, flushed)
    # At one client what counts is the latency.
    key = (lambda name: -tried[name]["latency_p50_ms"]) if clients == 1 else (lambda name: tried[name]["throughput_per_second"])
    best = max(tried, key=key)
    return {**tried[best], "formulation": best, "formulations": tried}


class Ours:
    def __init__(self, build, broker, folder):
        self.build, self.broker, self.folder, self.number = build, broker, folder, 0

    def limit(self, clients, options):
        """What the broker takes of anybody who sends it a record a command: the raw way of commit.py."""
        say("%s, %d clients" % (TITLES["limit"], clients))
        self.number += 1
        site = "bench%d" % self.number
        self.broker.topic(site + ".inventory.events")
        return run([os.path.join(self.build, "commit_bench"), "--mode", "raw", "--bootstrap", self.broker.bootstrap,
                    "--site", site, "--dir", os.path.join(self.folder, site), "--clients", str(clients),
                    "--seconds", str(options.seconds), "--warmup", str(options.warmup)], "limit")

    def measure(self, way, clients, options):
        say("%s, %d clients" % (TITLES[way], clients))
        self.number += 1
        site = "bench%d" % self.number
        command = [os.path.join(self.build, "reserve_bench"), "--site", site, "--dir", os.path.join(self.folder, site),
                   "--clients", str(clients), "--seconds", str(options.seconds), "--warmup", str(options.warmup),
                   "--servers", str(SERVERS),
                   "--reservations", str(RESERVATIONS), "--mode", "embedded" if way == "embedded" else "kafka"]
        if way != "embedded":
            # A topic at home is flushed with every request; a copy as the broker thinks best.
            subprocess.run([sys.executable, KAFKA, "topic", "--bootstrap", self.broker.bootstrap, "--create",
                            site + ".reservations.events"] + (["--mirrored"] if way == "kafka" else []),
                           check=True, stdout=subprocess.DEVNULL)
            command += ["--bootstrap", self.broker.bootstrap]
        try:
            return run(command, way)
        finally:
            shutil.rmtree(os.path.join(self.folder, site), ignore_errors=True)


def ratios(rows):
    found = {}
    for ours, theirs, name in (("kafka", "postgresql", "postgresql"), ("kafka", "usual", "postgresql_usual"),
                               ("kafka_flushed", "postgresql", "postgresql_both_flushed"),
                               ("embedded", "postgresql", "postgresql_embedded"),
                               ("kafka", "postgresql_unflushed", "postgresql_neither_flushed")):
        a, b = rows[ours], rows[theirs]
        found["throughput_vs_" + name] = round(a["throughput_per_second"] / max(b["throughput_per_second"], 0.1), 2)
        found["latency_p50_%s_over_ours" % name] = round(b["latency_p50_ms"] / max(a["latency_p50_ms"], 0.001), 2)
    limit, best = rows["limit"], rows["postgresql"]
    found["throughput_of_limit_vs_postgresql"] = round(
        limit["throughput_per_second"] / max(best["throughput_per_second"], 0.1), 2)
    found["latency_p50_postgresql_over_limit"] = round(best["latency_p50_ms"] / max(limit["latency_p50_ms"], 0.001), 2)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the release build's folder")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=2)
    parser.add_argument("--clients", type=counts, default="1,16,64")
    options = parser.parse_args()
    build = os.path.join(options.build, "tests", "bench")
    folder = tempfile.mkdtemp(prefix="concordat-bench-")
    figures = {}
    say("PostgreSQL loads %d reservations of %d servers" % (RESERVATIONS, SERVERS))
    postgresql = PostgreSQL(os.path.join(build, "reserve_bench"))
    try:
        broker = Broker(os.path.join(folder, "broker"))
        try:
            ours = Ours(build, broker, folder)
            for clients in options.clients:
                rows = {"limit": ours.limit(clients, options)}
                rows.update((way, ours.measure(way, clients, options)) for way in ("embedded", "kafka_flushed", "kafka"))
                rows["postgresql"] = best_of(postgresql, clients, options, True)
                rows["usual"] = rows["postgresql"]["formulations"]["lowest_free"]
                rows["postgresql_unflushed"] = best_of(postgresql, clients, options, False)
                figures["clients_%d" % clients] = {"clients": clients, **ratios(rows), "ways": rows}
        finally:
            broker.stop()
    finally:
        postgresql.stop()
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=2)
            file.write("\n")


def show(figures):
    print("| clients | way | reservations/s | p50 ms | p99 ms | formulation |")
    print("|---|---|---|---|---|---|")
    for group in figures.values():
        for way, row in group["ways"].items():
            print("| %d | %s | %.0f | %.3f | %.3f | %s |" % (
                group["clients"], TITLES[way], row["throughput_per_second"], row["latency_p50_ms"], row["latency_p99_ms"],
                row.get("formulation", "")))
    for name, group in figures.items():
        for key, value in group.items():
            if key.startswith(("throughput_vs", "latency_p50")):
                print("%s.%s = %s" % (name, key, value))


if __name__ == "__main__":
    main()
