"""Measures how long the command line takes to import servers from a CSV file: tried, carried out, and once more.

  import.py --build DIR [--json FILE] [--lines 10000]

A node with one site on the embedded log and the command line run as processes, as they do for a site's staff. Each line is
planned, ordered, delivered and installed: four commands.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

TITLES = "name,model,planned_time,supplier,promised_time,serial,room,rack,position"
RACK_UNITS = 40


def lines(count):
    for i in range(count):
        yield (f"s{i:05},example-8,2028-01-01,example,2027-12-01,SN{i:05},hall,r{i // RACK_UNITS:04},"
               f"{i % RACK_UNITS + 1}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--json")
    parser.add_argument("--lines", type=int, default=10000)
    options = parser.parse_args()
    if not 1 <= options.lines <= 1_000_000:
        parser.error(f"--lines: found {options.lines}, expected from 1 to 1000000")
    build = Path(options.build).resolve()
    os.environ["CONCORDATD"] = str(build / "services" / "node" / "concordatd")
    os.environ["CONCORDAT"] = str(build / "services" / "cli" / "concordat")
    from cluster import Cluster, Shell
    import story

    cluster = Cluster()
    try:
        config, addresses = story.embedded(cluster)
        cluster.node("node", config).start()
        shell = Shell(cluster, {site: {"address": address} for site, address in addresses.items()})
        shell("open", "site", "paris", "--country", "FR", "--time-zone", "Europe/Paris")
        shell("register", "model", "example-8", "--vendor", "example", "--accelerators", 8, "--it-power-watts", "10kW",
              "--cooling-watts", "10kW", "--height-units", 1, "--criteria", "ecc_errors=0..0:count")
        file = cluster.folder / "servers.csv"
        file.write_text("\n".join([TITLES, *lines(options.lines)]) + "\n")
        runs = {}
        for what, words in (("dry_run", ["--dry-run"]), ("import", []), ("again", [])):
            begin = time.monotonic()
            report = shell.json("import", "servers", file, *words, "--site", "paris", "--timeout", "600s")
            runs[what] = {"seconds": round(time.monotonic() - begin, 2), **report}
            if report["bad"] or report["good"] != options.lines:
                sys.exit(f"import.py: {what}: {report}")
            print(f"{what:>8}: {options.lines} lines, {report['commands']:.0f} commands, "
                  f"{report['carriedOutBefore']:.0f} of them carried out before, {runs[what]['seconds']:.1f} s", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"import": {"lines": options.lines, **runs}}, indent=1) + "\n")
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
