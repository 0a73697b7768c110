"""Rule sets of others over our templates: cdk-nag's AwsSolutions, cfn-lint, and the CDK's own validation."""

import json
import re

import pytest

from infra.synthesized import PROJECT, Synthesized

ACKNOWLEDGED_RULES_MAX = 10


def test_cdk_nag_finds_nothing_that_is_not_acknowledged(stage: Synthesized) -> None:
    """AwsSolutions is AWS's own list of what an architecture review asks."""
    found = [(v.rule_name, resource.construct_path) for v in stage.nag.violations for resource in v.violating_resources]
    assert found == []
    assert stage.nag.success


def test_few_rules_are_acknowledged_each_with_a_reason(stages: dict[str, Synthesized]) -> None:
    """A growing list is a rule set that is not kept. The validator's own W3010 is no rule of the pack."""
    accepted = [entry for stage in stages.values() for entry in stage.acknowledged if entry[1].startswith("AwsSolutions")]
    assert len({rule.split("[")[0] for _, rule, _ in accepted}) <= ACKNOWLEDGED_RULES_MAX
    assert all(len(reason.split()) >= 5 for _, _, reason in accepted)


def test_wildcards_are_acknowledged_one_by_one(stage: Synthesized) -> None:
    """An acknowledgement of the whole rule would hide the next wildcard."""
    rules = {rule for _, rule, _ in stage.acknowledged if rule.startswith("AwsSolutions-IAM")}
    assert rules
    assert all("[" in rule for rule in rules)


def test_no_acknowledgement_is_left_over(stage: Synthesized) -> None:
    """On a construct that has gone, or for a wildcard that was narrowed, it would wait for the wrong one to hide."""
    granular = {rule.split("Resource::", 1)[1].rstrip("]") for _, rule, _ in stage.acknowledged if "Resource::<" in rule}
    policies = json.dumps([policy.properties for policy in stage.of("AWS::IAM::Policy")])
    for finding in granular:
        folder = finding.split(".Arn>", 1)[1]
        assert f'"{folder}"' in policies, finding


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_cfn_lint_finds_no_error(stages: dict[str, Synthesized], name: str) -> None:
    """Against CloudFormation's own schemas, offline. Between them the two stages have every shape that staging has."""
    from cfnlint.api import ManualArgs, lint

    found = []
    stage = stages[name]
    for stack in stage.templates:
        text = (stage.folder / f"{stack}.template.json").read_text(encoding="utf-8")
        config = ManualArgs(regions=[stage.config.region], ignore_checks=["W3005", "W3010"])
        found += [f"{stack}: {match}" for match in lint(text, config=config) if match.rule.id.startswith("E")]
    assert found == []


def test_the_cdks_own_validation_passes(stage: Synthesized) -> None:
    """It runs at every synthesis; a report with an error would have raised, one with a warning is read here."""
    report = json.loads((stage.folder / "validation-report.json").read_text(encoding="utf-8"))
    found = [(v["ruleName"], v["description"]) for plugin in report["pluginReports"] for v in plugin["violations"]]
    assert found == []


@pytest.mark.parametrize("limit", [500])
def test_no_stack_outgrows_cloudformation(stage: Synthesized, limit: int) -> None:
    """500 resources a stack is a hard quota."""
    assert all(len(template["Resources"]) <= limit * 0.8 for template in stage.templates.values())


def test_the_unlinted_stage_has_no_shape_of_its_own(stages: dict[str, Synthesized]) -> None:
    """Every type and property of staging is in a stage that cfn-lint reads."""
    shapes = {name: {(found.type, key) for found in stage.all() for key in found.properties} for name, stage in stages.items()}
    assert shapes["staging"] <= shapes["dev"] | shapes["prod"]


def test_the_list_of_types_that_moto_does_not_know_is_true(stages: dict[str, Synthesized]) -> None:
    """docs/infrastructure.md names them for whoever deploys a template into moto."""
    from moto.cloudformation import parsing

    known = {model.cloudformation_type() for model in parsing.get_model_list()} | set(parsing.NULL_MODELS)
    used = {found.type for stage in stages.values() for found in stage.all()}
    section = (PROJECT / "docs" / "infrastructure.md").read_text(encoding="utf-8").split("## What moto", 1)[1]
    assert set(re.findall(r"`(AWS::[\w:]+)`", section)) == used - known
