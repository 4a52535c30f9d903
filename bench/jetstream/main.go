// For bench/event_log.sh: a NATS server with JetStream, and the work that is measured on it.
//
//	jetstream serve DIRECTORY PORT always|default         when it syncs; until it is stopped
//	jetstream append URL STREAM PRODUCERS BYTES SECONDS   each sends a record when the one before is
//	                                                      there
//	jetstream fill URL STREAM BYTES RECORDS               as fast as it goes
//	jetstream fan URL STREAM READERS BYTES SECONDS        the same for a time, with readers that follow
//	jetstream read URL STREAM READERS RECORDS             from the first record on
//
// A stream is made when it is first named. What was measured is printed as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Connections that fill the stream, as many as those of the other systems.
	writers = 4
	// Records of a connection that wait for their answer while the stream is filled.
	pending = 4000
	// Records that a reader asks for at once.
	batch = 5000
)

// What was done, and in what time.
type figures struct {
	Records uint64  `json:"records"`
	Seconds float64 `json:"seconds"`
	P99Ms   float64 `json:"p99Ms"`
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serve(directory string, port int, sync string) {
	options := &server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: directory,
		SyncAlways: sync == "always", JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 1 << 40,
	}
	running := must(server.NewServer(options))
	running.Start()
	if !running.ReadyForConnections(10 * time.Second) {
		log.Fatal("it does not start")
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	running.Shutdown()
}

func connect(url string) jetstream.JetStream {
	connection := must(nats.Connect(url))
	return must(jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(pending)))
}

// Makes the stream if it is not there. Its subject is its name.
func makeStream(url, stream string) {
	config := jetstream.StreamConfig{Name: stream, Subjects: []string{stream}}
	must(connect(url).CreateOrUpdateStream(context.Background(), config))
}

func appendOneByOne(url, stream string, producers, bytes int, seconds time.Duration) figures {
	var done sync.WaitGroup
	took := make([][]time.Duration, producers)
	clients := make([]jetstream.JetStream, producers)
	for i := range clients {
		clients[i] = connect(url)
	}
	began := time.Now()
	for i := range clients {
		done.Go(func() {
			record := make([]byte, bytes)
			for time.Since(began) < seconds {
				sent := time.Now()
				must(clients[i].Publish(context.Background(), stream, record))
				took[i] = append(took[i], time.Since(sent))
			}
		})
	}
	done.Wait()
	elapsed := time.Since(began).Seconds()
	var all []time.Duration
	for _, part := range took {
		all = append(all, part...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	p99 := all[len(all)*99/100]
	return figures{uint64(len(all)), elapsed, float64(p99.Microseconds()) / 1000}
}

// Publishes while more says so, over several connections, and waits for all answers.
func publish(url, stream string, bytes int, more func() bool) uint64 {
	var done sync.WaitGroup
	var sent atomic.Uint64
	for range writers {
		done.Go(func() {
			client, record := connect(url), make([]byte, bytes)
			for more() {
				must(client.PublishAsync(stream, record, jetstream.WithStallWait(time.Minute)))
				sent.Add(1)
			}
			<-client.PublishAsyncComplete()
		})
	}
	done.Wait()
	return sent.Load()
}

func fill(url, stream string, bytes int, records uint64) figures {
	var given atomic.Uint64
	began := time.Now()
	sent := publish(url, stream, bytes, func() bool { return given.Add(1) <= records })
	return figures{sent, time.Since(began).Seconds(), 0}
}

// Begins to read; the counter says how many records came.
func follow(url, stream string, from jetstream.DeliverPolicy) *atomic.Uint64 {
	config := jetstream.OrderedConsumerConfig{DeliverPolicy: from}
	consumer := must(connect(url).OrderedConsumer(context.Background(), stream, config))
	records := must(consumer.Messages(jetstream.PullMaxMessages(batch)))
	counter := new(atomic.Uint64)
	go func() {
		for {
			must(records.Next())
			counter.Add(1)
		}
	}()
	return counter
}

func wait(readers []*atomic.Uint64, records uint64) {
	for _, reader := range readers {
		for reader.Load() < records {
			time.Sleep(time.Millisecond)
		}
	}
}

func fan(url, stream string, readers, bytes int, seconds time.Duration) figures {
	var following []*atomic.Uint64
	for range readers {
		following = append(following, follow(url, stream, jetstream.DeliverNewPolicy))
	}
	began := time.Now()
	sent := publish(url, stream, bytes, func() bool { return time.Since(began) < seconds })
	wait(following, sent)
	return figures{sent, time.Since(began).Seconds(), 0}
}

func read(url, stream string, readers int, records uint64) figures {
	began := time.Now()
	var reading []*atomic.Uint64
	for range readers {
		reading = append(reading, follow(url, stream, jetstream.DeliverAllPolicy))
	}
	wait(reading, records)
	return figures{records, time.Since(began).Seconds(), 0}
}

func main() {
	verb, where, stream, words := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	number := func(at int) int { return must(strconv.Atoi(words[at])) }
	seconds := func(at int) time.Duration { return time.Duration(number(at)) * time.Second }
	if verb == "serve" {
		serve(where, must(strconv.Atoi(stream)), words[0])
		return
	}
	makeStream(where, stream)
	var measured figures
	switch verb {
	case "append":
		measured = appendOneByOne(where, stream, number(0), number(1), seconds(2))
	case "fill":
		measured = fill(where, stream, number(0), uint64(number(1)))
	case "fan":
		measured = fan(where, stream, number(0), number(1), seconds(2))
	case "read":
		measured = read(where, stream, number(0), uint64(number(1)))
	default:
		log.Fatalf("unknown: %s", verb)
	}
	must(os.Stdout.Write(append(must(json.Marshal(measured)), '\n')))
}
