"""The three Kinesis streams and, where the stage trades, a dedicated enhanced fan-out consumer for each reader."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct


class FannedStream(Construct):
    """A stream with at most one reader that decides. `consumer` is that reader's own pipe, or None where it polls."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        shards: int,
        reader: str,
        config: StageConfig,
        key: kms.IKey,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        self.reader = reader
        self.stream = kinesis.Stream(
            self,
            "Stream",
            stream_name=name,
            shard_count=shards,
            stream_mode=kinesis.StreamMode.PROVISIONED,
            retention_period=cdk.Duration.hours(config.stream_retention_hours),
            encryption=kinesis.StreamEncryption.KMS,
            encryption_key=key,
            removal_policy=removal_policy,
        )
        acknowledge(self.stream, "One key of ours per class of data is the rule here; it costs a dollar a month.", "AwsSolutions-KDS3")
        self.consumer: kinesis.StreamConsumer | None = None
        if config.enhanced_fan_out:
            self.consumer = kinesis.StreamConsumer(self, "Consumer", stream=self.stream, stream_consumer_name=reader)
            cdk.CfnOutput(self, "ConsumerArn", value=self.consumer.stream_consumer_arn)
        cdk.CfnOutput(self, "StreamName", value=self.stream.stream_name)

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Read by polling, and by fan-out where there is a consumer."""
        self.stream.grant_read(grantee)
        if self.consumer is not None:
            self.consumer.grant_read(grantee)

    def lag(self) -> cloudwatch.IMetric:
        """How far behind the newest record the slowest reader is, in ms, whichever way it reads."""
        polled = self._metric("GetRecords.IteratorAgeMilliseconds")
        if self.consumer is None:
            return polled
        pushed = self._metric("SubscribeToShardEvent.MillisBehindLatest", ConsumerName=self.reader)
        return cloudwatch.MathExpression(
            expression=f"MAX([FILL(polled{self.node.id}, 0), FILL(pushed{self.node.id}, 0)])",
            using_metrics={f"polled{self.node.id}": polled, f"pushed{self.node.id}": pushed},
            label=self.reader,
            period=cdk.Duration.minutes(1),
        )

    def _metric(self, name: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/Kinesis",
            metric_name=name,
            dimensions_map={"StreamName": self.stream.stream_name, **dimensions},
            statistic="Maximum",
            period=cdk.Duration.minutes(1),
        )


class MarketStreams(Construct):
    """market-data → λ market_data; features → λ signal; signals → the execution task."""

    def __init__(
        self, scope: Construct, id_: str, *, names: Names, config: StageConfig, key: kms.IKey, removal_policy: cdk.RemovalPolicy
    ) -> None:
        super().__init__(scope, id_)

        def stream(child: str, part: str, shards: int, reader: str) -> FannedStream:
            return FannedStream(
                self,
                child,
                name=names.of(part),
                shards=shards,
                reader=names.of(reader),
                config=config,
                key=key,
                removal_policy=removal_policy,
            )

        self.market_data = stream("MarketData", "market-data", config.market_data_shards, "market-data-processor")
        self.features = stream("Features", "features", config.features_shards, "signal-processor")
        self.signals = stream("Signals", "signals", config.signals_shards, "execution")
