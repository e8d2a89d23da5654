package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// bareMain is the bare loop, in a process of its own like the binary: so many goroutines that post a prompt and
// read the answer to its end. It keeps nothing, checks nothing but the status, and prints its seconds.
func bareMain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	url := flags.String("url", "", "base URL of the server")
	rows := flags.Int("rows", 0, "calls to make")
	concurrency := flags.Int("concurrency", 1, "calls at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: *concurrency, MaxConnsPerHost: *concurrency, DisableCompression: true,
	}}
	defer client.CloseIdleConnections()
	started := time.Now()
	var next atomic.Int64
	failures := make(chan error, *concurrency)
	var group sync.WaitGroup
	for range *concurrency {
		group.Go(func() {
			for id := next.Add(1) - 1; id < int64(*rows); id = next.Add(1) - 1 {
				if err := ask(ctx, client, *url, int(id)); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(started)
	close(failures)
	var all []error
	for err := range failures {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, took.Seconds())
	return err
}

func ask(ctx context.Context, client *http.Client, url string, id int) error {
	body, err := json.Marshal(map[string]any{
		"model": "gpt-4o-mini", "temperature": 0, "max_tokens": 50,
		"messages": []map[string]string{{"role": "user", "content": text(id)}},
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer none")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	return nil
}
