"""Redis for the hot book, features and checkpoints. Never the truth: losing it costs speed, nothing else."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk.constructs.trading_network import CACHE_PORT, STORES, TradingNetwork
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct

ENGINE_VERSION = "7.1"
TOKEN_CHARS = 64


class HotCache(Construct):
    """A replication group with TLS and an AUTH token. `endpoint` is host:port."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        names: Names,
        config: StageConfig,
        network: TradingNetwork,
        data_key: kms.IKey,
        secrets_key: kms.IKey,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        self.group_id = names.of("cache")
        self.node_ids = [f"{self.group_id}-{number + 1:03d}" for number in range(config.cache_node_count)]
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            secret_name=names.of("cache"),
            encryption_key=secrets_key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}", generate_string_key="auth_token", exclude_punctuation=True, password_length=TOKEN_CHARS
            ),
            removal_policy=removal_policy,
        )
        acknowledge(self.secret, "ElastiCache has no managed rotation; the token is changed by deploying, see docs.", "AwsSolutions-SMG4")
        subnets = network.vpc.select_subnets(subnet_group_name=STORES).subnet_ids
        subnet_group = elasticache.CfnSubnetGroup(
            self, "Subnets", cache_subnet_group_name=self.group_id, description="Isolated subnets", subnet_ids=subnets
        )
        self.group = elasticache.CfnReplicationGroup(
            self,
            "Group",
            replication_group_id=self.group_id,
            replication_group_description="Hot book, features, checkpoints",
            engine="redis",
            engine_version=ENGINE_VERSION,
            cache_node_type=config.cache_node,
            num_cache_clusters=config.cache_node_count,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
            port=CACHE_PORT,
            cache_subnet_group_name=subnet_group.cache_subnet_group_name,
            security_group_ids=[network.groups.cache.security_group_id],
            at_rest_encryption_enabled=True,
            kms_key_id=data_key.key_arn,
            transit_encryption_enabled=True,
            auth_token=self.secret.secret_value_from_json("auth_token").unsafe_unwrap(),  # a dynamic reference, not the value
            snapshot_retention_limit=1,
            auto_minor_version_upgrade=True,
        )
        self.group.add_resource_dependency(subnet_group)
        self.group.apply_removal_policy(removal_policy)
        self.endpoint = f"{self.group.attr_primary_end_point_address}:{self.group.attr_primary_end_point_port}"
        cdk.CfnOutput(self, "CacheEndpoint", value=self.endpoint)
        cdk.CfnOutput(self, "CacheSecretArn", value=self.secret.secret_arn)

    def metric(self, node_id: str, name: str, statistic: str) -> cloudwatch.Metric:
        """A metric of one node, per minute."""
        return cloudwatch.Metric(
            namespace="AWS/ElastiCache",
            metric_name=name,
            dimensions_map={"CacheClusterId": node_id},
            statistic=statistic,
            period=cdk.Duration.minutes(1),
        )
