#!/usr/bin/env bash
# Makes the folder eventlogpb here, the Go code of event_log.proto.
#
#   ./generate.sh [DIRECTORY OF THE PROTO]
#
# It needs Go, and protoc: that of grpcio-tools by $PYTHON, where this is set.
set -euo pipefail
proto=${1:-../../../event-log/proto}
package=example.com/event-log-client/eventlogpb
export GOBIN=$PWD/bin
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.8
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
protoc=(protoc)
if [ -n "${PYTHON:-}" ]; then protoc=("$PYTHON" -m grpc_tools.protoc); fi
mkdir -p eventlogpb
PATH=$GOBIN:$PATH "${protoc[@]}" -I "$proto" \
  --go_out=eventlogpb --go_opt="paths=source_relative,Mevent_log.proto=$package" \
  --go-grpc_out=eventlogpb --go-grpc_opt="paths=source_relative,Mevent_log.proto=$package" \
  event_log.proto
