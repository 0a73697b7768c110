"""Alarms that always reach somebody: an alarm is made together with its topic, there is no other way to make one here."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from cdk.names import METRIC_NAMESPACE, Names
from constructs import Construct

ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
QUIET = cloudwatch.TreatMissingData.NOT_BREACHING  # no data means nothing happened
ALARMING = cloudwatch.TreatMissingData.BREACHING  # no data means that the thing itself is gone


class Alarms(Construct):
    """All alarms of a stage; `made` is in order of creation, for the dashboard."""

    def __init__(self, scope: Construct, id_: str, *, names: Names) -> None:
        super().__init__(scope, id_)
        self._names = names
        self.made: list[cloudwatch.Alarm] = []

    def add(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        topic: sns.ITopic,
        *,
        threshold: float,
        comparison: cloudwatch.ComparisonOperator = ABOVE,
        minutes: int = 1,
        missing: cloudwatch.TreatMissingData = QUIET,
        text: str,
    ) -> cloudwatch.Alarm:
        """Alarm `name` once `metric` has been on the wrong side for `minutes` of its one-minute periods; back to OK is told too."""
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=self._names.of(name),
            alarm_description=text,
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=minutes,
            datapoints_to_alarm=minutes,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(topic))
        alarm.add_ok_action(actions.SnsAction(topic))
        self.made.append(alarm)
        return alarm


def own_metric(name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
    """A metric that our programs write, per minute."""
    return cloudwatch.Metric(
        namespace=METRIC_NAMESPACE, metric_name=name, dimensions_map=dimensions, statistic=statistic, period=cdk.Duration.minutes(1)
    )
