package chatserver

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Events of a ledger.
const (
	Received = "received" // a call arrived; written before anything is answered
	Answered = "answered" // the server is done with the call
)

// Entry is one line of the server's ledger. A call has a Received line, and an Answered line once the server
// is done with it; a call without the second was still being worked on when the server or the ledger ended.
type Entry struct {
	Event           string    `json:"event"`
	Time            time.Time `json:"time"`
	ID              string    `json:"id"` // the call's; also the response's id and its usage's call_id
	ClientRequestID string    `json:"client_request_id,omitempty"`
	Key             string    `json:"key,omitempty"` // from "[key=...]" in the question
	MessageHash     string    `json:"message_hash,omitempty"`
	Status          int       `json:"status"` // 0: no status line was meant to be sent
	Fault           Fault     `json:"fault,omitempty"`
	Usage           *Usage    `json:"usage,omitempty"`    // what was billed; nil: nothing
	Complete        bool      `json:"complete,omitempty"` // of Answered: the socket took every byte of a well-formed response
}

// Usage is the usage object of a response, and what the call was billed. OpenAI adds fields to it from time to
// time; CallID is such a field, which a client that keeps the object verbatim carries along.
type Usage struct {
	PromptTokens     int64  `json:"prompt_tokens"`
	CompletionTokens int64  `json:"completion_tokens"`
	TotalTokens      int64  `json:"total_tokens"`
	CallID           string `json:"call_id"`
}

// Ledger is an append-only file. Each entry is one write(2), so that it outlives the process the moment append
// returns. A nil Ledger keeps nothing.
type Ledger struct {
	mu   sync.Mutex
	file *os.File
}

// OpenLedger opens or creates the file at path for appending.
func OpenLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("chatserver: %w", err)
	}
	return &Ledger{file: file}, nil
}

// append writes an entry through to the kernel. A ledger that cannot be written makes every later comparison
// worthless, so it takes the server down.
func (l *Ledger) append(entry Entry) {
	if l == nil {
		return
	}
	line, err := json.Marshal(entry)
	if err == nil {
		l.mu.Lock()
		_, err = l.file.Write(append(line, '\n'))
		l.mu.Unlock()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chatserver: the ledger is lost:", err)
		os.Exit(1) //nolint:forbidigo // a panic in a handler would only cost one connection
	}
}

// Close closes the file.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// Call is what the ledger says about one call.
type Call struct {
	Entry             // the Received line
	AnsweredAt        time.Time
	Answered          bool // there is an Answered line
	CompletelyWritten bool
}

// ReadLedger returns the calls in the order of their arrival. It can read while the server appends: a last
// line that is not whole yet is left out.
func ReadLedger(path string) ([]*Call, error) {
	file, err := os.Open(path) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("chatserver: %w", err)
	}
	defer file.Close() //nolint:errcheck // read only
	var calls []*Call
	byID := map[string]*Call{}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return calls, nil
		}
		if err != nil {
			return nil, fmt.Errorf("chatserver: %w", err)
		}
		var entry Entry
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("chatserver: %s: %w", path, err)
		}
		if entry.Event == Received {
			call := &Call{Entry: entry}
			calls, byID[entry.ID] = append(calls, call), call
			continue
		}
		call, ok := byID[entry.ID]
		if !ok {
			return nil, fmt.Errorf("chatserver: %s: call %s was answered but never received", path, entry.ID)
		}
		call.Answered, call.AnsweredAt, call.CompletelyWritten = true, entry.Time, entry.Complete
	}
}
