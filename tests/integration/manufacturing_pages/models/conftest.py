"""Pages about models: an installation of each module's own, for models are of the whole of it."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings, load
from evident_manufacturing.app import create_app
from manufacturing_client import client_of, frame


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    frame(made).close()


@pytest.fixture(scope="module")
def chief(app: Flask) -> FlaskClient:
    """A key that may change models."""
    return client_of(app, "chief", "read", "write", "admin")
