"""An exec handler in Python: a batch of changes is a line on stdin, the answer a line on stdout.

In config/db_event_listener.toml:

    handler = { exec = ["python3", "examples/handlers/print_changes.py"] }

Standard output belongs to the answers; what is printed to stderr appears in event-worker's log.
"""

import json
import sys

for line in sys.stdin:
    failed = []
    for event in json.loads(line):
        try:
            # Your work goes here. It may see an event more than once: EvId is the same then, and
            # for one key Bus.offset only grows, so it can serve as a version number.
            print(event["Action"], event["TableName"], event["PK"], event["Data"], file=sys.stderr)
        except Exception as error:
            print(f"{event['EvId']}: {error}", file=sys.stderr)
            failed.append(event["EvId"])
    # Those that failed come again, before any later event of the same key.
    print(json.dumps({"failed": failed}), flush=True)
