"""What every other stack needs first: keys by class of data, and topics by severity."""

from typing import Any

import aws_cdk as cdk
from cdk.constructs.alert_topics import AlertTopics
from cdk.constructs.keys import DataKeys
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct


class FoundationStack(cdk.Stack):
    """Losing a key here loses all that it encrypts: keys go only after thirty days, and never with a stage that keeps its data."""

    def __init__(self, scope: Construct, id_: str, *, config: StageConfig, names: Names, **kwargs: Any) -> None:
        super().__init__(scope, id_, **kwargs)
        keep = cdk.RemovalPolicy.RETAIN if config.retain_data else cdk.RemovalPolicy.DESTROY
        self.keys = DataKeys(self, "Keys", names=names, removal_policy=keep)
        self.topics = AlertTopics(self, "Alerts", names=names, key=self.keys.messages, emails=config.alert_emails)
