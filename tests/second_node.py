"""Starting a second Ray node on this machine, on 127.0.0.1 like the first.

``ray start`` adds a node only where several are allowed, and where they are it gives each the machine's outer address,
at which the local cluster doesn't listen. So this runs ``ray start`` with both settled, in this process alone.
"""

from __future__ import annotations

import sys


def command(gcs: str, cpus: int) -> list[str]:
    """Return the command of a node of a cluster, which stays in the foreground."""
    start = ["start", "--block", f"--address={gcs}", "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}"]
    return [sys.executable, __file__, *start, "--dashboard-agent-listen-port=0", "--log-color=false"]


if __name__ == "__main__":
    from ray._private import ray_constants, services
    from ray.scripts import scripts

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = lambda address=None: "127.0.0.1"
    scripts.main()
