package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// cutConn lets a number of bytes through.
type cutConn struct {
	net.Conn

	left atomic.Int64
}

func (c *cutConn) Write(data []byte) (int, error) {
	left := c.left.Add(-int64(len(data)))
	if left >= 0 {
		return c.Conn.Write(data)
	}
	n := 0
	if pass := len(data) + int(left); pass > 0 {
		n, _ = c.Conn.Write(data[:pass])
	}
	return n, errors.New("the cable is cut")
}

// TestWriteFails: the transport takes a body whole before its bytes are written. That it took all of it does not
// mean that any of it went out; that all of it went out does not mean that it was served.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	const body = 100_000
	for name, c := range map[string]struct {
		bytes  int64
		secure bool
		paid   bool
	}{
		"nothing passes":     {bytes: 0},
		"the headers pass":   {bytes: 400},
		"most of it":         {bytes: body - 1},
		"all of it":          {bytes: 1 << 20, paid: true},
		"over TLS, a half":   {bytes: body / 2, secure: true},
		"over TLS, the rest": {bytes: 1 << 20, secure: true, paid: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			hangUp := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n, err := new(bytes.Buffer).ReadFrom(r.Body); n == body && err == nil {
					requests.Add(1)
				}
				if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = conn.Close()
				}
			})
			server := httptest.NewUnstartedServer(hangUp)
			if c.secure {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			client := NewClient(ClientOptions{Timeout: time.Minute})
			t.Cleanup(client.CloseIdleConnections)
			if trusted, ok := server.Client().Transport.(*http.Transport); ok && c.secure {
				client.TLSClientConfig = trusted.TLSClientConfig
			}
			client.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				cut := &cutConn{Conn: conn}
				cut.left.Store(c.bytes)
				return &countedConn{Conn: cut}, err
			}
			at, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := Post(t.Context(), client, &Call{Op: "test: call", URL: at, Header: http.Header{}, Body: make([]byte, body)})
			if err == nil || answer.PossiblyPaid != c.paid || (schemas.ClassOf(err) == schemas.Ambiguous) != c.paid {
				t.Errorf("got %v, class %s, paid %t", err, schemas.ClassOf(err), answer.PossiblyPaid)
			}
			if got := requests.Load() == 1; got != c.paid {
				t.Errorf("the server got %d whole requests", requests.Load())
			}
		})
	}
}
