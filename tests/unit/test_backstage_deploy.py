"""What stands in deploy/ agrees with the program: variables are settings, copied files exist, nothing runs as root."""

import re
from pathlib import Path
from typing import Any

import pytest

from evident_core.cli import evident
from evident_core.settings import MIB, load

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def _documents() -> list[dict[str, Any]]:
    return [each for path in sorted((DEPLOY / "k8s").glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


def _pods() -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in _documents()
        if each["kind"] == "Deployment"
    }


def _compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def _variables() -> dict[str, dict[str, str]]:
    """The environment that each part is given."""
    given = {
        f"compose {name}": service["environment"]
        for name, service in _compose()["services"].items()
        if name in ("web", "worker")
    }
    for name, pod in _pods().items():
        secrets = {"store-url": "postgresql://u:p@host/db", "jobs-url": "redis://host/0"}
        given[f"k8s {name}"] = {
            each["name"]: each.get("value") or secrets[each["valueFrom"]["secretKeyRef"]["key"]]
            for each in pod["containers"][0]["env"]
        }
    container = (DEPLOY / "Containerfile").read_text()
    given["container"] = dict(re.findall(r"(EVIDENT_\w+)=(\S+)", container))
    return given


@pytest.mark.parametrize("part", list(_variables()))
def test_every_variable_is_a_setting(part, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    variables = _variables()[part]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load()
    if part != "container":
        assert settings.jobs.url.get_secret_value().startswith("redis://")
        assert settings.store.database_url.startswith("postgresql://")
    else:
        assert settings.store.data_dir == Path("/var/lib/evident")


def test_every_command_is_one_of_ours():
    commands = [service["command"] for name, service in _compose()["services"].items() if name in ("web", "worker")]
    commands += [pod["containers"][0]["args"] for pod in _pods().values()]
    assert len(commands) == 4
    for program, command in commands:
        assert program == "evident"
        assert command in evident.commands


def test_the_container_copies_what_exists_and_leaves_root():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert copied
    assert [word for word in copied if not (ROOT / word).exists()] == []
    assert "USER 10001" in lines
    assert any(line.startswith("ARG SERVICE") for line in lines)
    assert lines.index("USER 10001") < next(n for n, line in enumerate(lines) if line.startswith("CMD"))


def test_pods_are_probed_limited_and_not_root():
    pods = _pods()
    assert set(pods) == {"evident-web", "evident-worker"}
    for pod in pods.values():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    web = pods["evident-web"]["containers"][0]
    probes = {name: web[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_services_reach_their_pods_and_their_storage():
    documents = _documents()
    [service] = [each for each in documents if each["kind"] == "Service"]
    [claim] = [each for each in documents if each["kind"] == "PersistentVolumeClaim"]
    web = next(each for each in documents if each["kind"] == "Deployment" and each["metadata"]["name"] == "evident-web")
    labels = web["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert web["spec"]["selector"]["matchLabels"] == labels
    for pod in _pods().values():
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    [kustomization] = [each for each in documents if each["kind"] == "Kustomization"]
    assert all((DEPLOY / "k8s" / name).exists() for name in kustomization["resources"])


def test_a_worker_has_the_memory_that_its_sandboxes_may_use():
    sandbox = load(sandbox={}).sandbox.memory_mib * MIB
    workers = int(_variables()["k8s evident-worker"]["EVIDENT_JOBS__WORKERS"])
    limit = _pods()["evident-worker"]["containers"][0]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) * 1024 * MIB >= workers * sandbox
    assert int(_compose()["services"]["worker"]["mem_limit"].removesuffix("g")) * 1024 * MIB >= workers * sandbox
