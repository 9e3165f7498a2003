"""A server of the counting service of these tests, as a program: its arguments are a data folder and a port."""

import sys

import click
from flask import Flask

from evident_core.services import Vertical
from evident_core.settings import Settings, load
from evident_core.web.job_routes import job_routes
from evident_core.web.jobs import Task
from evident_core.web.server import serve
from evident_core.web.service import create_service

TASK = Task("counting", "1", "backstage_functions:count_bytes")
WORDS = {"en": "Counting", "zh": "计数"}


def create(settings: Settings) -> Flask:
    return create_service(Vertical("counting", WORDS, WORDS, "", ""), settings, blueprints=[job_routes(TASK)])


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    settings = load(store={"data_dir": folder}, web={"port": int(port)}, jobs={"lease_seconds": 5})
    serve(settings, create, lambda address: click.echo(address))
