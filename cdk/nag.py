"""Rules of cdk-nag AwsSolutions that a construct does not follow, with the reason, recorded where the construct is made.

Every acknowledgement stays on its construct's metadata, so that a test can list and count them.
"""

import aws_cdk as cdk
from constructs import IConstruct

METADATA = "tidemark:acknowledged"


def acknowledge(construct: IConstruct, reason: str, *rules: str) -> None:
    """Accept each rule for `construct` and what is below it. Granular ids name the very wildcard, e.g. `AwsSolutions-IAM5[Resource::*]`."""
    assert len(reason) > 20, "a reason is a sentence"
    for rule in rules:
        cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))
        construct.node.add_metadata(METADATA, {"rule": rule, "reason": reason})
