"""The Ray Serve shell: two applications from one FastAPI code base.

    api       everything but the event streams, at /
    events    the event streams, at /api/events, in a deployment of their own, so that open streams
              and short requests never wait for each other

`serve deploy deploy/serve.yaml` and the local service deploy the same two.
"""

import logging
import os
from collections.abc import Callable

from fastapi import APIRouter
from ray import serve as ray_serve
from starlette.types import ASGIApp

from cluster import settings as cluster_settings
from cluster.directory import HEAD_NODE
from cluster.manager_actor import start_or_find
from cluster.settings import Settings
from evidence.clock import utc_now
from governance.account_reader import FILE, AccountReader
from serve import app as application
from serve import tokens
from serve.console.site import Site
from serve.context import Context
from serve.guard import LOOPBACK_HOSTS, Access, Guard
from serve.readiness import Readiness
from serve.routes import events
from trainers.provenance import describe_code

API = "api"
EVENTS = "events"

_OTHERS = tuple(router for router in application.ROUTERS if router is not events.router)
_SHORT_REQUESTS = 200
_MOST_STREAMS = 10_000


def build_asgi(routers: tuple[APIRouter, ...]) -> ASGIApp:
    """Return the guarded application of one replica, from the settings of its process."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    settings = cluster_settings.from_environment(os.environ)
    cluster_settings.require_safe_binding(settings)
    accounts = AccountReader(
        settings.home / "keys" / FILE,
        owner_token=tokens.read_or_create(settings.home),
        clock=utc_now,
    )
    context = Context(
        settings=settings,
        manager=start_or_find(settings),
        readiness=Readiness(settings, describe_code()["commit"], application.routes()),
        accounts=accounts,
    )
    access = Access(
        hosts=_hosts(settings),
        accounts=accounts,
        role_of=application.role_of(),
        max_body_bytes=settings.max_body_bytes,
        max_pack_bytes=settings.max_pack_bytes,
    )
    app = application.create_app(context, routers=routers)
    return Guard(Site(app), access)


def _hosts(settings: Settings) -> frozenset[str]:
    further = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    own = LOOPBACK_HOSTS if settings.is_loopback else {settings.host}
    return frozenset({*own, *further})


def build_api() -> ASGIApp:
    """Return the application of a replica of `api`."""
    return build_asgi(_OTHERS)


def build_events() -> ASGIApp:
    """Return the application of a replica of `events`."""
    return build_asgi((events.router,))


def _application(build: Callable[[], ASGIApp], *, name: str, ongoing: int) -> ray_serve.Application:
    """Return an application of one deployment around an ASGI application."""
    make = ray_serve.deployment(
        name=name,
        max_ongoing_requests=ongoing,
        max_queued_requests=_SHORT_REQUESTS,
        # On the head node: another node's home has another token.
        ray_actor_options={"num_cpus": 0, "resources": {HEAD_NODE: 0.001}},
    )
    return make(ray_serve.ingress(build)()).bind()


api = _application(build_api, name=API, ongoing=_SHORT_REQUESTS)
"""The application at /; named in deploy/serve.yaml."""

event_streams = _application(build_events, name=EVENTS, ongoing=_MOST_STREAMS)
"""The application at /api/events; named in deploy/serve.yaml."""
