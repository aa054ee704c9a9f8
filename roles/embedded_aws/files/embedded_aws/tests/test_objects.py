"""Which requests on objects a later one undoes."""

import pytest
from embedded_aws.objects import Objects

_S3 = "us-east-1/s3"


def asked(*requests: str, scope: str = _S3, header: str = "HTTP_X") -> list[list[int]]:
    """Return what each request undoes; one is written `METHOD /PATH[?QUERY] [STATUS]`."""
    objects, found = Objects(), []
    for number, request in enumerate(requests):
        method, target, status = [*request.split(), "204"][:3]
        path, _, query = target.partition("?")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, header: "x"}
        found.append(objects.note(number, scope, environ, status))
    return found


def test_deleting_an_object_undoes_all_that_was_asked_of_it_since_it_was_deleted_before() -> None:
    assert asked("PUT /b/k", "PUT /b/k?tagging", "DELETE /b/k", "PUT /b/k", "DELETE /b/k?x-id=DeleteObject") == [
        [],
        [],
        [0, 1],
        [],
        [3],
    ]


def test_giving_up_an_upload_undoes_its_parts_alone() -> None:
    parts = ["PUT /b/k?partNumber=1&uploadId=u", "PUT /b/k?partNumber=1&uploadId=v"]
    assert asked("POST /b/k?uploads", *parts, "DELETE /b/k?uploadId=u", "DELETE /b/k") == [[], [], [], [1], [0, 2]]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("DELETE /b/other", id="another object"),
        pytest.param("DELETE /b/k/k", id="a longer key"),
        pytest.param("DELETE /b/k?tagging", id="only its tags"),
        pytest.param("DELETE /b/k?versionId=1", id="a version"),
        pytest.param("DELETE /b/k 404", id="in vain"),
        pytest.param("DELETE /b", id="the bucket"),
        pytest.param("GET /b/k", id="nothing"),
    ],
)
def test_what_does_not_delete_the_object_undoes_nothing(then: str) -> None:
    assert asked("PUT /b/k", then) == [[], []]


def test_where_versions_are_kept_nothing_is_undone() -> None:
    assert asked("PUT /b?versioning", "PUT /b/k", "DELETE /b/k") == [[], [], []]


def test_where_objects_were_copied_nothing_is_undone() -> None:
    assert asked("PUT /b/k", "DELETE /b/k", header="HTTP_X_AMZ_COPY_SOURCE") == [[], []]


def test_other_services_are_not_meant() -> None:
    assert asked("PUT /b/k", "DELETE /b/k", scope="us-east-1/lambda") == [[], []]
