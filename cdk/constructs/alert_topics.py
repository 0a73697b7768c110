"""Three topics by severity. Who listens on which channel is subscribed from outside; e-mail can be set per stage."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from cdk.names import Names
from constructs import Construct

SEVERITIES = ("critical", "warning", "info")


class AlertTopics(Construct):
    """critical pages somebody, warning is read the same day, info is a record."""

    def __init__(self, scope: Construct, id_: str, *, names: Names, key: kms.IKey, emails: Sequence[str]) -> None:
        super().__init__(scope, id_)
        self.by_severity = {
            severity: sns.Topic(self, severity.capitalize(), topic_name=names.of(severity), master_key=key, enforce_ssl=True)
            for severity in SEVERITIES
        }
        for severity in ("critical", "warning"):
            for email in emails:
                self.by_severity[severity].add_subscription(subscriptions.EmailSubscription(email))
        for severity, topic in self.by_severity.items():
            cdk.CfnOutput(self, f"{severity.capitalize()}TopicArn", value=topic.topic_arn)

    @property
    def critical(self) -> sns.ITopic:
        return self.by_severity["critical"]

    @property
    def warning(self) -> sns.ITopic:
        return self.by_severity["warning"]

    @property
    def info(self) -> sns.ITopic:
        return self.by_severity["info"]
