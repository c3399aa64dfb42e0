"""What somebody tries who reaches a machine and knows no secret; runs on a host of its own.

`python -m tests.cluster.stranger WHAT ADDRESS …` prints what it found as JSON.
"""

import base64
import http.client
import importlib
import json
import pkgutil
import socket
import sys
from collections.abc import Iterator

import grpc
import ray.core.generated as generated
from google.protobuf.descriptor_pb2 import FileDescriptorProto

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SECONDS = 10.0
TOKEN = "0123456789abcdef"
WRONG = [(), (("authorization", f"Bearer {TOKEN}"),)]
"""What goes along with a call: no token, and a wrong one."""
NODE = ("node_id", "f" * 56)
"""`StartSync` without it ends Ray: see test_security.py."""


def survey(address: str) -> dict[int, tuple[str, dict[str, list[str]]]]:
    """By open port: what speaks there, and what a server of gRPC answers.

    Without ports that were closed before anything was said to them.
    """
    found = {}
    for port in _ports(address):
        try:
            spoken = _spoken(address, port)
            found[port] = spoken, _calls(f"{address}:{port}") if spoken == "grpc" else {}
        except ConnectionRefusedError:
            continue
    return found


def _ports(address: str) -> list[int]:
    """All TCP ports that are open."""
    found = []
    for port in range(1, 65536):
        with socket.socket() as tried:
            tried.settimeout(SECONDS)
            if tried.connect_ex((address, port)) == 0:
                found.append(port)
    return found


def _spoken(address: str, port: int) -> str:
    """What speaks at a port: `ssh`, `http`, `grpc`, or `silent` where nothing answers."""
    with socket.create_connection((address, port), SECONDS) as connection:
        connection.settimeout(3.0)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: host\r\n\r\n")
        try:
            answer = connection.recv(9)
        except (TimeoutError, ConnectionResetError):
            return "silent"
    if answer.startswith((b"SSH-", b"HTTP/1.1")):
        return "ssh" if answer.startswith(b"SSH-") else "http"
    return "grpc" if answer[3:4] == b"\x04" else "silent"  # HTTP/2's settings


def _calls(target: str) -> dict[str, list[str]]:
    """The answers of a gRPC server to all calls that it knows: status → methods."""
    found: dict[str, set[str]] = {}
    with grpc.insecure_channel(target) as channel:
        methods = _methods(channel)
        for method in methods or _all_of_ray():
            for more in WRONG:
                status = _status(channel, method, more)
                if methods or status != "UNIMPLEMENTED":
                    found.setdefault(status, set()).add(method)
    return {status: sorted(those) for status, those in found.items()}


def _status(channel: grpc.Channel, method: str, metadata: tuple) -> str:
    try:
        call = channel.stream_stream(method)(
            iter([b""]), timeout=SECONDS, metadata=(NODE, *metadata)
        )
        next(call)
    except grpc.RpcError as error:
        return error.code().name
    except StopIteration:
        pass
    return "OK"


def _methods(channel: grpc.Channel) -> list[str]:
    """All methods of a server that tells what it serves."""
    found = []
    for entry in _reflected(channel, b"\x3a\x01*", 6):
        symbol = dict(_fields(entry))[1]
        service = symbol.decode()
        methods = [
            f"/{service}/{method.name}"
            for content in _reflected(channel, bytes([0x22, len(symbol)]) + symbol, 4)
            for described in FileDescriptorProto.FromString(content).service
            if service.endswith(f".{described.name}")
            for method in described.method
        ]
        found += methods or [f"/{service}/"]  # what it does not describe
    return found


def _reflected(channel: grpc.Channel, request: bytes, field: int) -> list[bytes]:
    try:
        answer = next(channel.stream_stream(REFLECTION)(iter([request]), timeout=SECONDS))
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            raise ConnectionRefusedError from error
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        return []
    return [part for _, part in _fields(dict(_fields(answer)).get(field, b""))]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that are messages, strings or bytes."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = message[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key, size = number(), number()
        if key & 7 == 2:
            yield key >> 3, message[at : at + size]
            at += size


def _all_of_ray() -> list[str]:
    """All methods of Ray, for its servers in Python, which do not tell."""
    found = []
    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            described = importlib.import_module(f"{generated.__name__}.{module.name}").DESCRIPTOR
            for service in described.services_by_name.values():
                found += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return found


def requests(address: str, port: str, word: str, *lines: str) -> dict[str, int]:
    """The statuses of HTTP requests, `METHOD PATH`, with a token, a password or nothing."""
    given = ""
    if word:
        basic = base64.b64encode(f"admin:{word}".encode()).decode()
        given = f"Bearer {word}" if word == TOKEN else f"Basic {basic}"
    return {line: _request(address, int(port), line, given) for line in lines}


def _request(address: str, port: int, line: str, authorization: str) -> int:
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    method, path = line.split()
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    connection.request(method, path, "{}", headers)
    status = connection.getresponse().status
    connection.close()
    return status


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    print(json.dumps({f.__name__: f for f in (survey, requests)}[what](*given)))
