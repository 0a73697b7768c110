"""What the programs of the laptop stage need to know of its resources, read from the resolved template."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tidemark.errors import bad_input
from tidemark.local.template import Assembly, Resource, plain_environment

STAGE_PREFIX = "tidemark-"
UNLIMITED = -1
RETRYABLE_DEFAULT = UNLIMITED  # Lambda's own default: retry until the record expires
BATCH_SIZE_DEFAULT = 100
FIREHOSE_PROCESSOR_JQ = "MetadataExtraction"


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A Lambda function; `name` is its folder below lambdas/."""

    name: str
    physical_name: str
    arn: str
    role_arn: str
    handler: str
    env: dict[str, str]
    timeout_s: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """An event source mapping; -1 means without limit. `on_failure` is a queue's URL."""

    function: str
    stream: str
    stream_arn: str
    batch_size: int
    window_s: float
    parallelization: int
    retries: int
    max_age_s: int
    bisect: bool
    partial: bool
    on_failure: str | None
    on_failure_arn: str | None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A container of an ECS task definition; `name` is the container's, in the spelling of its folder."""

    name: str
    family: str
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class DeliverySpec:
    """A Firehose delivery stream with record format conversion.

    `columns` are (name, Glue type) of the table, without its partition keys. `prefix` still holds Firehose's `!{…}`.
    `partition_query` is the JQ expression of dynamic partitioning, None where there is none.
    """

    name: str
    arn: str
    bucket: str
    prefix: str
    error_prefix: str
    buffer_mib: int
    buffer_s: int
    database: str
    table: str
    columns: list[tuple[str, str]]
    partition_query: str | None


@dataclass(frozen=True, slots=True)
class StageResources:
    """Everything by its name in the template; `skipped` are the resource types that the laptop has no counterpart for."""

    stage: str
    account: str
    region: str
    streams: dict[str, str] = field(default_factory=dict)
    buckets: list[str] = field(default_factory=list)
    queues: dict[str, str] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    functions: dict[str, FunctionSpec] = field(default_factory=dict)
    mappings: list[MappingSpec] = field(default_factory=list)
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    deliveries: dict[str, DeliverySpec] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    unresolved: list[str] = field(default_factory=list)

    def to_json(self) -> bytes:
        """For the run's folder and for child processes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @classmethod
    def from_file(cls, path: Path) -> "StageResources":
        """What `to_json` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def mappings_of(self, function: str) -> list[MappingSpec]:
        """The event sources of one function."""
        return [mapping for mapping in self.mappings if mapping.function == function]


CREATED_TYPES = (
    "AWS::Kinesis::Stream",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SNS::Subscription",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
    "AWS::SSM::Parameter",
    "AWS::Glue::Database",
    "AWS::Glue::Table",
)
READ_TYPES = (
    "AWS::Kinesis::StreamConsumer",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::Lambda::Function",
    "AWS::Lambda::EventSourceMapping",
    "AWS::ECS::TaskDefinition",
)
"""Not created anywhere: our own programs do what they describe."""
REPLACED_TYPES = ("AWS::RDS::DBInstance", "AWS::ElastiCache::ReplicationGroup", "AWS::SageMaker::Endpoint")
"""Embedded PostgreSQL, embedded Redis and the model server stand in their place."""


def skipped_types(assembly: Assembly) -> dict[str, int]:
    """Resource types of the template without a counterpart here, with how many there are."""
    known = {*CREATED_TYPES, *READ_TYPES, *REPLACED_TYPES}
    counts: dict[str, int] = {}
    for resource in assembly.resources():
        if resource.type not in known:
            counts[resource.type] = counts.get(resource.type, 0) + 1
    return dict(sorted(counts.items()))


def stage_of(assembly: Assembly) -> str:
    """The stage that the template was synthesized for, from its programs' environment."""
    for variables in environments(assembly):
        if "TIDEMARK_STAGE" in variables:
            return variables["TIDEMARK_STAGE"]
    raise bad_input(assembly.source, "TIDEMARK_STAGE", "nothing", "a function or task whose environment names the stage")


def environments(assembly: Assembly) -> Iterator[dict[str, str]]:
    """Resolved environment of every function and container."""
    for resource in assembly.resources("AWS::Lambda::Function"):
        yield _function_environment(assembly.properties(resource, "Environment"))
    for resource in assembly.resources("AWS::ECS::TaskDefinition"):
        for container in assembly.properties(resource, "ContainerDefinitions").get("ContainerDefinitions", []):
            yield _container_environment(container)


def read_functions(assembly: Assembly, stage: str) -> dict[str, FunctionSpec]:
    """Functions of ours; those that CDK adds for its own purposes have no explicit name and are left out."""
    found = {}
    for resource in assembly.resources("AWS::Lambda::Function"):
        if "FunctionName" not in resource.properties:
            continue
        properties = assembly.properties(resource, "FunctionName", "Role", "Handler", "Environment", "Timeout", "MemorySize")
        name = short_name(properties["FunctionName"], stage)
        found[name] = FunctionSpec(
            name=name,
            physical_name=properties["FunctionName"],
            arn=assembly.arn(resource),
            role_arn=str(properties["Role"]),
            handler=properties.get("Handler", "handler.handler"),
            env=_function_environment(properties),
            timeout_s=int(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
        )
    return found


def read_mappings(assembly: Assembly, stage: str, queue_urls: dict[str, str]) -> list[MappingSpec]:
    """Event source mappings on Kinesis streams and their consumers. `queue_urls` is {queue ARN: URL}."""
    streams = {assembly.arn(resource): assembly.name(resource) for resource in assembly.resources("AWS::Kinesis::Stream")}
    consumers = {assembly.arn(c): str(assembly.properties(c)["StreamARN"]) for c in assembly.resources("AWS::Kinesis::StreamConsumer")}
    found = []
    for resource in assembly.resources("AWS::Lambda::EventSourceMapping"):
        properties = assembly.properties(resource)
        if not properties.get("Enabled", True):
            continue
        source = str(properties["EventSourceArn"])
        stream_arn = consumers.get(source, source)
        if stream_arn not in streams:
            raise bad_input(
                assembly.source, f"{resource.key[1]}.EventSourceArn", source, "a Kinesis stream of the assembly or a consumer of one"
            )
        found.append(_mapping(properties, stage, streams[stream_arn], stream_arn, queue_urls))
    return found


def _mapping(properties: dict[str, Any], stage: str, stream: str, stream_arn: str, queue_urls: dict[str, str]) -> MappingSpec:
    on_failure = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    return MappingSpec(
        function=short_name(_function_of(str(properties["FunctionName"])), stage),
        stream=stream,
        stream_arn=stream_arn,
        batch_size=int(properties.get("BatchSize", BATCH_SIZE_DEFAULT)),
        window_s=float(properties.get("MaximumBatchingWindowInSeconds", 0)),
        parallelization=int(properties.get("ParallelizationFactor", 1)),
        retries=int(properties.get("MaximumRetryAttempts", RETRYABLE_DEFAULT)),
        max_age_s=int(properties.get("MaximumRecordAgeInSeconds", UNLIMITED)),
        bisect=bool(properties.get("BisectBatchOnFunctionError", False)),
        partial="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
        on_failure=queue_urls.get(on_failure) if on_failure else None,
        on_failure_arn=on_failure,
    )


def _function_of(name_or_arn: str) -> str:
    """Function name of a name, an ARN, or the ARN of an alias or version."""
    parts = name_or_arn.split(":")
    return parts[parts.index("function") + 1] if "function" in parts else name_or_arn


def read_tasks(assembly: Assembly) -> dict[str, TaskSpec]:
    """Containers of the task definitions, by name."""
    found = {}
    for resource in assembly.resources("AWS::ECS::TaskDefinition"):
        properties = assembly.properties(resource, "Family", "ContainerDefinitions")
        for container in properties.get("ContainerDefinitions", []):
            name = str(container["Name"]).replace("-", "_")
            found[name] = TaskSpec(name, str(properties.get("Family", name)), _container_environment(container))
    return found


def read_deliveries(assembly: Assembly) -> dict[str, DeliverySpec]:
    """Delivery streams to S3 with format conversion, by name."""
    tables = {}
    for resource in assembly.resources("AWS::Glue::Table"):
        properties = assembly.properties(resource)
        table = properties["TableInput"]
        tables[(str(properties["DatabaseName"]), str(table["Name"]))] = table
    return {
        spec.name: spec
        for spec in (_delivery(assembly, item, tables) for item in assembly.resources("AWS::KinesisFirehose::DeliveryStream"))
    }


def _delivery(assembly: Assembly, resource: Resource, tables: dict[tuple[str, str], dict[str, Any]]) -> DeliverySpec:
    target = assembly.properties(resource).get("ExtendedS3DestinationConfiguration", {})
    conversion = target.get("DataFormatConversionConfiguration", {})
    schema = conversion.get("SchemaConfiguration", {})
    key = (str(schema.get("DatabaseName")), str(schema.get("TableName")))
    if key not in tables or conversion.get("Enabled", True) is False:
        raise bad_input(assembly.source, f"{resource.key[1]}.SchemaConfiguration", key, "a Glue table of the assembly to convert to")
    columns = tables[key]["StorageDescriptor"]["Columns"]
    buffering = target.get("BufferingHints", {})
    return DeliverySpec(
        name=assembly.name(resource),
        arn=assembly.arn(resource),
        bucket=str(target["BucketARN"]).removeprefix("arn:aws:s3:::"),
        prefix=str(target.get("Prefix", "")),
        error_prefix=str(target.get("ErrorOutputPrefix", "errors/!{firehose:error-output-type}/")),
        buffer_mib=int(buffering.get("SizeInMBs", 5)),
        buffer_s=int(buffering.get("IntervalInSeconds", 300)),
        database=key[0],
        table=key[1],
        columns=[(str(column["Name"]), str(column["Type"])) for column in columns],
        partition_query=_partition_query(target),
    )


def _partition_query(target: dict[str, Any]) -> str | None:
    if not target.get("DynamicPartitioningConfiguration", {}).get("Enabled", False):
        return None
    for processor in target.get("ProcessingConfiguration", {}).get("Processors", []):
        if processor["Type"] == FIREHOSE_PROCESSOR_JQ:
            values = {item["ParameterName"]: item["ParameterValue"] for item in processor["Parameters"]}
            return str(values["MetadataExtractionQuery"])
    return None


def short_name(physical_name: str, stage: str) -> str:
    """Folder name of a physical name: `tidemark-dev-market-data` → `market_data`."""
    return physical_name.removeprefix(f"{STAGE_PREFIX}{stage}-").replace("-", "_")


def _function_environment(properties: dict[str, Any]) -> dict[str, str]:
    return plain_environment(properties.get("Environment", {}).get("Variables", {}))


def _container_environment(container: dict[str, Any]) -> dict[str, str]:
    return plain_environment({item["Name"]: item["Value"] for item in container.get("Environment", [])})
