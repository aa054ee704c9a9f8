"""Patches for features that moto lacks and a long-lived fleet needs."""

from types import SimpleNamespace
from typing import Any

from moto.ec2.models.instances import Instance
from moto.moto_api._internal import mock_random
from moto.s3 import models as s3


def apply() -> None:
    """Patch moto: update instances in place, and generate reproducible upload identifiers."""
    # Unpatched, moto loses an instance that a stack update changes: it keeps running but belongs to no stack.
    Instance.update_from_cloudformation_json = classmethod(_update_instance)  # type: ignore[method-assign,assignment]
    # Upload identifiers are the only ones that moto does not take from its own random generator.
    s3.os = SimpleNamespace(urandom=mock_random.randbytes)  # type: ignore[attr-defined,assignment]


def _update_instance(_class: type, /, original_resource: Any, cloudformation_json: Any, **_rest: Any) -> Any:
    """Apply the properties that AWS updates without replacement: given tags, and the instance type."""
    properties = cloudformation_json["Properties"]
    original_resource.add_tags({tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])})
    original_resource.instance_type = properties.get("InstanceType", original_resource.instance_type)
    return original_resource
