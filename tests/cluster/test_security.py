"""What somebody reaches who knows no secret; where the secrets are.

What a stranger may do is written down here word by word, so that more never comes unnoticed.
"""

import base64
import configparser
import json
import os
import re

import pytest

from tests.cluster.hosts import Hosts, why_not
from tests.cluster.onprem import Cluster
from tests.cluster.seen import files_with, listeners, processes, processes_with
from tests.cluster.stranger import TOKEN
from tests.cluster.waiting import submitted, wait_for_report, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(900),
]

SHORT = {"sweep": {"space": {"noise.alpha": {"choice": [5]}}}, "training": {"epochs": 6}}
WORKER = [
    ("ray::DashboardAgent", "grpc"),
    ("ray::DashboardAgent", "http"),
    ("ray::RuntimeEnvAgent", "http"),
    ("raylet", "grpc"),  # leases of workers
    ("raylet", "grpc"),  # objects
    ("sshd", "ssh"),
]
"""What is open at rest, by who listens and what is spoken."""
HEAD = sorted(
    [*WORKER, ("gcs_server", "grpc"), ("ray.util.client.server", "grpc"), ("uvicorn", "http")]
)
IN_A_TRIAL = {("neft_ray.cli", "grpc"), ("ray::", "grpc"), ("ray::RayTrainWorker", "grpc")}
TORCH = ("ray::RayTrainWorker", "silent")
"""Where PyTorch's workers meet. They ask nobody who he is: see docs/clusters.md."""
ANSWERED = ("/grpc.health.v1.", "/grpc.channelz.v1.", "/grpc.reflection.v1alpha.")
"""What every server of Ray tells anybody: that it is alive, its connections, its calls' names."""
MLFLOW_TELLS = {
    "GET /health": 200,
    "GET /api/3.0/mlflow/server-info": 200,
    "GET /ajax-api/3.0/mlflow/server-info": 200,
    "GET /static-files/index.html": 200,  # the program of its pages, without data
    "GET /static-files/x": 404,
}
MLFLOW = [
    "GET /",
    "GET /api/2.0/mlflow/runs/get",
    "POST /api/2.0/mlflow/experiments/create",
    "GET /api/2.0/mlflow-artifacts/artifacts/x",
    "PUT /api/2.0/mlflow-artifacts/artifacts/x",
    "POST /v1/traces",
    "POST /ajax-api/3.0/mlflow/assistant/message",
]
AGENT_TELLS = ["GET /api/healthz", "GET /api/local_raylet_healthz"]
AGENT_PORT = 52365
AGENT = [
    *AGENT_TELLS,
    "GET /",
    "GET /api/job_agent/jobs/",
    "POST /api/job_agent/jobs/",
    "GET /logs",
]
ENVIRONMENTS = ["GET /", "POST /get_or_create_runtime_env", "POST /get_runtime_envs_info"]
INTRUDE = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
ray.get(ray.remote(lambda: open("/tmp/shared/intruded", "w")).remote())
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster at rest, and one more host on its network: the stranger's."""
    with Hosts(tmp_path_factory.mktemp("lab") / "hosts", 5) as hosts:
        cluster = Cluster(hosts)
        cluster.typed("ray up --yes onprem.yaml")
        wait_until(lambda: len(listeners(cluster.workers[1])) >= len(WORKER))
        yield cluster


@pytest.fixture(scope="module")
def stranger(cluster):
    """Somebody on the network who has no key, token or password."""
    return cluster.hosts.all[4]


@pytest.fixture(scope="module")
def trial(cluster):
    """The name of a sweep, one of whose trials trains."""
    name = submitted(
        cluster.neft_ray("submit", cluster.sweep_file(**SHORT), "--cluster", "onprem.yaml")
    )
    wait_for_report(cluster, name, 0)
    return name


def tries(stranger, what, *given):
    """What the stranger finds."""
    words = " ".join(f"'{word}'" for word in (what, *given))
    return json.loads(stranger.run(f"python -m tests.cluster.stranger {words}").stdout)


def open_to(stranger, host):
    """What is open to the stranger: who listens and what is spoken, in order.

    Every server of gRPC asks for the token, whatever is called, but for what any of them tells.
    """
    names = listeners(host)
    found = tries(stranger, "survey", host.address)
    names |= listeners(host)
    opened = []
    for port, (spoken, answers) in found.items():
        opened.append((names.get(int(port), "nobody"), spoken))
        if spoken == "grpc":
            assert answers.pop("UNAUTHENTICATED"), opened[-1]
            more = {method for those in answers.values() for method in those}
            assert not {method for method in more if not method.startswith(ANSWERED)}, opened[-1]
    return sorted(opened)


def test_ssh_takes_keys_alone_and_not_a_strangers(cluster, stranger):
    stranger.run("ssh-keygen -q -t ed25519 -N '' -f .ssh/own")
    for host in cluster.everyone():
        options = "-i .ssh/own -o BatchMode=yes -o StrictHostKeyChecking=no"
        done = stranger.run(f"ssh {options} root@{host.address} true", check=False)
        assert done.returncode == 255
        assert "Permission denied (publickey)." in done.stderr


def test_at_rest_these_ports_are_open_and_ask_for_the_token(cluster, stranger):
    for host in cluster.everyone():
        assert open_to(stranger, host) == (HEAD if host is cluster.head else WORKER)


def test_agents_ask_for_the_token(cluster, stranger):
    for host in (cluster.head, cluster.workers[0]):
        (other,) = [p for p, name in listeners(host).items() if name == "ray::RuntimeEnvAgent"]
        for port, lines in ((AGENT_PORT, AGENT), (other, ENVIRONMENTS)):
            for word, status in (("", 401), (TOKEN, 403)):
                found = tries(stranger, "requests", host.address, port, word, *lines)
                told = {line: 200 for line in lines if line in AGENT_TELLS}
                assert found == dict.fromkeys(lines, status) | told


def test_mlflow_asks_for_its_password_whatever_is_asked(cluster, stranger):
    lines = mlflow_lines()
    assert len(lines) > 400
    found = tries(stranger, "requests", cluster.head.address, 5000, "", *lines)
    assert found == dict.fromkeys(lines, 401) | MLFLOW_TELLS
    for word in ("wrong", "password1234", TOKEN):
        found = tries(stranger, "requests", cluster.head.address, 5000, word, *MLFLOW)
        # a token in place of a password is an error of its own to some of its routes
        assert set(found.values()) <= ({401, 500} if word == TOKEN else {401}), word


def mlflow_lines():
    """One request for every route of MLflow's server."""
    os.environ.setdefault("MLFLOW_FLASK_SERVER_SECRET_KEY", "of this test")
    from mlflow.server import app
    from mlflow.server.fastapi_app import app as other

    routes = {(m, rule.rule) for rule in app.url_map.iter_rules() for m in rule.methods}
    routes |= {(m.upper(), path) for path, those in other.openapi()["paths"].items() for m in those}
    lines = {f"{m} {re.sub('[<{][^>}]*[>}]', 'x', path)}" for m, path in routes if m != "OPTIONS"}
    return sorted({line for line in lines if not line.startswith("HEAD")} | {*MLFLOW_TELLS})


def test_nobody_without_the_token_joins_ray_or_runs_anything(cluster, stranger):
    """Whoever speaks Ray's own language; `intruded` would be there after all."""
    jobs = "RAY_AUTH_MODE=token ray job list --address http://127.0.0.1:8265"
    before = cluster.head.run(jobs).stdout
    tokens = ("RAY_AUTH_MODE=disabled", f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={TOKEN * 4}")
    gcs = f"{cluster.head.address}:6379"
    (stranger.folder / "root/intrude.py").write_text(INTRUDE)
    tried = [(token, gcs) for token in tokens]
    for token, _ in tried:
        done = stranger.run(f"{token} ray status --address {gcs}", check=False)
        assert done.returncode and "AuthenticationError" in done.stderr
    tried.append((tokens[1], f"ray://{cluster.head.address}:10001"))
    lines = [f"({token} python intrude.py {place} || echo refused)" for token, place in tried]
    told = stranger.run(f"{' & '.join(lines)} & wait").stdout
    assert told.split().count("refused") == len(tried)
    assert cluster.head.run(jobs).stdout.split(" -- ")[-1] == before.split(" -- ")[-1]
    assert not (cluster.hosts.shared / "intruded").exists()


def test_while_a_trial_trains_pytorch_alone_asks_nobody(cluster, stranger, trial):
    seen = set()
    for host in cluster.everyone():
        found = set(open_to(stranger, host))
        assert found <= {*(HEAD if host is cluster.head else WORKER), *IN_A_TRIAL, TORCH}
        seen |= found
    assert seen >= IN_A_TRIAL | {TORCH}


def test_the_secrets_are_where_they_have_to_be_and_nowhere_else(cluster, trial):
    token = (cluster.home / ".ray/auth_token").read_text().strip()
    file = configparser.ConfigParser()
    file.read(cluster.head.folder / "root/.mlflow/credentials")
    password = file["mlflow"]["mlflow_tracking_password"]
    header = base64.b64encode(f"admin:{password}".encode()).decode()
    for host in cluster.everyone():
        is_head = host is cluster.head
        assert len(processes(host)) >= 5
        for secret in (token, password, header):
            assert not processes_with(host, secret, "cmdline"), host.name
        assert not processes_with(host, token, "environ"), host.name
        servers = {"mlflow", "uvicorn"} if is_head else set()
        assert processes_with(host, password, "environ") == servers
    cluster.neft_ray("logs", trial, "--cluster", "onprem.yaml")
    wait_until(
        lambda: "finished" in cluster.neft_ray("status", trial, "--cluster", "onprem.yaml").stdout
    )
    for host in cluster.everyone():
        assert files_with(host, token) == {"root/.ray/auth_token": 0o600}
        kept = {"root/.mlflow/credentials": 0o600} if host is cluster.head else {}
        assert files_with(host, password) == kept
        assert not files_with(host, header)
    shared = [p for p in cluster.hosts.shared.rglob("*") if p.is_file()]
    assert len(shared) > 20
    for path in shared:
        assert not any(s.encode() in path.read_bytes() for s in (token, password, header)), path


def test_what_ray_does_not_refuse_a_stranger_can_end_it(cluster, stranger):
    """Ray 2.60 reads a node's name before it asks for the token, and dies where there is none.

    Where this fails, Ray has learned better: then docs/clusters.md may say so.
    """
    host = cluster.workers[1]
    call = "grpc.insecure_channel('{}:{}').stream_stream('/ray.rpc.syncer.RaySyncer/StartSync')"
    for port in [port for port, name in listeners(host).items() if name == "raylet"]:
        code = f"import grpc; list({call.format(host.address, port)}(iter([b'']), timeout=5))"
        stranger.run(f'python -c "{code}"', check=False)
    wait_until(lambda: "raylet" not in listeners(host).values(), 30)
