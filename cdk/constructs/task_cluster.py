"""The ECS cluster and what carries its tasks: Fargate, or one host that execution and feed gateway share."""

import aws_cdk as cdk
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from cdk.constructs.alert_topics import AlertTopics
from cdk.constructs.keys import KeySet
from cdk.constructs.program_logs import program_logs
from cdk.constructs.trading_network import PROGRAMS, TradingNetwork
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import Capacity, StageConfig
from constructs import Construct

VOLUME_GIB = 50
SHARED_HOST_FOLDER = "/var/lib/tidemark/run"  # on the host; holds the direct feed's socket
TASK_USER_ID = 10_001


class TaskCluster(Construct):
    """`provider` is the capacity provider's name, None on Fargate."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        names: Names,
        config: StageConfig,
        network: TradingNetwork,
        keys: KeySet,
        topics: AlertTopics,
    ) -> None:
        super().__init__(scope, id_)
        self.cluster = ecs.Cluster(
            self, "Cluster", cluster_name=names.of("tasks"), vpc=network.vpc, container_insights_v2=ecs.ContainerInsights.ENABLED
        )
        insights = f"/aws/ecs/containerinsights/{names.of('tasks')}/performance"
        program_logs(self, "Insights", name=insights, key=keys.logs, days=config.log_retention_days)
        self.provider: str | None = None
        if config.capacity is Capacity.EC2:
            self.provider = self._hosts(names, config, network, keys, topics)
        cdk.CfnOutput(self, "ClusterName", value=self.cluster.cluster_name)

    def _hosts(self, names: Names, config: StageConfig, network: TradingNetwork, keys: KeySet, topics: AlertTopics) -> str:
        role = self._host_role()
        template = ec2.LaunchTemplate(
            self,
            "HostTemplate",
            launch_template_name=names.of("host"),
            instance_type=ec2.InstanceType(config.host_instance),
            machine_image=ecs.EcsOptimizedImage.amazon_linux2023(),
            role=role.without_policy_updates(),  # or CDK adds any log group and any ecs:Submit*
            security_group=network.groups.hosts,
            require_imdsv2=True,
            http_put_response_hop_limit=1,  # containers never reach the host's credentials
            user_data=self._user_data(),
            block_devices=[
                ec2.BlockDevice(
                    device_name="/dev/xvda",
                    volume=ec2.BlockDeviceVolume.ebs(
                        VOLUME_GIB, encrypted=True, kms_key=keys.compute, volume_type=ec2.EbsDeviceVolumeType.GP3
                    ),
                )
            ],
        )
        group = autoscaling.AutoScalingGroup(
            self,
            "Hosts",
            auto_scaling_group_name=names.of("hosts"),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PROGRAMS),
            launch_template=template,
            min_capacity=1,
            max_capacity=1,
            notifications=[autoscaling.NotificationConfiguration(topic=topics.warning, scaling_events=autoscaling.ScalingEvents.ALL)],
        )
        provider = ecs.AsgCapacityProvider(
            self,
            "Provider",
            capacity_provider_name=names.of("hosts"),
            auto_scaling_group=group,
            enable_managed_scaling=False,  # one host, always: the group replaces it, nobody scales it
            enable_managed_termination_protection=False,
            enable_managed_draining=True,
        )
        self.cluster.add_asg_capacity_provider(provider)
        return provider.capacity_provider_name

    def _host_role(self) -> iam.Role:
        """What the ECS agent needs; images are pulled and logs are written with the tasks' own agent roles."""
        role = iam.Role(self, "HostRole", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        cluster = self.cluster.cluster_arn
        members = ["ecs:DeregisterContainerInstance", "ecs:RegisterContainerInstance"]
        reports = ["ecs:SubmitAttachmentStateChanges", "ecs:SubmitContainerStateChange", "ecs:SubmitTaskStateChange"]
        role.add_to_policy(iam.PolicyStatement(actions=[*members, *reports], resources=[cluster]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ecs:Poll", "ecs:StartTelemetrySession"], resources=["*"], conditions={"ArnEquals": {"ecs:cluster": cluster}}
            )
        )
        role.add_to_policy(iam.PolicyStatement(actions=["ecs:DiscoverPollEndpoint"], resources=["*"]))
        acknowledge(
            role, "The agent asks for its endpoint and polls before any resource of the host exists.", "AwsSolutions-IAM5[Resource::*]"
        )
        return role

    def _user_data(self) -> ec2.UserData:
        """The folder of the direct feed's socket, for the tasks' own user."""
        data = ec2.UserData.for_linux()
        data.add_commands(
            f"mkdir -p {SHARED_HOST_FOLDER}",
            f"chown {TASK_USER_ID}:{TASK_USER_ID} {SHARED_HOST_FOLDER}",
            f"chmod 0700 {SHARED_HOST_FOLDER}",
        )
        return data
