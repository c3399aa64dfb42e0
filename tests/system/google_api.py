"""Plays Google's API, as far as Ray and doctor ask it: it answers from memory."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import httplib2

ADDRESS = "203.0.113.7/32"
TOKEN = {"type": "credentials_token", "credentials": "none"}
"""How to log in, for Ray: as long as it does not expire nobody is asked."""
NETWORK = "https://www.googleapis.com/compute/v1/projects/mine/global/networks/neft-ray"
SSH = {
    "name": "ssh",
    "network": NETWORK,
    "direction": "INGRESS",
    "sourceRanges": [ADDRESS],
    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
    "targetTags": ["neft-ray"],
}


class Google:
    """Answers, and remembers what it was asked and which machines it has.

    Attributes:
        rules: Of the firewall.
        machines: What `instances.insert` was asked for, by name.
        asked: Every method and address.
    """

    def __init__(self):
        self.rules, self.machines, self.asked = [SSH], {}, []

    def request(self, http, uri, method="GET", body=None, headers=None, **options):
        """Answer in place of `httplib2.Http.request`."""
        self.asked.append(f"{method} {uri.partition('?')[0]}")
        path = urlsplit(uri).path.removeprefix("/")
        if path.endswith("/instances") and method == "GET":
            status, answer = 200, {"items": self.running(parse_qs(urlsplit(uri).query))}
        else:
            status, answer = self.answer(method, path, json.loads(body) if body else None)
        return httplib2.Response({"status": status}), json.dumps(answer).encode()

    def running(self, query):
        """Return the machines with the labels that are asked for."""
        wanted = re.findall(r"labels\.([\w-]+) = ([^)]+)", query["filter"][0])
        address = [{"networkIP": "10.0.0.2", "accessConfigs": [{"natIP": "203.0.113.99"}]}]
        return [
            body | {"status": "RUNNING", "networkInterfaces": address}
            for body in self.machines.values()
            if all(body["labels"].get(key) == value for key, value in wanted)
        ]

    def answer(self, method, path, body):
        operation = {"name": "done", "status": "DONE", "done": True}
        if method == "POST" and path.endswith("/instances"):
            self.machines[body["name"]] = body
            return 200, operation
        if path.endswith("/firewalls"):
            return 200, {"items": self.rules}
        if path.endswith("/networks/other"):
            return 404, {"error": {"message": "The resource other was not found"}}
        if path.endswith(":getIamPolicy"):
            return 200, {"bindings": []}
        if "/serviceAccounts/" in path:
            return 200, {"email": path.rpartition("/")[2], "projectId": "mine"}
        if path.endswith("projects/mine") and "compute" not in path:
            return 200, {"projectId": "mine", "lifecycleState": "ACTIVE"}
        if path.endswith("projects/mine"):
            return 200, {"name": "mine", "commonInstanceMetadata": {}}
        return 200, operation
