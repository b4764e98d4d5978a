"""What the tests' sites have in common: a model, servers that passed their burn-in, a customer's contract."""
from cluster import RULES, SERVICES, eventually, rpc_all, stream

CONTRACT = "hsbc/frame"
MODEL = "vera-rubin-nvl144"
COUNTRIES = {"paris": ("FR", "Europe/Paris"), "borlange": ("SE", "Europe/Stockholm")}


def embedded(cluster, **settings):
    """One process with two sites on the embedded log, and the command line for it."""
    addresses = {site: cluster.address() for site in COUNTRIES}
    config = {"profile": "demo", "log": "embedded", "data_dir": str(cluster.folder / "data"),
              "manual_clock_start": "2027-01-04T08:00:00Z",
              "sites": [{"name": site, "grpc": address} for site, address in addresses.items()], **settings}
    return config, addresses


def open_site(shell, site):
    country, zone = COUNTRIES[site]
    shell("open", "site", site, "--site", site, "--country", country, "--time-zone", zone, "--certifications", "HDS")
    shell("set", "envelope", site, "--site", site, "--effective-from", "now", "--it-power-watts", "40MW",
          "--cooling-watts", "40MW")
    shell("register", "model", MODEL, "--site", site, "--vendor", "nvidia", "--accelerators", "144",
          "--it-power-watts", "190kW", "--cooling-watts", "190kW", "--criteria", "gpu_gemm_tflops=2400..:tflops",
          "--criteria", "ecc_errors=0..0:count")


def order_server(shell, site, server):
    return shell("order", "server", server, "--site", site, "--model", MODEL, "--supplier", "nvidia",
                 "--promised-time", "+30d")


def order_all(address, site, servers):
    """The same at a process, for many and with a request id each: what each was answered."""
    return rpc_all(address, "concordat.inventory.v1.InventoryService/OrderServer", [
        {"submit": {"requestId": f"order-{server}"}, "name": f"sites/{site}/servers/{server}",
         "model": f"models/{MODEL}", "supplier": "nvidia", "promisedTime": "2027-06-01T00:00:00Z"}
        for server in servers])


def install_server(shell, site, server, position):
    order_server(shell, site, server)
    shell("deliver", "server", server, "--site", site, "--serial", f"SN-{server}")
    shell("install", "server", server, "--site", site, "--room", "a", "--rack", "01", "--position", position,
          "--nvlink-domain", "a01", "--power-feed", "feed-a")


def run_burn_in(shell, site, server, tflops=2510):
    shell("test", "server", server, "--site", site, "--figures", f"gpu_gemm_tflops={tflops}:tflops,ecc_errors=0:count")


def commission(shell, site, server, position):
    """A server from its order into service."""
    install_server(shell, site, server, position)
    run_burn_in(shell, site, server)
    shell("commission", "server", server, "--site", site)


def sign_contract(shell, site="paris", start="2027-01-01", end="2030-01-01"):
    shell("register", "customer", "hsbc", "--site", site, "--display-name", "HSBC", "--country", "GB", "--sector",
          "FINANCE")
    shell("sign", "contract", CONTRACT, "--site", site, "--sites", "paris,borlange", "--max-servers-per-site", "8",
          "--accelerators", "100000", "--accelerator-hours", "1000000000", "--start-time", start, "--end-time", end,
          "--data-classes", "PUBLIC,FINANCIAL")


def adopt_rule(shell, site, rule):
    shell("adopt", "rule", "-f", RULES / f"{rule}.yaml", "--site", site)


def reserve(shell, site, start, end, count=1, purpose="inference", at=None, code=0, options=()):
    """Asks for servers; the outcome."""
    return shell.json("reserve", "--site", site, *(("--at", at) if at else ()), "--contract", CONTRACT, "--model",
                      MODEL, "--count", count, "--start-time", start, "--end-time", end, "--purpose", purpose,
                      "--data-classes", "PUBLIC", "--project", "risk", *options, code=code)


def wait_bookable(shell, site, servers):
    """Reservations hears of servers by events; until then it has none to give."""
    def known():
        records = shell.get("server_records", site=site)["resources"]
        return sum(record["server"].get("bookable", False) for record in records) >= servers
    eventually(known, what=f"{servers} bookable servers at {site}")


def wait_contract(shell, site):
    eventually(lambda: shell.run("get", "contract", CONTRACT, "--site", site).code == 0, what=f"the contract at {site}")


def furnish(shell, sites, servers=2, **contract):
    """Open sites with servers in service and a contract over all of them; `contract`: its start and end."""
    for site in sites:
        open_site(shell, site)
        for number in range(1, servers + 1):
            commission(shell, site, f"a01-0{number}", number)
    sign_contract(shell, sites[0], **contract)
    for site in sites:
        wait_bookable(shell, site, servers)
        wait_contract(shell, site)


def all_streams(sites=("paris", "borlange")):
    return [stream(site, service) for site in sites for service in SERVICES]
