"""One long-running task as an ECS service: exactly one copy at most, hardened, with time to stop in order."""

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from cdk.constructs.program_logs import program_logs
from cdk.constructs.task_cluster import SHARED_HOST_FOLDER, TASK_USER_ID, TaskCluster
from cdk.constructs.trading_network import PROGRAMS
from cdk.nag import acknowledge
from cdk.names import METRIC_NAMESPACE, Names
from cdk.stages import TaskSize
from constructs import Construct

STOP_TIMEOUT_S = 120  # Fargate's most; the task itself is done within 20
STATE_FOLDER = "/var/lib/tidemark"  # the flight recorder; declared as a volume in the image, so its owner is the task's user
RUN_FOLDER = "/run/tidemark"
SCRATCH_FOLDER = "/tmp"


class TaskService(Construct):
    """`folder` is the task's folder under ecs_tasks/. What the task may touch is granted by the stack that makes it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        folder: str,
        image: ecs.ContainerImage,
        environment: Mapping[str, str],
        secrets: Mapping[str, ecs.Secret],
        size: TaskSize,
        names: Names,
        logs_key: kms.IKey,
        log_days: int,
        cluster: TaskCluster,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, id_)
        self.folder = folder
        self.name = names.of(folder.replace("_", "-"))
        self._cluster = cluster
        self.task = self._task(size)
        group = program_logs(self, "Logs", name=f"/tidemark/{names.stage}/{folder}", key=logs_key, days=log_days)
        container = self._container(folder, image, environment, secrets, group)
        self._mounts(container)
        self.service = self._service(security_group)
        acknowledge(self.agent_role, "The registry's token names no resource; images and logs are named.", "AwsSolutions-IAM5[Resource::*]")
        acknowledge(self.task, "These variables are names and addresses; what is secret comes by `secrets`.", "AwsSolutions-ECS2")
        cdk.CfnOutput(self, "ServiceName", value=self.service.service_name)

    @property
    def role(self) -> iam.IRole:
        """What the program itself is, as opposed to the agent that starts it."""
        return self.task.task_role

    @property
    def agent_role(self) -> iam.IRole:
        """What starts the task: pulls the image, reads the secrets."""
        role = self.task.execution_role
        assert role is not None
        return role

    def _task(self, size: TaskSize) -> ecs.TaskDefinition:
        common: dict[str, Any] = {
            "family": self.name,
            "cpu": str(size.cpu_units),
            "memory_mib": str(size.memory_mib),
            "network_mode": ecs.NetworkMode.AWS_VPC,
            "execution_role": iam.Role(self, "AgentRole", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")),
            "task_role": iam.Role(self, "TaskRole", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")),
        }
        if self._cluster.provider is None:
            linux = ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            )
            return ecs.TaskDefinition(self, "Task", compatibility=ecs.Compatibility.FARGATE, runtime_platform=linux, **common)
        return ecs.TaskDefinition(self, "Task", compatibility=ecs.Compatibility.EC2, **common)

    def _container(
        self,
        folder: str,
        image: ecs.ContainerImage,
        environment: Mapping[str, str],
        secrets: Mapping[str, ecs.Secret],
        group: cdk.aws_logs.LogGroup,
    ) -> ecs.ContainerDefinition:
        linux = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        linux.drop_capabilities(ecs.Capability.ALL)
        return self.task.add_container(
            "Container",
            container_name=folder.replace("_", "-"),
            image=image,
            environment=dict(environment),
            secrets=dict(secrets),
            user=f"{TASK_USER_ID}:{TASK_USER_ID}",
            readonly_root_filesystem=True,
            privileged=False,
            linux_parameters=linux,
            stop_timeout=cdk.Duration.seconds(STOP_TIMEOUT_S),
            health_check=ecs.HealthCheck(
                command=["CMD", "python", "/app/health.py"],
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                retries=3,
                start_period=cdk.Duration.seconds(120),
            ),
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix=folder,
                log_group=group,
                mode=ecs.AwsLogDriverMode.NON_BLOCKING,  # a slow log never stops a trade
            ),
        )

    def _mounts(self, container: ecs.ContainerDefinition) -> None:
        """State and scratch end with the task; the socket's folder is the host's where there is one, so that both tasks see it."""
        shared = ecs.Host(source_path=SHARED_HOST_FOLDER) if self._cluster.provider is not None else None
        for name, path, host in (("state", STATE_FOLDER, None), ("scratch", SCRATCH_FOLDER, None), ("run", RUN_FOLDER, shared)):
            self.task.add_volume(name=name, host=host)
            container.add_mount_points(ecs.MountPoint(source_volume=name, container_path=path, read_only=False))

    def _service(self, security_group: ec2.ISecurityGroup) -> ecs.BaseService:
        """The new task starts after the old one has ended: two of them would be two traders until the lease says otherwise."""
        common: dict[str, Any] = {
            "service_name": self.name,
            "cluster": self._cluster.cluster,
            "task_definition": self.task,
            "desired_count": 1,
            "min_healthy_percent": 0,
            "max_healthy_percent": 100,
            "availability_zone_rebalancing": ecs.AvailabilityZoneRebalancing.DISABLED,
            "circuit_breaker": ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            "enable_execute_command": False,
            "security_groups": [security_group],
            "vpc_subnets": ec2.SubnetSelection(subnet_group_name=PROGRAMS),
        }
        if self._cluster.provider is None:
            return ecs.FargateService(self, "Service", assign_public_ip=False, **common)
        strategy = ecs.CapacityProviderStrategy(capacity_provider=self._cluster.provider, weight=1)
        return ecs.Ec2Service(self, "Service", capacity_provider_strategies=[strategy], **common)

    def grant_metrics(self) -> None:
        """May write metrics of our own namespace."""
        self.task.add_to_task_role_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": METRIC_NAMESPACE}},
            )
        )
        acknowledge(
            self.role, "PutMetricData names no resource; the condition binds it to our namespace.", "AwsSolutions-IAM5[Resource::*]"
        )

    def running_tasks(self) -> cloudwatch.Metric:
        """Tasks of the service that run, per minute."""
        return cloudwatch.Metric(
            namespace="ECS/ContainerInsights",
            metric_name="RunningTaskCount",
            dimensions_map={"ClusterName": self._cluster.cluster.cluster_name, "ServiceName": self.service.service_name},
            statistic="Minimum",
            period=cdk.Duration.minutes(1),
        )
