"""gRPC reads its environment when it is imported, and says on standard error what it thinks of forks."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
