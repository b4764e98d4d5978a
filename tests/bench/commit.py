"""Measures ways to commit side by side, in one run on one broker, and prints a table and ratios.

  commit.py --build DIR [--json FILE] [--seconds N] [--warmup N] [--clients 1,16,128] [--saturation 8192]

docs/performance.md explains what each way does and how to read the figures.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KAFKA = os.path.join(ROOT, "deploy", "kafka", "kafka.py")
STREAMS = os.path.join(ROOT, "tests", "bench", "streams", "run.py")
# The commit intervals that served Kafka Streams best; tests/bench/streams/README.md has the search.
STREAMS_BEST_MS = {1: 5, 16: 5, 128: 20}
STREAMS_BEST_AT_SATURATION_MS = 100
WARM_SECONDS = 20
WAYS = ["raw", "writer", "grpc", "streams_default", "streams_best"]
TITLES = {"raw": "librdkafka alone (the limit)", "writer": "Concordat", "grpc": "Concordat behind gRPC",
          "streams_default": "Kafka Streams, default", "streams_best": "Kafka Streams, best setting"}


def counts(text):
    """A list of numbers as argparse takes it."""
    try:
        numbers = [int(part) for part in text.split(",") if part]
    except ValueError:
        numbers = [0]
    if min(numbers, default=1) < 1:
        raise argparse.ArgumentTypeError("found %r, expected whole numbers from 1 on, with commas between them" % text)
    return numbers


def named_ways(text):
    """A list of ways, in the order in which they are measured."""
    wanted = text.split(",")
    unknown = [way for way in wanted if way not in WAYS]
    if unknown:
        raise argparse.ArgumentTypeError("found %r, expected some of %s" % (unknown[0], ",".join(WAYS)))
    return [way for way in WAYS if way in wanted]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Broker:
    """A broker as Kafka's own start script runs it; every way gets the same flush settings: Kafka's."""

    def __init__(self, folder):
        self.process = subprocess.Popen([sys.executable, KAFKA, "broker", "--dir", folder, "--benchmark", "--until-stdin-closes"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("READY "):
            raise SystemExit("commit.py: the broker did not start: %r; see %s" % (line, folder))
        self.bootstrap = json.loads(line[6:])["bootstrap"]

    def topic(self, name):
        subprocess.run([sys.executable, KAFKA, "topic", "--bootstrap", self.bootstrap, "--create", name, "--mirrored"],
                       check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def run(command, way):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("commit.py: %s failed:\n%s%s" % (way, done.stdout[-2000:], done.stderr[-4000:]))
    return json.loads(done.stdout[done.stdout.index("{"):])


def measure(way, clients, saturated, broker, options, folder, number):
    if way.startswith("streams"):
        best = STREAMS_BEST_AT_SATURATION_MS if saturated else STREAMS_BEST_MS.get(clients, 20)
        interval = "default" if way == "streams_default" else str(best)
        result = run([sys.executable, STREAMS, "--bootstrap", broker.bootstrap, "--clients", str(clients), "--seconds",
                      str(round(options.seconds)), "--warmup", str(round(max(options.warmup, 5))), "--commit-interval-ms", interval], way)
        return streams_row(result, clients, interval)
    site = "bench%d" % number
    broker.topic("%s.inventory.events" % site)
    return run([os.path.join(options.build, "tests", "bench", "commit_bench"), "--mode", way, "--bootstrap", broker.bootstrap,
                "--site", site, "--dir", os.path.join(folder, site), "--clients", str(clients), "--seconds", str(options.seconds),
                "--warmup", str(options.warmup)], way)


def streams_row(result, clients, interval):
    rows = result.get("results", result)
    row = rows.get(str(clients)) if isinstance(rows, dict) else next(r for r in rows if r["clients"] == clients)
    return {"throughput_per_second": row["throughput_per_second"], "latency_p50_ms": row["latency_p50_ms"],
            "latency_p99_ms": row["latency_p99_ms"], "commands": row["commands"], "commit_interval_ms": interval}


def ratios(rows):
    """Ours against each other way that was measured; nothing where ours was not."""
    ours = rows.get("writer")
    found = {}
    if ours is None:
        return found
    for key, way in (("raw", "raw"), ("kafka_streams", "streams_default"), ("kafka_streams_best", "streams_best")):
        if way not in rows or not rows[way]["throughput_per_second"]:
            continue
        found["throughput_vs_" + key] = round(ours["throughput_per_second"] / rows[way]["throughput_per_second"], 3)
        if way == "raw":
            found["latency_p50_vs_raw"] = round(ours["latency_p50_ms"] / max(rows[way]["latency_p50_ms"], 0.001), 3)
        else:
            found["latency_p50_%s_over_ours" % key] = round(rows[way]["latency_p50_ms"] / max(ours["latency_p50_ms"], 0.001), 1)
    if "grpc" in rows:
        found["grpc_throughput_vs_writer"] = round(rows["grpc"]["throughput_per_second"] / ours["throughput_per_second"], 3)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the release build's folder")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=2)
    parser.add_argument("--clients", type=counts, default="1,16,128")
    parser.add_argument("--saturation", type=int, default=8192)
    parser.add_argument("--ways", type=named_ways, default=",".join(WAYS), help="some of: " + ",".join(WAYS))
    options = parser.parse_args()
    ways = options.ways
    folder = tempfile.mkdtemp(prefix="concordat-bench-")
    broker = Broker(os.path.join(folder, "broker"))
    figures, number = {}, 0
    try:
        say("warming the broker up: what is measured first would pay for its compiler otherwise")
        measure("raw", options.saturation, True, broker, argparse.Namespace(build=options.build, seconds=WARM_SECONDS, warmup=1),
                folder, number)
        for clients in options.clients + [options.saturation]:
            saturated = clients == options.saturation
            name = "saturation" if saturated else "clients_%d" % clients
            rows = {}
            for way in ways:
                number += 1
                say("%s, %d clients" % (TITLES[way], clients))
                rows[way] = measure(way, clients, saturated, broker, options, folder, number)
            figures[name] = {"clients": clients, **ratios(rows), "ways": rows}
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("%-30s %8s %14s %10s %10s %12s" % ("", "clients", "commands/s", "p50 ms", "p99 ms", "against raw"))
    for group in figures.values():
        for way, row in group["ways"].items():
            limit = group["ways"].get("raw", {}).get("throughput_per_second")
            print("%-30s %8d %14.0f %10.3f %10.3f %12s" % (
                TITLES[way], group["clients"], row["throughput_per_second"], row["latency_p50_ms"], row["latency_p99_ms"],
                "%.2f" % (row["throughput_per_second"] / limit) if limit else "-"))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
