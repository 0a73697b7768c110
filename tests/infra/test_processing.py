"""Streams, mappings and functions: how a record gets from the stream to a handler, and what happens when it cannot."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.synthesized import PROJECT, Found, Synthesized

CONTRACT = {
    "TIDEMARK_STAGE",
    "ACCOUNT",
    "MARKET_DATA_STREAM",
    "FEATURES_STREAM",
    "SIGNALS_STREAM",
    "LAKE_DEPTH_FIREHOSE",
    "LAKE_TRADES_FIREHOSE",
    "QUARANTINE_BUCKET",
    "MODEL_BUCKET",
    "MODEL_ENDPOINT",
    "INSTRUMENTS_PARAMETER",
    "MARKET_DATA_SAMPLE",
    "DATABASE_SECRET_ARN",
    "CACHE_ENDPOINT",
    "CACHE_SECRET_ARN",
    "CACHE_TLS",
    "PGSSLROOTCERT",
}
"""What every program may read; names of AWS's own and of one program come on top."""


def functions(stage: Synthesized) -> dict[str, Found]:
    """Functions by the folder of their code."""
    prefix = f"tidemark-{stage.config.name}-"
    return {
        str(found.properties["FunctionName"]).removeprefix(prefix).replace("-", "_"): found for found in stage.of("AWS::Lambda::Function")
    }


def mapping_of(stage: Synthesized, folder: str) -> dict[str, Any]:
    """The event source mapping of a function."""
    function = functions(stage)[folder]
    (mapping,) = [
        found for found in stage.of("AWS::Lambda::EventSourceMapping") if found.properties["FunctionName"] == {"Ref": function.id}
    ]
    return mapping.properties


@pytest.mark.parametrize(("folder", "source", "age_s"), [("market_data", "StreamsMarketData", 60), ("signal", "StreamsFeatures", 300)])
def test_a_poison_record_holds_its_shard_for_a_bounded_time(stage: Synthesized, folder: str, source: str, age_s: int) -> None:
    """Partial answers, halving, three retries, a last age, and a queue for what is given up."""
    mapping = mapping_of(stage, folder)
    config = getattr(stage.config, folder)
    assert source in json.dumps(mapping["EventSourceArn"])
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 3
    assert mapping["MaximumRecordAgeInSeconds"] == age_s
    assert mapping["BatchSize"] == config.batch_size
    assert mapping["ParallelizationFactor"] == config.parallelization
    assert "DeadLetters" in json.dumps(mapping["DestinationConfig"]["OnFailure"]["Destination"])


def test_every_stage_that_trades_pushes_its_records(stage: Synthesized) -> None:
    """A polled hop costs 200 ms and more; a signal's whole way from its newest input to the order has 500."""
    consumers = stage.of("AWS::Kinesis::StreamConsumer")
    assert len(consumers) == (3 if stage.config.enhanced_fan_out else 0)
    for folder in ("market_data", "signal"):
        pushed = "ConsumerARN" in json.dumps(mapping_of(stage, folder)["EventSourceArn"])
        assert pushed is stage.config.enhanced_fan_out


def test_the_trading_stages_are_those_with_fan_out(stages: dict[str, Synthesized]) -> None:
    """Staging trades on paper, but must show production's latency."""
    assert {name for name, stage in stages.items() if stage.config.enhanced_fan_out} == {"staging", "prod"}


def test_no_function_starves_its_shards(stage: Synthesized) -> None:
    """Reserved concurrency bounds the bill, but every shard's batches in parallel must fit into it."""
    shards = {"market_data": stage.config.market_data_shards, "signal": stage.config.features_shards}
    for folder, function in functions(stage).items():
        assert function.properties["ReservedConcurrentExecutions"] >= shards[folder] * getattr(stage.config, folder).parallelization
        assert function.properties["TracingConfig"] == {"Mode": "Active"}
        assert function.properties["VpcConfig"]["SubnetIds"]
        assert function.properties["Runtime"] == "python3.11"
        assert function.properties["Architectures"] == ["x86_64"]


def test_functions_share_one_layer_of_libraries(stage: Synthesized) -> None:
    """Uploaded once per lock file; a change of our code uploads a few kilobytes."""
    layer = stage.one("AWS::Lambda::LayerVersion")
    assert all(function.properties["Layers"] == [{"Ref": layer.id}] for function in functions(stage).values())


def test_functions_get_exactly_the_contracts_variables(stage: Synthesized) -> None:
    """Programs read these names; a missing one stops them at start, an unknown one misleads whoever reads the template."""
    for folder, function in functions(stage).items():
        variables = function.properties["Environment"]["Variables"]
        assert set(variables) == CONTRACT | {"FUNCTION_TIMEOUT_S"}
        assert variables["TIDEMARK_STAGE"] == stage.config.name
        assert int(variables["FUNCTION_TIMEOUT_S"]) == function.properties["Timeout"] == getattr(stage.config, folder).timeout_s


def test_tasks_get_the_same_names(stage: Synthesized) -> None:
    """With the direct feed's socket and the health file; what is secret comes by `Secrets`, never as text."""
    for task in stage.of("AWS::ECS::TaskDefinition"):
        (container,) = task.properties["ContainerDefinitions"]
        assert {item["Name"] for item in container["Environment"]} == CONTRACT | {"FEED_SOCKET", "HEALTH_FILE"}
        assert len(container["Secrets"]) == 1


def plain(value: Any) -> Any:
    """A name with the account filled in; other references stay as they are."""
    parts = value.get("Fn::Join", ["", []])[1] if isinstance(value, dict) else []
    texts = ["111111111111" if part == {"Ref": "AWS::AccountId"} else part for part in parts]
    return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else value


def test_every_name_in_the_environment_is_a_resource_of_the_stage(stage: Synthesized) -> None:
    """Written out on both sides, so that programs and templates can be read without each other; this keeps them equal."""
    variables = {name: plain(value) for name, value in functions(stage)["signal"].properties["Environment"]["Variables"].items()}
    streams = {stream.properties["Name"] for stream in stage.of("AWS::Kinesis::Stream")}
    assert {variables[name] for name in ("MARKET_DATA_STREAM", "FEATURES_STREAM", "SIGNALS_STREAM")} == streams
    deliveries = {found.properties["DeliveryStreamName"] for found in stage.of("AWS::KinesisFirehose::DeliveryStream")}
    assert {variables["LAKE_DEPTH_FIREHOSE"], variables["LAKE_TRADES_FIREHOSE"]} == deliveries
    buckets = {plain(found.properties["BucketName"]) for found in stage.of("AWS::S3::Bucket")}
    assert {variables["QUARANTINE_BUCKET"], variables["MODEL_BUCKET"]} <= buckets
    assert variables["MODEL_ENDPOINT"] == stage.one("AWS::SageMaker::Endpoint").properties["EndpointName"]
    assert variables["INSTRUMENTS_PARAMETER"] == stage.one("AWS::SSM::Parameter").properties["Name"]


def test_the_instruments_parameter_is_what_the_programs_parse(stage: Synthesized) -> None:
    """The same parser as at run time; the list fits one standard parameter."""
    from tidemark.adapters.settings import parse_instruments
    from tidemark.instruments import lookup

    value = stage.one("AWS::SSM::Parameter").properties["Value"]
    found = parse_instruments(value, source="template")
    assert set(found) == {"NQ", "MNQ", "ES", "MES", "YM", "MYM", "ZN", "DX"}
    assert all(found[symbol] == lookup(symbol) for symbol in found)
    assert len(value) <= 4_096


def test_the_lakes_columns_are_those_of_the_rows_that_are_put(stage: Synthesized) -> None:
    """Firehose drops a key that the table does not name, and fills a missing one with null: both in silence."""
    from tidemark.adapters.lake_rows import lake_rows
    from tidemark.events import Depth, Trade, block_of

    ten = tuple(range(10))
    events = [Depth("ES", 1, 10, 11, ten, ten, ten, ten), Trade("ES", 2, 12, 13, 4, 5, 1)]
    rows = dict(zip(("depth", "trades"), lake_rows(block_of(events, ["ES"])), strict=True))
    for table in stage.of("AWS::Glue::Table"):
        description = table.properties["TableInput"]
        keys = [column["Name"] for column in description["PartitionKeys"]]
        columns = [column["Name"] for column in description["StorageDescriptor"]["Columns"]]
        row = list(json.loads(rows[description["Name"]][0]))
        assert row == [*keys, *columns]


def test_delivery_takes_rows_apart_and_files_them_by_symbol_and_date(stage: Synthesized) -> None:
    """The layout of the published data set, so that Athena, the research code and a laptop read the same folders."""
    for delivery in stage.of("AWS::KinesisFirehose::DeliveryStream"):
        target = delivery.properties["ExtendedS3DestinationConfiguration"]
        table = target["DataFormatConversionConfiguration"]["SchemaConfiguration"]["TableName"]
        assert target["Prefix"] == f"{table}/symbol=!{{partitionKeyFromQuery:symbol}}/date=!{{partitionKeyFromQuery:date}}/"
        assert [processor["Type"] for processor in target["ProcessingConfiguration"]["Processors"]] == [
            "RecordDeAggregation",
            "MetadataExtraction",
        ]
        assert target["DataFormatConversionConfiguration"]["Enabled"] is True


@pytest.mark.parametrize("folder", ["market_data", "signal"])
def test_every_handler_that_a_template_names_can_be_imported(stages: dict[str, Synthesized], folder: str) -> None:
    """A handler is a string that no import graph sees."""
    for stage in stages.values():
        module, _, function = str(functions(stage)[folder].properties["Handler"]).rpartition(".")
        handler = getattr(imported(PROJECT / "lambdas" / folder / f"{module}.py", folder), function)
        assert callable(handler)


def imported(path: Path, folder: str) -> Any:
    name = f"tidemark_infra_handler_{folder}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def test_every_function_folder_is_in_the_templates(stage: Synthesized) -> None:
    """A handler that nothing calls is dead, or somebody forgot its mapping."""
    assert set(functions(stage)) == {path.parent.name for path in (PROJECT / "lambdas").glob("*/handler.py")}
