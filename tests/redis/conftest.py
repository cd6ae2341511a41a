"""The server that these tests share."""

from redis_server import shared_redis  # noqa: F401  # a fixture
