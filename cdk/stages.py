"""Everything that differs by stage, as typed data, and nothing else. No other file of cdk/ asks which stage it builds.

Instance sizes follow the requirements' size table where a comment says "size table"; current-generation equivalents are noted.
"""

from dataclasses import dataclass
from enum import Enum

SYMBOLS = ("NQ", "MNQ", "ES", "MES", "YM", "MYM", "ZN", "DX")
"""Instruments that every stage knows; what it trades is the execution task's own configuration."""


class Capacity(Enum):
    """What carries the ECS tasks: FARGATE needs no hosts; on EC2 both tasks share one host, and so the direct feed's socket."""

    FARGATE = "fargate"
    EC2 = "ec2"


class AuditLock(Enum):
    """S3 object lock of the audit bucket: nobody shortens COMPLIANCE; an administrator can lift GOVERNANCE."""

    GOVERNANCE = "GOVERNANCE"
    COMPLIANCE = "COMPLIANCE"


@dataclass(frozen=True, kw_only=True)
class FunctionConfig:
    """One stream processor. `record_age_s_max` bounds how long a failing record holds its shard."""

    memory_mib: int
    timeout_s: int
    batch_size: int
    parallelization: int
    reserved_concurrency: int
    record_age_s_max: int


@dataclass(frozen=True, kw_only=True)
class TaskSize:
    """CPU units (1024 = one core) and memory of an ECS task."""

    cpu_units: int
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage. Fields are in the order of the stacks that read them."""

    name: str
    region: str
    availability_zones: tuple[str, ...]
    trading_account: str  # label of the account whose lease and journal the execution task uses
    alert_emails: tuple[str, ...] = ()
    log_retention_days: int

    # network
    vpc_cidr: str
    nat_gateway_count: int
    interface_endpoints: bool  # AWS APIs through private endpoints only; otherwise through NAT
    s3_prefix_list: str  # AWS-managed prefix list of S3 in the region, for egress through the gateway endpoint

    # data
    retain_data: bool  # what holds state survives the deletion of its stack
    rotate_secrets: bool
    database_instance: str
    database_multi_az: bool
    database_replica_count: int
    database_storage_gib: int
    database_storage_gib_max: int
    database_backup_days: int
    cache_node: str
    cache_node_count: int
    enhanced_fan_out: bool  # every stage that trades: a polled hop costs 200 ms and more, a pushed one about 70
    stream_retention_hours: int
    market_data_shards: int
    features_shards: int
    signals_shards: int
    lake_infrequent_days: int
    lake_archive_days: int
    quarantine_days: int
    audit_lock: AuditLock
    audit_retention_days: int

    # processing
    market_data: FunctionConfig
    signal: FunctionConfig
    market_data_sample: int  # every n-th depth row goes to Postgres; the lake has all

    # models
    inference_instance: str
    inference_image: str  # tag of the AWS deep-learning container
    inference_count_min: int
    inference_count_max: int

    # execution
    capacity: Capacity
    host_instance: str
    execution_size: TaskSize
    gateway_size: TaskSize

    # observability
    dashboard_period_s: int

    def __post_init__(self) -> None:
        for shards, function in ((self.market_data_shards, self.market_data), (self.features_shards, self.signal)):
            assert function.reserved_concurrency >= shards * function.parallelization, "a shard would wait for a free instance"
        assert self.lake_archive_days > self.lake_infrequent_days >= 30, "S3 refuses an earlier or unordered transition"
        assert self.cache_node_count >= 2, "a fail-over needs somewhere to go"
        assert not self.retain_data or self.audit_lock is AuditLock.COMPLIANCE, "a stage that keeps its data keeps its audit trail"


DEV = StageConfig(
    name="dev",
    region="us-east-1",
    availability_zones=("us-east-1a", "us-east-1b"),
    trading_account="dev-paper",
    log_retention_days=7,
    vpc_cidr="10.10.0.0/16",
    nat_gateway_count=1,
    interface_endpoints=False,
    s3_prefix_list="pl-63a5400a",
    retain_data=False,
    rotate_secrets=False,
    database_instance="t4g.medium",  # size table: db.t3.medium; Graviton equivalent, cheaper
    database_multi_az=False,
    database_replica_count=0,
    database_storage_gib=50,
    database_storage_gib_max=100,
    database_backup_days=7,
    cache_node="cache.t4g.micro",
    cache_node_count=2,
    enhanced_fan_out=False,
    stream_retention_hours=24,
    market_data_shards=1,
    features_shards=1,
    signals_shards=1,
    lake_infrequent_days=30,
    lake_archive_days=60,
    quarantine_days=14,
    audit_lock=AuditLock.GOVERNANCE,
    audit_retention_days=1,
    market_data=FunctionConfig(
        memory_mib=1_024, timeout_s=30, batch_size=100, parallelization=1, reserved_concurrency=2, record_age_s_max=60
    ),
    signal=FunctionConfig(memory_mib=1_024, timeout_s=30, batch_size=100, parallelization=1, reserved_concurrency=2, record_age_s_max=300),
    market_data_sample=20,
    inference_instance="ml.m5.large",
    inference_image="2.6.0-cpu-py312-ubuntu22.04-sagemaker",
    inference_count_min=1,
    inference_count_max=1,
    capacity=Capacity.FARGATE,
    host_instance="c6i.large",  # size table; unused on Fargate
    execution_size=TaskSize(cpu_units=1_024, memory_mib=4_096),
    gateway_size=TaskSize(cpu_units=512, memory_mib=2_048),
    dashboard_period_s=300,
)

STAGING = StageConfig(
    name="staging",
    region="us-east-1",
    availability_zones=("us-east-1a", "us-east-1b"),
    trading_account="staging-paper",
    log_retention_days=30,
    vpc_cidr="10.20.0.0/16",
    nat_gateway_count=1,
    interface_endpoints=True,
    s3_prefix_list="pl-63a5400a",
    retain_data=False,
    rotate_secrets=True,
    database_instance="t4g.medium",
    database_multi_az=True,
    database_replica_count=0,
    database_storage_gib=100,
    database_storage_gib_max=200,
    database_backup_days=14,
    cache_node="cache.t4g.medium",
    cache_node_count=2,
    enhanced_fan_out=True,
    stream_retention_hours=48,
    market_data_shards=2,
    features_shards=2,
    signals_shards=1,
    lake_infrequent_days=30,
    lake_archive_days=90,
    quarantine_days=30,
    audit_lock=AuditLock.GOVERNANCE,
    audit_retention_days=30,
    market_data=FunctionConfig(
        memory_mib=1_769, timeout_s=30, batch_size=100, parallelization=2, reserved_concurrency=6, record_age_s_max=60
    ),
    signal=FunctionConfig(memory_mib=1_769, timeout_s=30, batch_size=50, parallelization=2, reserved_concurrency=6, record_age_s_max=300),
    market_data_sample=10,
    inference_instance="ml.c5.xlarge",
    inference_image="2.6.0-cpu-py312-ubuntu22.04-sagemaker",
    inference_count_min=1,
    inference_count_max=2,
    capacity=Capacity.EC2,
    host_instance="c6i.xlarge",
    execution_size=TaskSize(cpu_units=2_048, memory_mib=3_072),
    gateway_size=TaskSize(cpu_units=1_024, memory_mib=2_048),
    dashboard_period_s=60,
)

PROD = StageConfig(
    name="prod",
    region="us-east-1",
    availability_zones=("us-east-1a", "us-east-1b", "us-east-1c"),
    trading_account="prod",
    log_retention_days=365,
    vpc_cidr="10.30.0.0/16",
    nat_gateway_count=2,
    interface_endpoints=True,
    s3_prefix_list="pl-63a5400a",
    retain_data=True,
    rotate_secrets=True,
    database_instance="r6g.large",  # size table
    database_multi_az=True,
    database_replica_count=1,
    database_storage_gib=400,
    database_storage_gib_max=1_000,
    database_backup_days=35,
    cache_node="cache.r6g.large",  # size table
    cache_node_count=2,
    enhanced_fan_out=True,
    stream_retention_hours=168,
    market_data_shards=4,
    features_shards=2,
    signals_shards=1,
    lake_infrequent_days=30,
    lake_archive_days=180,
    quarantine_days=365,
    audit_lock=AuditLock.COMPLIANCE,
    audit_retention_days=1_827,  # five years
    market_data=FunctionConfig(
        memory_mib=1_769, timeout_s=30, batch_size=100, parallelization=2, reserved_concurrency=12, record_age_s_max=60
    ),
    signal=FunctionConfig(memory_mib=1_769, timeout_s=30, batch_size=50, parallelization=4, reserved_concurrency=12, record_age_s_max=300),
    market_data_sample=10,
    inference_instance="ml.g4dn.2xlarge",  # size table
    inference_image="2.6.0-gpu-py312-cu124-ubuntu22.04-sagemaker",
    inference_count_min=1,
    inference_count_max=3,
    capacity=Capacity.EC2,
    host_instance="c6i.4xlarge",  # size table
    execution_size=TaskSize(cpu_units=8_192, memory_mib=16_384),
    gateway_size=TaskSize(cpu_units=4_096, memory_mib=8_192),
    dashboard_period_s=60,
)

STAGES: dict[str, StageConfig] = {config.name: config for config in (DEV, STAGING, PROD)}
