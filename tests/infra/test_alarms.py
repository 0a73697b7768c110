"""What somebody must hear of, and that somebody hears."""

import json
from typing import Any

import pytest

from infra.synthesized import Found, Synthesized

LATENCY_MS = {"FeedLatency": 100, "SignalLatency": 50, "RiskLatency": 10, "OrderLatency": 200, "EndToEndLatency": 500}


def alarms(stage: Synthesized) -> dict[str, Found]:
    prefix = f"tidemark-{stage.config.name}-"
    return {found.properties["AlarmName"].removeprefix(prefix): found for found in stage.of("AWS::CloudWatch::Alarm")}


def topic_of(alarm: Found) -> str:
    """critical, warning or info."""
    (action,) = alarm.properties["AlarmActions"]
    assert "ActionsEnabled" not in alarm.properties or alarm.properties["ActionsEnabled"] is True
    return next(severity for severity in ("Critical", "Warning", "Info") if f"Alerts{severity}" in json.dumps(action)).lower()


def test_every_alarm_reaches_a_topic_both_ways(stage: Synthesized) -> None:
    """An alarm without a topic is a colour on a page that nobody has open."""
    for name, alarm in alarms(stage).items():
        assert topic_of(alarm) in ("critical", "warning", "info"), name
        assert alarm.properties["OKActions"] == alarm.properties["AlarmActions"], name
        assert alarm.properties["AlarmDescription"], name


def test_there_is_a_topic_per_severity(stage: Synthesized) -> None:
    """Programs and alarms share them; channels are subscribed to them."""
    names = {topic.properties["TopicName"] for topic in stage.of("AWS::SNS::Topic")}
    assert names == {f"tidemark-{stage.config.name}-{severity}" for severity in ("critical", "warning", "info")}


@pytest.mark.parametrize(("name", "limit_ms"), LATENCY_MS.items())
def test_every_leg_of_the_latency_budget_has_its_alarm(stage: Synthesized, name: str, limit_ms: int) -> None:
    """The limits come from tidemark.budgets; these figures are the requirement."""
    properties = alarms(stage)[name].properties
    assert properties["Threshold"] == limit_ms
    assert (properties["Namespace"], properties["MetricName"], properties["ExtendedStatistic"]) == ("Tidemark", name, "p99")


CRITICAL = [
    "market-data-iterator-age",
    "signal-iterator-age",
    "signals-lag",
    "market-data-dead-letters",
    "signal-dead-letters",
    "endpoint-5xx",
    "database-storage",
    "execution-down",
    "feed-gateway-down",
]


@pytest.mark.parametrize("name", CRITICAL)
def test_what_stops_trading_pages(stage: Synthesized, name: str) -> None:
    """Each of these means that signals are late, lost or unmanaged."""
    assert topic_of(alarms(stage)[name]) == "critical"


@pytest.mark.parametrize("name", ["market-data-iterator-age", "signal-iterator-age"])
def test_a_reader_that_is_five_seconds_behind_is_told_at_once(stage: Synthesized, name: str) -> None:
    """Five seconds is ten times the age at which a signal is refused."""
    properties = alarms(stage)[name].properties
    assert (properties["MetricName"], properties["Threshold"], properties["EvaluationPeriods"]) == ("IteratorAge", 5_000, 1)


def test_one_dead_letter_is_enough(stage: Synthesized) -> None:
    """Each stands for a whole batch that was given up."""
    for name in ("market-data-dead-letters", "signal-dead-letters"):
        properties = alarms(stage)[name].properties
        assert (properties["Threshold"], properties["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")


def test_silence_of_a_task_is_an_alarm(stage: Synthesized) -> None:
    """A task that does not run sends no data; for most other metrics no data means that nothing happened."""
    silent = {name for name, alarm in alarms(stage).items() if alarm.properties["TreatMissingData"] == "breaching"}
    assert silent == {"execution-down", "feed-gateway-down", "database-storage"}


def test_every_cache_node_and_every_replica_is_watched(stage: Synthesized) -> None:
    """By their own names: ElastiCache's metrics are per node."""
    found = alarms(stage)
    for number in range(1, stage.config.cache_node_count + 1):
        dimension: dict[str, Any] = found[f"cache-{number:03d}-memory"].properties["Dimensions"][0]
        assert dimension == {"Name": "CacheClusterId", "Value": f"tidemark-{stage.config.name}-cache-{number:03d}"}
    assert len([name for name in found if name.startswith("database-replica")]) == stage.config.database_replica_count


def test_the_dashboard_shows_every_alarm(stage: Synthesized) -> None:
    """One page to open first."""
    body = json.dumps(stage.one("AWS::CloudWatch::Dashboard").properties["DashboardBody"])
    assert stage.one("AWS::CloudWatch::Dashboard").properties["DashboardName"] == f"tidemark-{stage.config.name}-overview"
    assert all(alarm.id in body for alarm in stage.of("AWS::CloudWatch::Alarm"))
