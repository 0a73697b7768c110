"""Reading a cloud assembly: references, functions and conditions as CloudFormation resolves them."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_support import ACCOUNT, PREFIX, REGION, write_assembly
from tidemark.errors import InputError
from tidemark.local.resources import (
    read_deliveries,
    read_functions,
    read_mappings,
    read_tasks,
    skipped_types,
    stage_of,
)
from tidemark.local.template import Assembly, Stack, read_assembly

STREAM_ARN = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{PREFIX}-market-data"


@pytest.fixture
def assembly(tmp_path: Path) -> Assembly:
    return read_assembly(write_assembly(tmp_path))


def resolve(value: Any, **body: Any) -> Any:
    stack = Stack("s", ACCOUNT, REGION, body)
    return Assembly("test", {"s": stack}).resolve(value, stack)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Fn::Join": ["-", ["a", {"Ref": "AWS::Region"}]]}, f"a-{REGION}"),
        ({"Fn::Sub": "${AWS::AccountId}-${!literal}"}, f"{ACCOUNT}-${{literal}}"),
        ({"Fn::Sub": ["${x}/${Queue}", {"x": {"Ref": "AWS::Partition"}}]}, "aws/q"),
        ({"Fn::Sub": "${Queue.Arn}"}, f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"),
        ({"Fn::Select": ["1", {"Fn::Split": [":", "a:b:c"]}]}, "b"),
        ({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "x"]}, 7),
        ({"Fn::If": ["Yes", {"Ref": "Size"}, 0]}, "small"),
        ({"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, None),
        ([1, {"Ref": "AWS::NoValue"}, 2], [1, 2]),
        ({"a": {"Ref": "AWS::NoValue"}, "b": 1}, {"b": 1}),
        ({"Ref": "Topic"}, f"arn:aws:sns:{REGION}:{ACCOUNT}:t"),
        ({"Ref": "Unnamed"}, "s-unnamed"),
        ({"Ref": "Endpoint"}, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e"),
        ({"Fn::GetAtt": ["Endpoint", "EndpointName"]}, "e"),
    ],
)
def test_intrinsic_functions_resolve_as_in_cloudformation(value, expected):
    """What the programs get as settings is made of these."""
    resolved = resolve(
        {"v": value},
        Parameters={"Size": {"Type": "String", "Default": "small"}},
        Mappings={"M": {REGION: {"x": 7}}},
        Conditions={
            "Yes": {"Fn::And": [{"Fn::Equals": [1, 1]}, {"Fn::Not": [{"Condition": "No"}]}]},
            "No": {"Fn::Or": [{"Fn::Equals": [{"Ref": "Size"}, "big"]}]},
        },
        Resources={
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "q"}},
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "t"}},
            "Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": {"EndpointName": "e"}},
            "Unnamed": {"Type": "AWS::S3::Bucket"},
        },
    )
    assert resolved == ({"v": expected} if expected is not None else {})


@pytest.mark.parametrize(
    ("value", "named"),
    [({"Ref": "Nobody"}, "Nobody"), ({"Fn::Cidr": ["10.0.0.0/8", 2]}, "Fn::Cidr"), ({"Fn::ImportValue": "nothing"}, "nothing")],
)
def test_what_cannot_be_resolved_is_refused_by_name(value, named):
    """A guessed setting would surface as a riddle in some program."""
    with pytest.raises(InputError, match=named):
        resolve(value)


def test_an_attribute_that_only_aws_knows_is_a_placeholder_and_is_reported(assembly):
    """The stage starts without a security group's id, but nobody has to wonder where a strange value came from."""
    stack = assembly.stacks[f"{PREFIX}-data"]
    assert assembly.resolve({"Fn::GetAtt": ["Detector", "Id"]}, stack) == "Detector.Id"
    assert assembly.unresolved == {f"{PREFIX}-data.Detector.Id (AWS::GuardDuty::Detector)"}


def test_resources_whose_condition_fails_do_not_exist(assembly):
    """One template serves several shapes of a stage."""
    assert [assembly.name(resource) for resource in assembly.resources("AWS::Kinesis::Stream")] == [f"{PREFIX}-market-data"]


def test_the_event_source_is_read_with_every_setting_across_stacks(assembly):
    """The poller's rules come from here; a default that differs from Lambda's would test another system."""
    queue_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{PREFIX}-failures"
    (mapping,) = read_mappings(assembly, "dev", {queue_arn: "http://queue"})
    assert (mapping.function, mapping.stream, mapping.stream_arn) == ("recorder", f"{PREFIX}-market-data", STREAM_ARN)
    assert (mapping.batch_size, mapping.window_s, mapping.parallelization) == (10, 0.0, 1)
    assert (mapping.retries, mapping.max_age_s, mapping.bisect, mapping.partial) == (2, 60, True, True)
    assert (mapping.on_failure, mapping.on_failure_arn) == ("http://queue", queue_arn)


def test_what_the_template_leaves_out_is_lambdas_default(tmp_path):
    """Retry for ever, no age limit, no bisection, no partial answers."""
    left_out = dict.fromkeys(
        (
            "BatchSize",
            "MaximumRetryAttempts",
            "MaximumRecordAgeInSeconds",
            "BisectBatchOnFunctionError",
            "FunctionResponseTypes",
            "DestinationConfig",
        )
    )
    (mapping,) = read_mappings(read_assembly(write_assembly(tmp_path, left_out)), "dev", {})
    assert (mapping.batch_size, mapping.retries, mapping.max_age_s) == (100, -1, -1)
    assert (mapping.bisect, mapping.partial, mapping.on_failure) == (False, False, None)


def test_a_fan_out_consumer_is_read_as_its_stream(tmp_path):
    """Trading stages push; on the laptop the same mapping polls."""
    folder = write_assembly(tmp_path, {"EventSourceArn": {"Ref": "Consumer"}})
    path = folder / "processing.template.json"
    body = json.loads(path.read_text())
    body["Resources"]["Consumer"] = {
        "Type": "AWS::Kinesis::StreamConsumer",
        "Properties": {"ConsumerName": "c", "StreamARN": {"Fn::ImportValue": f"{PREFIX}-data:StreamArn"}},
    }
    path.write_text(json.dumps(body))
    (mapping,) = read_mappings(read_assembly(folder), "dev", {})
    assert mapping.stream_arn == STREAM_ARN


def test_a_disabled_event_source_is_not_polled(tmp_path):
    """As in AWS."""
    assert read_mappings(read_assembly(write_assembly(tmp_path, {"Enabled": False})), "dev", {}) == []


def test_functions_are_known_by_their_folder_and_helpers_of_the_cdk_are_left_out(assembly):
    """A provider function of the CDK has no name of ours and no folder."""
    assert set(read_functions(assembly, "dev")) == {"recorder"}
    function = read_functions(assembly, "dev")["recorder"]
    assert (function.timeout_s, function.memory_mb, function.handler) == (5, 256, "handler.handler")
    assert function.env["MARKET_DATA_STREAM"] == f"{PREFIX}-market-data"
    assert function.env["SAMPLE"] == "20"


def test_tasks_and_deliveries_are_read_with_their_settings(assembly):
    """Containers' variables for programs, the table's columns for the lake."""
    assert read_tasks(assembly)["execution"].env == {"MARKET_DATA_STREAM": f"{PREFIX}-market-data"}
    delivery = read_deliveries(assembly)[f"{PREFIX}-lake-trades"]
    assert (delivery.bucket, delivery.buffer_mib, delivery.buffer_s) == (f"{PREFIX}-lake-{ACCOUNT}", 64, 60)
    assert delivery.partition_query == "{symbol: .symbol, date: .date}"
    assert delivery.columns[-1] == ("aggressor", "tinyint")


def test_what_has_no_counterpart_is_counted_by_type(assembly):
    """So that the difference between laptop and cloud is a list, not a surprise."""
    assert skipped_types(assembly) == {
        "AWS::GuardDuty::Detector": 1,
        "AWS::IAM::Role": 1,
        "AWS::SecretsManager::SecretTargetAttachment": 1,
    }
    assert stage_of(assembly) == "dev"


@pytest.mark.parametrize("content", [None, "{", '{"artifacts": {}}'])
def test_a_folder_that_is_no_assembly_is_refused(tmp_path, content):
    """Absent, broken or empty: named, and no traceback."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="manifest"):
        read_assembly(tmp_path)
