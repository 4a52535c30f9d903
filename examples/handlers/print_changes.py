"""An exec handler in Python: a batch of changes is a line on stdin, the answer a line on stdout.

In config/db_event_listener.toml:

    handler = { exec = ["python3", "examples/handlers/print_changes.py"] }

Standard output belongs to the answers; what is printed to stderr appears in event-worker's log.
"""

import json
import sys

for line in sys.stdin:
    failed, failed_keys, why = [], set(), None
    for event in json.loads(line):
        key = (event["Schema"], event["TableName"], json.dumps(event["PK"]))
        if key in failed_keys:
            continue  # this event comes again, after the one that failed
        try:
            # Your work goes here. A change may come more than once: EvId is the same then. Seq only
            # grows, so it can be a version number: write only what has a higher Seq, and keep the
            # Seq of a deleted row, too (docs/delivery.md, "Seq and deletes"). A row of a full sync
            # (Origin "full_sync") has another EvId each time. If business steps must not be
            # repeated for such rows, set fullSync = false in the listener, or look at Origin.
            print(event["Action"], event["TableName"], event["PK"], event["Data"], file=sys.stderr)
        except Exception as error:
            failed.append(event["EvId"])
            failed_keys.add(key)
            why = repr(error)
    # The failed events come again, with all later changes of their keys. The others are done.
    print(json.dumps({"failed": failed, "error": why}), flush=True)
