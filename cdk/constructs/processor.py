"""A stream processor: one Lambda function, its role, its log, its mapping onto one stream, and where failed batches go."""

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from cdk.constructs.keys import KeySet
from cdk.constructs.market_streams import FannedStream
from cdk.constructs.program_logs import program_logs
from cdk.constructs.trading_network import PROGRAMS
from cdk.lambda_target import LAMBDA
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import FunctionConfig
from constructs import Construct

RETRIES = 3
DEAD_LETTER_DAYS = 14


class Processor(Construct):
    """`folder` is the function's folder under lambdas/. What the function may touch is granted by the stack that makes it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        folder: str,
        code: lambda_.Code,
        layer: lambda_.ILayerVersion,
        environment: Mapping[str, str],
        config: FunctionConfig,
        names: Names,
        keys: KeySet,
        log_days: int,
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
        source: FannedStream,
    ) -> None:
        super().__init__(scope, id_)
        self.folder = folder
        self.name = names.of(folder.replace("_", "-"))
        self._config = config
        group = program_logs(self, "Logs", name=f"/tidemark/{names.stage}/{folder}", key=keys.logs, days=log_days)
        self.role = self._role(vpc)
        group.grant_write(self.role)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=self.name,
            runtime=lambda_.Runtime(LAMBDA.runtime, lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.X86_64,
            code=code,
            handler="handler.handler",
            layers=[layer],
            role=self.role,
            environment={**environment, "FUNCTION_TIMEOUT_S": str(config.timeout_s)},
            environment_encryption=keys.compute,
            memory_size=config.memory_mib,
            timeout=cdk.Duration.seconds(config.timeout_s),
            reserved_concurrent_executions=config.reserved_concurrency,
            tracing=lambda_.Tracing.ACTIVE,
            log_group=group,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PROGRAMS),
            security_groups=[security_group],
        )
        self.dead_letters = self._dead_letters(keys.messages)
        self._map(source)
        self._accept()
        cdk.CfnOutput(self, "FunctionName", value=self.function.function_name)
        cdk.CfnOutput(self, "DeadLetterQueueUrl", value=self.dead_letters.queue_url)

    def _role(self, vpc: ec2.IVpc) -> iam.Role:
        """Written out instead of AWS's managed policies, which allow any log group."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=[
                    "ec2:CreateNetworkInterface",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSubnets",
                    "ec2:AssignPrivateIpAddresses",
                    "ec2:UnassignPrivateIpAddresses",
                ],
                resources=["*"],  # Lambda checks these without naming a resource
            )
        )
        return role

    def _dead_letters(self, key: kms.IKey) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{self.name}-dlq",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(DEAD_LETTER_DAYS),
        )
        acknowledge(queue, "This queue is a dead-letter queue; the mapping that fills it is no queue of ours.", "AwsSolutions-SQS3")
        self.role.add_to_policy(iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[key.key_arn]))
        return queue

    def _map(self, source: FannedStream) -> None:
        """Bounded everywhere: a poison record is halved down to, retried, and then given up with a message that says where it lies.

        The queue goes in by its ARN: with the queue itself CDK would grant its key's use with wildcards; `_dead_letters` grants it exactly.
        """
        common: dict[str, Any] = {
            "starting_position": lambda_.StartingPosition.LATEST,  # what is older than a minute is of no use to a trade
            "batch_size": self._config.batch_size,
            "parallelization_factor": self._config.parallelization,
            "report_batch_item_failures": True,
            "bisect_batch_on_error": True,
            "retry_attempts": RETRIES,
            "max_record_age": cdk.Duration.seconds(self._config.record_age_s_max),
            "on_failure": sources.SqsDlq(sqs.Queue.from_queue_arn(self, "DeadLettersRef", self.dead_letters.queue_arn)),
        }
        if source.consumer is None:
            self.function.add_event_source(sources.KinesisEventSource(source.stream, **common))
        else:
            self.function.add_event_source(sources.KinesisConsumerEventSource(source.consumer, **common))

    def _accept(self) -> None:
        acknowledge(self.role, "Network interfaces and trace segments have no resource to name.", "AwsSolutions-IAM5[Resource::*]")
        acknowledge(
            self.function,
            "One Python version on laptop, task and function: the compiled libraries and the float sums of the kernels depend on it.",
            "AwsSolutions-L1",
        )

    def metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """A metric of the function, per minute."""
        return self.function.metric(name, statistic=statistic, period=cdk.Duration.minutes(1))
