"""A client of the event log in Python.

    client.py append STREAM PRODUCER   appends the lines of its input, each of them once
    client.py read STREAM GROUP        prints what the group has not read yet, up to the end

Both take --server HOST:PORT, --token-file FILE and --ca-file FILE (TLS). Run `append` again with the
same input after any failure: it goes on after the last line that the log has.
"""

import argparse
import pathlib
import sys

import grpc

import event_log_pb2 as log
import event_log_pb2_grpc as services

PLAIN = 1000




def connect(arguments):
    """Gives the calls of the service, and the metadata that each of them needs."""
    # Without a ping, a connection that a firewall has dropped looks like a quiet one.
    options = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
    if arguments.ca_file:
        trusted = grpc.ssl_channel_credentials(arguments.ca_file.read_bytes())
        channel = grpc.secure_channel(arguments.server, trusted, options)
    else:
        channel = grpc.insecure_channel(arguments.server, options)
    metadata = []
    if arguments.token_file:
        metadata = [("authorization", f"Bearer {arguments.token_file.read_text().strip()}")]
    return services.EventLogStub(channel), metadata


def append(arguments):
    stub, metadata = connect(arguments)
    # Who opens a producer is the only one that may append for it, and gets what it has saved.
    opening = log.OpenProducerRequest(stream=arguments.stream, producer=arguments.name)
    opened = stub.OpenProducer(opening, metadata=metadata, timeout=30)
    saved = {entry.key: entry.value for entry in opened.checkpoint}
    done = int(saved.get("lines", b"0"))

    def requests():
        for number, line in enumerate(sys.stdin.buffer, 1):
            if number > done:
                yield log.AppendRequest(
                    stream=arguments.stream,
                    producer=arguments.name,
                    epoch=opened.epoch,
                    sequence=number - done,
                    records=[log.NewRecord(type=PLAIN, topic="lines", payload=line.rstrip(b"\n"))],
                    # The log keeps it together with the record.
                    checkpoint=[log.CheckpointEntry(key="lines", value=str(number).encode())],
                )

    appended = 0
    for _ in stub.Append(requests(), metadata=metadata):
        appended += 1  # Durable, all up to here.
    print(f"appended {appended} lines after line {done}", file=sys.stderr)


def read(arguments):
    stub, metadata = connect(arguments)
    asked = log.SubscribeRequest(
        stream=arguments.stream,
        group=arguments.name,
        start=log.Start(earliest=log.Earliest()),  # The first time only: then the group's place.
        client="client.py",
    )
    end = stub.Info(log.InfoRequest(stream=arguments.stream), metadata=metadata).next_offset
    member = 0
    for answer in stub.Subscribe(asked, metadata=metadata):
        if answer.HasField("assigned"):
            # Before this, another member of the group is the active one.
            member, place = answer.assigned.member, answer.assigned.position
        else:
            for record in answer.records.records:
                print(record.payload.decode(), flush=True)
            place = answer.records.next_offset
            # After the work is done: what is not committed comes again.
            done = log.CommitRequest(
                stream=arguments.stream, group=arguments.name, member=member, offset=place
            )
            stub.Commit(done, metadata=metadata, timeout=30)
        if place >= end:
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=["append", "read"])
    parser.add_argument("stream")
    parser.add_argument("name", help="of the producer or the group")
    parser.add_argument("--server", default="127.0.0.1:19288")
    parser.add_argument("--token-file", type=pathlib.Path)
    parser.add_argument("--ca-file", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        {"append": append, "read": read}[arguments.verb](arguments)
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")


main()
