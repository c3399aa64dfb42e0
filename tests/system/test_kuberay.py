"""The shipped manifest for KubeRay: keys and types, and what it says of safety and cost."""

import os
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from jsonschema import Draft7Validator

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from tests.system.kuberay_keys import OBJECTS, problems

ROOT = Path(__file__).parents[2]
FILE = ROOT / "clusters/kuberay.yaml"
CRDS = os.environ.get("KUBERAY_CRDS")
"""A folder with KubeRay's own ray.io_rayclusters.yaml and ray.io_rayjobs.yaml, of any version."""


def documents(text=None):
    """Return the manifest's documents by kind."""
    return {d["kind"]: d for d in yaml.safe_load_all(text or FILE.read_text())}


def pods():
    """Return every pod's labels and specification, by where it stands."""
    found = documents()
    cluster, job = found["RayCluster"]["spec"], found["RayJob"]["spec"]
    templates = {
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
        "submitter": job["submitterPodTemplate"],
    }
    return {name: template["spec"] for name, template in templates.items()}


def strict(schema):
    """Return a schema that refuses unknown keys, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    if "properties" in schema and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def test_every_key_is_one_of_kubernetes_or_kuberay():
    assert list(documents()) == ["ServiceAccount", "NetworkPolicy", "RayCluster", "RayJob"]
    for kind, document in documents().items():
        assert not list(problems(document, kind))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("authOptions:", "authOption:", ".spec.authOption: unknown"),
        ("mode: token", "mode: tokens", ".authOptions.mode: 'tokens' is none of ['disabled', 't"),
        ('num-cpus: "0"', "num-cpus: 0", ".rayStartParams.num-cpus: 0 is not a <class 'str'>"),
        ("minReplicas:", "minReplica:", ".workerGroupSpecs[0].minReplica: unknown"),
        ("runAsNonRoot: true", "runAsNonRoot: 1", "runAsNonRoot: 1 is not a <class 'bool'>"),
        ("secretKeyRef:", "secretRef:", ".valueFrom.secretRef: unknown"),
        ("clusterSelector:", "clusterSelectors:", ".spec.clusterSelectors: unknown"),
    ],
)
def test_a_key_that_is_wrong_is_refused(old, new, told):
    text = FILE.read_text()
    assert old in text
    found = documents(text.replace(old, new))
    lines = [line for kind, document in found.items() for line in problems(document, kind)]
    assert any(told in line for line in lines), lines


@pytest.mark.skipif(CRDS is None, reason="KUBERAY_CRDS names no folder with KubeRay's own schemas")
@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_kuberays_own_schemas_take_the_documents(kind):
    text = (Path(CRDS) / f"ray.io_{kind.lower()}s.yaml").read_text()
    versions = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
    schema["properties"].pop("metadata")  # Kubernetes' own, not spelt out there
    document = documents()[kind]
    document.pop("metadata")
    errors = Draft7Validator(strict(schema)).iter_errors(document)
    assert not [(list(error.absolute_path), error.message[:200]) for error in errors]
    known = schema["properties"]["spec"]["properties"]
    assert not OBJECTS[f"{kind}Spec"].keys() - known.keys(), "our own list has keys that are not"


def test_three_things_are_marked_and_there_is_no_more_to_change():
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    marked = {n: [line for line in lines if f"# ({n})" in line] for n in (1, 2, 3)}
    for number, word in ((1, "REGISTRY"), (2, "BUCKET"), (3, "ACCOUNT")):
        assert marked[number] == [line for line in lines if word in line] != []


def test_the_image_is_one_and_its_ray_is_ours():
    images = {container["image"] for pod in pods().values() for container in pod["containers"]}
    (image,) = images
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = [d for d in project["dependencies"] if d.startswith("ray[")]
    version = documents()["RayCluster"]["spec"]["rayVersion"]
    least = re.search(r">=([\d.]+)", ray)[1]
    assert version.startswith(f"{least}.")
    assert image.endswith(f":{project['version']}-ray{version}")
    recipe = "\n".join(line[1:].strip() for line in FILE.read_text().splitlines() if "#" in line)
    assert f"FROM rayproject/ray:{version}-py311-gpu" in recipe
    assert f'"neft-ray[s3]=={project["version"]}" "ray=={version}"' in recipe


def test_no_pod_runs_as_root_or_can_become_it():
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    confined = documents()["RayCluster"]["spec"]["autoscalerOptions"]["securityContext"]
    assert confined["allowPrivilegeEscalation"] is False


def test_only_the_head_may_ask_kubernetes_anything():
    mounts = {name: pod.get("automountServiceAccountToken", True) for name, pod in pods().items()}
    assert mounts == {"head": True, "gpu": False, "submitter": False}


def test_the_token_is_asked_for_and_only_the_clusters_own_pods_come_in():
    found = documents()
    cluster, policy = found["RayCluster"], found["NetworkPolicy"]["spec"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    own = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == own
    assert policy["policyTypes"] == ["Ingress"]
    inside, outside = policy["ingress"]
    assert inside == {"from": [{"podSelector": {"matchLabels": own}}]}
    assert outside["ports"] == [{"protocol": "TCP", "port": 8265}]
    submitter = found["RayJob"]["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    assert submitter in [peer["podSelector"]["matchLabels"] for peer in outside["from"]]
    assert all(peer["podSelector"]["matchLabels"] for peer in outside["from"])


def test_nothing_that_is_idle_stays():
    cluster = documents()["RayCluster"]["spec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] == 600
    for group in cluster["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all(pod["restartPolicy"] == "Never" for pod in pods().values())  # as the autoscaler asks


def test_every_container_says_what_it_takes():
    for pod in pods().values():
        for container in pod["containers"]:
            needs = container["resources"]
            assert {"cpu", "memory"} <= needs["requests"].keys() == needs["limits"].keys()
            assert needs["requests"]["memory"] == needs["limits"]["memory"]
    (worker,) = pods()["gpu"]["containers"]
    needs = worker["resources"]
    assert needs["requests"]["nvidia.com/gpu"] == needs["limits"]["nvidia.com/gpu"]


def test_the_job_runs_a_sweep_on_the_cluster(tmp_path):
    found = documents()
    job = found["RayJob"]["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": found["RayCluster"]["metadata"]["name"]}
    words = shlex.split(job["entrypoint"])
    assert words[:2] == ["neft-ray", "sweep"]
    command = typer.main.get_command(app).commands["sweep"]
    context = command.make_context("sweep", words[2:])
    (head,) = pods()["head"]["containers"]
    (mount,) = [m for m in head["volumeMounts"] if m["name"] == "sweep"]
    assert str(context.params["file"]) == f"{mount['mountPath']}/sweep.yaml"
    recipe = re.search(r"configmap (\S+) --from-file=(\S+)=", FILE.read_text())
    (volume,) = [v for v in pods()["head"]["volumes"] if v["name"] == "sweep"]
    assert (volume["configMap"]["name"], recipe[2]) == (recipe[1], "sweep.yaml")
    config = load_sweep(ROOT / "sweeps/quickstart.yaml", context.params["overrides"])
    assert config.storage == "s3://BUCKET/runs"
    # Its submitter puts the words into a shell as they are
    assert job["entrypoint"] == shlex.join(words)
