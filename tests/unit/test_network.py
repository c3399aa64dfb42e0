"""What a worker finds of its machine's network, and what gloo and NCCL are told of it."""

import os

import pytest

from neft_ray import network


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith(network.SHOWN)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))


def devices(folder, **drivers):
    """A /sys with InfiniBand devices of these drivers."""
    for name, driver in drivers.items():
        (folder / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        device = folder / "class/infiniband" / name / "device"
        device.mkdir(parents=True)
        (device / "driver").symlink_to(folder / "drivers" / driver)
    return folder


def test_the_interface_of_rays_address_is_told_to_gloo_and_nccl(tmp_path):
    network.prepare("127.0.0.1", tmp_path / "none")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    assert os.environ["NCCL_SOCKET_IFNAME"] == "=lo"


def test_what_somebody_has_set_stays(tmp_path):
    os.environ["GLOO_SOCKET_IFNAME"] = "mine"
    (tmp_path / "nccl.conf").write_text("NCCL_SOCKET_IFNAME=eth\n")
    network.prepare("127.0.0.1", tmp_path / "nccl.conf")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"
    assert "NCCL_SOCKET_IFNAME" not in os.environ


def test_an_address_that_no_interface_has_sets_nothing(tmp_path):
    network.prepare("203.0.113.9", tmp_path / "none")
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    assert network.look("203.0.113.9", tmp_path).told({}) == "no interface has 203.0.113.9"


def test_only_devices_of_awss_driver_are_efa(tmp_path):
    found = network.look("127.0.0.1", devices(tmp_path, rdmap1="efa", rdmap0="efa", mlx5="mlx5"))
    assert found.efa == ("rdmap0", "rdmap1")
    assert "2 EFA (rdmap0, rdmap1); no libnccl-net.so for them: NCCL talks over TCP" in (
        found.told({})
    )


def test_a_plugin_that_the_loader_finds_is_found(tmp_path):
    (tmp_path / network.PLUGIN).touch()
    os.environ["LD_LIBRARY_PATH"] = f"/none:{tmp_path}"
    found = network.look("127.0.0.1", devices(tmp_path / "sys", rdmap0="efa"))
    told = found.told({"NCCL_DEBUG": "INFO", "HOME": "/"})
    assert told == "lo has 127.0.0.1; 1 EFA (rdmap0); NCCL_DEBUG=INFO"
