// A client of the event log in Go.
//
//	client append STREAM PRODUCER   appends the lines of its input, each of them once
//	client read STREAM GROUP        prints what the group has not read yet, up to the end
//
// Flags before the verb: -server HOST:PORT, -token-file FILE and -ca-file FILE (TLS). Run append
// again with the same input after any failure: it goes on after the last line that the log has.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pb "example.com/event-log-client/eventlogpb"
)

const plain = 1000

var (
	server    = flag.String("server", "127.0.0.1:19288", "host:port of the log")
	tokenFile = flag.String("token-file", "", "the file with the token")
	caFile    = flag.String("ca-file", "", "trust in the server's certificate; TLS")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	verbs := map[string]func(context.Context, pb.EventLogClient, string, string) error{
		"append": appendLines, "read": readGroup,
	}
	verb := verbs[flag.Arg(0)]
	if verb == nil || flag.NArg() != 3 {
		log.Fatal("usage: client [flags] append|read STREAM NAME")
	}
	ctx, client, err := connect(context.Background())
	if err == nil {
		err = verb(ctx, client, flag.Arg(1), flag.Arg(2))
	}
	if err != nil {
		log.Fatal(err)
	}
}

func connect(ctx context.Context) (context.Context, pb.EventLogClient, error) {
	trust := insecure.NewCredentials()
	if *caFile != "" {
		var err error
		if trust, err = credentials.NewClientTLSFromFile(*caFile, ""); err != nil {
			return nil, nil, err
		}
	}
	// Without a ping, a connection that a firewall has dropped looks like a quiet one.
	alive := keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}
	connection, err := grpc.NewClient(*server,
		grpc.WithTransportCredentials(trust), grpc.WithKeepaliveParams(alive))
	if err != nil {
		return nil, nil, err
	}
	if *tokenFile != "" {
		token, err := os.ReadFile(*tokenFile)
		if err != nil {
			return nil, nil, err
		}
		bearer := "Bearer " + strings.TrimSpace(string(token))
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", bearer)
	}
	return ctx, pb.NewEventLogClient(connection), nil
}

func appendLines(ctx context.Context, client pb.EventLogClient, stream, producer string) error {
	// Who opens a producer is the only one that may append for it, and gets what it has saved.
	opened, err := client.OpenProducer(ctx,
		&pb.OpenProducerRequest{Stream: stream, Producer: producer})
	if err != nil {
		return err
	}
	done := uint64(0)
	for _, entry := range opened.Checkpoint {
		if entry.Key == "lines" {
			if done, err = strconv.ParseUint(string(entry.Value), 10, 64); err != nil {
				return err
			}
		}
	}
	call, err := client.Append(ctx)
	if err != nil {
		return err
	}
	go send(call, stream, producer, opened.Epoch, done)
	for appended := 0; ; appended++ {
		_, err := call.Recv() // Durable, all up to here.
		if errors.Is(err, io.EOF) {
			log.Printf("appended %d lines after line %d", appended, done)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send sends the lines after the first ones, which are done. Errors come out of Recv.
func send(call pb.EventLog_AppendClient, stream, producer string, epoch, done uint64) {
	defer call.CloseSend()
	lines := bufio.NewScanner(os.Stdin)
	for number := uint64(1); lines.Scan(); number++ {
		if number <= done {
			continue
		}
		record := &pb.NewRecord{Type: plain, Topic: "lines", Payload: []byte(lines.Text())}
		// The log keeps it together with the record.
		place := []byte(strconv.FormatUint(number, 10))
		request := &pb.AppendRequest{
			Stream: stream, Producer: producer, Epoch: epoch, Sequence: number - done,
			Records:    []*pb.NewRecord{record},
			Checkpoint: []*pb.CheckpointEntry{{Key: "lines", Value: place}},
		}
		if call.Send(request) != nil {
			return
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func readGroup(ctx context.Context, client pb.EventLogClient, stream, group string) error {
	info, err := client.Info(ctx, &pb.InfoRequest{Stream: stream})
	if err != nil {
		return err
	}
	// The start counts the first time only: then it is the group's place.
	start := &pb.Start{At: &pb.Start_Earliest{Earliest: &pb.Earliest{}}}
	answers, err := client.Subscribe(ctx, &pb.SubscribeRequest{
		Stream: stream, Group: group, Start: start, Client: "client.go",
	})
	if err != nil {
		return err
	}
	for member, place := uint64(0), uint64(0); ; {
		answer, err := answers.Recv()
		if err != nil {
			return err
		}
		if assigned := answer.GetAssigned(); assigned != nil {
			// Before this, another member of the group is the active one.
			member, place = assigned.Member, assigned.Position
		} else if records := answer.GetRecords(); records != nil {
			for _, record := range records.Records {
				fmt.Println(string(record.Payload))
			}
			place = records.NextOffset
			// After the work is done: what is not committed comes again.
			commit := &pb.CommitRequest{Stream: stream, Group: group, Member: member, Offset: place}
			if _, err := client.Commit(ctx, commit); err != nil {
				return err
			}
		}
		if place >= info.NextOffset {
			return nil
		}
	}
}
