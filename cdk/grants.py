"""Grants narrower than CDK's own, which add actions with wildcards and actions that our programs never call."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm

from cdk.nag import acknowledge


def put_records(grantee: iam.IGrantable, stream: kinesis.IStream, key: kms.IKey) -> None:
    """Publish to one stream."""
    _allow(grantee, ["kinesis:PutRecords"], stream.stream_arn)
    _allow(grantee, ["kms:GenerateDataKey"], key.key_arn)


def read_records(grantee: iam.IGrantable, stream: kinesis.IStream, key: kms.IKey) -> None:
    """Poll one stream."""
    actions = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    _allow(grantee, actions, stream.stream_arn)
    _allow(grantee, ["kms:Decrypt"], key.key_arn)


def put_objects(role: iam.IRole, bucket: s3.Bucket, folder: str, key: kms.IKey) -> None:
    """Write objects below one folder of a bucket, `folder` ending in a slash."""
    _objects(role, bucket, folder, ["s3:PutObject"])
    _allow(role, ["kms:GenerateDataKey"], key.key_arn)


def get_objects(role: iam.IRole, bucket: s3.Bucket, folder: str, key: kms.IKey) -> None:
    """Read objects below one folder of a bucket, `folder` ending in a slash."""
    _objects(role, bucket, folder, ["s3:GetObject"])
    _allow(role, ["kms:Decrypt"], key.key_arn)


def read_parameter(grantee: iam.IGrantable, parameter: ssm.IStringParameter) -> None:
    """Read one parameter."""
    _allow(grantee, ["ssm:GetParameter"], parameter.parameter_arn)


def read_secret(grantee: iam.IGrantable, secret: secretsmanager.ISecret, key: kms.IKey) -> None:
    """Read one secret's current value."""
    _allow(grantee, ["secretsmanager:GetSecretValue"], secret.secret_arn)
    decrypt(grantee, key)


def decrypt(grantee: iam.IGrantable, key: kms.IKey) -> None:
    """Decrypt what one key protects, as far as the grantee can read it at all."""
    _allow(grantee, ["kms:Decrypt"], key.key_arn)


def invoke_endpoint(grantee: iam.IGrantable, endpoint_arn: str) -> None:
    """Ask one model endpoint."""
    _allow(grantee, ["sagemaker:InvokeEndpoint"], endpoint_arn)


def folder_finding(bucket: s3.Bucket, folder: str) -> str:
    """How cdk-nag names the rule that a folder's wildcard breaks."""
    resource = bucket.node.default_child
    assert isinstance(resource, cdk.CfnElement)
    return f"AwsSolutions-IAM5[Resource::<{cdk.Stack.of(bucket).get_logical_id(resource)}.Arn>/{folder}*]"


def _objects(role: iam.IRole, bucket: s3.Bucket, folder: str, actions: list[str]) -> None:
    assert folder.endswith("/"), "a folder, so that the wildcard cannot reach its neighbours"
    _allow(role, actions, bucket.arn_for_objects(f"{folder}*"))
    reason = "Object names are not known beforehand; the wildcard stays inside one folder of one bucket."
    acknowledge(role, reason, folder_finding(bucket, folder))


def _allow(grantee: iam.IGrantable, actions: list[str], arn: str) -> None:
    iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=[arn])
