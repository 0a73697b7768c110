"""PostgreSQL for everything that must not be lost: journal, orders, fills, positions; and for what people query."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk.constructs.program_logs import program_logs
from cdk.constructs.trading_network import DATABASE_PORT, PROGRAMS, STORES, TradingNetwork
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct

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


ROTATION_DAYS = 7
LOGS = ("postgresql", "upgrade")


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
        logs_key: kms.IKey,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        self._names, self._config, self._network, self._removal_policy = names, config, network, removal_policy
        log_groups = self._logs(logs_key)
        self.admin_secret = self._secret("AdminSecret", "database-admin", ADMIN_USER, secrets_key)
        self.instance = self._instance(data_key)
        self.instance.node.add_dependency(*log_groups)
        self.replicas = [self._replica(number) for number in range(config.database_replica_count)]
        admin = self.instance.secret
        assert admin is not None, "credentials from a secret come back attached"
        self.program_secret = self._secret("ProgramSecret", "database", PROGRAM_USER, secrets_key, admin)
        program = self.program_secret.attach(self.instance)
        if config.rotate_secrets:
            self._rotate(admin, program)
        self._accept()
        cdk.CfnOutput(self, "DatabaseSecretArn", value=self.program_secret.secret_arn)
        cdk.CfnOutput(self, "DatabaseAdminSecretArn", value=self.admin_secret.secret_arn)

    def _logs(self, key: kms.IKey) -> list[logs.LogGroup]:
        """RDS would make these groups itself, without a key and without an end."""
        folder = f"/aws/rds/instance/{self._names.of('database')}"
        days = self._config.log_retention_days
        return [program_logs(self, f"{log.capitalize()}Logs", name=f"{folder}/{log}", key=key, days=days) for log in LOGS]

    def _secret(self, id_: str, part: str, user: str, key: kms.IKey, admin: secretsmanager.ISecret | None = None) -> rds.DatabaseSecret:
        secret = rds.DatabaseSecret(
            self, id_, secret_name=self._names.of(part), username=user, dbname=DATABASE_NAME, encryption_key=key, master_secret=admin
        )
        secret.apply_removal_policy(self._removal_policy)
        return secret

    def _placement(self) -> dict[str, Any]:
        """Where primary and replicas live, and how they are reached."""
        return {
            "instance_type": ec2.InstanceType(self._config.database_instance),
            "vpc": self._network.vpc,
            "vpc_subnets": ec2.SubnetSelection(subnet_group_name=STORES),
            "security_groups": [self._network.groups.database],
            "port": DATABASE_PORT,
            "publicly_accessible": False,
            "ca_certificate": rds.CaCertificate.RDS_CA_RSA4096_G1,
            "iam_authentication": True,
            "storage_type": rds.StorageType.GP3,
            "copy_tags_to_snapshot": True,
            "auto_minor_version_upgrade": True,
            "deletion_protection": True,  # in every stage: an instance is deleted in two deliberate steps
            "removal_policy": self._removal_policy,
        }

    def _instance(self, key: kms.IKey) -> rds.DatabaseInstance:
        config = self._config
        return rds.DatabaseInstance(
            self,
            "Instance",
            instance_identifier=self._names.of("database"),
            engine=ENGINE,
            multi_az=config.database_multi_az,
            database_name=DATABASE_NAME,
            credentials=rds.Credentials.from_secret(self.admin_secret),
            parameter_group=rds.ParameterGroup(self, "Parameters", engine=ENGINE, parameters=PARAMETERS),
            allocated_storage=config.database_storage_gib,
            max_allocated_storage=config.database_storage_gib_max,
            storage_encrypted=True,
            storage_encryption_key=key,
            enable_performance_insights=True,
            performance_insight_encryption_key=key,
            backup_retention=cdk.Duration.days(config.database_backup_days),
            delete_automated_backups=not config.retain_data,
            cloudwatch_logs_exports=list(LOGS),
            **self._placement(),
        )

    def _replica(self, number: int) -> rds.DatabaseInstanceReadReplica:
        """For research queries. Encryption comes from the source; saying it again is an error for a replica in the same region."""
        replica = rds.DatabaseInstanceReadReplica(
            self,
            f"Replica{number}",
            instance_identifier=self._names.of(f"database-replica-{number}"),
            source_database_instance=self.instance,
            parameter_group=rds.ParameterGroup(self, f"Replica{number}Parameters", engine=ENGINE, parameters=PARAMETERS),
            **self._placement(),
        )
        acknowledge(replica, "A replica is not the fail-over target; the Multi-AZ primary is.", "AwsSolutions-RDS3")
        acknowledge(replica, "Encryption and engine come from the source and must not be said again.", "AwsSolutions-RDS2")
        acknowledge(replica, "The port is the primary's; the rule cannot see the engine that comes from it.", "AwsSolutions-RDS11")
        return replica

    def _rotate(self, admin: secretsmanager.ISecret, program: secretsmanager.ISecret) -> None:
        """Weekly. The programs' user alternates with its clone, so that no connection breaks while a password changes."""
        common: dict[str, Any] = {
            "vpc": self._network.vpc,
            "vpc_subnets": ec2.SubnetSelection(subnet_group_name=PROGRAMS),
            "security_groups": [self._network.groups.rotation],
        }
        week = cdk.Duration.days(ROTATION_DAYS)
        hosted = secretsmanager.HostedRotation
        admin.add_rotation_schedule("Rotation", automatically_after=week, hosted_rotation=hosted.postgre_sql_single_user(**common))
        alternating = hosted.postgre_sql_multi_user(master_secret=admin, **common)
        program.add_rotation_schedule("Rotation", automatically_after=week, hosted_rotation=alternating)

    def _accept(self) -> None:
        if not self._config.database_multi_az:
            acknowledge(self.instance, "A stage without trading may wait for a restore; Multi-AZ doubles its price.", "AwsSolutions-RDS3")
        if not self._config.rotate_secrets:
            reason = "The stage holds no account and no client data; its secrets change with each new deployment."
            for secret in (self.admin_secret, self.program_secret):
                acknowledge(secret, reason, "AwsSolutions-SMG4")

    def metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """A metric of the primary, per minute."""
        return self.instance.metric(name, statistic=statistic, period=cdk.Duration.minutes(1))
