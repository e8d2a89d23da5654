package wire_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	apiKey = "sk-test-0123456789abcdef"
	prompt = "the-text-of-a-prompt"
)

// peer is a server below net/http: it reads whole requests and answers each with the bytes, or the silence,
// that a test wants.
type peer struct {
	addr     string
	requests atomic.Int64 // whole ones
	conns    atomic.Int64
}

// newPeer serves every connection with answer, once a request, until it returns false.
func newPeer(t *testing.T, answer func(conn net.Conn, n int64) bool) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: listener.Addr().String()}
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			p.conns.Add(1)
			group.Go(func() { p.serve(conn, answer) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return p
}

func (p *peer) serve(conn net.Conn, answer func(net.Conn, int64) bool) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		if !answer(conn, p.requests.Add(1)) {
			return
		}
	}
}

func reply(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

// reset makes the close of conn an RST.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func newClient(t *testing.T, timeout time.Duration) *wire.Client {
	t.Helper()
	client := wire.NewClient(wire.ClientOptions{MaxConns: 4, Timeout: timeout})
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func newCall(addr string) *wire.Call {
	return &wire.Call{
		Op: "test: call", URL: &url.URL{Scheme: "http", Host: addr, Path: "/v1", RawQuery: "key=" + apiKey},
		Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"prompt":"` + prompt + `"}`),
		Key: schemas.NewSecret(apiKey), KeyField: "openai_api_key", ModelField: "external_model.name",
	}
}
