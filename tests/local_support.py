"""A small cloud assembly, handlers and helpers for the tests of the laptop stage."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ACCOUNT, REGION = "123456789012", "us-east-1"
PREFIX = "tidemark-dev"


def eventually(true: Callable[[], Any], *, timeout_s: float = 10.0, step_s: float = 0.01) -> Any:
    """The first truthy answer; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := true()):
        assert time.monotonic() < deadline, f"did not come true in {timeout_s} s"
        time.sleep(step_s)
    return answer


def living(pid: int) -> bool:
    """Whether a process runs; a zombie does not (a container's first process may never collect it)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_folder(base: Path) -> Path:
    """A folder below pytest's own, which root's other users cannot enter, opened for PostgreSQL's user."""
    for folder in (base, *base.parents):
        if folder.owner() != _me() or folder == Path("/"):
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    return base


def _me() -> str:
    return psutil.Process(os.getpid()).username()


def slack() -> float:
    """By how much a time limit is stretched: 1 on an idle machine, more where others compute as well."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for one block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def write_assembly(folder: Path, mapping: Mapping[str, Any] | None = None, *, timeout_s: int = 5) -> Path:
    """A stage of two stacks, the second reading the first's exports, as the CDK writes it. `mapping` changes the event source."""
    manifest = {"version": "55.0.0", "artifacts": {}}
    for name, body in (("data", _data_stack()), ("processing", _processing_stack(dict(mapping or {}), timeout_s))):
        (folder / f"{name}.template.json").write_text(json.dumps(body))
        manifest["artifacts"][name] = {
            "type": "aws:cloudformation:stack",
            "environment": "aws://unknown-account/us-east-1",
            "properties": {"templateFile": f"{name}.template.json", "stackName": f"{PREFIX}-{name}"},
        }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_bare_assembly(folder: Path) -> Path:
    """A stage of one function without any other resource, for tests that make their own."""
    function = _resource("AWS::Lambda::Function", Role="r", Environment={"Variables": {"TIDEMARK_STAGE": "dev"}})
    (folder / "bare.template.json").write_text(json.dumps({"Resources": {"Function": function}}))
    stack = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "bare.template.json"}}
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"bare": stack}}))
    return folder


def _data_stack() -> dict[str, Any]:
    export = {"StreamArn": ("MarketData", "Arn"), "QueueArn": ("Failures", "Arn")}
    return {
        "Conditions": {"Never": {"Fn::Equals": [{"Ref": "AWS::Region"}, "eu-nowhere-1"]}},
        "Resources": {
            "MarketData": _resource("AWS::Kinesis::Stream", Name=f"{PREFIX}-market-data", ShardCount=2),
            "Absent": {"Type": "AWS::Kinesis::Stream", "Condition": "Never", "Properties": {"Name": "never"}},
            "Lake": _resource("AWS::S3::Bucket", BucketName={"Fn::Sub": PREFIX + "-lake-${AWS::AccountId}"}),
            "Failures": _resource("AWS::SQS::Queue", QueueName=f"{PREFIX}-failures"),
            "Alerts": _resource("AWS::SNS::Topic", TopicName=f"{PREFIX}-alerts"),
            "Instance": _resource("AWS::RDS::DBInstance", DBInstanceIdentifier=f"{PREFIX}-database"),
            "Group": _resource("AWS::ElastiCache::ReplicationGroup", ReplicationGroupId=f"{PREFIX}-cache"),
            "Secret": _resource(
                "AWS::SecretsManager::Secret",
                Name=f"{PREFIX}-database",
                GenerateSecretString={"SecretStringTemplate": '{"username":"tidemark_app"}', "GenerateStringKey": "password"},
            ),
            "Attached": _resource("AWS::SecretsManager::SecretTargetAttachment", SecretId={"Ref": "Secret"}),
            "Instruments": _resource("AWS::SSM::Parameter", Name="/tidemark/dev/instruments", Type="String", Value="[]"),
            "Catalog": _resource("AWS::Glue::Database", DatabaseInput={"Name": "tidemark_dev_lake"}),
            "Trades": _resource("AWS::Glue::Table", DatabaseName="tidemark_dev_lake", TableInput=trades_table()),
            "Delivery": _resource(
                "AWS::KinesisFirehose::DeliveryStream",
                DeliveryStreamName=f"{PREFIX}-lake-trades",
                ExtendedS3DestinationConfiguration=delivery_destination({"Fn::GetAtt": ["Lake", "Arn"]}),
            ),
            "Detector": _resource("AWS::GuardDuty::Detector", Enable=True),
        },
        "Outputs": {
            f"Export{name}": {"Value": {"Fn::GetAtt": list(target)}, "Export": {"Name": f"{PREFIX}-data:{name}"}}
            for name, target in export.items()
        }
        | {
            "ExportAttached": {"Value": {"Ref": "Attached"}, "Export": {"Name": f"{PREFIX}-data:Attached"}},
            "ExportAddress": {"Value": {"Fn::GetAtt": ["Group", "PrimaryEndPoint.Address"]}, "Export": {"Name": f"{PREFIX}-data:Address"}},
        },
    }


def _processing_stack(mapping: dict[str, Any], timeout_s: int) -> dict[str, Any]:
    imported = {name: {"Fn::ImportValue": f"{PREFIX}-data:{name}"} for name in ("StreamArn", "QueueArn", "Attached", "Address")}
    variables = {
        "TIDEMARK_STAGE": "dev",
        "CACHE_TLS": "on",
        "CACHE_ENDPOINT": {"Fn::Join": ["", [imported["Address"], ":6379"]]},
        "DATABASE_SECRET_ARN": imported["Attached"],
        "INSTRUMENTS_PARAMETER": "/tidemark/dev/instruments",
        "MARKET_DATA_STREAM": {"Fn::Select": [1, {"Fn::Split": ["/", imported["StreamArn"]]}]},
        "SAMPLE": {"Fn::If": ["Big", "1", "20"]},
    }
    source = {
        "FunctionName": {"Ref": "Function"},
        "EventSourceArn": imported["StreamArn"],
        "StartingPosition": "LATEST",
        "BatchSize": 10,
        "MaximumRetryAttempts": 2,
        "MaximumRecordAgeInSeconds": 60,
        "BisectBatchOnFunctionError": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": imported["QueueArn"]}},
        **mapping,
    }
    return {
        "Conditions": {"Big": {"Fn::Not": [{"Fn::Equals": ["dev", "dev"]}]}},
        "Resources": {
            "Role": _resource("AWS::IAM::Role", AssumeRolePolicyDocument={}),
            "Function": _resource(
                "AWS::Lambda::Function",
                FunctionName=f"{PREFIX}-recorder",
                Handler="handler.handler",
                Runtime="python3.12",
                MemorySize=256,
                Timeout=timeout_s,
                Role={"Fn::GetAtt": ["Role", "Arn"]},
                Environment={"Variables": variables},
            ),
            "Provider": _resource("AWS::Lambda::Function", Handler="index.handler", Role={"Fn::GetAtt": ["Role", "Arn"]}),
            "Source": _resource("AWS::Lambda::EventSourceMapping", **{key: value for key, value in source.items() if value is not None}),
            "Task": _resource(
                "AWS::ECS::TaskDefinition",
                Family=f"{PREFIX}-execution",
                ContainerDefinitions=[
                    {"Name": "execution", "Environment": [{"Name": "MARKET_DATA_STREAM", "Value": variables["MARKET_DATA_STREAM"]}]}
                ],
            ),
        },
    }


def trades_table() -> dict[str, Any]:
    """A Glue table of trades, partitioned by symbol and date."""
    columns = {"ts_event_ns": "bigint", "seq": "bigint", "px": "bigint", "sz": "int", "aggressor": "tinyint"}
    return {
        "Name": "trades",
        "PartitionKeys": [{"Name": "symbol", "Type": "string"}, {"Name": "date", "Type": "string"}],
        "StorageDescriptor": {"Columns": [{"Name": name, "Type": kind} for name, kind in columns.items()]},
    }


def delivery_destination(bucket_arn: Any) -> dict[str, Any]:
    """Where and how the delivery stream writes."""
    query = {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{symbol: .symbol, date: .date}"}
    return {
        "BucketARN": bucket_arn,
        "Prefix": "trades/symbol=!{partitionKeyFromQuery:symbol}/date=!{partitionKeyFromQuery:date}/",
        "ErrorOutputPrefix": "errors/trades/!{firehose:error-output-type}/!{timestamp:yyyy-MM-dd}/",
        "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 64},
        "DynamicPartitioningConfiguration": {"Enabled": True},
        "ProcessingConfiguration": {"Enabled": True, "Processors": [{"Type": "MetadataExtraction", "Parameters": [query]}]},
        "DataFormatConversionConfiguration": {
            "Enabled": True,
            "SchemaConfiguration": {"DatabaseName": "tidemark_dev_lake", "TableName": "trades"},
        },
    }


def _resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def login(port: int) -> dict[str, str]:
    """Arguments of a boto3 client for the laptop's endpoint."""
    return {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "region_name": REGION,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
    }
