"""`python -m serve deploy --address HOST:PORT`: put the service on a running Ray cluster."""

import argparse
import os


def main() -> None:
    """Start the manager and both Serve applications; return when they answer."""
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    deploy = commands.add_parser("deploy", help="start the manager and both applications")
    deploy.add_argument("--address", required=True, help="the Ray cluster, HOST:PORT")
    arguments = parser.parse_args()

    import ray
    from ray import serve as ray_serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    from cluster.directory import NAMESPACE
    from cluster.manager_actor import start_or_find
    from cluster.settings import from_environment, require_safe_binding
    from serve import deployment

    settings = from_environment(os.environ)
    require_safe_binding(settings)
    ray.init(address=arguments.address, namespace=NAMESPACE, log_to_driver=False)
    manager = start_or_find(settings)
    options = HTTPOptions(
        host=settings.host,
        port=settings.port,
        ssl_certfile=str(settings.tls_certificate) if settings.tls_certificate else None,
        ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
    )
    ray_serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=options)
    ray.get(manager.begin.remote())
    ray_serve.run_many(
        [
            ray_serve.RunTarget(deployment.event_streams, "events", "/api/events"),
            ray_serve.RunTarget(deployment.api, "api", "/"),
        ]
    )


if __name__ == "__main__":
    main()
