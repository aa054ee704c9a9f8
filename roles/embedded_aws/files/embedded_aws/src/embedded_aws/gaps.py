"""What moto leaves out, and a fleet that outlives its AWS cannot do without."""

from types import SimpleNamespace
from typing import Any

from moto.ec2.models.instances import Instance
from moto.moto_api._internal import mock_random
from moto.s3 import models as s3


def fill() -> None:
    """Have moto follow a changed instance, and begin an upload under the same identifier every time."""
    # By itself it loses an instance that a stack changes: running on, and in no stack.
    Instance.update_from_cloudformation_json = classmethod(_follow)  # type: ignore[method-assign,assignment]
    # An upload's identifier alone is not from moto's own generator.
    s3.os = SimpleNamespace(urandom=mock_random.randbytes)  # type: ignore[attr-defined,assignment]


def _follow(_class: type, /, original_resource: Any, cloudformation_json: Any, **_rest: Any) -> Any:
    """Take over what AWS changes without a new instance: tags, as far as they are given, and type."""
    properties = cloudformation_json["Properties"]
    original_resource.add_tags({tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])})
    original_resource.instance_type = properties.get("InstanceType", original_resource.instance_type)
    return original_resource
