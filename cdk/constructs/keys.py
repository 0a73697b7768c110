"""A customer-managed key with yearly rotation for each class of data, so that each class can be cut off by itself."""

from dataclasses import dataclass, fields

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from cdk.names import Names
from constructs import Construct


@dataclass(frozen=True)
class KeySet:
    """The keys as one stack sees them."""

    streams: kms.IKey
    lake: kms.IKey
    trading: kms.IKey
    secrets: kms.IKey
    models: kms.IKey
    compute: kms.IKey
    messages: kms.IKey
    logs: kms.IKey


class DataKeys(Construct):
    """Keys of one stage. Roles get their use by grants; only AWS services that hold no role of ours are named here."""

    def __init__(self, scope: Construct, id_: str, *, names: Names, removal_policy: cdk.RemovalPolicy) -> None:
        super().__init__(scope, id_)
        self._names, self._removal_policy = names, removal_policy
        self.streams = self._key("Streams", "streams", "Market data, features and signals in motion")
        self.lake = self._key("Lake", "lake", "Market data at rest, quarantine and query results")
        self.trading = self._key("Trading", "trading", "Database, cache and audit trail: orders, fills, positions")
        self.secrets = self._key("Secrets", "secrets", "Credentials")
        self.models = self._key("Models", "models", "Model artefacts and endpoint volumes")
        self.compute = self._key("Compute", "compute", "Volumes of task hosts and function settings")
        self.messages = self._key("Messages", "messages", "Alerts and dead letters")
        self.logs = self._key("Logs", "logs", "Log groups")
        self._allow_logs()
        self._allow_alarm_publishers()
        self._allow_host_volumes()

    def seen_from(self, scope: Construct) -> KeySet:
        """References by ARN for another stack, with which CDK cannot write that stack's roles into the keys' policies: a cycle."""
        keys = Construct(scope, "Keys")
        imported = {field.name: kms.Key.from_key_arn(keys, field.name, getattr(self, field.name).key_arn) for field in fields(KeySet)}
        return KeySet(**imported)

    def _key(self, id_: str, alias: str, description: str) -> kms.Key:
        return kms.Key(
            self,
            id_,
            alias=f"alias/{self._names.of(alias)}",
            description=f"Tidemark {self._names.stage}: {description}",
            enable_key_rotation=True,
            removal_policy=self._removal_policy,
            pending_window=cdk.Duration.days(30),
        )

    def _allow_logs(self) -> None:
        """CloudWatch Logs encrypts as itself, and only for log groups of this account."""
        stack = cdk.Stack.of(self)
        self.logs.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"],
                resources=["*"],  # in a key policy: this key
                conditions={
                    "ArnLike": {"kms:EncryptionContext:aws:logs:arn": stack.format_arn(service="logs", resource="*", resource_name="*")}
                },
            )
        )

    def _allow_alarm_publishers(self) -> None:
        """Alarms and auto scaling publish to encrypted topics as themselves."""
        for service in ("cloudwatch.amazonaws.com", "autoscaling.amazonaws.com"):
            self.messages.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal(service)],
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
                )
            )

    def _allow_host_volumes(self) -> None:
        """EC2 Auto Scaling makes encrypted volumes through its service-linked role.

        The role is named by condition: a key policy that names it as principal is refused in an account where it does not exist yet.
        """
        role = cdk.Stack.of(self).format_arn(
            service="iam",
            region="",
            resource="role",
            resource_name="aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
        )
        conditions = {"ArnEquals": {"aws:PrincipalArn": role}}
        uses = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
        uses.append("kms:GenerateDataKeyWithoutPlaintext")
        self.compute.add_to_resource_policy(
            iam.PolicyStatement(principals=[iam.AnyPrincipal()], actions=uses, resources=["*"], conditions=conditions)
        )
        self.compute.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.AnyPrincipal()],
                actions=["kms:CreateGrant"],
                resources=["*"],
                conditions={**conditions, "Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )
