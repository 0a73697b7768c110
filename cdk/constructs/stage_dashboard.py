"""One CloudWatch page per stage, in the order of the data's way: latency, streams, processors, model, stores, tasks, alarms."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from cdk.constructs.alarms import Alarms, own_metric
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stacks.execution import ExecutionStack
from cdk.stacks.models import ModelsStack
from cdk.stacks.processing import ProcessingStack
from cdk.stages import StageConfig
from constructs import Construct

WIDTH = 8  # three graphs in a row of 24


class StageDashboard(Construct):
    """The dashboard reads the same metrics as the alarms."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        names: Names,
        config: StageConfig,
        legs: tuple[str, ...],
        alarms: Alarms,
        data: DataStack,
        processing: ProcessingStack,
        models: ModelsStack,
        execution: ExecutionStack,
    ) -> None:
        super().__init__(scope, id_)
        self._period = cdk.Duration.seconds(config.dashboard_period_s)
        board = cloudwatch.Dashboard(self, "Board", dashboard_name=names.of("overview"), period_override=cloudwatch.PeriodOverride.INHERIT)
        board.add_widgets(
            self._graph("Latency, p99 (ms)", *(own_metric(leg, "p99") for leg in legs)),
            self._graph("Reader lag (ms)", data.streams.market_data.lag(), data.streams.features.lag(), data.streams.signals.lag()),
            self._graph(
                "Events", own_metric("DepthEvents", "Sum", service="market_data"), own_metric("Quarantined", "Sum", service="market_data")
            ),
        )
        board.add_widgets(
            self._graph("Function duration, p99 (ms)", *(processor.metric("Duration", "p99") for processor in processing.processors)),
            self._graph("Function errors", *(processor.metric("Errors", "Sum") for processor in processing.processors)),
            self._graph("Model latency, p99 (µs)", models.endpoint.metric("ModelLatency", "p99")),
        )
        board.add_widgets(
            self._graph("PostgreSQL CPU (%)", data.database.metric("CPUUtilization", "Average")),
            self._graph("PostgreSQL commit latency (s)", data.database.metric("WriteLatency", "Average")),
            self._graph("Redis CPU (%)", *(data.cache.metric(node, "EngineCPUUtilization", "Average") for node in data.cache.node_ids)),
        )
        board.add_widgets(
            self._graph("Tasks running", *(service.running_tasks() for service in execution.services)),
            self._graph("Lake delivery age (s)", data.depth_delivery.age(), data.trades_delivery.age()),
        )
        board.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=[*alarms.made], width=24, height=6))

    def _graph(self, title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
        return cloudwatch.GraphWidget(title=title, left=list(metrics), width=WIDTH, period=self._period)
