"""The official SDKs as oracles, run by `nox -s sdk_types`; without $LUTUM_SDK nothing here is collected."""

import os

collect_ignore_glob = [] if os.environ.get("LUTUM_SDK") else ["test_*.py"]
