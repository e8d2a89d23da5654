package wire

import (
	"context"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// The defaults and fixed limits of a client.
const (
	// DefaultTimeout is for calls whose context has no deadline. The providers' own SDKs wait as long.
	DefaultTimeout = 10 * time.Minute
	// DefaultMaxConns is for callers that do not know their concurrency.
	DefaultMaxConns = 64

	connectTimeout = 10 * time.Second
	// idleTimeout stays below the 60 s after which the usual load balancers drop an idle connection: the side
	// that hangs up first must be this one, or a POST races the hang-up and nobody knows whether it arrived.
	idleTimeout     = 30 * time.Second
	keepAlivePeriod = 15 * time.Second
	headerLimit     = 256 << 10
)

// ClientOptions are what a job knows about its calls. The zero value works.
type ClientOptions struct {
	// MaxConns is the most connections to one host, all of them kept alive: the job's concurrency.
	MaxConns int
	// Timeout bounds a call whose context has no deadline, connecting to last byte.
	Timeout time.Duration
}

// Client is what all calls of a job share: connections, and the memory for answers of unusual length.
type Client struct {
	*http.Transport

	timeout time.Duration
	large   *semaphore.Weighted // of largeBodies
}

// NewClient returns a client. It speaks HTTP/1.1 over kept-alive connections, takes a proxy from the environment as
// every tool does and asks for no compression (answers are small, and a limit on bytes read must be a limit on bytes
// kept). It is a transport and no http.Client, which would follow redirects (a POST that is redirected is either sent
// twice or turned into a GET), keep cookies, and copy every header to be ready for both.
//
// HTTP/2 is off on purpose: its transport replays streams that a server refused, and one connection would
// make every call wait behind the slowest. Close the idle connections when done.
func NewClient(options ClientOptions) *Client {
	if options.MaxConns <= 0 {
		options.MaxConns = DefaultMaxConns
	}
	if options.Timeout <= 0 {
		options.Timeout = DefaultTimeout
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: keepAlivePeriod}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err //nolint:wrapcheck // the transport knows the network's errors
		}
		return &countedConn{Conn: conn}, nil
	}
	return &Client{timeout: options.Timeout, large: semaphore.NewWeighted(largeBodies), Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSHandshakeTimeout:    connectTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    options.MaxConns,
		MaxConnsPerHost:        options.MaxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: headerLimit,
	}}
}
