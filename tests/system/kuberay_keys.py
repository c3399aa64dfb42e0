"""The keys of KubeRay 1.5 and of Kubernetes that a manifest of ours may use, and their types.

Written down from the API references: of KubeRay's own objects every key of version 1.5, of
Kubernetes' those that are of use here. A class is a type, `[x]` a list of x, `{str: x}` a mapping
with any keys, a set the words that are allowed, a name another object.
"""

from collections.abc import Iterator
from typing import Any

TEXTS = {str: str}
QUANTITY = (str, int)
"""Such as 500m, 16Gi or 4."""
OBJECTS: dict[str, dict[str, Any]] = {
    "RayCluster": {
        "apiVersion": {"ray.io/v1"},
        "kind": {"RayCluster"},
        "metadata": "Metadata",
        "spec": "RayClusterSpec",
    },
    "RayClusterSpec": {
        "authOptions": "AuthOptions",
        "autoscalerOptions": "AutoscalerOptions",
        "enableInTreeAutoscaling": bool,
        "gcsFaultToleranceOptions": dict,
        "headGroupSpec": "HeadGroupSpec",
        "headServiceAnnotations": TEXTS,
        "managedBy": str,
        "rayVersion": str,
        "suspend": bool,
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "AuthOptions": {"mode": {"disabled", "token"}},
    "AutoscalerOptions": {
        "env": ["EnvVar"],
        "envFrom": list,
        "idleTimeoutSeconds": int,
        "image": str,
        "imagePullPolicy": str,
        "resources": "Resources",
        "securityContext": "ContainerSecurity",
        "upscalingMode": {"Default", "Aggressive", "Conservative"},
        "version": {"v1", "v2"},
        "volumeMounts": ["VolumeMount"],
    },
    "HeadGroupSpec": {
        "enableIngress": bool,
        "headService": dict,
        "labels": TEXTS,
        "rayStartParams": TEXTS,
        "resources": TEXTS,
        "serviceType": str,
        "template": "PodTemplate",
    },
    "WorkerGroupSpec": {
        "groupName": str,
        "idleTimeoutSeconds": int,
        "labels": TEXTS,
        "maxReplicas": int,
        "minReplicas": int,
        "numOfHosts": int,
        "rayStartParams": TEXTS,
        "replicas": int,
        "resources": TEXTS,
        "scaleStrategy": dict,
        "suspend": bool,
        "template": "PodTemplate",
    },
    "RayJob": {
        "apiVersion": {"ray.io/v1"},
        "kind": {"RayJob"},
        "metadata": "Metadata",
        "spec": "RayJobSpec",
    },
    "RayJobSpec": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "clusterSelector": TEXTS,
        "deletionStrategy": dict,
        "entrypoint": str,
        "entrypointNumCpus": (int, float),
        "entrypointNumGpus": (int, float),
        "entrypointResources": str,
        "jobId": str,
        "managedBy": str,
        "metadata": TEXTS,
        "rayClusterSpec": "RayClusterSpec",
        "runtimeEnvYAML": str,
        "shutdownAfterJobFinishes": bool,
        "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
        "submitterConfig": dict,
        "submitterPodTemplate": "PodTemplate",
        "suspend": bool,
        "ttlSecondsAfterFinished": int,
    },
    "ServiceAccount": {
        "apiVersion": {"v1"},
        "kind": {"ServiceAccount"},
        "metadata": "Metadata",
        "automountServiceAccountToken": bool,
    },
    "NetworkPolicy": {
        "apiVersion": {"networking.k8s.io/v1"},
        "kind": {"NetworkPolicy"},
        "metadata": "Metadata",
        "spec": "NetworkPolicySpec",
    },
    "NetworkPolicySpec": {
        "podSelector": "Selector",
        "policyTypes": [{"Ingress", "Egress"}],
        "ingress": ["IngressRule"],
    },
    "IngressRule": {"from": ["Peer"], "ports": ["PolicyPort"]},
    "Peer": {"podSelector": "Selector", "namespaceSelector": "Selector"},
    "PolicyPort": {"protocol": {"TCP", "UDP"}, "port": (int, str)},
    "Selector": {"matchLabels": TEXTS},
    "Metadata": {"name": str, "namespace": str, "labels": TEXTS, "annotations": TEXTS},
    "PodTemplate": {"metadata": "Metadata", "spec": "PodSpec"},
    "PodSpec": {
        "automountServiceAccountToken": bool,
        "containers": ["Container"],
        "nodeSelector": TEXTS,
        "restartPolicy": {"Always", "OnFailure", "Never"},
        "securityContext": "PodSecurity",
        "serviceAccountName": str,
        "terminationGracePeriodSeconds": int,
        "tolerations": ["Toleration"],
        "volumes": ["Volume"],
    },
    "PodSecurity": {
        "fsGroup": int,
        "runAsGroup": int,
        "runAsNonRoot": bool,
        "runAsUser": int,
        "seccompProfile": "Seccomp",
    },
    "Seccomp": {"type": {"RuntimeDefault", "Localhost", "Unconfined"}},
    "ContainerSecurity": {"allowPrivilegeEscalation": bool, "capabilities": "Capabilities"},
    "Capabilities": {"add": [str], "drop": [str]},
    "Toleration": {
        "key": str,
        "operator": {"Exists", "Equal"},
        "effect": {"NoSchedule", "NoExecute", "PreferNoSchedule"},
    },
    "Container": {
        "env": ["EnvVar"],
        "image": str,
        "name": str,
        "ports": ["Port"],
        "resources": "Resources",
        "securityContext": "ContainerSecurity",
        "volumeMounts": ["VolumeMount"],
    },
    "Port": {"name": str, "containerPort": int},
    "Resources": {"limits": {str: QUANTITY}, "requests": {str: QUANTITY}},
    "EnvVar": {"name": str, "value": str, "valueFrom": "EnvSource"},
    "EnvSource": {"secretKeyRef": "SecretKey"},
    "SecretKey": {"name": str, "key": str, "optional": bool},
    "VolumeMount": {"name": str, "mountPath": str, "readOnly": bool},
    "Volume": {"name": str, "configMap": "ConfigMapVolume", "emptyDir": "EmptyDir"},
    "ConfigMapVolume": {"name": str, "optional": bool},
    "EmptyDir": {"medium": str, "sizeLimit": QUANTITY},
}


def problems(value: Any, kind: Any, place: str = "") -> Iterator[str]:
    """Yield where a value is not of a type, unknown keys included."""
    if isinstance(kind, str):
        if isinstance(value, dict):
            yield from (f"{place}.{key}: unknown" for key in value.keys() - OBJECTS[kind].keys())
            for key in value.keys() & OBJECTS[kind].keys():
                yield from problems(value[key], OBJECTS[kind][key], f"{place}.{key}")
        else:
            yield f"{place}: {value!r} is not a mapping"
    elif isinstance(kind, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(item, kind[0], f"{place}[{number}]")
    elif isinstance(kind, set):
        if value not in kind:
            yield f"{place}: {value!r} is none of {sorted(kind)}"
    elif isinstance(kind, dict) and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, kind[str], f"{place}.{key}")
    elif isinstance(kind, dict | list) or not isinstance(value, kind):
        yield f"{place}: {value!r} is not a {kind}"
