package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/inflowhq/inflow/schemas"
)

func TestSASL(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t, kfake.SeedTopics(1, "in"), kfake.EnableSASL(),
				kfake.Superuser("PLAIN", "root", "secret-1"), kfake.Superuser(mechanism, "user", "secret-2"))
			client := newClient(t, cluster, kgo.SASL(plain.Auth{User: "root", Pass: "secret-1"}.AsMechanism()))
			produceAll(t, client, texts("in", 0, "v", 3)...)
			sasl := &SASL{Mechanism: mechanism, Username: "user", Password: "secret-2"}
			connection, _ := connect(t, cluster, func(o *Options) { o.SASL = sasl })
			if rows, _ := readAll(t, newTestSource(t, connection, textOptions("in")), nil); len(rows) != 3 {
				t.Errorf("%d rows", len(rows))
			}
			group := newTestGroup(t, connection, groupOptions("in"))
			if _, err := group.Assign(testContext(t)); err != nil {
				t.Errorf("group: %v", err)
			}
			wrong, _ := connect(t, cluster, func(o *Options) { o.SASL = &SASL{Mechanism: mechanism, Username: "user", Password: "wrong-3"} })
			_, err := NewSource(testContext(t), wrong, textOptions("in"))
			if class, code := codeOf(t, err); class != schemas.Fatal || code != "authentication_failed" || strings.Contains(err.Error(), "wrong-3") {
				t.Errorf("%v", err)
			}
			none, _ := connect(t, cluster, func(o *Options) { o.Patience = 100 * time.Millisecond })
			if _, err := NewSource(testContext(t), none, textOptions("in")); schemas.ClassOf(err) == schemas.Rejected || err == nil {
				t.Errorf("without credentials: %v", err)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "root", "r"), kfake.User("PLAIN", "nobody", "n"))
	connection, _ := connect(t, cluster, func(o *Options) { o.SASL = &SASL{Mechanism: Plain, Username: "nobody", Password: "n"} })
	_, err := NewSource(testContext(t), connection, textOptions("in"))
	if schemas.ClassOf(err) != schemas.Fatal || !errors.Is(err, schemas.ErrPermission) {
		t.Errorf("%v", err)
	}
}

// authority makes a certificate for 127.0.0.1 that vouches for itself.
func authority(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, ca := authority(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	cluster := newCluster(t, kfake.SeedTopics(1, "in"), kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}))
	with := func(settings *TLS) (*Connection, *logBuffer) {
		return connect(t, cluster, func(o *Options) { o.TLS = settings })
	}
	good, _ := with(&TLS{CA: ca, Certificate: ca, Key: private})
	newTestSource(t, good, textOptions("in"))
	if _, err := newTestGroup(t, good, groupOptions("in")).Assign(testContext(t)); err != nil {
		t.Errorf("group: %v", err)
	}
	insecure, logs := with(&TLS{Insecure: true, Certificate: ca, Key: private})
	newTestSource(t, insecure, textOptions("in"))
	if logs.count("not checked") != 1 {
		t.Error("insecure in silence")
	}
	for name, settings := range map[string]*TLS{
		"unknown authority": {Certificate: ca, Key: private},
		"another name":      {CA: ca, Certificate: ca, Key: private, ServerName: "elsewhere"},
		"no certificate":    {CA: ca},
	} {
		connection, _ := with(settings)
		_, err := NewSource(testContext(t), connection, textOptions("in"))
		if class, code := codeOf(t, err); class != schemas.Fatal || code != "tls_failed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewConnection(Options{Brokers: []string{"a:1"}, TLS: &TLS{CA: []byte("no")}}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a CA that is none: %v", err)
	}
}

func TestBrokersThatAreNotThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	connection, err := NewConnection(Options{Brokers: []string{address}, Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewSource(testContext(t), connection, textOptions("in"))
	if class, code := codeOf(t, err); class != schemas.Transient || code != "broker_unavailable" {
		t.Errorf("refused: %v", err)
	}
	connection, err = NewConnection(Options{Brokers: []string{"nowhere.invalid:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	dns := connection.classify(t.Context(), "op", &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true})
	if class, code := codeOf(t, dns); class != schemas.Fatal || code != "unknown_host" {
		t.Errorf("unknown: %v", dns)
	}
	connection.reached.Store(true)
	if dns = connection.classify(t.Context(), "op", &net.DNSError{IsNotFound: true}); schemas.ClassOf(dns) != schemas.Transient {
		t.Errorf("unknown for now: %v", dns)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if _, secret, _ := r.BasicAuth(); secret != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"s3cret-echo"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
	}))
	defer provider.Close()
	settings := &SASL{
		Mechanism: OAuthBearer, OIDC: &ClientCredentials{TokenURL: provider.URL, ClientID: "id", ClientSecret: "s3cret", Scopes: []string{"kafka"}},
		Extensions: map[string]string{"logicalCluster": "lkc-1", "identityPoolId": "pool-1"},
	}
	mechanism, err := settings.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		state, message, err := mechanism.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(message); got != "n,,\x01auth=Bearer tok\x01identityPoolId=pool-1\x01logicalCluster=lkc-1\x01\x01" {
			t.Errorf("message %q", got)
		}
		if done, _, err := state.Next(t.Context(), nil); !done || err != nil {
			t.Errorf("accepted: %v %v", done, err)
		}
		if done, answer, err := state.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); done || string(answer) != "\x01" || err != nil {
			t.Errorf("refused: %v %q %v", done, answer, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the provider was asked %d times", asked.Load())
	}
	settings.OIDC.ClientSecret = "wrong"
	if mechanism, err = settings.mechanism(); err != nil {
		t.Fatal(err)
	}
	_, _, err = mechanism.Start(t.Context())
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "authentication_failed" || strings.Contains(err.Error(), "echo") {
		t.Errorf("%v", err)
	}
	own := &SASL{Mechanism: OAuthBearer, Token: func(context.Context) (string, error) { return "bad\x01token", nil }}
	if mechanism, err = own.mechanism(); err != nil {
		t.Fatal(err)
	}
	if _, _, err = mechanism.Start(t.Context()); err == nil || strings.Contains(err.Error(), "bad") {
		t.Errorf("%v", err)
	}
}

func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{
		"no broker":      {},
		"no port":        {Brokers: []string{"host"}},
		"no mechanism":   {Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: "GSSAPI"}},
		"no user":        {Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: Plain}},
		"no token":       {Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: OAuthBearer}},
		"no region":      {Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: AWSMSKIAM}},
		"half a key":     {Brokers: []string{"a:1"}, TLS: &TLS{Certificate: []byte("x")}},
		"bad extensions": {Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: OAuthBearer, Extensions: map[string]string{"a": "\x01"}}},
	} {
		if _, err := NewConnection(options); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneOutageIsToldOnce(t *testing.T) {
	t.Parallel()
	logs := new(logBuffer)
	o := outages{logger: slog.New(slog.NewTextHandler(logs, nil))}
	a, b := o.party(), o.party()
	a.began(t.Context(), io.EOF)
	b.began(t.Context(), io.EOF)
	a.began(t.Context(), io.EOF)
	a.over(true)
	if logs.count("kafka is away") != 1 || logs.count("kafka is back") != 0 {
		t.Error("it is back for one of two")
	}
	b.over(true)
	b.over(false)
	if logs.count("kafka is back") != 1 {
		t.Error("it is not back")
	}
}

func TestAResponseOfAnySizeIsNotReadOnItsWord(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	s := &session{conn: client, wire: protocol.NewConn(client, "test")}
	go func() {
		_, _ = server.Write([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0})
		_ = server.Close()
	}()
	_, err := s.readFetch(t.Context(), &fetchOptions{limit: 1 << 20, bytes: 1 << 20, timeout: time.Second})
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "record_too_large" || s.buffer != nil {
		t.Errorf("%v, %d bytes", err, len(s.buffer))
	}
}
