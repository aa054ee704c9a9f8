"""Which requests for objects a later request undoes."""

import pytest
from embedded_aws.objects import Objects

_S3 = "us-east-1/s3"


def undone(*requests: str, scope: str = _S3, header: str = "HTTP_X") -> list[list[int]]:
    """Return the numbers of the requests that each request undoes; format: `METHOD /PATH[?QUERY] [STATUS]`."""
    objects, numbers = Objects(), []
    for number, request in enumerate(requests):
        method, target, status = [*request.split(), "204"][:3]
        path, _, query = target.partition("?")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, header: "x"}
        numbers.append(objects.record(number, scope, environ, status))
    return numbers


def test_deletion_undoes_earlier_writes() -> None:
    """The deletion of an object undoes every write to it since its previous deletion."""
    assert undone("PUT /b/k", "PUT /b/k?tagging", "DELETE /b/k", "PUT /b/k", "DELETE /b/k?x-id=DeleteObject") == [
        [],
        [],
        [0, 1],
        [],
        [3],
    ]


def test_abort_undoes_its_parts_only() -> None:
    """An aborted multipart upload undoes only its own parts."""
    parts = ["PUT /b/k?partNumber=1&uploadId=u", "PUT /b/k?partNumber=1&uploadId=v"]
    assert undone("POST /b/k?uploads", *parts, "DELETE /b/k?uploadId=u", "DELETE /b/k") == [[], [], [], [1], [0, 2]]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("DELETE /b/other", id="another object"),
        pytest.param("DELETE /b/k/k", id="a longer key"),
        pytest.param("DELETE /b/k?tagging", id="only its tags"),
        pytest.param("DELETE /b/k?versionId=1", id="a version"),
        pytest.param("DELETE /b/k 404", id="a failed deletion"),
        pytest.param("DELETE /b", id="the bucket"),
        pytest.param("GET /b/k", id="a read-only request"),
    ],
)
def test_other_requests_undo_nothing(then: str) -> None:
    """A request that does not delete the object undoes nothing."""
    assert undone("PUT /b/k", then) == [[], []]


def test_versioning_disables_undo() -> None:
    """With versioning nothing is undone, because versions survive a deletion."""
    assert undone("PUT /b?versioning", "PUT /b/k", "DELETE /b/k") == [[], [], []]


def test_copies_disable_undo() -> None:
    """After a copy nothing is undone, because the copy depends on former content."""
    assert undone("PUT /b/k", "DELETE /b/k", header="HTTP_X_AMZ_COPY_SOURCE") == [[], []]


def test_other_services_undo_nothing() -> None:
    """Requests to other services undo nothing."""
    assert undone("PUT /b/k", "DELETE /b/k", scope="us-east-1/lambda") == [[], []]
