package chatserver_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

const goodBody = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"[key=7] hello"}],"temperature":0,"max_tokens":10}`

type fixture struct {
	url, ledger string
}

func start(t *testing.T, options chatserver.Options) fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	ledger, err := chatserver.OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(chatserver.New(options, ledger))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	return fixture{server.URL, path}
}

// reply is a response read up to replyLimit, and what stopped the reading.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

const replyLimit = 32 << 20

func (f fixture) post(t *testing.T, body string, headers ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer key")
	request.Header.Set("X-Client-Request-Id", "client-1")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	read, err := io.ReadAll(io.LimitReader(response.Body, replyLimit))
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return reply{response.StatusCode, response.Header, string(read), err}
}

// calls waits until the server is done with every call and returns its ledger.
func (f fixture) calls(t *testing.T, want int) []*chatserver.Call {
	t.Helper()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for {
		calls, err := chatserver.ReadLedger(f.ledger)
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, call := range calls {
			if call.Answered {
				done++
			}
		}
		if done == want {
			return calls
		}
		select {
		case <-ticks.C:
		case <-t.Context().Done():
			t.Fatalf("%d of %d calls were answered", done, want)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	f := start(t, chatserver.Options{})
	got := f.post(t, goodBody)
	var body struct {
		ID      string
		Choices []struct{ Message struct{ Content string } }
		Usage   chatserver.Usage
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusOK || body.Choices[0].Message.Content != chatserver.Answer("[key=7] hello") {
		t.Errorf("status %d, body %+v", got.status, body)
	}
	call := f.calls(t, 1)[0]
	if call.ID != body.ID || *call.Usage != body.Usage || call.Usage.CallID != body.ID {
		t.Errorf("the ledger says %+v, the response said %+v", call.Entry, body)
	}
	if call.Key != "7" || call.ClientRequestID != "client-1" || !call.CompletelyWritten {
		t.Errorf("the ledger says %+v", call)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := start(t, chatserver.Options{APIKey: "key"})
	tests := map[string]struct {
		body    string
		headers []string
		status  int
		want    string
	}{
		"unknown field":    {`{"model":"m","messages":[{"role":"user","content":"x"}],"temprature":1}`, nil, 400, "temprature"},
		"no model":         {`{"messages":[{"role":"user","content":"x"}]}`, nil, 400, "model"},
		"no messages":      {`{"model":"m"}`, nil, 400, "messages"},
		"bad role":         {`{"model":"m","messages":[{"role":"robot","content":"x"}]}`, nil, 400, "robot"},
		"null content":     {`{"model":"m","messages":[{"role":"user"}]}`, nil, 400, "content"},
		"wrong type":       {`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"10"}`, nil, 400, "max_tokens"},
		"hot":              {`{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":3}`, nil, 400, "temperature"},
		"zero tokens":      {`{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}`, nil, 400, "max_tokens"},
		"stream":           {`{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`, nil, 400, "stream"},
		"not JSON":         {`model=m`, nil, 400, "JSON"},
		"trailing":         {goodBody + "{}", nil, 400, "follows"},
		"content type":     {goodBody, []string{"Content-Type", "text/plain"}, 400, "Content-Type"},
		"no authorisation": {goodBody, []string{"Authorization", ""}, 401, "API key"},
		"other key":        {goodBody, []string{"Authorization", "Bearer other"}, 401, "Incorrect"},
	}
	for name, test := range tests {
		got := f.post(t, test.body, test.headers...)
		var refusal struct {
			Error struct{ Message, Type string }
		}
		err := json.Unmarshal([]byte(got.body), &refusal)
		if err != nil || got.status != test.status || !strings.Contains(refusal.Error.Message, test.want) || refusal.Error.Type == "" {
			t.Errorf("%s: status %d, error %+v, %v; want status %d about %q", name, got.status, refusal.Error, err, test.status, test.want)
		}
	}
	for _, call := range f.calls(t, len(tests)) {
		if call.Usage != nil {
			t.Errorf("a refused call was billed: %+v", call.Entry)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	says := func(status int, part string) func(reply) bool {
		return func(got reply) bool {
			return got.err == nil && got.status == status && strings.Contains(got.body, part)
		}
	}
	tests := map[chatserver.Fault]func(reply) bool{
		chatserver.Throttle: func(got reply) bool {
			return says(429, "rate_limit_exceeded")(got) && got.header.Get("Retry-After") == "1"
		},
		chatserver.ThrottleSilent: func(got reply) bool {
			return says(429, "rate_limit_exceeded")(got) && got.header.Get("Retry-After") == ""
		},
		chatserver.ServerError:   says(500, "server_error"),
		chatserver.Unavailable:   says(503, "<html>"),
		chatserver.Unauthorised:  says(401, "invalid_api_key"),
		chatserver.ContextLength: says(400, "context_length_exceeded"),
		chatserver.ContentFilter: says(400, "content_filter"),
		chatserver.HTML:          says(200, "log in"),
		chatserver.EmptyBody:     func(got reply) bool { return says(200, "")(got) && got.body == "" },
		chatserver.NoChoices:     says(200, `"choices":[]`),
		chatserver.ResetHeaders: func(got reply) bool {
			return errors.Is(got.err, syscall.ECONNRESET) || errors.Is(got.err, io.EOF)
		},
		chatserver.ResetBody:     func(got reply) bool { return got.err != nil },
		chatserver.TruncatedJSON: func(got reply) bool { return says(200, "chatcmpl-")(got) && !json.Valid([]byte(got.body)) },
		chatserver.Huge:          func(got reply) bool { return says(200, "inflow!")(got) && len(got.body) == replyLimit },
		chatserver.Hang:          nil, // TestHang
	}
	for _, fault := range chatserver.Faults() {
		check, ok := tests[fault]
		if !ok {
			t.Errorf("fault %s has no test", fault)
		}
		if check == nil {
			continue
		}
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			schedule, err := chatserver.ParseSchedule(string(fault)+":1", 1)
			if err != nil {
				t.Fatal(err)
			}
			f := start(t, chatserver.Options{Faults: schedule})
			if got := f.post(t, goodBody); !check(got) {
				t.Errorf("status %d, %v, body %.80q, %v", got.status, got.header, got.body, got.err)
			}
			if second := f.post(t, goodBody); second.err != nil || second.status != http.StatusOK {
				t.Fatalf("the second attempt: status %d, %v", second.status, second.err)
			}
			calls := f.calls(t, 2)
			if calls[0].Fault != fault || calls[1].Fault != "" {
				t.Errorf("the ledger says %q, then %q", calls[0].Fault, calls[1].Fault)
			}
			if billed := calls[0].Usage != nil; billed != (calls[0].Status == http.StatusOK) {
				t.Errorf("status %d, billed %v", calls[0].Status, billed)
			}
		})
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	schedule, err := chatserver.ParseSchedule("hang:1", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, chatserver.Options{Faults: schedule})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/chat/completions", strings.NewReader(goodBody))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer key")
	client := http.Client{Timeout: 50 * time.Millisecond}
	if response, err := client.Do(request); err == nil {
		t.Fatal("it answered", response.Body.Close())
	}
	if call := f.calls(t, 1)[0]; call.CompletelyWritten {
		t.Errorf("the ledger says %+v", call)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	f := start(t, chatserver.Options{RequestsPerMinute: 2})
	for i, want := range []int{200, 200, 429} {
		got := f.post(t, goodBody)
		if got.status != want {
			t.Errorf("call %d: status %d, want %d", i, got.status, want)
		}
		if want == 429 && got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"500", "flood:0.1", "500:2", "500:0.6,503:0.6", "500:-1", "500:x"} {
		if _, err := chatserver.ParseSchedule(bad, 0); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	schedule, err := chatserver.ParseSchedule("500:0.2,hang:0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	struck := map[chatserver.Fault]int{}
	const rows = 10_000
	for i := range rows {
		key := chatserver.Hash(string(rune(i + 256)))
		first := schedule.Strikes(3, key, 1)
		struck[first]++
		if first != schedule.Strikes(3, key, 1) || schedule.Strikes(3, key, 2) != "" {
			t.Fatal("the schedule is not a function of seed, key and attempt")
		}
	}
	if n := struck[chatserver.ServerError]; n < rows*18/100 || n > rows*22/100 {
		t.Errorf("500 strikes %d of %d rows, want a fifth", n, rows)
	}
	if n := struck[chatserver.Hang]; n < rows*8/100 || n > rows*12/100 {
		t.Errorf("hang strikes %d of %d rows, want a tenth", n, rows)
	}
}
