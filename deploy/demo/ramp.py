"""Eighteen months in which two sites grow from their first racks to all that their power allows.

Plans are made once, at the beginning. Then each month servers are ordered, promised, late, delivered, installed,
tested, repaired and commissioned; what became of the plan is read from the sites, not from here.
"""

import datetime
import json

MODEL = "vera-rubin-nvl144"
LEAD_MONTHS = 2
GOOD = [{"name": "gpu_gemm_tflops", "value": 2510, "unit": "tflops"}, {"name": "ecc_errors", "value": 0, "unit": "count"}]
BAD = [{"name": "gpu_gemm_tflops", "value": 2180, "unit": "tflops"}, {"name": "ecc_errors", "value": 3, "unit": "count"}]

# Racks a month, of 190 kW each. Paris has 40 MW and Borlänge 23 MW; what the story has built before is added to it.
PLANS = {
    "paris": (3, [4, 6, 8, 8, 10, 12, 12, 12, 12, 14, 14, 14, 14, 14, 14, 14, 12, 10]),
    "borlange": (3, [0, 0, 2, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]),
}
# What goes wrong: site, month of the plan, how many, by how many months, why.
SLIPS = [
    ("paris", 4, 5, 1, "SLIP_CAUSE_SUPPLIER", "HBM4 was short at the maker"),
    ("paris", 9, 6, 2, "SLIP_CAUSE_SUPPLIER", "a lot of NVLink switches was called back"),
    ("borlange", 5, 3, 1, "SLIP_CAUSE_TRANSPORT", "the ferry from Rostock did not sail"),
    ("borlange", 11, 4, 1, "SLIP_CAUSE_SITE", "the second transformer came late"),
]


def month_name(index, first):
    """`2027-03` of the month so many after the first."""
    months = first.year * 12 + first.month - 1 + index
    return f"{months // 12}-{months % 12 + 1:02}"


class Rack:
    """One server of the plan, which is a rack of its own."""

    def __init__(self, site, number, month):
        self.name = f"sites/{site}/servers/b{number:03}"
        self.site, self.number, self.planned, self.due = site, number, month, month
        self.serial = f"VR-{site}-B{number:04}"
        self.place = f"sites/{site}/racks/b-b{number:03}"
        self.fails = number % 24 == 11  # its first burn-in


class Ramp:
    def __init__(self, demo, first):
        self.demo, self.first = demo, datetime.date.fromisoformat(first)
        self.folder = demo.machinery.folder / "ramp"
        self.folder.mkdir()
        self.racks = []
        for site, (_, months) in PLANS.items():
            numbers = iter(range(1, sum(months) + 1))
            self.racks += [Rack(site, next(numbers), month) for month, count in enumerate(months) for _ in range(count)]

    @property
    def months(self):
        return len(PLANS["paris"][1])

    def at(self, month, day="01T08:00:00Z"):
        return f"{month_name(month, self.first)}-{day}"

    def submit(self, verb, kind, site, requests):
        """One command with a document for each of the requests."""
        if not requests:
            return
        path = self.folder / "requests.yaml"
        path.write_text("\n---\n".join(json.dumps(request) for request in requests))
        self.demo.quietly(verb, kind, "--site", site, "-f", str(path))

    def plan(self):
        for site in PLANS:
            racks = [rack for rack in self.racks if rack.site == site]
            self.submit("define", "rack", site, [
                {"name": rack.place, "room": "b", "rack": f"b{rack.number:03}", "heightUnits": 48} for rack in racks])
            self.submit("plan", "server", site, [
                {"name": rack.name, "model": f"models/{MODEL}", "rack": rack.place,
                 "plannedTime": self.at(rack.planned, "25T00:00:00Z")} for rack in racks])

    def order(self, site, month):
        # In the first month all that is wanted before a first order could arrive, too.
        orders = [rack for rack in self.racks if rack.site == site and
                  (rack.planned == month + LEAD_MONTHS or (month == 0 and rack.planned < LEAD_MONTHS))]
        number = f"PO-{site}-{month_name(month, self.first)}"
        self.submit("order", "server", site, [
            {"name": rack.name, "model": f"models/{MODEL}", "supplier": "nvidia", "orderNumber": number,
             "promisedTime": self.at(rack.planned, "10T00:00:00Z")} for rack in orders])
        # What does not stand in the supplier's manifest is not accepted at the door.
        self.submit("record", "manifest", site, [
            {"name": f"sites/{site}/manifests/{number.lower()}", "orderNumber": number, "supplier": "nvidia",
             "serials": [rack.serial for rack in orders]}] if orders else [])

    def slip(self, site, month):
        for slip_site, slip_month, count, by, cause, detail in SLIPS:
            if (slip_site, slip_month) != (site, month):
                continue
            late = [rack for rack in self.racks if rack.site == site and rack.planned == month][:count]
            for rack in late:
                rack.due = month + by
            self.submit("slip", "server", site, [
                {"name": rack.name, "promisedTime": self.at(rack.due, "10T00:00:00Z"), "cause": cause, "detail": detail}
                for rack in late])
            self.demo.say(f"  {len(late)} racks of {site} slip by {by} month{'s' * (by > 1)}: {detail}")

    def build(self, site, month):
        """Everything that is due in the month; returns how many racks failed at first."""
        due = [rack for rack in self.racks if rack.site == site and rack.due == month]
        names = [{"name": rack.name} for rack in due]
        failing = [rack for rack in due if rack.fails]
        self.submit("deliver", "server", site, [
            {"name": rack.name, "serial": rack.serial} for rack in due])
        self.submit("install", "server", site, [
            {"name": rack.name, "room": "b", "rack": f"b{rack.number:03}", "position": 1,
             "nvlinkDomain": f"b{rack.number:03}", "powerFeed": f"feed-{'ab'[rack.number % 2]}"} for rack in due])
        self.submit("test", "server", site, [{"name": rack.name, "figures": BAD} for rack in failing])
        self.submit("repair", "server", site, [
            {"name": rack.name, "detail": "a compute tray was replaced"} for rack in failing])
        self.submit("test", "server", site, [{"name": rack.name, "figures": GOOD} for rack in due])
        self.submit("commission", "server", site, names)
        return len(failing)

    def tell(self):
        demo = self.demo
        demo.title("Eighteen months: both sites grow to all that their power allows")
        for site, (_, months) in PLANS.items():
            demo.say(f"{site} plans {sum(months)} more racks")
        self.plan()
        for month in range(self.months):
            demo.quietly("clock", "set", self.at(month))
            failed = 0
            for site in PLANS:
                self.order(site, month)
                self.slip(site, month)
            demo.quietly("clock", "set", self.at(month, "20T08:00:00Z"))
            for site in PLANS:
                failed += self.build(site, month)
            built = {site: sum(rack.site == site and rack.due == month for rack in self.racks) for site in PLANS}
            demo.say(f"{month_name(month, self.first)}  {built['paris']:2} racks into service in Paris, "
                     f"{built['borlange']:2} in Borlänge{f', {failed} repaired first' if failed else ''}")
