"""Who may do what: no wildcard actions, wildcard resources only from a short list, one reader of the broker's secret, a closed network."""

import json
from collections.abc import Iterator
from typing import Any

from infra.synthesized import Found, Synthesized

WILDCARD_RESOURCE_ACTIONS = {
    # a function's network interfaces
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    # traces
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
    # the registry's token
    "ecr:GetAuthorizationToken",
    # metrics, bound to a namespace by a condition
    "cloudwatch:PutMetricData",
    # the ECS agent; the two that act are bound to the cluster by a condition
    "ecs:DiscoverPollEndpoint",
    "ecs:Poll",
    "ecs:StartTelemetrySession",
}
NOWHERE = "255.255.255.255/32"  # CDK's way to write "no egress": a group without any rule may call everything
BOUND_BY_CONDITION = {"cloudwatch:PutMetricData", "ecs:Poll", "ecs:StartTelemetrySession"}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowed(stage: Synthesized) -> Iterator[tuple[Found, dict[str, Any]]]:
    """Every statement that allows something to one of our roles."""
    for policy in stage.of("AWS::IAM::Policy"):
        for statement in policy.properties["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                yield policy, statement


def test_no_role_is_allowed_an_action_with_a_wildcard(stage: Synthesized) -> None:
    """`s3:*` grows with every feature that AWS adds."""
    found = [(str(policy), action) for policy, statement in allowed(stage) for action in as_list(statement["Action"]) if "*" in action]
    assert found == []


def test_wildcard_resources_are_only_those_that_cannot_be_named(stage: Synthesized) -> None:
    """The list is short and each entry says why."""
    for policy, statement in allowed(stage):
        if "*" in as_list(statement["Resource"]):
            actions = set(as_list(statement["Action"]))
            assert actions <= WILDCARD_RESOURCE_ACTIONS, policy
            assert "Condition" in statement or not actions & BOUND_BY_CONDITION, policy


def test_object_wildcards_stay_inside_a_folder(stage: Synthesized) -> None:
    """A role that may write quarantine must not be able to write the lake."""
    for policy, statement in allowed(stage):
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            if "*" in text and resource != "*":
                folder = text[: text.index("*")].rsplit('"', 1)[-1]
                assert folder.startswith("/"), (str(policy), text)
                assert folder.endswith("/"), (str(policy), text)
                assert len(folder) > 2, (str(policy), text)


def test_no_policy_is_managed_and_nobody_is_a_user(stage: Synthesized) -> None:
    """AWS's managed policies allow more than one program needs; people come through the identity centre, not as users with keys."""
    assert all("ManagedPolicyArns" not in role.properties for role in stage.of("AWS::IAM::Role"))
    assert stage.of("AWS::IAM::User", "AWS::IAM::AccessKey", "AWS::IAM::ManagedPolicy") == []


def test_every_program_has_a_role_of_its_own(stage: Synthesized) -> None:
    """A shared role is the union of what its users need."""
    used = [json.dumps(function.properties["Role"]) for function in stage.of("AWS::Lambda::Function")]
    for task in stage.of("AWS::ECS::TaskDefinition"):
        used += [json.dumps(task.properties["TaskRoleArn"]), json.dumps(task.properties["ExecutionRoleArn"])]
    assert len(used) == len(set(used)) == 6


def readers(stage: Synthesized, secret: str) -> set[str]:
    """Policies that allow to read the secret with this logical id prefix."""
    return {
        policy.id
        for policy, statement in allowed(stage)
        if "secretsmanager:GetSecretValue" in as_list(statement["Action"]) and f"Ref{secret}" in json.dumps(statement["Resource"])
    }


def test_exactly_one_role_reads_the_brokers_secret(stage: Synthesized) -> None:
    """The agent that starts the execution task; not the task, not the feed gateway, not a function."""
    (reader,) = readers(stage, "BrokerSecret")
    assert reader.startswith("ExecutionAgentRole")
    (reader,) = readers(stage, "FeedSecret")
    assert reader.startswith("FeedGatewayAgentRole")


def test_the_feed_gateway_cannot_reach_the_database(stage: Synthesized) -> None:
    """It parses what strangers send: it gets the stream, the cache and nothing that money depends on."""
    assert not any(reader.startswith("FeedGateway") for reader in readers(stage, "DatabaseProgramSecret"))
    assert len(readers(stage, "DatabaseProgramSecret")) == 3
    assert readers(stage, "DatabaseAdminSecret") == set(), "people only"


def group_names(stage: Synthesized) -> dict[str, str]:
    """Short name of each security group by its logical id."""
    prefix = f"tidemark-{stage.config.name}-"
    return {found.id: found.properties["GroupName"].removeprefix(prefix) for found in stage.of("AWS::EC2::SecurityGroup")}


def edges(stage: Synthesized, type_: str, own: str, peer: str) -> set[tuple[str, str, int]]:
    """(group, peer, port) of all rules of one direction; the peer is a group's name or an address range."""
    names = group_names(stage)

    def name_of(value: Any) -> str:
        return names[value["Fn::GetAtt"][0]]

    found = set()
    for rule in stage.of(type_):
        properties = rule.properties
        other = properties.get("CidrIp") or properties.get(f"{peer}PrefixListId") or properties.get(f"{peer}SecurityGroupId")
        text = name_of(other) if isinstance(other, dict) and other.get("Fn::GetAtt", [""])[0] in names else str(other)
        found.add((name_of(properties["GroupId"]), text, properties["FromPort"]))
    return found


def test_nothing_accepts_connections_from_outside(stage: Synthesized) -> None:
    """Who may connect to what is this list, and nothing else."""
    ingress = edges(stage, "AWS::EC2::SecurityGroupIngress", "GroupId", "Source")
    stores = {("database", name, 5433) for name in ("processors", "execution", "rotation")}
    stores |= {("cache", name, 6380) for name in ("processors", "execution", "gateway")}
    clients = ("processors", "execution", "gateway", "hosts", "rotation")
    endpoints = {("endpoints", name, 443) for name in clients} if stage.config.interface_endpoints else set()
    assert ingress == stores | endpoints
    assert all("SecurityGroupIngress" not in group.properties for group in stage.of("AWS::EC2::SecurityGroup"))


def test_only_the_tasks_and_their_host_reach_the_internet(stage: Synthesized) -> None:
    """A function that could reach any address could carry out whatever it reads. A stage without endpoints has only NAT to reach AWS."""
    egress = edges(stage, "AWS::EC2::SecurityGroupEgress", "GroupId", "Destination")
    anywhere = {group for group, peer, _ in egress if peer == "0.0.0.0/0"}
    through_nat = set() if stage.config.interface_endpoints else {"processors", "rotation"}
    assert anywhere == {"execution", "gateway", "hosts"} | through_nat
    assert {port for _, peer, port in egress if peer == "0.0.0.0/0"} == {443}
    called = {peer for group, peer, _ in egress if group in ("database", "cache")}
    assert called == {NOWHERE}, "stores answer, they do not call"


def test_stages_with_endpoints_have_one_for_every_service_the_programs_call(stage: Synthesized) -> None:
    """A missing one shows as a time-out at three in the morning."""
    services = {
        str(endpoint.properties["ServiceName"]).rsplit("us-east-1.", 1)[-1].rstrip("'}]")
        for endpoint in stage.of("AWS::EC2::VPCEndpoint")
        if endpoint.properties.get("VpcEndpointType") == "Interface"
    }
    needed = {
        "kms",
        "secretsmanager",
        "logs",
        "monitoring",
        "ecr.api",
        "ecr.dkr",
        "kinesis-streams",
        "kinesis-firehose",
        "sagemaker.runtime",
    }
    needed |= {"sts", "ssm", "xray"}
    assert services == (needed if stage.config.interface_endpoints else set())


def test_hosts_hand_out_no_credentials_to_containers(stages: dict[str, Synthesized]) -> None:
    """Session tokens only, one hop only, an encrypted disk."""
    for stage in (stages["staging"], stages["prod"]):
        data = stage.one("AWS::EC2::LaunchTemplate").properties["LaunchTemplateData"]
        assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        (disk,) = data["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True
        assert "Keys" in str(disk["Ebs"]["KmsKeyId"])
