"""The execution task and the feed gateway: one copy of each, on one host where the stage has hosts."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from cdk import grants
from cdk.assets import Assets
from cdk.constructs.alert_topics import AlertTopics
from cdk.constructs.keys import DataKeys, KeySet
from cdk.constructs.task_cluster import TaskCluster
from cdk.constructs.task_service import RUN_FOLDER, STATE_FOLDER, TaskService
from cdk.constructs.trading_network import TradingNetwork
from cdk.environment import CERTIFICATES_IN_TASK, runtime_environment
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stages import StageConfig
from constructs import Construct

AUDIT_FOLDER = "flight-recorder/"


class ExecutionStack(cdk.Stack):
    """The only stack whose programs reach a broker or a vendor."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        config: StageConfig,
        names: Names,
        keys: DataKeys,
        topics: AlertTopics,
        network: TradingNetwork,
        data: DataStack,
        assets: Assets,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        seen = keys.seen_from(self)
        self.cluster = TaskCluster(self, "Tasks", names=names, config=config, network=network, keys=seen, topics=topics)
        environment = {
            **runtime_environment(names, config, data.database, data.cache),
            "FEED_SOCKET": f"{RUN_FOLDER}/feed.sock",
            "HEALTH_FILE": f"{STATE_FOLDER}/health.json",
            "PGSSLROOTCERT": CERTIFICATES_IN_TASK,
        }
        common: dict[str, Any] = {
            "names": names,
            "logs_key": seen.logs,
            "log_days": config.log_retention_days,
            "cluster": self.cluster,
        }
        self.execution = TaskService(
            self,
            "Execution",
            folder="execution",
            image=assets.image("execution"),
            environment=environment,
            secrets={"BROKER_CREDENTIALS": ecs.Secret.from_secrets_manager(data.broker.secret)},
            size=config.execution_size,
            security_group=network.groups.execution,
            **common,
        )
        self.gateway = TaskService(
            self,
            "FeedGateway",
            folder="feed_gateway",
            image=assets.image("feed_gateway"),
            environment=environment,
            secrets={"FEED_CREDENTIALS": ecs.Secret.from_secrets_manager(data.feed.secret)},
            size=config.gateway_size,
            security_group=network.groups.gateway,
            **common,
        )
        self.services = (self.execution, self.gateway)
        self._grant(data, seen)
        assets.report(self)

    def _grant(self, data: DataStack, keys: KeySet) -> None:
        for service in self.services:
            grants.decrypt(service.agent_role, keys.secrets)  # the agent reads the vendor's secret for the task
            grants.read_secret(service.role, data.cache.secret, keys.secrets)
            grants.read_parameter(service.role, data.instruments.parameter)
            service.grant_metrics()
        grants.read_secret(self.execution.role, data.database.program_secret, keys.secrets)
        signals = data.streams.signals
        grants.read_records(self.execution.role, signals.stream, keys.streams)
        if signals.consumer is not None:
            actions = ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"]
            arns = [signals.consumer.stream_consumer_arn]
            iam.Grant.add_to_principal(grantee=self.execution.role, actions=actions, resource_arns=arns)
        grants.put_objects(self.execution.role, data.lake.audit, AUDIT_FOLDER, keys.trading)
        grants.put_records(self.gateway.role, data.streams.market_data.stream, keys.streams)
