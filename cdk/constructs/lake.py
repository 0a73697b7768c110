"""Buckets of a stage: the lake (with quarantine), the audit trail under object lock, and the access log of all of them."""

import aws_cdk as cdk
from aws_cdk import aws_athena as athena
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import AuditLock, StageConfig
from constructs import Construct

TLS_VERSION_MIN = 1.2
QUARANTINE_PREFIX = "quarantine/"
QUERY_PREFIX = "athena-results/"
QUERY_DAYS = 7
UPLOAD_DAYS = 7  # an unfinished multipart upload is abandoned
OLD_VERSION_DAYS = 30
ACCESS_LOG_DAYS = 365
QUERY_BYTES_MAX = 100 * 1024**3  # one careless query costs half a dollar at most
RETENTION_OF = {AuditLock.GOVERNANCE: s3.ObjectLockRetention.governance, AuditLock.COMPLIANCE: s3.ObjectLockRetention.compliance}


def private_bucket(
    scope: Construct,
    id_: str,
    *,
    name: str,
    key: kms.IKey,
    access_log: s3.IBucket,
    removal_policy: cdk.RemovalPolicy,
    rules: list[s3.LifecycleRule],
    lock: s3.ObjectLockRetention | None = None,
) -> s3.Bucket:
    """Our kind of bucket: versioned, our key, TLS 1.2 and up, no public access, access logged."""
    return s3.Bucket(
        scope,
        id_,
        bucket_name=name,
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        bucket_key_enabled=True,
        versioned=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=TLS_VERSION_MIN,
        server_access_logs_bucket=access_log,
        server_access_logs_prefix=f"{id_.lower()}/",
        lifecycle_rules=[
            s3.LifecycleRule(id="abandoned-uploads", abort_incomplete_multipart_upload_after=cdk.Duration.days(UPLOAD_DAYS)),
            *rules,
        ],
        object_lock_enabled=lock is not None,
        object_lock_default_retention=lock,
        removal_policy=removal_policy,
    )


class Lake(Construct):
    """The lake holds all market data as Parquet, old data on cheaper storage."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        names: Names,
        config: StageConfig,
        lake_key: kms.IKey,
        audit_key: kms.IKey,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        self.access_log = self._access_log(names, removal_policy)
        self.bucket = private_bucket(
            self,
            "Data",
            name=names.bucket("lake"),
            key=lake_key,
            access_log=self.access_log,
            removal_policy=removal_policy,
            rules=[
                s3.LifecycleRule(
                    id="market-data",
                    noncurrent_version_expiration=cdk.Duration.days(OLD_VERSION_DAYS),
                    transitions=[
                        s3.Transition(
                            storage_class=s3.StorageClass.INFREQUENT_ACCESS, transition_after=cdk.Duration.days(config.lake_infrequent_days)
                        ),
                        s3.Transition(
                            storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                            transition_after=cdk.Duration.days(config.lake_archive_days),
                        ),
                    ],
                ),
                s3.LifecycleRule(id="quarantine", prefix=QUARANTINE_PREFIX, expiration=cdk.Duration.days(config.quarantine_days)),
                s3.LifecycleRule(id="query-results", prefix=QUERY_PREFIX, expiration=cdk.Duration.days(QUERY_DAYS)),
            ],
        )
        self.audit = private_bucket(
            self,
            "Audit",
            name=names.bucket("audit"),
            key=audit_key,
            access_log=self.access_log,
            removal_policy=removal_policy,
            rules=[],
            lock=RETENTION_OF[config.audit_lock](cdk.Duration.days(config.audit_retention_days)),
        )
        self._query_group(names, lake_key)
        cdk.CfnOutput(self, "QuarantineBucket", value=self.bucket.bucket_name)
        cdk.CfnOutput(self, "AuditBucket", value=self.audit.bucket_name)

    def _access_log(self, names: Names, removal_policy: cdk.RemovalPolicy) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "AccessLog",
            bucket_name=names.bucket("access-log"),
            encryption=s3.BucketEncryption.S3_MANAGED,  # S3 delivers access logs to no bucket that uses a KMS key
            versioned=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=TLS_VERSION_MIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="end",
                    expiration=cdk.Duration.days(ACCESS_LOG_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(OLD_VERSION_DAYS),
                )
            ],
            removal_policy=removal_policy,
        )
        acknowledge(bucket, "This bucket is where access is logged; logging its own access would never end.", "AwsSolutions-S1")
        return bucket

    def _query_group(self, names: Names, key: kms.IKey) -> None:
        """Athena work group whose results stay encrypted in the lake bucket and whose scans are bounded."""
        athena.CfnWorkGroup(
            self,
            "Queries",
            name=names.of("lake"),
            recursive_delete_option=True,
            work_group_configuration=athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                bytes_scanned_cutoff_per_query=QUERY_BYTES_MAX,
                publish_cloud_watch_metrics_enabled=True,
                result_configuration=athena.CfnWorkGroup.ResultConfigurationProperty(
                    output_location=f"s3://{self.bucket.bucket_name}/{QUERY_PREFIX}",
                    encryption_configuration=athena.CfnWorkGroup.EncryptionConfigurationProperty(
                        encryption_option="SSE_KMS", kms_key=key.key_arn
                    ),
                ),
            ),
        )
