"""Creates a stage's streams, buckets, queues, topics, secrets and parameters through the AWS API, from its template.

The same boto3 calls that would work on AWS, pointed at the laptop's endpoint; so the test that deploys and reads back
proves the template's names, references and settings, not a private copy of them.
"""

import json
import secrets as random
import string
from dataclasses import dataclass, field
from typing import Any

from tidemark.local.resources import (
    StageResources,
    environments,
    read_deliveries,
    read_functions,
    read_mappings,
    read_tasks,
    skipped_types,
    stage_of,
)
from tidemark.local.template import Assembly, Resource

TABLE_INPUT_KEYS = ("Name", "Description", "PartitionKeys", "StorageDescriptor", "TableType", "Parameters")
DATABASE_SECRET = "DATABASE_SECRET_ARN"
CACHE_SECRET = "CACHE_SECRET_ARN"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageValues:
    """What the laptop puts in the place of managed services and of settings that only a run knows.

    `parameters` is {variable that names the parameter: value}, e.g. INSTRUMENTS_PARAMETER. `environment` replaces
    variables of every program: the cache has no TLS here.
    """

    database_secret: dict[str, str | int]
    cache_host: str
    cache_port: int
    cache_auth_token: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"TIDEMARK_STAGE": "local", "CACHE_TLS": "off"})


class Clients:
    """One boto3 client per service against one endpoint."""

    def __init__(self, endpoint: str, region: str) -> None:
        self._endpoint = endpoint
        self._region = region
        self._made: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        if service not in self._made:
            import boto3

            self._made[service] = boto3.client(
                service, endpoint_url=self._endpoint, region_name=self._region, aws_access_key_id="local", aws_secret_access_key="local"
            )
        return self._made[service]


def deploy(assembly: Assembly, endpoint: str, values: StageValues) -> StageResources:
    """Create everything and return it resolved. The endpoint must be empty: nothing is updated in place."""
    clients = Clients(endpoint, assembly.region)
    _bind_services(assembly, values)
    assembly.unresolved.clear()
    secrets = _create_secrets(assembly, clients)
    streams = _create_streams(assembly, clients)
    buckets = [_create_bucket(assembly, clients, resource) for resource in assembly.resources("AWS::S3::Bucket")]
    queues = _create_queues(assembly, clients)
    topics = _create_topics(assembly, clients)
    parameters = _create_parameters(assembly, clients)
    _create_catalog(assembly, clients)
    _put_values(assembly, clients, values)
    stage = stage_of(assembly)
    urls = {_queue_arn(assembly, name): url for name, url in queues.items()}
    functions = read_functions(assembly, stage)
    tasks = read_tasks(assembly)
    for env in [spec.env for spec in functions.values()] + [spec.env for spec in tasks.values()]:
        env.update({name: value for name, value in values.environment.items() if name in env})
    return StageResources(
        stage=stage,
        account=assembly.account,
        region=assembly.region,
        streams=streams,
        buckets=buckets,
        queues=queues,
        topics=topics,
        secrets=secrets,
        parameters=parameters,
        functions=functions,
        mappings=read_mappings(assembly, stage, urls),
        tasks=tasks,
        deliveries=read_deliveries(assembly),
        skipped=skipped_types(assembly),
        unresolved=sorted(assembly.unresolved),
    )


def check(assembly: Assembly) -> None:
    """Read everything that the stage will need, before anything is started. Raises InputError naming what does not fit."""
    stage = stage_of(assembly)
    read_functions(assembly, stage)
    read_mappings(assembly, stage, {})
    read_tasks(assembly)
    read_deliveries(assembly)


def wants_cache_token(assembly: Assembly) -> bool:
    """Whether the programs will authenticate to the cache, so that Redis must ask for it."""
    return any(CACHE_SECRET in variables for variables in environments(assembly))


def _bind_services(assembly: Assembly, values: StageValues) -> None:
    """Attributes that AWS would make up, as the laptop has them."""
    host, port = str(values.database_secret["host"]), str(values.database_secret["port"])
    cache = {"Address": values.cache_host, "Port": str(values.cache_port)}
    assembly.type_attributes.update(
        {
            "AWS::RDS::DBInstance": {"Endpoint.Address": host, "Endpoint.Port": port},
            "AWS::ElastiCache::ReplicationGroup": {
                f"{name}.{key}": value for name in ("PrimaryEndPoint", "ReaderEndPoint") for key, value in cache.items()
            },
            "AWS::ElastiCache::CacheCluster": {f"RedisEndpoint.{key}": value for key, value in cache.items()},
            "AWS::ElastiCache::ServerlessCache": {f"Endpoint.{key}": value for key, value in cache.items()},
        }
    )


def _create_secrets(assembly: Assembly, clients: Clients) -> dict[str, str]:
    made = {}
    for resource in assembly.resources("AWS::SecretsManager::Secret"):
        name = assembly.name(resource)
        content = _secret_content(assembly.properties(resource))
        arn = clients("secretsmanager").create_secret(Name=name, SecretString=content)["ARN"]
        assembly.bindings[resource.key] = {"Arn": arn, "Ref": arn, "Id": arn}
        made[name] = arn
    return made


def _secret_content(properties: dict[str, Any]) -> str:
    """The secret's text as Secrets Manager would make it: the template's fields and one generated one."""
    generate = properties.get("GenerateSecretString")
    if generate is None:
        return str(properties.get("SecretString", "{}"))
    generated = "".join(random.choice(string.ascii_letters + string.digits) for _ in range(int(generate.get("PasswordLength", 32))))
    key = generate.get("GenerateStringKey")
    if key is None:
        return generated
    return json.dumps({**json.loads(generate.get("SecretStringTemplate", "{}")), key: generated})


def _create_streams(assembly: Assembly, clients: Clients) -> dict[str, str]:
    made = {}
    for resource in assembly.resources("AWS::Kinesis::Stream"):
        properties = assembly.properties(resource)
        name = assembly.name(resource)
        mode = properties.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
        settings: dict[str, Any] = {"StreamName": name, "StreamModeDetails": {"StreamMode": mode}}
        if mode == "PROVISIONED":
            settings["ShardCount"] = int(properties.get("ShardCount", 1))
        clients("kinesis").create_stream(**settings)
        made[name] = assembly.arn(resource)
    return made


def _create_bucket(assembly: Assembly, clients: Clients, resource: Resource) -> str:
    name = assembly.name(resource)
    settings: dict[str, Any] = {"Bucket": name}
    if assembly.region != "us-east-1":  # the one region that may not be named
        settings["CreateBucketConfiguration"] = {"LocationConstraint": assembly.region}
    clients("s3").create_bucket(**settings)
    versioning = assembly.properties(resource).get("VersioningConfiguration", {}).get("Status")
    if versioning == "Enabled":
        clients("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def _create_queues(assembly: Assembly, clients: Clients) -> dict[str, str]:
    made = {}
    for resource in assembly.resources("AWS::SQS::Queue"):
        name = assembly.name(resource)
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        url = clients("sqs").create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]
        assembly.bindings[resource.key] = {"Ref": url}
        made[name] = url
    return made


def _create_topics(assembly: Assembly, clients: Clients) -> dict[str, str]:
    made = {}
    for resource in assembly.resources("AWS::SNS::Topic"):
        name = assembly.name(resource)
        made[name] = clients("sns").create_topic(Name=name)["TopicArn"]
    for resource in assembly.resources("AWS::SNS::Subscription"):
        properties = assembly.properties(resource)
        if properties["Protocol"] == "sqs":  # nobody is mailed from a laptop
            clients("sns").subscribe(TopicArn=properties["TopicArn"], Protocol="sqs", Endpoint=properties["Endpoint"])
    return made


def _create_parameters(assembly: Assembly, clients: Clients) -> dict[str, str]:
    made = {}
    for resource in assembly.resources("AWS::SSM::Parameter"):
        properties = assembly.properties(resource)
        name, value = assembly.name(resource), str(properties["Value"])
        clients("ssm").put_parameter(Name=name, Value=value, Type=properties.get("Type", "String"), Overwrite=True)
        made[name] = value
    return made


def _create_catalog(assembly: Assembly, clients: Clients) -> None:
    for resource in assembly.resources("AWS::Glue::Database"):
        clients("glue").create_database(DatabaseInput={"Name": assembly.name(resource)})
    for resource in assembly.resources("AWS::Glue::Table"):
        properties = assembly.properties(resource)
        table = {key: value for key, value in properties["TableInput"].items() if key in TABLE_INPUT_KEYS}
        clients("glue").create_table(DatabaseName=properties["DatabaseName"], TableInput=table)


def _put_values(assembly: Assembly, clients: Clients, values: StageValues) -> None:
    """Replace what the template left to generators by what the laptop's services answer to."""
    contents: dict[str, dict[str, str | int]] = {}
    parameters: dict[str, str] = {}
    for variables in environments(assembly):
        if DATABASE_SECRET in variables:
            contents[variables[DATABASE_SECRET]] = values.database_secret
        if CACHE_SECRET in variables and values.cache_auth_token is not None:
            contents[variables[CACHE_SECRET]] = {"auth_token": values.cache_auth_token}
        parameters.update({variables[name]: value for name, value in values.parameters.items() if name in variables})
    for arn, content in contents.items():
        clients("secretsmanager").put_secret_value(SecretId=arn, SecretString=json.dumps(content))
    for name, value in parameters.items():
        tier = {"Tier": "Advanced"} if len(value) > 4_096 else {}
        clients("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True, **tier)


def _queue_arn(assembly: Assembly, name: str) -> str:
    return f"arn:aws:sqs:{assembly.region}:{assembly.account}:{name}"
