package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/inflowhq/inflow/schemas"
)

// The times of a connection.
const (
	defaultTimeout = 30 * time.Second
	dialTimeout    = 10 * time.Second
	// maxIdle bounds the sessions that are kept open for the next request to a broker.
	maxIdle = 4
)

// Options say where the brokers are and who asks them.
type Options struct {
	// Brokers are some of the cluster's, as host:port; the rest is learnt from them.
	Brokers []string
	// ClientID is how the brokers' logs and quotas name this client; empty means "inflow".
	ClientID string
	// TLS nil: no encryption.
	TLS *TLS
	// SASL nil: no authentication beyond TLS.
	SASL *SASL
	// Timeout bounds one request; 0 means 30 s.
	Timeout time.Duration
	// Patience is how long a call that is no stream waits for brokers that are away; 0 means 30 s.
	Patience time.Duration
	// Logger tells of outages; nil: nobody is told.
	Logger *slog.Logger
}

// TLS is encryption, and what a client shows of itself.
type TLS struct {
	// CA is who may vouch for the brokers, in PEM; empty means the system's.
	CA []byte
	// Certificate and Key are the client's own, in PEM; empty: it has none.
	Certificate, Key []byte
	// ServerName is the name that the brokers' certificates bear, where it is not the host's.
	ServerName string
	// Insecure asks for no proof that a broker is what it says. It is logged.
	Insecure bool
}

// Connection is a cluster as seen by one client: sessions to its brokers and what is known of its topics. It is safe
// for concurrent use.
type Connection struct {
	options   Options
	tls       *tls.Config
	mechanism sasl.Mechanism
	logger    *slog.Logger
	// reached is set once a broker has answered a request: from then on a name that does not resolve, or a session that
	// is cut, is an outage and no mistake in the options.
	reached atomic.Bool

	mu     sync.Mutex // guards idle and closed
	idle   map[string][]*session
	closed bool

	topics  topicCache
	outages outages
}

// NewConnection checks the options. It opens nothing: the first request does.
func NewConnection(options Options) (*Connection, error) {
	options.ClientID = cmp.Or(options.ClientID, "inflow")
	options.Timeout = cmp.Or(options.Timeout, defaultTimeout)
	options.Patience = cmp.Or(options.Patience, defaultTimeout)
	c := &Connection{options: options, logger: options.Logger, idle: make(map[string][]*session)}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if len(options.Brokers) == 0 {
		faults = append(faults, errors.New("name at least one broker as host:port"))
	}
	for _, broker := range options.Brokers {
		if _, _, err := net.SplitHostPort(broker); err != nil {
			faults = append(faults, fmt.Errorf("broker %q is not host:port: %w", broker, err))
		}
	}
	var err error
	if c.tls, err = options.TLS.config(); err != nil {
		faults = append(faults, err)
	}
	if c.mechanism, err = options.SASL.mechanism(); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("kafka: %w: %w", schemas.ErrInvalid, errors.Join(faults...))
	}
	if options.TLS != nil && options.TLS.Insecure {
		c.logger.Warn("certificates of the kafka brokers are not checked", "brokers", strings.Join(options.Brokers, ","))
	}
	if options.SASL != nil && options.TLS == nil && options.SASL.plaintext() {
		c.logger.Warn("credentials go to the kafka brokers unencrypted", "brokers", strings.Join(options.Brokers, ","))
	}
	c.outages.logger = c.logger
	c.topics.ask = c.metadata
	return c, nil
}

// Close ends the idle sessions; those at work are ended when they are done. It may be called more than once.
func (c *Connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for address, sessions := range c.idle {
		for _, each := range sessions {
			each.close()
		}
		delete(c.idle, address)
	}
	return nil
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil //nolint:nilnil // no encryption is not a failure
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure} //nolint:gosec // asked for in so many words, and logged
	if len(t.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("the CA holds no certificate in PEM")
		}
	}
	if len(t.Certificate) > 0 || len(t.Key) > 0 {
		pair, err := tls.X509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("the client certificate and its key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// dialer returns the dialer of kafka-go's consumer groups, with the same encryption and credentials.
func (c *Connection) dialer() *kafka.Dialer {
	return &kafka.Dialer{
		ClientID: c.options.ClientID, Timeout: dialTimeout, TLS: c.tls, SASLMechanism: c.mechanism,
		DialFunc: (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
	}
}

// take returns a session with a broker; keep or drop it afterwards.
func (c *Connection) take(ctx context.Context, address string) (*session, error) {
	c.mu.Lock()
	if sessions := c.idle[address]; len(sessions) > 0 {
		last := sessions[len(sessions)-1]
		c.idle[address] = sessions[:len(sessions)-1]
		c.mu.Unlock()
		return last, nil
	}
	c.mu.Unlock()
	return c.open(ctx, address)
}

// keep puts a session back whose last request was answered.
func (c *Connection) keep(address string, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle[address]) >= maxIdle {
		s.close()
		return
	}
	c.idle[address] = append(c.idle[address], s)
}

// forget closes the sessions with a broker that wait for their next request: where one was cut, they were too.
func (c *Connection) forget(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, each := range c.idle[address] {
		each.close()
	}
	delete(c.idle, address)
}

// anywhere does something with a session to whichever of the known brokers answers first.
func (c *Connection) anywhere(ctx context.Context, do func(*session) error) error {
	var faults []error
	for _, address := range c.options.Brokers {
		err := c.at(ctx, address, do)
		if err == nil {
			return nil
		}
		faults = append(faults, err)
		if ctx.Err() != nil || schemas.ClassOf(err) == schemas.Fatal && !isUnknownHost(err) {
			break
		}
	}
	// The last one counts: it is the one that ended the search. A name that does not resolve counts only where all are such.
	slices.SortStableFunc(faults, func(a, b error) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return faults[len(faults)-1]
}

func rank(err error) int {
	switch {
	case isUnknownHost(err):
		return 0
	case schemas.ClassOf(err) != schemas.Fatal:
		return 1
	}
	return 2
}

// at does something with a session to one broker.
func (c *Connection) at(ctx context.Context, address string, do func(*session) error) error {
	s, err := c.take(ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	release := s.bind(ctx)
	err = do(s)
	release()
	if err != nil {
		s.close()
		c.forget(address)
		return c.classify(ctx, "kafka: "+address, err)
	}
	c.reached.Store(true)
	c.keep(address, s)
	return nil
}
