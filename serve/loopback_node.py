"""`python -m serve.loopback_node --address=...`: `ray start` for a second node of this machine.

Ray 2.60 binds loopback only while RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is 0, and refuses to join a
node while it is 0. So the switch is on while `ray start` reads it, off for the processes that it
starts, and the node's address is loopback all the same. For one machine; nodes of other machines
join by plain `ray start`.
"""

import os

_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def main() -> None:
    """Run `ray start --block` with this process's arguments."""
    os.environ[_SWITCH] = "1"
    # Ray reads the switch when it is imported.
    from ray._private import services  # noqa: PLC0415
    from ray.scripts import scripts  # noqa: PLC0415

    os.environ[_SWITCH] = "0"
    services.get_node_ip_address = lambda _address=None: "127.0.0.1"
    scripts.start()


if __name__ == "__main__":
    main()
