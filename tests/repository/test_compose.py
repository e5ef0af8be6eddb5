"""The compose file, the image and .env.example fit each other and the product; none of them can be run here."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\$\{([A-Z_0-9]+)(:?[-?][^}]*)?\}")


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_there_are_a_redis_a_postgres_a_worker_and_a_beat(compose):
    assert set(compose["services"]) == {"redis", "postgres", "worker", "beat"}


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_worker_and_beat_run_celery_on_the_same_workspace(compose, role):
    service = compose["services"][role]
    assert service["command"][:4] == ["celery", "-A", "worker", role]
    assert all(isinstance(word, str) for word in service["command"])
    environment = service["environment"]
    assert environment["HEATSYNC_WORKSPACE"] == "/workspace"
    assert environment["HEATSYNC_BROKER"] == "redis://redis:6379/0"
    assert environment["HEATSYNC_LEDGER"].startswith("postgresql+psycopg://heatsync:")
    assert "@postgres:5432/heatsync" in environment["HEATSYNC_LEDGER"]
    assert service["env_file"] == ".env"
    assert service["depends_on"] == {name: {"condition": "service_healthy"} for name in ("redis", "postgres")}


def test_there_is_one_beat(compose):
    beat = compose["services"]["beat"]
    assert "deploy" not in beat
    assert "scale" not in beat
    assert "--beat" not in compose["services"]["worker"]["command"]
    assert "-B" not in compose["services"]["worker"]["command"]


def test_every_service_restarts_and_has_a_health_check(compose):
    for service in compose["services"].values():
        assert service["restart"] == "unless-stopped"
        test = service["healthcheck"]["test"]
        assert test[0] in ("CMD", "CMD-SHELL")
        assert len(test) == 2 or test[0] == "CMD"
        if test[0] == "CMD-SHELL":
            assert shlex.split(test[1])


def test_services_listen_on_the_host_only(compose):
    for service in compose["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service.get("network_mode") != "host"
        assert not service.get("privileged", False)


def test_state_lies_in_a_volume(compose):
    named = {
        volume.split(":")[0]: volume.split(":")[1]
        for service in compose["services"].values()
        for volume in service["volumes"]
        if not volume.startswith(("$", ".", "/"))
    }
    assert set(named) == set(compose["volumes"])
    assert named["state"] == "/workspace/.heatsync"


def test_the_workspace_is_read_only(compose):
    for role in ("worker", "beat"):
        mounts = [volume for volume in compose["services"][role]["volumes"] if volume.startswith("$")]
        assert {mount.rsplit(":", 2)[1] for mount in mounts} >= {
            "/workspace/heatsync.yml",
            "/workspace/mappings",
        }
        assert all(mount.endswith(":ro") for mount in mounts)


def test_the_example_names_every_variable_that_is_read(compose, example):
    asked = {name for name, _ in NAME.findall((ROOT / "docker-compose.yml").read_text())}
    written = "\n".join(
        line.split(" #")[0]
        for line in (ROOT / "heatsync.yml").read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    asked |= {name for name, _ in NAME.findall(written)}
    given = {"HEATSYNC_BROKER", "HEATSYNC_LEDGER"}
    assert asked - given == set(example)
    assert given <= compose["services"]["worker"]["environment"].keys()


def test_the_example_holds_no_secret(example):
    assert {name: value for name, value in example.items() if value} == {"HEATSYNC_WORKSPACE_DIR": "."}


def test_the_image_holds_every_package_and_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    assert set(packages) <= copied
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(packages) | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= let_in
    [user] = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert int(user) > 0
    assert any("-c constraints.txt" in line for line in lines)
