"""PostgreSQL for everything that must not be lost: journal, orders, fills, positions; and for what people query."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.constructs.trading_network import DATABASE_PORT, PROGRAMS, STORES, TradingNetwork
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig

DATABASE_NAME = "tidemark"
ADMIN_USER, PROGRAM_USER = "tidemark_admin", "tidemark_app"
ENGINE = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17_9)
PARAMETERS = {
    "rds.force_ssl": "1",
    "ssl_min_protocol_version": "TLSv1.2",
    "synchronous_commit": "on",  # the journal's promise; RDS sets fsync and full_page_writes itself and lets nobody change them
    "idle_in_transaction_session_timeout": "5000",
    "log_min_duration_statement": "250",
    "log_lock_waits": "1",
}


class TradingDatabase(Construct):
    """A private instance with optional replicas. Programs get `program_secret`, which has the host in it; people the administrator's."""

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
        subnets = ec2.SubnetSelection(subnet_group_name=STORES)
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            instance_identifier=names.of("database"),
            engine=ENGINE,
            instance_type=ec2.InstanceType(config.database_instance),
            vpc=network.vpc,
            vpc_subnets=subnets,
            security_groups=[network.groups.database],
            port=DATABASE_PORT,
            publicly_accessible=False,
            multi_az=config.database_multi_az,
            database_name=DATABASE_NAME,
            credentials=rds.Credentials.from_generated_secret(
                ADMIN_USER, secret_name=names.of("database-admin"), encryption_key=secrets_key
            ),
            parameter_group=rds.ParameterGroup(self, "Parameters", engine=ENGINE, parameters=PARAMETERS),
            ca_certificate=rds.CaCertificate.RDS_CA_RSA4096_G1,
            iam_authentication=True,
            storage_type=rds.StorageType.GP3,
            allocated_storage=config.database_storage_gib,
            max_allocated_storage=config.database_storage_gib_max,
            storage_encrypted=True,
            storage_encryption_key=data_key,
            enable_performance_insights=True,
            performance_insight_encryption_key=data_key,
            backup_retention=cdk.Duration.days(config.database_backup_days),
            copy_tags_to_snapshot=True,
            delete_automated_backups=not config.retain_data,
            deletion_protection=config.retain_data,
            auto_minor_version_upgrade=True,
            cloudwatch_logs_exports=["postgresql", "upgrade"],
            removal_policy=removal_policy,
        )
        self.replicas = [self._replica(i, names, config, network, removal_policy) for i in range(config.database_replica_count)]
        assert self.instance.secret is not None, "generated credentials come with a secret"
        self.admin_secret = self.instance.secret
        self.program_secret = rds.DatabaseSecret(
            self,
            "ProgramSecret",
            secret_name=names.of("database"),
            username=PROGRAM_USER,
            dbname=DATABASE_NAME,
            encryption_key=secrets_key,
            master_secret=self.admin_secret,
        )
        attached = self.program_secret.attach(self.instance)
        if config.rotate_secrets:
            self._rotate(network, attached)
        self._accept(config)
        cdk.CfnOutput(self, "DatabaseSecretArn", value=self.program_secret.secret_arn)
        cdk.CfnOutput(self, "DatabaseAdminSecretArn", value=self.admin_secret.secret_arn)

    def _replica(
        self, number: int, names: Names, config: StageConfig, network: TradingNetwork, removal_policy: cdk.RemovalPolicy
    ) -> rds.DatabaseInstanceReadReplica:
        """For research queries. Encryption comes from the source; saying it again is an error for a replica in the same region."""
        replica = rds.DatabaseInstanceReadReplica(
            self,
            f"Replica{number}",
            instance_identifier=names.of(f"database-replica-{number}"),
            source_database_instance=self.instance,
            instance_type=ec2.InstanceType(config.database_instance),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=STORES),
            security_groups=[network.groups.database],
            port=DATABASE_PORT,
            publicly_accessible=False,
            parameter_group=rds.ParameterGroup(self, f"Replica{number}Parameters", engine=ENGINE, parameters=PARAMETERS),
            ca_certificate=rds.CaCertificate.RDS_CA_RSA4096_G1,
            iam_authentication=True,
            deletion_protection=config.retain_data,
            auto_minor_version_upgrade=True,
            removal_policy=removal_policy,
        )
        acknowledge(replica, "A replica is not the fail-over target; the Multi-AZ primary is.", "AwsSolutions-RDS3")
        return replica

    def _rotate(self, network: TradingNetwork, attached: secretsmanager.ISecret) -> None:
        """Weekly. The programs' user alternates with its clone, so that no connection breaks while a password changes."""
        common = {
            "vpc": network.vpc,
            "vpc_subnets": ec2.SubnetSelection(subnet_group_name=PROGRAMS),
            "security_groups": [network.groups.rotation],
        }
        week = cdk.Duration.days(7)
        self.admin_secret.add_rotation_schedule(
            "Rotation", automatically_after=week, hosted_rotation=secretsmanager.HostedRotation.postgre_sql_single_user(**common)
        )
        attached.add_rotation_schedule(
            "Rotation",
            automatically_after=week,
            hosted_rotation=secretsmanager.HostedRotation.postgre_sql_multi_user(master_secret=self.admin_secret, **common),
        )

    def _accept(self, config: StageConfig) -> None:
        if not config.database_multi_az:
            acknowledge(self.instance, "A stage without trading may wait for a restore; Multi-AZ doubles its price.", "AwsSolutions-RDS3")
        if not config.retain_data:
            acknowledge(self.instance, "A stage whose data may go is deleted with one command.", "AwsSolutions-RDS10")
        if not config.rotate_secrets:
            for secret in (self.admin_secret, self.program_secret):
                acknowledge(secret, "The stage holds no account and no client data; its secrets change with each new deployment.", "AwsSolutions-SMG4")

    def metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """A metric of the primary, per minute."""
        return self.instance.metric(name, statistic=statistic, period=cdk.Duration.minutes(1))
