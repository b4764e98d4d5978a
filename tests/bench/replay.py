"""Measures how fast a stream is folded again, for streams of several lengths, and prints a table.

  replay.py --build DIR [--json FILE] [--events 100000,1000000]

docs/performance.md explains the figures.
"""

import argparse
import json
import os
import subprocess
import tempfile

from commit import counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--json")
    parser.add_argument("--events", type=counts, default="100000,1000000", help="add 10000000 for the long run")
    options = parser.parse_args()
    runs = []
    for events in options.events:
        with tempfile.TemporaryDirectory(prefix="concordat-replay-") as folder:
            done = subprocess.run([os.path.join(options.build, "tests", "bench", "replay_bench"), "--events", str(events),
                                   "--dir", os.path.join(folder, "run")], stdout=subprocess.PIPE, check=True, text=True)
        run = json.loads(done.stdout)
        runs.append(run)
        print(f"{run['events']:>9} events: read {run['consume_per_second']}/s, RocksDB alone "
              f"{run['rocksdb_alone_per_second']}/s, replay {run['replay_per_second']}/s: "
              f"{run['rate_vs_rocksdb']} of RocksDB; {run['disk_bytes_per_event']} bytes an event on disk, "
              f"{run['serving_resident_bytes'] / 1e6:.0f} MB resident, serving {run['seconds_to_serve_after_kill']} s "
              f"after kill -9", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"replay": {"rate_vs_rocksdb": runs[-1]["rate_vs_rocksdb"], "runs": runs}}, file, indent=1)


if __name__ == "__main__":
    main()
