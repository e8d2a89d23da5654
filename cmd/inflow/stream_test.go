package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// streaming is a workspace whose job reads the topic reviews of a broker in this process, and produce writes there.
func streaming(t *testing.T, follow bool) (w workspace, produce func(values ...string)) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "reviews"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("reviews"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w = started(t)
	w.edit(t, starterJob, "  delta: main.shop.reviews          # a name from the catalog, or a path such as ./data/reviews\n",
		"  kafka: {brokers: \""+broker.ListenAddrs()[0]+"\", topics: reviews, value: {format: json, schema: \"review_id BIGINT, product STRING, body STRING\"}}\n"+
			fmt.Sprintf("  follow: %v\n", follow))
	w.edit(t, starterJob, "  columns: [review_id, product, body]\n", "")
	w.edit(t, starterJob, "on_error:\n", "on_error:\n  dead_letters: ./out/dead\n")
	return w, func(values ...string) {
		for i, value := range values {
			record := &kgo.Record{Key: fmt.Append(nil, i), Value: []byte(value)}
			if value == "" {
				record.Value = nil // a tombstone
			}
			if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func review(id int) string {
	return fmt.Sprintf(`{"review_id": %d, "product": "lamp", "body": "I love it."}`, id)
}

// TestKafkaToItsEnd: a run that does not follow reads what the topic holds, the next one what came since; what cannot be
// read is a dead letter, and a tombstone is nothing.
func TestKafkaToItsEnd(t *testing.T) {
	t.Parallel()
	w, produce := streaming(t, false)
	w.edit(t, starterJob, "fail_above: 5%", "fail_above: 50%")
	produce(review(1), review(2), "no JSON", "", review(3))
	ends(t, exitDone, "check", w.job())
	ends(t, exitDone, "run", w.job())
	produce(review(4))
	ends(t, exitDone, "run", w.job())
	contains(t, ends(t, exitDone, "run", w.job()).stdout, "nothing to do")
	seen := map[string]bool{}
	for _, row := range w.rows(t, starterResults) {
		seen[fmt.Sprint(row["review_id"], row["response"], row["_topic"])] = true
	}
	for id := range 4 {
		if !seen[fmt.Sprint(id+1, "positive", "reviews")] {
			t.Errorf("review %d is not there: %v", id+1, seen)
		}
	}
	letters := w.rows(t, "out/dead")
	if len(seen) != 4 || len(letters) != 1 || !strings.Contains(fmt.Sprint(letters[0]["error"]), "undecodable") {
		t.Errorf("%d results, dead letters %v", len(seen), letters)
	}
}

// TestKafkaStream: a run that follows commits what comes until it is told to stop, and the next one goes on from there.
func TestKafkaStream(t *testing.T) {
	t.Parallel()
	w, produce := streaming(t, true)
	for round := range 2 {
		produce(review(10*round), review(10*round+1))
		p := launch(t, "run", "-o", "json", w.job())
		p.awaitLine(t, `"msg":"committed"`)
		produce(review(10*round + 2))
		p.awaitLine(t, `"msg":"committed"`)
		p.signal(t, syscall.SIGTERM)
		rest := p.end(t)
		if code := p.ProcessState.ExitCode(); code != exitInterrupted {
			t.Fatalf("exit %d\n%s", code, rest)
		}
	}
	ids := map[string]int{}
	for _, row := range w.rows(t, starterResults) {
		ids[fmt.Sprint(row["review_id"])]++
	}
	for _, id := range []string{"0", "1", "2", "10", "11", "12"} {
		if ids[id] != 1 {
			t.Errorf("review %s is there %d times", id, ids[id])
		}
	}
	if _, err := os.Stat(w.path("out/dead/_delta_log")); err == nil {
		t.Error("there are dead letters")
	}
}
