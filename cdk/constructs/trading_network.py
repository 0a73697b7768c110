"""The VPC, its private ways to AWS, and every security-group rule of a stage in one place, as one readable graph."""

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from cdk.constructs.program_logs import program_logs
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct

DATABASE_PORT = 5433  # not PostgreSQL's own: scanners look there first
CACHE_PORT = 6380  # likewise for Redis
HTTPS_PORT = 443
PUBLIC, PROGRAMS, STORES = "public", "programs", "stores"

ENDPOINT_SERVICES = {
    "Kms": "kms",
    "Secrets": "secretsmanager",
    "Logs": "logs",
    "Metrics": "monitoring",
    "EcrApi": "ecr.api",
    "EcrDocker": "ecr.dkr",
    "Streams": "kinesis-streams",
    "Firehose": "kinesis-firehose",
    "Inference": "sagemaker.runtime",
    "Sts": "sts",
    "Parameters": "ssm",
    "Xray": "xray",
}


@dataclass(frozen=True)
class Groups:
    """Security groups by who wears them. Nothing accepts connections from outside the VPC."""

    processors: ec2.SecurityGroup  # Lambda functions
    execution: ec2.SecurityGroup  # the execution task: the only one that may reach the broker
    gateway: ec2.SecurityGroup  # the feed gateway: the only one that may reach the market-data vendor
    hosts: ec2.SecurityGroup  # ECS container instances
    rotation: ec2.SecurityGroup  # secret rotation
    database: ec2.SecurityGroup
    cache: ec2.SecurityGroup


class TradingNetwork(Construct):
    """Three tiers: public (NAT only), programs (private, with egress), stores (isolated: no route out)."""

    def __init__(self, scope: Construct, id_: str, *, names: Names, config: StageConfig, logs_key: kms.IKey) -> None:
        super().__init__(scope, id_)
        self._config = config
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=names.of("vpc"),
            ip_addresses=ec2.IpAddresses.cidr(config.vpc_cidr),
            availability_zones=list(config.availability_zones),
            nat_gateways=config.nat_gateway_count,
            restrict_default_security_group=False,  # nothing wears it; restricting it takes a custom-resource function
            subnet_configuration=[
                ec2.SubnetConfiguration(name=PUBLIC, subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26, map_public_ip_on_launch=False),
                ec2.SubnetConfiguration(name=PROGRAMS, subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=22),
                ec2.SubnetConfiguration(name=STORES, subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=26),
            ],
        )
        acknowledge(
            self.vpc, "Zones are the stage's choice; asking the account for them would need credentials.", "CloudFormation-Validate::W3010"
        )
        self._flow_logs(names, logs_key)
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self.groups = self._groups(names)
        self._rules()
        self._endpoints(names)
        cdk.CfnOutput(self, "VpcId", value=self.vpc.vpc_id)

    def _flow_logs(self, names: Names, key: kms.IKey) -> None:
        group = program_logs(self, "FlowLogs", name=f"/tidemark/{names.stage}/flow", key=key, days=self._config.log_retention_days)
        role = iam.Role(self, "FlowLogsRole", assumed_by=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com"))
        destination = ec2.FlowLogDestination.to_cloud_watch_logs(group, role)
        self.vpc.add_flow_log("Flow", destination=destination, traffic_type=ec2.FlowLogTrafficType.ALL)

    def _group(self, id_: str, names: Names, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            id_,
            vpc=self.vpc,
            security_group_name=names.of(id_.lower()),
            description=description,
            allow_all_outbound=False,
            disable_inline_rules=True,
        )

    def _groups(self, names: Names) -> Groups:
        return Groups(
            processors=self._group("Processors", names, "Stream processors"),
            execution=self._group("Execution", names, "Execution task"),
            gateway=self._group("Gateway", names, "Feed gateway task"),
            hosts=self._group("Hosts", names, "ECS container instances"),
            rotation=self._group("Rotation", names, "Secret rotation functions"),
            database=self._group("Database", names, "PostgreSQL"),
            cache=self._group("Cache", names, "Redis"),
        )

    def _rules(self) -> None:
        groups = self.groups
        for client in (groups.processors, groups.execution, groups.rotation):
            _connect(client, groups.database, DATABASE_PORT, "PostgreSQL")
        for client in (groups.processors, groups.execution, groups.gateway):
            _connect(client, groups.cache, CACHE_PORT, "Redis")
        https = ec2.Port.tcp(HTTPS_PORT)
        for group in (groups.processors, groups.rotation):
            for peer, what in self._aws_peers():
                group.add_egress_rule(peer, https, what)
        # Brokers, vendors and the ECS control plane publish no fixed addresses: HTTPS to anywhere, for these three only.
        groups.execution.add_egress_rule(ec2.Peer.any_ipv4(), https, "Broker and AWS APIs")
        groups.gateway.add_egress_rule(ec2.Peer.any_ipv4(), https, "Market-data vendor and AWS APIs")
        groups.hosts.add_egress_rule(ec2.Peer.any_ipv4(), https, "ECS control plane and image registry")

    def _aws_peers(self) -> list[tuple[ec2.IPeer, str]]:
        if not self._config.interface_endpoints:
            return [(ec2.Peer.any_ipv4(), "AWS APIs through NAT")]
        return [
            (ec2.Peer.ipv4(self.vpc.vpc_cidr_block), "AWS APIs through interface endpoints"),
            (ec2.Peer.prefix_list(self._config.s3_prefix_list), "S3 through the gateway endpoint"),
        ]

    def _endpoints(self, names: Names) -> None:
        if not self._config.interface_endpoints:
            return
        group = self._group("Endpoints", names, "Interface endpoints")
        for client in (self.groups.processors, self.groups.execution, self.groups.gateway, self.groups.hosts, self.groups.rotation):
            group.add_ingress_rule(client, ec2.Port.tcp(HTTPS_PORT), "AWS APIs")
        for id_, service in ENDPOINT_SERVICES.items():
            self.vpc.add_interface_endpoint(
                id_,
                service=ec2.InterfaceVpcEndpointAwsService(service),
                subnets=ec2.SubnetSelection(subnet_group_name=PROGRAMS),
                security_groups=[group],
                open=False,
            )


def _connect(client: ec2.SecurityGroup, server: ec2.SecurityGroup, port: int, what: str) -> None:
    """`client` may open connections to `server` on one port, and no other way round."""
    client.add_egress_rule(server, ec2.Port.tcp(port), what)
    server.add_ingress_rule(client, ec2.Port.tcp(port), what)
