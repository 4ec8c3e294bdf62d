"""Print the tasks of the last job of a cluster as one line of JSON, from Ray's own records of them.

`RAY_ADDRESS` names the cluster's dashboard. The line has the durations in seconds of the tasks that ended well: by name
of the task, and by the address of the node that ran it. A worker reports its tasks every second, so a node that is lost
takes the last ones with it.
"""

import json
import os
from collections import defaultdict

from ray.util.state import list_nodes, list_tasks

MOST = 10_000
"""Maximum number of records that the cluster gives at once."""


def main() -> None:
    """Print the line."""
    address = os.environ["RAY_ADDRESS"]
    names = {node.node_id: node.node_ip for node in list_nodes(address, limit=MOST)}
    records = list_tasks(address, limit=MOST, detail=True)
    last = max(record.job_id for record in records)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.job_id == last and record.state == "FINISHED" and record.node_id in names:
            started = record.start_time_ms or record.end_time_ms  # a busy worker may fail to report a start
            seconds = (record.end_time_ms - started) / 1000
            found[record.name][names[record.node_id]].append(seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
