"""Alarms and the dashboard of a stage: what somebody must know, and how soon."""

from typing import Any

import aws_cdk as cdk
from cdk.constructs.alarms import ALARMING, AT_LEAST, BELOW, Alarms, own_metric
from cdk.constructs.alert_topics import AlertTopics
from cdk.constructs.stage_dashboard import StageDashboard
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stacks.execution import ExecutionStack
from cdk.stacks.models import ModelsStack
from cdk.stacks.processing import ProcessingStack
from cdk.stages import StageConfig
from constructs import Construct

from tidemark import budgets
from tidemark.units import NS_PER_MS

LAG_MS_MAX = 5_000
DATABASE_CPU_PERCENT_MAX = 80
DATABASE_FREE_FRAC_MIN = 0.2
REPLICA_LAG_S_MAX = 60
CACHE_CPU_PERCENT_MAX = 80
CACHE_MEMORY_PERCENT_MAX = 80
DELIVERY_AGE_S_MAX = 900
GIB = 1024**3
LEGS = {
    "FeedLatency": (budgets.FEED_NS_MAX, "venue time stamp to hot book"),
    "SignalLatency": (budgets.SIGNAL_NS_MAX, "features in to signal out"),
    "RiskLatency": (budgets.RISK_NS_MAX, "risk check"),
    "OrderLatency": (budgets.ORDER_NS_MAX, "signal to order at the broker"),
    "EndToEndLatency": (budgets.END_TO_END_NS_MAX, "newest input of a decision to its order"),
}
"""Metrics in ms that the programs write without dimensions, with their budgets."""


class ObservabilityStack(cdk.Stack):
    """Depends on everything, nothing depends on it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        config: StageConfig,
        names: Names,
        topics: AlertTopics,
        data: DataStack,
        processing: ProcessingStack,
        models: ModelsStack,
        execution: ExecutionStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        self.alarms = Alarms(self, "Alarms", names=names)
        self._latency(topics)
        self._streams(topics, data)
        self._processors(topics, processing)
        self._models(topics, models)
        self._database(topics, data, config)
        self._cache(topics, data)
        self._tasks(topics, execution)
        StageDashboard(
            self,
            "Dashboard",
            names=names,
            config=config,
            legs=tuple(LEGS),
            alarms=self.alarms,
            data=data,
            processing=processing,
            models=models,
            execution=execution,
        )

    def _latency(self, topics: AlertTopics) -> None:
        for name, (budget_ns, what) in LEGS.items():
            budget_ms = budget_ns // NS_PER_MS
            self.alarms.add(
                name,
                own_metric(name, "p99"),
                topics.warning,
                threshold=budget_ms,
                minutes=3,
                text=f"p99 of {what} above its budget of {budget_ms} ms for three minutes",
            )

    def _streams(self, topics: AlertTopics, data: DataStack) -> None:
        streams = data.streams
        for name, fanned in (("market-data", streams.market_data), ("features", streams.features), ("signals", streams.signals)):
            self.alarms.add(
                f"{name}-throttled",
                fanned.stream.metric("WriteProvisionedThroughputExceeded", statistic="Sum", period=cdk.Duration.minutes(1)),
                topics.warning,
                threshold=0,
                minutes=3,
                text=f"records for {name} are refused: too few shards",
            )
        self.alarms.add(
            "signals-lag",
            streams.signals.lag(),
            topics.critical,
            threshold=LAG_MS_MAX,
            text=f"the execution task is more than {LAG_MS_MAX} ms behind on signals",
        )
        for name, delivery in (("depth", data.depth_delivery), ("trades", data.trades_delivery)):
            self.alarms.add(
                f"lake-{name}-late",
                delivery.age(),
                topics.warning,
                threshold=DELIVERY_AGE_S_MAX,
                minutes=5,
                text=f"{name} rows wait longer than {DELIVERY_AGE_S_MAX} s for the lake",
            )

    def _processors(self, topics: AlertTopics, processing: ProcessingStack) -> None:
        for processor in processing.processors:
            name = processor.folder.replace("_", "-")
            self.alarms.add(
                f"{name}-iterator-age",
                processor.metric("IteratorAge", "Maximum"),
                topics.critical,
                threshold=LAG_MS_MAX,
                text=f"λ {processor.folder} works on records older than {LAG_MS_MAX} ms",
            )
            self.alarms.add(
                f"{name}-errors",
                processor.metric("Errors", "Sum"),
                topics.warning,
                threshold=0,
                minutes=3,
                text=f"λ {processor.folder} has failed in each of three minutes",
            )
            self.alarms.add(
                f"{name}-throttles",
                processor.metric("Throttles", "Sum"),
                topics.warning,
                threshold=0,
                minutes=3,
                text=f"λ {processor.folder} lacks reserved concurrency",
            )
            self.alarms.add(
                f"{name}-dead-letters",
                processor.dead_letters.metric_approximate_number_of_messages_visible(statistic="Maximum", period=cdk.Duration.minutes(1)),
                topics.critical,
                threshold=1,
                comparison=AT_LEAST,
                text=f"λ {processor.folder} has given up on a batch; the message says which",
            )
            self.alarms.add(
                f"{name}-quarantined",
                own_metric("Quarantined", "Sum", service=processor.folder),
                topics.info,
                threshold=0,
                text=f"λ {processor.folder} has put events into quarantine",
            )
            self.alarms.add(
                f"{name}-dependency",
                own_metric("DependencyUnavailable", "Sum", service=processor.folder),
                topics.warning,
                threshold=0,
                minutes=3,
                text=f"λ {processor.folder} cannot reach something it needs",
            )

    def _models(self, topics: AlertTopics, models: ModelsStack) -> None:
        endpoint = models.endpoint
        self.alarms.add(
            "endpoint-5xx",
            endpoint.metric("Invocation5XXErrors", "Sum"),
            topics.critical,
            threshold=0,
            minutes=2,
            text="the model endpoint fails: no predictions, so no entries",
        )
        budget_ms = budgets.SIGNAL_NS_MAX // NS_PER_MS
        self.alarms.add(
            "endpoint-latency",
            endpoint.metric("ModelLatency", "p99"),
            topics.warning,
            threshold=budget_ms * 1_000,  # the metric is in µs
            minutes=3,
            text=f"p99 of the model alone takes the whole signal budget of {budget_ms} ms",
        )

    def _database(self, topics: AlertTopics, data: DataStack, config: StageConfig) -> None:
        database = data.database
        self.alarms.add(
            "database-cpu",
            database.metric("CPUUtilization", "Average"),
            topics.warning,
            threshold=DATABASE_CPU_PERCENT_MAX,
            minutes=5,
            text=f"PostgreSQL above {DATABASE_CPU_PERCENT_MAX} % for five minutes",
        )
        free_bytes_min = int(config.database_storage_gib * DATABASE_FREE_FRAC_MIN) * GIB
        self.alarms.add(
            "database-storage",
            database.metric("FreeStorageSpace", "Minimum"),
            topics.critical,
            threshold=free_bytes_min,
            comparison=BELOW,
            minutes=5,
            missing=ALARMING,
            text="less than a fifth of the database's first allocation is free; without disk no journal, without journal no order",
        )
        for number, replica in enumerate(database.replicas):
            self.alarms.add(
                f"database-replica-{number}-lag",
                replica.metric("ReplicaLag", statistic="Maximum", period=cdk.Duration.minutes(1)),
                topics.info,
                threshold=REPLICA_LAG_S_MAX,
                minutes=5,
                text=f"queries on the replica see data older than {REPLICA_LAG_S_MAX} s",
            )

    def _cache(self, topics: AlertTopics, data: DataStack) -> None:
        for node_id in data.cache.node_ids:
            node = node_id.rsplit("-", 1)[1]
            for name, metric, limit in (
                ("cpu", "EngineCPUUtilization", CACHE_CPU_PERCENT_MAX),
                ("memory", "DatabaseMemoryUsagePercentage", CACHE_MEMORY_PERCENT_MAX),
            ):
                self.alarms.add(
                    f"cache-{node}-{name}",
                    data.cache.metric(node_id, metric, "Average"),
                    topics.warning,
                    threshold=limit,
                    minutes=5,
                    text=f"Redis node {node}: {metric} above {limit} %",
                )

    def _tasks(self, topics: AlertTopics, execution: ExecutionStack) -> None:
        for service in execution.services:
            self.alarms.add(
                f"{service.folder.replace('_', '-')}-down",
                service.running_tasks(),
                topics.critical,
                threshold=1,
                comparison=BELOW,
                minutes=2,
                missing=ALARMING,
                text=f"no {service.folder} task has run for two minutes",
            )
