"""Reads a synthesized CDK assembly and resolves its intrinsic functions to what the laptop has.

A direct reader, not a CloudFormation emulation: nothing is created here. Names and settings come from the template;
what only AWS could know (an endpoint's address, a generated ARN) comes from `bindings`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemark.errors import InputError, bad_input

NO_VALUE = object()
UNKNOWN_ACCOUNT = "123456789012"
UNKNOWN_REGION = "us-east-1"
PARTITION = "aws"
ResourceKey = tuple[str, str]
"""(stack name, logical id)."""

_NAME_PROPERTY = {
    "AWS::Kinesis::Stream": "Name",
    "AWS::Kinesis::StreamConsumer": "ConsumerName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::SSM::Parameter": "Name",
    "AWS::Glue::Database": "DatabaseInput.Name",
    "AWS::Glue::Table": "TableInput.Name",
    "AWS::KinesisFirehose::DeliveryStream": "DeliveryStreamName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::IAM::Role": "RoleName",
    "AWS::SageMaker::Endpoint": "EndpointName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::Logs::LogGroup": "LogGroupName",
}
_ARN = {
    "AWS::Kinesis::Stream": "kinesis:{region}:{account}:stream/{name}",
    "AWS::Kinesis::StreamConsumer": "kinesis:{region}:{account}:consumer/{name}",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{region}:{account}:secret:{name}",
    "AWS::SSM::Parameter": "ssm:{region}:{account}:parameter/{name}",
    "AWS::KinesisFirehose::DeliveryStream": "firehose:{region}:{account}:deliverystream/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::SageMaker::Endpoint": "sagemaker:{region}:{account}:endpoint/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
}
_REF_IS_ARN = {
    "AWS::SNS::Topic",
    "AWS::SecretsManager::Secret",
    "AWS::Kinesis::StreamConsumer",
    "AWS::SageMaker::Endpoint",
    "AWS::Lambda::Alias",
    "AWS::Lambda::Version",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """One template of the assembly."""

    name: str
    account: str
    region: str
    body: dict[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.body.get(name, {})
        return found


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as the template states it; properties still hold intrinsic functions."""

    key: ResourceKey
    type: str
    properties: dict[str, Any]


@dataclass(slots=True)
class Assembly:
    """All stacks of a stage with one resolver over them.

    `bindings` answer `Ref` and attributes of single resources, `type_attributes` those of every resource of a type.
    `unresolved` collects the attributes that nobody knew: they got a placeholder.
    """

    source: str
    stacks: dict[str, Stack]
    bindings: dict[ResourceKey, dict[str, str]] = field(default_factory=dict)
    type_attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    unresolved: set[str] = field(default_factory=set)
    _exports: dict[str, tuple[Stack, Any]] | None = None

    @property
    def account(self) -> str:
        return next(iter(self.stacks.values())).account

    @property
    def region(self) -> str:
        return next(iter(self.stacks.values())).region

    def resources(self, *types: str) -> Iterator[Resource]:
        """Resources of the given types, in template order, whose condition holds; all of them without types."""
        for stack in self.stacks.values():
            for logical_id, body in stack.section("Resources").items():
                if (not types or body["Type"] in types) and self._exists(stack, body):
                    yield Resource((stack.name, logical_id), body["Type"], body.get("Properties", {}))

    def properties(self, resource: Resource, *names: str) -> dict[str, Any]:
        """The resource's properties, all or the named ones, with every intrinsic function resolved."""
        wanted = {name: value for name, value in resource.properties.items() if not names or name in names}
        resolved: dict[str, Any] = self.resolve(wanted, self.stacks[resource.key[0]])
        return resolved

    def name(self, resource: Resource) -> str:
        """Physical name: the explicit one, else `stack-LogicalId` as CloudFormation would begin it."""
        value: Any = resource.properties
        path = _NAME_PROPERTY.get(resource.type)
        for part in path.split(".") if path else ():
            value = value.get(part) if isinstance(value, dict) else None
        if path and value is not None:
            return str(self.resolve(value, self.stacks[resource.key[0]]))
        name = "-".join(resource.key)
        return name.lower() if resource.type == "AWS::S3::Bucket" else name

    def arn(self, resource: Resource) -> str:
        """ARN; bindings win, because some ARNs end in random characters."""
        bound = self.bindings.get(resource.key, {}).get("Arn")
        if bound is not None:
            return bound
        name = self.name(resource)
        service = resource.type.split("::")[1].lower()
        pattern = _ARN.get(resource.type, service + ":{region}:{account}:{name}")
        return f"arn:{PARTITION}:" + pattern.format(region=self.region, account=self.account, name=name.lstrip("/"))

    def resolve(self, value: Any, stack: Stack) -> Any:
        """`value` with its intrinsic functions resolved. Raises InputError naming an unknown function or reference."""
        if isinstance(value, list):
            return [item for item in (self.resolve(item, stack) for item in value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            key, argument = next(iter(value.items()))
            if key == "Ref" or key.startswith("Fn::"):
                return self._intrinsic(key, argument, stack)
        pairs = ((key, self.resolve(item, stack)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not NO_VALUE}

    def _exists(self, stack: Stack, body: dict[str, Any]) -> bool:
        return "Condition" not in body or self._condition(body["Condition"], stack)

    def _intrinsic(self, key: str, argument: Any, stack: Stack) -> Any:
        match key:
            case "Ref":
                return self._ref(argument, stack)
            case "Fn::GetAtt":
                logical_id, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return self._attribute(logical_id, str(self.resolve(attribute, stack)), stack)
            case "Fn::Join":
                return argument[0].join(str(item) for item in self.resolve(argument[1], stack))
            case "Fn::Sub":
                return self._sub(argument, stack)
            case "Fn::Select":
                return self.resolve(argument[1], stack)[int(argument[0])]
            case "Fn::Split":
                return str(self.resolve(argument[1], stack)).split(argument[0])
            case "Fn::ImportValue":
                return self._import(str(self.resolve(argument, stack)))
            case "Fn::If":
                return self.resolve(argument[1 if self._condition(argument[0], stack) else 2], stack)
            case "Fn::FindInMap":
                outer, middle, inner = (self.resolve(item, stack) for item in argument[:3])
                return stack.section("Mappings")[outer][middle][inner]
            case "Fn::GetAZs":
                return [f"{self.region}{letter}" for letter in "abc"]
            case "Fn::Base64":
                return self.resolve(argument, stack)  # nobody on the laptop decodes user data
            case _:
                raise bad_input(self.source, f"{stack.name}.{key}", argument, "an intrinsic function that the laptop stage resolves")

    def _ref(self, name: str, stack: Stack) -> Any:
        pseudo = {
            "AWS::AccountId": stack.account,
            "AWS::Region": stack.region,
            "AWS::Partition": PARTITION,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack.name,
            "AWS::StackId": f"arn:{PARTITION}:cloudformation:{stack.region}:{stack.account}:stack/{stack.name}/local",
            "AWS::NoValue": NO_VALUE,
            "AWS::NotificationARNs": [],
        }
        if name in pseudo:
            return pseudo[name]
        if name in stack.section("Parameters"):
            return stack.section("Parameters")[name].get("Default", "")
        resource = self._resource(name, stack)
        bound = self.bindings.get(resource.key, {}).get("Ref")
        if bound is not None:
            return bound
        if resource.type == "AWS::SecretsManager::SecretTargetAttachment":
            return self.resolve(resource.properties["SecretId"], stack)
        return self.arn(resource) if resource.type in _REF_IS_ARN else self.name(resource)

    def _attribute(self, logical_id: str, attribute: str, stack: Stack) -> str:
        resource = self._resource(logical_id, stack)
        known = {**self.type_attributes.get(resource.type, {}), **self.bindings.get(resource.key, {})}
        if attribute in known:
            return known[attribute]
        if attribute in ("Arn", "TopicArn", "StreamArn", "ConsumerARN"):
            return self.arn(resource)
        if attribute.endswith("Name"):  # QueueName, TopicName, EndpointName
            return self.name(resource)
        self.unresolved.add(f"{stack.name}.{logical_id}.{attribute} ({resource.type})")
        return f"{logical_id}.{attribute}"

    def _resource(self, logical_id: str, stack: Stack) -> Resource:
        body = stack.section("Resources").get(logical_id)
        if body is None:
            raise bad_input(self.source, f"{stack.name}.Ref", logical_id, "a resource, parameter or pseudo parameter of the stack")
        return Resource((stack.name, logical_id), body["Type"], body.get("Properties", {}))

    def _sub(self, argument: Any, stack: Stack) -> str:
        text, local = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in local:
                return str(self.resolve(local[name], stack))
            if "." in name:
                logical_id, attribute = name.split(".", 1)
                return self._attribute(logical_id, attribute, stack)
            return str(self._ref(name, stack))

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def _import(self, name: str) -> Any:
        if self._exports is None:
            self._exports = {}
            for stack in self.stacks.values():
                for output in stack.section("Outputs").values():
                    if "Export" in output:
                        self._exports[str(self.resolve(output["Export"]["Name"], stack))] = (stack, output["Value"])
        if name not in self._exports:
            raise bad_input(self.source, "Fn::ImportValue", name, "an export of one of the assembly's stacks")
        stack, value = self._exports[name]
        return self.resolve(value, stack)

    def _condition(self, condition: Any, stack: Stack) -> bool:
        if isinstance(condition, str):
            return self._condition(stack.section("Conditions")[condition], stack)
        key, argument = next(iter(condition.items()))
        match key:
            case "Condition":
                return self._condition(argument, stack)
            case "Fn::Equals":
                left, right = (self.resolve(item, stack) for item in argument)
                return bool(left == right)
            case "Fn::Not":
                return not self._condition(argument[0], stack)
            case "Fn::And":
                return all(self._condition(item, stack) for item in argument)
            case "Fn::Or":
                return any(self._condition(item, stack) for item in argument)
            case _:
                raise bad_input(self.source, f"{stack.name}.Conditions", key, "Fn::Equals, Fn::Not, Fn::And, Fn::Or or Condition")


def read_assembly(folder: Path) -> Assembly:
    """The stacks of a cloud assembly, nested ones too. Raises InputError when the folder holds none."""
    stacks = {stack.name: stack for stack in _stacks(folder)}
    if not stacks:
        raise bad_input(str(folder), "manifest.json", "no stack", "a synthesized assembly with at least one stack")
    return Assembly(str(folder), stacks)


def _stacks(folder: Path) -> Iterator[Stack]:
    manifest = _json(folder / "manifest.json")
    for artifact_id, artifact in manifest.get("artifacts", {}).items():
        properties = artifact.get("properties", {})
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _stacks(folder / properties["directoryName"])
        elif artifact["type"] == "aws:cloudformation:stack":
            account, region = _environment(artifact.get("environment", ""))
            name = properties.get("stackName", artifact_id)
            yield Stack(name, account, region, _json(folder / properties["templateFile"]))


def _environment(text: str) -> tuple[str, str]:
    """(account, region) of `aws://account/region`; fixed ones where the assembly leaves them open."""
    match = re.fullmatch(r"aws://([^/]+)/([^/]+)", text)
    account, region = match.groups() if match else ("unknown-account", "unknown-region")
    return (account if account.isdigit() else UNKNOWN_ACCOUNT, UNKNOWN_REGION if region == "unknown-region" else region)


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise bad_input(str(path.parent), path.name, "no such file", "a synthesized cloud assembly") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: {error}") from error
    return value


def plain_environment(variables: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables as text; numbers and booleans as CloudFormation passes them on."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in variables.items()}
