"""The two long-running tasks: one copy at most, hardened, with time to stop in order; and their Dockerfiles."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from infra.synthesized import PROJECT, Synthesized, load

TASKS = ("execution", "feed_gateway")
USER_ID_MIN = 10_000


def containers(stage: Synthesized) -> list[dict[str, Any]]:
    return [container for task in stage.of("AWS::ECS::TaskDefinition") for container in task.properties["ContainerDefinitions"]]


def test_never_two_copies_of_a_task(stage: Synthesized) -> None:
    """The old one ends before the new one starts. The lease is the guarantee; this keeps it from being tested at every deploy."""
    services = stage.of("AWS::ECS::Service")
    assert {service.properties["ServiceName"] for service in services} == {
        f"tidemark-{stage.config.name}-execution",
        f"tidemark-{stage.config.name}-feed-gateway",
    }
    for service in services:
        properties = service.properties
        assert properties["DesiredCount"] == 1
        deployment = properties["DeploymentConfiguration"]
        assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (0, 100)
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert properties["AvailabilityZoneRebalancing"] == "DISABLED", "rebalancing starts the new copy first"
        assert properties["EnableExecuteCommand"] is False
        assert properties["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
        assert "ServiceRegistries" not in properties


def test_containers_are_hardened_and_get_time_to_stop(stage: Synthesized) -> None:
    """Cancelling what rests at the broker and a last snapshot take up to 20 s; 120 is what ECS grants at most."""
    found = containers(stage)
    assert [container["Name"] for container in found] == ["execution", "feed-gateway"], "the laptop stage finds its folders by these names"
    for container in found:
        assert container["ReadonlyRootFilesystem"] is True
        assert container["Privileged"] is False
        assert container["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}, "InitProcessEnabled": True}
        assert int(container["User"].split(":")[0]) >= USER_ID_MIN
        assert container["StopTimeout"] == 120
        assert container["HealthCheck"]["Command"] == ["CMD", "python", "/app/health.py"]
        assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking", "a slow log must not stop a trade"


def test_tasks_run_on_what_the_stage_says(stage: Synthesized) -> None:
    """On hosts, both tasks see the folder of the direct feed's socket; Fargate tasks share nothing."""
    for task in stage.of("AWS::ECS::TaskDefinition"):
        volumes = {volume["Name"]: volume for volume in task.properties["Volumes"]}
        on_hosts = task.properties["RequiresCompatibilities"] == ["EC2"]
        assert on_hosts is (stage.config.capacity.value == "ec2")
        assert ("Host" in volumes["run"]) is on_hosts
        assert "Host" not in volumes["state"]
        assert task.properties["NetworkMode"] == "awsvpc"


def test_both_tasks_fit_on_the_one_host(stages: dict[str, Synthesized]) -> None:
    """ECS keeps a little of the memory for itself; a task that does not fit waits for ever."""
    capacity = {"c6i.xlarge": (4_096, 8_192), "c6i.4xlarge": (16_384, 32_768)}
    for stage in (stages["staging"], stages["prod"]):
        cpu_units, memory_mib = capacity[stage.config.host_instance]
        sizes = (stage.config.execution_size, stage.config.gateway_size)
        assert sum(size.cpu_units for size in sizes) <= cpu_units
        assert sum(size.memory_mib for size in sizes) <= memory_mib * 0.9
        group = stage.one("AWS::AutoScaling::AutoScalingGroup").properties
        assert (group["MinSize"], group["MaxSize"]) == ("1", "1")


def instructions(task: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continued lines joined, comments left out."""
    text = (PROJECT / "ecs_tasks" / task / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#"))
    return [(name.upper(), rest) for name, rest in pairs]


@pytest.mark.parametrize("task", TASKS)
class TestDockerfile:
    """The rules that a linter would check, on files that no machine of ours builds."""

    def test_bases_are_pinned_to_a_minor_version_and_a_distribution(self, task: str) -> None:
        """`latest` is another program every month."""
        (argument,) = [rest for name, rest in instructions(task) if name == "ARG"]
        assert re.fullmatch(r"PYTHON=python:3\.11(\.\d+)?-slim-[a-z]+(@sha256:[0-9a-f]{64})?", argument)
        assert {rest.split()[0] for name, rest in instructions(task) if name == "FROM"} == {"${PYTHON}"}

    def test_the_last_stage_runs_as_the_templates_user(self, task: str, stages: dict[str, Synthesized]) -> None:
        """ECS overrides the user; both must be the one who owns the volumes."""
        last = [rest for name, rest in instructions(task) if name == "USER"][-1]
        assert {container["User"] for container in containers(stages["prod"])} == {last}
        assert instructions(task).index(("USER", last)) > max(
            i for i, (name, _) in enumerate(instructions(task)) if name in ("COPY", "RUN")
        )

    def test_it_adds_nothing_from_the_network(self, task: str) -> None:
        """ADD fetches and unpacks; COPY does what it says."""
        assert "ADD" not in {name for name, _ in instructions(task)}
        assert not any("curl" in rest or "wget" in rest for name, rest in instructions(task) if name == "RUN")

    def test_packages_come_from_the_lock(self, task: str) -> None:
        """And leave no cache behind."""
        (install,) = [rest for name, rest in instructions(task) if name == "RUN" and "pip install" in rest]
        assert "--constraint requirements.lock" in install
        assert any("PIP_NO_CACHE_DIR=1" in rest for name, rest in instructions(task) if name == "ENV")

    def test_it_checks_its_health_and_stops_by_sigterm_as_process_one(self, task: str) -> None:
        """A shell form would put a shell between ECS's signal and the program."""
        found = dict(instructions(task))
        assert '["python", "/app/health.py"]' in found["HEALTHCHECK"]
        assert found["STOPSIGNAL"] == "SIGTERM"
        assert found["ENTRYPOINT"].startswith("[")

    def test_every_writable_folder_is_a_volume_of_the_template(self, task: str, stages: dict[str, Synthesized]) -> None:
        """The root file system is read-only, so a folder that only one side knows fails at the first write."""
        declared = set(re.findall(r'"([^"]+)"', dict(instructions(task))["VOLUME"]))
        for container in containers(stages["prod"]):
            assert {mount["ContainerPath"] for mount in container["MountPoints"]} == declared

    def test_what_it_copies_is_in_its_context(self, task: str, tmp_path: Path) -> None:
        """The context is made by hand: a forgotten file shows here, not at the first deploy."""
        from cdk.assets import CONTEXT_FILES, image_context

        context = image_context(PROJECT, tmp_path, task)
        for name, rest in instructions(task):
            if name == "COPY" and "--from" not in rest:
                for source in shlex.split(rest)[:-1]:
                    fetched = source == "rds-global-bundle.pem"  # by cdk/fetch_certificates.py, before a deploy
                    assert fetched or source in CONTEXT_FILES or (context / source).exists(), source
        assert not list(context.rglob("*.pyc"))

    def test_every_module_it_imports_is_installed(self, task: str) -> None:
        """Imports at the top of the task's modules, against what its Dockerfile installs."""
        from cdk.closure import distribution_closure, extra_requirements, module_closure, third_party_imports
        from packaging.requirements import Requirement

        (install,) = [rest for name, rest in instructions(task) if name == "RUN" and "pip install" in rest]
        words = shlex.split(install)
        wanted = words[words.index("requirements.lock") + 1 :]
        requirements = [Requirement(word) for word in wanted if not word.startswith(".")]
        for extra in re.findall(r"\.\[(\w+)\]", install):
            requirements += extra_requirements(PROJECT / "pyproject.toml", extra)
        installed = {found.name for found in distribution_closure(requirements, frozenset())}
        main = PROJECT / "ecs_tasks" / task / "main.py"
        source = PROJECT / "src"
        needed = third_party_imports([main], module_closure([main], source), source)
        assert needed - installed == set()


health = load(PROJECT / "ecs_tasks" / "health.py", "tidemark_task_health")


@pytest.mark.parametrize(
    ("statement", "age_s", "well"),
    [
        ('{"state": "READY"}', 0.0, True),
        ('{"state": "HALTED", "detail": "kill"}', 14.0, True),
        ('{"state": "READY"}', 16.0, False),
        ('{"state": "FAILED", "detail": "journal"}', 0.0, False),
        ('{"state": 3}', 0.0, False),
        ("[]", 0.0, False),
        ('{"state": "REA', 0.0, False),
    ],
)
def test_a_task_is_held_to_its_statement(tmp_path: Path, statement: str, age_s: float, well: bool) -> None:
    """A halted task is well: a restart would only halt again; one that has stopped speaking is not."""
    path = tmp_path / "health.json"
    path.write_text(statement, encoding="utf-8")
    assert (health.verdict(path, path.stat().st_mtime + age_s) == "") is well


def test_a_task_that_has_not_spoken_yet_is_well(tmp_path: Path) -> None:
    """Recovery may take a while, and when the program ends, so does its container."""
    assert health.verdict(tmp_path / "health.json", 0.0) == ""
