// Package embedded is a model service inside this process: real HTTP on loopback in front of two small real
// models, so that a demo or a test calls a model the way it would call any other, and pays nothing.
//
//	sentiment   VADER, a lexicon of English: positive, negative or neutral
//	language    trigram profiles of 84 languages: an ISO 639-3 code
//
// It speaks OpenAI's chat completions and MLflow's scoring protocol. It refuses to listen anywhere but on
// loopback, asks for no key, keeps nothing of what it is sent and logs nothing.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// The limits of the service.
const (
	bodyLimit     = 4 << 20 // bytes of a request
	rowLimit      = 10_000  // rows of a scoring request
	inFlightLimit = 64      // requests that are read and scored at once; more wait
	headerLimit   = 64 << 10

	headerTimeout = 10 * time.Second
	readTimeout   = time.Minute
	idleTimeout   = 2 * time.Minute // longer than our own client's, so that the client hangs up first
)

// Options say where to listen. The zero value is a free port of 127.0.0.1.
type Options struct {
	Addr string
}

// Server is a running service.
type Server struct {
	url     string
	handler http.Handler
	http    *http.Server
	serving sync.WaitGroup
	failure error // of Serve; read after serving
}

// Start loads the models and listens. ctx bounds the start only: rows that drain after an interrupt still
// need their model, so it is Close that ends the service.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Addr == "" {
		options.Addr = "127.0.0.1:0"
	}
	if err := checkLoopback(options.Addr); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", options.Addr)
	if err != nil {
		return nil, fmt.Errorf("embedded model service: %w", err)
	}
	s := &Server{url: "http://" + listener.Addr().String() + "/v1", handler: newHandler()}
	s.http = &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerLimit,
		BaseContext:    func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	s.serving.Go(func() { s.failure = s.http.Serve(listener) })
	return s, nil
}

// checkLoopback refuses an address that others could reach: the service asks nobody who they are.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: embedded model service: %w; write it like 127.0.0.1:0", schemas.ErrInvalid, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%w: embedded model service: %q is no loopback address; use 127.0.0.1 or [::1]", schemas.ErrInvalid, host)
	}
	return nil
}

// URL is the base of the OpenAI routes, "http://127.0.0.1:41234/v1".
func (s *Server) URL() string { return s.url }

// Models are the names that the service answers to. The first is the one of /invocations.
func (*Server) Models() []string { return []string{modelSentiment, modelLanguage} }

// Handler is the service without its listener.
func (s *Server) Handler() http.Handler { return s.handler }

// Close lets requests in flight finish until ctx ends, then cuts them off. It may be called again.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("embedded model service: requests were cut off: %w", err), s.http.Close())
	}
	s.serving.Wait()
	if !errors.Is(s.failure, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("embedded model service: %w", s.failure))
	}
	return err
}
