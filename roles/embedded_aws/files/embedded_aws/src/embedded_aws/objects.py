"""S3 object requests that a later request undoes: the replay skips them, and their bodies are deleted."""

from collections import defaultdict
from typing import Any
from urllib.parse import parse_qs


class Objects:
    """Numbers of the write requests for each object since its last deletion."""

    def __init__(self) -> None:
        self._writes: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._keeps_all = False

    def record(self, number: int, scope: str, environ: dict[str, Any], status: str) -> list[int]:
        """Record a completed request; return the numbers of the requests that it undoes."""
        if not scope.endswith("/s3"):
            return []
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        query.pop("x-id", None)  # the action's name, without effect
        # A copy depends on former content, and versions survive a deletion.
        self._keeps_all |= "HTTP_X_AMZ_COPY_SOURCE" in environ or "versioning" in query
        if "/" not in path.strip("/"):
            return []  # a bucket
        upload = query.pop("uploadId", [""])[0]
        if method in ("PUT", "POST"):
            self._writes[path].append((number, upload))
        if method != "DELETE" or query or not status.startswith("204") or self._keeps_all:
            return []
        former = self._writes.pop(path, [])
        if upload:  # aborted multipart upload
            self._writes[path] = [write for write in former if write[1] != upload]
            former = [write for write in former if write[1] == upload]
        return [number for number, _ in former]
