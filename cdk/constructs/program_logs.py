"""Log groups: encrypted, with an end. What must be kept for years goes to the audit bucket, not here."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

RETENTION = {
    7: logs.RetentionDays.ONE_WEEK,
    30: logs.RetentionDays.ONE_MONTH,
    365: logs.RetentionDays.ONE_YEAR,
}


def program_logs(scope: Construct, id_: str, *, name: str, key: kms.IKey, days: int) -> logs.LogGroup:
    """A log group kept for `days`, which is one of RETENTION: CloudWatch Logs offers only certain periods."""
    return logs.LogGroup(
        scope, id_, log_group_name=name, encryption_key=key, retention=RETENTION[days], removal_policy=cdk.RemovalPolicy.DESTROY
    )
